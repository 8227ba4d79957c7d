"""Architecture of a U-Net as a frozen value, read from the `model` section of the released YAML. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from latentsync.config.checked import checked
from latentsync.config.loader import parse_value
from latentsync.core.errors import ConfigError

DOWN_TYPES = {"CrossAttnDownBlock": True, "DownBlock": False}
UP_TYPES = {"CrossAttnUpBlock": True, "UpBlock": False}
MID_TYPES = {"UNetMidBlock3DCrossAttn", "UNetMidBlock2DCrossAttn", "UNetMidBlockCrossAttn"}

# Keys of the released YAML files and of diffusers' config.json that change nothing in the computation.
INERT_KEYS = frozenset({"sample_size", "_class_name", "_diffusers_version", "_name_or_path"})

# Switches of the same files that are only understood at the listed values (the released ones).
FIXED_KEYS: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu",),
    "attention_type": ("default", None),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "audio_condition_method": ("cross_attn", None),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "downsample_padding": (1,),
    "custom_audio_layer": (False, None),
    "dropout": (0, 0.0),
    "dual_cross_attention": (False,),
    "mid_block_scale_factor": (1, 1.0),
    "motion_module_type": ("Vanilla", None),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "resnet_time_scale_shift": ("default",),
    "upcast_attention": (False,),
    "use_inflated_groupnorm": (False, None),
    "use_linear_projection": (False,),
    "unet_use_cross_frame_attention": (False, None),
    "unet_use_temporal_attention": (False, None),
}


RANGES = {
    "in_channels": (1, 4096), "out_channels": (1, 4096), "layers_per_block": (1, 64), "attention_head_dim": (1, 4096),
    "cross_attention_dim": (1, 65536), "norm_num_groups": (1, 4096), "audio_embedding_tokens": (0, 4096),
    "audio_code": (0, 4096), "audio_map_channels": (0, 4096), "audio_lip_points": (0, 4096),
    "num_attention_heads": (1, 4096), "num_transformer_block": (1, 64), "temporal_attention_dim_div": (1, 4096),
    "temporal_position_encoding_max_len": (1, 65536),
}  # fmt: skip
"""What a file may say: far beyond any release, and less than would take a computer down."""
MOST_LEVELS, WIDEST = 12, 65536


def _in_range(config: object, where: str) -> None:
    for key, (low, high) in RANGES.items():
        value = getattr(config, key, low)
        if not low <= value <= high:
            raise ConfigError(f"{where}.{key}", value, f"choose {low} to {high}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionConfig:
    """The temporal modules (`motion_module_kwargs` of the released files).

    Attributes:
        num_attention_heads: heads of every temporal attention.
        num_transformer_block: transformer blocks in a module.
        attention_block_types: one entry per temporal self-attention in a block; only "Temporal_Self" is known.
        temporal_position_encoding: add the sinusoidal table to the input of Q, K and V.
        temporal_position_encoding_max_len: rows of that table, hence the longest clip in frames.
        temporal_attention_dim_div: the width inside a module is the level's width over this.
        zero_initialize: start as the identity (the module's last projection is zero).
    """

    num_attention_heads: int = 8
    num_transformer_block: int = 1
    attention_block_types: tuple[str, ...] = ("Temporal_Self", "Temporal_Self")
    temporal_position_encoding: bool = True
    temporal_position_encoding_max_len: int = 24
    temporal_attention_dim_div: int = 1
    zero_initialize: bool = True

    def __post_init__(self) -> None:
        _in_range(self, "motion_module_kwargs")
        if len(self.attention_block_types) > 64:
            raise ConfigError("motion_module_kwargs.attention_block_types", len(self.attention_block_types), "give 2")
        for kind in self.attention_block_types:
            if kind != "Temporal_Self":
                raise ConfigError("motion_module_kwargs.attention_block_types", kind, 'use "Temporal_Self"')


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetConfig:
    """Everything that decides the shapes and the computation of a `UNet`. Field names are those of the released files.

    Attributes:
        attention_head_dim: despite its name (kept from the files) the **number** of heads of the spatial attentions.
        motion_module_resolutions: down-factors (1, 2, 4, …) of the levels that get temporal modules.
        audio_code: ours; with `audio_embedding_tokens`, the audio features goes through a code of so many numbers and
            speaks to places of the latents too, by a picture of `audio_map_channels` (`models.lip_predictor`). 0 = to
            the time embedding alone.
        audio_map_channels: see `audio_code`.
        audio_lip_points: so many points of the lips are known to move with the code
            (`models.lip_predictor.LipPredictor.lips_moved`).
        audio_embedding_tokens: ours; so many tokens of a frame, side by side, are also added to its time embedding by a
            small network, so that every resnet hears them directly. 0 = off, as released. With attention
            alone, `tiny` hardly moved its lips after 800 steps.
        zero_initialize_conv_in, zero_initialize_conv_out: ours; start with zero stem and head, as released.
    """

    in_channels: int = 13
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    down_block_types: tuple[str, ...] = ("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",)
    up_block_types: tuple[str, ...] = ("UpBlock3D",) + ("CrossAttnUpBlock3D",) * 3
    mid_block_type: str = "UNetMidBlock3DCrossAttn"
    attention_head_dim: int = 8
    cross_attention_dim: int = 384
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    flip_sin_to_cos: bool = True
    freq_shift: float = 0.0
    add_audio_layer: bool = True
    use_motion_module: bool = False
    motion_module_resolutions: tuple[int, ...] = (1, 2, 4, 8)
    motion_module_mid_block: bool = False
    motion_module_decoder_only: bool = False
    motion_module_kwargs: MotionConfig = field(default_factory=MotionConfig)
    audio_embedding_tokens: int = 0
    audio_code: int = 0
    audio_map_channels: int = 24
    audio_lip_points: int = 0
    zero_initialize_conv_in: bool = True
    zero_initialize_conv_out: bool = True

    def __post_init__(self) -> None:
        levels = len(self.block_out_channels)
        _in_range(self, "model")
        if not 1 <= levels <= MOST_LEVELS or not all(1 <= width <= WIDEST for width in self.block_out_channels):
            fix = f"choose 1 to {MOST_LEVELS} levels of 1 to {WIDEST} channels"
            raise ConfigError("model.block_out_channels", list(self.block_out_channels), fix)
        for key in ("down_block_types", "up_block_types"):
            if len(getattr(self, key)) != levels:
                raise ConfigError(f"model.{key}", list(getattr(self, key)), f"give {levels} entries, one per level")
        for width in self.block_out_channels:
            if width % self.norm_num_groups:
                raise ConfigError("model.norm_num_groups", self.norm_num_groups, f"choose a divisor of width {width}")
            if width % self.attention_head_dim:
                raise ConfigError("model.attention_head_dim", self.attention_head_dim, f"choose a divisor of {width}")
        if self.mid_block_type not in MID_TYPES:
            raise ConfigError("model.mid_block_type", self.mid_block_type, f"use one of {', '.join(sorted(MID_TYPES))}")
        self._has_attention("down_block_types", DOWN_TYPES)
        self._has_attention("up_block_types", UP_TYPES)

    def _has_attention(self, key: str, known: Mapping[str, bool]) -> tuple[bool, ...]:
        out = []
        for name in getattr(self, key):
            kind = str(name).removesuffix("3D").removesuffix("2D")
            if kind not in known:
                raise ConfigError(f"model.{key}", name, f"use one of {', '.join(known)}, with or without the ending 3D")
            out.append(known[kind])
        return tuple(out)

    @property
    def down_attention(self) -> tuple[bool, ...]:
        """Per encoder level, outermost first: does it have spatial transformers?"""
        return self._has_attention("down_block_types", DOWN_TYPES)

    @property
    def up_attention(self) -> tuple[bool, ...]:
        """Per decoder level, innermost first: does it have spatial transformers?"""
        return self._has_attention("up_block_types", UP_TYPES)

    def has_motion(self, level: int) -> bool:
        """Does the level with down-factor 2**level belong to `motion_module_resolutions`?"""
        return self.use_motion_module and 2**level in self.motion_module_resolutions

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> UNetConfig:
        """Read the `model` section of a released YAML file, or what `to_mapping` wrote.

        Raises:
            ConfigError: a key is unknown, or a switch has a value that is not understood.
        """
        values: dict[str, Any] = {}
        for key, value in mapping.items():
            if key in FIXED_KEYS:
                if value not in FIXED_KEYS[key]:
                    raise ConfigError(f"model.{key}", value, f"only {FIXED_KEYS[key][0]!r} is supported")
            elif key not in INERT_KEYS and not (key == "motion_module_kwargs" and not value):
                values[key] = parse_value(value) if key == "norm_eps" and isinstance(value, str) else value
        return checked(cls, values, "model")

    def to_mapping(self) -> dict[str, Any]:
        """Plain dict for JSON or YAML; `from_mapping` reads it back to an equal value."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
