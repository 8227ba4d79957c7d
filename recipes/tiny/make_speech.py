"""Speak sentences with every synthetic voice that is installed: the speech the audio encoder learns from, 16 kHz waves.

    python recipes/tiny/make_speech.py OUT --minutes 120 --seed 0

Voices: the programs `espeak-ng` and `flite`, each used where found. Sentences come from Python's own documentation
and from a small list of everyday phrases.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

FLITE = ("kal16", "awb", "rms", "slt")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbclan")
VARIANTS = ("", *(f"+m{k}" for k in range(1, 8)), *(f"+f{k}" for k in range(1, 6)), "+Annie", "+Andy", "+grandma")
PHRASES = """
Good morning, how are you today? Please open the window before you leave. My father bought a small blue boat.
We will meet again on Friday evening at five. The weather has been rather cold this month.
Could you pass me the paper, please? Bob and Mary baked a big apple pie. Put the book back on the table.
Five very friendly foxes found a warm place to sleep. I am happy to welcome all of you here tonight.
Each of us remembers that moment very well. Show me how the new machine works. Put red by p four now.
Bin blue at f two please. Lay green with s nine again. Set white in z zero soon. Place blue by b six now.
What would you like to drink with your meal? People often believe what they want to believe. Wait for me outside.
The boy who jumped over the fence was my brother. Nobody knows why the ship left the harbour so early.
Maybe we should buy some bread, butter and ham. Our team won the cup for the first time in fifty years.
Thank you very much for watching."""


def sentences(rng: np.random.Generator) -> list[str]:
    """Speakable sentences of 4 to 20 words, shuffled."""
    from pydoc_data.topics import topics

    text = re.sub(r"[*`_|=+\\<>\[\]{}()\"~^/#-]+", " ", " ".join(topics.values()))
    found = [s.strip() for s in re.split(r"[.;:]\s+", re.sub(r"\s+", " ", text))]
    plain = [s for s in found if 4 <= len(s.split()) <= 20 and re.fullmatch(r"[A-Za-z,' ]+", s)]
    daily = re.split(r"(?<=[.?])\s+", PHRASES.strip())
    mixed = plain + daily * max(1, len(plain) // (2 * len(daily)))
    rng.shuffle(mixed)
    return mixed


def speak(text: str, rng: np.random.Generator, engines: list[str], out: Path) -> str:
    """Write one sentence by one random voice to `out`; returns the voice's name."""
    engine = engines[rng.integers(len(engines))]
    if engine == "espeak-ng":
        voice = ACCENTS[rng.integers(len(ACCENTS))] + VARIANTS[rng.integers(len(VARIANTS))]
        command = [
            "espeak-ng",
            "-v",
            voice,
            "-s",
            str(rng.integers(130, 200)),
            "-p",
            str(rng.integers(25, 75)),
            "-w",
            str(out),
            text,
        ]
    else:
        voice = FLITE[rng.integers(len(FLITE))]
        stretch = f"duration_stretch={rng.uniform(0.8, 1.25):.2f}"
        command = ["flite", "-voice", voice, "--setf", stretch, "-t", text, "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return f"{engine}-{voice}"


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    from latentsync.media import read_audio

    args.out.mkdir(parents=True, exist_ok=True)
    engines = [e for e in ("espeak-ng", "flite") if shutil.which(e)]
    if not engines:
        raise SystemExit("no voice found: install espeak-ng or flite")
    print("voices from", ", ".join(engines))  # noqa: T201
    rng = np.random.default_rng(args.seed)
    seconds, k, lines = 0.0, 0, sentences(rng)
    while seconds < args.minutes * 60:
        text = lines[k % len(lines)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.wav"
            speak(text, rng, engines, path)
            wave = read_audio(path)
        np.save(args.out / f"{k:05d}.npy", wave.astype(np.float16))
        seconds += len(wave) / 16000
        k += 1
    print(f"{k} sentences, {seconds / 60:.1f} minutes")  # noqa: T201


if __name__ == "__main__":
    main()
