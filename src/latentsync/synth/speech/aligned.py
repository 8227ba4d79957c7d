"""Phone times of English speech whose words are known: forced alignment with pocketsphinx (extra `synth-align`)."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from latentsync.core.errors import MediaError
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.synth.arrays import Real
from latentsync.synth.speech.phones import SILENCE, Phone, from_arpabet

FRAMES_PER_S = 100
FRAME_MIDDLE_S = 0.0128 - 0.005
"""A frame of the aligner looks 25.6 ms ahead, so that its 10 ms lie this much later than its number says."""
LONGEST_PHONE_S = 0.7
"""A longer phone means that words and sound do not belong together (chosen on the GRID recordings)."""
NOISE = 1e-3
"""Added before aligning: digital silence is unlike anything the model was trained on, and stops the search."""


def has_aligner() -> bool:
    """Whether pocketsphinx is installed."""
    return find_spec("pocketsphinx") is not None


@cache
def _decoder() -> Any:
    from pocketsphinx import Decoder

    # batch mean normalisation: nothing carries over from one recording to the next. The best-path pass is left out,
    # since its times now and then leave no room for the phones of a word, and the second pass then fails.
    wide = {"beam": 1e-100, "pbeam": 1e-100, "wbeam": 1e-100}
    return Decoder(lm=None, bestpath=False, cmn="batch", loglevel="FATAL", **wide)


def words_of(text: str) -> list[str]:
    """The words of a transcript as the dictionary writes them."""
    return re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower())


def unknown_words(text: str) -> list[str]:
    """Words of a transcript that the aligner cannot say; digits are none, so write numbers out."""
    return [w for w in words_of(text) if _decoder().lookup_word(w) is None]


def align(audio: Real, text: str) -> tuple[Phone, ...]:
    """Where the phones of known words are.

    Args:
        audio: (S,) float32 at 16 kHz, US English (other English with larger errors).
        text: what is said, all of it.
    Returns: phones in order, without gaps; times to 10 ms, errors: `studies/synth.py alignment`.
    Raises: MediaError: a word is not in the dictionary, or the words do not fit the sound.
    """
    words, unknown = words_of(text), unknown_words(text)
    if not words or unknown:
        what = f"the aligner does not know {', '.join(unknown)}" if unknown else "there are no words"
        raise MediaError(f"{text!r}: {what}. Spell the transcript in plain English words, numbers too.")
    noise = np.random.default_rng(0).normal(0, NOISE, len(audio))
    decoder, raw = _decoder(), np.round(np.clip(audio + noise, -1, 1) * 32767).astype("<i2").tobytes()
    try:
        decoder.set_align_text(" ".join(words))
        _listen(decoder, raw)
        if decoder.hyp() is None:
            raise RuntimeError
        decoder.set_alignment()
        _listen(decoder, raw)
        found = [(p.name, p.start, p.duration) for word in decoder.get_alignment() for p in word]
    except RuntimeError:
        raise MediaError(f"{text!r}: these words do not fit the sound. Check the transcript.") from None
    end_s, out = len(audio) / SPEECH_RATE_HZ, []
    for name, start, num in found:
        a, b = (min(t / FRAMES_PER_S + FRAME_MIDDLE_S, end_s) for t in (start, start + num))
        if b > a:
            out.append(Phone(from_arpabet(name), a if start else 0.0, b))
    longest = max((p.end_s - p.start_s for p in out if p.name != SILENCE), default=9.0)
    if longest > LONGEST_PHONE_S:
        raise MediaError(f"{text!r}: these words do not fit the sound, one phone lasts {longest:.1f} s.")
    return tuple(out)


def _listen(decoder: Any, raw: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(raw, full_utt=True)
    decoder.end_utt()
