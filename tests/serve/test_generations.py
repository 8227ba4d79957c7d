"""sync.so's interface: with their own SDK, and a webhook that is heard at the third try."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import serving


class Receiver(HTTPServer):
    """Fails twice, then hears."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[tuple[dict[str, str], bytes]] = []


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert isinstance(self.server, Receiver)
        self.server.heard.append((dict(self.headers), body))
        self.send_response(500 if len(self.server.heard) < 3 else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def service(media: serving.Media, tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Served]:
    folder = tmp_path_factory.mktemp("v2")
    with serving.served(folder / "d", media, "--allow-network", "127.0.0.0/8", "--webhook-pace", "0.02") as running:
        yield running


def test_their_sdk_generates_polls_and_downloads(service: serving.Served, media: serving.Media) -> None:
    sync = pytest.importorskip("sync", reason="syncsdk is not installed")
    from sync.common import Audio, GenerationOptions, Video  # type: ignore[import-not-found]

    video, audio = service.upload(media.film), service.upload(media.speech)
    client = sync.Sync(base_url=service.url, api_key="none is needed")
    made = client.generations.create(
        model="lipsync-2",
        input=[Video(url=f"{service.url}/v1/files/{video}/content"), Audio(asset_id=audio)],
        options=GenerationOptions(sync_mode="cut_off"),
        output_file_name="their-name",
    )
    assert made.status == "PENDING"
    deadline = time.monotonic() + 120
    while (found := client.generations.get(made.id)).status in ("PENDING", "PROCESSING"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert found.status == "COMPLETED" and found.output_duration == pytest.approx(0.64, abs=0.02), found
    content = service.http.get(found.output_url)
    assert content.status_code == 200 and "their-name.mp4" in content.headers["content-disposition"]
    assert hashlib.sha256(content.content).hexdigest() == service.job(made.id)["result"]["sha256"]
    assert made.id in [each.id for each in client.generations.list()]
    with pytest.raises(sync.core.api_error.ApiError) as refused:
        client.generations.get("nothing")
    assert refused.value.status_code == 404


def test_a_webhook_that_fails_twice_comes_a_third_time_signed(
    service: serving.Served, media: serving.Media, receiver: Receiver
) -> None:
    video, audio = service.upload(media.film), service.upload(media.speech)
    words = {
        "model": "lipsync-2", "webhookUrl": f"http://127.0.0.1:{receiver.server_port}/hook",
        "input": [{"type": "video", "assetId": video}, {"type": "audio", "assetId": audio}],
    }  # fmt: skip
    made = service.http.post("/v2/generate", json=words, headers={"Idempotency-Key": "w"}).json()
    again = service.http.post("/v2/generate", json=words, headers={"Idempotency-Key": "w"}).json()
    assert made["id"] == again["id"]
    assert service.wait(made["id"])["state"] == "done"
    deadline = time.monotonic() + 60
    while len(receiver.heard) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.5)
    assert len(receiver.heard) == 3  # heard once, told no more
    shown = [sys.executable, "-m", "latentsync", "serve", "--data", str(service.data), "--webhook-secret"]
    secret = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.strip()
    for headers, body in receiver.heard:
        head = {key.lower(): value for key, value in headers.items()}
        said = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
        assert head["webhook-signature"] == f"v1,{expected}"
        at, _, digits = head["sync-signature"].partition(",v1=")
        plain = at.removeprefix("t=").encode() + b"." + body
        assert hmac.new(secret.encode(), plain, hashlib.sha256).hexdigest() == digits
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1  # so that a receiver knows it again
    told = json.loads(receiver.heard[-1][1])
    assert (told["id"], told["status"]) == (made["id"], "COMPLETED") and told["outputUrl"]
    hooks = service.job(made["id"])["webhooks"]
    assert [(each["attempt"], each["status"], each["over"]) for each in hooks] == [(3, 200, True)]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"options": {"sync_mode": "remap"}}, "remap"),
        ({"options": {"prompt": "happy"}}, "prompt"),
        ({"input": [{"type": "text", "provider": {"name": "elevenlabs"}}]}, "text"),
        ({"segments": [{"startTime": 0, "endTime": 1, "audioInput": {"refId": "x"}}]}, "refId"),
        ({"options": {"latentsync": {"mix": "/etc/passwd"}}}, "mix"),
    ],
)
def test_what_we_do_not_do_is_refused_in_their_shape(
    service: serving.Served, media: serving.Media, change: dict[str, object], word: str
) -> None:
    files = [{"type": "video", "assetId": service.upload(media.film)},
             {"type": "audio", "assetId": service.upload(media.speech)}]  # fmt: skip
    answer = service.http.post("/v2/generate", json={"model": "lipsync-2", "input": files} | change)
    assert answer.status_code == 400 and word in answer.json()["message"] and answer.json()["statusCode"] == 400


def test_inputs_by_address_are_downloaded(media: serving.Media, tmp_path: Path) -> None:
    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("location", "/film.mp4")
                self.end_headers()
                return
            content = (media.film if "film" in self.path else media.speech).read_bytes()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return None

    origin = HTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{origin.server_port}"
    with serving.served(tmp_path / "d", media, "--urls", "--allow-network", "127.0.0.0/8") as service:
        job = service.submit({"url": f"{base}/moved"}, {"url": f"{base}/speech.wav"})  # type: ignore[arg-type]
        assert job["state"] == "queued"
        done = service.wait(job["id"])
    origin.shutdown()
    origin.server_close()
    assert done["state"] == "done" and done["result"]["num_frames"] == 16, done
