"""A page on which anyone judges two methods against each other without knowing which is which."""

from __future__ import annotations

import base64
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from latentsync.core.errors import ConfigError, MediaError
from latentsync.core.files import atomic_path

PAGE, VIDEOS = "blind.html", "blind"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two results of one case. `name` tells the case in the saved choices."""

    name: str
    first: Path
    second: Path


def write_blind(folder: Path, names: tuple[str, str], pairs: Sequence[Pair], seed: int = 0, question: str = "") -> Path:
    """Write the page and, beside it, copies of the videos under names that tell nothing.

    Pairs come in random order, each with its sides dealt at random; both play together. Choices stay in the browser
    (and can be saved as a file), also where the page is closed in between. The result is the share of the decided pairs
    won, with a 95 % Wilson interval, and is shown after the last pair.

    Args: names: of the first and of the second method. seed: another one deals anew.
    Raises: MediaError: no pair, or a video that cannot be copied.
    """
    if not pairs:
        raise MediaError(f"{folder}: no case has videos of both {names[0]} and {names[1]}: nothing to judge")
    rng = random.Random(f"{seed} {names} {[pair.name for pair in pairs]}")
    videos = folder / VIDEOS
    videos.mkdir(parents=True, exist_ok=True)
    order, entries = list(pairs), []
    rng.shuffle(order)
    for pair in order:
        flipped = rng.random() < 0.5
        sides = []
        for path in (pair.second, pair.first) if flipped else (pair.first, pair.second):
            target = videos / f"{rng.getrandbits(48):012x}{path.suffix}"
            try:
                with atomic_path(target) as part:
                    shutil.copyfile(path, part)
            except OSError as error:
                raise MediaError(f"{path}: cannot be copied to {target} ({error.strerror})") from error
            sides.append(f"{VIDEOS}/{target.name}")
        entries.append({"name": pair.name, "left": sides[0], "right": sides[1], "flipped": flipped})
    key = base64.b64encode(json.dumps({"names": names, "pairs": entries}).encode()).decode()
    text = _PAGE.replace("%QUESTION%", escape(question or "Whose mouth speaks these words better?"))
    out = folder / PAGE
    with atomic_path(out) as part:
        part.write_text(text.replace("%KEY%", key), encoding="utf-8")
    return out


def two_of(names: Sequence[str]) -> tuple[str, str]:
    """The two methods of a page. Raises: ConfigError: there are not two."""
    if len(names) != 2:
        raise ConfigError(
            "blind", ", ".join(names) or "none", "it compares two methods: give two of --model, --results"
        )
    return names[0], names[1]


SCRIPT = """
function wilson(won, of) {
  const z = 1.96, p = of ? won / of : NaN, q = 1 + z * z / of;
  const middle = (p + z * z / (2 * of)) / q;
  const half = z / q * Math.sqrt(p * (1 - p) / of + z * z / (4 * of * of));
  return [p, middle - half, middle + half];
}
function tally(key, choices) {
  let first = 0, second = 0, same = 0;
  key.pairs.forEach((pair, i) => {
    const choice = choices[i];
    if (choice === 'same') same += 1;
    else if (choice === 'left' || choice === 'right') {
      if ((choice === 'left') !== pair.flipped) first += 1; else second += 1;
    }
  });
  return {first, second, same, share: wilson(first, first + second)};
}
"""
"""The sums of the page, apart from what shows them."""

_PAGE = (
    """<!doctype html><html lang=en><meta charset=utf-8><title>Which one?</title>
<meta name=viewport content="width=device-width">
<style>
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:1rem auto;padding:0 1rem}
.pair{display:flex;gap:1rem}.pair figure{flex:1;margin:0}video{width:100%;background:#000}
button{font:inherit;padding:.5rem 1rem;margin:.3rem .3rem 0 0}progress{width:100%}
</style>
<h1>%QUESTION%</h1>
<p>Both play together, with the same sound. Keys: ← left, → right, ↓ no difference, space plays again.</p>
<progress id=bar value=0></progress>
<div id=stage class=pair>
<figure><video id=left playsinline></video><button data-choice=left>← this one</button></figure>
<figure><video id=right playsinline muted></video><button data-choice=right>this one →</button></figure></div>
<p id=tools><button data-choice=same>no difference</button><button id=again>play again</button>
<button id=back>one back</button></p>
<section id=result hidden></section>
<script>
const key = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob('%KEY%'), c => c.charCodeAt(0))));
"""
    + SCRIPT
    + """
const place = 'blind:' + location.pathname + ':' + key.pairs.map(p => p.left).join();
let choices = [];
try { choices = JSON.parse(localStorage.getItem(place)) || []; } catch (e) { choices = []; }
const at = id => document.getElementById(id);
function play() { ['left', 'right'].forEach(id => { at(id).currentTime = 0; at(id).play().catch(() => {}); }); }
function show() {
  const done = choices.length, all = key.pairs.length;
  at('bar').max = all; at('bar').value = done;
  const over = done >= all;
  at('stage').hidden = over; at('stage').style.display = over ? 'none' : '';
  at('result').hidden = !over;
  if (over) return finish();
  at('left').src = key.pairs[done].left; at('right').src = key.pairs[done].right;
  play();
}
function choose(choice) {
  if (choices.length >= key.pairs.length) return;
  choices.push(choice);
  try { localStorage.setItem(place, JSON.stringify(choices)); } catch (e) { /* private window: kept while open */ }
  show();
}
function finish() {
  const found = tally(key, choices), [share, low, high] = found.share, percent = x => Math.round(100 * x) + ' %';
  const text = found.first + found.second === 0 ? 'No pair was decided.' :
    key.names[0] + ' won ' + percent(share) + ' of ' + (found.first + found.second) + ' decided pairs [95 %: ' +
    percent(low) + ' to ' + percent(high) + '], ' + key.names[1] + ' the others; no difference in ' +
    found.same + '. ' +
    (low > 0.5 || high < 0.5 ? '' : 'That is not enough to say which is better.');
  at('result').textContent = text;
  const file = {names: key.names, choices: key.pairs.map((p, i) => ({case: p.name, choice: choices[i] === 'same' ?
    'same' : ((choices[i] === 'left') !== p.flipped ? key.names[0] : key.names[1])}))};
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1)], {type: 'application/json'}));
  link.download = 'choices.json'; link.textContent = ' Save the choices'; at('result').append(link);
}
document.querySelectorAll('[data-choice]').forEach(b => b.onclick = () => choose(b.dataset.choice));
at('again').onclick = play;
at('back').onclick = () => { choices.pop(); show(); };
document.onkeydown = e => {
  const choice = {ArrowLeft: 'left', ArrowRight: 'right', ArrowDown: 'same'}[e.key];
  if (choice) choose(choice); else if (e.key === ' ') play(); else return;
  e.preventDefault();
};
show();
</script></html>
"""
)
