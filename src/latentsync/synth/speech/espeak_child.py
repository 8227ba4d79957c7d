"""Say one text with espeak-ng, hand back sound and phoneme events. A program of its own, standard library only.

espeak-ng keeps state between utterances (flutter, noise), so that only a fresh process says the same text the same way.

    python espeak_child.py LIBRARY DATA VOICE WORDS_PER_MINUTE PITCH PITCH_RANGE < text > answer

The answer is one line of JSON (rate, events as [IPA, seconds]; or error), then 16-bit little-endian samples.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any, ClassVar


class _EventId(ctypes.Union):
    _fields_: ClassVar[list[Any]] = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_: ClassVar[list[Any]] = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_END, _PHONEME = 6, 7
_SYNCHRONOUS, _PHONEME_EVENTS, _IPA_NAMES = 2, 1, 2
_RATE, _PITCH, _RANGE = 1, 3, 4


def speak(
    library_path: str, data: str, voice: str, settings: dict[int, int], text: bytes
) -> tuple[dict[str, Any], bytes]:
    """The answer's header and samples. Source of types and numbers: espeak-ng's public header speak_lib.h."""
    library = ctypes.CDLL(library_path)
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode() or None, _PHONEME_EVENTS | _IPA_NAMES)
    if rate <= 0:
        return {"error": "the library does not start"}, b""
    blocks: list[bytes] = []
    events: list[tuple[str, float]] = []

    def collect(samples: Any, num: int, event: Any) -> int:
        if not samples:
            return 0
        blocks.append(ctypes.string_at(samples, 2 * num))
        i = 0
        while event[i].type:
            if event[i].type == _PHONEME:
                events.append((event[i].id.string.decode("utf8", "ignore"), event[i].audio_position / 1000.0))
            elif event[i].type == _END:
                events.append(("_", event[i].audio_position / 1000.0))
            i += 1
        return 0

    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        return {"error": f"no voice {voice!r}"}, b""
    callback = _CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    for parameter, value in settings.items():
        library.espeak_SetParameter(parameter, value, 0)
    library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, 1, None, None)
    library.espeak_Synchronize()
    return {"rate": rate, "events": events}, b"".join(blocks)


def main() -> None:
    library, data, voice, rate, pitch, pitch_range = sys.argv[1:]
    settings = {_RATE: int(rate), _PITCH: int(pitch), _RANGE: int(pitch_range)}
    header, samples = speak(library, data, voice, settings, sys.stdin.buffer.read())
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + samples)


if __name__ == "__main__":
    main()
