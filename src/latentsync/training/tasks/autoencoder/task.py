"""The task `autoencoder`: the small autoencoder, from pieces of aligned crops."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from latentsync.core.errors import ConfigError
from latentsync.core.files import atomic_path
from latentsync.diffusion.noise import noise_like
from latentsync.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from latentsync.training.datasets import AnyClip, Mixture, TrainingData, open_data
from latentsync.training.engine.components import Start, build_part
from latentsync.training.engine.task import Batch, Objective, ValidationResult, rng_of
from latentsync.training.losses.discriminator import Discriminator, feature_distance
from latentsync.training.losses.laplacian import laplacian_loss
from latentsync.training.losses.perceptual import EncoderFeatures, PerceptualLoss, load_lpips
from latentsync.training.tasks.autoencoder.settings import AutoencoderSettings, autoencoder_settings
from latentsync.training.tasks.tiny_unet.objective import DiscriminatorObjective, Generated

CONFIG, TENSORS = "config.json", "model.safetensors"
MOUTH = (140 / 256, 230 / 256, 70 / 256, 186 / 256)
"""The mouth in an aligned crop: first and last row, first and last column, as shares of the side."""
JUDGED_EVERY, SHOWN = 15, 6


def build(
    settings: Mapping[str, Any],
    data: Sequence[Path] | TrainingData,
    *,
    start: str | Path | None = None,
    seed: int = 0,
) -> AutoencoderTask:
    """The task from the `task:` section of a preset.

    Args:
        data: see `open_data`; whether picture and sound are in sync does not matter here.
        start: weights to go on from: the folder of a small autoencoder, or a model that has one, such as "tiny".
    Raises: ConfigError, LatentSyncError, WeightsError: settings, clips or weights that cannot be used.
    """
    wanted = autoencoder_settings(settings)
    opened = data if isinstance(data, TrainingData) else open_data(list(data))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = TinyAutoencoder.from_config(wanted.network)
    if start is not None:
        network.load_state_dict(_start_of(start, network.config, seed))
    return AutoencoderTask(network, wanted, opened, seed)


def _start_of(start: str | Path, wanted: TinyAutoencoderConfig, seed: int) -> Mapping[str, Tensor]:
    found = build_part("autoencoder", str(start), Start(), seed)
    if not isinstance(found, TinyAutoencoder):
        raise ConfigError("start", str(start), "give a small autoencoder: its folder, or a model such as tiny")
    if replace(found.config, latent_mean=None, latent_std=None) != wanted:
        described = {k: v for k, v in found.to_config().items() if not k.startswith("latent_m") and k != "latent_std"}
        raise ConfigError("task.network", str(start), f"the start is another network; set it to {described}")
    return found.state_dict()


class AutoencoderObjective(Objective):
    """Pixels to latents and back.

    A batch holds `pixels` (B, 3, S, S) float32 in [−1, 1], `mouth` (B, S, S) bool, `seed` (B,).
    """

    def __init__(
        self,
        network: TinyAutoencoder,
        settings: AutoencoderSettings,
        perceptual: PerceptualLoss | None = None,
        discriminator: Discriminator | None = None,
        made: Generated | None = None,
    ) -> None:
        super().__init__(network)
        self.settings, self.discriminator, self.made = settings, [discriminator], made
        if perceptual is not None:
            self.consult("perceptual", perceptual)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `l1`, `laplacian`, `size`; `perceptual`, `discriminator` and `features` where they are asked for."""
        described, network = self.settings.weights, cast(TinyAutoencoder, self.network)
        pixels = batch["pixels"].contiguous(memory_format=torch.channels_last)
        raw = network.encoder(pixels)
        spread = raw.detach().std(dim=(0, 2, 3), keepdim=True)
        noise = noise_like(batch["seed"], raw.shape[1:]).to(raw)
        made = network.decoder(raw + self.settings.latent_noise * spread * noise).float()
        weight = torch.where(batch["mouth"], described.mouth, 1.0)[:, None]
        weight = weight / weight.mean()
        terms = {
            "l1": described.l1 * ((made - pixels).abs() * weight).mean(),
            "laplacian": described.laplacian * laplacian_loss(made, pixels, weight),
            "size": described.size * raw.float().square().mean(),
        }
        if described.perceptual > 0:
            loss = cast(PerceptualLoss, self.consulted("perceptual"))
            terms["perceptual"] = described.perceptual * loss.distance(made, pixels)
        if self.discriminator[0] is not None and self.made is not None:
            terms |= self._judged(self.discriminator[0], self.made, made, pixels)
        return terms

    def _judged(self, discriminator: Discriminator, kept: Generated, made: Tensor, pixels: Tensor) -> dict[str, Tensor]:
        """What the discriminator thinks; the pieces are kept for its own training, which comes next."""
        kept.fake, kept.real = made.detach(), pixels
        opinions, features = discriminator(made)
        with torch.no_grad():
            _, wanted = discriminator(pixels)
        described = self.settings.weights
        return {
            "discriminator": -described.discriminator * torch.stack([o.float().mean() for o in opinions]).mean(),
            "features": described.features * feature_distance(features, wanted),
        }


class AutoencoderTask:
    """See `Task`. The second objective, where `weights.discriminator` is above 0, is the discriminator."""

    name = "autoencoder"
    score = ("val/psnr_mouth_db", True)

    def __init__(self, network: TinyAutoencoder, settings: AutoencoderSettings, data: TrainingData, seed: int) -> None:
        self.settings, self.seed, self.train, self.val = settings, seed, data.train, data.val
        self.fingerprint = data.fingerprint
        self._check(network.factor)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        made = Generated()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            discriminator = Discriminator(settings.discriminator_widths) if settings.weights.discriminator > 0 else None
        perceptual = None if settings.perceptual is None else _perceptual(settings.perceptual, seed)
        self.objectives: list[Objective] = [AutoencoderObjective(network, settings, perceptual, discriminator, made)]
        if discriminator is not None:
            judge = DiscriminatorObjective(discriminator, made)
            judge.learning_rate_scale = settings.discriminator_learning_rate
            self.objectives.append(judge)

    def _check(self, factor: int) -> None:
        side, whole = self.settings.side, next(iter(self.train)).crops.shape[1]
        least = max(factor, 8) if self.settings.weights.discriminator <= 0 else 32
        if side % factor or side > whole or side < least:
            raise ConfigError("task.side", side, f"choose a multiple of {factor} from {least} to the crops' {whole}")
        if whole % factor:
            raise ConfigError("data", whole, f"crops must be a multiple of {factor} px for this network")

    def example(self, number: int) -> dict[str, Tensor]:
        """See `AutoencoderObjective` for what an example holds (there with a batch axis)."""
        rng = rng_of(self.seed, number)
        crops = self.train.draw(rng).crops
        picture, described = crops[int(rng.integers(len(crops)))], self.settings
        whole, side = picture.shape[0], described.side
        take = int(rng.integers(side, min(2 * side, whole) + 1)) if rng.random() < described.shrunk else side
        low = whole // 4 if rng.random() < described.lower else 0
        top = int(rng.integers(min(low, whole - take), whole - take + 1))
        left = int(rng.integers(0, whole - take + 1))
        piece = np.array(picture[top : top + take, left : left + take])
        if take != side:
            piece = cv2.resize(piece, (side, side), interpolation=cv2.INTER_AREA)
        mouth = mouth_in(whole, top, left, take, side)
        if rng.random() < 0.5:
            piece, mouth = piece[:, ::-1], mouth[:, ::-1]
        pixels = torch.from_numpy(np.ascontiguousarray(piece)).permute(2, 0, 1).float() / 127.5 - 1
        gain, tint, offset = 2 * rng.random(1) - 1, 2 * rng.random(3) - 1, float(2 * rng.random() - 1)
        gains = (1 + described.colour.gain * gain) * (1 + described.colour.tint * tint)
        pixels = pixels * torch.from_numpy(gains).float().view(3, 1, 1) + described.colour.offset * offset
        return {
            "pixels": pixels.clamp(-1, 1),
            "mouth": torch.from_numpy(np.ascontiguousarray(mouth)),
            "seed": torch.tensor(int(rng.integers(2**62)), dtype=torch.int64),
        }

    @torch.no_grad()
    def validate(self, network: nn.Module) -> ValidationResult:
        """PSNR in dB (peak 2) of whole crops and of the mouth, mean over clips, and of each source; and pairs."""
        own = cast(TinyAutoencoder, network)
        figures: dict[str, list[float]] = {}
        shown: list[tuple[np.ndarray, np.ndarray]] = []
        each = max(1, self.settings.judged_clips // len(self.val.sources))
        for source in self.val.sources:
            for clip in _spread(source.clips, each):
                real = _unit(clip.crops[::JUDGED_EVERY])
                made = own.decode(own.encode(real)).float().clamp(-1, 1)
                error = (real - made).square()
                rows, columns = _mouth_slices(real.shape[-1])
                found = {"psnr_db": error, "psnr_mouth_db": error[..., rows, columns]}
                for name, part in found.items():
                    value = float(10 * torch.log10(4 / part.mean().clamp_min(1e-9)))
                    for key in {f"val/{name}", f"val/{source.name}/{name}"}:
                        figures.setdefault(key, []).append(value)
                shown.append((_bytes(real[0]), _bytes(made[0])))
        if len(self.val.sources) == 1:
            figures = {key: values for key, values in figures.items() if key.count("/") == 1}
        picked = [shown[k] for k in np.linspace(0, len(shown) - 1, min(SHOWN, len(shown))).round().astype(int)]
        return ValidationResult(
            figures={key: float(np.mean(values)) for key, values in figures.items()}, pictures={"pairs": _pairs(picked)}
        )

    def export(self, network: nn.Module, folder: Path) -> None:
        """`config.json` with the statistics of the latents over training crops, and `model.safetensors`."""
        from safetensors.torch import save_file

        own = cast(TinyAutoencoder, network)
        final = TinyAutoencoder(replace(own.config, latent_mean=None, latent_std=None))
        state = {key: value.detach().cpu().contiguous() for key, value in own.state_dict().items()}
        final.load_state_dict(state)
        final.set_latent_statistics(*latent_statistics(final, self.train, self.settings.statistics_crops))
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / TENSORS) as part:
            save_file(state, part, metadata={"format": "pt"})
        with atomic_path(folder / CONFIG) as part:
            part.write_text(json.dumps(final.to_config(), indent=2) + "\n", encoding="utf-8")


def mouth_in(whole: int, top: int, left: int, take: int, side: int) -> np.ndarray:
    """(side, side) bool: where the mouth of a crop of side `whole` lies in its piece `take`² at (top, left)."""
    scale = side / take
    y0, y1, x0, x1 = (whole * share for share in MOUTH)
    rows = (np.arange(side) + 0.5) / scale + top
    columns = (np.arange(side) + 0.5) / scale + left
    return ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))[None]


@torch.no_grad()
def latent_statistics(network: TinyAutoencoder, clips: Mixture, crops: int) -> tuple[list[float], list[float]]:
    """Per-channel mean and standard deviation of the raw latents of about `crops` crops, people and clips alike."""
    rng = np.random.default_rng(0)
    raws = []
    for _ in range(-(-crops // 8)):
        clip = clips.draw(rng)
        at = np.sort(rng.integers(0, len(clip.crops), 8))
        raws.append(network.encoder(_unit(clip.crops[at])).transpose(0, 1).flatten(1))
    raw = torch.cat(raws, dim=1)
    return raw.mean(1).tolist(), raw.std(1).tolist()


def _perceptual(given: Any, seed: int) -> PerceptualLoss:
    if isinstance(given, Mapping) and "class" not in given:
        if set(given) != {"vgg", "lpips"}:
            raise ConfigError("task.perceptual", dict(given), "LPIPS needs both files: vgg and lpips")
        return load_lpips(*(Path(str(given[key])).expanduser() for key in ("vgg", "lpips")))
    network = build_part("autoencoder", given, Start(), seed)
    if network is None:
        raise ConfigError("task.perceptual", given, "give an autoencoder, or the files vgg and lpips")
    return PerceptualLoss("encoder features", EncoderFeatures(network))


def _spread(clips: Sequence[AnyClip], most: int) -> Iterator[AnyClip]:
    for index in np.unique(np.linspace(0, len(clips) - 1, min(most, len(clips))).round().astype(int)):
        yield clips[int(index)]


def _unit(crops: np.ndarray) -> Tensor:
    """(n, R, R, 3) uint8 → (n, 3, R, R) float32 in [−1, 1]."""
    return torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _mouth_slices(side: int) -> tuple[slice, slice]:
    y0, y1, x0, x1 = (round(share * side) for share in MOUTH)
    return slice(y0, y1), slice(x0, x1)


def _bytes(picture: Tensor) -> np.ndarray:
    return ((picture.float().cpu() + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def _pairs(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Real over made, one column each; below them both mouths, twice as large."""
    columns = []
    for pair in pairs:
        rows, across = _mouth_slices(pair[0].shape[0])
        mouths = [_zoom(each[rows, across], each.shape[1]) for each in pair]
        columns.append(np.concatenate([*pair, *mouths]))
    return np.concatenate(columns, axis=1)


def _zoom(picture: np.ndarray, width: int) -> np.ndarray:
    height = round(picture.shape[0] * width / picture.shape[1])
    return cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=cv2.INTER_CUBIC)
