"""What is given to the denoiser besides x_t and t.

B: batch; K, h, w: channels and sides of concatenated maps; L, D: context tokens and their width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """The three ways to condition a UNet; None where a way is not used.

    Args:
        concat: Channels next to x_t, (B, K, h, w).
        context: Tokens for cross-attention, (B, L, D).
        label: Class ids added to the time embedding, (B,) int64.
        copies: The batch is so many copies of the same pictures at the same time steps, one after
            the other, each under a condition of its own. What does not depend on the condition may
            be computed once for all of them.
    """

    concat: Tensor | None = None
    context: Tensor | None = None
    label: Tensor | None = None
    copies: int = 1

    @property
    def differs_in_context(self) -> bool:
        """Whether copies of a picture differ in nothing but the tokens that they attend to."""
        return self.context is not None and self.concat is None and self.label is None

    def crop(self, rows: slice, columns: slice) -> Conditioning:
        """The conditioning of one window of the latent grid; only `concat` has a place."""
        if self.concat is None:
            return self
        return replace(self, concat=self.concat[:, :, rows, columns])

    def resized(self, h: int, w: int) -> Conditioning:
        """The conditioning of the same canvas at another size; only `concat` has one."""
        if self.concat is None:
            return self
        return replace(self, concat=F.interpolate(self.concat, (h, w), mode="area"))

    def cat(self, other: Conditioning) -> Conditioning:
        """This batch followed by `other`.

        Raises:
            ValueError: If one of the two uses a way that the other does not.
        """
        return Conditioning(
            *(_join(a, b) for a, b in zip(self._parts(), other._parts(), strict=True))
        )

    def expand(self, batch: int) -> Conditioning:
        """A batch of one, repeated without a copy."""
        return self._map(lambda part: part.expand(batch, *part.shape[1:]))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Conditioning:
        """Moved to `device`; floating-point parts turned to `dtype`."""
        return self._map(lambda part: part.to(device, dtype if part.is_floating_point() else None))

    def _parts(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self.concat, self.context, self.label

    def _map(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        parts = (None if part is None else change(part) for part in self._parts())
        return Conditioning(*parts, self.copies)


def _join(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if (a is None) != (b is None):
        raise ValueError("both conditionings must use the same ways to condition")
    return None if a is None else torch.cat([a, b])
