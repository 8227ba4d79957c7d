"""API keys: shown once when they are made, kept as hashes, compared in constant time; and the cookie of a page."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from latentsync.core.errors import ConfigError
from latentsync.serve.tables import keys, now_of

NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
SESSION_S = 12 * 3600
NOBODY = ""
"""The owner of everything where no keys are needed."""


class Keys:
    """The keys of a service. Each is 256 random bits: one round of SHA-256 hides it well."""

    def __init__(self, engine: sa.Engine, folder: Path) -> None:
        self.engine, self._now = engine, now_of(engine)
        self._secret = secret_file(folder / "session.secret")

    def make(self, name: str) -> str:
        """A new key. Raises: ConfigError: the name is taken, or no name."""
        if not NAME.fullmatch(name):
            raise ConfigError("new_key", name, "choose a name of letters, digits, '.', '-' and '_'")
        key = f"ls_{secrets.token_urlsafe(32)}"
        try:
            with self.engine.begin() as connection:
                row = {"name": name, "hash": _hashed(key), "created_at": self._now}
                connection.execute(sa.insert(keys).values(row))
        except sa.exc.IntegrityError as error:
            raise ConfigError("new_key", name, "there is a key of this name. Choose another, or revoke it") from error
        return key

    def revoke(self, name: str) -> None:
        """Raises: ConfigError: no such key."""
        with self.engine.begin() as connection:
            if not connection.execute(sa.delete(keys).where(keys.c.name == name)).rowcount:
                raise ConfigError(
                    "revoke_key", name, f"there is no such key: {', '.join(self.names()) or 'none at all'}"
                )

    def names(self) -> list[str]:
        with self.engine.execution_options(reads=True).connect() as connection:
            return list(connection.execute(sa.select(keys.c.name).order_by(keys.c.name)).scalars())

    def owner(self, key: str) -> str | None:
        """Whose key it is; None = nobody's. Every hash is compared, and each in constant time."""
        digest, found = _hashed(key), None
        with self.engine.execution_options(reads=True).connect() as connection:
            for row in connection.execute(sa.select(keys.c.name, keys.c.hash)):
                if hmac.compare_digest(digest, row.hash):
                    found = str(row.name)
        return found

    def session(self, owner: str) -> str:
        """The value of a cookie that stands for an owner for some hours."""
        words = f"{owner}:{int(time.time()) + SESSION_S}"
        return f"{words}:{self._sign(words)}"

    def of_session(self, value: str) -> str | None:
        """Whose cookie it is; None = nobody's, or too old, or its key was revoked."""
        words, _, signature = value.rpartition(":")
        if not hmac.compare_digest(self._sign(words).encode(), signature.encode()):
            return None
        owner, _, until = words.rpartition(":")
        return owner if until.isdecimal() and int(until) > time.time() and owner in self.names() else None

    def _sign(self, words: str) -> str:
        return hmac.new(self._secret, words.encode(), hashlib.sha256).hexdigest()


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def secret_file(path: Path) -> bytes:
    """32 random bytes that only we can read, made when they are first needed."""
    with suppress(FileExistsError):
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()
