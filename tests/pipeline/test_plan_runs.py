"""A plan through the whole pipeline: whose mouth moves when, which sound is heard, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import micro_model
import planted
import synth_media
from latentsync.config.plan import Plan, PlanEntry
from latentsync.core.errors import ConfigError, EmptyAudioError, LatentSyncError, MediaError, NoFaceError
from latentsync.media import VideoReader, VideoWriter, read_audio, write_wav
from latentsync.media.sound_track import AudioPlan
from latentsync.pipeline import Lipsync

SIZE = (160, 120)
LEFT, RIGHT = (45, 60, 60), (118, 60, 60)
RATE = 16000


@pytest.fixture(scope="module")
def model() -> Lipsync:
    return micro_model.lipsync(planted.PlantedTracker())


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two still faces for 1.6 s, with a steady sound."""
    folder = tmp_path_factory.mktemp("film")
    silent = planted.film(folder / "silent.mp4", [planted.picture(SIZE, [LEFT, RIGHT])] * 40)
    write_wav(folder / "own.wav", synth_media.tone(1.625, RATE, 1, 500.0) / 2, RATE)
    with (
        VideoReader(silent) as reader,
        VideoWriter(folder / "film.mkv", reader.info, "ffv1", audio=AudioPlan(folder / "own.wav")) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    return folder / "film.mkv"


def speech(path: Path, seconds: float, hz: float = 200.0) -> Path:
    write_wav(path, synth_media.tone(seconds, RATE, 1, hz), RATE)
    return path


def changed(source: Path, made: Path) -> list[tuple[bool, bool]]:
    """For each frame: did the left half change, did the right half?"""
    with VideoReader(source) as before, VideoReader(made) as after:
        pairs = [(a.picture.rgb().astype(int), b.picture.rgb().astype(int)) for a, b in zip(before, after, strict=True)]
    moved = [np.abs(a - b).max(axis=-1) > 0 for a, b in pairs]
    return [(bool(m[:, :80].any()), bool(m[:, 80:].any())) for m in moved]


def entry(audio: Path, face: str | None, start: float, end: float | None = None) -> PlanEntry:
    exact = [None if value is None else Fraction(value).limit_denominator(100) for value in (start, end)]
    return PlanEntry(audio=audio, face=face, start_s=exact[0] or Fraction(0), end_s=exact[1])


def spans(flags: Sequence[bool]) -> list[int]:
    return [index for index, flag in enumerate(flags) if flag]


def test_each_person_speaks_in_its_own_range_and_nothing_else_changes(
    model: Lipsync, film: Path, tmp_path: Path
) -> None:
    a, b = speech(tmp_path / "a.wav", 0.8), speech(tmp_path / "b.wav", 5)
    plan = Plan((entry(a, "left", 0.2), entry(b, "right", 0.6, 1.2)))
    result = model(film, out=tmp_path / "o.mkv", plan=plan, codec="ffv1")
    moved = changed(film, tmp_path / "o.mkv")
    assert spans([left for left, _ in moved]) == list(range(5, 25))
    assert spans([right for _, right in moved]) == list(range(15, 30))
    assert (result.num_frames, result.num_edited, result.num_without_face) == (40, 25, 0)
    assert any("b.wav is 4.40 s longer than its range" in text for text in result.warnings)


def test_the_sound_is_the_films_but_for_the_ranges(model: Lipsync, film: Path, tmp_path: Path) -> None:
    speech(tmp_path / "a.wav", 0.4)
    (tmp_path / "p.csv").write_text("audio,face,start,end\na.wav,left,0.4,1.2\n")
    model(film, out=tmp_path / "o.mkv", plan=tmp_path / "p.csv")
    made, own, said = read_audio(tmp_path / "o.mkv"), read_audio(film), read_audio(tmp_path / "a.wav")
    part = {name: slice(round(a * RATE), round(b * RATE)) for name, a, b in
            [("before", 0, 0.4), ("said", 0.43, 0.77), ("rest", 0.83, 1.17), ("after", 1.2, 1.6)]}  # fmt: skip
    assert np.abs(made[part["before"]] - own[part["before"]]).mean() < 0.01
    assert np.abs(made[part["after"]] - own[part["after"]]).mean() < 0.01
    assert np.abs(made[part["said"]] - said[round(0.03 * RATE) : round(0.37 * RATE)]).mean() < 0.02
    assert np.abs(made[part["rest"]]).mean() < 0.005
    model(film, out=tmp_path / "q.mkv", plan=tmp_path / "p.csv", keep_audio="none")
    with pytest.raises(EmptyAudioError):
        read_audio(tmp_path / "q.mkv")


def test_a_mouth_hears_its_own_speech_from_its_own_beginning(model: Lipsync, film: Path, tmp_path: Path) -> None:
    """The same speech later in the film makes the same mouths, as noise does not matter to the same seed and frame."""
    rng = np.random.default_rng(3)
    write_wav(tmp_path / "a.wav", rng.normal(0, 0.1, RATE).astype(np.float32), RATE)
    write_wav(tmp_path / "late.wav", np.concatenate([np.zeros(RATE // 2, np.float32), read_audio(tmp_path / "a.wav")]))
    late = PlanEntry(audio=tmp_path / "late.wav", start_s=Fraction(0), audio_start_s=Fraction(1, 2))
    model(film, out=tmp_path / "o.mkv", plan=Plan((late,)), codec="ffv1")
    model(film, tmp_path / "a.wav", tmp_path / "p.mkv", codec="ffv1")
    with VideoReader(tmp_path / "o.mkv") as one, VideoReader(tmp_path / "p.mkv") as other:
        pairs = list(zip(one, other, strict=False))
    assert max(micro_model.difference(a.picture.rgb(), b.picture.rgb()) for a, b in pairs[:20]) <= 1


def test_one_face_may_say_two_things_one_after_the_other(model: Lipsync, film: Path, tmp_path: Path) -> None:
    a, b = speech(tmp_path / "a.wav", 0.4), speech(tmp_path / "b.wav", 0.4, 300)
    model(film, out=tmp_path / "o.mkv", plan=Plan((entry(a, "0", 0.4), entry(b, "0", 0.8))), codec="ffv1")
    moved = [left for left, _ in changed(film, tmp_path / "o.mkv")]
    assert spans(moved) == list(range(10, 30))


def test_start_and_end_take_a_part_of_the_plan_too(model: Lipsync, film: Path, tmp_path: Path) -> None:
    a = speech(tmp_path / "a.wav", 0.4)
    plan = Plan((entry(a, "left", 0.2), entry(a, "right", 0.8), entry(a, "right", 1.2)))
    result = model(film, out=tmp_path / "o.mkv", plan=plan, codec="ffv1", start_s=Fraction(2, 5), end_s=Fraction(6, 5))
    assert (result.num_frames, result.num_edited) == (20, 15)
    assert any("1 of 3 entries of the plan lie outside" in text for text in result.warnings)
    sound = read_audio(tmp_path / "o.mkv")
    assert len(sound) / RATE == pytest.approx(0.8, abs=0.05)
    assert np.abs(sound[round(0.25 * RATE) : round(0.35 * RATE)]).mean() == pytest.approx(0.25 * 2 / np.pi, abs=0.02)


def test_an_end_beyond_the_film_is_warned_of(model: Lipsync, film: Path, tmp_path: Path) -> None:
    plan = Plan((entry(speech(tmp_path / "a.wav", 0.4), "left", 0.2),))
    result = model(film, out=tmp_path / "o.mkv", plan=plan, end_s=Fraction(7))
    assert "before --end 7" in " ".join(result.warnings)


def test_a_face_is_chosen_when_its_range_begins(model: Lipsync, tmp_path: Path) -> None:
    """Somebody comes in later, at the very place that the box names."""
    early, late = planted.picture(SIZE, [LEFT]), planted.picture(SIZE, [LEFT, RIGHT])
    video = planted.film(tmp_path / "a.mp4", [early] * 20 + [late] * 20)
    a = speech(tmp_path / "a.wav", 0.4)
    result = model(video, out=tmp_path / "o.mp4", plan=Plan((entry(a, "0.5,0,0.5,1", 1.0),)))
    assert result.num_edited == 10
    with pytest.raises(NoFaceError, match="in any of the 10 frames of the plan"):
        model(video, out=tmp_path / "p.mp4", plan=Plan((entry(a, "0.5,0,0.5,1", 0.2),)))
    with pytest.raises(NoFaceError, match=r"no face 1 or 2 in the 20 frames of the plan: at most 1 .* Choose face 0"):
        model(video, out=tmp_path / "p.mp4", plan=Plan((entry(a, "1", 0), entry(a, "2", 0.4))))
    assert not (tmp_path / "p.mp4").exists()


def test_a_range_between_two_frames_is_warned_of(model: Lipsync, film: Path, tmp_path: Path) -> None:
    result = model(film, out=tmp_path / "o.mkv", plan=Plan((entry(speech(tmp_path / "a.wav", 1), "left", 0.41, 0.43),)))
    assert (result.num_frames, result.num_edited) == (40, 0)
    assert any("no frame lies in a range of the plan" in text for text in result.warnings)


def test_what_cannot_be_is_refused_in_one_line(model: Lipsync, film: Path, tmp_path: Path) -> None:
    a, out = speech(tmp_path / "a.wav", 0.5), tmp_path / "o.mp4"
    refused: list[tuple[type[Exception], str, Plan, dict[str, str]]] = [
        (ConfigError, "face left cannot say two", Plan((entry(a, "left", 0), entry(a, "left", 0.3))), {}),
        (ConfigError, "face largest cannot say two", Plan((entry(a, None, 0), entry(a, "largest", 0.3))), {}),
        (LatentSyncError, "faces left and 0 of", Plan((entry(a, "left", 0), entry(a, "0", 0.3))), {}),
        (ConfigError, "the video ends at 1.6", Plan((entry(a, "left", 2),)), {}),
        (ConfigError, "leave it out: with a plan", Plan((entry(a, "left", 0),)), {"length": "loop"}),
        (ConfigError, "leave it out: with a plan", Plan((entry(a, "left", 0),)), {"length": "audio"}),
        (ConfigError, "from 0 s to the end: face lefft: choose largest", Plan((entry(a, "lefft", 0),)), {}),
        (MediaError, "none.wav", Plan((entry(tmp_path / "none.wav", "left", 0),)), {}),
        (ConfigError, "the speech ends before audio_start",
         Plan((PlanEntry(audio=a, audio_start_s=Fraction(2)),)), {}),
    ]  # fmt: skip
    for kind, says, plan, changes in refused:
        with pytest.raises(kind, match=says):
            model(film, out=out, plan=plan, **changes)
    with pytest.raises(ConfigError, match="either audio or plan"):
        model(film, a, out, plan=refused[0][2])
    with pytest.raises(ConfigError, match="either audio or plan"):
        model(film, out=out)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_cache_serves_plans(model: Lipsync, film: Path, tmp_path: Path) -> None:
    a = speech(tmp_path / "a.wav", 0.4)
    plan = Plan((entry(a, "left", 0.2), entry(a, "right", 0.4)))
    for name, cache in (("o", None), ("p", tmp_path / "kept"), ("q", tmp_path / "kept")):
        model(film, out=tmp_path / f"{name}.mkv", plan=plan, codec="ffv1", cache=cache)
    assert not any(left or right for left, right in changed(tmp_path / "o.mkv", tmp_path / "p.mkv"))
    assert not any(left or right for left, right in changed(tmp_path / "o.mkv", tmp_path / "q.mkv"))


def test_smart_render_copies_what_a_plan_leaves_alone(model: Lipsync, tmp_path: Path) -> None:
    """Groups of ten frames; the third and the fourth have frames in the range of the plan."""
    with av.open(str(tmp_path / "film.mp4"), "w") as file:
        options = {"x264-params": "keyint=10:min-keyint=10:scenecut=0", "crf": "10"}
        stream = file.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for _ in range(60):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(planted.picture(SIZE, [LEFT]), "rgb24")))
        file.mux(stream.encode(None))
    speech = tmp_path / "s.wav"
    write_wav(speech, synth_media.tone(0.4, RATE, 1))
    plan = Plan((PlanEntry(audio=speech, start_s=Fraction(1), end_s=Fraction(7, 5)),))
    out = tmp_path / "out.mp4"
    result = model(tmp_path / "film.mp4", out=out, plan=plan, render="smart")
    assert (result.num_frames, result.num_copied) == (60, 40) and result.num_edited == 10

    def contents(path: Path) -> list[bytes]:
        with av.open(str(path)) as file:
            return [bytes(packet) for packet in file.demux(video=0) if packet.size]

    before, after = contents(tmp_path / "film.mp4"), contents(out)
    assert [n for n in range(60) if before[n] == after[n]] == [*range(20), *range(40, 60)]
    webm = model(tmp_path / "film.mp4", out=tmp_path / "out.webm", plan=plan, render="smart")
    assert webm.num_copied == 0 and any("--render smart is not possible" in warning for warning in webm.warnings)
