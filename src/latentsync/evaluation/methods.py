"""What is under test: models that are driven here, and other methods' videos that lie in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentsync.core.errors import ConfigError, MediaError
from latentsync.evaluation.clips import SUFFIXES, TestClip
from latentsync.evaluation.protocols import Protocol

Driver = Callable[[Path, Path, Path], None]
"""(video, speech, out): lip-sync with the model under test; the result starts with the video's first frame."""


@dataclass(frozen=True)
class Method:
    """One column of the tables: `driver` makes the results, or they lie in `folder`.

    Attributes:
        name: in tables.
        driver: None = the results are in `folder`.
        folder: of somebody's results, see `result_of`.
        chunk_frames: frames the model denoises together; None = not known, no seam score.
        settings: all that the driver's results depend on, in words; a kept score counts for the same words only.
    """

    name: str
    driver: Driver | None = None
    folder: Path | None = None
    chunk_frames: int | None = None
    settings: str = ""

    def __post_init__(self) -> None:
        if (self.driver is None) == (self.folder is None):
            raise ValueError("a method has either a driver or a folder")

    def find(self, clip: TestClip, protocol: Protocol, clips: Sequence[TestClip]) -> Path | None:
        """This method's video of a case, None where it made none."""
        return None if self.folder is None else result_of(self.folder, clip, protocol, clips)


def result_of(folder: Path, clip: TestClip, protocol: Protocol, clips: Sequence[TestClip] = ()) -> Path | None:
    """The video of a case in a folder of results: PROTOCOL/NAME or NAME-PROTOCOL, and for `paired` plain NAME.

    NAME is the clip's id, as `--inputs` and `--keep-videos` write it, or its file's name where no other clip has the
    same, in the folder itself or in one named as the person.
    """
    names = [clip.clip_id]
    if sum(other.path.stem == clip.path.stem for other in clips) <= 1:
        names.append(clip.path.stem)
    bases = [folder / protocol / name for name in names]
    bases += [folder / protocol / clip.person / clip.path.stem] if clip.person else []
    bases += [folder / f"{name}-{protocol}" for name in names]
    if protocol == "paired":
        bases += [folder / name for name in names]
        bases += [folder / clip.person / clip.path.stem] if clip.person else []
    for base in bases:
        for suffix in SUFFIXES:
            path = base.with_name(base.name + suffix)
            if path.is_file():
                return path
    return None


def parse_results(entries: Sequence[str], clips: Sequence[TestClip], protocols: Sequence[Protocol]) -> list[Method]:
    """Methods from NAME=FOLDER.

    Raises: ConfigError: not of that form. MediaError: no such folder, or no video in it is one of the clips'.
    """
    made = []
    for entry in entries:
        name, sign, place = entry.partition("=")
        folder = Path(place).expanduser()
        if not (sign and name.strip() and place):
            raise ConfigError("results", entry, "write NAME=FOLDER, as wav2lip=results/wav2lip")
        if not folder.is_dir():
            raise MediaError(f"{place}: no such folder. Give the folder of {name}'s videos")
        if not any(result_of(folder, clip, protocol, clips) for clip in clips for protocol in protocols):
            example = clips[0]
            raise MediaError(
                f"{place}: no video of these clips in it, for {', '.join(protocols)}. Looked for "
                f"{protocols[0]}/{example.path.stem}.mp4, {example.clip_id}-{protocols[0]}.mp4 and the like; plain "
                f"{example.path.stem}.mp4 counts with --protocol paired"
            )
        made.append(Method(name.strip(), folder=folder))
    return made


def refuse_names(methods: Sequence[Method], taken: Sequence[str]) -> None:
    """Raises: ConfigError: two methods of one name, or one named as a baseline."""
    names = [method.name for method in methods]
    for name in names:
        if names.count(name) > 1 or name in taken:
            raise ConfigError("results", name, "this name is another column's. Choose a name of its own")
