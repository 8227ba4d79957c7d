"""Figures and pictures of docs/synth.md.

    python studies/synth.py identities MODEL docs/pictures/synth-identities.jpg
    python studies/synth.py mouths MODEL docs/pictures/synth-mouths.jpg
    python studies/synth.py truth FOLDER           # a set made by `latentsync synth FOLDER`
    python studies/synth.py see-through MODEL
    python studies/synth.py speed MODEL            # CPU time; the wall time means something on an idle machine only
    python studies/synth.py parts MODEL            # CPU time of a frame, by part
    python studies/synth.py closures
    python studies/synth.py alignment              # forced alignment against flite's own phone times
    python studies/synth.py voices                 # the same for every voice of both engines

MODEL is the packed face model, or `builtin`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from latentsync.metrics.lips import lagged_correlation
from latentsync.synth import checks
from latentsync.synth.config import SynthConfig
from latentsync.synth.face.posing import Pose, Tongue
from latentsync.synth.render.camera import look_at, perspective
from latentsync.synth.speech.engines import Utterance
from latentsync.synth.stage import sample_background, sample_light
from latentsync.synth.studio import Studio
from latentsync.synth.truth import Truth

MESH_INNER_LIPS, MESH_OUTER_EYES = (13, 14), (33, 263)


def model_path(name: str) -> Path | None:
    return None if name == "builtin" else Path(name)


def save_sheet(pictures: list[np.ndarray], columns: int, path: Path) -> None:
    rows = [np.concatenate(pictures[k : k + columns], 1) for k in range(0, len(pictures), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = np.concatenate(rows)
    ok = cv2.imwrite(str(path), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    print(f"{path}: {sheet.shape[1]} x {sheet.shape[0]}, {path.stat().st_size / 1000:.0f} kB, written {ok}")


def identities(model: str, out: Path, seed: int = 0) -> None:
    """48 people, each in a clip's first frame."""
    studio = Studio(SynthConfig(size=256, seconds=0.4, seed=seed, face_model=model_path(model), face_share=(0.5, 0.75)))
    pictures = []
    for k in range(48):
        take = studio.clip(k, 0)
        wanted = int(take.truth.lip_gap_cm.argmax()) if k % 2 else 0
        if take.truth.mouth_covered.any():
            wanted = int(take.truth.mouth_covered.argmax())
        frame = next(f for i, f in enumerate(take.frames) if i == wanted)
        pictures.append(cv2.resize(frame, (160, 160), interpolation=cv2.INTER_AREA))
        print(k, studio.head(k).who.style, flush=True)
    save_sheet(pictures, 8, out)


def mouths(model: str, out: Path) -> None:
    """Four people, ten frames of one sentence, cut out around the mouth."""
    config = SynthConfig(size=512, seconds=2.4, seed=5, face_share=(0.7, 0.8), hand_share=0.0, max_turn_deg=25)
    studio = Studio(replace(config, face_model=model_path(model)))
    pictures = []
    for k in (0, 1, 2, 3):
        clip = studio.clip(k, 0)
        wanted = set(range(12, 60, 5)[:10])
        for i, frame in enumerate(clip.frames):
            if i in wanted:
                x, y = np.clip(clip.truth.landmarks[i][48:60].mean(0).round().astype(int), 80, 431)
                pictures.append(
                    cv2.resize(frame[y - 80 : y + 80, x - 80 : x + 80], (128, 128), interpolation=cv2.INTER_AREA)
                )
        print(k, studio.head(k).who.style, clip.truth.text, flush=True)
    save_sheet(pictures, 10, out)


def read_clips(folder: Path) -> Iterator[tuple[Truth, np.ndarray, list[np.ndarray]]]:
    import av

    from latentsync.synth.speech.engines import read_wav

    for path in sorted(folder.glob("id*.json")):
        stem = path.with_suffix("")
        if not stem.with_suffix(".mp4").is_file():
            continue
        with av.open(str(stem.with_suffix(".mp4"))) as file:
            frames = [f.to_ndarray(format="rgb24") for f in file.decode(video=0)]
        yield Truth.load(stem), read_wav(stem.with_suffix(".wav"))[0], frames


def truth(folder: Path) -> None:
    """The project's own tracker against the truth, and sound against lips; by turn and size of the face."""
    from latentsync.core.values import Frame
    from latentsync.faces import MeshTracker
    from latentsync.media import RgbPicture

    tracker = MeshTracker()
    seen_by: dict[str, list[bool]] = {}
    covered = 0
    per_clip, lags, tracked_lags, closures = [], [], [], []
    for known, audio, frames in read_clips(folder):
        gap = np.full(len(frames), np.nan)
        with tracker.open() as session:
            for i, picture in enumerate(frames):
                faces = session.track(Frame(i, Fraction(i, 25), RgbPicture(picture)))
                hidden = known.mouth_covered[i] > 0.02
                covered += int(hidden)
                width = float(np.linalg.norm(known.landmarks[i, 0] - known.landmarks[i, 16]))
                turn = abs(float(np.degrees(known.pose[i, 0])))
                names = (
                    ["hand before the mouth"]
                    if hidden
                    else [
                        "nothing before the mouth",
                        f"turned {10 * int(turn // 10)} to {10 * int(turn // 10) + 10} degrees",
                        f"face {50 * int(width // 50)} to {50 * int(width // 50) + 50} px wide",
                    ]
                )
                for name in names:
                    seen_by.setdefault(name, []).append(bool(faces))
                if faces and not hidden:
                    m = faces[0].landmarks
                    eyes = np.linalg.norm(m[MESH_OUTER_EYES[0]] - m[MESH_OUTER_EYES[1]])
                    gap[i] = np.linalg.norm(m[MESH_INNER_LIPS[0]] - m[MESH_INNER_LIPS[1]]) / eyes
        seen = ~np.isnan(gap)
        mine = checks.lip_gap(known.landmarks)
        if seen.sum() > 20 and mine[seen].std() > 0.01:
            per_clip.append(float(np.corrcoef(gap[seen], mine[seen])[0, 1]))
        half = 640 * 3 // 4
        loud = np.array(
            [np.sqrt((audio[max(i * 640 - half, 0) : i * 640 + half] ** 2).mean()) for i in range(len(frames))]
        )
        lags.append(list(lagged_correlation(known.lip_gap_cm, loud, 8).curve))
        if seen.all():
            tracked_lags.append(list(lagged_correlation(gap, loud, 8).curve))
        closures.append(checks.closure_rate(known.lip_gap_cm, known.phones))
    print(f"{len(lags)} clips; {covered} frames with a hand before the mouth")
    for name, hits in sorted(seen_by.items()):
        print(f"face found, {name}: {100 * np.mean(hits):.2f} % of {len(hits)}")
    low = np.percentile(per_clip, 10)
    print(f"lip gap, tracker against truth: median r {np.median(per_clip):.3f}, lowest tenth {low:.3f}")
    for name, rows in (("truth", lags), ("tracked", tracked_lags)):
        mean = np.mean(rows, axis=0)
        print(
            f"loudness against {name} lip gap by lag -8 … 8:",
            " ".join(f"{v:.2f}" for v in mean),
            f"peak {int(mean.argmax()) - 8}",
        )
    num = sum(n for _, n in closures)
    print(f"p, b, m closed: {100 * sum(r * n for r, n in closures) / max(num, 1):.1f} % of {num}")


def see_through(model: str, poses: int = 40) -> None:
    """Samples inside the lips that show the background, over random mouths and turns of three people."""
    size = 192
    studio = Studio(SynthConfig(size=size, face_model=model_path(model)))
    bad = all_ = 0
    for person in range(3):
        head, rng = studio.head(person), np.random.default_rng(person)
        light = sample_light(rng)
        background = sample_background(rng, size)
        for _ in range(poses):
            jaw, (up, low) = rng.uniform(0.02, 0.6), rng.uniform(0, 0.9, 2)
            weights = {
                "jawOpen": jaw,
                "mouthUpperUp_L": up,
                "mouthUpperUp_R": up,
                "mouthLowerDown_L": low,
                "mouthLowerDown_R": low,
                "mouthFunnel": rng.uniform(0, 0.6),
                "mouthSmile_L": rng.uniform(0, 0.4),
                "mouthSmile_R": rng.uniform(0, 0.4),
            }
            pose = Pose(float(rng.uniform(-0.6, 0.6)), float(rng.uniform(-0.3, 0.3)), 0.0)
            points = head.pose(weights, Tongue(float(rng.uniform(0, 1)), 0.2, float(rng.uniform(0, 0.8))), pose)
            eye = np.array([0, 0, 80.0], np.float32)
            view = perspective(20) @ look_at(eye, np.array([0, -0.5, 0]))
            head.draw(studio.canvas, view, eye, light, jaw, background)
            q = np.c_[points[head.mesh.landmarks[60:68]], np.ones(8)] @ view.T
            pixels = np.c_[(q[:, 0] / q[:, 3] + 1) * size, (1 - q[:, 1] / q[:, 3]) * size]
            inside = np.zeros((2 * size, 2 * size), np.uint8)
            cv2.fillPoly(inside, [np.round(pixels).astype(np.int32)], 1)
            bad += int(((studio.canvas.index < 0) & (inside > 0)).sum())
            all_ += int(inside.sum())
    print(f"{bad} of {all_} samples inside the lips show the background, {3 * poses} poses")


def speed(model: str, size: int = 384, people: int = 12) -> None:
    """CPU seconds: a person, a clip's speech and truth, a frame."""
    studio = Studio(SynthConfig(size=size, seconds=1.0, face_model=model_path(model)))
    list(studio.clip(0, 0).frames)  # compile
    build, plan, draw = [], [], []
    wall = time.perf_counter()
    for k in range(1, people + 1):
        t = time.process_time()
        style = studio.head(k).who.style
        build.append(time.process_time() - t)
        t = time.process_time()
        clip = studio.clip(k, 0)
        plan.append(time.process_time() - t)
        t = time.process_time()
        num = sum(1 for _ in clip.frames)
        draw.append((time.process_time() - t) / num)
        print(f"{k} {style}: {1000 * draw[-1]:.0f} ms CPU a frame", flush=True)
    wall = time.perf_counter() - wall
    cpu, frame = sum(build) + sum(plan) + 25 * sum(draw), float(np.mean(draw))
    print(f"{size} px, {people} people: a person {np.mean(build):.2f} CPU-s, a clip's plan {np.mean(plan):.2f} CPU-s")
    print(f"a frame {1000 * frame:.0f} ms CPU = {1 / frame:.1f} frames per CPU-second")
    print(f"wall {wall:.0f} s for {cpu:.0f} CPU-s: this process had {cpu / wall:.2f} of a core")


def parts(model: str, size: int = 384, people: int = 8) -> None:
    """Where the CPU time of a frame goes."""
    from collections import defaultdict

    from latentsync.synth import stage
    from latentsync.synth.face import head

    spent: dict[str, float] = defaultdict(float)

    def timed(owner: object, name: str, label: str) -> None:
        inner = getattr(owner, name)

        def outer(*args: object, **options: object) -> object:
            start = time.process_time()
            out = inner(*args, **options)
            spent[label] += time.process_time() - start
            return out

        setattr(owner, name, outer)

    for name in ("project", "depth_map", "light_vertices", "raster", "resolve", "blend_films", "expose", "develop"):
        timed(head, name, {"expose": "motion blur and rows"}.get(name, name))
    timed(head.Head, "pose", "pose")
    timed(stage.Sensor, "expose", "noise and lens")
    studio = Studio(SynthConfig(size=size, seconds=1.0, face_model=model_path(model)))
    list(studio.clip(0, 0).frames)  # compile
    num, total = 0, defaultdict(float)
    for k in range(1, people + 1):
        clip = studio.clip(k, 0)
        before = dict(spent)
        num += sum(1 for _ in clip.frames)
        for name, value in spent.items():
            total[name] += value - before.get(name, 0.0)
    for name, value in sorted(total.items(), key=lambda item: -item[1]):
        print(f"{name}: {1000 * value / num:.1f} ms CPU a frame")


def start_errors(said: Utterance) -> list[tuple[str, float]]:
    """(name, ms) of each phone: how much later forced alignment lets it start than the engine says."""
    from difflib import SequenceMatcher

    from latentsync.synth.speech.aligned import align
    from latentsync.synth.speech.phones import SILENCE

    ours = [p for p in align(said.audio, said.text) if p.name != SILENCE]
    true = [p for p in said.phones if p.name != SILENCE]
    match = SequenceMatcher(None, [p.name for p in ours], [p.name for p in true], autojunk=False)
    out = []
    for i, j, length in match.get_matching_blocks():
        for a, b in zip(ours[i : i + length], true[j : j + length], strict=True):
            out.append((a.name, 1000 * (a.start_s - b.start_s)))
    return out


def alignment(num: int = 30) -> None:
    """Starts of phones by forced alignment against flite's own, by class, in ms."""
    from latentsync.synth.speech.engines import flite
    from latentsync.synth.speech.phones import VOWELS
    from latentsync.synth.speech.sentences import sentence

    rng, errors = np.random.default_rng(0), {"p b m": [], "other consonants": [], "vowels": []}
    for k in range(num):
        for phone, late in start_errors(flite(sentence(rng), ("slt", "rms", "awb")[k % 3])):
            errors["p b m" if phone in "pbm" else "vowels" if phone in VOWELS else "other consonants"].append(late)
    for name, values in errors.items():
        e = np.array(values)
        late, middle, tenth = np.median(e), np.median(np.abs(e)), np.percentile(np.abs(e), 90)
        print(f"{name}: {len(e)}, median {late:+.0f} ms, median distance {middle:.0f} ms, a tenth over {tenth:.0f} ms")


def voices(num: int = 4) -> None:
    """The same for every voice of flite and every variant of espeak-ng: does a voice run late as a whole?"""
    from latentsync.core.errors import MediaError
    from latentsync.synth.speech.engines import espeak, flite
    from latentsync.synth.speech.sentences import sentence
    from latentsync.synth.speech.speaker import FLITE_VOICES, VARIANTS

    rng = np.random.default_rng(0)
    every = [("flite", voice) for sex in (True, False) for voice in FLITE_VOICES[sex]]
    every += [("espeak", variant) for sex in (True, False) for variant in VARIANTS[sex]]
    medians = []
    for engine, voice in every:
        late: list[float] = []
        for _ in range(num):
            text = sentence(rng)
            try:
                said = flite(text, voice) if engine == "flite" else espeak(text, f"gmw/en-US+{voice}", 160)
                late += [ms for _, ms in start_errors(said)]
            except MediaError:  # a voice that the aligner cannot follow
                continue
        medians.append(float(np.median(late)))
        print(f"{engine} {voice}: {len(late)} phones, median {medians[-1]:+.0f} ms", flush=True)
    print(f"{len(medians)} voices: medians from {min(medians):+.0f} to {max(medians):+.0f} ms")


def closures() -> None:
    """Mean loudness around the start of p and b, each 10 ms from -80 ms: where the silence of the closure lies."""
    from latentsync.synth.speech.engines import espeak, flite

    texts = [
        "Papa bought a puppy.",
        "Maybe my mother paid Bob for a cup of coffee.",
        "A baby bear peeped above the boat.",
        "He put a pipe upon the table by the paper box.",
    ]

    def show(name: str, said: list[Utterance]) -> None:
        for wanted in ("p", "b"):
            rows, lengths = [], []
            for u in said:
                level = np.sqrt(np.convolve(u.audio**2, np.ones(80) / 80, "same"))
                for p in u.phones:
                    if p.name == wanted and p.start_s > 0.15:
                        at = ((np.arange(-8, 13) * 0.01 + p.start_s) * 16000).astype(int)
                        rows.append(level[np.clip(at, 0, len(level) - 1)])
                        lengths.append(p.end_s - p.start_s)
            levels = " ".join(f"{1000 * v:.0f}" for v in np.mean(rows, 0))
            print(f"{name} {wanted}: {len(rows)} of {1000 * np.mean(lengths):.0f} ms: {levels}")

    show("espeak en-us", [espeak(t, "gmw/en-US") for t in texts])
    show("flite slt", [flite(t, "slt") for t in texts])
    show("flite rms", [flite(t, "rms") for t in texts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*PICTURES, *OF_A_MODEL, "truth", *ALONE])
    parser.add_argument("arguments", nargs="*")
    args = parser.parse_args()
    if args.what in PICTURES:
        model, out = args.arguments
        PICTURES[args.what](model, Path(out))
    elif args.what in OF_A_MODEL:
        OF_A_MODEL[args.what](args.arguments[0])
    elif args.what == "truth":
        truth(Path(args.arguments[0]))
    else:
        ALONE[args.what]()


ALONE = {"closures": closures, "alignment": alignment, "voices": voices}
PICTURES = {"identities": identities, "mouths": mouths}
OF_A_MODEL = {"see-through": see_through, "speed": speed, "parts": parts}

if __name__ == "__main__":
    main()
