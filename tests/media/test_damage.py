"""Damage that the decoder paints over is counted, and told in the result and before the run."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from latentsync.media import VideoReader


def mpeg(path: Path, num_frames: int = 40) -> Path:
    """MPEG-1 of moving noise."""
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg1video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.bit_rate, stream.gop_size = 2_000_000, 12
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 3 * index, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def torn(path: Path, places: tuple[float, ...]) -> Path:
    """600 bytes of noise at those shares of the file."""
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(1)
    for place in places:
        at = int(place * len(data))
        data[at : at + 600] = rng.integers(0, 255, 600, dtype=np.uint8).tobytes()
    path.write_bytes(bytes(data))
    return path


def damage_of(path: Path) -> str | None:
    with VideoReader(path) as reader:
        for _ in range(2):
            assert sum(1 for _ in reader) > 30
        return reader.damage


def test_a_whole_film_has_no_damage(tmp_path: Path) -> None:
    assert damage_of(mpeg(tmp_path / "whole.mpg")) is None


def test_torn_pictures_are_counted_once_however_often_the_film_is_read(tmp_path: Path) -> None:
    assert damage_of(torn(mpeg(tmp_path / "torn.mpg"), (0.33, 0.5))) == "the video is damaged: 2 frames show damage"


def test_damage_is_told_before_a_run(tmp_path: Path) -> None:
    from latentsync.pipeline.preflight import look

    class Nobody:
        resolution = 0

        def open(self) -> Nobody:
            return self

        def __enter__(self) -> Nobody:
            return self

        def __exit__(self, *_: object) -> None: ...

        def cut(self) -> None: ...

        def track(self, frame: object) -> tuple[()]:
            return ()

    found = look(torn(mpeg(tmp_path / "torn.mpg"), (0.33, 0.5)), None, tracker=Nobody())  # type: ignore[arg-type]
    assert found.damage == ("the video is damaged: 2 frames show damage",)
    assert any("2 frames show damage" in warning for warning in found.warnings)
