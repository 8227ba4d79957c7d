"""What reads files of others. Each target has good files and a use; a mutated file may be used or refused in one line.

Nothing else may come of it: no other exception, no file beside it, no change of it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch

import micro_model
import planted
import synth_media
from latentsync.config.loader import sync_options
from latentsync.config.plan import load_plan
from latentsync.core.hashing import file_sha256
from latentsync.data.manifest import MANIFEST, read_manifest, rows_of, write_manifest
from latentsync.data.sources import Speaker, find_sources
from latentsync.media import AudioReader, VideoReader
from latentsync.models import UNet
from latentsync.models.weights import find, load, merge_adapter, open_checkpoint, read_adapter, write_adapter
from latentsync.pipeline import Lipsync

Use = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """Attributes: files: good ones. use: of one of them, at its place, with what lies beside it."""

    files: list[Path]
    use: Use


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def settings(home: Path) -> dict[str, Target]:
    preset = "steps: 3\nface: left\nstart_s: '1:02.5'\ncrf: 18\nlength: &a video\nsilence: closed\n"
    rows = [{"audio": "a.wav", "face": "left", "start": "0:01", "end": "2.5"}, {"audio": "b.wav", "start": 3}]
    lines = "".join(json.dumps({"path": f"{n}.mp4", "speaker": "anna"}) + "\n" for n in range(3))
    plans = [
        written(home / "plan.yaml", "- {audio: a.wav, face: left, start: 1:02, end: '1:04:12'}\n- audio: b.wav\n"),
        written(home / "plan.json", json.dumps(rows)),
        written(home / "plan.csv", "audio,face,start,end\na.wav,left,0:01,0:02\nb.wav,right,2,\n"),
        written(home / "plan.srt", "1\n00:00:01,000 --> 00:00:02,000\nHello\n\n2\n00:00:03,000 --> 00:00:04,000\n"),
    ]
    for number in (1, 2):
        written(home / "plan" / f"{number}.wav", "")
    recipe = written(home / "recipe.yaml", "loop:\n  steps: 3\n  betas: [0.9, 0.99]\ntask:\n  adapter: {rank: 2}\n")

    def train(path: Path) -> None:
        from latentsync.training.engine.registry import recipe as read
        from latentsync.training.tasks.unet.settings import UNetSettings

        UNetSettings.from_mapping(read("unet", str(path)).task)

    return {
        "preset": Target([written(home / "preset.yaml", preset)], lambda path: sync_options(str(path))),
        "plan": Target(plans, lambda path: load_plan(path, Fraction(25))),
        "recipe": Target([recipe], train),
        "list": Target(
            [written(home / "list.jsonl", lines), written(home / "list.csv", "path,speaker\na.mp4,anna\n"),
             written(home / "list.txt", "a.mp4\nb.mp4\n")],
            lambda path: find_sources(str(path), Speaker(None)),
        ),
    }  # fmt: skip


def films(home: Path) -> dict[str, Target]:
    video = [synth_media.make_film(home / f"talk{suffix}", 6) for suffix in (".mp4", ".mkv", ".avi")]
    sound = [synth_media.make_sound(home / "a.wav", synth_media.tone(0.2))]

    def watch(path: Path) -> None:
        with VideoReader(path) as reader:
            for frame in islice(reader, 8):
                frame.picture.thumbnail(32)

    def hear(path: Path) -> None:
        for _ in islice(AudioReader(path).blocks(), 30):
            pass

    return {"video": Target(video, watch), "sound": Target(sound, hear)}


def weights(home: Path) -> dict[str, Target]:
    model = home / "model"
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(model)
    unet = load(find(model), "unet")
    assert isinstance(unet, UNet)
    state = unet.state_dict()
    layer = next(key for key in state if key.endswith("to_q.weight")).removesuffix(".weight")
    out_width, in_width = state[f"{layer}.weight"].shape
    pairs = {layer: (torch.ones(2, in_width), torch.full((out_width, 2), 0.1))}
    write_adapter(home / "adapter.safetensors", pairs, 1.0, unet.config, state, "micro")
    torch.save({"state_dict": {"a": torch.ones(3), "b": torch.zeros(2, 2)}, "step": 3}, home / "a.pt")

    def adapt(path: Path) -> None:
        found = read_adapter(path)
        fresh = load(find(model), "unet")
        merge_adapter(fresh, found)  # type: ignore[arg-type]
        assert all(bool(torch.isfinite(value).all()) for value in fresh.state_dict().values())

    def opened(path: Path) -> None:
        """Configs and weights get the hash that the index wants: a stranger can do that."""
        index = model / "model_index.json"
        before = index.read_bytes()
        if path != index:
            told = json.loads(before)
            told["parts"][path.parent.name]["sha256"][path.name] = file_sha256(path)
            index.write_text(json.dumps(told))
        try:
            Lipsync.from_pretrained(model, device="cpu", offline=True, tracker=planted.PlantedTracker())
        finally:
            if path != index:
                index.write_bytes(before)

    parts = sorted(path for path in model.rglob("*") if path.is_file())
    return {
        "adapter": Target([home / "adapter.safetensors"], adapt),
        "checkpoint": Target([home / "a.pt"], open_checkpoint),
        "model": Target(parts, opened),
    }


def builds(home: Path) -> dict[str, Target]:
    from latentsync.data.clip import Clip, Source
    from latentsync.data.report.html import write_report
    from latentsync.data.settings import data_settings

    clip = Clip(Source("a.mp4", "a.mp4", sha256="0" * 64, identity="anna"), num_frames=50, clip_id="c1")
    home.mkdir(parents=True, exist_ok=True)
    write_manifest(home / MANIFEST, rows_of([clip], [], {"anna": "train"}), data_settings().as_dict())
    written(home / "build.json", json.dumps({"stages": {"probe": {"steps": 1, "seconds": 1, "frames": 2}}}))

    def use(_path: Path) -> None:
        read_manifest(home)
        page = home.parent / "page.html"
        write_report(home, page, pictures=False)
        page.unlink()

    return {"manifest": Target([home / MANIFEST, home / "build.json"], use)}


class Tracker(planted.PlantedTracker):
    identity = "planted 1"


def caches(home: Path) -> dict[str, Target]:
    model = micro_model.lipsync(Tracker())
    video = planted.film(home / "a.mp4", [planted.picture((160, 120), [(80, 60, 80)])] * 4)
    speech = synth_media.make_sound(home / "a.wav", synth_media.tone(0.16))
    cache, out = home / "cache", home.parent / "cached.mp4"
    model(video, speech, out, cache=cache)
    good = pictures(out)
    out.unlink()

    def use(path: Path) -> None:
        spoilt = path.read_bytes()
        others = {each: each.read_bytes() for each in path.parent.iterdir() if each != path}
        try:
            model(video, speech, out, cache=cache)
            assert (pictures(out) == good).all()
        finally:
            out.unlink(missing_ok=True)
            for each in path.parent.iterdir():  # a bad record is made anew, which is no change of an input
                each.write_bytes(spoilt if each == path else others[each])

    return {"cache": Target(sorted((cache / "tracks").iterdir()), use)}


def pictures(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return np.stack([frame.picture.rgb() for frame in reader])


def all_targets(home: Path) -> dict[str, Target]:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    made: dict[str, Target] = {}
    for name, make in (
        ("settings", settings),
        ("films", films),
        ("weights", weights),
        ("builds", builds),
        ("caches", caches),
    ):
        (home / name).mkdir()
        made |= make(home / name)
    return made
