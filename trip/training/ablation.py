"""The paper's variants (Tables 5 and 6) trained side by side: one start, one set of clips, the same steps, several seeds.

As the paper's 3D-UNet does, theirs begins as one that makes clips from words and knows no photo: it is trained once, here, from random
weights on the same clips, and each variant goes on from it. So none has learnt before where its photo stands, or to lean on a prior.
A seed decides a fusion's first weights and which clips come with which noise; under one seed all variants see the same.

RUN/settings.json       what the run belongs to
RUN/metrics.jsonl       a line per step
RUN/data                encoded clips, of which all learn
RUN/start               the common start
RUN/VARIANT-SEED/model  the pipeline folder of each, and beside it its samples and, until it is done, its checkpoints
"""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from trip.data.cache import LatentCache, digest
from trip.model.build import build_fusion, build_scheduler, build_unet
from trip.model.denoiser import Condition, Denoiser
from trip.settings import PRESETS, Preset, StageSettings, changed
from trip.system.files import atomic_write
from trip.training.cost import Cost, cost_of_a_clip, encoding_flops, latent_side
from trip.training.folder import remember_settings, write_model
from trip.training.loop import train
from trip.training.run import HELD_OUT_CLIPS, TrainingRun
from trip.training.stages.denoiser import DenoiserStage
from trip.training.warm_start import take_unet

VARIANTS_OF_THE_PAPER = ("trip-c", "trip-te", "trip-minus", "trip-w", "trip")
FORM = ("attend", "concatenate", "query", "skip", "lam_first", "lam_last")  # of the fusion: the paper preset's
SMALL = {"block_channels": (32, 64, 128), "entry_heads": 2}  # of the embedded 3D-UNet: two thirds of its width
Record = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One training of the ablation."""

    variant: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.variant}-{self.seed}"


def ablation_preset(name: str, *, size: int, steps: int, start_steps: int, batch_size: int, num_clips: int) -> tuple[Preset, StageSettings]:
    """A preset without what the paper does not have, and how its common start is trained.

    No warp of the photo, no weight on what is new, and the fusion in the form that the paper preset has, predicting what the 3D-UNet does.
    """
    given = PRESETS[name]
    form = {f"model.fusion.{key}": getattr(PRESETS["paper"].model.fusion, key) for key in FORM}
    form["model.fusion.predicts"] = given.model.schedule.unet_predicts
    unet = {f"model.unet.{key}": value for key, value in SMALL.items()} if name == "embedded" else {}
    left_out = dict.fromkeys(("vae", "decoder", "text", "sentences", "field", "half_size"))
    stage = given.recipe.denoiser.model_copy(
        update={
            "max_steps": steps,
            "batch_size": batch_size,
            "num_frames": given.model.num_frames // 2,  # of the clip's: twice as many clips in the same time
            "ema_decay": 0.99,
            "keep": 1,
            "save_every": 100,
            "sample_every": steps,  # held-out figures at the end alone
        }
    )
    values = {
        "model.frame_size": size,
        "model.unet.photo_warp": False,
        "model.unet.scene_frequencies": 0,
        **unet,
        **form,
        "recipe.num_cached_clips": num_clips,
        "recipe.new_content": 0.0,
        **{f"recipe.{key}": value for key, value in left_out.items()},
        "recipe.denoiser": stage.model_dump(),
    }
    return changed(given, values), stage.model_copy(update={"max_steps": start_steps, "sample_every": start_steps, "ema_decay": 0.995})


def of_variant(preset: Preset, variant: str) -> Preset:
    """The preset of a variant."""
    return changed(preset, {"model.variant": variant})


class _StartStage(DenoiserStage):
    """Clips from words alone: the 3D-UNet is shown no photo, and nothing is fused with its noise."""

    def _condition(self, batch: dict[str, Any], timestep: torch.Tensor) -> Condition:
        found = super()._condition(batch, timestep)
        return Condition(found.z_first, found.words, found.sentence, found.times, torch.zeros_like(found.z_first), found.added_conditions)


class AblationRun:
    """The folder of an ablation, its data and its trainings.

    preset, start  of `ablation_preset`
    base           checkpoint folder whose autoencoder and text encoder all variants have
    Raises ValueError, in one line, for a folder or a preset that cannot be.
    """

    def __init__(
        self,
        preset: Preset,
        start: StageSettings,
        folder: Path,
        photos: Path,
        clips: Path | None,
        *,
        base: Path,
        variants: Sequence[str] = VARIANTS_OF_THE_PAPER,
        num_seeds: int = 3,
    ):
        self.preset, self.start, self.folder = preset, start, folder
        self.data = TrainingRun(preset, folder / "data", photos, clips, base=base)
        self.vae, self.text_encoder, self.tokenizer = self.data.given_parts()
        for frozen in (self.vae, self.text_encoder):
            frozen.eval().requires_grad_(False)
        self.cells = [Cell(variant, seed) for seed in range(num_seeds) for variant in variants]
        self._caches: list[LatentCache] = []
        given = {"vae": digest(self.vae.state_dict()), "text": digest(self.text_encoder.state_dict())}
        settings = {
            "base": given,
            "data": [*self.data.data.values()],
            "start": start.model_dump(mode="json"),
            **preset.model_dump(mode="json"),
        }
        remember_settings(folder, settings, tuple(settings))

    def prepare(self) -> Iterator[Record]:
        """Encodes the clips and trains the common start, one record a step; what is there stays."""
        self._caches = yield from self.data.caches("clips", self.vae, self.preset.model.frame_size)
        path = self.folder / "start" / "start.safetensors"
        if path.is_file():
            return
        torch.manual_seed(0)
        unet = build_unet(of_variant(self.preset, "trip-c").model)  # what it is shown in the photo's channels is nothing
        denoiser = Denoiser(unet, build_fusion(of_variant(self.preset, "trip-minus").model))
        if (yield from self._train(_StartStage("start", denoiser, *self._caches, self.start, **self._parts(0)), self.folder, 0)):
            channels = self.preset.model.vae.latent_channels
            state = {name: weight.detach().clone() for name, weight in unet.state_dict().items()}
            state["conv_in.weight"] = state["conv_in.weight"][:, :channels].contiguous()
            with atomic_write(path) as partial:
                save_file(state, partial)
            self._forget_checkpoints(self.folder / "start")

    def is_done(self, cell: Cell) -> bool:
        """Whether its model is there, whole."""
        return (self.model_of(cell) / "model_index.json").is_file()

    def model_of(self, cell: Cell) -> Path:
        """Where its model is."""
        return self.folder / cell.name / "model"

    def train(self, cell: Cell) -> Iterator[Record]:
        """Trains a cell, one record a step, and writes its model; `prepare` comes first. What is done is not done again."""
        if self.is_done(cell) or not (self.folder / "start" / "start.safetensors").is_file():
            return
        preset, folder = of_variant(self.preset, cell.variant), self.folder / cell.name
        torch.manual_seed(cell.seed)
        denoiser = Denoiser(build_unet(preset.model), build_fusion(preset.model))
        unfit = take_unet(denoiser.unet, load_file(self.folder / "start" / "start.safetensors"))
        assert not unfit, unfit
        torch.manual_seed(cell.seed)
        denoiser.fusion = build_fusion(preset.model)  # whatever the 3D-UNet drew before: the same for one seed
        stage = DenoiserStage(cell.name, denoiser, *self._caches, preset.recipe.denoiser, **self._parts(cell.seed))
        if (yield from self._train(stage, folder.parent, cell.seed)):
            card = f"{cell.variant} of an ablation at {preset.model.frame_size} × {preset.model.frame_size}; for comparison alone."
            write_model(folder / "model", preset.model, self.vae, self.text_encoder, self.tokenizer, denoiser, self._scheduler(), card=card)
            self._forget_checkpoints(folder)

    def held_out_loss(self, cell: Cell) -> float | None:
        """Error of the fused noise on held-out clips, on the scale of v, with noise that is the same for all; none where it is not done."""
        path, found = self.folder / "metrics.jsonl", None
        for line in path.read_text().splitlines() if path.is_file() else ():
            record = json.loads(line)
            if record["stage"] == cell.name and record["step"] == self.preset.recipe.denoiser.max_steps:
                found = record.get("held_out_loss", found)
        return found

    def _parts(self, seed: int) -> dict[str, Any]:
        given = {"vae": self.vae, "text_encoder": self.text_encoder, "tokenizer": self.tokenizer}
        return {**given, "scheduler": self._scheduler(), "recipe": self.preset.recipe, "seed": seed}

    def _scheduler(self) -> Any:
        return build_scheduler(self.preset.model)

    def _train(self, stage: DenoiserStage, folder: Path, seed: int) -> Iterator[Record]:
        """Records of a stage; its value says whether it is finished."""
        step = yield from train(
            stage,
            stage.settings,
            folder / stage.name,
            self.folder / "metrics.jsonl",
            seed=seed,
            accelerator=Accelerator(mixed_precision=self.preset.recipe.precision),
            evaluate=stage.evaluate,
        )
        return step >= stage.settings.max_steps

    @staticmethod
    def _forget_checkpoints(folder: Path) -> None:
        for path in folder.glob("step-*"):
            shutil.rmtree(path)


def cost_of(preset: Preset, variant: str) -> Cost:
    """What a clip costs a variant, forward and backward."""
    model, recipe = of_variant(preset, variant).model, preset.recipe
    return cost_of_a_clip(model, precision=recipe.precision, checkpointing=False, num_frames=recipe.denoiser.num_frames)


def plan(preset: Preset, start: StageSettings, variants: Sequence[str], num_seeds: int, num_judged: int) -> Record:
    """What an ablation takes: operations counted, and minutes by a step that is timed here.

    num_judged  clips that are made of each model in order to be judged
    """
    stage, costs = preset.recipe.denoiser, {variant: cost_of(preset, variant) for variant in variants}
    clips = {variant: stage.max_steps * stage.batch_size * num_seeds for variant in variants}
    training = sum(costs[variant].training_flops * clips[variant] for variant in variants)
    beginning = max(cost.training_flops for cost in costs.values()) * start.max_steps * start.batch_size
    sampling = 2 * max(cost.forward_flops for cost in costs.values()) * preset.model.num_steps * num_judged * len(variants) * num_seeds
    seconds = _seconds_a_step(preset, variants[-1])
    speed = costs[variants[-1]].training_flops * stage.batch_size / seconds
    return {
        "trainings": len(variants) * num_seeds,
        "steps": stage.max_steps,
        "clips_a_step": stage.batch_size,
        "start_steps": start.max_steps,
        "weights_million": {variant: round(cost.weights / 1e6, 2) for variant, cost in costs.items()},
        "tflop_a_training": {v: round(cost.training_flops * clips[v] / num_seeds / 1e12, 2) for v, cost in costs.items()},
        "tflop": {
            "start": round(beginning / 1e12, 1),
            "trainings": round(training / 1e12, 1),
            "encoding": round(encoding_flops(preset.model) * (preset.recipe.num_cached_clips + HELD_OUT_CLIPS) / 1e12, 1),
            "clips_to_judge": round(sampling / 1e12, 1),
        },
        "seconds_a_step": round(seconds, 3),
        "minutes": round((beginning + training + sampling) / speed / 60, 1),
        "minutes_are": f"by one step timed here on {torch.get_num_threads()} threads; drawing, encoding and judging of clips come on top",
    }


def _seconds_a_step(preset: Preset, variant: str) -> float:
    """Of forward and backward pass of a batch, the faster of two."""
    model, stage = of_variant(preset, variant).model, preset.recipe.denoiser
    denoiser = Denoiser(build_unet(model), build_fusion(model)).train()
    b, f, side, width = stage.batch_size, stage.num_frames, latent_side(model), model.text.width
    z = torch.randn(b, model.vae.latent_channels, f, side, side)
    condition = Condition(z[:, :, :1], torch.randn(b, 16, width), torch.randn(b, width), torch.arange(float(f)).expand(b, -1))
    accelerator, seconds = Accelerator(mixed_precision=preset.recipe.precision), []
    for _ in range(2):
        begun = time.perf_counter()
        with accelerator.autocast():
            eps = denoiser(z, torch.full((b,), 500), torch.full((b,), 0.5), condition).eps
        eps.square().mean().backward()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
