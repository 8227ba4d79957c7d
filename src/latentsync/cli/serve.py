"""`latentsync serve`: the service, its workers and its page, from one process on one port."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from latentsync.cli.arguments import Dtype, FaceModel, Offline, Quiet, Verbose, new_app
from latentsync.core.errors import ConfigError, MissingExtraError

log = logging.getLogger(__name__)

app = new_app()


@app.command()
def serve(
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="Port to listen on.")] = 8700,
    data: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the job table, uploads and results.")] = Path(
        "latentsync-data"
    ),
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="LATENTSYNC_DATABASE",
            help="Job table, as postgresql://… Default: SQLite in --data.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FOLDER|FILE", help="A model for jobs; repeat. Default: tiny."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="cpu|cuda|cuda:N|mps", help="A worker's device; repeat. Default: fastest."),
    ] = None,
    workers: Annotated[int, typer.Option(metavar="N", min=0, help="Worker processes for each device; 0 = none.")] = 1,
    engine: Annotated[str, typer.Option(metavar="local|ray", help="Processes, or actors of a Ray cluster.")] = "local",
    ray_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Ray cluster. Default: one on this machine.")
    ] = None,
    ray_gpus: Annotated[float, typer.Option(metavar="X", help="Share of a GPU for each Ray worker.")] = 0.0,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Nobody needs a key, even on an outer address.")] = False,
    new_key: Annotated[str | None, typer.Option(metavar="NAME", help="Make an API key, show it once, and end.")] = None,
    revoke_key: Annotated[str | None, typer.Option(metavar="NAME", help="Revoke an API key, and end.")] = None,
    webhook_secret: Annotated[
        bool, typer.Option("--webhook-secret", help="Show what webhooks are signed with, and end.")
    ] = False,
    webhook_pace: Annotated[float, typer.Option(hidden=True)] = 1.0,
    urls: Annotated[bool, typer.Option("--urls", help="Jobs may name web addresses as inputs.")] = False,
    allow_network: Annotated[
        list[str] | None,
        typer.Option(metavar="CIDR", help="Private network that downloads and webhooks may reach; repeat."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Name under which the service is asked for; repeat.")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Beginning of the addresses told to others, behind a proxy.")
    ] = None,
    max_upload: Annotated[float, typer.Option(metavar="MIB", help="Largest upload.")] = 8192,
    max_length: Annotated[float, typer.Option(metavar="SECONDS", help="Longest video or speech.")] = 14400,
    max_pixels: Annotated[int, typer.Option(metavar="N", help="Most pixels of a frame.")] = 8192 * 4320,
    keep_days: Annotated[
        float, typer.Option(metavar="DAYS", help="Jobs and uploads are kept so long; 0 = always.")
    ] = 7,
    keep_size: Annotated[
        float | None, typer.Option(metavar="MIB", help="Room for jobs and uploads; the oldest go. Default: no limit.")
    ] = None,
    lease: Annotated[
        float, typer.Option(metavar="SECONDS", help="A worker silent for so long loses its job to another.")
    ] = 30,
    dtype: Dtype = None,
    face_model: FaceModel = None,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Serve lip-sync over HTTP: a page, an interface for programs, and a queue that outlives the process."""
    from latentsync.cli.console import logging_to, stderr_console

    try:
        import fastapi  # noqa: F401
        import sqlalchemy  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("serve", str(error.name)) from error
    from latentsync.serve.settings import ServeConfig

    config = ServeConfig(
        data=data, host=host, port=port, database=database, models=tuple(model or ("tiny",)),
        devices=tuple(device or (None,)), workers=workers, engine=engine, ray_address=ray_address,  # type: ignore[arg-type]
        ray_gpus=ray_gpus, offline=offline, face_model=face_model, dtype=dtype, no_auth=no_auth, urls=urls,
        allow_networks=tuple(allow_network or ()), allow_hosts=tuple(allow_host or ()), public_url=public_url,
        webhook_pace=webhook_pace,
        upload_bytes=round(max_upload * 2**20), video_s=max_length, pixels=max_pixels, lease_s=lease,
        keep_s=keep_days * 86400 or None, keep_bytes=None if keep_size is None else round(keep_size * 2**20),
    )  # fmt: skip
    if webhook_secret:
        from latentsync.serve.keys import secret_file
        from latentsync.serve.webhooks import secret_text

        data.mkdir(parents=True, exist_ok=True)
        sys.stdout.write(secret_text(secret_file(data / "webhook.secret")) + "\n")
        return
    if new_key is not None or revoke_key is not None:
        change_keys(config, new_key, revoke_key)
        return
    with logging_to(stderr_console(), quiet, verbose):
        from latentsync.serve.server import run_server

        run_server(config)


def change_keys(config: object, new_key: str | None, revoke_key: str | None) -> None:
    """Make or revoke a key; a new one is shown this once."""
    from latentsync.serve.keys import Keys
    from latentsync.serve.settings import ServeConfig
    from latentsync.serve.tables import connect

    if not isinstance(config, ServeConfig):
        raise ConfigError("config", config, "give a ServeConfig")
    config.data.mkdir(parents=True, exist_ok=True)
    keys = Keys(connect(config.database_url), config.data)
    if revoke_key is not None:
        keys.revoke(revoke_key)
    if new_key is not None:
        sys.stdout.write(keys.make(new_key) + "\n")
