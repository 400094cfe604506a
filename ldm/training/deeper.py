"""A UNet that begins as a shallower one of the same widths: what it has more passes its input on.

Of the residual blocks of a level, the first ones on the way down are the shallower network's; the
others add nothing until they have learned something. On the way up, where each block takes a skip
connection, the first one changes the width, and the last ones take what those of the shallower
network took.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import nn

from ldm.models.unet import UNetModel

_NUMBERED = re.compile(r"(.*\b(input|output)_blocks\.)(\d+)(\..*)")


@dataclass(frozen=True)
class Depths:
    """How many residual blocks each level has on the way down, here and there.

    Args:
        blocks: Of the deeper network.
        fewer: Of the shallower one, at most as many.
    """

    blocks: int
    fewer: int

    def shallower(self, name: str) -> str | None:
        """A parameter's name in the shallower network; None: it has none like it."""
        found = _NUMBERED.fullmatch(name)
        if found is None:
            return name
        before, way, number, after = found.groups()
        other = (self._down if way == "input" else self._up)(int(number))
        return None if other is None else f"{before}{other}{after}"

    def _down(self, number: int) -> int | None:
        """Input blocks: a convolution; per level its residual blocks, then one that halves."""
        if number == 0:
            return 0
        level, place = divmod(number - 1, self.blocks + 1)
        if self.fewer <= place < self.blocks:
            return None
        return 1 + level * (self.fewer + 1) + min(place, self.fewer)

    def _up(self, number: int) -> int | None:
        """Output blocks: per level one more than on the way down."""
        level, place = divmod(number, self.blocks + 1)
        more = self.blocks - self.fewer
        if 0 < place <= more:
            return None
        return level * (self.fewer + 1) + max(0, place - more)

    @torch.no_grad()
    def pass_on(self, unet: UNetModel) -> None:
        """Let the output blocks that the shallower network lacks pass on what comes from below.

        Those on the way down do so as they are built: their last convolution is zero.
        """
        for number, block in enumerate(unet.output_blocks):
            if self._up(number) is None:
                skip = block[0].skip_connection
                nn.init.dirac_(skip.weight)
                nn.init.zeros_(skip.bias)
