"""The field's words: names that only this project ever used for them do not come back."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "latentsync"
OLD_NAMES = SOURCE / "config" / "renamed.py"
PRIVATE = (
    "listener", "lip_ear", "critic", "conveyor", "dubber", "told", "heard", "overhears", "deaf", "heard_noise",
    "audio_drop", "repose", "stills_of", "drawn_from", "memory_told", "full_disk_told",
    "Ear", "LipEar", "LipCode", "LipReader", "Look", "OwnTeeth", "LostTexture", "Dubber", "Scene", "Stills", "Findings",
)  # fmt: skip
"""The field's word for each is in docs/method.md."""
EAR = "ear"  # heads of `synth` have real ones


def names_in(path: Path) -> set[str]:
    """Identifiers of a module, and their parts between underscores."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
    names = {token.string for token in tokens if token.type == tokenize.NAME}
    return names | {part for name in names for part in name.split("_")}


def test_private_names_do_not_come_back() -> None:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        private = set(PRIVATE) if "synth" in path.parts else {*PRIVATE, EAR}
        if path != OLD_NAMES and "serve" not in path.parts:  # which hears and is told over HTTP
            found += [f"{path.relative_to(SOURCE)}: {name}" for name in sorted(names_in(path) & private)]
    assert not found


def test_the_method_says_nothing_of_the_small_model() -> None:
    """The paper's page, and what it stands on, can be read without meeting the other way of making mouths."""
    pages = [SOURCE / "generation" / "latentsync.py", *(SOURCE / "diffusion").glob("*.py")]
    words = re.compile(r"\b(tiny|warp|lip_predictor|lip predictor|residual head|closed mouth|teeth)\b")
    found = {page.name: sorted(set(words.findall(page.read_text("utf-8")))) for page in pages}
    assert not {name: words for name, words in found.items() if words}
