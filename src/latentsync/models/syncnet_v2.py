"""SyncNet v2, the judge of published sync scores: keys and shapes of `syncnet_v2.model` (docs/method.md#syncnet-v2)."""

from __future__ import annotations

from torch import Tensor, nn


class SyncNetV2(nn.Module):
    """5 frames of lips against 20 columns of MFCC. 13,631,616 parameters.

    The MFCC front-end belongs to the metrics floor. Every convolution is followed by BatchNorm and ReLU; entries of the
    sequences without weights (ReLU, pooling) keep the released numbering.
    """

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2(1, 64, 3, padding=1), nn.MaxPool2d(1, 1),
            *_conv2(64, 192, 3, padding=1), nn.MaxPool2d(3, (1, 2)),
            *_conv2(192, 384, 3, padding=1),
            *_conv2(384, 256, 3, padding=1),
            *_conv2(256, 256, 3, padding=1), nn.MaxPool2d(3, 2),
            *_conv2(256, 512, (5, 4)),
        )  # fmt: skip
        self.netcnnlip = nn.Sequential(
            *_conv3(3, 96, (5, 7, 7), (1, 2, 2), (0, 0, 0)), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_conv3(256, 256, (1, 3, 3), (1, 1, 1), (0, 1, 1)),
            *_conv3(256, 256, (1, 3, 3), (1, 1, 1), (0, 1, 1)),
            *_conv3(256, 256, (1, 3, 3), (1, 1, 1), (0, 1, 1)), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3(256, 512, (1, 6, 6), (1, 1, 1), (0, 0, 0)),
        )  # fmt: skip
        self.netfcaud = _head()
        self.netfclip = _head()

    def embed_audio(self, mfcc: Tensor) -> Tensor:
        """(N, 1, 13, 20) MFCC → (N, 1024)."""
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))

    def embed_lips(self, frames: Tensor) -> Tensor:
        """(N, 3, 5, 224, 224) BGR in [0, 255] → (N, 1024)."""
        return self.netfclip(self.netcnnlip(frames).flatten(1))


def _conv2(in_width: int, width: int, kernel: int | tuple[int, int], padding: int = 0) -> tuple[nn.Module, ...]:
    return nn.Conv2d(in_width, width, kernel, padding=padding), nn.BatchNorm2d(width), nn.ReLU()


def _conv3(
    in_width: int, width: int, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> tuple[nn.Module, ...]:
    conv = nn.Conv3d(in_width, width, kernel, stride=stride, padding=padding)  # type: ignore[arg-type]
    return conv, nn.BatchNorm3d(width), nn.ReLU()


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))
