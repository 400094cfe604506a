"""One picture through a first stage and back, in the library and on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm.cli import main
from ldm.errors import PresetError, RequestError
from ldm.evaluation.reconstruction import LOUDER, Reconstruction, reconstruct
from ldm.images import EncodedImage

PATH = Path("ui/examples/text-to-image/4-village.png")
VILLAGE = EncodedImage.from_array(EncodedImage.from_file(PATH).array()[90:190, 30:161])


def test_a_landscape_comes_back_and_noise_does_not():
    made = reconstruct("demo-kl-f4", VILLAGE)
    assert np.array_equal(made.picture, VILLAGE.array()[:, :128])  # in whole cells
    assert made.decoded.shape == (100, 128, 3)
    assert made.latents.shape == (3, 25, 32)
    assert made.fewer == 16
    error = np.square(made.picture.astype(float) - made.decoded).mean()
    assert made.psnr == pytest.approx(10 * np.log10(255**2 / error), abs=0.05)
    assert made.psnr > 30
    assert made.ssim > 0.9
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    assert reconstruct("demo-kl-f4", EncodedImage.from_array(noise)).psnr < 20


def test_a_model_has_the_first_stage_that_it_names():
    small = EncodedImage.from_array(VILLAGE.array()[:32, :32])
    own, of_model = (reconstruct(name, small) for name in ("demo-vq-f4", "demo-upscale-bicubic"))
    assert np.array_equal(own.decoded, of_model.decoded)
    assert not np.array_equal(own.decoded, reconstruct("demo-kl-f4", small).decoded)


def test_the_sheet_shows_what_was_lost():
    picture, decoded = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 90, np.uint8)
    latents = np.stack([np.eye(4, dtype=np.float32), np.zeros((4, 4), np.float32)])
    page = Reconstruction(picture, decoded, latents, 30.0, 0.9).sheet("a title")
    for value in (100, 90, 10 * LOUDER):
        assert (page == value).all(2).sum() == 16 * 16
    assert (page == 255).all(2).sum() == 4 * 16  # the diagonal, in cells of 16 pixels


def test_pictures_that_do_not_fit_are_refused():
    for size in ((8, 64), (64, 1028)):
        image = EncodedImage.from_array(np.zeros((*size, 3), np.uint8))
        with pytest.raises(RequestError, match=f"16 to 1024 px a side, got {size[1]} x {size[0]}"):
            reconstruct("demo-kl-f4", image)
    with pytest.raises(PresetError, match="nope"):
        reconstruct("nope", VILLAGE)
    with pytest.raises(PresetError, match="demo-ddpm works in pixels; it has no first stage."):
        reconstruct("demo-ddpm", VILLAGE)


def test_the_command_line(tmp_path, capsys):
    path, page = tmp_path / "own.png", tmp_path / "sheet.png"
    Image.fromarray(VILLAGE.array()[:64, :64]).save(path)
    assert main(["reconstruct", str(path), "--sheet", str(page)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["PSNR", "SSIM", "latents"]
    assert lines[2].endswith("3 x 16 x 16, 16 times fewer numbers")
    assert Image.open(page).width > 6 * 64
    assert main(["reconstruct", str(path), "--preset", "demo-vq-f4", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["latents"], made["fewer"]) == ([3, 16, 16], 16)
    assert main(["reconstruct", "nowhere.png"]) == 2
    assert "there is no file 'nowhere.png'." in capsys.readouterr().err
