"""A latent diffusion model: first stage, UNet, conditioner and schedule in one object (LDM Sec. 3).

B, C, h, w: batch, latent channels, latent rows and columns; H, W: picture rows and columns in px.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import as_eps, known_outside
from ldm.diffusion.schedule import NoiseSchedule
from ldm.models.boxes import drawn_boxes
from ldm.models.conditioners import one_hot
from ldm.models.first_stage import DiagonalGaussian, mode_of
from ldm.models.hole import pull_push, touched
from ldm.models.preview import fitted_colours

CUDA_CELLS = 8 * 64 * 64  # latent cells of a batch on CUDA: larger batches are hardly faster
STRIP_VALUES = 2**23  # values of one strip of a one-hot label map, 32 MiB
Tokenizer = Callable[[Sequence[Any]], Tensor]


class LatentDiffusion(nn.Module):
    """The networks, the schedule and the settings of one model, with the methods that tasks call.

    Args:
        unet: The denoising network.
        first_stage: The autoencoder: pixels to unscaled latents and back.
        conditioner: Input -> context or concatenated channels; None passes the input on.
        schedule: Noise schedule of the model's training.
        scale_factor: Latents = scale_factor * code; about 1 / standard deviation of the codes.
        conditioning: "none", "crossattn", "concat" or "hybrid": both, for a hole with words.
        prediction: What the UNet predicts: "eps", "x0" or "v".
        tokenizer: Sentences or layouts -> (B, L) token ids; None for models without tokens.
        classes: Names of the classes in the order of their ids; empty if they are not known.
        null_class: The class id that stands for "no class given"; None: there is none.
        keeps_means: For upscaling: side, in px of the input, of the squares whose mean colour the
            result keeps; 0: none is kept.
        box_classes: Number of classes of the boxes that are drawn into channels beside the latents;
            0: the UNet sees no drawn boxes.
        grey_holes: Whether a hole is grey, and its mask comes before what is around it, as in
            Stable Diffusion's inpainting.
        smooth_holes: Whether a hole is filled smoothly before it is encoded, see also
            `centres_on_guess`; otherwise the hole is black.
        trained_size: Height and width in px of the training pictures; None: not known.
    """

    def __init__(  # noqa: PLR0913  (the parts of a model, by name)
        self,
        *,
        unet: nn.Module,
        first_stage: nn.Module,
        conditioner: nn.Module | None = None,
        schedule: NoiseSchedule,
        scale_factor: float = 1.0,
        conditioning: str = "none",
        prediction: str = "eps",
        tokenizer: Tokenizer | None = None,
        classes: Sequence[str] = (),
        null_class: int | None = None,
        keeps_means: int = 0,
        box_classes: int = 0,
        grey_holes: bool = False,
        smooth_holes: bool = False,
        trained_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.first_stage = first_stage
        self.conditioner = conditioner
        self.schedule = schedule
        self.scale_factor = scale_factor
        self.conditioning = conditioning
        self.prediction = prediction
        self.tokenizer = tokenizer
        self.classes = tuple(classes)
        self.null_class = null_class
        self.keeps_means = keeps_means
        self.box_classes = box_classes
        self.grey_holes = grey_holes
        self.smooth_holes = smooth_holes
        self.trained_size = trained_size
        self.is_prepared = False  # by `inference.prepare`: it can then not be copied or converted
        self.in_float32: Callable[[], LatentDiffusion] | None = None  # loads it again in float32
        self.preview_decoder: Callable[[Tensor], Tensor] | None = None  # None: a linear map
        self._preview: Tensor | None = None

    @property
    def factor(self) -> int:
        """Pixels per latent cell."""
        return self.first_stage.factor

    @property
    def size_multiple(self) -> int:
        """The number of px that the sides of a picture must be multiples of."""
        return self.factor * self.unet.factor

    @property
    def schedule_length(self) -> int:
        """Number of time steps of the noise schedule, T."""
        return self.schedule.length

    @property
    def latent_channels(self) -> int:
        """Channels of the latents, C."""
        return self.unet.out_channels

    @property
    def fills_by_words(self) -> bool:
        """Whether a model, of those that fill holes, can be told what to make in one."""
        return self.conditioning in ("crossattn", "hybrid")

    @property
    def sees_holes(self) -> bool:
        """Whether the UNet is shown what is around a hole; otherwise its predictions are corrected.

        Only models that see them were trained on holes; others are sampled as in RePaint, see
        `ldm.diffusion.guidance.known_outside`.
        """
        return self.conditioning in ("concat", "hybrid")

    @property
    def centres_on_guess(self) -> bool:
        """Whether the UNet denoises the difference to the smooth filling of a hole.

        A model that reads words denoises the latents themselves, as the one without a hole did
        from which its training started.
        """
        return self.smooth_holes and not self.fills_by_words

    @property
    def device(self) -> torch.device:
        """Device of the UNet's weights."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype that the UNet computes in."""
        return next(self.unet.parameters()).dtype

    @property
    def cells_at_once(self) -> int:
        """Latent cells of a batch that keep the device busy; 0: use the default of the CPU."""
        return CUDA_CELLS if self.device.type == "cuda" else 0

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape (C, h, w) of the latents of a picture.

        Args:
            height: Height of the picture in px.
            width: Width of the picture in px.

        Raises:
            ValueError: If a side is not a multiple of `size_multiple`.
        """
        multiple = self.size_multiple
        if height % multiple or width % multiple or min(height, width) < multiple:
            raise ValueError(f"sides must be multiples of {multiple} px, got {height} x {width}")
        return self.latent_channels, height // self.factor, width // self.factor

    def wait(self) -> None:
        """Block until the device has done all work queued here, so that it can be timed."""
        if self.device.type == "cuda":
            # not the whole device: that is forbidden while another thread records a graph
            torch.cuda.current_stream(self.device).synchronize()
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Encode pictures to scaled latents.

        Args:
            image: (B, 3, H, W) in [-1, 1], on any device.
            noise: Standard normal (B, C, h, w) to sample a KL posterior with; None: its mode.

        Returns:
            (B, C, h, w).

        Raises:
            TypeError: If the pictures are not of floating-point numbers.
        """
        if not image.is_floating_point():
            raise TypeError(
                f"pictures must be floating-point in [-1, 1], got {image.dtype}; "
                "ldm.images.to_tensor makes such tensors of arrays"
            )
        return self.scale_factor * self._code(image.to(self.device, self.dtype), noise)

    def _code(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Encode pictures to unscaled latents."""
        code = self.first_stage.encode(image)
        is_sampled = noise is not None and isinstance(code, DiagonalGaussian)
        return code.sample(noise) if is_sampled else mode_of(code)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode scaled latents (B, C, h, w) to (B, 3, H, W), about [-1, 1], not clamped.

        The latents may be on any device and, as those of a sampler, in float32.
        """
        latents = latents.to(self.device, self.dtype)
        return self.first_stage.decode(latents / self.scale_factor)

    def condition(self, inputs: Any) -> Conditioning:
        """Turn what the user gave into the model's conditioning.

        Args:
            inputs: Sentences, layouts or their token ids, class ids, one-hot label maps, pictures.
                None for a model without conditions, and only for it.

        Raises:
            TypeError: If the inputs are no tensor and the model has no tokenizer, or one sentence
                and not a list, or anything for a model without conditions.
        """
        if self.conditioning == "none":
            if inputs is not None:
                given = type(inputs).__name__
                raise TypeError(f"this model has no conditions: inputs must be None, got {given}")
            return Conditioning()
        if isinstance(inputs, str):  # which is a list of letters, too
            raise TypeError(f"sentences must be a list, got {inputs!r:.80}")
        if self.tokenizer is not None and not isinstance(inputs, Tensor):
            inputs = self.tokenizer(inputs)
        if not isinstance(inputs, Tensor):
            raise TypeError(f"this model takes tensors, got {type(inputs).__name__}")
        inputs = inputs.to(self.device)
        if inputs.is_floating_point():
            inputs = inputs.to(self.dtype)
        code = inputs if self.conditioner is None else self.conditioner(inputs)
        return Conditioning(**{_FIELDS[self.conditioning]: code})

    def condition_map(self, labels: Tensor) -> Conditioning:
        """Return the conditioning of semantic models, computed in strips of the label map.

        The one-hot map of all classes takes many times the memory of the picture. A latent cell
        depends on its own pixels only, so strips give the same result as the whole map.

        Args:
            labels: (B, H, W) integer class ids; the sides are multiples of a latent cell.
        """
        classes, factor = self.conditioner.classes, self.factor
        rows = factor * max(1, STRIP_VALUES // (classes * factor * labels[:, 0].numel()))
        parts = (part.to(self.device) for part in labels.split(rows, 1))
        strips = [self.condition(one_hot(part, classes)).concat for part in parts]
        return Conditioning(concat=torch.cat(strips, dim=2))

    def condition_layout(self, tokens: Tensor, height: int, width: int) -> Conditioning:
        """Return the conditioning of layout models.

        Args:
            tokens: (B, L) int64, see `ldm.catalog.layout_tokens`.
            height: Height of the canvas in latent cells.
            width: Width of the canvas in latent cells.
        """
        cond = self.condition(tokens)
        if not self.box_classes:
            return cond
        vocabulary = self.tokenizer.vocab_size
        drawn = drawn_boxes(tokens, vocabulary, self.box_classes, (height, width))
        return replace(cond, concat=drawn.to(self.device, self.dtype))

    def condition_hole(self, image: Tensor, mask: Tensor) -> Conditioning:
        """Return the conditioning of inpainting models: latents of the known part, and the mask.

        As in the authors' training, the hole is black, pixels and mask lie in [-1, 1], the latents
        are neither quantised nor scaled, and the mask is resized by nearest neighbour. A black hole
        changes the statistics of the group norms and so every latent of the picture; models with
        `smooth_holes` get the hole filled with the colours around it instead. Stable Diffusion's
        (`grey_holes`) get a grey one, scaled latents, and the mask before them, in [0, 1].

        Models that do not see holes keep what is known of the picture: the latents around the hole,
        filled smoothly, and all cells that the hole touches as the part to make.

        Args:
            image: (B, 3, H, W) in [-1, 1].
            mask: (B, 1, H, W); 1 = generate, 0 = keep.

        Raises:
            ValueError: If the mask holds anything but 0 and 1.
        """
        if not ((mask == 0) | (mask == 1)).all():
            raise ValueError("the mask must hold 0 and 1 only")
        image, mask = (part.to(self.device, self.dtype) for part in (image, mask))
        if self.grey_holes:
            latents = self.encode(image.masked_fill(mask.bool(), 0.0))
            mask = F.interpolate(mask, size=latents.shape[2:], mode="nearest")
            return Conditioning(concat=torch.cat([mask, latents], dim=1))
        if not self.sees_holes:
            latents = self.encode(pull_push(image, mask))
            return Conditioning(known=torch.cat([latents, touched(mask, self.factor)], dim=1))
        fill = pull_push(image, mask) if self.smooth_holes else image.masked_fill(mask.bool(), -1.0)
        latents = self._code(fill)
        mask = F.interpolate(2 * mask - 1, size=latents.shape[2:], mode="nearest")
        return Conditioning(concat=torch.cat([latents, mask], dim=1))

    def denoise(self, x_t: Tensor, t: Tensor | int, cond: Conditioning) -> Tensor:
        """Predict the noise in x_t.

        Args:
            x_t: (B, C, h, w).
            t: (B,) int64 in [0, schedule.length), or one for all.
            cond: Conditioning of the same batch.

        Returns:
            eps, (B, C, h, w), whatever the network itself predicts.

        Raises:
            ValueError: If the batches differ, or a time step is not of the schedule.
        """
        self.schedule.check(t)
        if len(cond) not in (0, len(x_t)):
            raise ValueError(f"{len(cond)} conditions do not go with {len(x_t)} pictures")
        t = torch.as_tensor(t, device=x_t.device).expand(len(x_t))
        if self.centres_on_guess:
            # Group norms pass absolute colours on badly. Relative to the filling the known part is
            # zero, which the network tells from noise easily.
            x_t = self.schedule.recentred(x_t, t, self.guess(cond.concat))
        x = x_t if cond.concat is None else torch.cat([x_t, cond.concat], dim=1)
        pictures = len(x) // cond.copies if cond.differs_in_context else len(x)
        output = self.unet(
            x[:pictures].to(self.dtype), t[:pictures], context=cond.context, y=cond.label
        )
        eps = as_eps(output.to(x_t.dtype), x_t, t, self.schedule, self.prediction)
        if cond.known is None:
            return eps
        return known_outside(eps, x_t, t, self.schedule, cond.known)

    def guess(self, concat: Tensor) -> Tensor:
        """Return the smooth filling in an inpainting `concat`, as scaled latents (B, C, h, w)."""
        return self.scale_factor * concat[:, : self.latent_channels]

    def mask_in(self, concat: Tensor) -> Tensor:
        """Return the mask in the `concat` of `condition_hole`: (B, 1, h, w), 1 in the hole."""
        return concat[:, :1] if self.grey_holes else (concat[:, -1:] + 1) / 2

    @torch.no_grad()
    def preview(self, latents: Tensor, most: int) -> Tensor:
        """Return a rough picture (B, 3, H, W), about [-1, 1], with sides of at most `most` px.

        It is drawn by the first stage's small decoder, if it has one, else by a linear map of each
        cell: in a fiftieth of the time of decoding, or less.

        Args:
            latents: (B, C, h, w).
            most: Longest side in px; a smaller canvas has its own size.
        """
        sides = [self.factor * side for side in latents.shape[2:]]
        scale = min(1.0, most / max(sides))
        size = [max(1, round(scale * side)) for side in sides]
        if self.preview_decoder is None:
            weight = self.fit_preview().to(latents.dtype)
            rough = F.conv2d(latents, weight[:, :-1, None, None], weight[:, -1])
        else:
            if scale < 1:  # larger cells than were learned, which does no harm to a rough picture
                latents = F.avg_pool2d(latents, math.ceil(1 / scale), ceil_mode=True)
            rough = self.preview_decoder(latents.float() / self.scale_factor)
        return rough if [*rough.shape[2:]] == size else F.interpolate(rough, size, mode="bicubic")

    @torch.no_grad()
    def fit_preview(self) -> Tensor:
        """Return the linear map of `preview`, (3, C + 1), fitted at the first call.

        It is a least-squares fit from latents and a constant to the mean colour of decoded cells.
        """
        if self._preview is None:
            self._preview = fitted_colours(self.decode, self.latent_channels, self.factor)
        return self._preview


_FIELDS = {"crossattn": "context", "concat": "concat", "hybrid": "context"}
