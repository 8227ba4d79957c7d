"""A PostgreSQL server of our own in a folder, where its programs are installed (Debian: apt install postgresql)."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def programs() -> Path | None:
    """The folder with `initdb` and `pg_ctl`; None = there is none."""
    found = shutil.which("initdb")
    if found and shutil.which("pg_ctl"):
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def running() -> Iterator[str]:
    """Start a server, yield its URL, stop it. Skips, and says so, where there are no programs or no driver."""
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    where = programs()
    if where is None:
        pytest.skip("no PostgreSQL server programs were found (apt install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="latentsync-postgres-"))  # pytest's own folders are closed to other users
    user = _user(folder)
    data = folder / "data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _run([where / "initdb", "-D", data, "-U", "tester", "--auth=trust", "-N"], user)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    _run([where / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"], user)
    try:
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    finally:
        _run([where / "pg_ctl", "-D", data, "-m", "immediate", "stop"], user)
        shutil.rmtree(folder)


def _user(folder: Path) -> str | None:
    """The server refuses to be run by root: another user, who is given the folder. None = we are not root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, found.pw_uid, found.pw_gid)
        return name
    pytest.skip("PostgreSQL is not run by root, and there is no other user")


def _run(words: list[object], user: str | None) -> None:
    with tempfile.TemporaryFile("w+") as said:  # a started server keeps what it inherits
        done = subprocess.run(
            [str(word) for word in words], user=user, stdout=said, stderr=said, stdin=subprocess.DEVNULL, timeout=60,
            check=False, cwd="/", env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        said.seek(0)
        assert done.returncode == 0, f"{words[0]}: {said.read()}"
