"""Sample pictures written during training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor


def save_grid(path: Path, images: Tensor, columns: int) -> None:
    """Write (B, 3, H, W) pictures in [-1, 1] as one PNG, `columns` to a row."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    rows = [
        np.concatenate(list(pixels[i : i + columns]), 1) for i in range(0, len(pixels), columns)
    ]
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)
