"""The architecture is read from the checkpoint; weights are loaded strictly or refused with the names that differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import Tensor, nn

from latentsync.core.errors import WeightsError
from latentsync.models.unet_config import MotionConfig, UNetConfig
from latentsync.models.weights.checkpoints import require_finite

SHOWN = 3


def infer_unet_config(
    state: Mapping[str, Tensor], like: UNetConfig | None = None, where: str = "this file"
) -> UNetConfig:
    """The configuration whose U-Net has exactly these names and shapes.

    Head counts, norm groups, eps and the time sinusoid leave no trace in the shapes: they are taken from `like`
    (default: the released values).

    Raises:
        WeightsError: the names aren't those of a LatentSync U-Net.
    """
    like = like or UNetConfig()
    try:
        return _infer(state, like)
    except (KeyError, IndexError) as error:
        raise WeightsError(
            f"{where}: not a LatentSync U-Net: {error.args[0]} is missing. Give the `latentsync_unet` file"
        ) from error


def _infer(state: Mapping[str, Tensor], like: UNetConfig) -> UNetConfig:
    levels = _count(state, r"down_blocks\.(\d+)\.")
    if not levels:
        raise KeyError("down_blocks.0")
    widths = tuple(state[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in range(levels))
    audio_features = [key for key in state if key.endswith(".attn2.to_k.weight")]
    down_motion = [i for i in range(levels) if f"down_blocks.{i}.{_MOTION}" in state]
    up_motion = [levels - 1 - i for i in range(levels) if f"up_blocks.{i}.{_MOTION}" in state]
    mid_motion = f"mid_block.{_MOTION}" in state
    has_motion = bool(down_motion or up_motion or mid_motion)
    return replace(
        like,
        in_channels=state["conv_in.weight"].shape[1],
        out_channels=state["conv_out.weight"].shape[0],
        block_out_channels=widths,
        layers_per_block=_count(state, r"down_blocks\.0\.resnets\.(\d+)\."),
        down_block_types=_types(state, "down_blocks", levels, "DownBlock3D"),
        up_block_types=_types(state, "up_blocks", levels, "UpBlock3D"),
        cross_attention_dim=state[audio_features[0]].shape[1] if audio_features else like.cross_attention_dim,
        add_audio_layer=bool(audio_features),
        use_motion_module=has_motion,
        motion_module_resolutions=tuple(sorted(2**i for i in up_motion)) if has_motion else (1, 2, 4, 8),
        motion_module_mid_block=mid_motion,
        motion_module_decoder_only=has_motion and not down_motion,
        motion_module_kwargs=_infer_motion(state, like.motion_module_kwargs) if has_motion else MotionConfig(),
    )


_MOTION = "motion_modules.0.temporal_transformer.norm.weight"


def _types(state: Mapping[str, Tensor], side: str, levels: int, name: str) -> tuple[str, ...]:
    return tuple(("CrossAttn" if f"{side}.{i}.attentions.0.norm.weight" in state else "") + name for i in range(levels))


def _infer_motion(state: Mapping[str, Tensor], like: MotionConfig) -> MotionConfig:
    stem = next(key for key in state if key.endswith(_MOTION)).removesuffix("norm.weight")
    inner, width = state[f"{stem}proj_in.weight"].shape
    tables = [value for key, value in state.items() if key.endswith("attention_blocks.0.pos_encoder.pe")]
    block = re.escape(stem) + r"transformer_blocks\."
    return replace(
        like,
        num_transformer_block=_count(state, block + r"(\d+)\."),
        attention_block_types=("Temporal_Self",) * _count(state, block + r"0\.attention_blocks\.(\d+)\."),
        temporal_position_encoding=bool(tables),
        temporal_position_encoding_max_len=tables[0].shape[1] if tables else like.temporal_position_encoding_max_len,
        temporal_attention_dim_div=width // inner,
    )


def _count(names: Iterable[str], pattern: str) -> int:
    """One more than the largest number that the pattern's group finds at the start of a name; 0 = none."""
    found = [int(match[1]) for match in (re.match(pattern, name) for name in names) if match]
    return max(found, default=-1) + 1


def load_strict(module: nn.Module, state: Mapping[str, Tensor], what: str, assign: bool = False) -> None:
    """Load every tensor, or nothing.

    Args:
        module: what is filled; may live on the meta device if `assign`.
        what: the file or model, for the message.
        assign: put the tensors themselves into the module, with their dtype, in place of copying their values.
    Raises:
        WeightsError: names are missing or unknown, or shapes differ; the message counts them and shows the first. Or a
            value is NaN or infinite.
    """
    require_fit(module, state, what)
    require_finite(state, what)
    module.load_state_dict(dict(state), strict=True, assign=assign)


def require_fit(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """What `load_strict` refuses, without loading. Arguments and errors as there; the module may be on meta."""
    own = module.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in sorted(own.keys() & state.keys())
        if own[key].shape != state[key].shape
    ]
    if missing or extra or wrong:
        parts = [
            f"{len(names)} {word} ({', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''})"
            for names, word in ((missing, "missing"), (extra, "unknown"), (wrong, "of another shape"))
            if names
        ]
        raise WeightsError(
            f"{what}: doesn't fit this {type(module).__name__}: {'; '.join(parts)}. "
            "Use the checkpoint and the config of the same release"
        )
