"""Load on the service: jobs queued, clients polling one job each; latency of `GET /v1/jobs/ID`, the server's memory.

python benchmarks/serve_load.py --jobs 200 --clients 50 --seconds 20
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from importlib import resources
from pathlib import Path

SAMPLE = Path(str(resources.files("latentsync") / "assets" / "sample"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pause", type=float, default=0.5, help="between two requests of one client")
    parser.add_argument("--workers", type=int, default=0, help="that run the jobs meanwhile")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "latentsync", "serve", "--data", folder, "--port", "8797", "--workers"]
        with subprocess.Popen([*words, str(given.workers)], stderr=subprocess.DEVNULL) as process:
            try:
                measure(process.pid, "http://127.0.0.1:8797", given)
            finally:
                process.terminate()


def measure(pid: int, url: str, given: argparse.Namespace) -> None:
    wait(url)
    video, audio = (upload(url, SAMPLE / name) for name in ("talk.mp4", "speech.wav"))
    body = {"video": video, "audio": audio, "draft": {"seconds": 0.2}, "extras": []}
    begin = time.perf_counter()
    jobs = [post(f"{url}/v1/jobs", json.dumps(body).encode())["id"] for _ in range(given.jobs)]
    print(f"{given.jobs} jobs put in: {given.jobs / (time.perf_counter() - begin):.0f} a second")
    before, times, lock, until = rss_mib(pid), list[float](), threading.Lock(), time.perf_counter() + given.seconds

    def poll(job: str) -> None:
        while time.perf_counter() < until:
            started = time.perf_counter()
            urllib.request.urlopen(f"{url}/v1/jobs/{job}", timeout=60).read()
            with lock:
                times.append(time.perf_counter() - started)
            time.sleep(given.pause)

    clients = [threading.Thread(target=poll, args=(jobs[n % len(jobs)],)) for n in range(given.clients)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    times.sort()
    p50, p99 = times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3
    print(f"{given.clients} clients, {len(times)} requests: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    print(f"server's memory: {before:.0f} MiB before, {rss_mib(pid):.0f} MiB after")


def wait(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/v1/about", timeout=5).read()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the service did not start")


def post(url: str, body: bytes) -> dict[str, str]:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    return dict(json.load(urllib.request.urlopen(request, timeout=60)))


def upload(url: str, path: Path) -> str:
    return post(f"{url}/v1/files?name={path.name}", path.read_bytes())["id"]


def rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
