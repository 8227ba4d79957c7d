"""Public networks that scores of the field are computed with: where they come from, and under which terms.

None is part of the package. `latentsync models fetch NAME` keeps one in `$LATENTSYNC_CACHE/judges`; `evaluate` takes
what lies there. No torch here.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from latentsync.core.errors import OfflineError, WeightsError
from latentsync.core.files import atomic_path
from latentsync.core.progress import Progress, ProgressCallback, silent
from latentsync.models.weights.hashing import check_file
from latentsync.models.weights.licence import Licence

BLOCK = 1 << 20
HASHES = "hashes.json"
_RELEASED = "https://huggingface.co/ByteDance/LatentSync-1.6/resolve/main/auxiliary"


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicJudge:
    """A file that somebody else publishes.

    Attributes:
        scores: what `evaluate` computes with it.
        address: where it is downloaded from; its last part is the file's name here, if `file` is not given.
        sha256: as other public code has it too; None = not known: recorded at the first download, compared after.
    """

    name: str
    title: str
    scores: tuple[str, ...]
    address: str
    licence: Licence
    sha256: str | None = None
    file: str = ""

    @property
    def path(self) -> Path:
        """Where it is kept on this computer, whether it is there or not."""
        return judges_folder() / (self.file or self.address.rpartition("/")[2])

    @property
    def is_local(self) -> bool:
        return self.path.is_file()


def _licence(part: str, name: str, url: str, note: str) -> Licence:
    return Licence(part=part, name=name, url=url, note=note)


JUDGES: dict[str, PublicJudge] = {
    judge.name: judge
    for judge in (
        PublicJudge(
            name="syncnet-v2",
            title="SyncNet-v2, the judge of published sync scores",
            scores=("LSE-C", "LSE-D"),
            address=f"{_RELEASED}/syncnet_v2.model",
            sha256="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
            licence=_licence(
                "syncnet-v2", "MIT", "https://github.com/joonson/syncnet_python", "Of its code; the weights have none."
            ),
        ),
        PublicJudge(
            name="inception",
            title="Inception-v3 of FID, as TorchScript",
            scores=("FID",),
            address="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
            sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
            licence=_licence(
                "inception",
                "LicenseRef-NVIDIA-Source-Code",
                "https://github.com/NVlabs/stylegan2-ada-pytorch/blob/main/LICENSE.txt",
                "Repository's licence, non-commercial; made from Inception-v3 (Apache-2.0).",
            ),
        ),
        PublicJudge(
            name="i3d",
            title="I3D of FVD, as TorchScript",
            scores=("FVD",),
            address=f"{_RELEASED}/i3d_torchscript.pt",
            licence=_licence(
                "i3d", "Apache-2.0", "https://github.com/google-deepmind/kinetics-i3d", "Of the network it was made of."
            ),
        ),
        PublicJudge(
            name="vgg16",
            title="VGG-16 of LPIPS",
            scores=("LPIPS",),
            address="https://download.pytorch.org/models/vgg16-397923af.pth",
            sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            licence=_licence(
                "vgg16",
                "BSD-3-Clause",
                "https://github.com/pytorch/vision/blob/main/LICENSE",
                "Of torchvision; trained on ImageNet, whose pictures have terms of their own.",
            ),
        ),
        PublicJudge(
            name="lpips",
            title="Heads of LPIPS v0.1 for VGG-16",
            scores=("LPIPS",),
            address="https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
            sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
            file="lpips_v0.1_vgg.pth",
            licence=_licence(
                "lpips", "BSD-2-Clause", "https://github.com/richzhang/PerceptualSimilarity/blob/master/LICENSE", ""
            ),
        ),
        PublicJudge(
            name="sface",
            title="SFace, a face recogniser, as ONNX",
            scores=("CSIM",),
            address="https://huggingface.co/opencv/opencv_zoo/resolve/main/models/face_recognition_sface/"
            "face_recognition_sface_2021dec.onnx",
            sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
            licence=_licence(
                "sface",
                "Apache-2.0",
                "https://github.com/opencv/opencv_zoo/tree/main/models/face_recognition_sface",
                "Papers often take ArcFace instead, whose weights are not for commercial use; figures of two differ.",
            ),
        ),
    )
}


def judges_folder() -> Path:
    """`$LATENTSYNC_CACHE` or `~/.cache/latentsync`, sub-folder `judges`."""
    root = os.environ.get("LATENTSYNC_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "latentsync") / "judges"


def fetch_judge(
    name: str, offline: bool = False, progress: ProgressCallback = silent, address: str | None = None
) -> Path:
    """The local file of a public judge, downloaded where it is not there yet, hash-checked at every call.

    Args: address: another place that has the same file; None = the catalogue's.
    Raises: WeightsError: no judge of that name, or the file is not the published one.
        OfflineError: it is not here and cannot or must not be downloaded.
    """
    if name not in JUDGES:
        raise WeightsError(f"{name}: no public judge of that name. Choose {', '.join(JUDGES)}")
    judge = JUDGES[name]
    source = address or judge.address
    if not judge.path.is_file():
        by_hand = f"Download {source} elsewhere and put it there as {judge.path}."
        if offline:
            raise OfflineError(f"{judge.path}: not here, and downloads are off. {by_hand}")
        judge.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(judge.path) as part:
            _download(source, part, by_hand, progress)
            check_file(part, _expected(judge), f"{source} holds something else today. {by_hand}")
    found = check_file(judge.path, _expected(judge), f"Delete it and run `latentsync models fetch {name}`")
    if _expected(judge) is None:
        _record(judge, found)
    return judge.path


def find_judge(name: str) -> Path | None:
    """The file of a judge that is here, hash-checked; None where it is not. Nothing is downloaded.

    Raises: WeightsError: it is here and is not the published one.
    """
    return fetch_judge(name, offline=True) if JUDGES[name].is_local else None


def _download(address: str, path: Path, by_hand: str, progress: ProgressCallback) -> None:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer, path.open("wb") as file:
            total, done = int(answer.headers.get("Content-Length") or 0) // BLOCK, 0
            while block := answer.read(BLOCK):
                file.write(block)
                done += 1
                progress(Progress("download", done, max(total, done), "MiB"))
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise OfflineError(f"{address}: cannot be read ({error}). {by_hand}") from None


def _hashes() -> dict[str, str]:
    path = judges_folder() / HASHES
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: not readable ({error}). Delete it to record the downloads anew") from error


def _expected(judge: PublicJudge) -> str | None:
    return judge.sha256 or _hashes().get(judge.path.name)


def _record(judge: PublicJudge, found: str) -> None:
    hashes = _hashes() | {judge.path.name: found}
    with atomic_path(judges_folder() / HASHES) as part:
        part.write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n", encoding="utf-8")
