"""Names of other releases and libraries → ours. Dicts in, new dicts out; nothing is changed in place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from latentsync.core.errors import WeightsError
from latentsync.models.audio_encoder import rename_hub_whisper, rename_openai_whisper

__all__ = [
    "StartReport",
    "rename_hub_whisper",
    "rename_openai_whisper",
    "rename_unet_1_0",
    "rename_vae",
    "start_from_sd",
]

_VAE_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_VAE_OLD = re.compile(r"(mid_block\.attentions\.\d+)\.(query|key|value|proj_attn)\.")
_VAE_SQUARE = re.compile(r"mid_block\.attentions\.\d+\.(to_q|to_k|to_v|to_out\.0)\.weight$")


def rename_unet_1_0(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """LatentSync 1.0's audio attention under the names of 1.5 and later (docs/method.md#weights)."""
    return {
        key.replace(".audio_cross_attn.norm.", ".norm2.").replace(".audio_cross_attn.attn.", ".attn2."): value
        for key, value in state.items()
    }


def rename_vae(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Both spellings of diffusers' autoencoder attention, and its 1×1-convolution form, as today's names and shapes."""
    renamed = {}
    for key, value in state.items():
        key = _VAE_OLD.sub(lambda found: f"{found[1]}.{_VAE_NAMES[found[2]]}.", key)
        if _VAE_SQUARE.search(key) and value.ndim == 4:
            value = value.flatten(1)
        renamed[key] = value
    return renamed


@dataclass(frozen=True, slots=True)
class StartReport:
    """What `start_from_sd` took over.

    Attributes:
        copied: names taken over as they are.
        adapted: names whose tensor was rebuilt from the source (the stem).
        left: names that keep their initial values: temporal layers, and what has another shape in the source.
    """

    copied: tuple[str, ...]
    adapted: tuple[str, ...]
    left: tuple[str, ...]


def start_from_sd(own: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], StartReport]:
    """Values to start a training from: a Stable Diffusion 1.5 U-Net, text-to-image or inpainting, in diffusers' names.

    The stem: text-to-image weights go to input channels 0-3, the other channels are zero. Inpainting weights (9
    channels: latent, mask, masked latent, our order) go to channels 0-8 with the polarity of the mask turned round:
    SD says 1 = generate, we say 1 = keep, so w·m becomes sum(w) - w·m'. Text attention keys and values (768 wide) don't
    fit audio states and keep their initial values.

    Args:
        own: `state_dict()` of the U-Net to start.
        source: the SD state dict.
    Returns: a full state dict for strict loading, in the dtypes of `own`, and the report.
    Raises:
        WeightsError: `source` isn't an SD 1.5 U-Net (a name is unknown, or a spatial layer is missing or misshapen).
    """
    spatial = {key for key in own if "motion_modules." not in key}
    if source.keys() != spatial:
        missing, extra = sorted(spatial - source.keys()), sorted(source.keys() - spatial)
        raise WeightsError(
            f"not an SD 1.5 U-Net for this architecture: {len(missing)} names missing ({', '.join(missing[:3])}), "
            f"{len(extra)} unknown ({', '.join(extra[:3])}). Give the diffusers-format `unet` file"
        )
    result, copied, adapted, left = dict(own), [], [], sorted(set(own) - spatial)
    for key in sorted(spatial):
        target, value = own[key], source[key]
        if key in ("conv_in.weight", "conv_in.bias"):
            continue
        if target.shape == value.shape:
            result[key] = value.to(target.dtype)
            copied.append(key)
        elif key.endswith((".attn2.to_k.weight", ".attn2.to_v.weight")) or key.startswith("conv_out."):
            left.append(key)
        else:
            raise WeightsError(
                f"{key}: {tuple(value.shape)} in the SD weights, {tuple(target.shape)} here. Use the widths of SD 1.5"
            )
    stem = _stem(own["conv_in.weight"], source["conv_in.weight"], source["conv_in.bias"])
    result["conv_in.weight"], result["conv_in.bias"] = stem
    adapted += ["conv_in.bias", "conv_in.weight"]
    return result, StartReport(tuple(copied), tuple(adapted), tuple(sorted(left)))


def _stem(own: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    channels = weight.shape[1]
    if channels not in (4, 9) or own.shape[1] < channels or own.shape[0] != weight.shape[0]:
        raise WeightsError(
            f"conv_in.weight: {tuple(weight.shape)} in the SD weights, {tuple(own.shape)} here. "
            "Give SD 1.5 (4 input channels) or SD 1.5 inpainting (9), and a U-Net with at least as many"
        )
    stem = torch.zeros_like(own)
    stem[:, :channels] = weight.to(own.dtype)
    bias = bias.to(own.dtype).clone()
    if channels == 9:
        bias += stem[:, 4].sum(dim=(1, 2))
        stem[:, 4] *= -1
    return stem, bias
