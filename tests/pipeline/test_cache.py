"""A cache changes what is computed, never what is written."""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import micro_model
import planted
import synth_media
from latentsync.config.options import SyncOptions
from latentsync.core.errors import LatentSyncError, Stopped
from latentsync.core.hashing import file_sha256
from latentsync.core.values import Face, Frame
from latentsync.generation.protocol import ChunkInputs
from latentsync.generation.tiny.lip_warp import ReferenceLips
from latentsync.generation.tiny.references import ChunkReferences
from latentsync.media import VideoReader
from latentsync.pipeline import Lipsync
from latentsync.pipeline.cache import RunCache
from small_sampler import SmallSampler

SIZE, NUM_FRAMES = (160, 120), 14


class CountingTracker(planted.PlantedTracker):
    """Finds planted faces and counts the frames it was shown."""

    identity = "planted 1"
    num_seen = 0

    def open(self) -> AbstractContextManager:  # type: ignore[override]
        counter = self

        class Session(planted.PlantedSession):
            def track(self, frame: Frame) -> tuple[Face, ...]:
                counter.num_seen += 1
                return super().track(frame)

        return Session(self.turn)


@pytest.fixture
def model() -> Lipsync:
    return micro_model.lipsync(CountingTracker())


def sound(path: Path, seconds: float) -> Path:
    return synth_media.make_sound(path, synth_media.tone(seconds, 48000, 1), "pcm_s16le", 48000)


def film(path: Path, grey: int = planted.GREY) -> Path:
    squares = [[(80 + k, 60, 80)] for k in range(NUM_FRAMES)]
    squares[6] = []
    pictures = [planted.picture(SIZE, found) for found in squares]
    return planted.film(path, [np.where(p == planted.GREY, grey, p).astype(np.uint8) for p in pictures])


def pictures(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return np.stack([frame.picture.rgb() for frame in reader])


def test_new_speech_on_a_known_video_tracks_no_face(model: Lipsync, tmp_path: Path) -> None:
    video, cache = film(tmp_path / "a.mp4"), tmp_path / "cache"
    long, short = sound(tmp_path / "long.wav", 0.8), sound(tmp_path / "short.wav", 0.4)
    model(video, long, tmp_path / "o.mp4", cache=cache)
    assert model.tracker.num_seen == 20
    model(video, short, tmp_path / "known.mp4", cache=cache)
    assert model.tracker.num_seen == 20
    model(video, short, tmp_path / "plain.mp4")
    assert model.tracker.num_seen == 30
    assert (pictures(tmp_path / "known.mp4") == pictures(tmp_path / "plain.mp4")).all()
    assert list((cache / "chunks").iterdir()) == []


def test_what_does_not_fit_is_tracked_anew(model: Lipsync, tmp_path: Path) -> None:
    video, cache = film(tmp_path / "a.mp4"), tmp_path / "cache"
    short = sound(tmp_path / "short.wav", 0.4)

    def tracked(**changes: object) -> int:
        before = model.tracker.num_seen
        model(video, changes.pop("speech", short), tmp_path / "o.mp4", cache=cache, **changes)
        return model.tracker.num_seen - before

    assert [tracked(), tracked()] == [10, 0]
    assert tracked(speech=sound(tmp_path / "long.wav", 0.8)) == 20  # more frames than were recorded
    assert tracked(length="loop") == 14  # other frames
    film(video, grey=100)  # another video of the same name
    assert tracked() == 10
    for record in (cache / "tracks").glob("*.faces"):
        record.write_bytes(record.read_bytes()[:-1])
    assert tracked() == 10


def test_a_run_that_was_broken_off_goes_on_where_it_was(
    model: Lipsync, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video, speech, cache = film(tmp_path / "a.mp4"), sound(tmp_path / "s.wav", 0.56), tmp_path / "cache"
    num_made = 0
    decode = model.networks.autoencoder.decode

    def counting(latents: object) -> object:
        nonlocal num_made
        num_made += 1
        return decode(latents)

    model.networks.autoencoder.decode = counting  # type: ignore[method-assign, assignment]
    model(video, speech, tmp_path / "plain.mp4")
    whole, num_made = num_made, 0
    with pytest.raises(Stopped):
        model(video, speech, tmp_path / "o.mp4", cache=cache, stop=lambda: num_made >= 2)
    begun, num_made = num_made, 0
    assert not (tmp_path / "o.mp4").exists()
    assert len(list((cache / "chunks").iterdir())) == begun
    said = "what a broken-off run had finished is used"
    assert said not in caplog.text
    with caplog.at_level("INFO"):
        model(video, speech, tmp_path / "o.mp4", cache=cache)
    assert caplog.text.count(said) == 1
    assert (begun > 0, num_made) == (True, whole - begun)
    assert (pictures(tmp_path / "o.mp4") == pictures(tmp_path / "plain.mp4")).all()
    assert list((cache / "chunks").iterdir()) == []


def test_other_settings_or_networks_are_other_work(model: Lipsync, tmp_path: Path) -> None:
    video, speech, cache = film(tmp_path / "a.mp4"), sound(tmp_path / "s.wav", 0.56), tmp_path / "cache"
    with pytest.raises(Stopped):
        model(video, speech, tmp_path / "o.mp4", cache=cache, stop=lambda: any((cache / "chunks").iterdir()))
    kept = {path.name for path in (cache / "chunks").iterdir()}
    assert kept
    for change in ({"seed": 5}, {"steps": 2}):
        model(video, speech, tmp_path / "o.mp4", cache=cache, **change)
        assert {path.name for path in (cache / "chunks").iterdir()} == kept  # not used, so not cleared away
    model.networks.unet.conv_in.weight.data += 0.1
    model(video, speech, tmp_path / "o.mp4", cache=cache)
    assert {path.name for path in (cache / "chunks").iterdir()} == kept


def test_a_reference_picture_is_not_taken_for_the_video(tmp_path: Path) -> None:
    """Both are looked at by one tracker; only the video's faces are kept."""
    import cv2

    cv2.imwrite(str(tmp_path / "who.png"), planted.picture(SIZE, [(80, 60, 80)])[..., ::-1])
    model, video = micro_model.lipsync(CountingTracker()), film(tmp_path / "a.mp4")
    speech = sound(tmp_path / "s.wav", 0.4)
    for name in ("first.mp4", "second.mp4"):
        model(video, speech, tmp_path / name, cache=tmp_path / "cache", face=str(tmp_path / "who.png"))
    assert (pictures(tmp_path / "first.mp4") == pictures(tmp_path / "second.mp4")).all()
    assert len(list((tmp_path / "cache" / "tracks").glob("*.faces"))) == 1


def spoilt(data: bytes, how: str) -> bytes:
    middle = len(data) // 2
    return {
        "cut": data[:-1], "empty": b"", "zeros": bytes(len(data)), "longer": data + b"\0",
        "bit": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
    }[how]  # fmt: skip


@pytest.mark.parametrize("how", ["cut", "empty", "zeros", "longer", "bit"])
@pytest.mark.parametrize("kind", ["faces", "json"])
def test_damaged_records_of_faces_are_made_anew_with_a_word(
    model: Lipsync, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, how: str
) -> None:
    video, speech, cache = film(tmp_path / "a.mp4"), sound(tmp_path / "s.wav", 0.4), tmp_path / "cache"
    model(video, speech, tmp_path / "plain.mp4", cache=cache)
    (path,) = (cache / "tracks").glob(f"*.{kind}")
    before, seen = path.read_bytes(), model.tracker.num_seen
    path.write_bytes(spoilt(before, how))
    model(video, speech, tmp_path / "o.mp4", cache=cache)
    assert (pictures(tmp_path / "o.mp4") == pictures(tmp_path / "plain.mp4")).all()
    assert model.tracker.num_seen == seen + 10 and "damaged" in caplog.text
    assert path.read_bytes() == before


@pytest.mark.parametrize("how", ["cut", "empty", "zeros", "longer", "bit"])
def test_damaged_chunks_are_made_anew_with_a_word(
    model: Lipsync, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    video, speech, cache = film(tmp_path / "a.mp4"), sound(tmp_path / "s.wav", 0.56), tmp_path / "cache"
    model(video, speech, tmp_path / "plain.mp4")
    with pytest.raises(Stopped):
        model(video, speech, tmp_path / "o.mp4", cache=cache, stop=lambda: any((cache / "chunks").glob("*.crops")))
    kept = list((cache / "chunks").glob("*.crops"))
    for path in kept:
        path.write_bytes(spoilt(path.read_bytes(), how))
    model(video, speech, tmp_path / "o.mp4", cache=cache)
    assert (pictures(tmp_path / "o.mp4") == pictures(tmp_path / "plain.mp4")).all()
    assert caplog.text.count("damaged, made anew") == len(kept) > 0


def test_records_that_end_before_the_video_are_told(model: Lipsync, tmp_path: Path) -> None:
    """With the hash of what is there: nobody's accident."""
    video, speech, cache = film(tmp_path / "a.mp4"), sound(tmp_path / "s.wav", 0.4), tmp_path / "cache"
    model(video, speech, tmp_path / "o.mp4", cache=cache)
    (path,) = (cache / "tracks").glob("*.faces")
    path.write_bytes(path.read_bytes()[:5])
    about = json.loads(path.with_suffix(".json").read_text()) | {"sha256": file_sha256(path)}
    path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(LatentSyncError, match="ends before the video does"):
        model(video, speech, tmp_path / "new.mp4", cache=cache)
    assert not (tmp_path / "new.mp4").exists()


def test_a_cache_that_cannot_be(model: Lipsync, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(LatentSyncError, match="cannot be a cache"):
        model(film(tmp_path / "a.mp4"), sound(tmp_path / "s.wav", 0.2), tmp_path / "o.mp4", cache=tmp_path / "cache")
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize(
    ("room", "folder"),
    [(0, "tracks"), (9000, "tracks"), (0, "chunks"), (3, "chunks")],
    ids=["no record", "half a record", "no chunk", "half a chunk"],
)
def test_a_full_cache_is_told_once_and_stops_nothing(
    model: Lipsync, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    room: int, folder: str,
) -> None:  # fmt: skip
    """What is written to either folder is cut off as on a full disk."""
    video, speech, cache = film(tmp_path / "a.mp4"), sound(tmp_path / "s.wav", 0.56), tmp_path / "cache"
    model(video, speech, tmp_path / "plain.mp4")
    opened = Path.open

    def full(path: Path, mode: str = "r", *rest: object, **more: object) -> object:
        file = opened(path, mode, *rest, **more)  # type: ignore[arg-type, call-overload]
        if mode == "wb" and path.parent.name == folder:
            write = file.write

            class Full:
                def write(self, data: bytes) -> int:
                    if file.tell() + len(data) > room:
                        raise OSError(28, "No space left on device")
                    return int(write(data))

                def __enter__(self) -> Full:
                    return self

                def __exit__(self, *_: object) -> None:
                    file.close()

                flush, tell = file.flush, file.tell

            return Full()
        return file

    monkeypatch.setattr(Path, "open", full)
    with caplog.at_level(logging.WARNING):
        model(video, speech, tmp_path / "o.mp4", cache=cache)
    (described,) = [record.getMessage() for record in caplog.records if "cache" in record.getMessage()]
    assert "cannot be written" in described and "goes on without" in described
    assert (pictures(tmp_path / "o.mp4") == pictures(tmp_path / "plain.mp4")).all()
    assert list((cache / folder).iterdir()) == []


def test_what_a_killed_run_left_is_swept_and_nothing_of_a_live_one(model: Lipsync, tmp_path: Path) -> None:
    cache, day = tmp_path / "cache", time.time() - 24 * 3600
    for part in ("tracks", "chunks"):
        (cache / part).mkdir(parents=True)
        for name in (".old.0123abcd.part.npy", ".live.0123abcd.part.npy", ".his own.part.npy", "kept.npy"):
            (cache / part / name).write_bytes(b"1")
            if "live" not in name:
                os.utime(cache / part / name, (day, day))
    model(film(tmp_path / "a.mp4"), sound(tmp_path / "s.wav", 0.2), tmp_path / "o.mp4", cache=cache)
    for part in ("tracks", "chunks"):
        left = {path.name for path in (cache / part).glob("*")} | {path.name for path in (cache / part).glob(".*")}
        assert {".live.0123abcd.part.npy", ".his own.part.npy", "kept.npy"} <= left
        assert ".old.0123abcd.part.npy" not in left


def test_chunks_are_known_by_what_they_are_made_from_not_by_where_it_lies_in_memory(
    model: Lipsync, tmp_path: Path
) -> None:
    """ChunkReferences with equal lips are the same work, with other lips other work."""
    asked: list[Any] = []

    class Asked(SmallSampler):
        def finish(self, prepared: Any) -> Any:
            asked.append(prepared)
            return prepared.crops

    sampler = Asked(lambda *given: given)

    def references(shift: float) -> ChunkReferences:
        lips = np.full((1, 40, 2), shift, np.float32)
        moves = np.zeros((1, 1, 4, 2), np.float32)
        return ChunkReferences(
            np.zeros((1, 8, 8, 3), np.float32), moves, ReferenceLips(lips, lips.copy(), np.eye(2)[None])
        )

    crops, features = np.zeros((1, 8, 8, 3), np.float32), torch.zeros(1, 2, 2)
    for shift, calls in ((0.5, 1), (0.5, 1), (0.6, 2)):
        cache = RunCache(tmp_path / "cache", tmp_path / "a.mp4", SyncOptions(), Fraction(1))
        remembering = cache.sampler(sampler)
        remembering.finish(remembering.prepare(ChunkInputs(crops, features, [0], references(shift))))
        assert len(asked) == calls
