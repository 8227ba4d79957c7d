"""Speech synthesis with exact phone times: espeak-ng (as an optional library) and flite (as an optional program).

espeak-ng is GPL-3 and is not part of this package: it is loaded at run time where the `synth` extra (`espeakng-loader`)
or the system's library is installed, and only its sound is used.
"""

from __future__ import annotations

import ctypes.util
import json
import shutil
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from functools import cache
from math import gcd
from pathlib import Path

import numpy as np

from latentsync.core.errors import MediaError
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.synth.arrays import Real
from latentsync.synth.speech.phones import Phone, from_arpabet, from_ipa


@dataclass(frozen=True, eq=False)
class Utterance:
    """Speech and its phones.

    Attributes:
        audio: (S,) float32 at 16 kHz.
        phones: in order, without overlap; what is not covered is silence.
        voice: engine and voice, for the record.
        text: what is said.
    """

    audio: Real
    phones: tuple[Phone, ...]
    voice: str
    text: str


def resample(audio: Real, from_hz: int, to_hz: int = SPEECH_RATE_HZ) -> Real:
    """Polyphase resampling; the length is the exact ratio, rounded up."""
    from scipy.signal import resample_poly

    if from_hz == to_hz:
        return audio
    g = gcd(from_hz, to_hz)
    out: Real = resample_poly(audio, to_hz // g, from_hz // g).astype(np.float32)
    return out


def read_wav(path: Path) -> tuple[Real, int]:
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


@cache
def _espeak_paths() -> tuple[str, str] | None:
    """Library and data folder ("" = the library's own), or None where espeak-ng is not installed."""
    try:
        import espeakng_loader

        return espeakng_loader.get_library_path(), str(Path(espeakng_loader.get_data_path()).parent)
    except ImportError:
        found = ctypes.util.find_library("espeak-ng")
        return (found, "") if found else None


def has_espeak() -> bool:
    """Whether espeak-ng can be used."""
    return _espeak_paths() is not None


CLOSURE_S, BURST_S = 0.045, 0.010


def _closures_before_bursts(spans: list[tuple[str, float, float]]) -> list[Phone]:
    """Give voiceless stops their closure.

    espeak-ng's event of a voiceless stop marks its burst; the silence of the closure, about 45 ms, lies before it, in
    the span of the phone before (measured, `studies/synth.py closures`). What follows the burst is breath.
    """
    out: list[Phone] = []
    for name, start, end in spans:
        if name not in ("p", "t", "k", "ch") or end - start <= BURST_S:
            out.append(Phone(name, start, end))
            continue
        begin = max(start - CLOSURE_S, 0.0)
        if out and out[-1].end_s > begin:
            last = out.pop()
            begin = max(begin, (last.start_s + last.end_s) / 2)
            out.append(Phone(last.name, last.start_s, begin))
        out += [Phone(name, begin, start + BURST_S), Phone("hh" if name != "ch" else name, start + BURST_S, end)]
    return out


def espeak(
    text: str, voice: str = "en-us", words_per_minute: int = 165, pitch: int = 50, pitch_range: int = 50
) -> Utterance:
    """Speak with espeak-ng. Phone times come from its own phoneme events (1 ms resolution), closures set right.

    Args:
        voice: language and variant, for example "gmw/en-US+f2". pitch, pitch_range: 0 … 100.
    """
    paths = _espeak_paths()
    if paths is None:
        raise MediaError("espeak-ng is not installed. Run `pip install latentsync[synth]`.")
    program = Path(__file__).with_name("espeak_child.py")
    command = [
        sys.executable,
        str(program),
        *paths,
        voice,
        *(str(int(v)) for v in (words_per_minute, pitch, pitch_range)),
    ]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    if done.returncode:
        raise MediaError(
            f"espeak-ng failed with voice {voice!r}: {done.stderr.decode(errors='replace').strip()[-200:]}"
        )
    line, _, samples = done.stdout.partition(b"\n")
    header = json.loads(line)
    if "error" in header:
        raise MediaError(f"espeak-ng: {header['error']}. `espeak-ng --voices` lists them.")
    if not samples:
        raise MediaError(f"espeak-ng said nothing for {text!r}. Check the text.")
    rate, events = header["rate"], header["events"]
    audio = np.frombuffer(samples, "<i2").astype(np.float32) / 32768
    ends = [t for _, t in events[1:]] + [len(audio) / rate]
    spans = [(from_ipa(name), a, b) for (name, a), b in zip(events, ends, strict=True) if b > a + 0.004]
    phones = _closures_before_bursts(spans)
    return Utterance(resample(audio, rate), tuple(phones), f"espeak:{voice}", text)
