"""`python -m trip finetune`: a few clips of one motion teach a checkpoint that motion; the same command goes on where it stopped.

RUN/settings.json       what the run belongs to: base, clips, settings
RUN/metrics.jsonl       a line a step: loss, smoothed loss, seconds; now and then `held_out_loss`, always from the same noise
RUN/windows, held-out   latents of pieces of the clips, encoded once
RUN/base.json           the base model's own figures, and in base.npz its samples
RUN/samples             base and fine-tuned model side by side, from a held-out clip's first frame and one seed
RUN/finetune            the training's own state
RUN/lora.safetensors    the result: the best by held-out loss so far; where every weight learns, a pipeline folder RUN/model
RUN/asked               an empty file `stop`, `sample` or `save` in it is obeyed within a step
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from peft import LoraModel
from safetensors import SafetensorError
from torch import Tensor

from trip.data.cache import LatentCache, Sample, digest, encode_cache
from trip.data.clips import ClipFile, draw_window, read_window
from trip.data.filmed_motion import filmed
from trip.model.denoiser import Denoiser
from trip.model.latents import encode_video
from trip.model.lora import LoraCard, add_lora, checked_card, read_card, save_lora
from trip.pipeline import TripPipeline
from trip.settings import FINETUNE_PRESETS, FinetuneSettings
from trip.system.files import atomic_write, atomic_write_text
from trip.training import checkpoint
from trip.training.finetune.plan import Plan, ProgressCallback, measure_memory, measure_plan
from trip.training.finetune.stage import ClipsStage, last_record
from trip.training.folder import run_lock
from trip.training.loop import train
from trip.training.requests import Deadline

logger = logging.getLogger(__name__)

WINDOWS_EACH = 24  # pieces of a clip that are encoded ahead, at other places and moments
HELD_OUT_WINDOWS = 24  # pieces that the held-out loss is measured on, in all
SAMPLES = 2  # held-out clips that are drawn
PLANNED_WINDOWS = 2  # of each that a plan is measured on
FREE_TO_CHANGE = {"max_steps", "max_minutes", "sample_every"}  # settings that a run may go on with other values of
PRECISION = "bf16"  # of the arithmetic; weights are trained in float32


class FinetuneRun:
    """One run folder, its clips, and a checkpoint of which it trains a copy.

    pipe      the checkpoint; stays as it is
    clips     what is learnt
    held_out  clips of the same motion that are only measured; where there are none the first training clip is, and the figures say so
    Raises ValueError, in one line, where the folder holds a run of another base, other clips or settings.
    """

    def __init__(
        self, pipe: TripPipeline, clips: Sequence[ClipFile], held_out: Sequence[ClipFile], folder: Path, settings: FinetuneSettings
    ):
        if not clips:
            raise ValueError("wanted at least one clip to learn from, got none; add clips")
        self.clips, self.held_out = list(clips), list(held_out)
        self.folder, self.settings = Path(folder), settings
        self.base_name, self.base_digest = pipe.model_name, pipe.fingerprint
        self.data_digest = data_digest([*self.clips, *self.held_out])
        self.asked = {
            "base": self.base_name,
            "base_digest": self.base_digest,
            "data_digest": self.data_digest,
            **settings.model_dump(),
        }
        self._check_folder()
        self.pipe = pipe.copied(torch.float32)
        self.is_stopped = False  # because somebody asked
        self._changes: LoraModel | None = None

    def _check_folder(self) -> None:
        path = self.folder / "settings.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            known = json.loads(path.read_text()) if path.exists() else self.asked
        except OSError as error:
            raise ValueError(f"{self.folder}: wanted a folder that can be written ({error.strerror}); choose another --output") from error
        _check_same(self.folder, known, self.asked)

    def steps(self) -> Iterator[dict[str, Any]]:
        """Trains, one record a step, until steps or minutes are up or somebody asks to stop. The result is then in the folder.

        Raises ValueError where the disk is full: the last whole checkpoint stays. Raises FloatingPointError where a loss is not finite.
        """
        try:
            with run_lock(self.folder):
                atomic_write_text(self.folder / "settings.json", json.dumps(self.asked, indent=1))
                yield from self._train_in_periods()
        except (OSError, SafetensorError) as error:
            whole = checkpoint.completed(self.folder / ClipsStage.name)
            kept = f"{whole[-1].name} is whole" if whole else "there was no checkpoint yet"
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:100]
            raise ValueError(f"{self.folder}: cannot be written ({reason}); {kept}; free some space and give the same command") from error
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"not enough memory for {self.settings.batch_size} clips a step; take fewer, a lower rank, or the layers of motion alone"
            ) from error

    def _train_in_periods(self) -> Iterator[dict[str, Any]]:
        stage = yield from self._prepare()
        end = time.monotonic() + 60 * self.settings.max_minutes if self.settings.max_minutes else float("inf")
        asked = {"save"}
        while asked and asked <= {"save", "sample"}:  # those end a stretch, and the next one goes on from there
            asked.clear()
            yield from self._train_period(stage, Deadline(end, self.folder, asked))
        self.is_stopped = "stop" in asked

    def plan(self, on_progress: ProgressCallback = lambda done, text: None) -> Plan:
        """What the run would take, measured on a few pieces of its clips; nothing is trained, and nothing of it stays.

        Where memory is short, the plan names the preset of the most that fits.
        """
        on_progress(0.0, "Encoding clips")
        self._to_device()
        with TemporaryDirectory(dir=self.folder) as aside:
            begun = time.monotonic()
            for name, clips in (("windows", self.clips), ("held-out", self._measured_clips)):
                list(self._encode(Path(aside) / name, clips, PLANNED_WINDOWS))
            seconds_each = (time.monotonic() - begun) / (2 * PLANNED_WINDOWS)
            encoding = seconds_each * (WINDOWS_EACH * len(self.clips) + HELD_OUT_WINDOWS)
            stage = self._stage(Path(aside), self.settings)
            plan = measure_plan(stage, self.settings, self.folder, encoding, HELD_OUT_WINDOWS, on_progress)
            for name, values in () if plan.fits else reversed(FINETUNE_PRESETS.items()):
                lighter = self.settings.model_copy(update=values)
                memory = measure_memory(self._stage(Path(aside), lighter))
                if memory.fits and memory.needed_mb < plan.memory_mb:
                    return replace(plan, advice=name)
        return plan

    def result(self) -> Path | None:
        """The LoRA or the pipeline folder that was written; none before the first measurement."""
        path = self.folder / ("lora.safetensors" if self.settings.what == "lora" else "model")
        return path if path.exists() else None

    def _train_period(self, stage: ClipsStage, deadline: float) -> Iterator[dict[str, Any]]:
        """Steps until the deadline, then figures, samples and a checkpoint; the averaged weights are then in the model."""
        for left in (self.folder / stage.name).glob("*.partial"):
            shutil.rmtree(left)
        for record in train(
            stage,
            stage.settings,
            self.folder / stage.name,
            self.folder / "metrics.jsonl",
            seed=self.settings.seed,
            accelerator=Accelerator(mixed_precision=PRECISION),
            deadline=deadline,
            evaluate=lambda: self._measured(stage),
        ):
            yield {"max_steps": self.settings.max_steps, **record}

    def _prepare(self) -> Generator[dict[str, Any], None, ClipsStage]:
        """The stage, with clips encoded and the base measured; yields records on the way."""
        self._to_device()
        yield from self._encode(self.folder / "windows", self.clips, WINDOWS_EACH * len(self.clips))
        yield from self._encode(self.folder / "held-out", self._measured_clips, HELD_OUT_WINDOWS)
        stage = self._stage(self.folder, self.settings)
        self._measure_base(stage)
        return stage

    @property
    def _measured_clips(self) -> list[ClipFile]:
        return self.held_out or self.clips[:1]

    def _to_device(self) -> None:
        self.pipe.to(Accelerator(mixed_precision=PRECISION).device)
        for module in (self.pipe.vae, self.pipe.text_encoder):
            module.eval().requires_grad_(False)

    def _stage(self, encoded: Path, settings: FinetuneSettings) -> ClipsStage:
        """What is trained, on the clips encoded in a folder; changes that another call added are taken out again."""
        pipe = self.pipe
        if self._changes:
            self._changes.unload()
            pipe.unet.requires_grad_(True)
        self._changes = None
        if settings.what == "lora":
            torch.manual_seed(settings.seed)  # half of the changes begin at random
            self._changes = add_lora(pipe.unet, rank=settings.rank, layers=settings.layers)
        return ClipsStage(
            Denoiser(pipe.unet, pipe.fusion),
            pipe,
            LatentCache(encoded / "windows"),
            LatentCache(encoded / "held-out"),
            settings,
            photos=[(self._first_frame(clip), clip.caption) for clip in self._measured_clips[:SAMPLES]],
            metrics_path=self.folder / "metrics.jsonl",
        )

    def _first_frame(self, clip: ClipFile) -> np.ndarray:
        return read_window(clip, num_frames=self.pipe.config.num_frames, size=self.pipe.frame_size, rng=None)[0][0]

    def _encode(self, folder: Path, clips: list[ClipFile], count: int) -> Iterator[dict[str, Any]]:
        pipe, seed = self.pipe, self.settings.seed
        size, num_frames = pipe.frame_size, pipe.config.num_frames
        key = {"vae": digest(pipe.vae.state_dict()), "frames": num_frames, "size": size, "data": self.data_digest}

        def draw(rng: np.random.Generator) -> Sample:
            clip, frames, times = draw_window(clips, num_frames=num_frames, size=size, rng=rng)
            return Sample(frames, times, clip.caption, filmed(frames))

        def encode(video: Tensor) -> Tensor:
            return encode_video(pipe.vae, video)

        keeps = pipe.unet.moves_pixels
        for done, wanted in encode_cache(folder, draw, encode, num_clips=count, seed=seed, key=key, keeps_photo=keeps):
            yield {"stage": folder.name, "step": done, "max_steps": wanted}

    def _measure_base(self, stage: ClipsStage) -> None:
        """Figures and samples of the base: changes are zero as long as nothing was trained."""
        path, frames = self.folder / "base.json", self.folder / "base.npz"
        if not path.exists():
            stage.model.eval()
            with atomic_write(frames) as partial, partial.open("wb") as file:
                np.savez_compressed(file, *stage.animated())
            atomic_write_text(path, json.dumps(self._figures(stage)))
        self.base_figures = json.loads(path.read_text())
        with np.load(frames) as known:
            stage.base_clips = [known[name] for name in known.files]
        stage.model.train()

    def _figures(self, stage: ClipsStage) -> dict[str, float]:
        with torch.autocast(stage.pipe.device.type, torch.bfloat16):
            figures = stage.evaluate()
        return figures if self.held_out else {name.replace("held_out", "seen"): value for name, value in figures.items()}

    def _measured(self, stage: ClipsStage) -> dict[str, float]:
        """Figures of the averaged weights, which are in place now; the best so far become the result."""
        figures = self._figures(stage)
        best = self.result_card()
        if best is None or not self.held_out or figures["held_out_loss"] < best.figures["held_out_loss"]:
            self._write_result(figures)
        return figures

    def result_card(self) -> LoraCard | None:
        """The card of the result so far."""
        if self.settings.what == "lora":
            return read_card(path) if (path := self.folder / "lora.safetensors").exists() else None
        return checked_card(json.loads(path.read_text())) if (path := self.folder / "model" / "finetune.json").exists() else None

    def _write_result(self, figures: dict[str, float]) -> None:
        settings, trained = self.settings, last_record(self.folder / "metrics.jsonl")
        card = LoraCard(
            base=self.base_name,
            base_digest=self.base_digest,
            rank=settings.rank,
            layers=settings.layers,
            data_digest=self.data_digest,
            num_steps=trained["step"] + 1,
            settings=settings.model_dump(),
            figures={**figures, "base": self.base_figures},
        )
        if settings.what == "lora":
            save_lora(self.folder / "lora.safetensors", self.pipe.unet, self.pipe.fusion, card)
            return
        partial, final = self.folder / "model.partial", self.folder / "model"
        shutil.rmtree(partial, ignore_errors=True)
        self.pipe.copied(torch.float16).save_pretrained(partial, max_shard_size="9MB")
        (partial / "finetune.json").write_text(json.dumps(vars(card)))
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)


def data_digest(clips: Sequence[ClipFile]) -> str:
    """Sixteen letters that change with any clip or caption. Raises ValueError, in one line, where a clip is gone."""
    state = hashlib.sha256()
    for clip in sorted(clips, key=lambda clip: clip.path.name):
        try:
            with clip.path.open("rb") as file:
                state.update(hashlib.file_digest(file, "sha256").digest() + clip.caption.encode())
        except OSError as error:
            raise ValueError(f"{clip.path.name}: this clip cannot be read any more ({error.strerror}); give the same command") from error
    return state.hexdigest()[:16]


def _check_same(folder: Path, known: dict[str, Any], asked: dict[str, Any]) -> None:
    if known["data_digest"] != asked["data_digest"]:
        raise ValueError(f"{folder}: the clips or their captions have changed since this run began; choose a new --output")
    if known["base_digest"] != asked["base_digest"]:
        raise ValueError(f"{folder}: holds a run on the model {known['base']}, not on this {asked['base']}; choose a new --output")
    for name in asked.keys() - FREE_TO_CHANGE - {"base"}:
        if known.get(name) != asked[name]:
            raise ValueError(
                f"{folder}: holds a run with {name} {known.get(name)}, wanted {asked[name]}; give what it was started with "
                "or choose a new --output"
            )
