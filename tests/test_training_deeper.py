"""A deeper network that begins as a shallower one."""

from types import SimpleNamespace

import pytest
import torch

from ldm.catalog.registry import load_preset
from ldm.errors import TrainingError
from ldm.models.unet import UNetModel
from ldm.training.deeper import Depths
from ldm.training.diffusion import DiffusionRun
from ldm.training.snapshots import export_weights, start_alike


@pytest.mark.parametrize(
    ("name", "says"), [("demo-kl-f4", "no UNet"), ("celeba256", "2 blocks per level")]
)
def test_a_relative_that_cannot_be_one_is_named(name, says):
    run = SimpleNamespace(preset=load_preset("demo-semantic"))
    with pytest.raises(TrainingError, match=f"at most 1 blocks per level, got {name} with {says}"):
        DiffusionRun._start_from(run, load_preset(name))


HOW = {
    "in_channels": 3, "out_channels": 3, "model_channels": 32, "channel_mult": (1, 2, 2),
    "attention_resolutions": (2,), "num_heads": 2,
}  # fmt: skip


@pytest.mark.parametrize(("fewer", "blocks"), [(1, 2), (1, 3), (2, 3), (2, 2)])
@torch.no_grad()
def test_a_deeper_network_begins_as_the_shallower_one(tmp_path, randomise, fewer, blocks):
    shallow = randomise(UNetModel(num_res_blocks=fewer, **HOW))
    deep = UNetModel(num_res_blocks=blocks, **HOW).eval()
    path, depths = tmp_path / "shallow.safetensors", Depths(blocks, fewer)
    export_weights(path, shallow.state_dict(), {})
    depths.pass_on(deep)
    taken = start_alike(deep, path, 3, depths.shallower)
    assert taken == len(shallow.state_dict())
    shallow.load_state_dict({n: v.half().float() for n, v in shallow.state_dict().items()})
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 700])
    torch.testing.assert_close(deep(x, t), shallow(x, t))
