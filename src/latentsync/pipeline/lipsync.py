"""`Lipsync`: a loaded model, and the whole method on one page."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from latentsync.audio.activity import SpeechActivity, speech_activity
from latentsync.audio.windows import position_code
from latentsync.config.options import SyncOptions
from latentsync.core.errors import ConfigError, LatentSyncError, MediaError, NoFaceError
from latentsync.core.progress import Progress, ProgressCallback, StopFlag, check, never, silent
from latentsync.core.values import AlignedFace, Float, Frame
from latentsync.faces import FaceFollower, FaceTracker, MeshTracker, extract_crop
from latentsync.media import AudioPlan, AudioReader, Prefetch, RgbPicture, VideoReader, VideoWriter, fit_length
from latentsync.media.information import probe
from latentsync.metrics.lips import lip_opening
from latentsync.models.hearing import Sound, StreamingListener, measure, sound_of
from latentsync.models.listener import Listener
from latentsync.models.unet import UNet
from latentsync.models.weights import Licence, find, load, merge_adapter, read_adapter, save_model
from latentsync.pipeline.cache import Generate, RunCache
from latentsync.pipeline.chunks import Chunk, Item, make_chunks, num_sets
from latentsync.pipeline.generate import Generator, Networks
from latentsync.pipeline.pasting import Paster
from latentsync.pipeline.precision import choose_device, choose_dtype
from latentsync.pipeline.result import Result, peak_memory_gib
from latentsync.pipeline.settings import ModelSettings
from latentsync.pipeline.threads import one_opencv_thread
from latentsync.pipeline.timing import StageClock

log = logging.getLogger(__name__)

PARTS = ("unet", "autoencoder", "listener")
DECODED_AHEAD = 24
"""Frames that the decoding and tracking thread may be ahead of the model: a chunk and a half."""


@dataclass
class _Counts:
    frames: int = 0
    edited: int = 0
    faceless: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)


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
        face_model: Path | None = None,
        resolution: int | None = None,
        adapter: Path | None = None,
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
            another model. ConfigError: device or dtype.
        """
        chosen = choose_device(device)
        number = choose_dtype(dtype, chosen)
        located = find(model, offline=offline, progress=progress)
        index_settings = dict(located.settings) | ({} if resolution is None else {"resolution": resolution})
        settings = ModelSettings.from_index(index_settings, located.name)
        unet, autoencoder, listener = (load(located, part) for part in PARTS)
        if adapter is not None:
            merge_adapter(cast(UNet, unet), read_adapter(adapter), located.name)
        unet, autoencoder, listener = (network.to(chosen) for network in (unet, autoencoder, listener))
        networks = Networks(
            cast(UNet, unet.to(number)), cast(Any, autoencoder.to(number)), listener, chosen, number
        )  # the listener stays in float32: it is cheap
        tracker = tracker or MeshTracker(model_folder=face_model, offline=offline)
        log.info("model %s on %s in %s", located.name, chosen, str(number).removeprefix("torch."))
        return cls(
            networks, settings, tracker, located.name, tuple(located.licences), index_settings, dict(located.provenance)
        )

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None, overwrite: bool = False) -> None:
        """Write the model as a folder that `from_pretrained` takes: `model_index.json` and one sub-folder per part."""
        net = self.networks
        parts = {"unet": net.unet, "autoencoder": cast(nn.Module, net.autoencoder), "listener": net.listener}
        save_model(
            Path(folder), parts, name=self.name, settings=self._index_settings, licences=self._licences,
            provenance=self._provenance, dtype=dtype, overwrite=overwrite,
        )  # fmt: skip

    def __call__(
        self,
        video: str | Path,
        audio: str | Path,
        out: str | Path,
        *,
        options: SyncOptions | None = None,
        cache: str | Path | None = None,
        progress: ProgressCallback = silent,
        stop: StopFlag = never,
        **changes: Any,
    ) -> Result:
        """Make the person in `video` say what `audio` says, and write it to `out`.

        Args:
            options: see `SyncOptions`; `changes` are single fields of it.
            cache: a folder for face tracks and unfinished work, see `pipeline.cache`; None = nothing is kept.
            progress: called after every chunk. stop: asked often; when it says yes, nothing is written.
        Raises: LatentSyncError: something the user can fix; `out` is then as it was.
        """
        video, audio, out = Path(video), Path(audio), Path(out)
        options = _changed(options, changes)
        started = time.monotonic()
        warnings: list[str] = []
        source, sound = probe(video), probe(audio)
        if source.video is None:
            raise MediaError(f"{video}: there is no picture in it. Pass a video")
        if sound.audio is None:
            raise MediaError(f"{audio}: there is no sound in it. Pass a file with speech")
        heard_s = measure(AudioReader(audio).blocks).num_steps / 100
        with VideoReader(video, options.start_s, options.end_s) as reader:
            frames, total_s = _fitted(reader, Fraction(round(heard_s * 1000), 1000), options, warnings)
            speech = _padded(AudioReader(audio).blocks, float(total_s) - heard_s)
            active = None if options.silence == "model" else speech_activity(AudioReader(audio).blocks())
            plan = AudioPlan(audio, mode=options.keep_audio)
            total = max(1, round(total_s * reader.info.fps))
            clock, counts = StageClock(), _Counts()
            metadata = self._metadata() if options.provenance else {}
            kept = None if cache is None else RunCache(Path(cache), video, options, total_s)
            with (
                one_opencv_thread(),
                VideoWriter(
                    out, reader.info, options.codec, options.crf, options.pixel_format, metadata, plan
                ) as writer,
            ):
                made = self._stream(frames, speech, reader.info.fps, options, active, clock, counts, kept)
                for frame in made:
                    with clock.stage("write"):
                        writer.write(frame)
                    if counts.frames % 8 == 0:
                        check(stop)
                        progress(Progress("sync", counts.frames, max(total, counts.frames)))
                if not counts.edited and counts.faceless == counts.frames:
                    raise NoFaceError(_no_face_text(video, counts))
            if reader.damaged:
                warnings.append(f"{reader.damaged} damaged packets were skipped")
            fps = reader.info.fps
        if kept is not None:
            kept.finish()
        progress(Progress("sync", counts.frames, counts.frames))
        if counts.faceless:
            warnings.append(
                f"{counts.faceless} of {counts.frames} frames have no face to edit and were left as they are"
            )
        seconds = time.monotonic() - started
        return Result(
            out_path=out, num_frames=counts.frames, num_edited=counts.edited, num_without_face=counts.faceless,
            fps=fps, duration_s=counts.frames / float(fps), seconds_total=seconds, seconds_by_stage=clock.seconds(),
            frames_per_s=counts.frames / seconds, peak_memory_gib=peak_memory_gib(), model=self.name,
            seed=options.seed, faces=dict(counts.outcomes), warnings=tuple(warnings),
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
            frames: `Frame`s with their own rising times, or (H, W, 3) uint8 RGB arrays, `fps` of them a second.
            audio: a file with speech, or (S,) float32 mono at 16 kHz in [−1, 1].
        Yields: as many as come in, in order and of the same kind; at most `lookahead` later.
        """
        options = _changed(options, changes)
        sound: Sound = sound_of(audio) if isinstance(audio, np.ndarray) else AudioReader(Path(audio)).blocks
        active = None if options.silence == "model" else speech_activity(sound())
        rate = Fraction(fps).limit_denominator(1001)
        plain = [False]

        def framed() -> Iterator[Frame]:
            for index, value in enumerate(frames):
                plain[0] = not isinstance(value, Frame)
                yield value if isinstance(value, Frame) else Frame(index, index / rate, RgbPicture(value))

        for frame in self._stream(framed(), sound, rate, options, active, StageClock(), _Counts()):
            yield frame.picture.rgb() if plain[0] else frame

    def _stream(
        self,
        frames: Iterable[Frame],
        sound: Sound,
        fps: Fraction,
        options: SyncOptions,
        active: SpeechActivity | None,
        clock: StageClock,
        counts: _Counts,
        kept: RunCache | None = None,
    ) -> Iterator[Frame]:
        """The method: faces followed, speech heard, chunks denoised, mouths pasted."""
        generator = Generator(self.networks, self.settings, options)
        paster = Paster(generator.mask, self.settings, options)
        tracker = self.tracker if kept is None else kept.tracker(self.tracker)
        generate: Generate = generator if kept is None else kept.generator(generator)
        follower = FaceFollower(self.tracker, options.face, self.settings.resolution)
        sets = num_sets(fps, self.settings.fps)
        overlap = self.settings.overlap_frames if options.overlap_frames is None else options.overlap_frames
        if overlap >= self.settings.num_frames:
            raise ConfigError("overlap_frames", overlap, f"choose less than the chunk's {self.settings.num_frames}")
        sound = _padded(sound, self.settings.trailing_silence_s)
        heard = _Heard(cast(Listener, self.networks.listener), sound, active, options, self.settings.token_positions)
        with Prefetch(follower.follow(frames, tracker), DECODED_AHEAD * sets) as followed:
            items = (heard.item(frame, face) for frame, face in clock.around("wait", followed))
            held: dict[int, Float] = {}
            stills: dict[int | None, Float] = {}
            for chunk in make_chunks(items, self.settings.num_frames * sets, overlap * sets):
                if not chunk.is_edited:
                    yield self._passed(chunk.items[0], options, counts)
                    continue
                with clock.stage("generate"):
                    originals, crops = self._speak(chunk, generate, sets, stills)
                held = _cross_faded(chunk, crops, held)
                for k in range(chunk.num_old, len(chunk.items) - chunk.num_held):
                    with clock.stage("paste"):
                        frame = paster(chunk.items[k], crops[k], originals[k])
                    counts.frames += 1
                    counts.edited += 1
                    yield frame
        counts.outcomes = dict(follower.counts)

    def _speak(
        self, chunk: Chunk, generate: Generate, sets: int, stills: dict[int | None, Float]
    ) -> tuple[Float, Float]:
        """The chunk's crops, (F, R, R, 3), as they are and with the new mouth; each interleaved set on its own."""
        side = self.settings.resolution
        faces = cast("list[AlignedFace]", [item.face for item in chunk.items])
        cut = [extract_crop(item.frame.picture, face.frame_to_crop, side)
               for item, face in zip(chunk.items, faces, strict=True)]  # fmt: skip
        originals = np.stack(cut)
        windows = torch.stack([item.window for item in chunk.items])
        indices = [item.frame.index for item in chunk.items]
        crops = np.empty_like(originals)
        still = None
        if self.settings.still_reference:
            track = chunk.items[0].track_id
            if track not in stills:  # forget the tracks before; the mouth most closed says least about an old word
                closed = int(np.argmin(lip_opening(np.stack([face.landmarks for face in faces]))))
                stills.clear()
                stills[track] = originals[closed].copy()
            still = stills[track]
        for first in range(min(sets, len(indices))):
            part = slice(first, None, sets)
            crops[part] = generate(originals[part], windows[part], indices[part], still)
        return originals, crops

    def _passed(self, item: Item, options: SyncOptions, counts: _Counts) -> Frame:
        counts.frames += 1
        if item.face is None:
            counts.faceless += 1
            if options.no_face == "fail":
                raise NoFaceError(
                    f"frame {item.frame.index} ({float(item.frame.time_s):.2f} s) has no face to edit. "
                    "Pass --no-face pass to leave such frames as they are"
                )
        return item.frame

    def _metadata(self) -> dict[str, str]:
        from latentsync import __version__

        text = f"Lip movements in this video are synthetic: made by LatentSync {__version__}, model {self.name}"
        return {"comment": text, "synthetic_media": "lips", "generator": f"LatentSync {__version__}/{self.name}"}


class _Heard:
    """What is heard at each frame, computed as frames come."""

    def __init__(
        self, listener: Listener, sound: Sound, active: SpeechActivity | None, options: SyncOptions, placed: bool
    ) -> None:
        self._times: deque[Fraction] = deque()
        level = measure(sound).maximum
        self._windows = StreamingListener(listener).windows(sound, iter(self._times.popleft, None), level)
        self._active, self._placed = active, placed
        self._quiet: Tensor | None = None
        if options.silence == "closed":
            still = StreamingListener(listener).windows(sound_of(np.zeros(32000, np.float32)), [Fraction(1)], level)
            self._quiet = next(still)

    def item(self, frame: Frame, face: AlignedFace | None) -> Item:
        self._times.append(max(frame.time_s, Fraction(0)))
        window = next(self._windows)
        if self._active is None:
            return Item(frame, face, self._code(window))
        speaking = float(self._active.at([frame.time_s])[0])
        if self._quiet is not None:
            return Item(frame, face, self._code(torch.lerp(self._quiet, window, speaking)))
        return Item(frame, face, self._code(window), speaking)

    def _code(self, window: Tensor) -> Tensor:
        return window + position_code(*window.shape).to(window) if self._placed else window


def _cross_faded(chunk: Chunk, crops: Float, held: dict[int, Float]) -> dict[int, Float]:
    """Blend the frames that the chunk before held back into `crops`, in place; return what this chunk holds back."""
    for k in range(chunk.num_shared):
        at = chunk.num_old + k
        share = np.float32((k + 1) / (chunk.num_shared + 1))
        crops[at] = share * crops[at] + (1 - share) * held[chunk.items[at].frame.index]
    first = len(chunk.items) - chunk.num_held
    return {chunk.items[k].frame.index: crops[k] for k in range(first, len(chunk.items))}


def _changed(options: SyncOptions | None, changes: dict[str, Any]) -> SyncOptions:
    unknown = set(changes) - set(SyncOptions.__dataclass_fields__)
    if unknown:
        raise ConfigError(sorted(unknown)[0], changes[sorted(unknown)[0]], "no such option; see SyncOptions")
    return replace(options or SyncOptions(), **changes)


def _fitted(
    reader: VideoReader, heard_s: Fraction, options: SyncOptions, warnings: list[str]
) -> tuple[Iterator[Frame], Fraction]:
    """Frames of the wanted length, and that length in seconds."""
    info = reader.info
    end = options.end_s if options.end_s is not None else info.duration_s
    own_s = None if end is None else max(Fraction(0), Fraction(end) - (options.start_s or 0))
    if options.length == "video":
        if own_s is not None and heard_s > own_s + Fraction(1, 25):
            warnings.append(f"the speech is {float(heard_s - own_s):.2f} s longer than the video and was cut")
        return fit_length(reader, None, "none"), own_s or heard_s
    if options.length == "audio":
        return fit_length(reader, heard_s, "ping_pong"), heard_s
    if own_s is None:
        raise LatentSyncError(f"{reader.path}: its length is not known. Choose --length audio or video")
    wanted = max(own_s, heard_s)
    return fit_length(reader, wanted, options.length), wanted


def _padded(sound: Sound, seconds: float) -> Sound:
    """The sound, then silence, so that what is heard past its end is silence and not its last moment."""

    def blocks() -> Iterator[np.ndarray]:
        yield from sound()
        if seconds > 0:
            yield np.zeros(int(seconds * 16000), np.float32)

    return blocks


def _no_face_text(video: Path, counts: _Counts) -> str:
    return (
        f"{video}: no face to edit in any of its {counts.frames} frames; nothing was written. See `latentsync inspect`"
    )
