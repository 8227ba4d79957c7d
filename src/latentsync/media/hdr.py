"""What HDR10 says beside the picture: the screen it was graded on, and its brightest light."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

_RATIONALS = struct.Struct("=20i2i")
"""FFmpeg's AVMasteringDisplayMetadata: red, green, blue, white as x, y, then least and most luminance, all as numerator
and denominator, then whether colours and luminance are known (libavutil/mastering_display_metadata.h)."""

_DYNAMIC = {"DOVI_RPU_BUFFER": "Dolby Vision", "DOVI_METADATA": "Dolby Vision", "DYNAMIC_HDR_PLUS": "HDR10+",
            "DYNAMIC_HDR_VIVID": "HDR Vivid"}  # fmt: skip

_LIGHT = struct.Struct("=2I")
"""FFmpeg's AVContentLightMetadata: MaxCLL, MaxFALL."""

_CHROMA_STEP, _LUMINANCE_STEP = Fraction(1, 50_000), Fraction(1, 10_000)
"""Units of the SEI message of H.264 and HEVC (ITU-T H.265, D.3.28): CIE 1931 coordinates, and cd/m²."""


@dataclass(frozen=True, slots=True)
class Hdr:
    """HDR10 metadata (SMPTE ST 2086, CTA-861.3).

    Attributes:
        display: x and y of red, green, blue and white in CIE 1931, then least and most luminance in cd/m²; None = not
            told.
        light: most light of one pixel and most mean light of a frame, cd/m²; None = not told.
    """

    display: tuple[Fraction, ...] | None
    light: tuple[int, int] | None

    def options(self, encoder: str) -> dict[str, str] | None:
        """Parameters that make an encoder say the same; None where this encoder cannot."""
        if encoder not in _PARAMETERS:
            return None
        display, light = _PARAMETERS[encoder]
        out = {}
        if self.display is not None:
            out[display] = self._display_text(steps=encoder != "libsvtav1")
        if self.light is not None:
            out[light] = f"{self.light[0]},{self.light[1]}"
        return out

    def _display_text(self, steps: bool) -> str:
        *chroma, least, most = self.display or ()
        if steps:
            places: list[object] = [round(value / _CHROMA_STEP) for value in chroma]
            levels: list[object] = [round(value / _LUMINANCE_STEP) for value in (most, least)]
        else:
            places, levels = [f"{float(value):.5f}" for value in chroma], [f"{float(v):.4f}" for v in (most, least)]
        red, green, blue, white = (f"({places[n]},{places[n + 1]})" for n in (0, 2, 4, 6))
        return f"G{green}B{blue}R{red}WP{white}L({levels[0]},{levels[1]})"


_PARAMETERS = {
    "libx265": ("master-display", "max-cll"),
    "libx264": ("mastering-display", "cll"),
    "libsvtav1": ("mastering-display", "content-light"),
}
"""Names in x265-params, x264-params and svtav1-params."""


def dynamic_hdr_of(frame: av.VideoFrame) -> str | None:
    """Which metadata that change from frame to frame a decoded frame carries, None = none that we know."""
    return next((words for name, words in _DYNAMIC.items() if frame.side_data.get(name) is not None), None)


def hdr_of(frame: av.VideoFrame) -> Hdr | None:
    """What a decoded frame tells, None where that is nothing."""
    screen: Any = frame.side_data.get("MASTERING_DISPLAY_METADATA")
    bright: Any = frame.side_data.get("CONTENT_LIGHT_LEVEL")
    display, light = None, None
    if screen is not None and len(bytes(screen)) >= _RATIONALS.size:
        *parts, knows_colours, knows_luminance = _RATIONALS.unpack_from(bytes(screen))
        if knows_colours and knows_luminance and all(parts[1::2]):
            display = tuple(Fraction(*parts[at : at + 2]) for at in range(0, 20, 2))
    if bright is not None and len(bytes(bright)) >= _LIGHT.size:
        most, mean = _LIGHT.unpack_from(bytes(bright))
        light = (most, mean) if most or mean else None
    return None if display is None and light is None else Hdr(display, light)
