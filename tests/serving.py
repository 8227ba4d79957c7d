"""Services for tests: started as users start them, asked over HTTP, killed as power cuts kill."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np

import micro_model
import planted
from latentsync.media import read_audio, write_wav

SAMPLE = Path(str(resources.files("latentsync") / "assets" / "sample"))


@dataclass(frozen=True)
class Media:
    """A model's folder, a second of film with a face, and speeches."""

    model: Path
    film: Path
    speech: Path
    other: Path


def make_media(folder: Path) -> Media:
    micro_model.lipsync(planted.PlantedTracker()).save_pretrained(folder / "micro")
    film = cut(SAMPLE / "talk.mp4", folder / "talk.mp4", 16)
    wave = read_audio(SAMPLE / "speech.wav")
    write_wav(folder / "speech.wav", wave[8000:18000])
    write_wav(folder / "other.wav", np.ascontiguousarray(wave[20000:30000]))
    return Media(folder / "micro", film, folder / "speech.wav", folder / "other.wav")


def cut(source: Path, out: Path, num_frames: int, side: int = 256) -> Path:
    """The first frames of a film, small, without sound."""
    with av.open(str(source)) as film, av.open(str(out), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        for number, frame in enumerate(film.decode(video=0)):
            if number >= num_frames:
                break
            small = av.VideoFrame.from_ndarray(frame.reformat(side, side, "rgb24").to_ndarray(), "rgb24")
            file.mux(stream.encode(small))
        file.mux(stream.encode(None))
    return out


@dataclass
class Served:
    """A running service."""

    process: subprocess.Popen[bytes]
    url: str
    data: Path
    log: Path
    http: httpx.Client
    more: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def upload(self, path: Path, name: str | None = None) -> str:
        answer = self.http.post("/v1/files", params={"name": name or path.name}, content=path.read_bytes())
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def submit(self, video: str, audio: str, **more: Any) -> dict[str, Any]:
        answer = self.http.post("/v1/jobs", json={"video": video, "audio": audio, "extras": [], **more})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/v1/jobs/{job_id}").json())

    def wait(self, job_id: str, seconds: float = 180) -> dict[str, Any]:
        """The job when it has ended. Fails after so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):  # the service may be down for a moment
                found = self.job(job_id)
                if found["state"] in ("done", "failed", "cancelled"):
                    return found
            time.sleep(0.1)
        raise AssertionError(f"{job_id} did not end: {self.job(job_id)}\n{self.log.read_text()}")

    def workers(self) -> list[int]:
        """Process numbers of its workers."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid and b"latentsync.serve.worker" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found


def command(data: Path, media: Media, *options: str) -> list[str]:
    words = [sys.executable, "-m", "latentsync", "serve", "--data", str(data), "--model", str(media.model)]
    return [*words, "--offline", *(() if "--port" in options else ("--port", "0")), *options]


@contextmanager
def served(data: Path, media: Media, *options: str, key: str | None = None) -> Iterator[Served]:
    """A service as its own process, ended in the end; `key` goes along with every request."""
    data.mkdir(exist_ok=True)
    log = data.parent / f"{data.name}.log"
    process, url = launched(data, media, log, *options)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, timeout=60, headers=headers) as http:
        try:
            yield Served(process, url, data, log, http)
        finally:
            stop(process)


def launched(data: Path, media: Media, log: Path, *options: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start a service and wait until it listens. Returns: the process and its address."""
    log.touch()
    begin = log.stat().st_size
    with log.open("ab") as file:
        process = subprocess.Popen(command(data, media, *options), stderr=file, stdout=file, env=os.environ)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = re.search(r"LatentSync at http://[^\s:]+:(\d+) ", log.read_bytes()[begin:].decode())
        if found:
            return process, f"http://127.0.0.1:{found[1]}"
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    process.kill()
    raise AssertionError(log.read_text())


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
