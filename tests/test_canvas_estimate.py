"""The memory line of a network agrees with what its runs take."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ldm.canvas.estimate import LiveBytes, line_of, work_of
from ldm.models.autoencoder import Decoder
from ldm.models.unet import UNetModel


def test_live_bytes_count_what_is_alive_at_once():
    with LiveBytes() as live:
        a = torch.ones(1000)  # 4000 bytes
        b = a.view(10, 100)  # none: a view
        c = a + 1  # 8000 together
        del a, b
        d = c * 2  # 8000 again
        del c, d
    assert live.peak == 8000
    assert live.now == 0


@pytest.mark.parametrize("sides", [(16, 32)])
@torch.no_grad()
def test_the_line_holds_on_a_larger_canvas(sides):
    decoder = Decoder(
        ch=16, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(), resolution=32, out_ch=3,
        z_channels=4, norm_groups=8, attn_type="none",
    )  # fmt: skip
    unet = UNetModel(
        in_channels=4, out_channels=4, model_channels=32, num_res_blocks=1,
        attention_resolutions=(), channel_mult=(1, 2), num_heads=2,
    )  # fmt: skip
    networks = {
        "decoder": lambda side: decoder(torch.randn(1, 4, side, side)),
        "unet": lambda side: unet(torch.randn(1, 4, side, side), torch.tensor([5])),
    }
    for run in networks.values():
        line = line_of(run, sides)
        with LiveBytes() as live:
            run(64)
        assert line.at(64 * 64) == pytest.approx(live.peak, rel=0.05)


@torch.no_grad()
def test_operations_are_those_that_torch_counts():
    unet = UNetModel(
        in_channels=4, out_channels=4, model_channels=32, num_res_blocks=1,
        attention_resolutions=(), channel_mult=(1, 2), num_heads=2,
    )  # fmt: skip
    unet.middle_block[1] = torch.nn.Identity()  # torch does not count its attention on a CPU

    def run(x):
        made = unet(x, torch.tensor([5]))
        return made if isinstance(made, torch.Tensor) else made.whole()

    work = work_of(run, lambda side: torch.zeros(1, 4, side, side), 8)
    x = torch.zeros(1, 4, 48, 24)
    with FlopCounterMode(display=False) as counted:
        run(x)
    # but for the time embedding, which is the same on every canvas
    assert work.of(1, 48 * 24) == pytest.approx(counted.get_total_flops(), rel=0.002)
