"""Pictures of the page for the docs: `python studies/page_pictures.py --out docs/pictures`.

Needs the extras serve and browser, and Chromium. A service starts on the shipped sample with `tiny`; each step of the
order of work is photographed on a desktop, then the result on a phone and in the dark.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import cv2

SAMPLE = Path(__file__).parents[1] / "src" / "latentsync" / "assets" / "sample"
PORT = 8765


def photographed(page: Any, out: Path, width: int) -> None:
    """The page as a JPEG of this width."""
    page.screenshot(path=str(out.with_suffix(".png")), full_page=True)
    picture = cv2.imread(str(out.with_suffix(".png")))
    height = round(picture.shape[0] * width / picture.shape[1])
    cv2.imwrite(
        str(out), cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, 82]
    )
    out.with_suffix(".png").unlink()


def walk(out: Path, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    url = f"http://127.0.0.1:{PORT}"
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.goto(url)
        page.set_input_files("#video", str(SAMPLE / "talk.mp4"))
        page.wait_for_selector("#faces:not([hidden])", timeout=120_000)
        page.set_input_files("#audio", str(SAMPLE / "speech.wav"))
        page.wait_for_selector(".drop.ready[data-kind=audio]", timeout=60_000)
        page.wait_for_selector("#look-wait", state="hidden", timeout=60_000)
        page.wait_for_timeout(800)
        photographed(page, out / "page-look.jpg", 800)
        page.click("#draft")
        page.wait_for_selector(".job .compare:not([hidden])", timeout=300_000)
        page.locator(".job .seek").evaluate("e => { e.value = 480; e.dispatchEvent(new Event('input')); }")
        page.wait_for_timeout(1500)
        photographed(page, out / "page-result.jpg", 800)
        for name, settings in (
            ("page-phone.jpg", {"viewport": {"width": 390, "height": 844}}),
            ("page-dark.jpg", {"viewport": {"width": 1000, "height": 800}, "color_scheme": "dark"}),
        ):
            other = browser.new_page(**settings)
            other.goto(url)
            other.wait_for_selector(".job .compare:not([hidden])", timeout=60_000)
            other.wait_for_timeout(1500)
            photographed(other, out / name, 390 if "phone" in name else 800)
        browser.close()


def main() -> None:
    """Start the service, walk, end it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "latentsync", "serve", "--data", data, "--port", str(PORT)]
        service = subprocess.Popen(command)
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v1/about")
                    break
                except OSError:
                    time.sleep(0.5)
            walk(args.out, args.chromium)
        finally:
            service.terminate()
            service.wait()


if __name__ == "__main__":
    main()
