"""The loop in real processes: killed with SIGKILL and carried on; two of them doing the work of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from latentsync.training.engine.config import TrainConfig
from latentsync.training.engine.trainer import Trainer
from training.toy_task import Toy

TESTS = Path(__file__).parents[1]
LOOP = {
    "batch_size": 8, "learning_rate": 1e-2, "warmup_steps": 5, "schedule": "constant", "log_every": 1, "ema": 0.9,
    "tensorboard": False, "validate_every_s": None,
}  # fmt: skip


def command(data: Path, out: Path, **changes: Any) -> list[str]:
    sets = [f"--set=loop.{key}={'null' if value is None else value}" for key, value in (LOOP | changes).items()]
    return ["-m", "latentsync", "train", "training.toy_task", "--data", str(data), "--out", str(out), *sets]


def environment() -> dict[str, str]:
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def losses(out: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss/fit"] for row in rows if row["event"] == "measured"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "clip").write_text("x")
    return tmp_path / "data"


def newest_step(out: Path) -> int:
    return max((int(path.name.split("-")[1]) for path in (out / "states").glob("step-*")), default=0)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_at_any_moment_it_goes_on_as_if_never_stopped(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "run"
    states = []
    for extra_s in (0.013, 0.071):  # a state is written after every step: the kill falls into one
        process = subprocess.Popen(
            [sys.executable, *command(data, out, steps=10**6, save_every_s=1e-9, keep_states=3)], env=environment()
        )
        try:
            wanted = newest_step(out) + 5
            until = time.monotonic() + 300
            while newest_step(out) < wanted:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.005)
            time.sleep(extra_s)
        finally:
            process.kill()
            left = process.wait()
        assert left == -signal.SIGKILL
        states.append(newest_step(out))
    assert states[1] > states[0] > 0
    last = states[1] + 20
    for folder, task_out in (("run", out), ("whole", tmp_path / "whole")):
        identity = json.loads((out / "run.json").read_text())
        trainer = Trainer(
            Toy(), TrainConfig(**LOOP, steps=last), task_out, settings=identity["settings"], data=identity["data"]
        )
        assert trainer.run().step == last, folder
    killed, whole = losses(out), losses(tmp_path / "whole")
    assert sorted(killed) == list(range(1, last + 1))
    assert killed == whole
    name = f"states/step-{last:08d}/0.optimiser.safetensors"
    ours, theirs = load_file(out / name), load_file(tmp_path / "whole" / name)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_two_processes_do_what_one_does_and_fail_together(tmp_path: Path, data: Path) -> None:
    """Example 85 is in the second process's share of step 11 and not a number: both roll back."""
    changes = {"steps": 16, "snapshot_every": 4}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    sets = ["--set", "task.nan_at=85", "--json"]
    given = subprocess.run(
        [*launch, *command(data, tmp_path / "two", **changes), *sets],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert given.returncode == 0, given.stderr
    assert json.loads(given.stdout)["step"] == 16
    Trainer(Toy({"nan_at": 85}), TrainConfig(**LOOP, **changes), tmp_path / "one").run()
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert list(two) == list(one)
    assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-4)
    rows = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert [row["processes"] for row in rows if row["event"] == "began"] == [2]
    assert [row["failed_step"] for row in rows if row["event"] == "rolled_back"] == [11]
    name = "states/step-00000016/0.weights.safetensors"
    alone, shared = load_file(tmp_path / "one" / name), load_file(tmp_path / "two" / name)
    for key in alone:
        torch.testing.assert_close(shared[key], alone[key], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_sharded_weights_train_alike_and_go_on_in_any_number_of_processes(tmp_path: Path) -> None:
    from training.sharded_run import CONFIG, SETTINGS

    script = Path(__file__).with_name("sharded_run.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    for steps in ("14", "20"):  # the second one goes on from the first one's state
        given = subprocess.run(
            [*launch, str(tmp_path / "two"), steps], env=environment(), capture_output=True, text=True, timeout=300
        )
        assert given.returncode == 0, given.stderr
    for out, steps in (("two", 26), ("one", 26)):
        Trainer(Toy(SETTINGS), TrainConfig(steps=steps, **CONFIG), tmp_path / out, settings=SETTINGS).run()
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert list(two) == list(one)
    assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-4)
