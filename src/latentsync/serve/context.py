"""What the routes share: settings, tables, files, who asks, and errors as answers."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.serve.files import Files, NoSpace, WrongOffset
from latentsync.serve.keys import NOBODY, Keys
from latentsync.serve.looking import die_with_parent
from latentsync.serve.queries import JobQueries
from latentsync.serve.settings import ServeConfig
from latentsync.serve.store import Conflict, JobStore, QueueFull

COOKIE = "latentsync_session"


class ApiError(Exception):
    """An answer that is an error: status, code, one sentence, and the setting that it is about."""

    def __init__(self, status: int, code: str, message: str, setting: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.setting = status, code, message, setting


def not_found(what: str) -> ApiError:
    return ApiError(404, "not_found", f"there is no such {what}")


def as_api_error(error: LatentSyncError) -> ApiError:
    """A user's mistake as an answer."""
    if isinstance(error, Conflict | WrongOffset):
        return ApiError(409, "conflict", str(error))
    if isinstance(error, QueueFull):
        return ApiError(429, "too_many", str(error))
    if isinstance(error, NoSpace):
        return ApiError(507, "no_space", str(error))
    if isinstance(error, ConfigError):
        return ApiError(422, "invalid", f"{error.key}: {error.fix}", error.key)
    return ApiError(422, "invalid", str(error))


class Looker:
    """Processes that look into uploads; one that dies of a file is replaced."""

    def __init__(self, number: int = 2) -> None:
        self._number, self._lock = number, threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def _open(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._pool is None:
                method = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(self._number, method, initializer=die_with_parent)
            return self._pool

    def _drop(self, pool: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._pool is pool:
                self._pool = None
        pool.shutdown(wait=False)

    async def __call__(self, work: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Raises: ApiError: the file ended the process that read it."""
        pool = self._open()
        try:
            future = pool.submit(_called, work, args, named)
            return await asyncio.wrap_future(future)
        except BrokenProcessPool as error:
            self._drop(pool)
            raise ApiError(422, "invalid", "the file cannot be read: the decoder broke down over it") from error

    def wait_for(self, work: Callable[..., Any], *args: Any) -> Any:
        """The same from a thread."""
        pool = self._open()
        try:
            return pool.submit(_called, work, args, {}).result()
        except BrokenProcessPool as error:
            self._drop(pool)
            raise ApiError(422, "invalid", "the file cannot be read: the decoder broke down over it") from error

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                for child in multiprocessing.active_children():  # of this process only the pool's
                    child.terminate()
                self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _called(work: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return work(*args, **named)


@dataclass
class Service:
    """Everything a route needs."""

    config: ServeConfig
    store: JobStore
    queries: JobQueries
    files: Files
    keys: Keys
    looker: Looker
    inspected: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)

    def base_url(self, request: Request) -> str:
        """Beginning of addresses told to others."""
        return (self.config.public_url or str(request.base_url)).rstrip("/")


def service_of(request: Request) -> Service:
    return cast(Service, request.app.state.service)


def owner_of(request: Request) -> str:
    """Who asks. Raises: ApiError: 401, nobody known."""
    service = service_of(request)
    if not service.config.needs_key:
        return NOBODY
    owner = known(request, service)
    if owner is None:
        raise ApiError(401, "unauthorized", "send a key of this service: Authorization: Bearer KEY, or x-api-key: KEY")
    return owner


def known(request: Request, service: Service) -> str | None:
    """The owner of the request's key or cookie."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    given = key.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key")
    if given:
        return service.keys.owner(given)
    cookie = request.cookies.get(COOKIE)
    return service.keys.of_session(cookie) if cookie else None


Serv = Annotated[Service, Depends(service_of)]
Owner = Annotated[str, Depends(owner_of)]
