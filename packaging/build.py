"""The sdist and the wheel, built twice from the last commit with the same hash, and what is in them.

    python packaging/build.py [--out dist]

Checks: same SHA-256 both times; model, sample, presets, licence and notice are inside, nothing that does not belong;
the wheel is at most 45 MB; its files alone answer `--version` and `models verify tiny`.
Writes SHA256SUMS, provenance.json, and, where
`cyclonedx-bom` is installed, `sbom.json` with the licences of all packages of this environment.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LARGEST_WHEEL_BYTES = 45_000_000
INSIDE = (
    "latentsync/__main__.py", "latentsync/py.typed", "latentsync/assets/tiny/model_index.json",
    "latentsync/assets/tiny/unet/model.safetensors", "latentsync/assets/sample/talk.mp4",
    "latentsync/assets/sample/speech.wav", "latentsync/config/presets/sync/balanced.yaml",
)  # fmt: skip
LICENCES = ("LICENSE", "NOTICE")
OUTSIDE = ("tests/", "docs/", "benchmarks/", "studies/", "__pycache__", ".git", "recipes/")
"""What the wheel must not hold."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        built, again = build(Path(first)), build(Path(second))
        problems = [
            f"{one.name}: not the same twice ({sha256(one)[:12]}…, {sha256(two)[:12]}…)"
            for one, two in zip(built, again, strict=True)
            if sha256(one) != sha256(two)
        ]
        problems += check_wheel(built[1]) + check_sdist(built[0]) + check_installed(built[1])
        if problems:
            print("\n".join(f"FAILED {problem}" for problem in problems))
            return 1
        given.out.mkdir(parents=True, exist_ok=True)
        for file in built:
            (given.out / file.name).write_bytes(file.read_bytes())
            print(f"{sha256(file)}  {file.name}  {file.stat().st_size / 1e6:.1f} MB, the same twice")
        sums = "".join(f"{sha256(file)}  {file.name}\n" for file in built)
        (given.out / "SHA256SUMS").write_text(sums)
        (given.out / "provenance.json").write_text(json.dumps(provenance(built), indent=1) + "\n")
    if importlib.util.find_spec("cyclonedx_py") is not None:
        command = [sys.executable, "-m", "cyclonedx_py", "environment", "-o", str(given.out / "sbom.json")]
        subprocess.run(command, check=True, capture_output=True)
        print(f"{given.out / 'sbom.json'}")
    return 0


def provenance(built: tuple[Path, Path]) -> dict[str, object]:
    """What was built from what: the commit, the files' hashes, and of the model `tiny` the hashes of its parts and of
    the recipe and cards that say how they were made."""
    tiny = ROOT / "src" / "latentsync" / "assets" / "tiny"
    told = [*sorted((ROOT / "recipes" / "tiny").glob("*")), ROOT / "docs" / "tiny.md", ROOT / "NOTICE"]
    return {
        "commit": run("git", "rev-parse", "HEAD").decode().strip(),
        "files": {file.name: sha256(file) for file in built},
        "tiny": {str(file.relative_to(tiny)): sha256(file) for file in sorted(tiny.rglob("*")) if file.is_file()},
        "recipe": {str(file.relative_to(ROOT)): sha256(file) for file in told if file.is_file()},
    }


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(folder: Path) -> tuple[Path, Path]:
    """Export the last commit into `folder` and build there: (sdist, wheel), with the commit's time on every file."""
    epoch = run("git", "log", "-1", "--format=%ct").decode().strip()
    source, out = folder / "source", folder / "dist"
    source.mkdir()
    with tarfile.open(fileobj=io.BytesIO(run("git", "archive", "--format=tar", "HEAD"))) as archive:
        archive.extractall(source, filter="data")
    environ = os.environ | {"SOURCE_DATE_EPOCH": epoch, "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"build failed:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    sdist, wheel = next(out.glob("*.tar.gz")), next(out.glob("*.whl"))
    normalise(sdist, int(epoch))
    return sdist, wheel


def run(*command: str) -> bytes:
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout


def normalise(sdist: Path, epoch: int) -> None:
    """Write an sdist again with sorted names, one time and no owner: setuptools writes the build's own."""
    packed = io.BytesIO()
    with tarfile.open(sdist) as old, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.pax_headers = {}
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with sdist.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as squeezed:
        squeezed.write(packed.getvalue())


def check_wheel(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    problems = [f"{wheel.name}: {name} is missing" for name in INSIDE if name not in names]
    problems += [
        f"{wheel.name}: {name} is missing" for name in LICENCES if not any(n.endswith(f"/{name}") for n in names)
    ]
    problems += [
        f"{wheel.name}: {n} does not belong there" for n in names if n.startswith(OUTSIDE) or "__pycache__" in n
    ]
    size = wheel.stat().st_size
    if size > LARGEST_WHEEL_BYTES:
        problems.append(f"{wheel.name}: {size / 1e6:.1f} MB, more than {LARGEST_WHEEL_BYTES / 1e6:.0f}")
    return problems


def check_sdist(sdist: Path) -> list[str]:
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    wanted = ["pyproject.toml", "README.md", *LICENCES, *(f"src/{name}" for name in INSIDE)]
    return [f"{sdist.name}: {name} is missing" for name in wanted if name not in names]


def check_installed(wheel: Path) -> list[str]:
    """The wheel's own files, unpacked elsewhere and in front of everything else: do they run?"""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        environ = os.environ | {"PYTHONPATH": folder}
        for arguments in (["--version"], ["models", "verify", "tiny"]):
            command = [sys.executable, "-m", "latentsync", *arguments]
            done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
            if done.returncode:
                return [f"{wheel.name}: latentsync {' '.join(arguments)}: {done.stderr.strip()[-300:]}"]
    return []


if __name__ == "__main__":
    sys.exit(main())
