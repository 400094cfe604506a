"""Initialise a UNet from a trained UNet of the same widths, maybe with other blocks per level.

Blocks that only the new network has pass their input on at first. In each level of the encoder, the
first residual blocks are taken from the trained network, and further ones add zero until they are
trained. In the decoder, every block takes a skip connection: the first block of a level, which
changes the width, and the last ones correspond to the trained network's, so that these see the same
skips. A trained network with more blocks works too, but only as a rough initialisation.
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
    """Residual blocks per encoder level: in the new network (ours) and the trained one (theirs)."""

    ours: int
    theirs: int

    def name_there(self, name: str) -> str | None:
        """The name of the matching parameter in the trained network; None if there is none."""
        found = _NUMBERED.fullmatch(name)
        if found is None:
            return name
        before, way, number, after = found.groups()
        other = (self._down if way == "input" else self._up)(int(number))
        return None if other is None else f"{before}{other}{after}"

    def _down(self, number: int) -> int | None:
        """Map an input block: a convolution, or a level's residual blocks and downsampler."""
        if number == 0:
            return 0
        level, place = divmod(number - 1, self.ours + 1)
        if self.theirs <= place < self.ours:
            return None
        return 1 + level * (self.theirs + 1) + (self.theirs if place == self.ours else place)

    def _up(self, number: int) -> int | None:
        """Map an output block: each level has one residual block more than in the encoder."""
        level, place = divmod(number, self.ours + 1)
        more = self.ours - self.theirs
        if 0 < place <= more:
            return None
        return level * (self.theirs + 1) + (place - more if place else 0)

    @torch.no_grad()
    def pass_on(self, unet: UNetModel) -> None:
        """Make output blocks that the trained network lacks pass on their input without the skip.

        New encoder blocks are identities as built, since their last convolution is zero.
        """
        for number, block in enumerate(unet.output_blocks):
            if self._up(number) is None:
                skip = block[0].skip_connection
                nn.init.dirac_(skip.weight)
                nn.init.zeros_(skip.bias)
