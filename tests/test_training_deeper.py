"""A network that begins as one with other blocks per level."""

from types import SimpleNamespace

import pytest
import torch

from ldm.catalog.registry import load_preset
from ldm.errors import TrainingError
from ldm.models.unet import UNetModel
from ldm.training.deeper import Depths
from ldm.training.diffusion import DiffusionRun
from ldm.training.snapshots import export_weights, start_alike


def test_a_relative_that_cannot_be_one_is_named():
    run = SimpleNamespace(preset=load_preset("demo-semantic"))
    with pytest.raises(TrainingError, match="a preset of a UNet, got demo-kl-f4"):
        DiffusionRun._start_from(run, load_preset("demo-kl-f4"))


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
    taken = start_alike(deep, path, 3, depths.name_there)
    assert taken == len(shallow.state_dict())
    shallow.load_state_dict({n: v.half().float() for n, v in shallow.state_dict().items()})
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 700])
    torch.testing.assert_close(deep(x, t), shallow(x, t))


@pytest.mark.parametrize(("fewer", "blocks"), [(1, 2), (2, 3), (1, 3)])
@torch.no_grad()
def test_a_shallower_network_takes_every_weight_from_a_deeper_one(
    tmp_path, randomise, fewer, blocks
):
    deep = randomise(UNetModel(num_res_blocks=blocks, **HOW))
    shallow = UNetModel(num_res_blocks=fewer, **HOW)
    path = tmp_path / "deep.safetensors"
    export_weights(path, deep.state_dict(), {})
    taken = start_alike(shallow, path, 3, Depths(fewer, blocks).name_there)
    assert taken == len(shallow.state_dict())
    # the first block and the one before the canvas are those of the other network
    for way, here, there in (
        ("input", 1, 1),
        ("output", 3 * (fewer + 1) - 1, 3 * (blocks + 1) - 1),
    ):
        name = "{}_blocks.{}.0.in_layers.2.weight"
        ours = shallow.get_parameter(name.format(way, here))
        theirs = deep.get_parameter(name.format(way, there))
        torch.testing.assert_close(ours, theirs.half().float())
