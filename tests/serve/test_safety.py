"""Attempts to break in, and what is answered. `docs/service.md` has the table."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import pytest

import serving
from latentsync.config.options import SyncOptions
from latentsync.core.errors import ConfigError
from latentsync.serve import fetching
from latentsync.serve.files import clean_name
from latentsync.serve.settings import ServeConfig


@pytest.fixture(scope="module")
def keyed(media: serving.Media, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[serving.Served, str, str]]:
    """A service on all addresses, with two keys."""
    folder = tmp_path_factory.mktemp("keyed")
    keys = [make_key(folder / "d", name) for name in ("anna", "berta")]
    options = ("--host", "0.0.0.0", "--workers", "0", "--max-upload", "1", "--max-length", "0.5", "--verbose")
    with serving.served(folder / "d", media, *options) as service:
        yield service, keys[0], keys[1]


def make_key(data: Path, name: str) -> str:
    words = [sys.executable, "-m", "latentsync", "serve", "--data", str(data), "--new-key", name]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_an_outer_address_wants_a_key_before_it_starts(media: serving.Media, tmp_path: Path) -> None:
    words = serving.command(tmp_path / "d", media, "--host", "0.0.0.0", "--workers", "0")
    refused = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 2 and "--new-key" in refused.stderr and "Traceback" not in refused.stderr


def test_without_a_key_nothing_is_told(keyed: tuple[serving.Served, str, str]) -> None:
    service, key, _ = keyed
    for path in ("/v1/jobs", "/v1/files", "/metrics", "/v2/generations", "/v2/models", "/v1/jobs/job_1/events"):
        for headers in (
            {},
            bearer("ls_wrong"),
            bearer("x"),
            {"x-api-key": key[:-1]},
            {"cookie": "latentsync_session=a:9:b"},
        ):
            assert service.http.get(path, headers=headers).status_code == 401, path
    assert set(service.http.get("/v1/about").json()) == {"version", "auth", "signed_in"}
    assert service.http.get("/v1/jobs", headers=bearer(key)).status_code == 200
    assert service.http.get("/v1/jobs", headers={"x-api-key": key}).status_code == 200
    stored = (service.data / "jobs.sqlite").read_bytes() + (service.data / "jobs.sqlite-wal").read_bytes()
    assert key.encode() not in stored and key not in service.log.read_text()


def test_one_key_does_not_see_what_is_anothers(keyed: tuple[serving.Served, str, str], media: serving.Media) -> None:
    service, anna, berta = keyed
    made = service.http.post("/v1/files?name=a.wav", content=media.speech.read_bytes(), headers=bearer(anna)).json()
    for path in ("", "/content"):
        assert service.http.get(f"/v1/files/{made['id']}{path}", headers=bearer(berta)).status_code == 404
    assert service.http.delete(f"/v1/files/{made['id']}", headers=bearer(berta)).status_code == 404
    assert service.http.get(f"/v1/files/{made['id']}", headers=bearer(anna)).status_code == 200


def test_a_page_gets_a_cookie_that_ends_with_its_key(keyed: tuple[serving.Served, str, str]) -> None:
    service, _, _ = keyed
    key = make_key(service.data, "page")
    with httpx.Client(base_url=service.url) as page:
        answer = page.post("/v1/session", headers=bearer(key))
        flags = answer.headers["set-cookie"].lower()
        assert answer.status_code == 204 and "httponly" in flags and "samesite=strict" in flags and key not in flags
        assert page.get("/v1/jobs").status_code == 200
        words = [sys.executable, "-m", "latentsync", "serve", "--data", str(service.data), "--revoke-key", "page"]
        subprocess.run(words, check=True)
        assert page.get("/v1/jobs").status_code == 401


def test_other_sites_and_borrowed_names_are_refused(doors: serving.Served) -> None:
    def status(method: str = "GET", **headers: str) -> int:
        return doors.http.request(
            method, "/v1/jobs", headers={key.replace("_", "-"): v for key, v in headers.items()}
        ).status_code

    assert status(host="evil.example") == 403  # a name that was bent to 127.0.0.1
    assert status(host="127.0.0.1.evil.example") == 403
    assert status(host="localhost@evil.example") == 403
    assert status("POST", origin="https://evil.example") == 403
    assert status("POST", origin="null") == 403
    assert status("POST", sec_fetch_site="cross-site") == 403
    assert status(origin="https://evil.example") == 200  # read by a browser only with CORS, which is not given
    answer = doors.http.get("/v1/jobs", headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert doors.http.request("OPTIONS", "/v1/jobs", headers={"origin": "https://evil.example",
        "access-control-request-method": "POST"}).status_code == 405  # fmt: skip


def test_too_much_is_refused_before_it_is_read(keyed: tuple[serving.Served, str, str]) -> None:
    service, key, _ = keyed
    host, port = "127.0.0.1", int(service.url.rpartition(":")[2])
    for path, size in (("/v1/files?name=a.mp4", 2**40), ("/v1/jobs", 2**30), ("/v1/plan/parse", 2**30)):
        with socket.create_connection((host, port), 10) as line:
            head = (
                f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Length: {size}\r\n\r\n"
            )
            line.sendall(head.encode())  # and not a byte of the body
            assert line.recv(100).startswith(b"HTTP/1.1 413"), path
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": str(2**40)}
    assert service.http.post("/v1/uploads", headers=bearer(key) | tus).status_code == 413

    with socket.create_connection((host, port), 10) as line:  # a length that is not said
        line.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(3):
            line.sendall(b"100000\r\n" + bytes(2**20) + b"\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 413")


def test_limits_of_length_and_pixels(keyed: tuple[serving.Served, str, str], media: serving.Media) -> None:
    service, key, _ = keyed
    ids = [
        service.http.post(f"/v1/files?name={path.name}", content=path.read_bytes(), headers=bearer(key)).json()["id"]
        for path in (media.film, media.speech)
    ]
    answer = service.http.post("/v1/jobs", json={"video": ids[0], "audio": ids[1]}, headers=bearer(key))
    assert answer.status_code == 413 and "0.5" not in answer.json()["error"]["code"]


@pytest.mark.parametrize(
    "name",
    ["../../../../etc/passwd", "..\\..\\windows\\system.ini", "/etc/shadow", "a\0b.mp4", "con.mp4", "x" * 5000 + ".mp4",
     "<img src=x onerror=alert(1)>.mp4", "‮gpm.exe", ".", "..", "", "a\r\nSet-Cookie: b=c.mp4"],
)  # fmt: skip
def test_names_never_become_paths_or_headers(doors: serving.Served, media: serving.Media, name: str) -> None:
    before = {path for path in doors.data.parent.rglob("*") if doors.data not in path.parents}
    answer = doors.http.post("/v1/files", params={"name": name}, content=media.speech.read_bytes())
    if answer.status_code != 201:
        assert answer.status_code == 422 and len(name) > 1000
        return
    made = answer.json()
    assert (
        "/" not in made["name"] and "\\" not in made["name"] and made["name"].isprintable() and len(made["name"]) <= 200
    )
    assert next(path.name for path in (doors.data / "files" / made["id"]).iterdir()) in ("content.mp4", "content.bin")
    assert {path for path in doors.data.parent.rglob("*") if doors.data not in path.parents} == before
    content = doors.http.get(f"/v1/files/{made['id']}/content")
    assert "set-cookie" not in content.headers and content.headers["content-disposition"].startswith("attachment")
    assert content.headers["content-type"] in ("video/mp4", "application/octet-stream")
    assert content.headers["content-security-policy"].startswith("sandbox")


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
     "/v1/files/..%2f..%2fjobs.sqlite/content",
     "/v1/jobs/..%2f..%2fjobs.sqlite/result", "/v1/files/file_%00/content",
     "//etc/passwd"],
)  # fmt: skip
def test_paths_lead_nowhere(doors: serving.Served, path: str) -> None:
    host, port = "127.0.0.1", int(doors.url.rpartition(":")[2])
    with socket.create_connection((host, port), 10) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert b" 404 " in answer.split(b"\r\n")[0] and b"root:" not in answer and b"SQLite" not in answer


@pytest.mark.parametrize(
    ("options", "setting"),
    [({"face": "/etc/passwd"}, "face"), ({"face": "../jobs.sqlite"}, "face"), ({"mix": "/etc/passwd"}, "mix"),
     ({"unknown": 1}, "unknown"), ({"crf": "1; rm"}, "crf"), ({"steps": 10**9}, "steps")],
)  # fmt: skip
def test_options_name_no_files_of_the_machine(
    doors: serving.Served, media: serving.Media, options: dict[str, Any], setting: str
) -> None:
    video, audio = doors.upload(media.film), doors.upload(media.speech)
    answer = doors.http.post("/v1/jobs", json={"video": video, "audio": audio, "options": options})
    assert answer.status_code == 422 and answer.json()["error"]["setting"] == setting, answer.text
    for more in ({"preset": "/etc/passwd"}, {"model": "/etc/passwd"}, {"container": "../sh"}):
        assert doors.http.post("/v1/jobs", json={"video": video, "audio": audio} | more).status_code == 422


def test_every_option_that_takes_free_text_is_known_here() -> None:
    free = {
        key for key, hint in get_type_hints(SyncOptions).items() if hint in (str, str | None) or "Path" in str(hint)
    }
    assert free == {"face", "mix", "audio_track", "codec", "pixel_format"}, (
        "may the new one name a file? See serve/spec"
    )


def test_playlists_do_not_open_other_files(doors: serving.Served, media: serving.Media, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(media.speech.read_bytes())
    texts = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{secret}'\n",
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\na={secret}\n",
        f'<?xml version="1.0"?><MPD><BaseURL>file://{secret}</BaseURL></MPD>',
    ]
    for text in texts:
        for name in ("list.mp4", "list.m3u8", "list.wav"):
            made = doors.http.post("/v1/files", params={"name": name}, content=text.encode()).json()
            assert made["kind"] == "other", text
            refused = doors.http.post("/v1/inspect", json={"video": made["id"]})
            assert refused.status_code == 422
            assert doors.http.get(f"/v1/files/{made['id']}/preview").status_code == 422


def test_addresses_are_off_by_default(doors: serving.Served, media: serving.Media) -> None:
    answer = doors.http.post(
        "/v1/jobs", json={"video": {"url": "https://example.com/a.mp4"}, "audio": doors.upload(media.speech)}
    )
    assert answer.status_code == 422 and answer.json()["error"]["setting"] == "video"


CONFIG = ServeConfig(data=Path("unused"), urls=True)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.9.9", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
     "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
     "2002:7f00:1::", "2001:0:7f00::1", "ff02::1", "fe80::1%eth0"],
)  # fmt: skip
def test_private_addresses_are_not_reached(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not fetching.reachable(address, CONFIG)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [
        (family, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80)), (family, socket.SOCK_STREAM, 6, "", (address, 80)),
    ])  # fmt: skip
    with pytest.raises(fetching.Unreachable):  # one open address beside it does not help
        fetching.resolved("mixed.example", 80, CONFIG)
    assert fetching.reachable("93.184.215.14", CONFIG) and fetching.reachable("2606:2800:21f:cb07::1", CONFIG)


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "localhost.", "[::1]"]
)
def test_other_spellings_of_this_machine_are_not_reached(host: str) -> None:
    with pytest.raises((fetching.Unreachable, ConfigError)):
        list(fetching.download(f"http://{host}/", CONFIG, 10**6))


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.com/a", "gopher://example.com", "http://user:pw@example.com/", "http:///x",
     "http://example.com:22/", "http://exa mple.com/", "http://example.com/\r\nX: y", "concat:/etc/passwd", "data:,x",
     "//x"],
)  # fmt: skip
def test_only_plain_web_addresses_are_taken(url: str) -> None:
    with pytest.raises(ConfigError):
        fetching.check_url(url, CONFIG)


def test_a_name_that_changes_its_meaning_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was checked is the one that is connected to, whatever the name means a moment later."""
    answers = iter(["93.184.215.14", "127.0.0.1", "127.0.0.1"])
    reached: list[str] = []

    def resolve(_host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    def connect(address: tuple[str, int], *_: Any) -> socket.socket:
        reached.append(address[0])
        raise OSError("nobody is there")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(fetching.Unreachable):
        list(fetching.download("http://changing.example/", CONFIG, 10**6))
    assert reached == ["93.184.215.14"]


def test_a_redirect_into_the_house_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = socket.socketpair()
    far.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data/\r\nContent-Length: 0\r\n\r\n"
    )
    reached: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        address = "169.254.169.254" if host.startswith("169.") else "93.184.215.14"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(address: tuple[str, int], *_: Any) -> socket.socket:
        reached.append(address[0])
        return near

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(fetching.Unreachable, match="open internet"):
        list(fetching.download("http://first.example/film.mp4", CONFIG, 10**6))
    assert reached == ["93.184.215.14"]
    far.close()


def test_a_secret_of_the_database_is_on_no_command_line_and_in_no_error(media: serving.Media, tmp_path: Path) -> None:
    environment = dict(os.environ, LATENTSYNC_DATABASE="postgresql://u:hunter2@127.0.0.1:1/none")
    words = serving.command(tmp_path / "d", media)
    refused = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert refused.returncode == 2 and "hunter2" not in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert "hunter2" not in json.dumps(words)


def test_clean_names() -> None:
    assert clean_name("C:\\films\\a.mp4") == "a.mp4" and clean_name("../x/..") == "unnamed"
