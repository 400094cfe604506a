"""Make `docs/redrawn.jpg`, pictures that are regenerated with other prompts:

    PYTHONPATH=. python docs/redrawn.py

Each row shows the picture to start from, then the results at strengths of 0.5 and 0.9,
and at 0.9 with the picture's shapes kept (DDIM inversion).
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ldm.images import EncodedImage, fitted
from ldm.requests import TextToImage
from ldm.studio import Studio

EXAMPLES = Path(__file__).parents[1] / "ui" / "examples"
# picture to start from, prompt
ROWS = (
    ("semantic/1-mountain-lake", "a lake and mountains in the snow at night"),
    ("text-to-image/2-oaks", "oaks in the snow at sunset"),
    ("text-to-image/4-village", "a village in autumn, grey clouds"),
)
SETTINGS = ({"strength": 0.5}, {"strength": 0.9}, {"strength": 0.9, "inversion": 1.0})
WIDTH, GAP = 384, 6  # px


def main() -> None:
    with tempfile.TemporaryDirectory() as data:
        studio = Studio(data_dir=Path(data))
        rows = [_row(studio, *row) for row in ROWS]
    path = Path(__file__).with_name("redrawn.jpg")
    Image.fromarray(np.concatenate(rows)).save(path, quality=90)


def _row(studio: Studio, start: str, prompt: str) -> np.ndarray:
    """Return a row (H, W, 3) uint8 of pictures WIDTH px wide, with a white edge right and below."""
    image = EncodedImage.from_file(EXAMPLES / f"{start}.png")
    pictures = [image.array()]
    for settings in SETTINGS:
        result = studio.make(TextToImage(prompt=prompt, image=image, seed=3, **settings))
        pictures.append(np.asarray(Image.open(result.paths[0])))
    height, width, _ = pictures[1].shape
    edges = ((0, GAP), (0, GAP), (0, 0))
    shown = [fitted(picture, WIDTH * height // width, WIDTH) for picture in pictures]
    return np.concatenate([np.pad(p, edges, constant_values=255) for p in shown], axis=1)


if __name__ == "__main__":
    main()
