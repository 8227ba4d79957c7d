"""What every task refuses before any work, in one line; and a disk that runs full in the middle of a run."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError
from training_clips import write_set

from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.models.tiny_autoencoder import TinyAutoencoder
from latentsync.models.weights.layout import save_model
from latentsync.training.engine.checkpoint import explain_full_disk
from latentsync.training.engine.registry import TASKS, build_task, recipe
from media.test_full_disk import UNSHARE, can_mount

PRESETS = {
    "lip_predictor": "tiny",
    "autoencoder": "debug",
    "audio_encoder": "debug",
    "syncnet": "small",
    "unet": "debug",
}


def refused(task: str, root: Path, start: Path | None = None, **changes: Any) -> str:
    with pytest.raises(LatentSyncError) as caught:
        build_task(task, {**recipe(task, PRESETS[task]).task, **changes}, [root], start, 0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_refuses_data_that_cannot_be_learnt_from(tmp_path: Path, task: str) -> None:
    root = write_set(tmp_path / "set", people=2, clips=1)
    for spoil, said in (({"fps": 30}, "at 30 frames a second"), ({"person": "p0"}, "is in split train and in val")):
        meta = root / "p3-0" / "meta.json"
        given = json.loads(meta.read_text())
        meta.write_text(json.dumps(given | spoil))
        assert said in refused(task, root)
        meta.write_text(json.dumps(given))
    np.save(root / "p0-0" / "wave.npy", np.zeros(100, np.float32))
    assert "Prepare it again" in refused(task, root)
    for clip in root.iterdir():
        (clip / "meta.json").unlink()
    assert "no clips for training or validation" in refused(task, root)


@pytest.mark.parametrize("task", ["syncnet", "unet"])
def test_clips_shorter_than_what_a_network_sees_are_refused(tmp_path: Path, task: str) -> None:
    assert "too short" in refused(task, write_set(tmp_path / "set", people=2, clips=1, num_frames=14))


@pytest.mark.parametrize("task", TASKS)
def test_weights_that_do_not_fit_the_settings_are_refused(tmp_path: Path, task: str) -> None:
    """The start is an autoencoder of another size than any preset's."""
    config = {"latent_channels": 4, "widths": [8, 8], "encoder_blocks": 1, "decoder_blocks": 1}
    network = TinyAutoencoder.from_config(config)
    save_model(tmp_path / "model", {"autoencoder": network}, name="other", settings={})
    said = refused(task, write_set(tmp_path / "set", people=2, clips=1), tmp_path / "model" / "autoencoder")
    assert any(
        word in said for word in ("another network", "doesn't fit", "does not fit", "it is no", "config.json")
    ), said


FILLED = """
    import sys
    from pathlib import Path
    from latentsync.core.errors import LatentSyncError
    from latentsync.training.engine.config import TrainConfig
    from latentsync.training.engine.events import Measured
    from latentsync.training.engine.trainer import Trainer
    from training.toy_task import Toy
    disk, config = Path(sys.argv[1]), TrainConfig(
        steps=40, batch_size=8, save_every_s=1e-9, snapshot_every=None, log_every=1, tensorboard=False,
        validate_every_s=None,
    )
    def fill(event):
        if isinstance(event, Measured) and event.at.step == 5 and "fill" in sys.argv:
            try:
                (disk / "other").write_bytes(bytes(10**6))
            except OSError:
                pass
    try:
        print("step", Trainer(Toy({"width": 256}), config, disk / "run", watchers=[fill]).run().step)
    except LatentSyncError as error:
        print(error)
"""


def test_a_disk_that_runs_full_ends_the_run_in_one_line_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not can_mount(disk):
        pytest.skip("mounting a file system is not permitted here")
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[1])!r})\n" + textwrap.dedent(FILLED))
    again = f"'{sys.executable}' '{script}' '{disk}'"
    words = f"mount -t tmpfs -o size=600k tmpfs '{disk}' && {again} fill && rm '{disk}/other' && {again}"
    done = subprocess.run([*UNSHARE, "sh", "-c", words], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines() == [
        f"{disk}/run: the disk is full. Free space; the same command then goes on from step-00000004.", "step 40",
    ], done.stderr  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="112 means a full disk there")
def test_a_lost_host_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    for error in (OSError(errno.EHOSTDOWN, "Host is down"), SafetensorError("Host is down (os error 112)")):
        with pytest.raises(type(error), match="Host is down"), explain_full_disk(tmp_path):
            raise error
    elsewhere = OSError(errno.ENOSPC, "No space left", "/other/disk/a.npy")
    with pytest.raises(LatentSyncError, match=r"^/other/disk: the disk is full"), explain_full_disk(tmp_path):
        raise elsewhere
    for error in (OSError(errno.ENOSPC, "No space left"), SafetensorError("No space left on device (os error 28)")):
        with pytest.raises(LatentSyncError, match="the disk is full"), explain_full_disk(tmp_path):
            raise error
    denied = SafetensorError("Error while serializing: I/O error: Permission denied (os error 13)")
    with pytest.raises(LatentSyncError, match="may not be written"), explain_full_disk(tmp_path):
        raise denied


CACHED = """
    import sys
    from pathlib import Path
    import numpy as np
    from latentsync.core.errors import LatentSyncError
    from latentsync.training.engine.checkpoint import explain_full_disk
    from latentsync.training.datasets.cache import ArrayCache
    disk = Path(sys.argv[1])
    try:
        with explain_full_disk(Path("/elsewhere/run")):
            ArrayCache(disk / "cache").get("crops", ("a",), lambda: np.zeros((1000, 1000)))
    except LatentSyncError as error:
        print(error)
    print([path for path in (disk / "cache").rglob("*") if path.is_file()])
"""


def test_a_full_disk_of_the_cache_is_told_as_that(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not can_mount(disk):
        pytest.skip("mounting a file system is not permitted here")
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(CACHED))
    words = f"mount -t tmpfs -o size=600k tmpfs '{disk}' && '{sys.executable}' '{script}' '{disk}'"
    done = subprocess.run([*UNSHARE, "sh", "-c", words], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines() == [
        f"{disk}/cache: the disk of this cache is full. Free space there, or set LATENTSYNC_CACHE to a folder on "
        "another disk; then run again.", "[]",
    ], done.stderr  # fmt: skip


def test_a_length_that_is_asked_for_takes_the_place_of_the_presets() -> None:
    minutes = recipe("unet", "tiny").loop
    assert minutes.steps is None and minutes.minutes is not None
    steps = recipe("unet", "tiny", ["loop.steps=400"]).loop
    assert (steps.steps, steps.minutes) == (400, None)
    back = recipe("unet", "tiny", ["loop.minutes=3"]).loop
    assert (back.steps, back.minutes) == (None, 3)
    assert recipe("unet", "tiny", ["loop.steps=null"]).loop == minutes
    with pytest.raises(ConfigError, match="give one of steps, minutes"):
        recipe("unet", "tiny", ["loop.minutes=3", "loop.steps=400"])
    with pytest.raises(ConfigError, match="give one of the two"):
        recipe("unet", "tiny", ["loop.steps=400"], minutes=5)
    for changes in ([], ["loop.steps=null"]):
        asked = recipe("unet", "tiny", changes, minutes=5).loop
        assert (asked.steps, asked.minutes) == (None, 5)
