"""Third stage, and with given weights the only one: 3D-UNet and fusion together, on cached latents (Sec. 3.3, Eq. 10)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from trip.data.cache import EncodedClip, LatentCache
from trip.data.shards import EncodedDataSet
from trip.diffusion import add_noise, image_noise_prior, predict_z_0, snr, spread
from trip.model.conditioning import attach
from trip.model.denoiser import Condition, Denoiser
from trip.model.latents import decode_video
from trip.model.text import encode_prompts
from trip.model.warp import MotionField, encoded_after_moving, places_of
from trip.settings import RecipeSettings, StageSettings
from trip.training.loop import step_generator
from trip.training.stages.field import field_loss, scene_noise

NUM_BINS = 5  # of noise levels, in the metrics
NUM_HELD_OUT, NUM_SAMPLES = 48, 6
MOST_SNR = 5.0  # of the loss weight min_snr (Hang et al. 2023)


@dataclass(frozen=True)
class _FieldWithTrueSway:
    """The motion of a batch as `MotionField` tells it, but of clips that sway the true one.

    displacements  from where a frame shows a place to where the photo has it   b 2 f g g, halves of the short side
    told           which clips these replace the field's in                     b, bool
    """

    field: MotionField
    displacements: Tensor
    told: Tensor

    @classmethod
    def of(cls, field: MotionField, batch: dict[str, Any], where: str) -> Self:
        """Of a batch whose truth is known; what a film does not tell of its motion is not replaced."""
        places, _, known = batch["motion"].to(field.camera.device).split([2, 1, 1], dim=2)
        displacements = (places - places_of(*places.shape[3:], places.device).permute(2, 0, 1)).transpose(1, 2)
        displacements = attach(displacements, torch.zeros_like(displacements[:, :, :1]), where)[:, :2]  # the clean photo has not moved
        return cls(field, displacements, (batch["sways"].to(known.device) > 0) & (known.flatten(1).amin(dim=1) == 1))

    def at(self, times: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """As `MotionField.at`, of the times that the displacements are of."""
        places, visibility = self.field.at(times, height, width)
        cells = self.displacements.transpose(1, 2).flatten(0, 1)
        finer = functional.interpolate(cells, (height, width), mode="bicubic", align_corners=False)
        true = places_of(height, width, cells.device) + finer.permute(0, 2, 3, 1).unflatten(0, times.shape)
        return torch.where(self.told.view(-1, 1, 1, 1, 1), true, places), visibility

    def enlarged(self, factor: int) -> Self:
        """As `MotionField.enlarged`."""
        return replace(self, field=self.field.enlarged(factor))


class DenoiserStage:
    """Noise prediction on clips whose latents are cached.

    fps  frames per second of clips whose frame times are 0, 1, 2 …; told to a 3D-UNet with that option
    text_encoder, tokenizer  may be none where the caches hold the text too
    """

    def __init__(
        self,
        name: str,
        model: Denoiser,
        cache: LatentCache | EncodedDataSet,
        held_out: LatentCache | EncodedDataSet,
        settings: StageSettings,
        *,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel | None,
        tokenizer: CLIPTokenizer | None,
        scheduler: DDIMScheduler,
        recipe: RecipeSettings,
        seed: int,
        fps: float = 8.0,
    ):
        self.name = name
        self.settings = settings
        self.model = model
        self.cache = cache
        self.held_out = held_out.first(NUM_HELD_OUT)
        self.vae = vae
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.alphas_bar = scheduler.alphas_cumprod
        self.recipe = recipe
        self.num_frames = settings.num_frames or cache.num_frames
        self.seed = seed
        self.fps = fps

    def param_groups(self) -> list[dict[str, Any]]:
        """The paper's two rates: 3D-UNet and fusion."""
        rate = self.settings.learning_rate
        return self.model.param_groups(rate, self.settings.fusion_learning_rate or rate)

    def batch(self, step: int, share: int, num_shares: int) -> dict[str, Any]:
        """The clips of a share, each with its own noise: who computes which share changes nothing.

        z_0, eps b c f h w; times b f; timestep b; prompts, some emptied, for guidance; words b n d and sentence b d where they are cached;
        added_conditions b each; photo_noise b c 1 h w; motion b f 4 g g and sways b where motion is known; photo b 8h 8w 3, uint8, where
        the 3D-UNet wants it and it is cached
        """
        first = (step * num_shares + share) * self.settings.batch_size
        positions = range(first, first + self.settings.batch_size)
        chance = [np.random.default_rng([self.seed, position, 1]) for position in positions]
        frames = [self._frames(rng) for rng in chance]
        unsaid = [rng.random() < self.recipe.text_drop for rng in chance]
        batch = self._batch([self.cache.draw(self.seed, position) for position in positions], frames, unsaid)
        untold = torch.tensor([rng.random() < self.recipe.added_drop for rng in chance])
        batch["added_conditions"] = {name: numbers.masked_fill(untold, torch.nan) for name, numbers in batch["added_conditions"].items()}
        noise = [step_generator(self.seed, position, 1) for position in positions]
        batch["timestep"] = torch.cat([self._timesteps(1, generator) for generator in noise])
        batch["eps"] = torch.stack([torch.randn(batch["z_0"].shape[1:], generator=generator) for generator in noise])
        if self.model.unet.config.scene_frequencies:
            batch["scene_noise"] = scene_noise(self.model.unet.warp, batch["z_0"][:, :, 0], noise)
        if self.recipe.photo_noise:
            photo_shape = batch["z_0"][0, :, :1].shape
            batch["photo_noise"] = torch.stack([torch.randn(photo_shape, generator=generator) for generator in noise])
        return batch

    def _batch(self, clips: list[EncodedClip], frames: list[np.ndarray], unsaid: list[bool]) -> dict[str, Any]:
        """Some frames of clips, whole prompts but for those left out."""
        batch: dict[str, Any] = {
            "z_0": torch.stack([clip.latents[:, chosen].float() for clip, chosen in zip(clips, frames, strict=True)]),
            "times": torch.stack([clip.times[chosen] for clip, chosen in zip(clips, frames, strict=True)]),
            "prompts": ["" if left_out else clip.caption for clip, left_out in zip(clips, unsaid, strict=True)],
        }
        if all(clip.motion is not None for clip in clips):
            batch["motion"] = torch.stack([clip.motion[chosen].float() for clip, chosen in zip(clips, frames, strict=True)])
            batch["sways"] = torch.tensor([float(clip.sways) for clip in clips])
        if self.cache.unsaid:
            said = [self.cache.unsaid if left_out else (clip.words, clip.sentence) for clip, left_out in zip(clips, unsaid, strict=True)]
            batch["words"], batch["sentence"] = (torch.stack(parts).float() for parts in zip(*said, strict=True))
        if self.model.unet.moves_pixels and all(clip.photo is not None for clip in clips):
            batch["photo"] = torch.stack([clip.photo for clip in clips])
        batch["added_conditions"] = {name: getattr(self, f"_{name}")(batch) for name in self.model.unet.config.added_conditions}
        return batch

    def _fps(self, batch: dict[str, Any]) -> Tensor:
        """Frames per second of each clip, by the distance of its frames: b."""
        return self.fps * (self.num_frames - 1) / batch["times"][:, -1]

    def _strength(self, batch: dict[str, Any]) -> Tensor:
        """Distance of each clip to its photo, root mean square, 1 for what the fusion takes as usual: b."""
        distance = (batch["z_0"] - batch["z_0"][:, :, :1]).square().flatten(1).mean(dim=1)
        return (distance / (self.model.fusion.config.motion_variance or 1.0)).sqrt()

    def _frames(self, rng: np.random.Generator) -> np.ndarray:
        """Which frames of a cached clip a step sees: the photo first, then at one of the distances that fit."""
        have, want = self.cache.num_frames, self.num_frames
        return np.arange(want) * rng.integers(1, (have - 1) // (want - 1) + 1)

    def loss(self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """Mean squared error of the fused noise (Eq. 10), and both paths' own errors by noise level.

        A batch without noise of its own gets it from the generator. Errors in the figures are of the predicted clean clip on the
        scale of v, error(eps) / alpha_bar, which compares across t.
        """
        device = next(self.model.parameters()).device
        z_0 = batch["z_0"].to(device)
        timestep = batch["timestep"] if "timestep" in batch else self._timesteps(len(z_0), generator)
        eps = batch["eps"] if "eps" in batch else torch.randn(z_0.shape, generator=generator)
        timestep, eps = timestep.to(device), eps.to(device)
        alpha_bar = self.alphas_bar.to(device)[timestep]
        condition = self._condition(batch, timestep)

        z_t = add_noise(z_0, eps, alpha_bar)
        eps_hat, residual, field = model(z_t, timestep, alpha_bar, condition)
        loss = (self._weight(alpha_bar) * self._place_weight(batch, z_0) * (eps_hat.float() - eps).square()).mean()

        with torch.no_grad():
            prior = image_noise_prior(z_t, condition.z_first, alpha_bar)
            paths = {"fused": eps_hat, "unet": residual, "prior": prior}
            errors = {name: ((e.float() - eps).square() / spread(alpha_bar)).flatten(1).mean(dim=1) for name, e in paths.items()}
        figures: dict[str, Any] = {"by_noise": self._by_noise(timestep, errors)}
        figures["denoising_loss"] = loss.item()
        if field is not None and "motion" in batch and (self._field_learns or not torch.is_grad_enabled()):
            truth = (batch["motion"].to(device), batch["sways"].to(device))
            error, parts = field_loss(self._fields(field, batch, condition, generator), condition.times, *truth)
            loss = loss + error
            figures |= {name: value.item() for name, value in parts.items()}
        elif field is not None:
            every = field.moves.sum() + field.camera.sum() + field.scene.sum()
            loss = loss + 0 * every  # several processes want every weight to take part
        return loss, figures

    @property
    def _field_learns(self) -> bool:
        return any(weight.requires_grad for weight in self.model.unet.warp.parameters())

    def _fields(self, field: MotionField, batch: dict[str, Any], condition: Condition, generator: torch.Generator) -> list[MotionField]:
        """The motions to compare with the truth: what the 3D-UNet was shown, or two draws where something of it is left to chance."""
        warp, photo = self.model.unet.warp, condition.z_first[:, :, 0]
        noise = batch["scene_noise"] if "scene_noise" in batch else scene_noise(warp, photo, [generator] * len(photo))
        return [field] if noise is None else warp.draws(photo, condition.sentence, noise.to(photo.device))

    def _condition(self, batch: dict[str, Any], timestep: Tensor) -> Condition:
        """What the clips of a batch are made from, where the model is; the photo is noised more, the noisier the clip."""
        device = timestep.device
        z_first = batch["z_0"][:, :, :1].to(device)
        if "words" in batch:
            words, sentence = batch["words"], batch["sentence"]
        else:
            words, sentence = encode_prompts(batch["prompts"], self.tokenizer, self.text_encoder)
        z_shown = None
        if "photo_noise" in batch:
            z_shown = z_first + self.recipe.photo_noise * spread(timestep / len(self.alphas_bar)) * batch["photo_noise"].to(device)
        sentence, times = sentence.to(device), batch["times"].to(device)
        added_conditions = {name: numbers.to(device) for name, numbers in batch.get("added_conditions", {}).items()}
        move_photo = self._mover(batch, z_first, z_shown) if self.model.unet.moves_pixels else None
        return Condition(z_first, words.to(device), sentence, times, z_shown, added_conditions, moved_photo=move_photo)

    def _mover(self, batch: dict[str, Any], z_first: Tensor, z_shown: Tensor | None) -> Callable[[MotionField, Tensor], Tensor]:
        """Moves the photos of a batch, and noises them as they are shown; one that is not cached is decoded.

        Of the motion that chance decides the 3D-UNet is shown what the clip has, as it is shown in sampling what was drawn for the clip.
        """
        vae = self.vae.to(z_first.device)
        kept = "photo" in batch
        photo = batch["photo"].to(z_first.device).permute(0, 3, 1, 2) / 127.5 - 1 if kept else decode_video(vae, z_first)[:, :, 0]

        def moved_by(field: MotionField, times: Tensor) -> Tensor:
            motion = _FieldWithTrueSway.of(field, batch, self.model.unet.config.first_frame) if "motion" in batch else field
            moved_photo = encoded_after_moving(vae, photo, motion, times)
            return moved_photo if z_shown is None else moved_photo + functional.pad(z_shown - z_first, (0, 0) * 3 + (0, 1))

        return moved_by

    def _weight(self, alpha_bar: Tensor) -> Tensor:
        """Weight of the squared error of each clip: b 1 1 1 1."""
        ratio = spread(snr(alpha_bar))
        return {
            "epsilon": torch.ones_like(ratio),
            "v": 1 / spread(alpha_bar),
            "min_snr": ratio.clamp(max=MOST_SNR) / ratio,
        }[self.recipe.loss_weight]

    def _place_weight(self, batch: dict[str, Any], z_0: Tensor) -> Tensor:
        """Weight of each place's error, 1 on average: more where a frame shows what the photo does not. b 1 f h w, or 1."""
        if "motion" not in batch or not self.recipe.new_content:
            return z_0.new_ones(())
        new = 1 - functional.interpolate(batch["motion"][:, :, 2].to(z_0), z_0.shape[3:], mode="bilinear", antialias=True)
        weight = 1 + self.recipe.new_content * new.unsqueeze(1)
        return weight / weight.mean()

    def _timesteps(self, count: int, generator: torch.Generator) -> Tensor:
        num = len(self.alphas_bar)
        if self.recipe.timestep_spread is None:
            return torch.randint(num, (count,), generator=generator)
        level = torch.sigmoid(self.recipe.timestep_spread * torch.randn(count, generator=generator))
        return (level * num).long().clamp(0, num - 1)

    def _by_noise(self, timestep: Tensor, errors: dict[str, Tensor]) -> dict[str, dict[str, float]]:
        """Mean error of each path in each fifth of the noise levels that the batch met."""
        bins = timestep * NUM_BINS // len(self.alphas_bar)
        return {
            str(level): {name: round(values[bins == level].mean().item(), 5) for name, values in errors.items()}
            for level in sorted(set(bins.tolist()))
        }

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        """The same errors on held-out clips, always with the same noise: one clean-clip figure for each path."""
        generator = torch.Generator().manual_seed(0)
        frames = np.arange(self.num_frames) * ((self.cache.num_frames - 1) // (self.num_frames - 1))
        totals: dict[str, list[float]] = {}
        for start in range(0, len(self.held_out), 8):
            clips = self.held_out[start : start + 8]
            _, figures = self.loss(self.model, self._batch(clips, [frames] * len(clips), [False] * len(clips)), generator)
            totals.setdefault("held_out_loss", []).append(figures["denoising_loss"])
            for name in figures.keys() & {"place_error", "visibility_error"}:
                totals.setdefault(f"held_out_{name}", []).append(figures[name])
            for paths in figures["by_noise"].values():
                for name, value in paths.items():
                    totals.setdefault(f"held_out_{name}", []).append(value)
        return {name: float(np.mean(values)) for name, values in totals.items()}

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Held-out clips, and below each what one look from almost pure noise makes of it."""
        clips = self.held_out[:NUM_SAMPLES]
        batch = self._batch(clips, [np.arange(self.num_frames)] * len(clips), [False] * len(clips))
        device = next(self.model.parameters()).device
        z_0 = batch["z_0"].to(device)
        timestep = torch.full((len(z_0),), int(0.9 * len(self.alphas_bar)), device=device)
        alpha_bar = self.alphas_bar.to(device)[timestep]
        z_t = add_noise(z_0, torch.randn(z_0.shape, generator=torch.Generator().manual_seed(0)).to(device), alpha_bar)
        eps_hat = self.model(z_t, timestep, alpha_bar, self._condition(batch, timestep)).eps
        rows = torch.stack([z_0, predict_z_0(z_t, eps_hat, alpha_bar)], dim=1).flatten(0, 1)
        pixels = decode_video(self.vae, rows).cpu()  # rows 3 f h w
        grid = pixels.permute(0, 3, 2, 4, 1).flatten(0, 1).flatten(1, 2)
        Image.fromarray(((grid + 1) * 127.5).round().clamp(0, 255).byte().numpy()).save(path)
