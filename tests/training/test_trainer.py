"""The loop in one process, on a real small task."""

from __future__ import annotations

import gc
import json
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.training.engine import preflight, trainer
from latentsync.training.engine.config import TrainConfig
from latentsync.training.engine.ema import EmaWeights
from latentsync.training.engine.events import Event, RolledBack, Validated
from latentsync.training.engine.examples import Share, next_part
from latentsync.training.engine.outcome import Outcome
from latentsync.training.engine.schedule import rate_share
from latentsync.training.engine.task import Batch, Objective
from latentsync.training.engine.trainer import Trainer
from training.toy_task import Toy


def config(**changes: Any) -> TrainConfig:
    plain = {
        "steps": 30, "batch_size": 8, "learning_rate": 1e-2, "warmup_steps": 5, "log_every": 1, "ema": 0.9,
        "tensorboard": False, "validate_every_s": None,
    }  # fmt: skip
    return TrainConfig(**(plain | changes))


def train(
    out: Path, settings: Mapping[str, Any] | None = None, task: Any = None, more: Any = None, **changes: Any
) -> Outcome:
    made = task or Toy(settings)
    return Trainer(made, config(**changes), out, settings=made.settings, **(more or {})).run()


def lines(out: Path, event: str = "measured") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in found if line["event"] == event]


def losses(out: Path) -> list[float]:
    return [line["loss/fit"] for line in lines(out)]


def weights(out: Path) -> dict[str, Tensor]:
    (newest,) = sorted((out / "states").iterdir())[-1:]
    return load_file(newest / "0.weights.safetensors")


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def after(steps: int) -> Callable[[], bool]:
    """A stop flag that is raised during step `steps`."""
    asked = iter(range(1, 10**6))
    return lambda: next(asked) >= steps


# --- the run ----------------------------------------------------------------------------------------------------------


def test_it_learns_judges_exports_and_keeps_the_best(tmp_path: Path) -> None:
    out = train(tmp_path, {"pictures": True}, steps=90, validate_every=30)
    judged = lines(tmp_path, "judged")
    scores = [line["val/error"] for line in judged]
    assert [line["step"] for line in judged] == [30, 60, 90]
    assert scores[0] > 0.5 > scores[-1]
    assert judged[0]["warnings"] == ["the error is large; train longer"]
    assert out.score == scores[-1]
    assert out.best_score == min(scores)
    exported = load_file(tmp_path / "component" / "model.safetensors")
    average = load_file(tmp_path / "states" / "step-00000090" / "0.average.safetensors")
    assert same(exported, average)
    assert (tmp_path / "best" / "config.json").exists()
    assert (tmp_path / "pictures" / "step-00000090" / "val_grey.png").exists()
    assert (tmp_path / "pictures" / "step-00000090" / "grey.mp4").stat().st_size > 300
    assert [path.name for path in sorted((tmp_path / "states").iterdir())] == ["step-00000000", "step-00000090"]
    assert json.loads((tmp_path / "run.json").read_text())["loop"]["batch_size"] == 8


def test_the_callers_random_numbers_are_not_touched(tmp_path: Path) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    task = Toy()
    torch.manual_seed(3)
    train(tmp_path, task=task, steps=2)
    assert torch.equal(torch.rand(2), wanted)


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"schedule": "constant", "ema": None}])
def test_stopped_and_carried_on_is_never_stopped(tmp_path: Path, changes: dict[str, Any]) -> None:
    settings = {"dropout": 0.3}
    train(tmp_path / "whole", settings, **changes)
    out = train(tmp_path / "parts", settings, more={"stop": after(11)}, **changes)
    assert (out.reason, out.step) == ("stopped", 11)
    again = train(tmp_path / "parts", settings, **changes)
    assert (again.reason, again.step) == ("finished", 30)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))
    assert lines(tmp_path / "parts", "began")[1]["from"] == "step-00000011"


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = train(tmp_path)
    before = losses(tmp_path)
    again = train(tmp_path)
    assert losses(tmp_path) == before
    assert (again.score, again.best_step) == (first.score, first.best_step)


class Pictures(Objective):
    """A convolution in channels-last memory: moments must come back with the strides of the weights."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"][:, :, None, None].expand(-1, 3, 4, 4).contiguous(memory_format=torch.channels_last)
        return {"fit": (self.network(x).mean((2, 3)) - batch["y"]).square().mean()}


def picture_task() -> Toy:
    task = Toy()
    network = nn.Conv2d(3, 6, 3).to(memory_format=torch.channels_last)
    task.objectives = [Pictures(network)]
    task.validate = lambda network: SimpleNamespace(figures={}, warnings=(), pictures={}, clips={})  # type: ignore
    return task


def test_resuming_keeps_the_memory_order_of_weights(tmp_path: Path) -> None:
    train(tmp_path / "whole", task=picture_task())
    train(tmp_path / "parts", task=picture_task(), more={"stop": after(7)})
    train(tmp_path / "parts", task=picture_task())
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))


def test_accumulation_and_loader_processes_change_nothing(tmp_path: Path) -> None:
    train(tmp_path / "plain", steps=8)
    train(tmp_path / "parts", steps=8, accumulation=4)
    train(tmp_path / "workers", steps=8, workers=2)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
    assert losses(tmp_path / "workers") == losses(tmp_path / "plain")


@pytest.mark.slow
def test_compiled_networks_learn_alike_and_are_judged_as_written(tmp_path: Path) -> None:
    plain = train(tmp_path / "plain", steps=6)
    compiled = train(tmp_path / "compiled", steps=6, compile=True)
    assert compiled.score == pytest.approx(plain.score, rel=1e-4)


def test_minutes_end_a_run_and_lead_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count()
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: next(clock) / 100))  # steps of equal length
    out = train(tmp_path, steps=None, minutes=0.02, warmup_steps=0)
    assert out.reason == "finished"
    assert out.minutes >= 0.02
    rates = [line["rate"] for line in lines(tmp_path)]
    assert all(later <= earlier for earlier, later in pairwise(rates))
    assert rates[-1] < 0.6 * rates[0]


# --- several objectives -----------------------------------------------------------------------------------------------


class Fool(Objective):
    """Trained against a discriminator that belongs to another objective."""

    def __init__(self, network: nn.Module, discriminator: nn.Module) -> None:
        super().__init__(network)
        self.others = {"discriminator": discriminator}  # not a child: it is not trained here

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"fool": -self.others["discriminator"](self.network(batch["x"])).mean()}


class Idle(Objective):
    """A discriminator that has nothing to learn."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"nothing": self.network(batch["y"]).sum() * 0}


def test_a_discriminator_is_not_taught_by_those_who_consult_it(tmp_path: Path) -> None:
    task = Toy()
    generator, discriminator = task.objectives[0].network, nn.Linear(1, 1)
    task.objectives = [Fool(generator, discriminator), Idle(discriminator)]
    before, unmoved = generator[0].weight.detach().clone(), discriminator.weight.detach().clone()
    train(tmp_path, task=task, steps=3, weight_decay=0.0)
    assert torch.equal(discriminator.weight, unmoved)
    assert not torch.equal(generator[0].weight, before)
    assert discriminator.weight.requires_grad
    assert {"loss/fool", "1/loss/nothing", "1/grad_norm"} <= set(lines(tmp_path)[0])
    assert (tmp_path / "states" / "step-00000003" / "1.optimiser.safetensors").exists()


# --- what is not finite -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("setting", "reason"), [("nan_at", "loss"), ("trap_at", "grad_norm not finite")])
@pytest.mark.parametrize("snapshot_every", [4, None])
def test_what_is_not_finite_never_reaches_the_optimiser(
    tmp_path: Path, setting: str, reason: str, snapshot_every: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    given: list[Event] = []
    bad = 8 * 10 + 3  # in step 11
    out = train(tmp_path, {setting: bad}, snapshot_every=snapshot_every, more={"watchers": [given.append]})
    (event,) = [e for e in given if isinstance(e, RolledBack)]
    assert event.failed_step == 11
    assert event.at.step == (8 if snapshot_every else 0)
    assert reason in event.reason
    assert event.rate_scale == 0.5
    assert "back to step" in caplog.text
    assert out.step == 30
    assert all(torch.isfinite(value).all() for value in weights(tmp_path).values())
    state = json.loads((tmp_path / "states" / "step-00000030" / "state.json").read_text())["position"]
    assert state["data_step"] == 30 + 11 - event.at.step  # the bad step is passed over
    rates = [line["rate"] for line in lines(tmp_path)]
    assert rates[-1] == pytest.approx(0.5e-2 * rate_share(config(), 29, 0), rel=1e-6)
    (line,) = lines(tmp_path, "rolled_back")
    assert line["failed_step"] == 11


def test_it_gives_up_in_the_end(tmp_path: Path) -> None:
    with pytest.raises(LatentSyncError, match=r"step 1: loss, loss/fit, grad_norm not finite, after 3 rollbacks"):
        train(tmp_path, {"nan_at": -1})


# --- states -----------------------------------------------------------------------------------------------------------


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    train(tmp_path, steps=3)
    with pytest.raises(
        LatentSyncError, match=r"another run: loop.batch_size 8 → 4; settings.width nothing → 16\. Choose"
    ):
        train(tmp_path, {"width": 16}, batch_size=4)
    task = Toy()
    task.name = "other"
    for more in ({}, {"accept_changes": True}):
        with pytest.raises(LatentSyncError, match=r"holds a run of toy\. Choose another --out for other\.$"):
            train(tmp_path, task=task, more=more)
    with pytest.raises(LatentSyncError, match=r"settings\.s15 nothing → 15; and 12 more\. Choose"):
        train(tmp_path, {f"s{number}": number for number in range(20)})
    with pytest.raises(LatentSyncError, match=r"data\.files nothing → 3"):
        train(tmp_path, more={"data": {"files": 3}})
    assert train(tmp_path, steps=4).step == 4  # the length may change
    assert train(tmp_path, steps=5, batch_size=4, more={"accept_changes": True}).step == 5
    with pytest.raises(LatentSyncError, match="3 weights do not fit this network"):
        train(tmp_path, {"width": 16}, steps=9, batch_size=4, more={"accept_changes": True})


def test_a_damaged_state_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, steps=4)
    train(tmp_path, steps=8)
    path = tmp_path / "states" / "step-00000008" / "0.weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert train(tmp_path, steps=8).step == 8
    assert "step-00000008: damaged (0.weights.safetensors)" in caplog.text
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, 9))
    for state in (tmp_path / "states").iterdir():
        (state / "state.json").write_text("{")
    with pytest.raises(LatentSyncError, match="none of the 2 states can be read"):
        train(tmp_path, steps=8)


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / "states" / ".step-00000003.abc.part"
    left.mkdir(parents=True)
    train(tmp_path, steps=2)
    assert not left.exists()


def test_a_small_disk_is_refused_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(LatentSyncError, match=r"GiB are needed for 2 states.*keep_states=1"):
        train(tmp_path)
    assert not (tmp_path / "states").exists()


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_averaged_weights() -> None:
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(1.0)
    average = EmaWeights(network, 0.5)
    for step, value in ((1, 2.0), (20, 4.0)):
        with torch.no_grad():
            network.weight.fill_(value)
        average.update(step)
    # decay 1/10: 0.1·1 + 0.9·2 = 1.9; decay min(0.5, 20/29): 0.5·1.9 + 0.5·4 = 2.95
    with average.applied():
        assert network.weight.item() == pytest.approx(2.95)
    assert network.weight.item() == 4.0


def test_the_learning_rate() -> None:
    cosine = config(steps=100, warmup_steps=10, final_rate=0.2)
    assert rate_share(cosine, 0, 0) == pytest.approx(0.1 * 1.0)
    assert rate_share(cosine, 4, 0) == pytest.approx(0.5 * (0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * 0.04))))
    assert rate_share(cosine, 50, 0) == pytest.approx(0.6)
    assert rate_share(cosine, 100, 0) == pytest.approx(0.2)
    clock = config(steps=None, minutes=10, warmup_steps=0, final_rate=0.0)
    assert rate_share(clock, 7, 300.0) == pytest.approx(0.5)
    constant = config(steps=100, warmup_steps=4, schedule="constant")
    assert [rate_share(constant, step, 0) for step in (0, 1, 3, 99)] == [0.25, 0.5, 1.0, 1.0]


def test_a_step_is_shared_out_without_gap_or_overlap() -> None:
    for accumulation, processes in ((1, 1), (2, 1), (1, 4), (2, 2)):
        shares = [Share(batch_size=8, accumulation=accumulation, processes=processes, rank=r) for r in range(processes)]
        seen = [n for a in range(accumulation) for share in shares for n in share.numbers(3)[a]]
        assert seen == list(range(24, 32))
    with pytest.raises(ConfigError, match="choose a multiple of 3 processes"):
        Share(batch_size=8, processes=3)


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"steps": None}, "give loop.steps or loop.minutes"),
        ({"minutes": 3.0}, "give one of steps, minutes"),
        ({"accumulation": 3}, "choose a divisor of 8"),
        ({"ema": 1.0}, "a decay between 0 and 1"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"betas": (0.9, 1.0)}, "below 1"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], fix: str) -> None:
    with pytest.raises(ConfigError, match=fix):
        config(**changes)


def test_what_the_device_or_network_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Sequential cannot"):
        train(tmp_path, gradient_checkpointing=True)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="needs a GPU"):
            train(tmp_path, precision="fp16")


class Killed(Toy):
    def example(self, number: int) -> dict[str, torch.Tensor]:
        if number == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().example(number)


class Broken(Toy):
    def example(self, number: int) -> dict[str, torch.Tensor]:
        if number == 40:
            raise RuntimeError("shapes differ")
        return super().example(number)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_loader_process_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LatentSyncError, match="fewer --workers"):
        Trainer(Killed(), config(steps=20, workers=1), tmp_path).run()
    gc.collect()  # a loader that lived on would tell it again, at the end of any other process
    assert not multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="PyTorch tells it by this signal")
def test_it_is_told_alike_while_something_else_is_done(tmp_path: Path) -> None:
    def kill_and_wait() -> bool:
        for child in multiprocessing.active_children():
            child.kill()
            time.sleep(60)
        return False

    with pytest.raises(LatentSyncError, match="fewer --workers"):
        Trainer(Toy(), config(steps=20, workers=1), tmp_path, stop=kill_and_wait).run()
    gc.collect()


@pytest.mark.slow
def test_a_bug_in_a_loader_process_is_not_taken_for_its_death(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes differ"):
        Trainer(Broken(), config(steps=20, workers=1), tmp_path).run()
    gc.collect()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("error", [ConnectionResetError(), EOFError()])
def test_a_loader_process_lost_while_it_hands_over_is_told_too(error: Exception) -> None:
    def parts() -> Iterator[dict[str, torch.Tensor]]:
        raise error
        yield {}

    with pytest.raises(LatentSyncError, match="fewer --workers"):
        next_part(parts())


def test_the_page_tells_of_every_setting() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")
    table = page.split("| `loop.` |")[1].split("\n\n")[0]
    assert [field.name for field in fields(TrainConfig) if f"`{field.name}`" not in table] == []


def test_a_term_may_come_and_go(tmp_path: Path) -> None:
    class Sometimes(Pictures):
        def forward(self, batch: Batch) -> dict[str, Tensor]:
            found = super().forward(batch)
            return found | {"extra": found["fit"] * 0 + 1} if int(batch["seed"][0]) % 16 == 8 else found

    task = picture_task()
    task.objectives = [Sometimes(task.objectives[0].network)]
    train(tmp_path, task=task, steps=4, log_every=2)
    assert [line["loss/extra"] for line in lines(tmp_path)] == [0.5, 0.5]


def test_events_reach_watchers_in_order(tmp_path: Path) -> None:
    given: list[Event] = []
    train(tmp_path, steps=2, more={"watchers": [given.append]})
    assert [type(event).__name__ for event in given] == ["Began", "Saved", "Measured", "Measured", "Validated", "Saved"]
    (judged,) = [event for event in given if isinstance(event, Validated)]
    assert judged.is_best
