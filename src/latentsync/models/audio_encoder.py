"""The audio encoder: a Whisper-shaped encoder that turns log-mel into hidden states, 50 positions a second.

The network is `whisper.WhisperEncoder`; this module chooses which of its hidden states are heard, reads the
checkpoints that exist, and says what it needs to be rebuilt (`config`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latentsync.config.checked import checked
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.core.rates import MEL_STEPS_PER_STATE
from latentsync.models.whisper import WhisperEncoder, sinusoids


@dataclass(frozen=True, kw_only=True)
class AudioEncoderConfig:
    """Shape of an audio encoder. The defaults are OpenAI's Whisper tiny, heard as the released LatentSync models hear
    it.

    Attributes:
        width, num_layers, num_heads, feed_forward: of the transformer.
        positions: length of the window in states; 1500 = 30 s.
        mel_bins: rows of the log-mel.
        states: which hidden states are heard, 0 = what enters the first block, i = what block i gives; None = all.
        final_norm: the encoder's last layer norm is applied to what the last block gives (released models: it is not).
        output_width: every state goes through one linear layer to this width; None = no such layer.
    """

    width: int = 384
    num_layers: int = 4
    num_heads: int = 6
    feed_forward: int = 1536
    positions: int = 1500
    mel_bins: int = 80
    states: tuple[int, ...] | None = None
    final_norm: bool = False
    output_width: int | None = None

    def __post_init__(self) -> None:
        for key in ("width", "num_layers", "num_heads", "feed_forward", "positions", "mel_bins"):
            if getattr(self, key) < 1:
                raise ConfigError(f"audio_encoder.{key}", getattr(self, key), "choose 1 or more")
        for key, most in (("num_layers", 256), ("width", 16384), ("feed_forward", 65536), ("positions", 65536)):
            if getattr(self, key) > most:
                raise ConfigError(f"audio_encoder.{key}", getattr(self, key), f"choose {most} or less")
        if self.width % self.num_heads or self.width % 2 or self.width < 4:
            raise ConfigError("audio_encoder.width", self.width, f"choose an even multiple of {self.num_heads} heads")
        if self.states is not None:
            object.__setattr__(self, "states", tuple(self.states))
            if not self.states or not all(0 <= state <= self.num_layers for state in self.states):
                raise ConfigError("audio_encoder.states", self.states, f"choose numbers from 0 to {self.num_layers}")
        if self.final_norm and self.num_layers not in self.states_used:
            raise ConfigError(
                "audio_encoder.final_norm", True, "it norms what the last block gives, which is not heard"
            )

    @property
    def states_used(self) -> tuple[int, ...]:
        """The hidden states that are heard, in the order in which they are given."""
        return tuple(range(self.num_layers + 1)) if self.states is None else self.states

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> AudioEncoderConfig:
        """From the JSON form. Raises ConfigError on an unknown key."""
        return checked(cls, mapping, "audio_encoder")

    @classmethod
    def from_openai(cls, dims: Mapping[str, int]) -> AudioEncoderConfig:
        """From the `dims` of an OpenAI Whisper file, heard as the released models hear it."""
        width = dims["n_audio_state"]
        return cls(
            width=width,
            num_layers=dims["n_audio_layer"],
            num_heads=dims["n_audio_head"],
            feed_forward=4 * width,
            positions=dims["n_audio_ctx"],
            mel_bins=dims["n_mels"],
        )

    @classmethod
    def from_transformers(cls, config: Mapping[str, Any]) -> AudioEncoderConfig:
        """From the `config.json` of a Whisper model on the Hub, heard as the released models hear it."""
        return cls(
            width=config["d_model"],
            num_layers=config["encoder_layers"],
            num_heads=config["encoder_attention_heads"],
            feed_forward=config["encoder_ffn_dim"],
            positions=config["max_source_positions"],
            mel_bins=config["num_mel_bins"],
        )


class AudioEncoder(nn.Module):
    """Log-mel in, chosen hidden states out.

    `state_dict()`: `encoder.*` with transformers' names, and `project.{weight,bias}` where `output_width` is set.
    """

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        self.shape = config
        self.encoder = WhisperEncoder(
            config.mel_bins, config.positions, config.width, config.num_layers, config.num_heads, config.feed_forward
        )
        with torch.no_grad():
            self.encoder.embed_positions.weight.copy_(sinusoids(config.positions, config.width))
        self.encoder.embed_positions.requires_grad_(False)
        if not config.final_norm:  # never used then, and a parameter without gradient stops distributed training
            self.encoder.layer_norm.requires_grad_(False)
        self.project = nn.Linear(config.width, config.output_width) if config.output_width else None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> AudioEncoder:
        """An audio encoder with random weights from the mapping that `config` gives."""
        return cls(AudioEncoderConfig.from_mapping(config))

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` needs, fit for JSON."""
        shape = asdict(self.shape)
        shape["states"] = None if self.shape.states is None else list(self.shape.states)
        return shape

    @property
    def num_states(self) -> int:
        """L: hidden states per position."""
        return len(self.shape.states_used)

    @property
    def positions(self) -> int:
        """P: positions of one window, 50 per second."""
        return self.shape.positions

    @property
    def width(self) -> int:
        """D: width of a state."""
        return self.shape.output_width or self.shape.width

    def forward(self, mel: Tensor) -> Tensor:
        """Encode whole windows.

        Args:
            mel: (B, 80, 2P) as `audio.whisper_log_mel` gives it, shorter sound filled up with 0.0 on the right.
                Converted to the weights' dtype.
        Returns: (B, P, L, D) in the weights' dtype: what enters the first block (sound and positions) and what each
            block gives, or the chosen ones of them.
        """
        want = (self.shape.mel_bins, MEL_STEPS_PER_STATE * self.shape.positions)
        if mel.ndim != 3 or tuple(mel.shape[1:]) != want:
            raise ValueError(f"mel: shape {tuple(mel.shape)}, expected (B, {want[0]}, {want[1]})")
        hidden = self.encoder(mel.to(self.encoder.conv1.weight.dtype))
        normed = hidden.pop()
        if self.shape.final_norm:
            hidden[-1] = normed
        states = torch.stack([hidden[index] for index in self.shape.states_used], dim=2)
        return states if self.project is None else self.project(states)

    def load_whisper(self, state: Mapping[str, Tensor]) -> None:
        """Load the encoder of an OpenAI or transformers Whisper checkpoint, strictly.

        Raises: WeightsError: a key is missing, unknown, or of another shape.
        """
        renamed = rename_openai_whisper(state) if any(".blocks." in key for key in state) else rename_hub_whisper(state)
        own = {f"encoder.{key}": value for key, value in self.encoder.state_dict().items()}
        missing, extra = sorted(own.keys() - renamed.keys()), sorted(renamed.keys() - own.keys())
        wrong = sorted(key for key in own.keys() & renamed.keys() if own[key].shape != renamed[key].shape)
        if missing or extra or wrong:
            raise WeightsError(
                f"the Whisper weights do not fit an audio encoder of width {self.shape.width} with "
                f"{self.shape.num_layers} layers: missing {_few(missing)}; unknown {_few(extra)}; "
                f"of another shape {_few(wrong)}. Choose the matching config"
            )
        self.encoder.load_state_dict({key.removeprefix("encoder."): value for key, value in renamed.items()})


def _few(keys: list[str]) -> str:
    return "none" if not keys else ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")


_OPENAI_NAMES = (
    (r"^encoder\.positional_embedding$", "encoder.embed_positions.weight"),
    (r"^encoder\.ln_post\.", "encoder.layer_norm."),
    (r"^encoder\.blocks\.", "encoder.layers."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
    (r"\.attn\.query\.", ".self_attn.q_proj."),
    (r"\.attn\.key\.", ".self_attn.k_proj."),
    (r"\.attn\.value\.", ".self_attn.v_proj."),
    (r"\.attn\.out\.", ".self_attn.out_proj."),
)


def rename_openai_whisper(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder of an OpenAI `model_state_dict` under the names of `AudioEncoder.state_dict()`, without the
    decoder."""
    renamed = {}
    for key, value in state.items():
        if key.startswith("encoder."):
            for pattern, name in _OPENAI_NAMES:
                key = re.sub(pattern, name, key)
            renamed[key] = value
    return renamed


def rename_hub_whisper(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder of a transformers Whisper state dict (whole model or encoder alone) under `AudioEncoder`'s names."""
    plain = {key.removeprefix("model."): value for key, value in state.items()}
    if any(key.startswith("encoder.") for key in plain):
        return {key: value for key, value in plain.items() if key.startswith("encoder.")}
    return {f"encoder.{key}": value for key, value in plain.items()}
