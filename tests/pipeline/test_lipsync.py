"""The whole pipeline on small real networks and films with planted faces."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import micro_model
import planted
import synth_media
from latentsync.core.errors import ConfigError, EmptyAudioError, MediaError, NoFaceError, Stopped
from latentsync.core.values import Face, Frame
from latentsync.media import RgbPicture, VideoReader
from latentsync.metrics.mesh import INNER_LIP_PAIRS
from latentsync.pipeline import Lipsync
from latentsync.pipeline.result import Result

SIZE = (160, 120)
ONE = [(80, 60, 80)]


@pytest.fixture(scope="module")
def model() -> Lipsync:
    return micro_model.lipsync(planted.PlantedTracker())


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return sound(tmp_path / "speech.wav", 0.4)


def sound(path: Path, seconds: float, channels: int = 1, codec: str = "pcm_s16le") -> Path:
    return synth_media.make_sound(path, synth_media.tone(seconds, 48000, channels), codec, 48000)


def film(path: Path, num_frames: int = 10, squares: list[planted.Square] | None = None) -> Path:
    squares = ONE if squares is None else squares
    return planted.film(path, [planted.picture(SIZE, squares)] * num_frames)


def pictures(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame.picture.rgb() for frame in reader]


def times(path: Path) -> list[Fraction]:
    with VideoReader(path) as reader:
        return [frame.time_s for frame in reader]


def arrays(num_frames: int, squares: list[planted.Square] | None = None) -> list[np.ndarray]:
    return [planted.picture(SIZE, ONE if squares is None else squares)] * num_frames


WAVE = synth_media.tone(2.0, 16000, 1)[0]


# --- what is edited, and what is not -----------------------------------------------------------------------------


def test_the_mouth_changes_and_everything_outside_the_mask_is_bit_identical(model: Lipsync) -> None:
    source = arrays(6)
    made = list(model.stream(source, WAVE))
    assert len(made) == 6
    changed = np.abs(made[0].astype(int) - source[0].astype(int)).max(axis=-1) > 0
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert changed.sum() > 300
    # the mask begins below the eyes and ends inside the crop, which is about as wide as the planted face's brows × 1.8
    assert rows.min() > 40
    assert columns.min() > 20
    assert columns.max() < 140


def test_frames_without_a_face_pass_through_untouched_and_in_place(model: Lipsync) -> None:
    source = [Frame(k, Fraction(k, 25), RgbPicture(a)) for k, a in enumerate(arrays(5) + arrays(6, []) + arrays(4))]
    made = list(model.stream(source, WAVE))
    assert [f.time_s for f in made] == [f.time_s for f in source]
    same = [a.picture is b.picture for a, b in zip(made, source, strict=True)]
    assert same == [False] * 5 + [True] * 6 + [False] * 4


def test_chunks_end_at_a_cut(model: Lipsync) -> None:
    """What comes after a cut does not change what comes before it, nor the other way round."""
    first, second = [(50, 60, 60)], [(110, 60, 70)]
    night = [np.where(p == planted.GREY, 20, p).astype(np.uint8) for p in arrays(5, second)]
    together = list(model.stream(arrays(5, first) + night, WAVE))
    alone = list(model.stream(arrays(5, first), WAVE))
    assert all((a == b).all() for a, b in zip(together[:5], alone, strict=True))


@pytest.mark.parametrize(
    ("face", "side"),
    [("left", 0), ("right", 1), ("1", 1), ("120,60", 1), ("0.75,0.5", 1), ("10,20,70,80", 0), ("0.5,0,0.5,1", 1)],
)
def test_of_two_faces_only_the_chosen_one_is_edited(model: Lipsync, face: str, side: int) -> None:
    source = arrays(4, [(45, 60, 60), (118, 60, 60)])
    made = list(model.stream(source, WAVE, face=face))
    changed = np.abs(made[2].astype(int) - source[2].astype(int)).max(axis=-1) > 0
    halves = changed[:, :80].any(), changed[:, 80:].any()
    assert halves == (side == 0, side == 1)


def test_a_profile_is_left_alone(speech: Path, tmp_path: Path) -> None:
    turned = micro_model.lipsync(planted.PlantedTracker(turn=2.7))
    with pytest.raises(NoFaceError, match="no face to edit in any of its 10 frames"):
        turned(film(tmp_path / "a.mp4"), speech, tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()


def test_a_frame_without_a_face_can_be_made_an_error(model: Lipsync, speech: Path, tmp_path: Path) -> None:
    video = planted.film(tmp_path / "a.mp4", arrays(4) + arrays(6, []) + arrays(5))
    with pytest.raises(NoFaceError, match=r"frame 4 \(0.16 s\)"):
        model(video, speech, tmp_path / "o.mp4", no_face="fail")
    result = model(video, speech, tmp_path / "o.mp4")
    assert (result.num_edited, result.num_without_face) == (4, 6)
    assert any("6 of 10 frames" in text for text in result.warnings)


# --- rates, shapes and sounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30000, 1001), Fraction(60)])
def test_the_frame_rate_is_kept(model: Lipsync, tmp_path: Path, fps: Fraction) -> None:
    video = planted.film(tmp_path / "a.mp4", arrays(24), fps)
    speech = sound(tmp_path / "s.wav", 0.4)
    result = model(video, speech, tmp_path / "o.mp4")
    made = times(tmp_path / "o.mp4")
    assert result.num_frames == len(made) == len([t for t in times(video) if t < Fraction(2, 5)])
    assert made == times(video)[: len(made)]
    assert result.num_edited == result.num_frames


def test_fast_frames_are_dealt_into_sets_that_hear_their_own_time(model: Lipsync) -> None:
    """At 50 fps each second frame makes a set of its own: the first set is what 25 fps gives."""
    fast = list(model.stream(arrays(8), WAVE, fps=50))
    slow = list(model.stream(arrays(4), WAVE, fps=25, seed=1247))
    # both hear times 0, 0.04, … in frames 0, 2, …; noise is one map for all frames
    assert all((a == b).all() for a, b in zip(fast[::2], slow, strict=True))


def test_variable_rate_survives(model: Lipsync, tmp_path: Path) -> None:
    stamps = synth_media.vary(12)
    video = tmp_path / "a.mkv"
    with av.open(str(video), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for stamp, rgb in zip(stamps, arrays(12), strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
            frame.pts, frame.time_base = round(stamp * 1000), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    result = model(video, sound(tmp_path / "s.wav", 2.0), tmp_path / "o.mkv", length="video")
    assert times(tmp_path / "o.mkv") == times(video)
    assert result.num_edited == 12


def test_a_turned_phone_video_comes_out_upright(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    video = synth_media.make_film(tmp_path / "a.mp4", 10, size=(96, 64), turn_stored=1)
    upright = pictures(video)
    assert upright[0].shape == (64, 96, 3)
    with pytest.raises(NoFaceError):  # upright, but nobody in it
        model(video, speech, tmp_path / "o.mp4")
    tall = [np.ascontiguousarray(np.rot90(p, 1)) for p in arrays(10)]
    stored = planted.film(tmp_path / "b.mp4", tall)
    synth_media._say_rotation(stored, 1, (tall[0].shape[1], tall[0].shape[0]))
    result = model(stored, speech, tmp_path / "o.mp4")
    assert result.num_edited == 10
    assert pictures(tmp_path / "o.mp4")[0].shape[:2] == SIZE[::-1]


def test_sound_of_six_channels_is_kept(model: Lipsync, tmp_path: Path) -> None:
    speech = sound(tmp_path / "s.m4a", 0.4, 6, "aac")
    model(film(tmp_path / "a.mp4"), speech, tmp_path / "o.mp4")
    with av.open(str(tmp_path / "o.mp4")) as file:
        assert file.streams.audio[0].codec_context.layout.name == "5.1"


def test_a_video_without_sound_is_fine_and_a_sound_file_without_sound_is_not(
    model: Lipsync, tmp_path: Path, speech: Path
) -> None:
    video = film(tmp_path / "a.mp4")
    assert model(video, speech, tmp_path / "o.mp4").num_edited == 10
    with pytest.raises(MediaError, match=r"a\.mp4.*no sound"):
        model(video, video, tmp_path / "p.mp4")
    with pytest.raises(MediaError, match=r"speech\.wav.*no picture"):
        model(speech, speech, tmp_path / "p.mp4")
    empty = tmp_path / "e.wav"
    with wave.open(str(empty), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
    with pytest.raises((EmptyAudioError, MediaError), match=r"e\.wav"):
        model(video, empty, tmp_path / "p.mp4")
    assert not (tmp_path / "p.mp4").exists()


# --- lengths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "seconds", "frames"),
    [
        ("audio", 0.2, 5), ("audio", 0.8, 20), ("video", 0.2, 10), ("video", 0.8, 10), ("loop", 0.8, 20),
        ("ping_pong", 0.8, 20), ("hold", 0.8, 20), ("hold", 0.2, 10),
    ],
)  # fmt: skip
def test_the_result_is_as_long_as_asked(
    model: Lipsync, tmp_path: Path, length: str, seconds: float, frames: int
) -> None:
    speech = sound(tmp_path / "s.wav", seconds)
    result = model(film(tmp_path / "a.mp4"), speech, tmp_path / "o.mp4", length=length)
    assert result.num_frames == len(times(tmp_path / "o.mp4")) == frames
    assert any("cut" in text for text in result.warnings) == (length == "video" and seconds > 0.4)


@pytest.mark.parametrize("length", ["hold", "loop", "ping_pong"])
@pytest.mark.parametrize(("end_s", "seconds", "frames"), [(5, 0.2, 10), (5, 0.8, 20), ("0.2", 0.32, 8)])
def test_an_end_beyond_the_video_does_not_lengthen_it(
    model: Lipsync, tmp_path: Path, length: str, end_s: int | str, seconds: float, frames: int
) -> None:
    """The part to fill up is what there is of it: to the end of the video, or of the speech if that is later."""
    speech = sound(tmp_path / "s.wav", seconds)
    made = model(film(tmp_path / "a.mp4"), speech, tmp_path / "o.mp4", length=length, end_s=Fraction(end_s))
    assert made.num_frames == len(times(tmp_path / "o.mp4")) == frames


def test_one_frame_is_enough(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    result = model(film(tmp_path / "a.mp4", 1), speech, tmp_path / "o.mp4", length="video")
    assert (result.num_frames, result.num_edited) == (1, 1)
    assert model(film(tmp_path / "a.mp4", 1), speech, tmp_path / "o.mp4").num_frames == 10


def test_a_part_of_the_video_can_be_taken(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    pictures_ = arrays(5, []) + arrays(10)
    video = planted.film(tmp_path / "a.mp4", pictures_)
    result = model(video, speech, tmp_path / "o.mp4", start_s=Fraction(1, 5), length="video")
    assert (result.num_frames, result.num_edited) == (10, 10)


# --- silence ---------------------------------------------------------------------------------------------------------


def spoken_then_silent() -> np.ndarray:
    rng = np.random.default_rng(0)
    t = np.arange(32000) / 16000
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20)) * (1 + np.sin(2 * np.pi * 4 * t)) * 0.1
    quiet = rng.normal(0, 1e-4, 48000)
    return np.concatenate([voice, quiet]).astype(np.float32)


@pytest.mark.parametrize("silence", ["model", "original", "closed"])
def test_nothing_but_silence_is_speech_too(model: Lipsync, tmp_path: Path, silence: str) -> None:
    quiet = synth_media.make_sound(tmp_path / "quiet.wav", np.zeros((1, 19200), np.float32), "pcm_s16le", 48000)
    result = model(film(tmp_path / "a.mp4"), quiet, tmp_path / "o.mp4", silence=silence)
    assert result.num_frames == 10
    assert np.isfinite(np.stack(pictures(tmp_path / "o.mp4"))).all()
    kept = list(model.stream(arrays(10), np.zeros(19200, np.float32), silence=silence))
    untouched = [(made == source).all() for made, source in zip(kept, arrays(10), strict=True)]
    assert all(untouched) == (silence == "original")


def test_in_silence_the_original_can_be_kept(model: Lipsync) -> None:
    source = [Frame(k, Fraction(k, 25), RgbPicture(a)) for k, a in enumerate(arrays(100))]
    made = list(model.stream(source, spoken_then_silent(), silence="original"))
    same = [a.picture is b.picture for a, b in zip(made, source, strict=True)]
    assert not any(same[5:45])
    assert all(same[65:])


def test_in_silence_the_mouth_can_be_that_of_silence(model: Lipsync) -> None:
    speech = spoken_then_silent()
    as_heard = list(model.stream(arrays(100), speech))
    closed = list(model.stream(arrays(100), speech, silence="closed"))
    assert all((a == b).all() for a, b in zip(as_heard[8:40], closed[8:40], strict=True))
    still = np.stack(closed[70:]).astype(int)
    assert np.abs(still - still[0]).max() <= 2  # nothing moves


def test_what_the_mouth_does_in_silence_is_the_checkpoints_where_nothing_is_asked() -> None:
    closing = micro_model.lipsync(planted.PlantedTracker(), silence="closed")
    speech, shown = spoken_then_silent(), arrays(80)
    made = {each: list(closing.stream(shown, speech, silence=each)) for each in (None, "closed", "model")}
    assert all((a == b).all() for a, b in zip(made[None], made["closed"], strict=True))
    assert any((a != b).any() for a, b in zip(made[None], made["model"], strict=True))


def test_in_a_pause_the_mouth_does_not_follow_the_old_one(model: Lipsync) -> None:
    """The filmed mouth flickers, and this model sees it; on the way in and out of the pause nothing jumps."""
    rng = np.random.default_rng(0)
    voice, _ = np.split(spoken_then_silent(), [32000])
    speech = np.concatenate([voice[:16000], rng.normal(0, 1e-4, 16000).astype(np.float32), voice[16000:]])
    source = [planted.picture(SIZE, ONE, mouth=(200 - 60 * (k % 2), 40, 40)) for k in range(75)]
    steps = {}
    for silence in ("model", "closed"):
        made = np.stack(list(model.stream(source, speech, silence=silence)))[:, 70:85, 70:90].astype(float)
        steps[silence] = np.abs(np.diff(made, axis=0)).mean(axis=(1, 2, 3))
    pause = slice(33, 42)  # from 0.2 s after the first half to 0.2 s before the second
    assert steps["closed"][pause].max() < 0.25 * steps["model"][pause].min()
    assert steps["closed"].max() < 1.2 * steps["model"].max()


def test_the_still_reference_is_the_most_closed_of_a_second_not_of_a_chunk() -> None:
    """Frame 12, three chunks later, is the one whose lips meet: what it shows decides, and what the others show not."""
    model = micro_model.lipsync(_Speaking(), still_reference=True)
    shown = [planted.picture(SIZE, ONE)] * 16
    green = planted.picture(SIZE, ONE, mouth=(20, 160, 40))
    mouth = slice(70, 85), slice(70, 90)
    plain, with_12, with_11 = (
        next(iter(model.stream([*shown[:at], green, *shown[at + 1 :]], WAVE)))[mouth] for at in (15, 12, 11)
    )
    assert micro_model.difference(plain, with_12) > 0
    assert micro_model.difference(plain, with_11) == 0


class _Speaking(planted.PlantedTracker):
    """The lips are apart in all frames but the one with index 12."""

    def open(self) -> planted.PlantedSession:
        return _SpeakingSession(self.turn)


class _SpeakingSession(planted.PlantedSession):
    def track(self, frame: Frame) -> tuple[Face, ...]:
        faces = []
        for face in super().track(frame):
            mesh = np.array(face.landmarks)
            mesh[[lower for _, lower in INNER_LIP_PAIRS]] += (0, 0 if frame.index == 12 else 6)
            faces.append(Face(face.track_id, mesh, face.score))
        return tuple(faces)


# --- the same again, and nothing left behind


def test_the_seed_decides_and_nothing_else(model: Lipsync) -> None:
    first, again = (list(model.stream(arrays(6), WAVE, seed=5)) for _ in range(2))
    other = list(model.stream(arrays(6), WAVE, seed=6))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_overlapping_chunks_change_frames_near_their_borders_only(model: Lipsync) -> None:
    plain = np.stack(list(model.stream(arrays(8), WAVE, overlap_frames=0))).astype(int)
    faded = np.stack(list(model.stream(arrays(8), WAVE, overlap_frames=1))).astype(int)
    assert (plain[:3] == faded[:3]).all()
    assert (plain[3:] != faded[3:]).any()


def test_a_saved_model_computes_the_same(model: Lipsync, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "saved")
    index = json.loads((tmp_path / "saved" / "model_index.json").read_text())
    assert set(index["parts"]) == {"unet", "autoencoder", "listener"}
    again = Lipsync.from_pretrained(
        tmp_path / "saved", device="cpu", dtype="float32", offline=True, tracker=planted.PlantedTracker()
    )
    made = zip(model.stream(arrays(5), WAVE), again.stream(arrays(5), WAVE), strict=True)
    assert all((a == b).all() for a, b in made)


def test_options_that_do_not_fit_are_refused_before_any_work(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    video, out = film(tmp_path / "a.mp4"), tmp_path / "o.mp4"
    with pytest.raises(ConfigError, match="sampler"):
        model(video, speech, out, sampler="ddim")
    with pytest.raises(ConfigError, match="overlap_frames"):
        model(video, speech, out, overlap_frames=4)
    with pytest.raises(ConfigError, match="stepz"):
        model(video, speech, out, stepz=4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "speech.wav"]


def test_stopping_leaves_nothing_and_keeps_an_older_result(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    video, out = film(tmp_path / "a.mp4"), tmp_path / "o.mp4"
    out.write_bytes(b"older")
    with pytest.raises(Stopped):
        model(video, speech, out, stop=lambda: True)
    assert out.read_bytes() == b"older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "o.mp4", "speech.wav"]


def test_the_file_says_that_its_lips_are_synthetic(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    video = film(tmp_path / "a.mp4")
    for provenance, expected in ((True, True), (False, False)):
        model(video, speech, tmp_path / "o.mp4", provenance=provenance)
        with av.open(str(tmp_path / "o.mp4")) as file:
            assert ("synthetic" in file.metadata.get("comment", "")) is expected


def test_paths_with_spaces_and_other_letters(model: Lipsync, tmp_path: Path) -> None:
    folder = tmp_path / "mein Film – 映画"
    folder.mkdir()
    result = model(film(folder / "ein Gesicht.mp4"), sound(folder / "söund file.wav", 0.2), folder / "ergebnis ü.mp4")
    assert result.out_path.exists()
    assert isinstance(result, Result)
    assert json.dumps(result.as_dict())


def test_progress_rises_to_the_end(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    seen = []
    model(film(tmp_path / "a.mp4"), speech, tmp_path / "o.mp4", progress=seen.append)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert (seen[-1].done, seen[-1].total) == (10, 10)


def test_live_frames_do_not_grow_with_the_film(model: Lipsync) -> None:
    """Frames read ahead of what is delivered: the same for a short film and for one four times as long."""

    def most_ahead(count: int) -> int:
        given, most = 0, 0

        def source() -> Iterator[np.ndarray]:
            nonlocal given
            for picture in arrays(count):
                given += 1
                yield picture

        for done, _ in enumerate(model.stream(source(), WAVE), 1):
            most = max(most, given - done)
        return most

    short, long = most_ahead(50), most_ahead(200)
    assert long <= short + 8  # threads race by a few frames; a film that is held would be 150 more


def test_guidance_above_one_uses_the_null_condition(model: Lipsync) -> None:
    plain = list(model.stream(arrays(4), WAVE, guidance=1.0))
    strong = list(model.stream(arrays(4), WAVE, guidance=3.0))
    assert any((a != b).any() for a, b in zip(plain, strong, strict=True))


def test_compatible_paste_replaces_the_whole_face(model: Lipsync) -> None:
    source = arrays(4)[0].astype(int)
    mouth = np.abs(next(iter(model.stream(arrays(4), WAVE))).astype(int) - source).max(axis=-1) > 0
    whole = np.abs(next(iter(model.stream(arrays(4), WAVE, paste="compatible"))).astype(int) - source).max(axis=-1) > 0
    assert whole.sum() > mouth.sum()


def test_a_wrong_pair_of_networks_is_refused() -> None:
    other = micro_model.lipsync(planted.PlantedTracker())
    from latentsync.core.errors import WeightsError
    from latentsync.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig

    wide = TinyAutoencoder(TinyAutoencoderConfig(latent_channels=8, widths=(8, 8)))
    other.networks = replace(other.networks, autoencoder=wide)
    with pytest.raises(WeightsError, match="not of one model"):
        list(other.stream(arrays(2), WAVE))


def test_with_a_still_reference_the_old_movement_is_not_seen() -> None:
    """What the frames' own mouths do plays no part, as the masked frames are all the same."""
    model = micro_model.lipsync(planted.PlantedTracker(), still_reference=True)
    still = [planted.picture(SIZE, ONE, mouth=(200, 40, 40))] * 4
    moving = [still[0]] + [planted.picture(SIZE, ONE, mouth=(200 - 20 * k, 40, 40)) for k in range(1, 4)]
    region = slice(70, 85), slice(70, 90)  # the planted mouth
    made = [next(iter(f[region] for f in [list(model.stream(frames, WAVE))[2]])) for frames in (still, moving)]
    own = micro_model.lipsync(planted.PlantedTracker())
    leaky = [list(own.stream(frames, WAVE))[2][region] for frames in (still, moving)]
    assert micro_model.difference(*made) < micro_model.difference(*leaky)
