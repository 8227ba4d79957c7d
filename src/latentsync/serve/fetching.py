"""Web addresses given by others: what may be reached, and how it is reached without being led elsewhere."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import SplitResult, urljoin, urlsplit

from latentsync.core.errors import ConfigError, LatentSyncError
from latentsync.serve.settings import ServeConfig

MOST_REDIRECTS = 5
TIMEOUT_S = 20.0
BLOCK = 1 << 20
_TRANSLATED = tuple(ipaddress.ip_network(each) for each in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))
"""IPv6 networks behind which an IPv4 address stands."""


class Unreachable(LatentSyncError):
    """An address that may not be reached, or does not answer."""


def check_url(url: str, config: ServeConfig) -> SplitResult:
    """The parts of an address. Raises: ConfigError: it is none that may ever be reached; nothing is looked up."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError("url", url, "is no web address") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("url", url, "write https://…")
    if parts.username or parts.password:
        raise ConfigError("url", parts.hostname, "leave user and password out of it")
    if any(letter <= " " or letter == "\x7f" for letter in url):
        raise ConfigError("url", parts.hostname, "it holds spaces or control characters")
    if port not in (None, 80, 443) and not config.allow_networks:
        raise ConfigError("url", parts.hostname, "only the ports 80 and 443 are reached")
    return parts


def reachable(address: str, config: ServeConfig) -> bool:
    """Whether an IP address lies in the open internet, or in a network that was allowed."""
    found: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if any(found in ipaddress.ip_network(each) for each in config.allow_networks):
        return True
    if any(found.version == network.version and found in network for network in _TRANSLATED):
        return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def resolved(host: str, port: int, config: ServeConfig) -> str:
    """The one address that is then connected to. Raises: Unreachable: any of the name's addresses is not open."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{host}: no such name") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(reachable(address, config) for address in addresses):
        raise Unreachable(f"{host}: is not in the open internet")
    return addresses[0]


class _Pinned(http.client.HTTPConnection):
    """A connection to the address that was checked, whatever the name means by now."""

    def __init__(self, address: str, host: str, port: int, secure: bool) -> None:
        super().__init__(host, port, timeout=TIMEOUT_S)
        self._address, self._secure = address, secure

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), TIMEOUT_S)
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
        else:
            self.sock = plain


@contextmanager
def _answered(
    method: str, url: str, config: ServeConfig, headers: Mapping[str, str], body: bytes | None
) -> Iterator[http.client.HTTPResponse]:
    parts = check_url(url, config)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    host = parts.hostname or ""
    connection = _Pinned(resolved(host, port, config), host, port, secure)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, dict(headers))
        yield connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(f"{host}: no answer ({type(error).__name__})") from error
    finally:
        connection.close()


def download(url: str, config: ServeConfig, most: int) -> Iterator[bytes]:
    """The bytes behind an address. Every redirect is checked like the first address.

    Args: most: bytes; more are not read.
    Raises: Unreachable. ConfigError: see `check_url`.
    """
    for _ in range(MOST_REDIRECTS + 1):
        with _answered("GET", url, config, {"User-Agent": "latentsync"}, None) as answer:
            if answer.status in (301, 302, 303, 307, 308):
                url = urljoin(url, answer.headers.get("location", ""))
                continue
            host = urlsplit(url).hostname
            if answer.status != 200:
                raise Unreachable(f"{host}: answers with status {answer.status}")
            length = answer.headers.get("content-length", "")
            if length.isdecimal() and int(length) > most:
                raise Unreachable(f"{host}: the file has {length} bytes; at most {most} are taken")
            taken = 0
            while block := answer.read(BLOCK):
                taken += len(block)
                if taken > most:
                    raise Unreachable(f"{host}: the file has more than {most} bytes")
                yield block
            if length.isdecimal() and taken < int(length):
                raise Unreachable(f"{host}: the download broke off at {taken} of {length} bytes")
            return
    raise Unreachable("too many redirects")


def post(url: str, config: ServeConfig, headers: Mapping[str, str], body: bytes) -> int:
    """Send a webhook; a redirect is not followed. Returns: the status. Raises: Unreachable. ConfigError."""
    with _answered("POST", url, config, headers, body) as answer:
        answer.read(1024)
        return int(answer.status)
