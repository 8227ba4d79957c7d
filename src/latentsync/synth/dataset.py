"""Write a set of synthetic clips: mp4, exact wav, truth and a manifest. A second run goes on where one stopped."""

from __future__ import annotations

import json
import multiprocessing as mp
import wave
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np

from latentsync.core.errors import ConfigError, LatentSyncError, MissingExtraError
from latentsync.core.files import atomic_path
from latentsync.core.hashing import file_sha256
from latentsync.core.progress import Progress, ProgressCallback, StopFlag, check, never, silent
from latentsync.core.rates import SPEECH_RATE_HZ
from latentsync.core.values import Bytes, Float
from latentsync.synth.config import SynthConfig

FORMAT_VERSION = 3
POLL_S = 1.0
"""Between two looks at whether the workers still live."""
NEEDED = ("numba", "scipy")
"""Of the extra `synth`, without which nothing is rendered."""


def write_wav(path: Path, audio: Float) -> None:
    """16-bit PCM mono at 16 kHz, rounded."""
    samples = np.clip(np.round(audio * 32768), -32768, 32767).astype("<i2")
    with atomic_path(path) as part, wave.open(str(part), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_RATE_HZ)
        file.writeframes(samples.tobytes())


def write_mp4(
    path: Path,
    frames: Iterable[Bytes],
    audio: Float,
    size: int,
    crf: float,
    preset: str = "veryfast",
    audio_kbps: int = 96,
) -> int:
    """H.264 at 25 frames a second with AAC sound. One encoder thread, so the same input gives the same file.

    Without x264's mbtree: with it, and x264's assembly for new processors, some per cent of encodings of the very same
    pictures came out different by a few levels from frame 0 on (core 165); without either, none in hundreds. It seems
    to depend on what lies in memory, not on time.

    Returns: number of frames written.
    """
    import av

    with atomic_path(path) as part, av.open(str(part), "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = size
        video.pix_fmt, video.thread_count = "yuv420p", 1
        video.codec_context.time_base = Fraction(1, 25)
        video.options = {"crf": str(crf), "preset": preset, "threads": "1", "x264-params": "mbtree=0"}  # see above
        sound = container.add_stream("aac", rate=SPEECH_RATE_HZ, layout="mono")
        sound.bit_rate = audio_kbps * 1000
        num = 0
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
            num += 1
        container.mux(video.encode(None))
        for start in range(0, len(audio), 1024):
            block = np.ascontiguousarray(audio[None, start : start + 1024], np.float32)
            piece = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = SPEECH_RATE_HZ, start, Fraction(1, SPEECH_RATE_HZ)
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
    return num


def stem_of(identity: int, clip: int) -> str:
    """File name without suffix of a clip."""
    return f"id{identity:05d}_{clip:03d}"


def _write_clip(studio: Any, out: Path, identity: int, clip: int) -> dict[str, Any]:
    made = studio.clip(identity, clip)
    stem = out / stem_of(identity, clip)
    write_wav(stem.with_suffix(".wav"), made.audio)
    num = write_mp4(stem.with_suffix(".mp4"), made.frames, made.audio, studio.config.size, made.crf)
    made.truth.save(stem)
    truth = made.truth
    record = {
        "id": stem.name,
        "identity": identity,
        "clip": clip,
        "frames": num,
        "voice": truth.voice,
        "text": truth.text,
        "sha256": {s: file_sha256(stem.with_suffix(f".{s}")) for s in ("mp4", "wav", "npz", "json")},
    }
    with atomic_path(stem.with_suffix(".done")) as part:
        part.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    return record


def _work(config: SynthConfig, out: Path, identities: list[int]) -> Iterator[dict[str, Any]]:
    from latentsync.synth.studio import Studio

    studio = None
    for identity in identities:
        for clip in range(config.clips_per_identity):
            done = out / f"{stem_of(identity, clip)}.done"
            if done.is_file():
                yield json.loads(done.read_text(encoding="utf-8"))
                continue
            studio = studio or Studio(config)
            yield _write_clip(studio, out, identity, clip)


def _worker(config: SynthConfig, out: Path, identities: list[int], number: int, queue: Any) -> None:
    """Put (number, record) for each clip, then (number, None); an exception instead where one flies."""
    try:
        for record in _work(config, out, identities):
            queue.put((number, record))
        queue.put((number, None))
    except BaseException as error:
        queue.put((number, error))
        raise


def check_installed() -> None:
    """Look for what the extra `synth` brings, before anything is written. Raises: MissingExtraError."""
    for name in NEEDED:
        if find_spec(name) is None:
            raise MissingExtraError("synth", name)


def render_dataset(
    out: Path, config: SynthConfig, *, workers: int = 1, progress: ProgressCallback = silent, stop: StopFlag = never
) -> Path:
    """Write every clip of `config` to the folder `out`, and `manifest.jsonl` with one line a clip when all are there.

    Each clip is `idNNNNN_CCC` with .mp4 (H.264 + AAC), .wav (the exact sound), .npz and .json (see `Truth.save`).
    Clips that a former run finished with the same settings are kept.

    Args:
        workers: processes; people are dealt out to them.
    Returns: path of the manifest.
    Raises:
        ConfigError: `out` holds a set made with other settings; no recording can be used.
        MissingExtraError: the extra `synth` is not installed.
        WeightsError: the face model cannot be read.
        LatentSyncError: a worker died.
    """
    check_installed()
    if config.recordings is not None:
        from latentsync.synth.speech.recordings import speakers

        speakers(config.recordings)
    if config.face_model is not None:
        from latentsync.synth.face.model import load_face_model

        load_face_model(config.face_model)
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, config)
    people = list(range(config.first_identity, config.first_identity + config.identities))
    total = config.identities * config.clips_per_identity
    records = []
    source = _work(config, out, people) if workers == 1 else _in_processes(config, out, people, workers)
    for record in source:
        records.append(record)
        progress(Progress("synth", len(records), total, "clips"))
        check(stop)
    records.sort(key=lambda r: r["id"])
    manifest = out / "manifest.jsonl"
    with atomic_path(manifest) as part:
        part.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    for record in records:
        (out / f"{record['id']}.done").unlink(missing_ok=True)
    return manifest


def _claim(out: Path, config: SynthConfig) -> None:
    """Store the settings, or compare them with those of a former run."""
    settings = {**asdict(replace(config, identities=1)), "format": FORMAT_VERSION}
    settings["face_model"] = config.face_model.name if config.face_model else None
    settings["recordings"] = config.recordings.name if config.recordings else None
    settings.pop("identities")
    path, now = out / "settings.json", json.loads(json.dumps(settings))
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before != now:
            differ = sorted(k for k in now if before.get(k) != now[k])
            raise ConfigError("out", str(out), f"it holds a set with other {', '.join(differ)}; choose another folder")
        return
    with atomic_path(path) as part:
        part.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")


def _in_processes(config: SynthConfig, out: Path, people: list[int], workers: int) -> Iterator[dict[str, Any]]:
    context = mp.get_context("spawn")
    queue: Any = context.Queue()
    shares = [people[k::workers] for k in range(workers) if people[k::workers]]
    processes = [
        context.Process(target=_worker, args=(config, out, share, number, queue), daemon=True)
        for number, share in enumerate(shares)
    ]
    for process in processes:
        process.start()
    running = set(range(len(processes)))
    try:
        while running:
            dead = {k for k in running if processes[k].exitcode is not None}  # looked up before the queue is emptied
            try:
                number, item = queue.get(timeout=POLL_S)
            except Empty:
                if dead:
                    code = processes[min(dead)].exitcode
                    raise LatentSyncError(
                        f"{out}: a worker ended with code {code} before its work was done (out of memory?). "
                        "Run again to go on, with fewer workers."
                    ) from None
                continue
            if item is None:
                running.discard(number)
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
