"""How good the crops look."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import numpy as np

from latentsync.core.errors import ConfigError
from latentsync.data.clip import Clip, Rejected
from latentsync.data.settings import QualitySettings
from latentsync.data.stages.base import PlainStage, Resources
from latentsync.data.workspace import Workspace
from latentsync.media.reader import VideoReader
from latentsync.metrics.quality import quality

Scorer = Callable[[np.ndarray], float]


class QualityScores(PlainStage):
    """Adds the scores quality (mean) and, from the built-in scorer, sharpness, noise and blockiness (medians)."""

    name = "quality"
    version = 1

    def __init__(self, settings: QualitySettings) -> None:
        super().__init__(settings)
        self._score: Scorer | None = None
        self.needs = Resources() if settings.scorer == "builtin" else Resources(gpus=0.1)

    def open(self, workspace: Workspace) -> None:
        super().open(workspace)
        self._score = make_scorer(self.config.scorer)

    def close(self) -> None:
        self._score = None

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        with VideoReader(self.workspace.path(clip.files["crops"])) as reader:
            wanted = set(np.linspace(0, clip.num_frames - 1, self.config.num_frames).round().astype(int).tolist())
            crops = [frame.picture.rgb() for frame in reader if frame.index in wanted]
        parts = [quality(crop) for crop in crops]
        built_in = {
            "sharpness": float(np.median([part.sharpness for part in parts])),
            "noise": float(np.median([part.noise for part in parts])),
            "blockiness": float(np.median([part.blockiness for part in parts])),
        }
        if self.config.scorer == "builtin":
            overall = float(np.mean([part.score for part in parts]))
        elif self._score is not None:
            overall = float(np.mean([self._score(crop) for crop in crops]))
        else:
            raise RuntimeError("QualityScores is not open")
        return [clip.scored(quality=overall, **built_in).known(quality_scorer=self.config.scorer)]


def make_scorer(name: str) -> Scorer | None:
    """The scorer that the settings name; None for the built-in one.

    Raises: ConfigError: unknown, or its package is not installed.
    """
    if name == "builtin":
        return None
    kind, _, rest = name.partition(":")
    if kind == "pyiqa" and rest:
        return _pyiqa(rest)
    module, _, function = rest.partition(":")
    if kind == "python" and module and function:
        try:
            found: Any = getattr(import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ConfigError("quality.scorer", name, f"cannot be imported ({error})") from error
        return found
    raise ConfigError("quality.scorer", name, "choose builtin, pyiqa:METRIC or python:MODULE:FUNCTION")


def _pyiqa(metric: str) -> Scorer:
    """A metric of the package pyiqa (HyperIQA, MUSIQ, …), which downloads its own weights.

    Raises: ConfigError: not installed, no such metric, or its weights cannot be had.
    """
    try:
        import pyiqa
        import torch
    except ImportError as error:
        raise ConfigError("quality.scorer", f"pyiqa:{metric}", "run: pip install pyiqa") from error
    if metric not in pyiqa.list_models():
        close = get_close_matches(metric, pyiqa.list_models(), n=1) or ["hyperiqa"]
        raise ConfigError("quality.scorer", f"pyiqa:{metric}", f"no such metric; did you mean {close[0]}?")
    try:
        network = pyiqa.create_metric(metric, device="cuda" if torch.cuda.is_available() else "cpu")
    except OSError as error:
        fix = f"its weights cannot be had ({_first_line(error)}); run once where the network is reachable"
        raise ConfigError("quality.scorer", f"pyiqa:{metric}", fix) from error

    def score(crop: np.ndarray) -> float:
        picture = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            return float(network(picture))

    return score


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
