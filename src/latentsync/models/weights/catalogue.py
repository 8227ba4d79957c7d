"""The models that have a name: where their files come from, their settings and their licences. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from latentsync.models.weights.licence import Licence


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A file on the Hugging Face Hub.

    Attributes:
        repo, name: repository and path inside it.
        revision: commit to take; None = the newest at the first download, whose commit is recorded and kept after.
        sha256: known beforehand; None = recorded at the first download and compared after.
    """

    repo: str
    name: str
    revision: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedModel:
    """A model a user can ask for by name.

    Attributes:
        title: one line for people.
        files: part → its Hub files, the one to open first; empty = the model is part of the package.
        settings: see `ModelIndex.settings`.
    """

    name: str
    title: str
    files: Mapping[str, tuple[HubFile, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    licences: tuple[Licence, ...] = ()


# OpenAI's multilingual Whisper tiny; its hash is part of OpenAI's own download address.
WHISPER_TINY_SHA256 = "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9"
VAE_REPO = "stabilityai/sd-vae-ft-mse"
# The commit of that repository which added the safetensors file.
VAE_REVISION = "651c6dc459a3ae175a511e7086a28d7e8182ac0c"

VAE_FILES = (
    HubFile(repo=VAE_REPO, name="diffusion_pytorch_model.safetensors", revision=VAE_REVISION),
    HubFile(repo=VAE_REPO, name="config.json", revision=VAE_REVISION),
)


def _released(version: str) -> tuple[HubFile, ...]:
    return (HubFile(repo=f"ByteDance/LatentSync-{version}", name="latentsync_unet.pt"),)


def whisper_files(version: str) -> tuple[HubFile, ...]:
    """The Whisper tiny file that a release ships."""
    return (HubFile(repo=f"ByteDance/LatentSync-{version}", name="whisper/tiny.pt", sha256=WHISPER_TINY_SHA256),)


# docs/method.md#defaults and #schedule: what the released U-Nets were trained with and are run with.
RELEASED_SETTINGS: dict[str, Any] = {
    "num_frames": 16,
    "fps": 25,
    "audio_window": [2, 2],
    "mask": "mask",
    "prediction": "epsilon",
    "scheduler": "ddim",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps": 20,
    "guidance": 1.5,
}

AUDIO_ENCODER_LICENCE = Licence(
    part="audio_encoder", name="MIT", url="https://github.com/openai/whisper/blob/main/LICENSE"
)
VAE_LICENCE = Licence(part="autoencoder", name="MIT", url=f"https://huggingface.co/{VAE_REPO}")

FACE_LICENCES = tuple(
    Licence(
        part=part,
        name="Apache-2.0",
        url="https://github.com/google-ai-edge/mediapipe/blob/master/LICENSE",
        note=f"MediaPipe's {file}, used with every model.",
    )
    for part, file in (
        ("face_detector", "face_detection_short_range.tflite"),
        ("face_mesh", "face_landmark.tflite"),
    )
)
"""Of the two networks that `faces.MeshTracker` runs."""


def _released_licences(version: str) -> tuple[Licence, ...]:
    unet = Licence(
        part="unet",
        name="LicenseRef-OpenRAIL",
        url=f"https://huggingface.co/ByteDance/LatentSync-{version}",
        note="The model card names an OpenRAIL licence, with use restrictions. Read it there; it decides.",
    )
    return unet, VAE_LICENCE, AUDIO_ENCODER_LICENCE


NAMED: dict[str, NamedModel] = {
    "tiny": NamedModel(name="tiny", title="Embedded small model: 256 px, a laptop CPU is enough"),
    "1.5": NamedModel(
        name="1.5",
        title="Released LatentSync 1.5: 256 px",
        files={"unet": _released("1.5"), "autoencoder": VAE_FILES, "audio_encoder": whisper_files("1.5")},
        settings=RELEASED_SETTINGS | {"resolution": 256},
        licences=_released_licences("1.5"),
    ),
    "1.6": NamedModel(
        name="1.6",
        title="Released LatentSync 1.6: 512 px",
        files={"unet": _released("1.6"), "autoencoder": VAE_FILES, "audio_encoder": whisper_files("1.6")},
        settings=RELEASED_SETTINGS | {"resolution": 512},
        licences=_released_licences("1.6"),
    ),
}
