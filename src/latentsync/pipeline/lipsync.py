"""`Lipsync`: a loaded model, and the whole method on one page."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from latentsync.config.options import SyncOptions
from latentsync.config.plan import Plan, load_plan, refuse_beside_plan
from latentsync.core.errors import ConfigError, MediaError, NoFaceError
from latentsync.core.files import refuse_input
from latentsync.core.progress import Progress, ProgressCallback, StopFlag, check, never, silent
from latentsync.core.values import Frame
from latentsync.faces import FollowerConfig, MeshTracker, PeopleFollower
from latentsync.faces.protocol import FaceTracker
from latentsync.generation import sampler_for
from latentsync.generation.networks import Networks
from latentsync.generation.precision import choose_device, choose_dtype, explain_out_of_memory
from latentsync.generation.settings import ModelSettings
from latentsync.media import Prefetch, VideoReader, VideoWriter
from latentsync.media.information import VideoInfo, probe
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.unet import UNet
from latentsync.models.weights import (
    Licence,
    completed,
    find,
    load,
    merge_adapter,
    read_adapter,
    save_model,
    with_resolution,
)
from latentsync.pipeline.arguments import changed, checked_picture, checked_rate, path_of, sound_given, stream_options
from latentsync.pipeline.cache import RunCache
from latentsync.pipeline.chunks import FrameFaces, num_sets
from latentsync.pipeline.face_pipeline import FacePipeline, chunks_ahead, one_face_each
from latentsync.pipeline.frame_tasks import FrameTasks
from latentsync.pipeline.output import going_along
from latentsync.pipeline.pasting import Paster
from latentsync.pipeline.plan import Speaker, SpeechSegment, one_speech, planned
from latentsync.pipeline.preflight import large_face_words
from latentsync.pipeline.result import Result, peak_memory_gib
from latentsync.pipeline.speech import cut_speech
from latentsync.pipeline.threads import one_opencv_thread
from latentsync.pipeline.timing import StageClock
from latentsync.pipeline.two_stage import executor_for

log = logging.getLogger(__name__)

KEPT_TAGS = ("title", "artist", "album", "date", "genre", "copyright", "description", "synopsis", "show")
"""Of a film's own tags, as FFmpeg names them; others tell of its file or its tools."""
PARTS = ("unet", "autoencoder", "audio_encoder")
DECODED_AHEAD = 24
"""Frames that the decoding and tracking thread may be ahead of the model: a chunk and a half."""


@dataclass
class _Counts:
    frames: int = 0
    edited: int = 0
    is_edited: bool = False  # the last frame
    asked: int = 0
    faceless: int = 0
    most_faces: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    scales: float = 0.0  # of the faces with a new mouth, frame pixels a crop pixel, summed
    faces: int = 0

    @property
    def scale(self) -> float:
        """Mean of those; 0 where there is none."""
        return self.scales / max(self.faces, 1)

    def add(self, frame_faces: FrameFaces, options: SyncOptions) -> None:
        """Raises: NoFaceError: a frame without a face where that is not to be."""
        self.frames += 1
        self.is_edited = frame_faces.is_edited
        self.edited += self.is_edited
        for face in frame_faces.faces if self.is_edited else ():
            if face is not None:
                self.scales += 1 / math.sqrt(abs(float(np.linalg.det(face.frame_to_crop[:, :2]))))
                self.faces += 1
        self.asked += frame_faces.is_asked
        self.faceless += frame_faces.is_missing
        if frame_faces.is_missing and options.no_face == "fail":
            raise NoFaceError(
                f"frame {frame_faces.frame.index} ({float(frame_faces.frame.time_s):.2f} s) has no face to edit. "
                "Pass --no-face pass to leave such frames as they are"
            )


class Lipsync:
    """A model that is ready to run. One object serves any number of runs, one at a time.

    >>> lipsync = Lipsync.from_pretrained("tiny")
    >>> result = lipsync("talk.mp4", "speech.wav", "out.mp4")
    """

    def __init__(
        self,
        networks: Networks,
        settings: ModelSettings,
        tracker: FaceTracker,
        name: str,
        licences: tuple[Licence, ...] = (),
        index_settings: dict[str, Any] | None = None,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        self.networks, self.settings, self.tracker, self.name = networks, settings, tracker, name
        self._licences, self._index_settings, self._provenance = licences, index_settings or {}, provenance or {}

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "tiny",
        *,
        device: str | None = None,
        dtype: str | None = None,
        offline: bool = False,
        face_model: str | Path | None = None,
        resolution: int | None = None,
        adapter: str | Path | None = None,
        tracker: FaceTracker | None = None,
        progress: ProgressCallback = silent,
    ) -> Lipsync:
        """Load a model.

        Args:
            model: "tiny" (embedded), "1.5", "1.6" (from the Hub), a folder, or a U-Net file.
            device: "cpu", "cuda", "cuda:N" or "mps"; None = the best there is.
            dtype: "float32", "bfloat16" or "float16"; None = the fastest safe one of the device.
            offline: never download.
            face_model: folder with the two face `.tflite` files; None = where they are found.
            resolution: of a U-Net file that does not say: 256 (1.5) or 512 (1.6).
            adapter: a speaker's `adapter.safetensors`, merged into the U-Net.
            tracker: another face tracker than the built-in one.
        Raises: WeightsError: missing, damaged, or parts that do not belong together, an adapter of
            another model. ConfigError: device, dtype or resolution. LatentSyncError: too little memory.
        """
        chosen = choose_device(device)
        number = choose_dtype(dtype, chosen)
        located = find(model, offline=offline, complete=False, progress=progress)
        index_settings = with_resolution(located.settings, resolution, located.name)
        settings = ModelSettings.from_index(index_settings, located.name)
        located = completed(located, offline)
        unet, autoencoder, audio_encoder = (load(located, part) for part in PARTS)
        if adapter is not None:
            merge_adapter(cast(UNet, unet), read_adapter(path_of("adapter", adapter)), located.name)
        with explain_out_of_memory(chosen, located.name):
            unet, autoencoder, audio_encoder = (network.to(chosen) for network in (unet, autoencoder, audio_encoder))
            for network in (unet, autoencoder):
                network.to(number)
        for network in (unet, autoencoder):
            if chosen.type == "cpu":
                cast(Any, network).to(memory_format=torch.channels_last)  # as activations lie in memory
        networks = Networks(
            cast(UNet, unet), cast(Any, autoencoder), audio_encoder, chosen, number
        )  # the audio encoder stays in float32: it is cheap
        folder = None if face_model is None else path_of("face_model", face_model)
        tracker = tracker or MeshTracker(model_folder=folder, offline=offline)
        log.info("model %s on %s in %s", located.name, chosen, str(number).removeprefix("torch."))
        return cls(
            networks, settings, tracker, located.name, tuple(located.licences), index_settings, dict(located.provenance)
        )

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None, overwrite: bool = False) -> None:
        """Write the model as a folder that `from_pretrained` takes: `model_index.json` and one sub-folder per part."""
        net = self.networks
        parts = {"unet": net.unet, "autoencoder": cast(nn.Module, net.autoencoder), "audio_encoder": net.audio_encoder}
        save_model(
            Path(folder), parts, name=self.name, settings=self._index_settings, licences=self._licences,
            provenance=self._provenance, dtype=dtype, overwrite=overwrite,
        )  # fmt: skip

    def __call__(
        self,
        video: str | Path,
        audio: str | Path | None = None,
        out: str | Path | None = None,
        *,
        plan: Plan | str | Path | None = None,
        options: SyncOptions | None = None,
        cache: str | Path | None = None,
        overwrite: bool = True,
        progress: ProgressCallback = silent,
        stop: StopFlag = never,
        **changes: Any,
    ) -> Result:
        """Make the person in `video` say what `audio` says, or several people what `plan` says, and write it to `out`.

        A file that is there already is replaced once the new one is whole, but never an input.

        Args:
            plan: instead of `audio`: speeches, each with a face and a range of time (`config.plan`), or a file of them.
                Frames outside all ranges stay as they are, and so does the sound.
            options: see `SyncOptions`; `changes` are single fields of it.
            overwrite: False = a file that has the name of `out`, or gets it during the run, is left as it is.
            cache: a folder for face tracks and unfinished work, see `pipeline.cache`; None = nothing is kept.
            progress: called after every chunk. stop: asked often, between the steps of a chunk too; when it says yes,
                nothing is written.
        Raises: LatentSyncError: something the user can fix; `out` is then as it was.
        """
        if out is None or (audio is None) == (plan is None):
            raise ConfigError("plan", plan, "pass out, and either audio or plan")
        video = path_of("video", video, "; `Lipsync.stream` takes pictures in memory")
        audio = None if audio is None else path_of("audio", audio, "; `Lipsync.stream` takes sound in memory")
        plan = plan if isinstance(plan, Plan | None) else path_of("plan", plan, ", or a Plan of PlanEntry")
        out, cache = path_of("out", out), None if cache is None else path_of("cache", cache)
        options = changed(options, changes)
        if plan is not None:
            refuse_beside_plan(options)
        mix = None if options.mix is None else Path(options.mix)
        refuse_input(out, [video, *(each for each in (audio, plan, mix) if isinstance(each, Path))])
        started = time.monotonic()
        source = probe(video)
        if source.video is None:
            raise MediaError(f"{video}: there is no picture in it. Pass a video")
        with VideoReader(video, options.start_s, options.end_s) as reader:
            if plan is not None:
                plan = plan if isinstance(plan, Plan) else load_plan(plan, reader.info.fps, source.timecode)
                refuse_input(out, [entry.audio for entry in plan.entries])
                script = planned(plan, reader, options)
                options = replace(options, length="video")
            else:
                options = replace(options, length=options.length or "audio")
                script = one_speech(cast(Path, audio), reader, options)
            warnings = list(script.warnings)
            total = max(1, round(script.duration_s * reader.info.fps))
            clock, counts = StageClock(), _Counts()
            metadata = _tags(source.metadata) | (self._metadata() if options.provenance else {})
            beside = going_along(source, out, options, plan is not None, script.first_pass_s)
            beside["overwrite"] = overwrite
            kept = None if cache is None else RunCache(cache, video, options, script.duration_s)
            with (
                one_opencv_thread(),
                VideoWriter(
                    out, reader.info, options.codec, options.crf, options.pixel_format, metadata, script.track, **beside
                ) as writer,
            ):
                given = script.frames, script.speakers, reader.info.fps, options, clock, counts, kept, stop
                for frame in self._stream(*given, beside=self._works_beside(reader.info, len(script.speakers))):
                    with clock.stage("write"):
                        writer.write(frame, counts.is_edited)
                    if counts.frames % 8 == 0:
                        check(stop)
                        if reader.info.is_variable_rate and frame.time_s > 0:  # as if it went on as it came so far
                            total = round(script.duration_s * (counts.frames - 1) / frame.time_s)
                        progress(Progress("sync", counts.frames, max(total, counts.frames)))
                writer.end_s = script.frames.end_s
                if not counts.edited and 0 < counts.asked == counts.faceless:
                    raise NoFaceError(_no_face_text(video, script.speakers, plan, counts))
            warnings.extend(writer.losses)
            if not counts.asked:
                warnings.append("no frame lies in a range of the plan: the picture is unchanged")
            if reader.damage is not None:
                warnings.append(reader.damage)
            if reader.scaled_from_s is not None:
                warnings.append(f"from {float(reader.scaled_from_s):.2f} s on frames were scaled to the first size")
            fps = reader.info.fps
            duration_s = script.frames.end_s or counts.frames / fps
            if plan is None and options.length == "video" and reader.info.duration_s is None and options.end_s is None:
                warnings.extend(cut_speech(script.duration_s, duration_s))  # a length that no file tells is known now
            if reader.info.is_variable_rate:  # the part that was taken has an average of its own
                fps = counts.frames / duration_s
        if kept is not None:
            kept.finish()
        progress(Progress("sync", counts.frames, counts.frames))
        if counts.faceless:
            warnings.append(
                f"{counts.faceless} of {counts.frames} frames have no face to edit and were left as they are"
            )
        warnings.extend(large_face_words(counts.scale, self.settings.resolution))
        seconds = time.monotonic() - started
        return Result(
            out_path=out, num_frames=counts.frames, num_edited=counts.edited, num_without_face=counts.faceless,
            num_copied=writer.num_copied,
            fps=fps, duration_s=float(duration_s), seconds_total=seconds, seconds_by_stage=clock.seconds(),
            frames_per_s=counts.frames / seconds, peak_memory_gib=peak_memory_gib(), model=self.name,
            seed=options.seed, faces=dict(counts.outcomes), warnings=tuple(warnings),
            loudness=None if script.levels is None else script.levels.as_dict(),
        )  # fmt: skip

    def stream(
        self,
        frames: Iterable[Frame] | Iterable[np.ndarray],
        audio: str | Path | np.ndarray,
        *,
        fps: Fraction | float = Fraction(25),
        options: SyncOptions | None = None,
        **changes: Any,
    ) -> Iterator[Any]:
        """Lip-sync frames as they come, for embedding: nothing is read or written but `audio`.

        Args:
            frames: `Frame`s with their own rising indices and times, or (H, W, 3) uint8 RGB arrays, `fps` of them a
                second.
            audio: a file with speech, or (S,) float mono at 16 kHz in [−1, 1].
            options: without `length`, `start_s` and `end_s`, which choose among the frames of a file; those about the
                written file mean nothing here.
        Raises: ConfigError: the sound, a picture or `fps` is no such one; a part or a length is asked for.
        Yields: as many as come in, in order and of the same kind; at most `lookahead` later.
        """
        options = stream_options(options, changes)
        sound = sound_given(audio, options.audio_track)
        rate = checked_rate(fps)
        plain = [False]

        def framed() -> Iterator[Frame]:
            for index, value in enumerate(frames):
                plain[0] = not isinstance(value, Frame)
                yield value if isinstance(value, Frame) else Frame(index, index / rate, checked_picture(value, index))

        speaker = Speaker(options.face, (SpeechSegment(sound),))
        for frame in self._stream(framed(), (speaker,), rate, options, StageClock(), _Counts()):
            yield frame.picture.rgb() if plain[0] else frame

    def _stream(
        self,
        frames: Iterable[Frame],
        speakers: Sequence[Speaker],
        fps: Fraction,
        options: SyncOptions,
        clock: StageClock,
        counts: _Counts,
        kept: RunCache | None = None,
        stop: StopFlag = never,
        beside: bool = False,
    ) -> Iterator[Frame]:
        """The method: faces followed, speech heard, chunks denoised, mouths pasted, one person after the other.

        Args: beside: networks may work in threads of their own, which makes frames come later.
        """
        settings, sets = self.settings, num_sets(fps, self.settings.fps)
        overlap = settings.overlap_frames if options.overlap_frames is None else options.overlap_frames
        if overlap >= settings.num_frames:
            raise ConfigError("overlap_frames", overlap, f"choose less than the chunk's {settings.num_frames}")
        sampler = sampler_for(self.networks, settings, options, stop)
        paster = Paster(sampler.mask, settings, options)
        tracker = self.tracker if kept is None else kept.tracker(self.tracker)
        if kept is not None:
            sampler = kept.sampler(sampler)
        follower = PeopleFollower(self.tracker, [speaker.wanted for speaker in speakers], settings.resolution)
        audio_encoder = cast(AudioEncoder, self.networks.audio_encoder)
        with (
            explain_out_of_memory(self.networks.device, self.name),
            Prefetch(follower.follow(frames, tracker), DECODED_AHEAD * sets) as followed,
            executor_for(sampler, self.networks if beside else None) as executor,
        ):
            face_pipeline = FacePipeline(sampler, paster, settings, sets, overlap, clock, len(speakers), executor)
            coming: Iterator[FrameFaces] = (FrameFaces(frame, faces) for frame, faces in clock.around("wait", followed))
            coming = one_face_each(coming, speakers)
            for person, speaker in enumerate(speakers):
                coming = face_pipeline.run(coming, person, FrameTasks(audio_encoder, speaker, options, settings))
            for frame_faces in coming:
                counts.add(frame_faces, options)
                yield frame_faces.frame
        counts.outcomes, counts.most_faces = dict(follower.counts), follower.most_faces

    def _works_beside(self, info: VideoInfo, people: int) -> bool:
        """Whether frames of more than one chunk may wait for their mouths."""
        size = self.settings.num_frames * num_sets(info.fps, self.settings.fps)
        return chunks_ahead(info.width * info.height, size, people) > 0

    def _metadata(self) -> dict[str, str]:
        from latentsync import __version__

        text = f"Lip movements in this video are synthetic: made by LatentSync {__version__}, model {self.name}"
        return {"comment": text, "synthetic_media": "lips", "generator": f"LatentSync {__version__}/{self.name}"}


def _tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """What of a film's own tags is true of the result too."""
    return {key: text for key, text in metadata.items() if key.lower() in KEPT_TAGS}


def _no_face_text(video: Path, speakers: Sequence[Speaker], plan: Plan | None, counts: _Counts) -> str:
    which = f"its {counts.frames} frames"
    if plan is not None:
        which = f"the {counts.asked} frames of {'the plan' if plan.name == 'plan' else plan.name}"
    faces = " or ".join(dict.fromkeys(speaker.face for speaker in speakers))
    most = counts.most_faces
    if most and all(speaker.face.isdecimal() and int(speaker.face) >= most for speaker in speakers):
        used = f"the {counts.frames} frames that were used" if plan is None else which
        seen = "1 is" if most == 1 else f"{most} are"
        numbers = "0" if most == 1 else f"0 {'or' if most == 2 else 'to'} {most - 1}, counted from the left"
        return (
            f"{video}: there is no face {faces} in {used}: at most {seen} seen at once. "
            f"Choose {'--face' if plan is None else 'face'} {numbers}; nothing was written"
        )
    # with a plan, outcomes are summed over its people
    small, others = (min(counts.outcomes.get(name, 0), counts.asked) for name in ("too_small", "not_chosen"))
    least = f"{FollowerConfig().min_face_px:g} px"
    seen = ""
    if small:
        seen = f" (on {small} there is one, narrower than {least}: too small; enlarge the video before)"
    elif others:
        seen = f" (on {others} there are faces, but not the one meant by {faces})"
    return f"{video}: no face to edit in any of {which}{seen}; nothing was written. See `latentsync inspect`"
