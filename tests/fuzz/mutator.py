"""Seeded mutations of files: the same seed and the same file give the same bytes."""

from __future__ import annotations

import random
import struct

WORDS = [b"1e99999999", b"NaN", b"-Infinity", b"null", b"../../x", b"\0", b"=1+1", b"[" * 200, b"{" * 60, b"]", b"}",
         b"- " * 80, b"&a [*a]", b"!!python/object:os.system", b"<script>", b"9" * 5000, b"-1", b"0", b"true", b"''",
         b'"', b"\xff\xfe", b"\xed\xa0\x80", b":", b",", b"\n", b"\r\n", b"\t", b"a" * 300]  # fmt: skip
NUMBERS = (0, 1, -1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**62, 2**63 - 1)


def mutated(data: bytes, seed: int) -> bytes:
    """`data` with one to four changes, most of them small."""
    rng, out = random.Random(seed), bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        rng.choice((_flip, _flip, _byte, _cut, _drop, _repeat, _word, _zeros, _number, _swap, _noise))(rng, out)
    return bytes(out)


def _place(rng: random.Random, out: bytearray) -> int:
    """Anywhere, more often near the beginning, where headers are."""
    most = max(len(out), 1)
    return rng.randrange(most) if rng.random() < 0.6 else rng.randrange(min(most, 256))


def _span(rng: random.Random, out: bytearray) -> slice:
    start = _place(rng, out)
    return slice(start, start + rng.choice((1, 2, 4, 16, 64, 512)))


def _flip(rng: random.Random, out: bytearray) -> None:
    if out:
        out[_place(rng, out)] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, out: bytearray) -> None:
    if out:
        out[_place(rng, out)] = rng.choice((0, 1, 0x20, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _cut(rng: random.Random, out: bytearray) -> None:
    del out[_place(rng, out) :]


def _drop(rng: random.Random, out: bytearray) -> None:
    del out[_span(rng, out)]


def _repeat(rng: random.Random, out: bytearray) -> None:
    part = bytes(out[_span(rng, out)])
    place = _place(rng, out)
    out[place:place] = part * rng.choice((1, 2, 20))


def _word(rng: random.Random, out: bytearray) -> None:
    place = _place(rng, out)
    out[place : place + rng.choice((0, 0, 1, 3, 8))] = rng.choice(WORDS)


def _zeros(rng: random.Random, out: bytearray) -> None:
    span = _span(rng, out)
    out[span] = bytes(len(out[span]))


def _number(rng: random.Random, out: bytearray) -> None:
    value = rng.choice(NUMBERS)
    form = rng.choice((">q", "<q", ">i", "<i", ">h", "<h"))
    bits = 8 * struct.calcsize(form)
    data = struct.pack(form, (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1))
    place = _place(rng, out)
    out[place : place + len(data)] = data


def _swap(rng: random.Random, out: bytearray) -> None:
    one, other = _span(rng, out), _span(rng, out)
    out[one], out[other] = bytes(out[other]), bytes(out[one])


def _noise(rng: random.Random, out: bytearray) -> None:
    span = _span(rng, out)
    out[span] = rng.randbytes(len(out[span]))
