"""Plain values become settings; what is unknown, missing or of another kind is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from latentsync.config.checked import checked
from latentsync.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float = 0.5
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outer:
    steps: int
    kind: Literal["a", "b"] = "a"
    pair: tuple[float, float] = (0.0, 1.0)
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    where: Path | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    factors: tuple[int | tuple[int, int], ...] = ()


def test_values_become_what_the_fields_say() -> None:
    made = checked(
        Outer,
        {"steps": 3, "kind": "b", "pair": [1, 2], "inner": {"share": 1, "names": ["x", 2]}, "maybe": None,
         "where": "a/b", "more": {"z": [1]}, "factors": [1, [2, 1]]},
    )  # fmt: skip
    assert made == Outer(
        steps=3, kind="b", pair=(1.0, 2.0), inner=Inner(share=1.0, names=("x", "2")), where=Path("a/b"),
        more={"z": [1]}, factors=(1, (2, 1)),
    )  # fmt: skip
    assert type(made.inner.share) is float


@pytest.mark.parametrize(
    ("given", "key", "fix"),
    [
        ({}, "s.steps", "is missing"),
        ({"steps": 1, "stepps": 2}, "s.stepps", "did you mean steps?"),
        ({"steps": 1, "zzz": 2}, "s.zzz", "choose one of steps, kind"),
        ({"steps": 1, 7: 2}, "s.7", "unknown setting"),
        ({"steps": True}, "s.steps", "expected int"),
        ({"steps": 1.0}, "s.steps", "expected int"),
        ({"steps": "1"}, "s.steps", "expected int"),
        ({"steps": None}, "s.steps", "expected int"),
        ({"steps": 1, "kind": "c"}, "s.kind", "choose one of a, b"),
        ({"steps": 1, "kind": ["a"]}, "s.kind", "choose one of a, b"),
        ({"steps": 1, "pair": [1]}, "s.pair", "expected 2 values"),
        ({"steps": 1, "pair": "ab"}, "s.pair", "expected a list"),
        ({"steps": 1, "pair": [1, float("nan")]}, "s.pair", "finite"),
        ({"steps": 1, "pair": [1, 10**400]}, "s.pair", "finite"),
        ({"steps": 1, "inner": {"sharre": 1}}, "s.inner.sharre", "did you mean share?"),
        ({"steps": 1, "inner": None}, "s.inner", "'key: value' pairs"),
        ({"steps": 1, "maybe": 3}, "s.maybe", "'key: value' pairs"),
        ({"steps": 1, "inner": {"names": [10**5000]}}, "s.inner.names", "shorter number"),
        ({"steps": 1, "factors": [[1, 2, 3]]}, "s.factors", "expected 2 values"),
        ([1], "s", "'key: value' pairs"),
        (None, "s", "'key: value' pairs"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given: Any, key: str, fix: str) -> None:
    with pytest.raises(ConfigError) as described:
        checked(Outer, given, "s")
    assert described.value.key == key
    assert fix in described.value.fix
