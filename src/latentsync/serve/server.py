"""The server process: uvicorn around the application, on one port."""

from __future__ import annotations

import logging

import uvicorn

from latentsync.core.errors import ConfigError
from latentsync.serve.app import Engine, create_app
from latentsync.serve.settings import ServeConfig
from latentsync.serve.store import JobStore
from latentsync.serve.supervisor import Supervisor

log = logging.getLogger(__name__)


def engine_of(config: ServeConfig, store: JobStore) -> Engine:
    """The workers that the settings ask for. Raises: MissingExtraError: Ray is not installed."""
    if config.engine == "ray":
        from latentsync.serve.ray_engine import RayEngine

        return RayEngine(config, store)
    return Supervisor(config, store)


def run_server(config: ServeConfig) -> None:
    """Serve until Ctrl-C or SIGTERM; jobs at hand go back into the queue.

    Raises: ConfigError: an outer address without keys; the port is taken; see `create_app`.
    """
    app = create_app(config, engine_of)
    if config.needs_key and not app.state.service.keys.names():
        fix = "make an API key first (latentsync serve --new-key NAME), or pass --no-auth if everybody may use it"
        raise ConfigError("host", config.host, fix)
    if config.no_auth and not config.is_local:
        log.warning("--no-auth: everybody who reaches %s can use this service", config.host)
    settings = uvicorn.Config(
        app, host=config.host, port=config.port, log_config=None, access_log=False, server_header=False,
        timeout_keep_alive=30, timeout_graceful_shutdown=5, h11_max_incomplete_event_size=65536,
    )  # fmt: skip
    server = uvicorn.Server(settings)
    try:
        socket = settings.bind_socket()
    except SystemExit as error:
        raise ConfigError("port", config.port, "cannot be listened on; is it taken? Choose another one") from error
    socket.listen(2048)  # who reads the line below may ask at once
    port = socket.getsockname()[1]
    host = "127.0.0.1" if config.is_local else config.host
    log.info("LatentSync at http://%s:%d  (data in %s; Ctrl-C ends it)", host, port, config.data)
    server.run([socket])
