"""Compute the recorded tensors of a golden case with our own code, name by name."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm.canvas.windows import Windows, windowed, windowed_decode
from ldm.diffusion.conditioning import Conditioning
from ldm.evaluation.cases import Case, Named, full
from ldm.evaluation.sampler_routes import sampler_runs
from ldm.models.first_stage import DiagonalGaussian, IdentityFirstStage, VQModel


def outputs(case: Case) -> Named:
    """Yield (name, value) of every tensor of the case that our code can compute."""
    if case.architecture.classifier is not None:
        yield from _classifier(case)
        return
    with torch.no_grad():
        if "fs/" in case:
            yield from _first_stage(case)
        if "posterior_clamp/" in case:
            yield from _posterior("posterior_clamp", case.tensors["posterior_clamp/moments"])
        if case.architecture.unet is None:
            return
        yield from _inpainting_inputs(case)
        yield from _conditioners(case)
        yield from _unets(case)
        yield from sampler_runs(case)
        yield from _patched(case)
    yield from _losses(case)


def _first_stage(case: Case) -> Named:
    stage, image = case.first_stage, case.tensors["in/image"]
    if not isinstance(stage, IdentityFirstStage):
        yield "fs/encoder_h", stage.encoder(image)
        is_vq = isinstance(stage, VQModel)
        yield from (_vq(stage, image) if is_vq else _kl(case, stage, image))
    if "fs/latent" in case:
        model = case.averaged
        latents = model.encode(image, case.tensors.get("fs/encoding_noise"))
        yield "fs/latent", latents
        yield "fs/latent_decoded", model.decode(latents)
        yield "fs/scale_factor", torch.tensor([model.scale_factor])


def _vq(stage: VQModel, image: Tensor) -> Named:
    z = stage.encode(image)
    quantised, loss, indices = stage.quantize(z)
    flat = z.permute(0, 2, 3, 1).flatten(0, 2)
    exact = stage.quantize.embedding(indices)
    distances = (flat[:, None] - stage.quantize.embedding.weight[None]).square().sum(2)
    nearest = distances.topk(2, largest=False).values
    yield "fs/prequant", z
    yield "fs/indices", indices
    yield "fs/zq", quantised
    yield "fs/zq_exact", exact.view(len(z), *z.shape[2:], -1).permute(0, 3, 1, 2)
    yield "fs/codebook_loss", loss.view(1)
    yield "fs/vq_margin", nearest[:, 1] - nearest[:, 0]
    yield "fs/decode_quantized", stage.decode(z)
    yield "fs/decode_force_not_quantize", stage.decode(z, force_not_quantize=True)


def _kl(case: Case, stage: nn.Module, image: Tensor) -> Named:
    posterior = stage.encode(image)
    sample = posterior.sample(case.tensors["fs/posterior_noise"])
    yield "fs/moments", stage.quant_conv(stage.encoder(image))
    yield "fs/mean", posterior.mean
    yield "fs/logvar_clamped", posterior.logvar
    yield "fs/std", posterior.std
    yield "fs/kl", posterior.kl()
    yield "fs/posterior_sample", sample
    yield "fs/decode_mode", stage.decode(posterior.mode())
    yield "fs/decode_sample", stage.decode(sample)


def _posterior(prefix: str, moments: Tensor) -> Named:
    posterior = DiagonalGaussian(moments)
    yield f"{prefix}/mean", posterior.mean
    yield f"{prefix}/logvar", posterior.logvar
    yield f"{prefix}/std", posterior.std
    yield f"{prefix}/var", posterior.std.square()
    yield f"{prefix}/kl", posterior.kl()


def _inpainting_inputs(case: Case) -> Named:
    if "inpaint/" not in case:
        return
    masked, mask = _masked(case)
    yield "inpaint/masked_image", masked
    yield "inpaint/mask", mask
    concat = case.condition("cond").concat
    yield "inpaint/masked_latent", concat[:, :-1]
    yield "inpaint/mask_latent", concat[:, -1:]


def _masked(case: Case) -> tuple[Tensor, Tensor]:
    """The picture with a black hole, and the mask, both in [-1, 1]."""
    image, mask = case.tensors["inpaint/image01"], case.tensors["inpaint/mask01"]
    return (1 - mask) * image * 2 - 1, mask * 2 - 1


def _conditioners(case: Case) -> Named:
    for branch in ("cond", "uncond"):
        if f"{branch}/output" in case.tensors:
            made = case.condition(branch)
            yield f"{branch}/output", made.concat if made.context is None else made.context


def _unets(case: Case) -> Named:
    for prefix, model in (("unet", case.averaged), ("unet_raw", case.raw)):
        if f"{prefix}/" not in case:
            continue
        cond, x = case.condition("cond"), case.tensors["in/x"]
        for t in case.steps(rf"{prefix}/t(\d+)/eps"):
            with Trace(model.unet) as trace:
                yield f"{prefix}/t{t}/eps", model.denoise(x, full(x, t), cond)
            yield f"{prefix}/t{t}/trace", trace.table()
        if f"{prefix}/tmixed/t" in case.tensors:
            mixed = case.tensors[f"{prefix}/tmixed/t"]
            yield f"{prefix}/tmixed/eps", model.denoise(x, mixed, cond)
        for t in case.steps(rf"{prefix}/t(\d+)/eps_uncond"):
            empty = case.condition("uncond")
            yield f"{prefix}/t{t}/eps_uncond", model.denoise(x, full(x, t), empty)


class Trace:
    """Records mean, population standard deviation, first and last element of block outputs."""

    def __init__(self, network: nn.Module) -> None:
        blocks = [network.time_embed, *network.input_blocks, network.middle_block]
        self.blocks = [*blocks, *getattr(network, "output_blocks", [])]
        self.rows: list[Tensor] = []

    def __enter__(self) -> Trace:
        self.handles = [block.register_forward_hook(self._note) for block in self.blocks]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _note(self, _block: nn.Module, _inputs: Any, out: Tensor) -> None:
        flat = out.detach().flatten()
        spread = flat.std(correction=0)
        self.rows.append(torch.stack([flat.mean(), spread, flat[0], flat[-1]]))

    def table(self) -> Tensor:
        """The recorded statistics, (blocks, 4)."""
        return torch.stack(self.rows)


def _patched(case: Case) -> Named:
    if "patched/" not in case:
        return
    about, given, model = case.notes["patched"], case.tensors, case.averaged
    cond = Conditioning(concat=given["patched/cond"])
    x, z = given["patched/x"], given["patched/z"]
    for suffix, favour_middle in (("", False), ("_tie_braker", True)):
        windows = Windows(
            size=tuple(about["ks"]),
            stride=tuple(about["stride"]),
            clip=(about["clip_min_weight"], about["clip_max_weight"]),
            favour_middle=favour_middle,
        )
        for t in case.steps(r"patched/eps_t(\d+).*"):
            eps = windowed(model.denoise, windows)(x, full(x, t), cond)
            yield f"patched/eps_t{t}{suffix}", eps
        decoded = windowed_decode(model.decode, windows, z, about["vqf"])
        yield f"patched/decoded{suffix}", decoded


def _losses(case: Case) -> Named:
    given, model = case.tensors, case.raw
    if "q/" not in case:
        return
    schedule, t, noise = model.schedule, given["q/t"], given["q/noise"]
    x_noisy = schedule.q_sample(given["fs/latent"], t, noise)
    yield "q/x_noisy", x_noisy
    if "loss/" not in case:
        return
    with torch.no_grad():
        cond = case.condition("cond")
    error = model.denoise(x_noisy, t, cond) - noise
    per_picture = (error.abs() if case.loss_type == "l1" else error.square()).mean((1, 2, 3))
    loss = per_picture.mean()
    names, weights = zip(*model.unet.named_parameters(), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(loss, weights), strict=True))
    norm = torch.stack([g.square().sum() for g in gradients.values()]).sum().sqrt()
    yield "loss/loss", loss.detach().view(1)
    yield "loss/loss_simple", loss.detach().view(1)
    yield "loss/loss_vlb", (vlb_weights(schedule)[t] * per_picture).mean().detach().view(1)
    yield "loss/unet_grad_l2norm", norm.view(1)
    for name, gradient in gradients.items():
        yield f"loss/grad/{name}", gradient


def vlb_weights(schedule: Any) -> Tensor:
    """Weights of each time step's error in the variational bound (DDPM Eq. 12); t = 0 takes that
    of t = 1."""
    betas = schedule.betas64
    spread = 2 * schedule.posterior_variance.double() * (1 - betas)
    weights = betas.square() / (spread * (1 - schedule.alphas_cumprod.double()))
    weights[0] = weights[1]
    return weights.float()


def _classifier(case: Case) -> Named:
    model, y = case.raw, case.tensors["clf/y"]
    for t in case.steps(r"clf/t(\d+)/logits"):
        x = case.tensors["in/x"].clone().requires_grad_()
        with Trace(model) as trace:
            logits = model(x, full(x, t))
        yield f"clf/t{t}/logits", logits.detach()
        yield f"clf/t{t}/trace", trace.table()
        log_p = F.log_softmax(logits, dim=1)[torch.arange(len(x)), y]
        yield f"clf/t{t}/cross_entropy", -log_p.detach()
        yield f"clf/t{t}/grad_logp_x", torch.autograd.grad(log_p.sum(), x)[0]
