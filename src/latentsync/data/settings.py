"""Every knob of the data pipeline, by stage. A stage sees its own part; changing it redoes what depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from typing import Any, Literal

from latentsync.config import renamed
from latentsync.config.checked import checked, meant
from latentsync.config.loader import parse_value
from latentsync.config.options import checked_track
from latentsync.core.errors import ConfigError

ShotFinder = Literal["auto", "scenedetect", "builtin"]
Layout = Literal["folder", "shards", "training"]
OutOfSync = Literal["reject", "keep"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeSettings:
    """Attributes:
    max_damaged_share: largest part of the picture (by time) or of the sound (by packets) that is damaged or missing;
        smaller damage is cut out.
    min_speech_db: level in dB of full scale that the sound must reach in its loudest tenth; below it is silence.
    audio_track: which sound track of sources with several: a number from 0, or a language as "deu"; None = the one
        marked default.
    """

    max_damaged_share: float = 0.1
    min_speech_db: float = -55.0
    audio_track: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "audio_track", checked_track(self.audio_track))


@dataclass(frozen=True, kw_only=True, slots=True)
class NormaliseSettings:
    """Attributes:
    min_fps: slowest source; below it lips skip sounds. 20 is four fifths of the grid.
    """

    min_fps: float = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ShotSettings:
    """Attributes:
    finder: PySceneDetect's adaptive detector, our own of the face follower, or "auto" = the first one installed.
    threshold: of PySceneDetect's adaptive detector; 3 is its own default.
    """

    finder: ShotFinder = "auto"
    threshold: float = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentSettings:
    """Attributes:
    min_s, max_s: length of a clip; max_s is at least twice min_s, so that every shot that is long enough can be
        divided without a remainder.
    """

    min_s: float = 2.0
    max_s: float = 10.0

    def __post_init__(self) -> None:
        if self.min_s < 0.4:
            raise ConfigError("segments.min_s", self.min_s, "choose 0.4 (10 frames) or more")
        if self.max_s < 2 * self.min_s:
            raise ConfigError("segments.max_s", self.max_s, f"choose {2 * self.min_s:g} (2 × min_s) or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class FaceSettings:
    """Attributes:
    choice: which face, see `latentsync sync --face`.
    resolution: side of the aligned crop, pixels.
    crf: of the crops' H.264 in 4:4:4. 8: 42.6 dB and 150 KiB a second on a grainy studio face; 1: 45.6 dB, 430 KiB.
    """

    choice: str = "largest"
    resolution: int = 256
    crf: float = 8.0

    def __post_init__(self) -> None:
        if not 64 <= self.resolution <= 1024 or self.resolution % 2:
            raise ConfigError("faces.resolution", self.resolution, "choose an even number from 64 to 1024")


@dataclass(frozen=True, kw_only=True, slots=True)
class FaceLimits:
    """Attributes:
    min_face_px: least median width of the face in the source.
    max_yaw_deg: largest turn to a side (95th percentile).
    min_score: least belief of the mesh network that it sees a whole face (5th percentile); hands lower it.
    max_jump_px: largest move of the face's points between two frames beyond their steady motion, in crop pixels.
    max_others_share: largest share of frames that show a second face.
    max_outside_share: largest part of the crop beyond the picture's edge.
    """

    min_face_px: float = 64.0
    max_yaw_deg: float = 35.0
    min_score: float = 0.6
    max_jump_px: float = 20.0
    max_others_share: float = 0.1
    max_outside_share: float = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncSettings:
    """Attributes:
    judge: "lips" = lip opening against the level of the sound; "lip_opening" = against the opening that the shipped
        audio encoder hears; or the path of our SyncNet (folder or checkpoint).
    judge_v2: path of the public `syncnet_v2.model`; used instead of `judge` where given.
    max_offset_frames: how far to search on either side.
    """

    judge: str = "lip_opening"
    judge_v2: str | None = None
    max_offset_frames: int = 15

    def __post_init__(self) -> None:
        object.__setattr__(self, "judge", renamed.JUDGES.get(self.judge, self.judge))
        if not 1 <= self.max_offset_frames <= 25:
            raise ConfigError("sync.max_offset_frames", self.max_offset_frames, "choose 1 to 25")


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncLimits:
    """Attributes:
    min_confidence: below it the clip is rejected; its scale depends on the judge (docs/data.md). None = the judge's.
    correct_above: the offset is corrected where the confidence reaches this, else the sound stays. None = the judge's.
    margin: and where it is this much above the confidence without moving the sound. None = the judge's.
    out_of_sync: "reject", or "keep" for its looks: then the clip is written as it is, with `in_sync` false.
    """

    min_confidence: float | None = None
    correct_above: float | None = None
    margin: float | None = None
    out_of_sync: OutOfSync = "reject"


@dataclass(frozen=True, kw_only=True, slots=True)
class QualitySettings:
    """Attributes:
    scorer: "builtin"; "pyiqa:hyperiqa" (or another metric of that package); or "python:MODULE:FUNCTION", a function
        (H, W, 3) uint8 RGB → number, higher is better.
    num_frames: crops judged, spread evenly.
    """

    scorer: str = "builtin"
    num_frames: int = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityLimits:
    """Attributes:
    min_quality: least mean score.
    min_sharpness: least sharpness of the crops (built-in scorer).
    """

    min_quality: float = 10.0
    min_sharpness: float = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteSettings:
    """Attributes:
    training: also write the arrays that training reads.
    mel: also write the log-mel spectrogram that the audio encoder hears.
    """

    training: bool = False
    mel: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitSettings:
    """Attributes:
    val, test: shares of the identities.
    seed: another seed deals them anew.
    """

    val: float = 0.05
    test: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.val >= 0 and self.test >= 0 and self.val + self.test < 1):  # NaN is none of these
            raise ConfigError("split.val", self.val, "choose shares from 0 whose sum with split.test is below 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSettings:
    """All of it."""

    probe: ProbeSettings = field(default_factory=ProbeSettings)
    normalise: NormaliseSettings = field(default_factory=NormaliseSettings)
    shots: ShotSettings = field(default_factory=ShotSettings)
    segments: SegmentSettings = field(default_factory=SegmentSettings)
    faces: FaceSettings = field(default_factory=FaceSettings)
    face_limits: FaceLimits = field(default_factory=FaceLimits)
    sync: SyncSettings = field(default_factory=SyncSettings)
    sync_limits: SyncLimits = field(default_factory=SyncLimits)
    quality: QualitySettings = field(default_factory=QualitySettings)
    quality_limits: QualityLimits = field(default_factory=QualityLimits)
    write: WriteSettings = field(default_factory=WriteSettings)
    split: SplitSettings = field(default_factory=SplitSettings)

    def resolved(self) -> DataSettings:
        """ "auto" replaced by what is installed, so that stored settings say what was done."""
        if self.shots.finder != "auto":
            return self
        finder: ShotFinder = "scenedetect" if find_spec("scenedetect") else "builtin"
        return replace(self, shots=replace(self.shots, finder=finder))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def data_settings(*layers: Mapping[str, Any]) -> DataSettings:
    """Defaults, then each layer in turn: {"segments": {"min_s": 2}} or {"segments.min_s": 2}.

    Raises: ConfigError: an unknown part or key, a value of the wrong kind or out of range.
    """
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for key, value in layer.items():
            part, _, name = str(key).partition(".")
            if name:
                merged.setdefault(part, {})[name] = _read(value) if isinstance(value, str) else value
            elif isinstance(value, Mapping):
                merged.setdefault(part, {}).update(value)
            else:
                raise ConfigError(str(key), value, "write PART.KEY, as segments.min_s")
    parts = [field.name for field in fields(DataSettings)]
    for part, values in merged.items():
        if part not in parts:
            name, value = next(iter(values.items()), ("", ""))
            raise ConfigError(f"{part}.{name}", value, f"unknown setting; {meant(part, parts)}")
    return checked(DataSettings, merged)


def parse_change(text: str) -> tuple[str, Any]:
    """`segments.min_s=2` as key and value. Raises: ConfigError: it is not PART.KEY=VALUE."""
    key, sign, value = text.partition("=")
    if not sign or "." not in key:
        raise ConfigError("set", text, "write PART.KEY=VALUE, as segments.min_s=2")
    return key.strip(), _read(value.strip())


def _read(text: str) -> Any:
    """A value written as text; "none" is none, and nan and inf are the numbers that `checked` refuses."""
    if text == "none":
        return None
    return float(text) if text.lower().lstrip("+-") in ("nan", "inf") else parse_value(text)
