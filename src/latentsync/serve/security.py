"""What every request has to pass: host, origin, size; and what every answer says to browsers."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from latentsync.serve.settings import ServeConfig, is_loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SMALL_BODY = 2 * 2**20
"""Largest body of a request that is no upload."""
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
SANDBOX = "sandbox; default-src 'none'; img-src data:; media-src 'self'; style-src 'unsafe-inline'"
"""For what comes out of files: it can show itself and nothing else."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(self), geolocation=()",
}
UPLOADS = ("/v1/files", "/v1/uploads", "/v2/generate", "/v2/assets")


class Guard:
    """ASGI middleware around the whole service."""

    def __init__(self, app: Any, config: ServeConfig) -> None:
        self.app, self.config = app, config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refused(scope, headers)

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._headers(scope["path"], message.get("headers", []))
            await send(message)

        if refused is not None:
            status, code, words = refused
            await _answer(guarded, status, code, words, scope["path"])
            return
        limit = self._limit(scope["path"])
        taken, begun, over = 0, False, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal taken, over
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit and not over:
                over = True
                if not begun:
                    await _answer(guarded, 413, "too_large", f"at most {limit} bytes are taken here", scope["path"])
            return {"type": "http.disconnect"} if over else message

        async def noticed(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            if not over:
                await guarded(message)

        await self.app(scope, counted, noticed)

    def _refused(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, str] | None:
        """Status, code and words for a request that goes no farther; None = it may."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            return 403, "forbidden", "the service does not go by this name (see --allow-host)"
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != host:
                return 403, "forbidden", "other sites may not use this service"
            if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                return 403, "forbidden", "other sites may not use this service"
        length = headers.get("content-length")
        if length is not None and (not length.isdecimal() or int(length) > self._limit(scope["path"])):
            return 413, "too_large", f"at most {self._limit(scope['path'])} bytes are taken here"
        return None

    def _limit(self, path: str) -> int:
        return self.config.upload_bytes if path.startswith(UPLOADS) else SMALL_BODY

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this service: a site whose name was bent to our address does not know it."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if not name or any(letter in host for letter in "/@\\ "):
            return False
        allowed = {each.lower() for each in self.config.allow_hosts} | {self.config.host.strip("[]").lower()}
        if self.config.public_url:
            allowed.add((urlsplit(self.config.public_url).hostname or "").lower())
        if is_loopback(name) or name in allowed:
            return True
        if self.config.is_local or self.config.allow_hosts:
            return False
        # with keys a borrowed name is of no use: it has neither key nor cookie. Without them only names that cannot be
        # borrowed count: addresses, and this machine's own name
        return self.config.needs_key or _is_address(name) or name == socket.gethostname().lower()

    def _headers(self, path: str, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        names = {name.lower() for name, _ in given}
        more = dict(HEADERS)
        more["content-security-policy"] = POLICY
        if path.startswith(("/v1", "/v2")):
            more["cache-control"] = "no-store"
        return [*given, *((k.encode(), v.encode()) for k, v in more.items() if k.encode() not in names)]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _answer(send: Send, status: int, code: str, words: str, path: str) -> None:
    body: dict[str, Any] = {"error": {"code": code, "message": words, "setting": None}}
    if path.startswith("/v2"):
        body = {"statusCode": status, "message": words, "error": code}
    data = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": data})
