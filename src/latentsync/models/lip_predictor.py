"""What a small U-Net hears: the tokens of a frame become a short code, and the code a picture beside the latents.

Attention alone finds the mouth too slowly for a small model on little data. Aligned faces keep the mouth at one
place, so the audio features may speak to places directly; and a code of few numbers, which can be taught the shape of
lips first (`datasets.lip_parameters`), holds for people who were never seen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAP_SIDE = 8
"""Side of the picture that is made of the code, before it is enlarged to the latents' size."""


class LipPredictor(nn.Module):
    """Tokens → code → (addition to the time embedding, picture added to the stem)."""

    motion: Tensor

    def __init__(
        self, audio_features: int, width: int, code: int, channels: int, stem_width: int, points: int = 0
    ) -> None:
        """Args: heard: K·D values of a frame; width: of the time embedding; channels: of the picture; points: of the
        lips whose motion the code means (see `lips_moved`), 0 = that is not known."""
        super().__init__()
        self.linear_1 = nn.Linear(audio_features, width)
        self.linear_2 = nn.Linear(width, width)
        self.head = nn.Linear(width, code)
        self.to_time = nn.Linear(code, width)
        self.to_map = nn.Linear(code, channels * MAP_SIDE**2)
        self.mix = nn.Conv2d(channels, stem_width, 3, padding=1)
        if points:
            self.register_buffer("motion", torch.zeros(code, 2 * points))

    def code(self, tokens: Tensor) -> Tensor:
        """(n, K·D) → (n, code)."""
        return self.head(F.silu(self.linear_2(F.silu(self.linear_1(tokens)))))

    def lips_moved(self, code: Tensor) -> Tensor:
        """(n, code) → (n, 2 · points) float32: how far the lips are from those of code 0, in distances of the outer
        eye corners, all along the face, then all down it."""
        return (code.float() @ self.motion.float()).float()  # autocast would leave it in half precision

    def forward(self, tokens: Tensor, size: tuple[int, int], code: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n, K·D) → additions (n, width) to the time embedding and (n, stem_width, h, w) to the stem.

        Args: code: (n, code) to be taken instead of what the tokens tell; a training may know it.
        """
        code = self.code(tokens) if code is None else code
        picture = F.silu(self.to_map(code).unflatten(1, (-1, MAP_SIDE, MAP_SIDE)))
        return self.to_time(code), self.mix(F.interpolate(picture, size=size, mode="bilinear"))
