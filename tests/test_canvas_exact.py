"""Every first stage, at many sizes and budgets: in bands as whole, and no band shows."""

import pytest
import torch

from ldm.canvas.bounded import BoundedFirstStage
from ldm.canvas.workspace import Workspace
from ldm.models.autoencoder import Decoder, Encoder
from ldm.models.first_stage import AutoencoderKL, VQModel

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


@torch.inference_mode()
def test_half_precision_in_bands_is_as_good(randomise):
    stage = first_stage("kl-f8", randomise)
    z = torch.randn(1, 3, 12, 8, generator=torch.Generator().manual_seed(1))
    want = stage.decode(z)
    half = BoundedFirstStage(stage.to(torch.bfloat16), Workspace(2**18)).decode(z.bfloat16())
    error = (half.float() - want).abs() / want.abs().max()
    assert error.mean() <= 2e-2


@torch.inference_mode()
def test_no_row_stands_out_at_the_border_of_a_band(randomise):
    stage = first_stage("demo-kl-f4", randomise)
    z = torch.randn(1, 3, 48, 8, generator=torch.Generator().manual_seed(1))
    starts = set()
    space = Workspace(2**18)
    rows = space.strip_rows

    def recorded(bytes_per_row, height):
        made = rows(bytes_per_row, height)
        if height == 192:
            starts.update(range(made, height, made))
        return made

    space.strip_rows = recorded
    want = stage.decode(z)
    got = BoundedFirstStage(stage, space).decode(z)
    assert len(starts) > 4
    energy, plain = ((x[:, :, 1:] - x[:, :, :-1]).square().mean((0, 1, 3)) for x in (got, want))
    for start in starts:
        assert energy[start - 1] == pytest.approx(plain[start - 1].item(), rel=0.01)
