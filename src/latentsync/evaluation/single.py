"""Score one result that somebody made: what `sync --report` writes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from latentsync.core.files import atomic_path
from latentsync.core.hashing import file_sha256
from latentsync.evaluation.clips import TestClip
from latentsync.evaluation.director import director_page
from latentsync.evaluation.pictures import strip_jpeg
from latentsync.evaluation.report import STYLE, write_report
from latentsync.evaluation.results import MODEL, UNTOUCHED, Evidence, Row, SuiteOptions, SuiteResult
from latentsync.evaluation.scoring import Judges, Material, score
from latentsync.evaluation.speech import SAMPLES_PER_STEP, Speech, loudness_db
from latentsync.evaluation.sync_lines import sync_lines
from latentsync.evaluation.watching import GRID_HZ, watch
from latentsync.faces.masks import inpaint_mask
from latentsync.faces.protocol import FaceTracker
from latentsync.media.audio import read_audio


def score_result(
    video: Path,
    audio: Path,
    result: Path,
    tracker: FaceTracker,
    judges: Judges | None = None,
    options: SuiteOptions | None = None,
    *,
    start_s: Fraction | None = None,
    end_s: Fraction | None = None,
    audio_start_s: Fraction | None = None,
    audio_track: str | None = None,
) -> SuiteResult:
    """Score `result`, made from `video` and `audio`, and the untouched video with the new sound beside it.

    The result has to begin with the first frame of the part of the video that was used and follow it frame by frame;
    the common length is scored, up to `options.max_frames`: not what comes after it where a part was repeated for a
    longer speech. The speaker's own mouth is not known, so `cross_r`, `lag_frames` and `width_r` are missing; a judge
    network (`judges`) says whether sound and mouth agree.

    Args:
        start_s, end_s: the part of the video that was used; None = from its start, to its end.
        audio_start_s, audio_track: the part and the sound track of `audio` that was used, see `SyncOptions`.
    Raises: MediaError: a file cannot be read. NoFaceError: no face in one of the videos.
    """
    options, judges = options or SuiteOptions(), judges or Judges()
    source = watch(video, tracker, options.resolution, max_frames=options.max_frames, start_s=start_s, end_s=end_s)
    seen = watch(result, tracker, options.resolution, source)
    source = source.cut(len(seen))
    speech = Speech(read_audio(audio, audio_start_s, track=audio_track)[: len(seen.opening) * SAMPLES_PER_STEP], None)
    mask = inpaint_mask(options.resolution, options.mask)
    clip = TestClip(video, video.stem, file_sha256(video))
    material = Material(seen, source, speech, mask, path=result, chunk_frames=options.chunk_frames)
    plain = Material(source, source, speech, mask, path=None if start_s else video)  # a judge reads files from 0
    rows = [
        Row("single", system, clip.clip_id, clip.person, (), score(part, judges))
        for system, part in ((MODEL, material), (UNTOUCHED, plain))
    ]
    evidence = Evidence(
        rows[0],
        seen.opening,
        None,
        source.opening,
        loudness_db(speech.wave, len(seen.opening)),
        strip_jpeg(source.crops, seen.crops),
    )
    return SuiteResult([clip], options, rows, [evidence])


def write_single_report(
    video: Path,
    audio: Path,
    result: Path,
    folder: Path,
    tracker: FaceTracker,
    judges: Judges | None = None,
    about: dict[str, Any] | None = None,
    *,
    start_s: Fraction | None = None,
    end_s: Fraction | None = None,
    audio_start_s: Fraction | None = None,
    audio_track: str | None = None,
    page_folder: Path | None = None,
) -> dict[str, Path]:
    """Score one result and write report.html, a page in words, report.json and scores.csv into `folder`.

    Args and errors: see `score_result`; `about` are further facts for the page. judges: None = the lip judge of the
        package. page_folder: where the page will lie; None = nowhere yet, and it shows no videos.
    """
    if judges is None:
        from latentsync.evaluation.networks import lip_judge

        judges = Judges(lips=lip_judge())
    scored = score_result(
        video,
        audio,
        result,
        tracker,
        judges,
        start_s=start_s,
        end_s=end_s,
        audio_start_s=audio_start_s,
        audio_track=audio_track,
    )
    lines = sync_lines(result, read_audio(audio, audio_start_s, track=audio_track), tracker)
    from_s, length_s = float(start_s or 0), len(scored.evidence[0].opening) / GRID_HZ
    what = f"the first {length_s:.2f} s of the result, beside {from_s:.2f} to {from_s + length_s:.2f} s of the video"
    facts = {"video": video.name, "speech": audio.name, "result": result.name, "picture measured on": what}
    facts |= about or {}
    paths = write_report(scored, folder, facts)
    text = director_page(scored, lines, facts, STYLE, (video, result), page_folder)
    with atomic_path(paths["report.html"]) as part:
        part.write_text(text, encoding="utf-8")
    return paths
