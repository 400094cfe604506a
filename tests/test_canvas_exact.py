"""Every first stage, at many sizes and budgets: in bands as whole, and no band shows."""

import math

import numpy as np
import pytest
import torch

from ldm.benchmarks.borders import border_excess, standing_out, tone_shift
from ldm.benchmarks.decoding import Noted
from ldm.canvas.bounded import BoundedFirstStage
from ldm.canvas.workspace import Workspace
from ldm.catalog.build import build_first_stage
from ldm.catalog.registry import load_preset
from ldm.checkpoints.apply import load_first_stage
from ldm.data import scenes
from ldm.data.rendering import render
from ldm.models.autoencoder import Decoder, Encoder
from ldm.models.first_stage import AutoencoderKL, VQModel

pytestmark = pytest.mark.usefixtures("small_blocks")
SLIM = {"ch": 4, "num_res_blocks": 1, "norm_groups": 2, "resolution": 32}
KINDS = {
    "demo-kl-f4": (AutoencoderKL, (1, 2, 4), (), "none"),
    "demo-vq-f4": (VQModel, (1, 2, 4), (), "none"),
    "vq-f4": (VQModel, (1, 2, 4), (), "vanilla"),
    "vq-f4-noattn": (VQModel, (1, 2, 4), (), "none"),
    "kl-f4": (AutoencoderKL, (1, 2, 4), (), "vanilla"),
    "vq-f8": (VQModel, (1, 2, 2, 4), (4,), "vanilla"),
    "kl-f8": (AutoencoderKL, (1, 2, 4, 4), (), "vanilla"),
    "kl-f16": (AutoencoderKL, (1, 1, 2, 2, 4), (2,), "vanilla"),
}
SIZES = [(1, 1), (2, 5), (5, 2), (3, 7), (8, 8), (12, 4)]  # rows and columns in cells
BUDGETS = [2**16, 2**18, 2**20, 2**26]  # bytes


def first_stage(kind, randomise):
    made, multipliers, attended, attention = KINDS[kind]
    about = {**SLIM, "ch_mult": multipliers, "attn_resolutions": attended, "attn_type": attention}
    is_kl = made is AutoencoderKL
    return randomise(
        made(
            encoder=Encoder(in_channels=3, z_channels=3, double_z=is_kl, **about),
            decoder=Decoder(out_ch=3, z_channels=3, **about),
            embed_dim=3,
            z_channels=3,
            **({} if is_kl else {"n_embed": 64}),
        )
    )


def code_of(stage, image):
    code = stage.encode(image)
    return code.mean if isinstance(stage, AutoencoderKL) else code


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_bands_are_exact(kind, randomise):
    stage = first_stage(kind, randomise)
    for size in SIZES:
        z = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
        want = stage.decode(z)
        scale = want.abs().max()
        image = (want / scale).clamp(-1, 1)
        code = code_of(stage, image)
        for budget in BUDGETS:
            bounded = BoundedFirstStage(stage, Workspace(budget))
            assert ((bounded.decode(z) - want) / scale).abs().max() <= 1e-4
            got = bounded.encode(image)
            got = got.mean if isinstance(stage, AutoencoderKL) else got
            assert (got - code).abs().max() <= 1e-4 * code.abs().max()


def trained(name):
    """A shipped first stage, and the latents of a scene."""
    preset = load_preset(name)
    stage = build_first_stage(preset)
    load_first_stage(stage, preset.weight_paths[0], dtype=torch.float32, device="cpu")
    scene = render(scenes.sample(np.random.default_rng(3), 96, 80))
    image = torch.from_numpy(scene.image).permute(2, 0, 1)[None] / 127.5 - 1
    return stage, code_of(stage, image)


@pytest.mark.parametrize("kind", [*KINDS, "demo-kl-f4 as shipped", "demo-vq-f4 as shipped"])
@torch.inference_mode()
def test_half_precision_in_bands_is_half_precision(kind, randomise):
    """The worst pixel; both are as far from float32, which half precision itself decides."""
    if kind in KINDS:
        stage = first_stage(kind, randomise)
        z = torch.randn(1, 3, 12, 8, generator=torch.Generator().manual_seed(1))
    else:
        stage, z = trained(kind.split()[0])
    z = z.bfloat16()
    exact = stage.decode(z.float())
    scale = exact.abs().max().clamp(min=1)
    half = stage.to(torch.bfloat16)
    whole = half.decode(z).float()
    for budget in BUDGETS[1:]:
        made = BoundedFirstStage(half, Workspace(4 * budget)).decode(z).float()
        assert (made - whole).abs().max() / scale <= 2e-2
        assert (made - exact).abs().mean() <= 1.05 * (whole - exact).abs().mean()


@pytest.mark.parametrize("kind", ["demo-kl-f4", "kl-f8"])
@torch.inference_mode()
def test_no_row_stands_out_at_the_border_of_a_band(kind, randomise):
    stage = first_stage(kind, randomise)
    z = torch.randn(1, 3, 48, 8, generator=torch.Generator().manual_seed(1))
    height = 48 * stage.factor
    space = Noted(2**18)
    want = stage.decode(z)[0].numpy()
    made = BoundedFirstStage(stage, space).decode(z)[0].numpy()
    borders = space.borders(height)
    assert len(borders) > 8
    assert border_excess(made, want, borders)[0] <= 0.01
    energy, plain = (np.square(np.diff(x, axis=1)).mean((0, 2)) for x in (made, want))
    for row in borders:
        assert energy[row - 1] == pytest.approx(plain[row - 1], rel=0.01)


def test_a_seam_of_two_percent_is_seen():
    """The measure itself: rows of equal energy, one of which is raised."""
    rows = np.cumsum(np.where(np.arange(64) % 2, 1.0, -1.0))
    picture = np.broadcast_to(rows[None, :, None], (3, 64, 64)).copy()
    assert standing_out(picture) == pytest.approx(1.0)
    seam = picture.copy()
    seam[:, 32:] += (rows[32] - rows[31]) * (math.sqrt(1.02) - 1)
    assert border_excess(seam, picture, [16, 32]) == pytest.approx((0.02, 0.0))
    assert border_excess(seam, picture, [16, 48]) == pytest.approx((0.0, 0.02))
    assert tone_shift(picture + 0.3, picture) == pytest.approx(0.3)
