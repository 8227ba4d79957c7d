"""Speech synthesis with exact phone times: espeak-ng (as an optional library) and flite (as an optional program).

espeak-ng is GPL-3 and is not part of this package: it is loaded at run time when the `synth` extra (`espeakng-loader`) or
the system's library is installed, and only its sound is used.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from latentsync.core.errors import MediaError
from latentsync.core.values import Float
from latentsync.synth.speech.phones import Phone, from_arpabet, from_ipa

RATE_HZ = 16000


@dataclass(frozen=True, eq=False)
class Utterance:
    """Speech and its phones.

    Attributes:
        audio: (S,) float32 at 16 kHz.
        phones: in order, without overlap; what is not covered is silence.
        voice: engine and voice, for the record.
        text: what is said.
    """

    audio: Float
    phones: tuple[Phone, ...]
    voice: str
    text: str


def resample(audio: Float, from_hz: int, to_hz: int = RATE_HZ) -> Float:
    """Polyphase resampling; the length is the exact ratio, rounded up."""
    from scipy.signal import resample_poly

    if from_hz == to_hz:
        return audio
    g = gcd(from_hz, to_hz)
    out: Float = resample_poly(audio, to_hz // g, from_hz // g).astype(np.float32)
    return out


def read_wav(path: Path) -> tuple[Float, int]:
    """Mono float32 and rate of a 16-bit PCM wav file."""
    with wave.open(str(path), "rb") as file:
        if file.getsampwidth() != 2:
            raise MediaError(
                f"{path}: not 16-bit PCM. Convert it, for example with `ffmpeg -i {path.name} -ac 1 out.wav`."
            )
        data = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())
        return data.mean(1).astype(np.float32) / 32768, file.getframerate()


# ---- flite ------------------------------------------------------------------------------------------------------


@cache
def flite_program() -> str | None:
    """Path of the `flite` program, or None where it is not installed."""
    return shutil.which("flite")


def flite(text: str, voice: str = "slt", stretch: float = 1.0) -> Utterance:
    """Speak with flite. Its own durations are printed by -psdur and are exact."""
    program = flite_program()
    if program is None:
        raise MediaError("flite is not installed. Install it (Debian: `apt install flite`), or use the espeak voices.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = [
            program,
            "-voice",
            voice,
            "--setf",
            f"duration_stretch={stretch:.3f}",
            "-psdur",
            "-t",
            text,
            "-o",
            str(path),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not path.is_file():
            raise MediaError(f"flite failed with voice {voice!r}: {done.stderr.strip() or 'no output'}")
        audio, rate = read_wav(path)
    phones, start = [], 0.0
    for token in done.stdout.split():
        name, end = token.rsplit(":", 1)
        phones.append(Phone(from_arpabet(name), start, float(end)))
        start = float(end)
    return Utterance(resample(audio, rate), tuple(phones), f"flite:{voice}", text)


# ---- espeak-ng --------------------------------------------------------------------------------------------------


class _EventId(ctypes.Union):
    _fields_: ClassVar[list[Any]] = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_: ClassVar[list[Any]] = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _EventId),
    ]  # fmt: skip


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_END, _PHONEME = 6, 7
_SYNCHRONOUS, _PHONEME_EVENTS, _IPA_NAMES = 2, 1, 2


@cache
def _espeak_library() -> tuple[ctypes.CDLL, int] | None:
    """The loaded and initialised library with its sample rate, or None where there is none."""
    try:
        import espeakng_loader

        path, data = espeakng_loader.get_library_path(), str(Path(espeakng_loader.get_data_path()).parent).encode()
    except ImportError:
        path, data = "libespeak-ng.so.1", None
    try:
        library = ctypes.CDLL(path)
    except OSError:
        return None
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS | _IPA_NAMES)
    return (library, rate) if rate > 0 else None


def has_espeak() -> bool:
    """Whether espeak-ng can be used."""
    return _espeak_library() is not None


def espeak(
    text: str, voice: str = "en-us", words_per_minute: int = 165, pitch: int = 50, pitch_range: int = 50
) -> Utterance:
    """Speak with espeak-ng. Phone times come from its own phoneme events (1 ms resolution).

    Args:
        voice: language and variant, for example "gmw/en-US+f2". pitch, pitch_range: 0 … 100.
    """
    loaded = _espeak_library()
    if loaded is None:
        raise MediaError("espeak-ng is not installed. Run `pip install latentsync[synth]`.")
    library, rate = loaded
    blocks: list[np.ndarray] = []
    events: list[tuple[str, float]] = []

    def collect(samples: Any, num: int, event: Any) -> int:
        if not samples:
            return 0
        if num:
            blocks.append(np.ctypeslib.as_array(samples, (num,)).copy())
        i = 0
        while event[i].type:
            if event[i].type == _PHONEME:
                events.append((event[i].id.string.decode("utf8", "ignore"), event[i].audio_position / 1000.0))
            elif event[i].type == _END:
                events.append(("_", event[i].audio_position / 1000.0))
            i += 1
        return 0

    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise MediaError(f"espeak-ng has no voice {voice!r}. `espeak-ng --voices` lists them.")
    callback = _CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    for parameter, value in ((1, words_per_minute), (3, pitch), (4, pitch_range)):
        library.espeak_SetParameter(parameter, int(value), 0)
    data = text.encode()
    library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 1, 0, 1, None, None)
    library.espeak_Synchronize()
    if not blocks:
        raise MediaError(f"espeak-ng said nothing for {text!r}. Check the text.")
    audio = np.concatenate(blocks).astype(np.float32) / 32768
    ends = [t for _, t in events[1:]] + [len(audio) / rate]
    phones = [
        Phone(from_ipa(symbol), start, end)
        for (symbol, start), end in zip(events, ends, strict=True)
        if end > start + 0.004
    ]
    return Utterance(resample(audio, rate), tuple(phones), f"espeak:{voice}", text)
