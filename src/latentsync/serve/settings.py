"""What whoever starts the service can choose."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from latentsync.core.errors import ConfigError

Engine = Literal["local", "ray"]
GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig:
    """Settings of a service and of its workers.

    Attributes:
        data: folder for the job table, uploads and results.
        host, port: where it listens. Any address but the machine's own needs API keys, or `no_auth`.
        database: SQLAlchemy URL; None = SQLite in `data`.
        models: names, folders or files of models that a job may ask for; the first is the default.
        devices: one worker for each; None in it = the best there is. workers: so many for each device; 0 = none here.
        engine: worker processes of this machine, or Ray actors, each with `ray_gpus` of a GPU.
        ray_address: of the cluster; None = one of this machine's own.
        offline, face_model, dtype: as `Lipsync.from_pretrained`.
        no_auth: nobody needs a key, whatever the address.
        urls: jobs may name web addresses as inputs, which the service then downloads.
        allow_networks: private networks (CIDR) that downloads and webhooks may reach all the same.
        allow_hosts: names under which the service may be asked for, beside its address; () = any on an outer address.
        public_url: beginning of the addresses told to others; None = as the request came in.
        webhook_pace: the pauses between two tries of a webhook are so many times as long as usual.
        upload_bytes, video_s, pixels: largest upload, longest video, most pixels of a frame. queued: most jobs waiting.
        keep_s: seconds after which finished jobs and unused uploads go; None = never.
        keep_bytes: of jobs and uploads together, beyond which the oldest go; None = no limit.
        spare_bytes: of the disk that are kept free.
        lease_s: after so long without a sign a worker's job is given to another.
        most_tries: a job that so many workers in a row lost without getting farther has failed.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8700
    database: str | None = None
    models: tuple[str, ...] = ("tiny",)
    devices: tuple[str | None, ...] = (None,)
    workers: int = 1
    engine: Engine = "local"
    ray_address: str | None = None
    ray_gpus: float = 0.0
    offline: bool = False
    face_model: Path | None = None
    dtype: str | None = None
    no_auth: bool = False
    urls: bool = False
    allow_networks: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    public_url: str | None = None
    webhook_pace: float = 1.0
    upload_bytes: int = 8 * GIB
    video_s: float = 4 * 3600
    pixels: int = 8192 * 4320
    queued: int = 10_000
    keep_s: float | None = 7 * 86400
    keep_bytes: int | None = None
    spare_bytes: int = GIB // 2
    lease_s: float = 30.0
    most_tries: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", self.data.absolute())  # workers may run in another folder
        if self.engine not in get_args(Engine):
            raise ConfigError("engine", self.engine, f"choose one of {', '.join(get_args(Engine))}")
        if not 0 <= self.port <= 65535:
            raise ConfigError("port", self.port, "choose 0 to 65535")
        if not self.models:
            raise ConfigError("model", None, "name at least one")
        for key in ("workers", "spare_bytes"):
            if getattr(self, key) < 0:
                raise ConfigError(key, getattr(self, key), "choose 0 or more")
        for key in ("upload_bytes", "video_s", "pixels", "queued", "lease_s", "most_tries", "keep_s", "keep_bytes"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise ConfigError(key, value, "choose a number above 0")
        for network in self.allow_networks:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ConfigError("allow_network", network, "write an address or a network as 10.0.0.0/8") from error

    @property
    def model_names(self) -> list[str]:
        """The models as others may see them: of a path only its last part."""
        return [Path(model).name for model in self.models]

    def model_path(self, name: str) -> str:
        """The model of a name. Raises: ConfigError: there is none."""
        for model in self.models:
            if name in (model, Path(model).name):
                return str(Path(model).absolute()) if Path(model).name != model else model
        raise ConfigError("model", name, f"choose one of {', '.join(self.model_names)}")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def needs_key(self) -> bool:
        return not self.no_auth and not self.is_local

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{(self.data / 'jobs.sqlite').absolute()}"

    def to_json(self) -> str:
        """For a worker process. It may hold a password: never on a command line, never in a log."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> ServeConfig:
        given: dict[str, Any] = json.loads(text)
        for field in fields(cls):
            if isinstance(given.get(field.name), list):
                given[field.name] = tuple(given[field.name])
        face_model = given["face_model"]
        return cls(**given | {"data": Path(given["data"]), "face_model": face_model and Path(face_model)})


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
