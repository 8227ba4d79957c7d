"""How a small model is run beside what it shares with the released ones; see docs/method.md, "What tiny does"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from latentsync.config.checked import checked

Warp = Literal["none", "pose", "lips"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyConfig:
    """Attributes:
    window: latent cells in which the U-Net works and that are decoded, as in training: top, bottom, left, right, ends
        excluded; None = all.
    num_references: 1 = a closed mouth of the track, 2 = and an open one, for the teeth.
    warp: how reference frames are fitted to each frame: "none"; "pose" = turned as its head is (`tiny.pose_warp`);
        "lips" = and their lips are where the lip predictor says (`tiny.lip_warp`).
    residual: the U-Net gives the difference from the first reference's latents (`tiny.residual`).
    detail_residual: what the autoencoder loses of the reference frames is added where the U-Net leaves them as they are
        (`tiny.detail`); needs `residual`.
    teeth_colour_guard: no mouth gets greener than the reference frames are (`tiny.teeth_colour`).
    keep_latents: latent cells away from the mask are taken from the masked frame instead of the U-Net.
    """

    window: tuple[int, int, int, int] | None = None
    num_references: int = 2
    warp: Warp = "lips"
    residual: bool = True
    detail_residual: bool = True
    teeth_colour_guard: bool = True
    keep_latents: bool = True

    def __post_init__(self) -> None:
        if type(self.num_references) is not int or self.num_references not in (1, 2):
            raise ValueError(f"num_references {self.num_references!r} is neither 1 nor 2")
        if self.warp not in get_args(Warp):
            raise ValueError(f"warp {self.warp!r} is none of {', '.join(get_args(Warp))}")
        if self.window is not None:
            top, bottom, left, right = self.window
            if not (0 <= top < bottom and 0 <= left < right):
                raise ValueError(f"window {self.window} is not top, bottom, left, right of some cells")
        if self.detail_residual and not self.residual:
            raise ValueError("detail_residual needs residual: else nobody knows where the reference is left as it is")

    @property
    def mixes_references(self) -> bool:
        """Whether the U-Net may give one channel more: how far to go from the first reference towards the second."""
        return self.residual and self.num_references == 2

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> TinyConfig:
        """From a model's index. Raises: ConfigError: an unknown key, a value of another kind. ValueError: see above."""
        return checked(cls, mapping, "tiny")
