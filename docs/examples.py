"""Make the pictures that the page starts from: `python docs/examples.py layout class upscale`.

Needs the shipped weights. They land in ui/examples, each with its request inside; the classes'
thumbnails are small JPEGs without one. Pictures are made once and kept: change only what is bad.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from ldm.catalog.registry import load_preset
from ldm.images import EncodedImage
from ldm.requests import Box, ClassConditional, Layout, Result, Upscale
from ldm.studio import Studio

EXAMPLES = Path(__file__).parents[1] / "ui" / "examples"
THUMBNAIL_PX = 96
Scene = tuple[str, int, int, int, tuple[Box, ...]]
"""File name, width, height, seed and boxes."""
LAYOUTS: tuple[Scene, ...] = (
    (
        "1-house-and-pines",
        192,
        128,
        3,
        (
            Box("sun", 0.62, 0.1, 0.74, 0.28),
            Box("pine", 0.06, 0.36, 0.2, 0.8),
            Box("pine", 0.2, 0.44, 0.32, 0.8),
            Box("house", 0.46, 0.52, 0.66, 0.82),
        ),
    ),
    (
        "2-boats",
        192,
        128,
        5,
        (
            Box("boat", 0.12, 0.55, 0.3, 0.86),
            Box("boat", 0.44, 0.5, 0.56, 0.72),
            Box("boat", 0.7, 0.58, 0.92, 0.94),
        ),
    ),
    (
        "3-moon-over-a-village",
        256,
        128,
        7,
        (
            Box("moon", 0.44, 0.08, 0.52, 0.24),
            Box("house", 0.12, 0.56, 0.26, 0.82),
            Box("house", 0.4, 0.6, 0.52, 0.84),
            Box("house", 0.7, 0.55, 0.84, 0.82),
            Box("tree", 0.28, 0.5, 0.38, 0.82),
            Box("pine", 0.86, 0.4, 0.96, 0.86),
        ),
    ),
    (
        "4-two-trees",
        128,
        128,
        11,
        (Box("tree", 0.06, 0.36, 0.42, 0.88), Box("tree", 0.6, 0.46, 0.9, 0.9)),
    ),
    (
        "5-row-of-pines",
        256,
        128,
        13,
        tuple(
            Box("pine", round(0.04 + 0.16 * i, 2), 0.34, round(0.14 + 0.16 * i, 2), 0.86)
            for i in range(6)
        ),
    ),
)
LOW = (("1-sunset", "text-to-image/1-sunset.png"), ("2-autumn", "text-to-image/5-autumn.png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="+", choices=MAKERS)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    flags = parser.parse_args()
    studio = Studio(data_dir=flags.data_dir)
    for what in flags.what:
        MAKERS[what](studio)


def made(studio: Studio, request: object) -> Result:
    """The result of a request."""
    return next(event for event in studio.run(request) if isinstance(event, Result))


def keep(result: Result, folder: str, name: str) -> None:
    """Copy the PNG, request and all."""
    (EXAMPLES / folder).mkdir(parents=True, exist_ok=True)
    path = EXAMPLES / folder / f"{name}.png"
    shutil.copyfile(result.paths[0], path)
    print(f"{path.relative_to(EXAMPLES)} {path.stat().st_size} bytes")


def layouts(studio: Studio) -> None:
    """Scenes of boxes."""
    for name, width, height, seed, boxes in LAYOUTS:
        request = Layout(boxes=boxes, width=width, height=height, seed=seed)
        keep(made(studio, request), "layout", name)


def classes(studio: Studio) -> None:
    """A thumbnail of every class."""
    preset = load_preset("demo-class-conditional")
    folder = EXAMPLES / "classes" / preset.name
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(preset.classes):
        request = ClassConditional(class_index=number, seed=1)
        image = Image.fromarray(np.asarray(made(studio, request).images[0]))
        path = folder / f"{number}.jpg"
        image.resize((THUMBNAIL_PX, THUMBNAIL_PX)).save(path, quality=85)
        print(f"{name}: {path.stat().st_size} bytes")


def enlargements(studio: Studio) -> None:
    """Pictures that were shrunk to a quarter, made large again."""
    for name, source in LOW:
        image = Image.open(EXAMPLES / source).convert("RGB")
        low = image.resize((image.width // 4, image.height // 4), Image.Resampling.BICUBIC)
        request = Upscale(image=EncodedImage.from_array(np.asarray(low)), seed=1)
        keep(made(studio, request), "upscale", name)


MAKERS = {"layout": layouts, "class": classes, "upscale": enlargements}

if __name__ == "__main__":
    main()
