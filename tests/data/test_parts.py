"""Settings, sources, split, shards, report and the commands."""

from __future__ import annotations

import json
import sys
import tarfile
import types
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from raw_videos import empty_room, run, talking

from latentsync.cli.main import main
from latentsync.core.errors import ConfigError, LatentSyncError, MediaError
from latentsync.data.clip import whole
from latentsync.data.manifest import read_manifest
from latentsync.data.report.advice import advice
from latentsync.data.report.html import funnel_steps, write_report
from latentsync.data.report.svg import histogram
from latentsync.data.settings import DataSettings, SplitSettings, data_settings, parse_change
from latentsync.data.shards import merge_builds, write_shards
from latentsync.data.sound import sound_span
from latentsync.data.sources import Speaker, find_sources
from latentsync.data.split import split_identities
from latentsync.data.stages import limits_of, make_stages
from latentsync.data.stages.probe import Probe
from latentsync.data.stages.quality import make_scorer


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts")
    for person in range(3):
        talking(root / "raw" / f"p{person}" / "a.mp4", person, seed=person + 40, steps=45)
    empty_room(root / "raw" / "room <b>.mp4")
    run(root / "raw", root / "out")
    return root / "out"


def test_settings_come_from_text_and_are_checked() -> None:
    made = data_settings({"segments": {"min_s": 2}}, dict([parse_change("faces.resolution=128")]))
    assert (made.segments.min_s, made.faces.resolution) == (2.0, 128)
    assert data_settings(made.as_dict()) == made
    assert data_settings({"write.training": "true"}).write.training is True
    assert data_settings({"sync.judge_v2": "none"}).sync.judge_v2 is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("segment.min_s=2", "did you mean segments"),
        ("segments.mins=2", "did you mean min_s"),
        ("segments.min_s=two", "expected float"),
        ("segments.min_s=nan", "finite number"),
        ("faces.crf=inf", "finite number"),
        ("segments.min_s=8", "choose 16"),
        ("faces.resolution=255", "even number"),
        ("shots.finder=best", "choose one of auto"),
        ("min_s=2", "PART.KEY=VALUE"),
    ],
)
def test_wrong_settings_say_what_to_write(change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        data_settings(dict([parse_change(change)]))


def test_shares_that_are_no_numbers_are_refused() -> None:
    for shares in ({"val": float("nan")}, {"test": float("nan")}, {"val": 0.5, "test": 0.5}):
        with pytest.raises(ConfigError, match="split"):
            SplitSettings(**shares)


def test_a_stage_sees_its_own_settings_alone() -> None:
    usual = {stage.name: stage.settings for stage in make_stages(DataSettings().resolved())}
    changed = data_settings({"quality_limits.min_quality": 50}).resolved()
    other = {stage.name: stage.settings for stage in make_stages(changed)}
    assert [name for name in usual if usual[name] != other[name]] == ["quality_check"]


def test_scorers_are_named_or_refused() -> None:
    assert make_scorer("builtin") is None
    scorer = make_scorer("python:numpy:mean")
    assert scorer is not None
    assert scorer(np.full((4, 4, 3), 7, np.uint8)) == 7
    for wrong in ("hyperiqa", "python:nowhere:f", "pyiqa:"):
        with pytest.raises(ConfigError):
            make_scorer(wrong)


def test_metrics_of_pyiqa_see_pictures_as_that_package_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package stands in for itself: it is large, and its weights come from the network."""
    seen: list[torch.Tensor] = []

    def create_metric(name: str, device: str) -> Any:
        if name == "far":
            raise FileNotFoundError("cannot reach the hub\nand more")
        return lambda picture: seen.append(picture) or torch.tensor([[0.6]])

    stand_in = types.ModuleType("pyiqa")
    stand_in.create_metric = create_metric  # type: ignore[attr-defined]
    stand_in.list_models = lambda: ["hyperiqa", "far"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", stand_in)
    scorer = make_scorer("pyiqa:hyperiqa")
    assert scorer is not None
    crop = np.zeros((6, 4, 3), np.uint8)
    crop[..., 0] = 255
    assert scorer(crop) == pytest.approx(0.6)
    (picture,) = seen
    assert picture.shape == (1, 3, 6, 4)
    assert picture[0].amax(dim=(1, 2)).tolist() == [1, 0, 0]
    with pytest.raises(ConfigError, match=r"did you mean hyperiqa\?"):
        make_scorer("pyiqa:hyperiq")
    with pytest.raises(ConfigError, match=r"weights cannot be had \(cannot reach the hub\)"):
        make_scorer("pyiqa:far")


@pytest.mark.parametrize(
    ("pattern", "name", "given", "who"),
    [
        (r"(s\d+)", "grid/s12-x.mpg", None, "s12"),
        (r"s\d+", "grid/s12-x.mpg", "Ada", "s12"),
        (None, "grid/x.mpg", "Ada", "Ada"),
        (None, "grid/deep/x.mpg", None, "grid"),
        (None, "x.mpg", None, "x.mpg"),
    ],
)
def test_who_speaks(pattern: str | None, name: str, given: str | None, who: str) -> None:
    assert Speaker(pattern).of(name, given) == who


def test_lists_and_urls_are_sources(tmp_path: Path) -> None:
    talking(tmp_path / "a.mp4", 0, seed=1)
    (tmp_path / "list.csv").write_text("file,person\na.mp4,Ada\n", encoding="utf-8")
    (tmp_path / "list.jsonl").write_text(json.dumps({"url": (tmp_path / "a.mp4").as_uri(), "speaker": "Bob"}) + "\n")
    (tmp_path / "bad.csv").write_text("name\na.mp4\n", encoding="utf-8")
    (source,) = find_sources(str(tmp_path / "list.csv"), Speaker())
    assert (source.identity, Path(source.path)) == ("Ada", tmp_path / "a.mp4")
    (remote,) = find_sources(str(tmp_path / "list.jsonl"), Speaker())
    assert remote.identity == "Bob"
    with pytest.raises(MediaError, match="entry 1 has no path"):
        find_sources(str(tmp_path / "bad.csv"), Speaker())
    result = run(tmp_path / "list.jsonl", tmp_path / "out")
    assert result.num_kept == 1
    assert result.rows[0]["source"].startswith("file://")


def test_more_data_moves_nobody() -> None:
    settings = SplitSettings(val=0.2, test=0.2)
    few = split_identities([f"p{n}" for n in range(50)], settings)
    many = split_identities([f"p{n}" for n in range(500)], settings)
    assert {name: many[name] for name in few} == few
    shares = [list(many.values()).count(part) / 500 for part in ("val", "test")]
    assert all(0.15 < share < 0.25 for share in shares)
    assert sorted(split_identities(["a", "b", "c"], SplitSettings(val=0.01, test=0)).values()) == ["train"] * 2 + [
        "val"
    ]


def test_shards_hold_the_clips_and_are_the_same_each_time(built: Path, tmp_path: Path) -> None:
    first = write_shards(built, str(tmp_path / "a"), clips_per_shard=1)
    again = write_shards(built, (tmp_path / "b").as_uri(), clips_per_shard=1)
    assert [line["sha256"] for line in first] == [line["sha256"] for line in again]
    assert sum(line["clips"] for line in first) == 3
    for line in first:
        with tarfile.open(tmp_path / "b" / line["shard"]) as tar:
            names = tar.getnames()
            about = json.load(tar.extractfile(next(name for name in names if name.endswith(".json"))))  # type: ignore[arg-type]
        assert sorted(name.partition(".")[2] for name in names) == ["json", "mp4", "npz", "wav"]
        assert {name.partition(".")[0] for name in names} == {about["id"]}
        assert about["split"] == line["split"]
    assert (tmp_path / "a" / "index.json").is_file()


def test_builds_are_merged_without_doubles(built: Path, tmp_path: Path) -> None:
    talking(tmp_path / "raw" / "q" / "b.mp4", 3, seed=60, steps=45)
    run(tmp_path / "raw", tmp_path / "second")
    rows = merge_builds(tmp_path / "both", [built, tmp_path / "second", built], SplitSettings())
    kept = [row for row in rows if row["kept"]]
    assert len(kept) == 4
    assert all((tmp_path / "both" / "clips" / row["clip_id"] / "video.mp4").is_file() for row in kept)
    write_shards(tmp_path / "both", str(tmp_path / "shards"))
    assert (built / "clips").is_dir()


def test_one_person_in_two_parts_is_refused(built: Path, tmp_path: Path) -> None:
    talking(tmp_path / "raw" / "p0" / "b.mp4", 0, seed=61, steps=45)
    talking(tmp_path / "raw" / "x" / "b.mp4", 1, seed=62, steps=45)
    part = next(row["split"] for row in read_manifest(built)[0] if row["identity"] == "p0")
    other = "test" if part != "test" else "val"
    run(tmp_path / "raw", tmp_path / "second", given_split={"p0": other})
    with pytest.raises(LatentSyncError, match="p0: is in"):
        merge_builds(tmp_path / "both", [built, tmp_path / "second"])


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text, self.images, self.bars = "", 0, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img" and dict(attrs)["src"].startswith("data:image/jpeg")  # type: ignore[union-attr]
        self.bars += tag == "rect"

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_tells_what_happened(built: Path) -> None:
    page = write_report(built)
    given = Tags()
    given.feed(page.read_text("utf-8"))
    assert "no_face" in given.text
    assert "room <b>.mp4" in given.text  # escaped, so the parser gives it back
    assert given.images == 4
    assert given.bars > 20
    rows, _ = read_manifest(built)
    steps = dict((name, count) for name, count, _ in funnel_steps(rows))
    assert (steps["found"], steps["segments"], steps["faces"], steps["write"]) == (4, 4, 3, 3)


def test_advice_names_the_setting_and_its_gain() -> None:
    limits = limits_of(data_settings({"face_limits.min_face_px": 100}))
    row = {"kept": False, "stage": "face_check", "reason": "face_too_small", "limit": 100.0}
    (said,) = advice([{**row, "value": value} for value in (40.0, 61.7, 90.0)], limits)
    assert said.startswith("3 × face_too_small")
    assert "--set face_limits.min_face_px=61 would let 2 of them go on" in said


def test_histograms_show_limits_and_survive_anything() -> None:
    drawn = histogram([1, 2, 3], [0.5], [(0.8, "min")], "score")
    assert drawn.count('class="limit"') == 1
    assert histogram([], [], [], "none") == ""
    assert "<svg" in histogram([2.0, float("nan")], [], [], "one value")


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_commands(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "report", built, "-o", tmp_path / "page.html", "--no-pictures") == 0
    assert (tmp_path / "page.html").is_file()
    capsys.readouterr()
    assert call("data", "inspect", built, "p0/a.mp4", "--json") == 0
    clip = json.loads(capsys.readouterr().out)
    assert clip["kept"] is True
    assert call("data", "inspect", built, clip["clip_id"][:6]) == 0
    assert call("data", "inspect", built, "nothing") == 1
    capsys.readouterr()
    assert call("data", "split", built, "--val", "0.4", "--given", "p1=test", "--json") == 0
    assert "test" in json.loads(capsys.readouterr().out)
    assert call("data", "shard", built, tmp_path / "shards", "--quiet") == 0
    assert call("data", "report", tmp_path / "nowhere") == 1
    assert call("data", "build", tmp_path / "nowhere", tmp_path / "out", "--set", "x.y=1") == 2
    assert not (tmp_path / "out").exists()


def test_a_build_by_command_keeps_nothing_of_an_empty_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the real tracker: nobody is there, the exit code says that nothing was kept."""
    (tmp_path / "raw").mkdir()
    empty_room(tmp_path / "raw" / "room.mp4")
    arguments = ("--engine", "serial", "--set", "segments.min_s=1", "--set", "shots.finder=builtin", "--json")
    assert call("data", "build", tmp_path / "raw", tmp_path / "out", *arguments) == 1
    given = json.loads(capsys.readouterr().out)
    assert (given["clips"], given["kept"], given["reasons"]) == (1, 0, {"faces: no_face": 1})


def test_the_sound_track_that_was_chosen_is_the_one_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "raw" / "a.mkv"
    path.parent.mkdir()
    with av.open(str(path), "w") as file:
        picture = file.add_stream("libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        for number in range(2):
            stream = file.add_stream("pcm_s16le", rate=16000)
            stream.codec_context.layout = "mono"
            stream.metadata["language"] = ("eng", "deu")[number]
        for _ in range(25):
            file.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        file.mux(picture.encode(None))
        for number, level in enumerate((3000, 9000)):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16000), level, np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 16000, 0
            file.mux(file.streams.audio[number].encode(frame))
    (source,) = find_sources(str(path), Speaker())
    for track, level in (("none", 3000), ("deu", 9000), ("1", 9000)):
        settings = data_settings({}, dict([parse_change(f"probe.audio_track={track}")]))
        (probed,) = Probe(settings.probe).process(whole(source))  # type: ignore[misc]
        wave, known = sound_span(probed, Fraction(1, 4), 800)
        assert known.all() and np.abs(wave * 32768 - level).max() < 2
    settings = data_settings({"probe.audio_track": "fra"})
    with pytest.raises(MediaError, match="no sound track 'fra'"):
        Probe(settings.probe).process(whole(source))
