"""How the pictures of a written file are encoded: the settings of the encoder, and frames as it wants them."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any, cast

import av
from av.video.reformatter import ColorRange

from latentsync.core.values import Frame
from latentsync.media.codecs import Encoder, fields_for
from latentsync.media.information import VideoInfo
from latentsync.media.pixels import PlanarPicture, RgbPicture, convert
from latentsync.media.planes import layout_of

ISO_SUFFIXES = (".mp4", ".mov", ".m4v")
GLOBAL_HEADER = 0x400000
"""FFmpeg's AV_CODEC_FLAG_GLOBAL_HEADER: parameter sets in the extradata, not in the stream."""


class PictureEncoder:
    """One encoder with all that follows the source.

    Args:
        suffix: of the written file. crf: None = the encoder has none. clock: tick of the file, seconds.
    """

    def __init__(
        self, like: VideoInfo, encoder: Encoder, pixel_format: str, crf: float | None, suffix: str, clock: Fraction
    ) -> None:
        self.like, self.encoder, self.pixel_format, self.crf = like, encoder, pixel_format, crf
        self.suffix, self.clock = suffix, clock
        self.fields = fields_for(encoder.name, like, pixel_format)
        self._graph: av.filter.Graph | None = None
        self._target = self._reference()

    def add_to(self, output: av.container.OutputContainer) -> Any:
        """A stream of a container that encodes itself."""
        stream: Any = output.add_stream(self.encoder.name, rate=self.like.fps, options=self.options())
        if self.encoder.name == "libx265" and self.suffix in ISO_SUFFIXES:
            stream.codec_tag = "hvc1"  # FFmpeg's own choice, hev1, is not played by Apple's players
        stream.time_base = self.clock
        self._set_up(stream.codec_context)
        return stream

    def alone(self, parameters: dict[str, str]) -> Any:
        """A codec context outside of a container, closed. Args: parameters: further ones, as of x264-params."""
        context: Any = av.CodecContext.create(self.encoder.name, "w")
        self._set_up(context)
        context.framerate = self.like.fps
        options = self.options()
        self._add_parameters(options, parameters)
        context.options = options
        if "repeat-headers" not in parameters:
            context.flags |= GLOBAL_HEADER
        return context

    def _set_up(self, context: Any) -> None:
        context.width, context.height, context.pix_fmt = self.like.width, self.like.height, self.pixel_format
        context.time_base = self.clock
        context.sample_aspect_ratio = self.like.sample_aspect
        context.thread_type = "AUTO"
        if self._keeps_matrix:
            context.colorspace, context.color_range = self.like.colorspace, self._range
        context.color_primaries, context.color_trc = self.like.color_primaries, self.like.color_trc

    def ready(self, frame: Frame) -> av.VideoFrame:
        """A frame as the encoder takes it, without its time."""
        out = self._as_written(frame)
        return out if self.fields is None else self._marked(out, self.fields)

    def options(self) -> dict[str, str]:
        options = dict(self.encoder.options)
        if self.crf is not None and self.encoder.crf is not None:
            options["crf"] = f"{self.crf:g}"
        if self.suffix == ".avi" and self.encoder.name == "libx264":
            options["bf"] = "0"  # AVI cannot say the two orders of B-frames
        if self.like.hdr is not None:
            self._add_parameters(options, self.like.hdr.options(self.encoder.name) or {})
        if self.fields is not None:
            self._add_parameters(options, {self.fields: "1"})
        if self.encoder.name == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # it writes its settings to stderr otherwise; 1 = errors only
        return options

    def _add_parameters(self, options: dict[str, str], parameters: dict[str, str]) -> None:
        name = f"{self.encoder.name.removeprefix('lib')}-params"
        said = [options[name]] if name in options else []
        if parameters:
            options[name] = ":".join([*said, *(f"{key}={value}" for key, value in parameters.items())])

    @property
    def _keeps_matrix(self) -> bool:
        """The colour matrix and range are the source's: not where RGB becomes YUV."""
        return not (self.like.colorspace == 0 and not self.pixel_format.startswith("gbr"))

    @property
    def _range(self) -> int:
        return 2 if self.like.pix_fmt.startswith("yuvj") else self.like.color_range

    def _reference(self) -> av.VideoFrame:
        """A frame of the written format and tags."""
        frame = av.VideoFrame(2, 2, self.pixel_format)
        if self._keeps_matrix:
            frame.colorspace, frame.color_range = self.like.colorspace, self._range
        return frame

    def _as_written(self, frame: Frame) -> av.VideoFrame:
        picture = frame.picture
        if not isinstance(picture, PlanarPicture | RgbPicture):
            picture = RgbPicture(picture.rgb())
        if isinstance(picture, RgbPicture):
            return convert(picture, self._target).frame
        name = picture.layout.format
        if name == self.pixel_format or name.replace("yuvj", "yuv") == self.pixel_format:
            return picture.frame
        target = layout_of(self._target)
        if picture.layout.is_rgb or (target is not None and target.is_rgb):
            return convert(picture, self._target).frame
        span = ColorRange.JPEG if picture.layout.is_full_range else ColorRange.MPEG
        out = picture.frame.reformat(format=self.pixel_format, src_color_range=span, dst_color_range=span)
        out.colorspace, out.color_range = picture.frame.colorspace, self._range
        return out

    def _marked(self, frame: av.VideoFrame, order: str) -> av.VideoFrame:
        """The frame with the order of its fields on it: the encoder goes by that, and made frames have none."""
        if self._graph is None:
            self._graph = av.filter.Graph()
            source = self._graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=self.clock
            )
            mark, sink = self._graph.add("setfield", order), self._graph.add("buffersink")
            source.link_to(mark)
            mark.link_to(sink)
            self._graph.configure()
        tags = frame.colorspace, frame.color_range
        self._graph.push(frame)
        marked = cast(av.VideoFrame, self._graph.pull())
        marked.colorspace, marked.color_range = tags
        return marked
