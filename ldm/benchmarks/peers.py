"""The same networks with the same weights in the diffusers library, for comparison.

diffusers is needed for these benchmarks only: `pip install diffusers`.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import nn

from ldm.catalog.architecture import FirstStageConfig, ScheduleConfig, UNetConfig
from ldm.checkpoints.diffusers_names import first_stage_to_diffusers
from ldm.checkpoints.diffusers_unet import unet_to_diffusers
from ldm.errors import RequestError

TILE = 512  # side in px of the tiles of a tiled decode, as in the published pipelines

# diffusers is optional and imports its modules lazily.
# ruff: noqa: PLC0415


def check_installed() -> None:
    """Check that diffusers is installed.

    Raises:
        RequestError: If diffusers is not installed.
    """
    if importlib.util.find_spec("diffusers") is None:
        raise RequestError("--against diffusers needs that library; `pip install diffusers`.")


def diffusers_unet(about: UNetConfig, unet: nn.Module) -> nn.Module:
    """Build diffusers' UNet, which shares the weights of ours.

    Args:
        about: The configuration that `unet` was built from.
        unet: A `UNetModel`.
    """
    from diffusers import UNet2DConditionModel, UNet2DModel

    widths = [about.model_channels * multiple for multiple in about.channel_mult]
    attended = [2**i in about.attention_resolutions for i in range(len(widths))]
    kind = "CrossAttn" if about.use_spatial_transformer else "Attn"
    settings: dict[str, Any] = {
        "in_channels": about.in_channels,
        "out_channels": about.out_channels,
        "layers_per_block": about.num_res_blocks,
        "block_out_channels": widths,
        "down_block_types": [f"{kind if on else ''}DownBlock2D" for on in attended],
        "up_block_types": [f"{kind if on else ''}UpBlock2D" for on in reversed(attended)],
        "norm_eps": 1e-5,
    }
    width = about.num_head_channels if about.num_heads == -1 else widths[-1] // about.num_heads
    with torch.device("meta"):
        if about.use_spatial_transformer:
            heads = [w // width if about.num_heads == -1 else about.num_heads for w in widths]
            theirs = UNet2DConditionModel(
                **settings, attention_head_dim=heads, cross_attention_dim=about.context_dim
            )
        else:
            theirs = UNet2DModel(
                **settings,
                attention_head_dim=width,
                downsample_type="resnet" if about.resblock_updown else "conv",
                upsample_type="resnet" if about.resblock_updown else "conv",
                resnet_time_scale_shift="scale_shift" if about.use_scale_shift_norm else "default",
            )
    weights = unet_to_diffusers(unet.state_dict(), about.num_res_blocks, width)
    return _filled(theirs, weights)


def diffusers_first_stage(about: FirstStageConfig, first_stage: nn.Module) -> nn.Module:
    """Build diffusers' autoencoder, which shares the weights of ours."""
    from diffusers import AutoencoderKL, VQModel

    side = about.resolution
    attended = [side >> i in about.attn_resolutions for i in range(len(about.ch_mult))]
    settings: dict[str, Any] = {
        "latent_channels": about.z_channels,
        "layers_per_block": about.num_res_blocks,
        "block_out_channels": [about.ch * multiple for multiple in about.ch_mult],
        "down_block_types": [f"{'Attn' if on else ''}DownEncoderBlock2D" for on in attended],
        "up_block_types": [f"{'Attn' if on else ''}UpDecoderBlock2D" for on in reversed(attended)],
        "norm_num_groups": about.norm_groups,
        "mid_block_add_attention": about.attn_type != "none",
    }
    with torch.device("meta"):
        if about.kind == "kl":
            theirs = AutoencoderKL(**settings, sample_size=TILE)
        else:
            theirs = VQModel(
                **settings, num_vq_embeddings=about.n_embed, vq_embed_dim=about.embed_dim
            )
    return _filled(theirs, first_stage_to_diffusers(first_stage.state_dict()))


def best(theirs: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert a diffusers network to its fastest form on a CPU: `dtype` and channels-last.

    `nn.Module.to` is used, since diffusers' own `to` warns of modules that do not exist.
    """
    return nn.Module.to(theirs, dtype, memory_format=torch.channels_last)


def diffusers_ddim(about: ScheduleConfig, prediction: str) -> Any:
    """Return diffusers' DDIM scheduler, set up to visit the same time steps as ours."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=about.start,
        beta_end=about.end,
        beta_schedule=about.kind,
        num_train_timesteps=about.length,
        prediction_type={"eps": "epsilon", "x0": "sample", "v": "v_prediction"}[prediction],
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def _filled(model: nn.Module, weights: dict[str, torch.Tensor]) -> nn.Module:
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval().requires_grad_(False)
