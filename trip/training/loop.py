"""The training loop that every stage shares.

What a step sees depends on the seed and the step alone, so a run that was killed goes on as if it never had been.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from trip.settings import StageSettings
from trip.training import checkpoint

logger = logging.getLogger(__name__)


class Stage(Protocol):
    """What is trained, on what, and by which loss."""

    name: str
    model: nn.Module

    def param_groups(self) -> list[dict[str, Any]]:
        """Parameters with their learning rates, as an optimizer takes them."""

    def batch(self, step: int, rank: int, num_ranks: int) -> Any:
        """One process's share of the samples of a step; a function of its arguments and the stage's seed alone."""

    def loss(self, model: nn.Module, batch: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """The loss of a batch, and more figures for the metrics."""

    def sample(self, path: Path) -> None:
        """Draws what the model makes as a picture, with the weights as they are now."""


def learning_rate_scale(step: int, settings: StageSettings) -> float:
    """Share of the learning rate at a step: a linear rise, a plateau, a linear fall to zero."""
    rise = min(1.0, (step + 1) / (settings.warmup_steps + 1))
    cooldown_steps = settings.cooldown * settings.max_steps
    fall = min(1.0, (settings.max_steps - step) / cooldown_steps) if cooldown_steps else 1.0
    return rise * max(fall, 0.0)


def step_generator(seed: int, step: int, rank: int) -> torch.Generator:
    """The source of a step's noise, the same whatever ran before it."""
    state = torch.tensor([seed, step, rank], dtype=torch.int64)
    mixed = int((state * torch.tensor([1_000_003, 7_919, 104_729])).sum()) % (2**63)
    return torch.Generator().manual_seed(mixed)


def train(
    stage: Stage,
    settings: StageSettings,
    folder: Path,
    metrics_path: Path,
    *,
    seed: int,
    accelerator: Accelerator,
    deadline: float = math.inf,
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Trains a stage and yields one record a step; resumes from what `folder` holds. The averaged weights stay in the model.

    folder        where samples and checkpoints go
    metrics_path  JSON lines, one a step, and one for the last evaluation of a stage
    deadline      when to save and stop, seconds of `time.monotonic`
    evaluate      called with the averaged weights in place whenever samples are drawn; its figures join the record
    Raises FloatingPointError where a loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    set_seed(seed)

    optimizer = torch.optim.AdamW(stage.param_groups(), weight_decay=settings.weight_decay, betas=(0.9, 0.99), fused=True)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    model, optimizer = accelerator.prepare(stage.model, optimizer)
    parameters = [p for p in stage.model.parameters() if p.requires_grad]
    ema = EMAModel(parameters, decay=settings.ema_decay, foreach=True)
    accelerator.register_for_checkpointing(ema)
    step = checkpoint.resume(accelerator, folder)
    ema.to(accelerator.device)
    if accelerator.is_main_process:
        checkpoint.forget_metrics_from(metrics_path, stage.name, step)
    resumed_at = step
    logger.info("%s: step %d of %d", stage.name, step, settings.max_steps)

    while True:
        stopping = step >= settings.max_steps or time.monotonic() >= deadline
        record: dict[str, Any] = {"stage": stage.name, "step": step}

        # evaluate and sample, with the averaged weights
        if step > resumed_at and (stopping or step % settings.sample_every == 0) and accelerator.is_main_process:
            ema.store(parameters)
            ema.copy_to(parameters)
            stage.model.eval()
            record |= evaluate() if evaluate else {}
            (folder / "samples").mkdir(exist_ok=True)
            stage.sample(folder / "samples" / f"{step:07d}.png")
            stage.model.train()
            ema.restore(parameters)

        # save
        if step > resumed_at and (stopping or step % settings.save_every == 0):
            checkpoint.save(accelerator, folder, step)
        if stopping:
            if len(record) > 2:
                checkpoint.append_line(metrics_path, record)
            break

        # forward
        started = time.monotonic()
        generator = step_generator(seed, step, accelerator.process_index)
        batch = stage.batch(step, accelerator.process_index, accelerator.num_processes)
        with accelerator.autocast():
            loss, figures = stage.loss(model, batch, generator)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"{stage.name}: the loss at step {step} is {loss.item()}; lower the learning rate or use precision 'no'"
            )

        # backward, clip, step
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(parameters, settings.grad_clip)
        scale = learning_rate_scale(step, settings)
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * scale
        optimizer.step()
        ema.step(parameters)

        record |= {"loss": loss.item(), **figures, "grad_norm": float(norm), "seconds": time.monotonic() - started}
        if accelerator.is_main_process:
            checkpoint.append_line(metrics_path, record)
        yield record
        step += 1

    ema.copy_to(parameters)
