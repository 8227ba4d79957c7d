"""`latentsync train TASK`: train a network, or go on with a run; in one process or under `accelerate launch`."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from latentsync.cli.arguments import Json, Quiet, Verbose, new_app
from latentsync.core.errors import ConfigError, LatentSyncError, MissingExtraError, Stopped

if TYPE_CHECKING:
    from latentsync.training.engine.outcome import Outcome
    from latentsync.training.engine.registry import Recipe

app = new_app()


@app.command()
def train(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="autoencoder, lip predictor, audio encoder, syncnet, unet; or a module with a task."
        ),
    ],
    data: Annotated[list[Path], typer.Option(metavar="FOLDER", help="Prepared clips; may be repeated.")],
    preset: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Settings to begin with. Default: the task's `default`.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting, as loop.steps=100; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Of the run; run again to go on. Default: outputs/TASK.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(metavar="COMPONENT|CHECKPOINT|MODEL", help="Weights to begin a new run with.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="M", help="Length of the run, instead of the preset's; not beside --set loop.steps."),
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Loader processes of each process.")] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A short run that must reach the preset's score; exit code 1 otherwise.")
    ] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on although settings or data differ from the run's.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a network. The same command goes on with a run that was stopped or killed.

    On several GPUs or machines: `accelerate launch -m latentsync train …` with the same options (docs/training.md).
    """
    from latentsync.models.weights.catalogue import NAMED
    from latentsync.training.engine.preflight import check_data, check_out, fingerprint
    from latentsync.training.engine.registry import recipe, task_module

    module = task_module(task)
    loop_changes = list(changes or ()) + ([] if workers is None else [f"loop.workers={workers}"])
    made = recipe(task, preset, loop_changes, minutes)
    if smoke and made.smoke is None:
        raise ConfigError("smoke", preset or "default", "this preset has no `smoke:` section with steps and score")
    check_data(data)
    if start is not None and not start.exists() and str(start) not in NAMED:
        raise LatentSyncError(f"{start}: no such component, checkpoint or model. Check --start.")
    folder = out or Path("outputs") / task
    if smoke:
        folder, made = folder / "smoke", _as_smoke(made)
    check_out(folder, _is_first())
    outcome = _run(task, made, data, folder, start, fingerprint(data), accept_changes, smoke, quiet, verbose)
    if not _is_first():  # it has nothing to say: the first process judges for all
        _leave()
    _show(module, made, outcome, smoke, as_json, quiet)
    if outcome.reason == "stopped":
        raise Stopped(f"stopped at step {outcome.step}; the same command goes on from {folder}")
    if smoke and made.smoke is not None:
        _demand(made.smoke.score, outcome)
    if "RANK" in os.environ:
        _leave()


def _leave() -> NoReturn:
    """End one of several processes at once: a thread that aborts while the interpreter shuts down would make the
    launcher call a finished training failed, and stop the other processes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _run(
    task: str, made: Recipe, data: list[Path], out: Path, start: Path | None, identity: dict[str, Any],
    accept_changes: bool, fresh: bool, quiet: bool, verbose: bool,
) -> Outcome:  # fmt: skip
    try:
        import accelerate  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", error.name or "a package") from error
    from latentsync.cli.console import logging_to, stderr_console, stop_on_signal
    from latentsync.cli.training_line import training_line
    from latentsync.training.engine.randomness import seed_all
    from latentsync.training.engine.registry import build_task
    from latentsync.training.engine.trainer import Trainer

    console, silent = stderr_console(), quiet or not _is_first()
    with ExitStack() as stack:
        stack.enter_context(logging_to(console, silent, verbose and _is_first()))
        stop = stack.enter_context(stop_on_signal())
        seed_all(made.loop.seed)  # the weights a network begins with
        built = build_task(task, made.task, data, start, made.loop.seed)
        watcher = stack.enter_context(training_line(console, silent, built.score[0]))
        trainer = Trainer(
            built,
            made.loop,
            out,
            settings={**made.task, "start": None if start is None else str(start)},
            data=getattr(built, "fingerprint", None) or identity,
            watchers=[watcher],
            stop=stop,
            accept_changes=accept_changes,
            fresh=fresh,
        )
        return trainer.run()


def _show(module: str, made: Recipe, outcome: Outcome, smoke: bool, as_json: bool, quiet: bool) -> None:
    given = {
        "task": module.rpartition(".")[2],
        "reason": outcome.reason,
        "step": outcome.step,
        "minutes": round(outcome.minutes, 3),
        "score": outcome.score,
        "best_score": outcome.best_score,
        "best_step": outcome.best_step,
        "component": str(outcome.component),
        "best": str(outcome.best),
    }
    if smoke and made.smoke is not None:
        given["wanted_score"] = made.smoke.score
    if as_json:
        sys.stdout.write(json.dumps(given) + "\n")
    elif not quiet:
        best = (
            "" if outcome.best_score is None else f", best score {outcome.best_score:.4g} at step {outcome.best_step}"
        )
        sys.stdout.write(f"{outcome.step} steps in {outcome.minutes:.1f} min{best}: {outcome.component}\n")


def _as_smoke(made: Recipe) -> Recipe:
    assert made.smoke is not None
    steps = made.smoke.steps
    warmup = min(made.loop.warmup_steps, steps // 10)
    loop = replace(made.loop, steps=steps, minutes=None, warmup_steps=warmup, validate_every=None)
    return replace(made, loop=loop)


def _demand(wanted: float, outcome: Outcome) -> None:
    """Raises: LatentSyncError: the score falls short of what the smoke run must reach."""
    if not outcome.reaches(wanted):
        side = "at least" if outcome.more_is_better else "at most"
        measured = "nothing" if outcome.score is None else f"{outcome.score:.4g}"
        raise LatentSyncError(
            f"smoke run: {outcome.score_name} is {measured} after {outcome.step} steps, {side} {wanted:g} is wanted. "
            f"Look at the data and at {outcome.component.parent / 'log.jsonl'} before a long run."
        )


def _is_first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
