"""One contract for all engines, and what happens when processes die, disks fill and code is wrong."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from raw_videos import SETTINGS, Fragile, contents, run, talking

from latentsync.core.errors import LatentSyncError, Stopped
from latentsync.data.clip import Source
from latentsync.data.runners.base import DIED, GONE, INTERNAL, Engine, Plan, SerialEngine, drive
from latentsync.data.runners.local import LocalEngine
from latentsync.data.sources import Speaker, begin, find_sources
from latentsync.data.stages import make_stages
from latentsync.data.workspace import Workspace, claimed

NAMES = ("a.mp4", "b.mp4", "c.mp4")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    for number, name in enumerate(NAMES):
        talking(root / name, number, seed=number + 20, steps=45)
    return root


@pytest.fixture(scope="module")
def truth(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every file's hash after a run in this process."""
    out = tmp_path_factory.mktemp("truth") / "out"
    assert run(raw, out).num_kept == len(NAMES)
    return contents(out)


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_every_engine_makes_the_same_files(
    raw: Path, truth: dict[str, str], tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "ray":
        pytest.importorskip("ray")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # workers import the tests' tracker
    run(raw, tmp_path / "out", engine=engine, workers=2)
    assert contents(tmp_path / "out") == truth
    assert not run(raw, tmp_path / "out", engine=engine, workers=2).tally.done


def fragile(tmp_path: Path, raw: Path, engine: Callable[[Plan], Engine], **how: str) -> dict[str, str]:
    """Run one fragile stage over the raw videos: source → reason."""
    workspace = Workspace(tmp_path / "out")
    plan = Plan((Fragile(**how),), workspace)
    with claimed(workspace):
        clips = begin(find_sources(str(raw), Speaker()), workspace, 1)
        ended, _ = drive(plan, clips, engine(plan))
    return {clip.source.name: clip.rejected.reason if clip.rejected else "" for clip in ended}


local = partial(LocalEngine, num_workers=1)


def test_a_clip_that_brings_down_its_worker_is_named_and_nothing_else_is_lost(raw: Path, tmp_path: Path) -> None:
    assert fragile(tmp_path, raw, local, deadly="b.mp4") == {"a.mp4": "", "b.mp4": DIED, "c.mp4": ""}


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_worker_that_dies_once_costs_nothing(
    raw: Path, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Callable[[Plan], Engine] = local
    if engine == "ray":
        pytest.importorskip("ray")
        from latentsync.data.runners.ray import RayEngine

        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        make = partial(RayEngine, num_workers=2)
    found = fragile(tmp_path, raw, make, deadly="b.mp4", marker=str(tmp_path / "died"))
    assert (tmp_path / "died").exists()
    assert found == dict.fromkeys(NAMES, "")


def ray_workers_at_work() -> list[int]:
    """Processes that do a step for a Ray cluster which this process began (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if not (folder / "cmdline").read_bytes().startswith(b"ray::_do"):
                continue
            above = folder
            while above.name not in ("0", "1", str(os.getpid())):
                above = Path("/proc") / (above / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended
            continue
        if above.name == str(os.getpid()):
            found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_a_ray_worker_killed_in_a_build_changes_nothing(
    raw: Path, truth: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    killed: list[int] = []
    over = threading.Event()

    def kill_one_at_work() -> None:
        while not killed and not over.wait(0.02):
            for worker in ray_workers_at_work()[:1]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

    killer = threading.Thread(target=kill_one_at_work)
    killer.start()
    try:
        run(raw, tmp_path / "out", engine="ray", workers=2)
    finally:
        over.set()
        killer.join()
    assert len(killed) == 1
    assert contents(tmp_path / "out") == truth


def test_a_full_disk_ends_the_run_with_what_to_do(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(LatentSyncError, match="the disk is full"):
        fragile(tmp_path, raw, SerialEngine, full="b.mp4")
    assert fragile(tmp_path, raw, SerialEngine) == dict.fromkeys(NAMES, "")


def test_a_source_that_goes_away_is_named_and_tried_again_when_it_is_back(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    video, away = tmp_path / "raw" / "b.mp4", tmp_path / "away"
    assert fragile(tmp_path, tmp_path / "raw", SerialEngine, leaves="b.mp4", away=str(away))["b.mp4"] == GONE
    away.rename(video)
    assert fragile(tmp_path, tmp_path / "raw", SerialEngine) == dict.fromkeys(NAMES, "")


def test_our_own_bug_is_told_and_tried_again(raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert fragile(tmp_path, raw, SerialEngine, buggy="a.mp4") == {"a.mp4": INTERNAL, "b.mp4": "", "c.mp4": ""}
    assert "a bug of ours" in caplog.text
    assert fragile(tmp_path, raw, SerialEngine) == dict.fromkeys(NAMES, "")


def test_an_error_the_user_can_fix_is_the_reason(raw: Path, tmp_path: Path) -> None:
    assert fragile(tmp_path, raw, SerialEngine, wrong="c.mp4")["c.mp4"] == "unreadable"


def test_stopping_keeps_what_is_done(raw: Path, truth: dict[str, str], tmp_path: Path) -> None:
    asked = iter([False] * 12 + [True] * 100)
    workspace = Workspace(tmp_path / "out")
    from talkers import MouthTracker

    plan = Plan(make_stages(SETTINGS, MouthTracker), workspace)
    with pytest.raises(Stopped), claimed(workspace):
        drive(
            plan, begin(find_sources(str(raw), Speaker()), workspace, 1), SerialEngine(plan), stop=lambda: next(asked)
        )
    again = run(raw, tmp_path / "out")
    assert sum(again.tally.skipped.values()) == 12
    assert contents(tmp_path / "out") == truth


def test_two_builds_in_one_folder_are_refused(raw: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "out")
    with claimed(workspace), pytest.raises(LatentSyncError, match="another build is at work"):
        run(raw, tmp_path / "out")


BUILD = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from raw_videos import run
if __name__ == "__main__":
    run(Path({raw!r}), Path({out!r}), engine={engine!r}, workers=2)
"""


def build_and_kill(raw: Path, out: Path, engine: str, after_s: float) -> bool:
    """Start a build in a process of its own and end it with SIGKILL; True where it was still at work."""
    script = out.with_suffix(".py")
    here = Path(__file__).parent
    path = [str(here), str(here.parent / "evaluation")]
    script.write_text(BUILD.format(path=path, raw=str(raw), out=str(out), engine=engine))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not out.exists() and process.poll() is None:
        time.sleep(0.01)  # imports do not count
    try:
        process.wait(timeout=after_s)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["serial", "local"])
def test_killed_at_ten_random_moments_nothing_is_lost_or_half_done(
    raw: Path, truth: dict[str, str], tmp_path: Path, engine: str
) -> None:
    rng = random.Random(engine)
    killed = sum(build_and_kill(raw, tmp_path / "out", engine, rng.uniform(0.05, 2.0)) for _ in range(10))
    assert killed >= 1
    run(raw, tmp_path / "out")
    assert contents(tmp_path / "out") == truth
    left = [path.name for path in (tmp_path / "out").rglob("*") if ".part" in path.name]
    assert not left
    assert not (tmp_path / "out" / ".work" / "scratch").exists()


KILLED = """
import os
import signal
import sys
sys.path[:0] = {path!r}
from itertools import count
from pathlib import Path
from raw_videos import SETTINGS, options
from latentsync.data.api import build
asked = count(1)
build(
    Path({raw!r}), Path({out!r}), SETTINGS, options(engine="serial"),
    stop=lambda: next(asked) == 12 and os.kill(os.getpid(), signal.SIGKILL),
)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_once_the_next_run_goes_on(raw: Path, truth: dict[str, str], tmp_path: Path) -> None:
    here = Path(__file__).parent
    path = [str(here), str(here.parent / "evaluation")]
    script = KILLED.format(path=path, raw=str(raw), out=str(tmp_path / "out"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = run(raw, tmp_path / "out")
    assert contents(tmp_path / "out") == truth
    assert sum(again.tally.skipped.values()) >= 8
    assert sum(again.tally.done.values()) + sum(again.tally.skipped.values()) == len(NAMES) * len(make_stages(SETTINGS))


def test_unreadable_sources_are_told_before_anything_runs(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "out")
    with claimed(workspace):
        (clip,) = begin([Source("gone.mp4", str(tmp_path / "gone.mp4"))], workspace, 1)
    assert clip.rejected is not None
    assert (clip.rejected.stage, clip.rejected.reason) == ("probe", "unreadable")
