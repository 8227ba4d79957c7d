"""A disk that is really full: a small file system in memory, in a mount namespace of the test's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

UNSHARE = ["unshare", "--map-root-user", "--mount"]


def can_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    command = [*UNSHARE, "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


WRITE = """
    import os, sys
    from fractions import Fraction
    from pathlib import Path
    import numpy as np
    from latentsync.core.errors import MediaError
    from latentsync.core.values import Frame
    from latentsync.media import AudioPlan, RgbPicture, VideoInfo, VideoWriter, write_wav
    noise, folder = np.random.default_rng(0), Path(sys.argv[1])
    def video():
        info = VideoInfo(width=96, height=64, fps=Fraction(25))
        with VideoWriter(folder / sys.argv[2], info, audio=AudioPlan(Path(sys.argv[3]))) as writer:
            for n in range(25):
                picture = RgbPicture(noise.integers(0, 256, (64, 96, 3), dtype=np.uint8))
                writer.write(Frame(n, Fraction(n, 25), picture))
    try:
        write_wav(folder / sys.argv[2], noise.normal(size=400_000)) if sys.argv[2].endswith("wav") else video()
    except MediaError as error:
        print(error, os.listdir(folder), sep="\\n")
"""


@pytest.mark.parametrize(
    ("name", "size_kib"),
    [("out.mp4", 0), ("out.mp4", 40), ("out.mp4", -1), ("out.mkv", 40), ("out.wav", 40)],
    ids=["from the first byte", "mp4, in the middle", "mp4, at its end", "mkv", "wav"],
)
def test_it_is_said_in_one_line_and_nothing_is_left(tmp_path: Path, name: str, size_kib: int) -> None:
    disk, speech = tmp_path / "disk", tmp_path / "speech.wav"
    disk.mkdir()
    if not can_mount(disk):
        pytest.skip("mounting a file system is not permitted here")
    from latentsync.media import write_wav
    from synth_media import tone

    write_wav(speech, tone(1.0)[:1], 48000)
    script = textwrap.dedent(WRITE)
    if size_kib < 0:  # all fits but the last page
        subprocess.run([sys.executable, "-c", script, str(tmp_path), name, str(speech)], check=True)
        size_kib = (tmp_path / name).stat().st_size // 4096 * 4
    # a page is 4 KiB; 0 would mean no limit, so the disk without room is filled up
    fill = f"head -c 100000 /dev/zero > {disk}/other 2>/dev/null; " if not size_kib else ""
    words = f"mount -t tmpfs -o size={size_kib or 4}k tmpfs '{disk}' && {fill}exec \"$@\""
    command = [*UNSHARE, "sh", "-c", words, "sh", sys.executable, "-c", script, str(disk), name, str(speech)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    said, left = done.stdout.splitlines()
    assert "disk is full" in said or "No space left" in said
    assert name in said and said.endswith("another place.")
    assert left == ("['other']" if not size_kib else "[]")
    assert done.stderr == ""


def test_a_disk_that_is_read_only_is_said_too(tmp_path: Path) -> None:
    """Also to root, whom permissions do not stop."""
    disk, speech = tmp_path / "disk", tmp_path / "speech.wav"
    disk.mkdir()
    if not can_mount(disk):
        pytest.skip("mounting a file system is not permitted here")
    from latentsync.media import write_wav
    from synth_media import tone

    write_wav(speech, tone(0.2)[:1], 48000)
    words = f"mount -t tmpfs -o ro,size=40k tmpfs '{disk}' && exec \"$@\""
    python = [sys.executable, "-c", textwrap.dedent(WRITE), str(disk), "out.mp4", str(speech)]
    done = subprocess.run([*UNSHARE, "sh", "-c", words, "sh", *python], capture_output=True, text=True, check=False)
    said, left = done.stdout.splitlines()
    assert "out.mp4: " in said and said.endswith("another place.")
    assert (left, done.stderr) == ("[]", "")


CONVERT = """
    import os, sys
    from pathlib import Path
    from latentsync.core.errors import WeightsError
    from latentsync.models.tiny_autoencoder import TinyAutoencoder
    from latentsync.models.weights import save_model
    network = TinyAutoencoder.from_config({"latent_channels": 2, "widths": [32, 32]})
    try:
        save_model(Path(sys.argv[1]) / "mine", {"autoencoder": network}, name="mine", settings={})
    except WeightsError as error:
        print(error, os.listdir(Path(sys.argv[1]) / "mine" / "autoencoder"), sep="\\n")
"""


def test_a_model_that_does_not_fit_on_the_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not can_mount(disk):
        pytest.skip("mounting a file system is not permitted here")
    words = f"mount -t tmpfs -o size=40k tmpfs '{disk}' && exec \"$@\""
    python = [sys.executable, "-c", textwrap.dedent(CONVERT), str(disk)]
    done = subprocess.run([*UNSHARE, "sh", "-c", words, "sh", *python], capture_output=True, text=True, check=False)
    said, left = done.stdout.splitlines()
    assert "model.safetensors: not written" in said and "No space left" in said and "Free space" in said
    assert (left, done.stderr) == ("['config.json']", "")
