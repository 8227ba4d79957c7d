"""Piper voices where program and voices are installed. Phone times come from the forced aligner, so English only.

Piper is GPL-3 (its older releases MIT) and each voice has a licence of its own; none is part of this package. Only the
program is run, and only its sound is used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from latentsync.core.errors import MediaError
from latentsync.synth.speech.aligned import align, has_aligner
from latentsync.synth.speech.engines import Utterance, read_wav, resample

VOICES_VARIABLE = "LATENTSYNC_PIPER_VOICES"


def piper_voices() -> tuple[Path, ...]:
    """English voices (en*.onnx) in the folder that LATENTSYNC_PIPER_VOICES names, in a fixed order."""
    folder = os.environ.get(VOICES_VARIABLE)
    return tuple(sorted(Path(folder).glob("en*.onnx"))) if folder else ()


@cache
def _program() -> str | None:
    return shutil.which("piper")


def has_piper() -> bool:
    """Whether program, voices and aligner are all there."""
    return bool(piper_voices()) and _program() is not None and has_aligner()


def piper(text: str, voice: Path, length_scale: float = 1.0) -> Utterance:
    """Speak with Piper, without its randomness, so that the same text sounds the same each time.

    Raises: MediaError: Piper fails, or says something that the aligner cannot follow.
    """
    program = _program()
    if program is None:
        raise MediaError("piper is not installed. Run `pip install piper-tts`, or use the other voices.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = [program, "--model", str(voice), "--output_file", str(path), "--length_scale", f"{length_scale:.3f}"]
        command += ["--noise_scale", "0", "--noise_w", "0"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode or not path.is_file():
            raise MediaError(f"piper failed with voice {voice.name}: {done.stderr.strip()[-200:] or 'no output'}")
        audio, rate = read_wav(path)
    audio = resample(audio, rate)
    return Utterance(audio, align(audio, text), f"piper:{voice.stem}", text)
