"""Make the large pictures of docs/large-canvas.md: `PYTHONPATH=. python docs/wide.py`.

The first shows a label map of 2048 x 512 px, the picture made from it, and one that is made at a
quarter of its sides and upscaled. The second shows a scene of 512 x 512 px at 2048 x 2048: bicubic
interpolation beside the upscaled picture. It prints how long each took on this machine.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from ldm.data import scenes
from ldm.data.rendering import render
from ldm.data.scenes import CLASSES
from ldm.events import Result
from ldm.requests import EncodedImage, Semantic, Upscale
from ldm.studio import Studio

FOLDER = Path(__file__).parent
SCENE = 25  # number of the scene
SHOWN = 768  # px: side of the crop of the large picture, shown at full size


def main() -> None:
    studio = Studio(data_dir=FOLDER.parent / "data")
    land, quarter = _scene(2048, 512), _scene(512, 128)
    made = _made(studio, Semantic(label_map=EncodedImage.from_array(land.labels), seed=1))
    small = _made(studio, Semantic(label_map=EncodedImage.from_array(quarter.labels), seed=1))
    large = _made(studio, Upscale(image=EncodedImage.from_array(small), seed=1))
    colours = np.array(list(CLASSES.values()), np.uint8)
    _save("wide-semantic.jpg", np.concatenate([colours[land.labels], made, large]))
    given = _scene(512, 512).image
    made = _made(studio, Upscale(image=EncodedImage.from_array(given), seed=1))
    across = Image.fromarray(given).resize((2048, 2048), Image.BICUBIC)
    cut = slice(2048 - SHOWN - 128, 2048 - 128)
    _save("wide-upscale.jpg", np.concatenate([np.asarray(across)[cut, cut], made[cut, cut]], 1))


def _scene(width: int, height: int) -> scenes.Sample:
    return render(scenes.sample(np.random.default_rng(SCENE), width, height))


def _made(studio: Studio, request: Semantic | Upscale) -> np.ndarray:
    studio.load(request.preset)
    *_, result = studio.run(request)
    assert isinstance(result, Result)
    height, width, _ = result.images[0].shape
    memory = (result.memory_bytes or 0) / 2**20
    print(f"{request.task}, {width} x {height} px: {result.seconds:.0f} s, {memory:.0f} MiB")
    print(*result.notes, sep="\n")
    return result.images[0]


def _save(name: str, image: np.ndarray) -> None:
    Image.fromarray(image).save(FOLDER / name, quality=85)


if __name__ == "__main__":
    main()
