"""A whole run on small real networks and films with planted faces: options, repeats, what is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from whole_runs import WAVE, arrays, film, sound

import micro_model
import planted
import synth_media
from latentsync.config.plan import Plan, PlanEntry
from latentsync.core.errors import ConfigError, EmptyAudioError, MediaError, Stopped, WeightsError
from latentsync.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from latentsync.pipeline import Lipsync


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
    assert set(index["parts"]) == {"unet", "autoencoder", "audio_encoder"}
    again = Lipsync.from_pretrained(
        tmp_path / "saved", device="cpu", dtype="float32", offline=True, tracker=planted.PlantedTracker()
    )
    made, repeated = (np.stack(list(each.stream(arrays(5), WAVE))).astype(int) for each in (model, again))
    difference = np.abs(made - repeated)  # sums in another order (where the weights lie in memory) can turn a rounding
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


def test_options_that_do_not_fit_are_refused_before_any_work(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    video, out = film(tmp_path / "a.mp4"), tmp_path / "o.mp4"
    one_step = micro_model.lipsync(planted.PlantedTracker(), still_reference=True)
    with pytest.raises(ConfigError, match=r"steps=4: .*trained for 1 step"):
        one_step(video, speech, out, steps=4)
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


@pytest.mark.parametrize("after", [1, 3, 5])
def test_stopping_waits_for_one_step_not_for_the_chunk(
    tmp_path: Path, speech: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """With a large model on a CPU a chunk takes half an hour. After the last step its pictures are not decoded."""
    model, steps, decoded = micro_model.lipsync(planted.PlantedTracker()), [], []
    forward, decode = model.networks.unet.forward, model.networks.autoencoder.decode
    monkeypatch.setattr(model.networks.unet, "forward", lambda *a: (steps.append(1), forward(*a))[1])
    monkeypatch.setattr(model.networks.autoencoder, "decode", lambda *a: (decoded.append(1), decode(*a))[1])
    with pytest.raises(Stopped, match="nothing was written"):
        model(film(tmp_path / "a.mp4"), speech, tmp_path / "o.mp4", steps=5, stop=lambda: len(steps) >= after)
    assert (len(steps), len(decoded)) == (after, 0)
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize("own", ["a.mp4", "speech.wav", "plan.yaml", "other.wav"])
def test_no_input_is_written_over(model: Lipsync, tmp_path: Path, speech: Path, own: str) -> None:
    video = film(tmp_path / "a.mp4")
    (tmp_path / "other.wav").write_bytes(speech.read_bytes())
    plan = tmp_path / "plan.yaml"
    plan.write_text("entries: [{audio: other.wav}]\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(MediaError, match=f"{own}: is also an input"):
        if own in ("plan.yaml", "other.wav"):
            model(video, plan=plan, out=tmp_path / own)
        else:
            model(video, speech, tmp_path / own)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_where_nobody_speaks_the_result_says_so(model: Lipsync, tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4")
    hum = synth_media.make_sound(tmp_path / "hum.wav", synth_media.tone(0.4))
    (tmp_path / "plan.yaml").write_text("entries: [{audio: hum.wav}]\n")
    described = model(video, hum, tmp_path / "o.mp4").warnings
    planned = model(video, plan=tmp_path / "plan.yaml", out=tmp_path / "p.mp4").warnings
    for warnings in (described, planned):
        assert "no speech is heard in hum.wav: there is nothing for the mouth to say" in warnings


@pytest.mark.parametrize(
    "wave",
    [np.zeros(8000, np.int16), np.zeros((2, 8000), np.float32), np.zeros(0, np.float32), np.full(8000, np.nan)],
)
def test_sound_in_memory_is_mono_and_of_floats(model: Lipsync, wave: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="audio"):
        list(model.stream(arrays(4), wave))


@pytest.mark.parametrize("sound", [[WAVE], iter([WAVE]), None, 3])
def test_sound_is_a_file_or_one_array(model: Lipsync, sound: object) -> None:
    with pytest.raises(ConfigError, match=r"audio=.*one .S,. float32 array"):
        list(model.stream(arrays(4), sound))  # type: ignore[arg-type]


def test_a_file_in_the_place_of_pictures_is_told(model: Lipsync) -> None:
    with pytest.raises(ConfigError, match=r"frames=.*give Frames"):
        list(model.stream("talk.mp4", WAVE))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (np.zeros((120, 160, 3), np.float32), "astype"),
        (np.zeros((120, 160), np.uint8), "repeat"),
        (np.zeros((120, 160, 4), np.uint8), ":3"),
        (np.zeros((0, 160, 3), np.uint8), "uint8 RGB"),
        ([[0, 0, 0]], "give Frames"),
    ],
    ids=["float", "grey", "RGBA", "empty", "list"],
)
def test_pictures_in_memory_of_another_kind_are_told_with_the_remedy(
    model: Lipsync, picture: object, says: str
) -> None:
    with pytest.raises(ConfigError, match=f"frames=.* at 2.*({says})"):
        list(model.stream([*arrays(2), picture], WAVE))  # type: ignore[list-item]


@pytest.mark.parametrize("fps", [0, -25, float("nan"), float("inf"), 1e-9, "25"])
def test_a_rate_that_is_none_is_told(model: Lipsync, fps: float) -> None:
    with pytest.raises(ConfigError, match="fps="):
        list(model.stream(arrays(4), WAVE, fps=fps))


def test_sound_of_double_precision_is_the_same_sound(model: Lipsync) -> None:
    single, double = (list(model.stream(arrays(4), wave)) for wave in (WAVE, WAVE.astype(np.float64)))
    assert all((a == b).all() for a, b in zip(single, double, strict=True))


def test_the_file_says_that_its_lips_are_synthetic(model: Lipsync, tmp_path: Path, speech: Path) -> None:
    video = film(tmp_path / "a.mp4")
    for provenance, expected in ((True, True), (False, False)):
        model(video, speech, tmp_path / "o.mp4", provenance=provenance)
        with av.open(str(tmp_path / "o.mp4")) as file:
            assert ("synthetic" in file.metadata.get("comment", "")) is expected


@pytest.mark.parametrize("provenance", [True, False])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_films_own_tags_go_along(model: Lipsync, tmp_path: Path, speech: Path, provenance: bool, suffix: str) -> None:
    plain, video, out = film(tmp_path / "a.mp4"), tmp_path / "tagged.mkv", tmp_path / f"o{suffix}"
    with av.open(str(plain)) as old, av.open(str(video), "w") as new:
        new.metadata.update({"title": "Ein Gespräch", "artist": "Anna", "comment": "mine", "encoded_by": "tool"})
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    model(video, speech, out, provenance=provenance)
    with av.open(str(out)) as file:
        tags = {key.lower(): text for key, text in file.metadata.items()}
    assert (tags["title"], tags["artist"]) == ("Ein Gespräch", "Anna")
    assert ("synthetic" in tags.get("comment", "")) is provenance
    assert "encoded_by" not in tags


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


def test_a_wrong_pair_of_networks_is_refused() -> None:
    other = micro_model.lipsync(planted.PlantedTracker())
    wide = TinyAutoencoder(TinyAutoencoderConfig(latent_channels=8, widths=(8, 8)))
    other.networks = replace(other.networks, autoencoder=wide)
    with pytest.raises(WeightsError, match="not of one model"):
        list(other.stream(arrays(2), WAVE))


@pytest.mark.parametrize(("key", "value"), [("feather", float("nan")), ("feather", -0.1), ("fps", 0.0)])
def test_settings_of_a_model_that_are_no_numbers_are_refused(key: str, value: float) -> None:
    with pytest.raises(WeightsError, match=f"{key}.* (is not a number from|give a finite number)"):
        micro_model.lipsync(planted.PlantedTracker(), **{key: value})


def test_a_part_given_in_floats_has_all_its_frames(model: Lipsync, tmp_path: Path) -> None:
    """0.4 s is where a frame begins, and the float 0.4 is a little later."""
    video, speech = film(tmp_path / "a.mp4", 40), sound(tmp_path / "long.wav", 1.2)
    result = model(video, speech, tmp_path / "o.mp4", start_s=0.4, end_s=1.2, length="video")
    assert result.num_frames == 20


def test_a_speech_that_is_too_short_is_named(model: Lipsync, tmp_path: Path) -> None:
    video, blip = film(tmp_path / "a.mp4"), sound(tmp_path / "blip.wav", 0.012)
    plan = Plan((PlanEntry(audio=blip, end_s=Fraction(1, 100)),))
    for given in ({"audio": blip}, {"plan": plan}):
        with pytest.raises(EmptyAudioError, match=r"blip\.wav: its sound is shorter than 20 ms"):
            model(video, out=tmp_path / "o.mp4", **given)  # type: ignore[arg-type]
