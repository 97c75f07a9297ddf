"""What a person asks of a fine-tune."""

from typing import Any, Literal

from pydantic import Field

from trip.settings.base import Request
from trip.settings.recipe import RecipeSettings, StageSettings

RATES = {"lora": 1e-3, "all": 2e-4}  # learning rates where none is given
FINETUNE_PRESETS: dict[str, dict[str, Any]] = {  # what is trained, from least memory to most
    "light": {"what": "lora", "layers": "motion", "rank": 8, "batch_size": 1},
    "usual": {"what": "lora", "layers": "all", "rank": 16, "batch_size": 2},
    "everything": {"what": "all", "layers": "all", "rank": 16, "batch_size": 2},
}


class FinetuneSettings(Request):
    """What a person asks of a fine-tune on a handful of clips."""

    what: Literal["lora", "all"] = Field(
        "lora", title="What to train", description="lora: small changes beside the weights, a file of a few MB; all: every weight"
    )
    layers: Literal["motion", "attention", "all"] = Field(
        "all", title="Layers", description="Which layers of the 3D-UNet a LoRA changes; the fusion and the photo's warp always learn"
    )
    rank: int = Field(16, ge=1, le=256, title="Rank", description="Size of a LoRA's changes: larger holds more and is more easily overdone")
    max_steps: int = Field(200, ge=1, le=1_000_000, title="Steps", description="Optimizer steps in all")
    max_minutes: float | None = Field(None, ge=0.01, le=100_000, title="Minutes", description="Stop after so many; empty: no limit")
    batch_size: int = Field(2, ge=1, le=64, title="Clips a step", description="More are steadier and need more memory")
    learning_rate: float | None = Field(
        None, ge=1e-7, le=0.1, title="Learning rate", description="How far a step goes; empty: 1e-3 for a LoRA, 2e-4 for every weight"
    )
    sample_every: int = Field(
        50, ge=1, le=100_000, title="Steps between samples", description="How often the held-out clips are measured and drawn"
    )
    seed: int = Field(0, ge=0, lt=2**31, title="Seed", description="The same seed, clips and settings give the same training")

    def as_flags(self) -> list[str]:
        """The settings as flags of the command line."""
        given = self.model_dump(exclude_none=True).items()
        return [word for name, value in given for word in (f"--{name.replace('_', '-')}", str(value))]

    @property
    def recipe(self) -> RecipeSettings:
        """How the loop runs it; noise levels and weights follow from what the checkpoint predicts."""
        rate = self.learning_rate or RATES[self.what]
        stage = StageSettings(
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=rate,
            warmup_steps=min(20, self.max_steps // 10),
            cooldown=0.3,
            ema_decay=0.98,
            save_every=self.sample_every,
            sample_every=self.sample_every,
        )
        return RecipeSettings(denoiser=stage)
