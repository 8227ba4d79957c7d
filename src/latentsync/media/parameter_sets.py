"""NAL units of H.264 and HEVC: where groups of pictures begin, and parameter sets of two encoders in one file.

Sources: ITU-T H.264, 7.3 and H.265, 7.3; ISO/IEC 14496-15, 5.3.3.1 (`avcC`) and 8.3.3.1 (`hvcC`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

_SPS, _PPS = 7, 8
_HEVC_PARAMETERS = (32, 33, 34)


@dataclass(frozen=True, slots=True)
class AvcConfig:
    """The `avcC` record of H.264 in mp4 and Matroska.

    Attributes:
        head: version, profile, compatibility and level, 4 bytes.
        length_size: bytes before each NAL unit that tell its length.
        sps, pps: parameter sets. tail: what High profiles add.
    """

    head: bytes
    length_size: int
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    tail: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> AvcConfig | None:
        """None = no such record."""
        if len(data) < 7 or data[0] != 1:
            return None
        place, found = 5, []
        for mask in (0x1F, 0xFF):
            units, count = [], data[place] & mask if place < len(data) else 0
            place += 1
            for _ in range(count):
                size = int.from_bytes(data[place : place + 2], "big")
                units.append(data[place + 2 : place + 2 + size])
                place += 2 + size
            found.append(tuple(units))
        if place > len(data):
            return None
        return cls(data[:4], (data[4] & 3) + 1, found[0], found[1], data[place:])

    def joined(self, annex_b: bytes) -> AvcConfig:
        """With the parameter sets of another encoder, in Annex B form, beside its own."""
        units = list(annex_b_units(annex_b))
        sps = tuple(unit for unit in units if unit[0] & 0x1F == _SPS)
        pps = tuple(unit for unit in units if unit[0] & 0x1F == _PPS)
        level = max([self.head[3], *(unit[3] for unit in sps)])
        profile = max([self.head[1], *(unit[1] for unit in sps)])
        head = bytes([1, profile, self.head[2] if profile == self.head[1] else 0, level])
        return replace(self, head=head, sps=self.sps + sps, pps=self.pps + pps)

    def unused_id(self) -> int:
        """A number that none of the parameter sets has. x264 gives it to its sets of both kinds."""
        used = {_number(unit[4:]) for unit in self.sps} | {_number(unit[1:]) for unit in self.pps}
        return next(number for number in range(1, 32) if number not in used)

    def packed(self) -> bytes:
        """The record."""
        out = self.head + bytes([0xFC | (self.length_size - 1), 0xE0 | len(self.sps)])
        out += b"".join(len(unit).to_bytes(2, "big") + unit for unit in self.sps)
        out += bytes([len(self.pps)]) + b"".join(len(unit).to_bytes(2, "big") + unit for unit in self.pps)
        return out + self.tail


def hevc_parameters(record: bytes) -> tuple[int, tuple[bytes, ...]] | None:
    """(length size, parameter sets) of an `hvcC` record; None = no such record."""
    if len(record) < 23 or record[0] != 1:
        return None
    units, place = [], 23
    for _ in range(record[22]):
        count = int.from_bytes(record[place + 1 : place + 3], "big")
        place += 3
        for _ in range(count):
            size = int.from_bytes(record[place : place + 2], "big")
            units.append(record[place + 2 : place + 2 + size])
            place += 2 + size
    return (record[21] & 3) + 1, tuple(units)


def annex_b_units(data: bytes) -> Iterator[bytes]:
    """NAL units between start codes."""
    place = data.find(b"\0\0\1")
    while place >= 0:
        following = data.find(b"\0\0\1", place + 3)
        unit = data[place + 3 : following if following >= 0 else len(data)]
        yield unit.rstrip(b"\0") if following >= 0 else unit
        place = following


def with_lengths(units: Sequence[bytes], length_size: int) -> bytes:
    """NAL units with their lengths before them, as mp4 and Matroska hold them."""
    return b"".join(len(unit).to_bytes(length_size, "big") + unit for unit in units)


def units_with_lengths(data: bytes, length_size: int) -> Iterator[bytes]:
    """NAL units of a packet of mp4 or Matroska."""
    place = 0
    while place + length_size < len(data):
        size = int.from_bytes(data[place : place + length_size], "big")
        yield data[place + length_size : place + length_size + size]
        place += length_size + size


def begins_group(data: bytes, codec: str, length_size: int) -> bool:
    """Whether a packet is a picture that nothing after it looks back beyond (IDR): a closed group begins."""
    for unit in units_with_lengths(data, length_size):
        if not unit:
            continue
        kind = unit[0] & 0x1F if codec == "h264" else (unit[0] >> 1) & 0x3F
        if (codec == "h264" and kind in (1, 2, 3, 4, 5)) or (codec == "hevc" and kind < 32):
            return kind == 5 if codec == "h264" else kind in (19, 20)
    return False


def _number(bits: bytes) -> int:
    """The unsigned Exp-Golomb number that some bytes begin with (H.264, 9.1)."""
    text = "".join(f"{byte:08b}" for byte in bits[:8])
    zeros = len(text) - len(text.lstrip("0"))
    return int(text[zeros : 2 * zeros + 1] or "1", 2) - 1
