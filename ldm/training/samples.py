"""Sample pictures written during training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ldm.images import to_arrays


def save_grid(path: Path, images: Tensor, columns: int) -> None:
    """Write (B, 3, H, W) pictures in [-1, 1] as one PNG, `columns` to a row."""
    pictures = to_arrays(images)
    rows = [np.concatenate(pictures[i : i + columns], 1) for i in range(0, len(pictures), columns)]
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)
