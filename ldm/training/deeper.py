"""A UNet that begins as another one of the same widths, with as many blocks per level or not.

What a deeper one has more passes its input on. Of the residual blocks of a level, the first ones on
the way down are the other network's; the rest add nothing until they have learned something. On the
way up, where each block takes a skip connection, the first one changes the width, and the last ones
take what those of the other network took. From a deeper network the blocks of the same places are
taken, which is a start and no more.
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
    """How many residual blocks each level has on the way down, here and there."""

    ours: int
    theirs: int

    def name_there(self, name: str) -> str | None:
        """A parameter's name in the other network; None: it has none like it."""
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
        level, place = divmod(number - 1, self.ours + 1)
        if self.theirs <= place < self.ours:
            return None
        return 1 + level * (self.theirs + 1) + (self.theirs if place == self.ours else place)

    def _up(self, number: int) -> int | None:
        """Output blocks: per level one more than on the way down."""
        level, place = divmod(number, self.ours + 1)
        more = self.ours - self.theirs
        if 0 < place <= more:
            return None
        return level * (self.theirs + 1) + (place - more if place else 0)

    @torch.no_grad()
    def pass_on(self, unet: UNetModel) -> None:
        """Let the output blocks that the other network lacks pass on what comes from below.

        Those on the way down do so as they are built: their last convolution is zero.
        """
        for number, block in enumerate(unet.output_blocks):
            if self._up(number) is None:
                skip = block[0].skip_connection
                nn.init.dirac_(skip.weight)
                nn.init.zeros_(skip.bias)
