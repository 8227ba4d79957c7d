"""Licences as values. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Licence:
    """Under which terms a part may be used.

    Attributes:
        part: "unet", "autoencoder", "audio_encoder", …
        name: SPDX identifier, or `LicenseRef-…` where there is none.
        url: where it's stated.
        note: what a user must know beyond it.
    """

    part: str
    name: str
    url: str = ""
    note: str = ""
