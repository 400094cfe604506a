"""Make the examples of the tabs: `PYTHONPATH=. python docs/examples.py [TASK ...]`.

Each is a PNG with its request inside, so that choosing it brings its sentence, map or mask back.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ldm.data import scenes
from ldm.data.rendering import render
from ldm.events import Result
from ldm.requests import EncodedImage, Inpaint, Semantic, TextToImage
from ldm.studio import Studio

FOLDER = Path(__file__).parents[1] / "ui" / "examples"
WIDTH, HEIGHT = 256, 160
# name, sentence, seed
SENTENCES = (
    ("1-sunset", "a calm lake with mountains at sunset", 13),
    ("2-oaks", "several oaks, an autumn field, low hills, clear sky at noon", 11),
    ("3-beach", "a sandy beach, still water, the sun in the sky at noon", 12),
    ("4-village", "a village in a snowy landscape, mountains, clear sky in the afternoon", 17),
    ("5-pines", "several pines, a green meadow, white clouds in the afternoon", 13),
    ("6-forest", "a pine forest, deep snow, distant mountains, falling snow by day", 12),
)
# name, number of the scene, seed of the picture
MAPS = (
    ("1-mountain-lake", 16, 1),
    ("2-two-houses", 11, 2),
    ("3-houses-in-the-mist", 25, 3),
    ("4-winter-village", 6, 4),
    ("5-pines-on-a-meadow", 24, 5),
)
# name, number of the scene, seed, and how the hole is made from the scene
HOLES = (
    ("1-take-something-away", 11, 1, "object"),
    ("2-a-scratched-picture", 16, 2, "strokes"),
    ("3-beyond-the-edge", 27, 3, "right"),
    ("4-another-sky", 14, 4, "sky"),
)


# of pictures to enlarge: what the scenes of the holes show
SAMPLES = (
    *("houses below the mountains", "boats at sunset", "a village in winter"),
    "houses in the desert",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=[*MAKERS, "samples"])
    with tempfile.TemporaryDirectory() as data:
        studio = Studio(data_dir=Path(data))
        for task in parser.parse_args().tasks:
            if task == "samples":
                _save_samples()
                continue
            for name, request in MAKERS[task]():
                _save(studio, request, FOLDER / task / f"{name}.png")


def _scene(number: int) -> scenes.Sample:
    return render(scenes.sample(np.random.default_rng(number), WIDTH, HEIGHT))


def _text_to_image():
    for name, prompt, seed in SENTENCES:
        yield name, TextToImage(prompt=prompt, seed=seed, width=384, height=256)


def _semantic():
    for name, number, seed in MAPS:
        labels = EncodedImage.from_array(_scene(number).labels)
        yield name, Semantic(label_map=labels, seed=seed)


def _inpaint():
    for name, number, seed, kind in HOLES:
        scene = _scene(number)
        request = Inpaint(
            image=EncodedImage.from_array(scene.image),
            mask=EncodedImage.from_array(255 * _hole(scene, kind)),
            seed=seed,
        )
        yield name, replace(request, outpaint_right=96) if kind == "right" else request


def _hole(scene: scenes.Sample, kind: str) -> np.ndarray:
    """Return a mask (H, W) uint8 of 0 and 1."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    if kind == "object":
        box = max(scene.boxes, key=lambda box: (box.x1 - box.x0) * (box.y1 - box.y0))
        mask[max(0, box.y0 - 5) : box.y1 + 5, max(0, box.x0 - 5) : box.x1 + 5] = 1
    if kind == "strokes":
        cv2.line(mask, (30, 30), (200, 125), 1, 10)
        cv2.line(mask, (60, 130), (220, 40), 1, 7)
    if kind == "sky":
        mask[:60] = 1
    return mask


MAKERS = {"text-to-image": _text_to_image, "semantic": _semantic, "inpaint": _inpaint}


def _save(studio: Studio, request: TextToImage | Semantic | Inpaint, path: Path) -> None:
    *_, result = studio.run(request)
    assert isinstance(result, Result)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(result.paths[0].read_bytes())


def _save_samples() -> None:
    """Shrink the scenes of the inpainting examples to a quarter; each file has a title."""
    for (name, number, *_), title in zip(HOLES, SAMPLES, strict=True):
        size = WIDTH // 4, HEIGHT // 4
        small = Image.fromarray(_scene(number).image).resize(size, Image.Resampling.BICUBIC)
        path = FOLDER / "samples" / f"{name[0]}-{title.replace(' ', '-')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(EncodedImage.from_array(np.asarray(small), title).png)


if __name__ == "__main__":
    main()
