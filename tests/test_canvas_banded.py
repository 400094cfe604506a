"""Networks in bands give what they give on the whole canvas."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ldm.canvas import stores
from ldm.canvas.bounded import BoundedFirstStage
from ldm.canvas.nodes import Strip
from ldm.canvas.operations import banded
from ldm.canvas.stores import FileStore, MemoryStore
from ldm.canvas.workspace import STRIP_SHARE, Rehearsal, Workspace
from ldm.errors import MemoryBudgetError
from ldm.inference.prepare import prepare
from ldm.models.autoencoder import Decoder, Encoder
from ldm.models.conditioners import SpatialRescaler
from ldm.models.first_stage import AutoencoderKL, VQModel
from ldm.models.residual import Upsample
from ldm.models.unet import UNetModel

pytestmark = pytest.mark.usefixtures("small_blocks")
SMALL = {"ch": 16, "num_res_blocks": 1, "norm_groups": 8, "resolution": 32}
FIRST_STAGES = {
    "f4 without attention": {"ch_mult": (1, 2, 2), "attn_resolutions": (), "attn_type": "none"},
    "f4 with attention in the middle": {"ch_mult": (1, 2, 2), "attn_resolutions": ()},
    "f8": {"ch_mult": (1, 1, 2, 2), "attn_resolutions": ()},
    "f16 with attention on a level": {"ch_mult": (1, 1, 1, 2, 2), "attn_resolutions": (2,)},
}
UNETS = {
    "qkv attention": {"attention_resolutions": (2,), "num_heads": 2},
    "spatial transformer": {
        "attention_resolutions": (1, 2),
        "num_head_channels": 16,
        "use_spatial_transformer": True,
        "transformer_depth": 2,
        "context_dim": 12,
    },
    "up and down in residual blocks": {
        "attention_resolutions": (2,),
        "num_head_channels": 32,
        "use_scale_shift_norm": True,
        "resblock_updown": True,
    },
    "pooling": {"attention_resolutions": (), "num_heads": 4, "conv_resample": False},
}
BUDGETS = [2**19, 2**21, 2**26]  # bytes: one row at a time and files, a few rows, all in memory


def alive(network: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter a size that shows; many begin at zero."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
        parameter.data = scale * torch.randn(parameter.shape, generator=generator)
    return network.eval()


def difference(got: torch.Tensor, want: torch.Tensor) -> float:
    return ((got - want).abs().max() / want.abs().max()).item()


def unet_of(**about):
    settings = {"model_channels": 32, "num_res_blocks": 1, "channel_mult": (1, 2)}
    return UNetModel(in_channels=4, out_channels=3, **settings, **about)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("kind", FIRST_STAGES)
@torch.no_grad()
def test_decoding_and_encoding_in_bands_is_decoding_and_encoding(kind, budget):
    about = SMALL | FIRST_STAGES[kind]
    decoder = alive(Decoder(out_ch=3, z_channels=4, **about))
    encoder = alive(Encoder(in_channels=3, z_channels=4, double_z=True, **about))
    z = torch.randn(1, 4, 10, 6)
    image = decoder(z)
    assert difference(decoder(banded(z, Workspace(budget))).whole(), image) < 1e-5
    code = encoder(banded(image, Workspace(budget))).whole()
    assert difference(code, encoder(image)) < 1e-5


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("kind", UNETS)
@torch.no_grad()
def test_a_unet_step_in_bands_is_a_unet_step(kind, budget):
    about = UNETS[kind]
    unet = alive(unet_of(**about))
    x, t = torch.randn(2, 4, 14, 10), torch.tensor([3, 700])
    context = torch.randn(2, 5, 12) if "context_dim" in about else None
    got = unet(banded(x, Workspace(budget)), t, context=context).whole()
    assert difference(got, unet(x, t, context=context)) < 1e-5


@pytest.mark.parametrize("budget", BUDGETS)
@torch.no_grad()
def test_two_contexts_of_a_picture_in_bands(budget):
    about = UNETS["spatial transformer"] | {"attention_resolutions": (2,)}
    unet = alive(unet_of(**about))
    x, t, contexts = torch.randn(1, 4, 14, 10), torch.tensor([700]), torch.randn(2, 5, 12)
    got = unet(banded(x, Workspace(budget)), t, context=contexts).whole()
    assert difference(got, unet(x.repeat(2, 1, 1, 1), t.repeat(2), context=contexts)) < 1e-5


@torch.no_grad()
def test_statistics_of_joined_maps_are_those_of_their_parts():
    space = Workspace(2**20)
    x, y = torch.randn(2, 3, 6, 4), 5 + torch.randn(2, 3, 6, 4)
    for dim in (0, 1):
        parts = [banded(part, space) + 1 for part in (x - 1, y - 1)]
        for part in parts:
            part.settle()
        joined = torch.cat(parts, dim=dim)
        joined.strips = lambda: pytest.fail("its numbers were looked at once more")
        made = joined.moments()
        want = torch.cat([x, y], dim=dim).mean((2, 3))
        assert torch.allclose(made.mean.float(), want, atol=1e-6)


@torch.no_grad()
def test_whole_first_stages_and_label_maps_run_in_bands():
    about = SMALL | FIRST_STAGES["f4 without attention"]
    decoder = Decoder(out_ch=3, z_channels=4, **about)
    vq = VQModel(
        encoder=Encoder(in_channels=3, z_channels=4, double_z=False, **about),
        decoder=decoder,
        embed_dim=4,
        z_channels=4,
        n_embed=32,
    )
    kl = AutoencoderKL(
        encoder=Encoder(in_channels=3, z_channels=4, double_z=True, **about),
        decoder=decoder,
        embed_dim=4,
        z_channels=4,
    )
    image = torch.randn(2, 3, 40, 24)
    for stage in (alive(vq), alive(kl)):
        bounded = BoundedFirstStage(stage, Workspace(2**20))
        code, got = stage.encode(image), bounded.encode(image)
        if stage is kl:
            assert difference(got.logvar, code.logvar) < 1e-5
            code, got = code.mean, got.mean
        assert difference(got, code) < 1e-5
        assert difference(bounded.decode(code), stage.decode(code)) < 1e-5
    rescaler = alive(SpatialRescaler(n_stages=2, in_channels=3, out_channels=3))
    got = rescaler(banded(image, Workspace(2**13))).whole()
    assert difference(got, rescaler(image)) < 1e-5


def test_small_budgets_use_files_and_large_ones_do_not():
    decoder = alive(Decoder(out_ch=3, z_channels=4, **SMALL, **FIRST_STAGES["f8"]))
    for budget, kind in ((2**19, FileStore), (2**26, MemoryStore)):
        z = banded(torch.randn(1, 4, 16, 16), Workspace(budget))
        h = decoder.conv_in(z)
        h.settle()
        h = decoder.mid(h)
        h.settle()
        h = decoder.up[-1].upsample(h)
        h = decoder.up[-2].upsample(h)
        h.settle()
        assert isinstance(h.node.store, kind)


def test_kept_maps_are_given_back():
    space = Workspace(2**24)
    decoder = alive(Decoder(out_ch=3, z_channels=4, **SMALL, **FIRST_STAGES["f8"]))
    decoder(banded(torch.randn(1, 4, 8, 8), space)).whole()
    assert space.kept == 0


@torch.no_grad()
def test_after_every_map_memory_goes_back_to_the_system():
    """Or the freed blocks of strips, which malloc keeps, come on top of the budget."""

    class Counted(Workspace):
        stores = given_back = 0

        def store(self, *args):
            self.stores += 1
            return super().store(*args)

        def settled(self):
            self.given_back += 1
            super().settled()

    decoder = alive(Decoder(out_ch=3, z_channels=4, **SMALL, **FIRST_STAGES["f8"]))
    space = Counted(2**19)
    decoder(banded(torch.randn(1, 4, 8, 8), space)).whole()
    assert space.given_back == space.stores > 10


CHAINS = {
    "decode": lambda: (Decoder(out_ch=3, z_channels=4, **SMALL, **FIRST_STAGES["f8"]), 96, ()),
    "step": lambda: (unet_of(**UNETS["qkv attention"]), 256, (torch.tensor([3]),)),
}


@pytest.mark.parametrize("way", CHAINS)
@torch.no_grad()
def test_a_map_takes_the_place_of_those_that_it_is_made_of(way):
    """Strip after strip, one behind."""
    network, rows, more = CHAINS[way]()
    x, rehearsal, space = torch.randn(1, 4, rows, 8), Rehearsal(0), Workspace(2**19)
    made = alive(network)(banded(x, space), *more).whole()
    assert difference(made, network(x, *more)) < 1e-5
    network(banded(x, rehearsal), *more)
    taken = space.file.blocks * stores.BLOCK_BYTES
    assert 0.75 * rehearsal.most_spilled < taken < rehearsal.most_spilled + 2**19 * STRIP_SHARE


def test_strips_of_nothing_but_zeros():
    """Above and below; what they are as wide as is forgotten at the other end."""
    x, space = torch.randn(1, 1, 8, 128), Workspace(4096)  # one row at a time, each a block
    part = banded(x, space) * 1.0
    part.settle()
    padded = F.pad(part, (1, 2, 3, 3))
    del part
    padded.settle()
    assert torch.equal(padded.whole(), F.pad(x, (1, 2, 3, 3)))
    assert space.file.blocks < 8 + 14


@torch.no_grad()
def test_a_strip_has_no_more_work_than_can_be_waited_for(monkeypatch):
    """Attention asks all keys: few rows of a large canvas are minutes of work."""
    decoder = alive(Decoder(out_ch=3, z_channels=4, **SMALL, **FIRST_STAGES["f8"]))
    z = torch.randn(1, 4, 12, 6)
    want, many = decoder(z), Rehearsal(2**26)
    decoder(banded(z, many)).whole()
    monkeypatch.setattr("ldm.canvas.workspace.STRIP_OPERATIONS", 0.5e6)
    assert difference(decoder(banded(z, Workspace(2**26))).whole(), want) < 1e-5
    few = Rehearsal(2**26)
    decoder(banded(z, few)).whole()
    allowed = 0.5e6 * torch.get_num_threads()
    assert few.strips > max(many.strips, few.operations / allowed)


def test_what_is_not_known_for_bands_is_refused():
    x = banded(torch.randn(1, 4, 8, 8), Workspace(2**20))
    with pytest.raises(TypeError, match="softmax is not written for canvases in bands"):
        F.softmax(x, dim=2)
    with pytest.raises(ValueError, match="sliced"):
        x[:, :, ::2]
    with pytest.raises(ValueError, match="rows cannot be cut"):
        x.chunk(2, dim=2)


LAYERS = {
    "doubling": lambda: Upsample(3, True),
    "halving": lambda: nn.Conv2d(3, 5, 3, 2, 1),
    "3x3": lambda: nn.Conv2d(3, 5, 3, 1, 1),
    "Winograd": lambda: nn.Conv2d(192, 192, 3, 1, 1),
}


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_any_rows_of_a_prepared_layer(name):
    torch.manual_seed(0)
    plain = LAYERS[name]()
    x = torch.randn(2, 192 if name == "Winograd" else 3, 7, 6)
    want, made = plain(x), prepare(plain)(banded(x, Workspace(2**24)))
    assert made.shape == want.shape
    for start, stop in itertools.combinations(range(want.shape[2] + 1), 2):
        rows = Strip().rows(made, start, stop)
        torch.testing.assert_close(rows, want[:, :, start:stop], rtol=1e-5, atol=1e-5)


def test_a_budget_below_one_row_says_what_would_do():
    x = banded(torch.randn(1, 4, 8, 4096), Workspace(2**14))
    with pytest.raises(MemoryBudgetError, match="smaller than one row of this canvas needs; 1 MiB"):
        F.silu(x).whole()
