"""Training, validation and test by who speaks, never by clip."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

from latentsync.data.settings import SplitSettings

Part = Literal["train", "val", "test"]


def split_identities(identities: Iterable[str], settings: SplitSettings) -> dict[str, Part]:
    """Deal identities to parts by a hash of their name, so that new data never moves an old identity.

    The one exception: where chance gives a wanted part nobody, the identity with the least hash that is left (and with
    at least two others) goes there.
    """
    places = {name: _place(name, settings.seed) for name in set(identities)}
    parts: dict[str, Part] = {}
    for name, place in places.items():
        parts[name] = "val" if place < settings.val else "test" if place < settings.val + settings.test else "train"
    wanted: tuple[tuple[Part, float], ...] = (("val", settings.val), ("test", settings.test))
    for part, share in wanted:
        left = sorted((place, name) for name, place in places.items() if parts[name] == "train")
        if share > 0 and part not in parts.values() and len(left) > 2:
            parts[left[0][1]] = part
    return parts


def _place(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def as_given(identities: Iterable[str], given: Mapping[str, str], settings: SplitSettings) -> dict[str, Part]:
    """As `split_identities`, but identities named in `given` go where it says."""
    parts = split_identities([name for name in identities if name not in given], settings)
    for name in set(identities) & set(given):
        parts[name] = given[name]  # type: ignore[assignment]
    return parts
