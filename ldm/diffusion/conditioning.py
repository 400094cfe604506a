"""The conditioning: what the denoiser is given besides x_t and t.

B: batch; C, h, w: channels and sides of the latents; K: channels of concatenated maps; L, D:
context tokens and their width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ldm.diffusion.resizing import averaged


@dataclass(frozen=True)
class Conditioning:
    """The three ways to condition a UNet, and what is known of its output; None where not used.

    Args:
        concat: Channels concatenated to x_t, (B, K, h, w).
        context: Tokens for cross-attention, (B, L, D).
        label: Class ids whose embedding is added to the time embedding, (B,) int64.
        known: For a model that was not trained on holes: the latents x0 outside of a hole, and as
            the last channel 1 where the picture is made and 0 where it is known, (B, C + 1, h, w).
        copies: Number of conditions per picture: the batch is this many copies of the same pictures
            at the same time steps, one copy after the other. What does not depend on the condition
            may be computed once for all copies.
        concat_is_shared: Whether all copies of a picture have the same concatenated channels.
    """

    concat: Tensor | None = None
    context: Tensor | None = None
    label: Tensor | None = None
    known: Tensor | None = None
    copies: int = 1
    concat_is_shared: bool = False

    @property
    def differs_in_context(self) -> bool:
        """Whether copies of a picture differ in the context tokens only."""
        is_alike = self.concat is None or self.concat_is_shared
        return self.context is not None and is_alike and self.label is None

    def shares_concat(self, other: Conditioning) -> bool:
        """Whether the concatenated channels of both are the same memory, as around one hole."""
        a, b = self.concat, other.concat
        if type(a) is not Tensor or type(b) is not Tensor or a.shape != b.shape:
            return a is b
        return (a.data_ptr(), a.stride()) == (b.data_ptr(), b.stride())

    def paired(
        self, other: Conditioning, change: Callable[[Conditioning], Conditioning]
    ) -> tuple[Conditioning, Conditioning]:
        """Change this one and `other`; channels that they share stay shared."""
        ours, theirs = change(self), change(other)
        if self.shares_concat(other):
            theirs = replace(theirs, concat=ours.concat)
        return ours, theirs

    def crop(self, rows: slice, columns: slice) -> Conditioning:
        """Return the conditioning of one window of the latent grid; only maps are cropped."""
        return self.with_maps(lambda part: part[:, :, rows, columns])

    def resized(self, h: int, w: int) -> Conditioning:
        """Return the conditioning of the canvas at another size; only maps are resized."""
        return self.with_maps(lambda part: averaged(part, (h, w)))

    def with_maps(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        """Change the parts that lie on the canvas: `concat` and `known`."""
        if self.concat is None and self.known is None:
            return self
        concat, known = (p if p is None else change(p) for p in (self.concat, self.known))
        return replace(self, concat=concat, known=known)

    def cat(self, other: Conditioning) -> Conditioning:
        """Concatenate this batch and `other`; `copies` is 1 in the result.

        Raises:
            ValueError: If one of the two uses a way of conditioning that the other does not.
        """
        return Conditioning(
            *(_join(a, b) for a, b in zip(self._parts(), other._parts(), strict=True))
        )

    def __len__(self) -> int:
        """Return the number of conditions in the batch; 0 without any part."""
        return next((len(part) for part in self._parts() if part is not None), 0)

    def __bool__(self) -> bool:
        """Return True: a conditioning without any part is one, too."""
        return True

    def expand(self, batch: int) -> Conditioning:
        """Expand a batch of one to `batch` entries, without copying."""
        return self._map(lambda part: part.expand(batch, *part.shape[1:]))

    def to(
        self,
        device: torch.device | str,
        dtype: torch.dtype | None = None,
        *,
        non_blocking: bool = False,
    ) -> Conditioning:
        """Move all parts to `device` and convert floating-point ones to `dtype`."""
        return self._map(
            lambda part: part.to(
                device, dtype if part.is_floating_point() else None, non_blocking=non_blocking
            )
        )

    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.concat, self.context, self.label, self.known

    def _map(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        parts = (None if part is None else change(part) for part in self._parts())
        return Conditioning(*parts, self.copies, self.concat_is_shared)


def _join(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if (a is None) != (b is None):
        raise ValueError("both conditionings must use the same ways to condition")
    return None if a is None else torch.cat([a, b])


Denoise = Callable[[Tensor, Tensor, Conditioning], Tensor]
"""(x_t (B, C, h, w), t (B,), conditioning) -> predicted eps (B, C, h, w)."""
