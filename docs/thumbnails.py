"""Make the class tab's thumbnails with the shipped model.

Run `PYTHONPATH=. python docs/thumbnails.py` in the repository's root.
"""

import argparse
from pathlib import Path

from PIL import Image

from ldm.catalog.registry import load_preset
from ldm.events import Result
from ldm.requests import ClassConditional
from ldm.studio import Studio

CLASSES = Path(__file__).parents[1] / "ui" / "examples" / "classes"
SIDE_PX = 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="demo-class-conditional")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    flags = parser.parse_args()
    preset, studio = load_preset(flags.preset), Studio(data_dir=flags.data_dir)
    folder = CLASSES / preset.name
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(preset.classes):
        request = ClassConditional(class_index=number, preset=preset.name, seed=flags.seed)
        result = next(event for event in studio.run(request) if isinstance(event, Result))
        path = folder / f"{number}.jpg"
        Image.fromarray(result.images[0]).resize((SIDE_PX, SIDE_PX)).save(path, quality=85)
        print(f"{name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
