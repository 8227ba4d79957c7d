"""The service as an ASGI application."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from latentsync.core.errors import LatentSyncError
from latentsync.serve import about, generations, jobs, uploads
from latentsync.serve.context import ApiError, Looker, Service, as_api_error
from latentsync.serve.files import Files
from latentsync.serve.keys import Keys
from latentsync.serve.queries import JobQueries
from latentsync.serve.security import Guard
from latentsync.serve.settings import ServeConfig
from latentsync.serve.shapes import ErrorAnswer
from latentsync.serve.store import JobStore
from latentsync.serve.tables import connect

log = logging.getLogger(__name__)
CODES = {401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "invalid", 409: "conflict", 413: "too_large"}


class Engine(Protocol):
    """What starts and ends the workers of a service."""

    def start(self) -> None: ...  # pragma: no cover

    def stop(self) -> None: ...  # pragma: no cover


def create_app(config: ServeConfig, engine: Callable[[ServeConfig, JobStore], Engine] | None = None) -> FastAPI:
    """The service, without workers unless an engine is given.

    Raises: ConfigError: the database cannot be opened.
    """
    config.data.mkdir(parents=True, exist_ok=True)
    tables = connect(config.database_url)
    service = Service(
        config, JobStore(tables), JobQueries(tables), Files(tables, config), Keys(tables, config.data), Looker()
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        workers = None if engine is None else engine(config, service.store)
        if workers is not None:
            workers.start()
        chores = _chores(service)
        try:
            yield
        finally:
            chores.set()
            if workers is not None:
                workers.stop()
            service.looker.close()

    errors: Any = {400: {"model": ErrorAnswer}, "4XX": {"model": ErrorAnswer}, "5XX": {"model": ErrorAnswer}}
    from latentsync import __version__

    app = FastAPI(
        title="LatentSync", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        openapi_url="/v1/openapi.json", responses=errors,
        description="Lip-sync as a service: upload a video and a speech, put a job in, take the result.",
    )  # fmt: skip
    app.state.service = service
    for routes in (about.router, uploads.router, jobs.router, generations.router):
        app.include_router(routes)
    _say_errors(app)
    static = Path(str(resources.files("latentsync") / "app" / "static"))
    if static.is_dir():
        app.mount("/", StaticFiles(directory=static, html=True), name="page")
    app.add_middleware(Guard, config=config)  # type: ignore[arg-type]
    return app


def _chores(service: Service) -> threading.Event:
    """Start the threads that tidy up, send webhooks and download. Returns: what ends them."""
    from latentsync.serve.chores import start

    return start(service)


def _say_errors(app: FastAPI) -> None:
    """Every error is one shape."""

    def said(request: Request, error: ApiError) -> Response:
        if request.url.path.startswith("/v2"):
            status = 400 if error.status == 422 else error.status
            return JSONResponse({"statusCode": status, "message": error.message, "error": error.code}, status)
        words = {"code": error.code, "message": error.message, "setting": error.setting}
        headers = {"www-authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse({"error": words}, error.status, headers)

    @app.exception_handler(ApiError)
    async def _api(request: Request, error: ApiError) -> Response:
        return said(request, error)

    @app.exception_handler(LatentSyncError)
    async def _ours(request: Request, error: LatentSyncError) -> Response:
        return said(request, as_api_error(error))

    @app.exception_handler(RequestValidationError)
    async def _shape(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
        where = ".".join(place[:4])
        return said(request, ApiError(422, "invalid", f"{where}: {first['msg']}".removeprefix(": "), where or None))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        code = CODES.get(error.status_code, "invalid" if error.status_code < 500 else "internal")
        return said(request, ApiError(error.status_code, code, str(error.detail)))

    @app.exception_handler(OperationalError)
    async def _table(request: Request, error: OperationalError) -> Response:
        log.error("the job table cannot be used (%s)", type(error.orig).__name__)
        if "full" in str(error.orig):
            return said(request, ApiError(507, "no_space", "the disk of the service is full"))
        return said(request, ApiError(503, "unavailable", "the job table cannot be used now. Try again"))

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> Response:
        return said(request, ApiError(500, "internal", "internal error; the log of the service has the details"))
