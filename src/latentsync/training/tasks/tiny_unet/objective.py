"""The objective of few-step models such as `tiny`: clean latents in one step, then pixels, then a discriminator.

x_σ = (1 − σ)·x0 + σ·ε and the network gives x0, σ = 1 for most samples, so that one or two steps suffice at run time.
The references are still pictures from elsewhere in the clip, a closed mouth and an open one: they say nothing about
the wanted one, so the only way to a moving mouth is to listen. What the network draws is the change from the first, and
where the code of the lips is reported, it is reported as the difference from that picture's.

Regression to the mean blurs what speech does not determine (teeth, tongue). Hence, after a first phase on latents
alone, the decoded mouth is compared with the real one by a discriminator and by the discriminator's own features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from latentsync.config.checked import checked
from latentsync.core.errors import ConfigError
from latentsync.diffusion.noise import noise_like, uniform_like
from latentsync.faces import inpaint_mask, latent_mask
from latentsync.generation.conditioning import conditioning, generated_cells, unet_input
from latentsync.generation.tiny.residual import compose_residual, output_channels
from latentsync.generation.tiny.window import LatentWindow
from latentsync.models import UNet
from latentsync.models.tiny_autoencoder import TinyAutoencoder
from latentsync.models.vgg import Vgg16
from latentsync.training.engine.task import Batch, Objective
from latentsync.training.losses.colours import colour_distance, spread_distance
from latentsync.training.losses.discriminator import Discriminator, discriminator_terms, feature_distance, hinge_terms
from latentsync.training.losses.laplacian import laplacian_loss
from latentsync.training.tasks.tiny_unet.lip_probe import LipProbe

RESOLUTION = 256
LIPS = (slice(128, 232), slice(64, 192))
"""Rows and columns of the 256 px crop around the lips."""
TEETH = (slice(144, 208), slice(80, 176))
"""Of the mouth's opening, where pictures are compared in the features of a VGG-16."""
MOUTH_WEIGHT = 4.0
"""Weight of the latent cells around the lips."""
LEVEL = 0.3
"""Weight of errors of the lips that last, beside those of movement."""
PERCEPTUAL_STAGES = 3
"""Of the VGG-16: up to relu3_3, fields of 40 pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FewStepConfig:
    """What is asked of a few-step generator.

    Attributes:
        window: latent cells in which the network works: top, bottom, left, right, ends excluded. What is not pasted
            need not be made.
        open_reference: a second reference, the most open mouth: how this person's teeth look.
        posed_references: each frame has its own references, turned as its head is (`tiny.pose_warp`).
        shaped_references: and its lips are where the code says (`tiny.lip_warp`). Needs `teacher_forcing` of 1, posed
            references.
        residual: the network gives the difference from the reference's latents, not the latents: texture and identity
            are there from the first step (`tiny.residual`). Only safe with a still reference, whose mouth does not
            move.
        noise_floor: mean squares of the difference from the first reference, per latent cell, below which it is taken
            for camera noise, and above which for movement; the wanted picture is the reference itself there, and the
            target here. Regression would rather smooth the reference's noise, and with it beards and skin, than leave
            it. (0, 0) = the target everywhere. Still cells of GRID clips differ by 0.03 to 0.08, lips by 0.15 to 1.
        teacher_forcing: share of samples that get the real code of the lips (`lip_shape.LipParameterBasis`) instead of
            what their lip predictor makes of the speech. Speech tells half of what lips do: without this the network
            learns to draw averages. Clips that are not in sync can be learnt from too; they always do.
        lip_param_noise: noise on the real code, in its unit: the lip predictor is not exact either.
        pure_noise: share of samples at σ = 1; the others are drawn with σ = sqrt(u).
        one_map: share of samples whose frames share one noise map, as at run time.
        condition_dropout: share of samples that hear nothing, so that the null condition exists.
        audio_shuffle_prob: share of samples whose attention hears the speech of another sample, while the code of the
            lips is their own: then the network draws what the code tells, and learns no clip's speech by heart.
        audio_feature_noise: noise on the audio features, as a share of its spread: hearing must not learn a clip by
            heart.
        mask, paste_mask: names of the generated and of the pasted region.
        elsewhere: weight of the generated region outside the pasted one.
        movement_weight: weight of the error about its mean over time: looks play no part in it, only movement.
        shape_weight: what a `LipProbe` reads off the made latents against what it reads off the real ones, about the
            mean over time and, less, as it is (0 = none).
        latent_weight: weight of the squared and the absolute error of the latents.
        pixel_weight, pixel_frames: weight of the decoded terms, and frames a clip that are decoded (0 = none).
        colour_weight: what colours differ by, whatever the brightness, on small squares around the lips (0 = none).
            Teeth are few pixels: without it those of unfamiliar faces came out green.
        spread_weight: what the colours between the lips differ by in no matter which order (`spread_distance`; 0 =
            none).
        perceptual_weight: distance in the features of a VGG-16 around the lips (0 = none).
        discriminator_weight, feature_weight: the discriminator's opinion, and distance of its features (0 = no
            discriminator).
    """

    window: tuple[int, int, int, int] = (6, 16, 2, 14)
    open_reference: bool = False
    posed_references: bool = False
    shaped_references: bool = False
    residual: bool = True
    noise_floor: tuple[float, float] = (0.0, 0.0)
    latent_weight: float = 1.0
    teacher_forcing: float = 0.0
    lip_param_noise: float = 0.1
    pure_noise: float = 0.6
    one_map: float = 0.75
    condition_dropout: float = 0.05
    audio_shuffle_prob: float = 0.0
    audio_feature_noise: float = 0.15
    mask: str = "mask"
    paste_mask: str = "mask3"
    elsewhere: float = 0.25
    movement_weight: float = 4.0
    shape_weight: float = 0.0
    pixel_weight: float = 0.0
    pixel_frames: int = 0
    colour_weight: float = 0.0
    spread_weight: float = 0.0
    perceptual_weight: float = 0.0
    discriminator_weight: float = 0.0
    feature_weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.audio_shuffle_prob <= 1 or (self.audio_shuffle_prob > 0 and self.teacher_forcing <= 0):
            raise ConfigError(
                "audio_shuffle_prob",
                self.audio_shuffle_prob,
                "choose 0 to 1, and set teacher_forcing: the code has to be known",
            )
        if self.shaped_references and not (self.teacher_forcing == 1 and self.posed_references):
            raise ConfigError("shaped_references", True, "set teacher_forcing to 1, and posed_references")
        if self.pixel_weight > 0 and self.pixel_frames < 1:
            raise ConfigError("pixel_frames", self.pixel_frames, "pixel terms need at least 1 decoded frame a clip")
        looking = {
            "spread_weight": "colours are",
            "discriminator_weight": "a discriminator is",
            "perceptual_weight": "features are",
        }
        for key, what in looking.items():
            if getattr(self, key) > 0 and self.pixel_weight <= 0:
                raise ConfigError(key, getattr(self, key), f"{what} of decoded pixels: set pixel_weight too")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> FewStepConfig:
        """From a preset. Raises ConfigError on an unknown key."""
        return checked(cls, mapping, "task.few_step")


def assemble(noisy: Tensor, keep: Tensor, masked: Tensor, references: Tensor) -> Tensor:
    """The U-Net's input (B, (n + 2)·c + 1, F, h, w).

    Args: noisy (B, c, F, h, w); keep (h, w), 1 = keep; masked (B, F, c, h, w); references (B, F, n·c, h, w).
    """
    fixed = conditioning(keep, masked.transpose(1, 2), references.transpose(1, 2))
    return unet_input(noisy, fixed.to(noisy.dtype))


def unit(pixels: Tensor) -> Tensor:
    """(…, H, W, 3) uint8 → (n, 3, H, W) float32 in [−1, 1], all leading axes flattened."""
    return pixels.flatten(0, -4).permute(0, 3, 1, 2).float() / 127.5 - 1


def first_reference(references: Tensor, clips: Tensor, frames: Tensor) -> Tensor:
    """(n, R, R, 3) of a batch's `references`: that of all frames of a clip, or each frame's own."""
    return references[clips, frames, 0] if references.dim() == 6 else references[clips, 0]


class Generated:
    """What the generator made in the current step, for the discriminator that comes after it."""

    def __init__(self) -> None:
        self.fake: Tensor | None = None
        self.real: Tensor | None = None
        self.seen: list[Tensor] | None = None
        """What the VGG-16 sees in real pictures, then in made ones, for a discriminator that has heads for it."""


class FewStepObjective(Objective):
    """Train a U-Net to give the clean latents of the masked face.

    A batch holds `target` (B, F, R, R, 3) uint8, `references` (B, n, R, R, 3) or (B, F, n, R, R, 3) uint8,
    `audio_features` (B, F, K, D), `seed` (B,), and `code` (B, F, n) and `in_sync` (B,) where `teacher_forcing` asks for
    them, `between` (B, F, R, R) uint8 where `spread_weight` does. With `surroundings` (B, F, R, R, 3) uint8 the masked
    latents are theirs.
    """

    keep: Tensor
    weight: Tensor
    region: Tensor
    keep_pixels: Tensor

    def __init__(
        self,
        network: UNet,
        autoencoder: TinyAutoencoder,
        config: FewStepConfig,
        discriminator: Discriminator | None = None,
        made: Generated | None = None,
        reader: LipProbe | None = None,
        features: Vgg16 | None = None,
    ) -> None:
        super().__init__(network)
        self.config, self.discriminator, self.made = config, [discriminator], made
        if hasattr(network, "lip_predictor"):
            for layer in (network.lip_predictor.linear_1, network.lip_predictor.linear_2, network.lip_predictor.head):
                layer.requires_grad_(False)
        self.consult("autoencoder", autoencoder)
        if reader is not None:
            self.consult("reader", reader)
        elif config.shape_weight > 0:
            raise ConfigError("shape_weight", config.shape_weight, "the shape of lips needs a reader")
        if features is not None:
            self.consult("features", features)
        elif config.perceptual_weight > 0:
            raise ConfigError("perceptual_weight", config.perceptual_weight, "give the file of a VGG-16: task.features")
        answers = output_channels(autoencoder.latent_channels, config.residual and config.open_reference)
        if network.config.out_channels not in answers:
            given, wanted = network.config.out_channels, " or ".join(map(str, answers))
            fix = f"with it the U-Net gives {wanted} channels, this one {given} (one more mixes two references)"
            raise ConfigError("open_reference", config.open_reference, fix)
        factor = autoencoder.factor
        mask = torch.from_numpy(inpaint_mask(RESOLUTION, config.mask))
        pasted = torch.from_numpy(inpaint_mask(RESOLUTION, config.paste_mask))
        self.window = LatentWindow.of(config.window, RESOLUTION // factor)
        region = generated_cells(mask, factor)
        weight = region * torch.where(generated_cells(pasted, factor) > 0, 1.0, config.elsewhere)
        rows, columns = (slice(part.start // factor, -(-part.stop // factor)) for part in LIPS)
        weight[rows, columns] *= MOUTH_WEIGHT
        keep = torch.from_numpy(latent_mask(1 - inpaint_mask(RESOLUTION, config.mask), factor))
        self.register_buffer("keep", self.window.cut(keep))
        self.register_buffer("keep_pixels", 1 - mask)
        self.register_buffer("region", self.window.cut(region))
        weight = self.window.cut(weight)
        self.register_buffer("weight", weight / weight.mean())

    @property
    def autoencoder(self) -> TinyAutoencoder:
        """The frozen autoencoder."""
        return cast(TinyAutoencoder, self.consulted("autoencoder"))

    @torch.no_grad()
    def latents_of(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (B, F, c, h, w) of the target, of the masked target (of the masked `surroundings`, where the batch
        has them), and (B, F, n·c, h, w) of the references.

        Taken from `target_latents`, `masked_latents` and `reference_latents`, like `references` with (c, h, w) in the
        place of pictures, where the loader has made them already.
        """
        b, f = batch["target"].shape[:2]
        if "target_latents" in batch:
            stills = batch["reference_latents"].float()
            target, masked = batch["target_latents"].float(), batch["masked_latents"].float()
        else:
            x = unit(batch["target"])
            target = self.encode(x).unflatten(0, (b, f))
            around = unit(batch["surroundings"]) if "surroundings" in batch else x
            masked = self.encode(around * self.keep_pixels).unflatten(0, (b, f))
            stills = self.encode(unit(batch["references"])).unflatten(0, batch["references"].shape[:-3])
        if stills.dim() == 5:
            stills = stills[:, None].expand(-1, f, -1, -1, -1, -1)
        return target, masked, stills.flatten(2, 3)

    def encode(self, pixels: Tensor) -> Tensor:
        """(n, 3, R, R) in [−1, 1] → float32 latents of the window."""
        dtype = next(self.autoencoder.parameters()).dtype
        return self.window.encode(self.autoencoder, pixels.to(dtype)).float()

    def noise(self, seed: Tensor, shape: Sequence[int]) -> Tensor:
        """(B, c, F, h, w): one map for all frames of a clip, or half shared and half of each frame's own."""
        c, f, h, w = shape
        shared = noise_like(seed, (c, 1, h, w), 1).to(self.keep.device)
        own = noise_like(seed, (c, f, h, w), 2).to(self.keep.device)
        one = (uniform_like(seed, 3) < self.config.one_map).view(-1, 1, 1, 1, 1).to(self.keep.device)
        return torch.where(one, shared.expand(-1, -1, f, -1, -1), (shared + own) * 0.5**0.5)

    def sigma(self, seed: Tensor) -> Tensor:
        """(B,) noise levels."""
        level = uniform_like(seed, 4).sqrt()
        return torch.where(uniform_like(seed, 5) < self.config.pure_noise, torch.ones_like(level), level)

    def listened(self, batch: Batch) -> Tensor:
        """Audio features (B, F, K, D), with noise, and nothing at all in a share of the samples."""
        audio_features, seed = batch["audio_features"].float(), batch["seed"]
        spread = audio_features.std() * self.config.audio_feature_noise
        amount = uniform_like(seed, 7).view(-1, 1, 1, 1).to(audio_features.device)
        audio_features = audio_features + 2 * amount * spread * noise_like(seed, audio_features.shape[1:], 6).to(
            audio_features.device
        )
        silent = (uniform_like(seed, 8) < self.config.condition_dropout).view(-1, 1, 1, 1).to(audio_features.device)
        return audio_features.masked_fill(silent, 0.0)

    def predicted(self, batch: Batch, audio_features: Tensor) -> Tensor | None:
        """(B, F, code): the real code of the lips in a share of the samples, what the lip predictor tells in the
        others."""
        if self.config.teacher_forcing <= 0:
            return None
        seed, real = batch["seed"], batch["code"].float()
        real = real + self.config.lip_param_noise * noise_like(seed, real.shape[1:], 10).to(real.device)
        is_forced = (uniform_like(seed, 11) < self.config.teacher_forcing).to(real.device) | ~batch["in_sync"]
        return torch.where(
            is_forced.view(-1, 1, 1),
            real,
            cast(UNet, self.network).lip_predictor.code(audio_features.flatten(2)).float(),
        )

    def shuffled(self, batch: Batch, audio_features: Tensor) -> Tensor:
        """Audio features (B, F, K, D), in a share of the samples that of the sample before."""
        other = (uniform_like(batch["seed"], 12) < self.config.audio_shuffle_prob).to(audio_features.device)
        return torch.where(other.view(-1, 1, 1, 1), audio_features.roll(1, 0), audio_features)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `mse`, `l1`, `motion`, `movement` of the latents; `pixels`, `lips`, `discriminator`, `features` of
        pixels."""
        target, masked, references = self.latents_of(batch)
        still = references[:, :, : target.shape[2]]
        moves = self.movement(target - still)
        clean = torch.lerp(still, target, moves).transpose(1, 2)
        seed = batch["seed"]
        sigma = self.sigma(seed).to(clean.device)
        level = sigma.view(-1, 1, 1, 1, 1)
        noisy = torch.lerp(clean, self.noise(seed, clean.shape[1:]), level)
        audio_features = self.listened(batch)
        sample = assemble(noisy, self.keep, masked, references)
        code = self.predicted(batch, audio_features)
        if code is not None:
            audio_features = self.shuffled(batch, audio_features)
        made = self.network(sample, 1000 * sigma, audio_features, code=code).float()
        if self.config.residual:
            made = compose_residual(references.transpose(1, 2), made, target.shape[2])
        error = made - clean
        terms = {
            "mse": self.config.latent_weight * (error.square() * self.weight).mean(),
            "l1": 0.5 * self.config.latent_weight * (error.abs() * self.weight).mean(),
            "motion": (error.diff(dim=2).square() * self.weight).mean(),
            "movement": self.config.movement_weight
            * ((error - error.mean(2, keepdim=True)).square() * self.weight).mean(),
        }
        if self.config.shape_weight > 0:
            terms["shape"] = self.config.shape_weight * self.shape_error(made, clean)
        if self.config.pixel_weight > 0:
            terms |= self.pixel_terms(batch, masked, made, moves)
        return terms

    def movement(self, difference: Tensor) -> Tensor:
        """Latents' difference (B, F, c, h, w) from the reference → share (B, F, 1, h, w) of it that is movement."""
        low, high = self.config.noise_floor
        if high <= 0:
            return torch.ones_like(difference[:, :, :1])
        energy = difference.square().mean(2).flatten(0, 1)[:, None]
        energy = functional.avg_pool2d(energy, 3, 1, 1, count_include_pad=False)
        return ((energy - low) / (high - low)).clamp(0, 1).unflatten(0, difference.shape[:2])

    def shape_error(self, made: Tensor, clean: Tensor) -> Tensor:
        """Mean squared error of what is read of the lips; (B, c, F, h, w) latents → scalar."""
        reader = cast(LipProbe, self.consulted("reader"))
        around = self.window.left, RESOLUTION // self.autoencoder.factor - self.window.right
        sides = (*around, self.window.top, RESOLUTION // self.autoencoder.factor - self.window.bottom)
        whole = (functional.pad(each.transpose(1, 2), (*sides, 0, 0, 0, 0)) for each in (made, clean))
        predicted = [reader(each.flatten(0, 1)).float().unflatten(0, each.shape[:2]) for each in whole]
        error = predicted[0] - predicted[1]
        about_mean = (error - error.mean(1, keepdim=True)).square()
        return ((about_mean + LEVEL * error.square()) * reader.weights).mean()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (n, c, h, w) of the window → its pixels (n, 3, H, W)."""
        return self.autoencoder.decode(latents.contiguous(memory_format=torch.channels_last)).float()

    def pixel_terms(self, batch: Batch, masked: Tensor, made: Tensor, moves: Tensor) -> dict[str, Tensor]:
        """Terms of some decoded frames of each clip, neighbours in time."""
        c = self.config
        f = masked.shape[1]
        count = min(c.pixel_frames, f)
        starts = (uniform_like(batch["seed"], 9) * (f - count + 1)).long().tolist()
        picks = [(k, s + i) for k, s in enumerate(starts) for i in range(count)]
        clips, frames = (torch.tensor(part, device=made.device) for part in zip(*picks, strict=True))
        kept = torch.lerp(masked[clips, frames], made.transpose(1, 2)[clips, frames], self.region)
        rows, columns = self.window.pixels(self.autoencoder.factor)
        picture = self.decode(kept)
        real = unit(batch["target"][clips.cpu(), frames.cpu()])[:, :, rows, columns].to(picture.device)
        still = unit(first_reference(batch["references"], clips.cpu(), frames.cpu()))
        still = still[:, :, rows, columns].to(picture.device)
        real = torch.lerp(
            still, real, functional.interpolate(moves[clips, frames], size=real.shape[2:], mode="bilinear")
        )
        lips, teeth = (_inside(part, (rows, columns)) for part in (LIPS, TEETH))
        terms = {
            "pixels": c.pixel_weight * ((picture - real).abs().mean() + laplacian_loss(picture, real)),
            "lips": 2 * c.pixel_weight
            * ((picture[lips] - real[lips]).abs().mean() + laplacian_loss(picture[lips], real[lips])),
        }  # fmt: skip
        if c.colour_weight > 0:
            terms["colour"] = c.colour_weight * colour_distance(picture[lips], real[lips])
        if c.spread_weight > 0:
            inside = batch["between"][clips.cpu(), frames.cpu()][:, rows, columns].to(picture.device) > 0
            terms["spread"] = c.spread_weight * spread_distance(picture, real, inside)
        discriminator = self.discriminator[0] if c.discriminator_weight > 0 else None
        opinions: list[Tensor] = []
        if c.perceptual_weight > 0:
            ours, theirs = self.seen(picture[teeth], real[teeth])
            terms["perceptual"] = c.perceptual_weight * feature_distance(ours, theirs)
            if discriminator is not None and discriminator.heads is not None:
                discriminator.heads.requires_grad_(False)
                opinions += discriminator.heads(ours)
                discriminator.heads.requires_grad_(True)
                if self.made is not None:
                    self.made.seen = [torch.cat([b, a.detach()]) for a, b in zip(ours, theirs, strict=True)]
        if discriminator is None:
            return terms
        fake_lips, real_lips = picture[lips], real[lips]
        if self.made is not None:
            self.made.fake, self.made.real = fake_lips.detach(), real_lips.detach()
        discriminator.requires_grad_(False)
        patches, features = discriminator(fake_lips)
        with torch.no_grad():
            _, wanted = discriminator(real_lips)
        discriminator.requires_grad_(True)
        opinions += patches
        terms["discriminator"] = -c.discriminator_weight * torch.stack([o.float().mean() for o in opinions]).mean()
        terms["features"] = c.feature_weight * feature_distance(features, wanted)
        return terms

    def seen(self, made: Tensor, real: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """What a VGG-16 sees in made and real pictures (n, 3, H, W)."""
        network = self.consulted("features")
        with torch.no_grad():
            wanted = network(real)
        return network(made), wanted


def _inside(part: tuple[slice, slice], window: tuple[slice, slice]) -> tuple[slice, slice, slice, slice]:
    """Index of a part of the crop in pictures (n, 3, H, W) of a window of it."""
    y, x = (slice(own.start - whole.start, own.stop - whole.start) for own, whole in zip(part, window, strict=True))
    return slice(None), slice(None), y, x


class DiscriminatorObjective(Objective):
    """Train the discriminator on what the generator made in the same step."""

    def __init__(self, network: Discriminator, made: Generated) -> None:
        super().__init__(network)
        self.made = made

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `real`, `fake` (hinge) of the patch discriminators; `real_seen`, `fake_seen` of the heads on
        features."""
        if self.made.fake is None or self.made.real is None:
            zero = cast(Tensor, sum(p.sum() * 0 for p in self.network.parameters()))
            return {"fake": zero}
        discriminator = cast(Discriminator, self.network)
        terms = discriminator_terms(discriminator, self.made.real, self.made.fake)
        if discriminator.heads is not None and self.made.seen is not None:
            seen = hinge_terms(discriminator.heads(self.made.seen), len(self.made.real))
            terms |= {f"{name}_seen": value for name, value in seen.items()}
        return terms
