"""What a stage is: a plain class with a name, a version and its own settings, which knows no engine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from latentsync.data.clip import Clip, Rejected
from latentsync.data.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Resources:
    """What one worker of a stage holds: CPU cores, and a share of a GPU (0 = none)."""

    cpus: float = 1.0
    gpus: float = 0.0


class Stage(Protocol):
    """One step of the pipeline. An instance is opened once in a worker and used for many clips.

    Attributes:
        name, version: raise the version when the same input would come out otherwise.
        needs: what a worker of it holds.
        settings: everything else that its outcome depends on, ready for JSON.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def needs(self) -> Resources: ...
    @property
    def settings(self) -> dict[str, Any]: ...

    def beside(self, clip: Clip) -> str:
        """What else the outcome for this clip depends on, besides settings and what is reported of it; "" = nothing."""
        ...

    def open(self, workspace: Workspace) -> None:
        """Load what is needed. Called before the first clip, in the process that will work."""
        ...

    def process(self, clip: Clip) -> list[Clip] | Rejected:
        """The clips that go on (some may carry a reason why they do not), or why none does.

        Raises: LatentSyncError: the clip cannot be worked on; it is rejected with that message.
        """
        ...

    def close(self) -> None:
        """Let go of what was loaded."""
        ...


class PlainStage:
    """The parts that most stages share: no resources, settings from a dataclass."""

    name = ""
    version = 1
    needs = Resources()

    def __init__(self, settings: Any = None) -> None:
        self.config = settings
        self.workspace = Workspace(Path())

    @property
    def settings(self) -> dict[str, Any]:
        return {} if self.config is None else asdict(self.config)

    def beside(self, clip: Clip) -> str:
        return ""

    def open(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def close(self) -> None:
        return None

    def no(self, reason: str, value: float | None = None, limit: float | None = None, detail: str = "") -> Rejected:
        return Rejected(self.name, reason, value, limit, detail)
