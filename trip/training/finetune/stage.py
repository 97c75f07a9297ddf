"""What a fine-tune trains: noise prediction as in the third stage, shown beside the base model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from trip.data.cache import LatentCache
from trip.media import Clip, write_clip
from trip.model.denoiser import Denoiser
from trip.pipeline import TripPipeline
from trip.settings import AnimateSettings, FinetuneSettings
from trip.training.stages.denoiser import DenoiserStage

SMOOTHING = 0.95  # of the smoothed loss, a step
WHOLE_RATE = 0.2  # of a LoRA's learning rate, for what learns whole beside it: it was trained before
SAMPLE_SEED = 1
SHEET_FRAMES = 8  # of a clip in a picture of samples


class ClipsStage(DenoiserStage):
    """Noise prediction on pieces of a few clips.

    pipe          a pipeline around the model that is trained
    photos        first frames with captions, whose clips are drawn
    metrics_path  where the loop writes; the smoothed loss goes on from there
    """

    name = "finetune"

    def __init__(
        self,
        model: Denoiser,
        pipe: TripPipeline,
        windows: LatentCache,
        held_out: LatentCache,
        settings: FinetuneSettings,
        *,
        photos: list[tuple[np.ndarray, str]],
        metrics_path: Path,
    ):
        recipe = settings.recipe
        if pipe.unet.config.predicts == "v_prediction":  # as such models are trained here
            recipe = recipe.model_copy(update={"loss_weight": "v", "timestep_spread": 1.0})
        super().__init__(
            self.name,
            model,
            windows,
            held_out,
            recipe.denoiser,
            vae=pipe.vae,
            text_encoder=pipe.text_encoder,
            tokenizer=pipe.tokenizer,
            scheduler=pipe.scheduler,
            recipe=recipe,
            seed=settings.seed,
        )
        self.pipe, self.photos, self.metrics_path = pipe, photos, metrics_path
        self.base_clips: list[np.ndarray] = []  # what the base makes of the photos
        self._smoothed: float | None = None

    def param_groups(self) -> list[dict[str, Any]]:
        """A LoRA's changes at the rate asked for; what learns whole beside them, more carefully."""
        rate = self.settings.learning_rate
        named = [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]
        changes = [weight for name, weight in named if ".lora_" in name]
        whole = [weight for name, weight in named if ".lora_" not in name]
        groups = [{"params": changes, "lr": rate}, {"params": whole, "lr": WHOLE_RATE * rate if changes else rate}]
        return [group for group in groups if group["params"]]

    def loss(self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """The third stage's, and while training the smoothed loss."""
        loss, figures = super().loss(model, batch, generator)
        if torch.is_grad_enabled():
            before = self._smoothed or last_record(self.metrics_path).get("smoothed", loss.item())
            self._smoothed = SMOOTHING * before + (1 - SMOOTHING) * loss.item()
            figures["smoothed"] = round(self._smoothed, 6)
        return loss, figures

    @torch.no_grad()
    def animated(self, most: int | None = None) -> list[np.ndarray]:
        """The photos' clips as the model makes them now, all or the first ones, each f h w 3."""
        with torch.autocast(self.pipe.device.type, enabled=False):
            return [
                self.pipe.animate(photo, AnimateSettings(prompt=caption, seed=SAMPLE_SEED)).frames for photo, caption in self.photos[:most]
            ]

    def sample(self, path: Path) -> None:
        """The base's clips above the model's as a picture, and beside them as an MP4 for each photo."""
        rows = []
        for number, (base, now) in enumerate(zip(self.base_clips, self.animated(), strict=True)):
            write_clip(Clip(np.concatenate([base, now], axis=2), self.pipe.config.fps), path.with_name(f"{path.stem}-{number}.mp4"))
            chosen = np.linspace(0, len(now) - 1, min(SHEET_FRAMES, len(now))).round().astype(int)
            rows += [np.hstack(clip[chosen]) for clip in (base, now)]
        Image.fromarray(np.vstack(rows)).save(path)


def last_record(metrics_path: Path) -> dict[str, Any]:
    """The last step that the metrics tell of; empty before the first."""
    lines = metrics_path.read_text().splitlines() if metrics_path.exists() else []
    for line in reversed(lines):
        record = json.loads(line)
        if "loss" in record:
            return record
    return {}
