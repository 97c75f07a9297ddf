"""The training loop that every stage shares, on one process or many.

What a step sees depends on the seed and the step alone, so a run that was killed goes on as if it never had been. The samples of a
step come in shares: one for each process and each round of accumulation.
"""

import logging
import math
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from trip.settings import StageSettings
from trip.training import checkpoint
from trip.training.average import Average
from trip.training.stop import StopRequest

logger = logging.getLogger(__name__)

MOST_LEFT_OUT = 32  # steps in a row: float16's scale has fallen from 65,536 to nothing by then


class Stage(Protocol):
    """What is trained, on what, and by which loss."""

    name: str
    model: nn.Module

    def param_groups(self) -> list[dict[str, Any]]:
        """Parameters with their learning rates, as an optimizer takes them."""

    def batch(self, step: int, share: int, num_shares: int) -> Any:
        """One share of the samples of a step; a function of its arguments and the stage's seed alone, called from another thread."""

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


def step_generator(seed: int, step: int, share: int) -> torch.Generator:
    """The source of noise of one share of a step, the same whatever ran before it."""
    state = torch.tensor([seed, step, share], dtype=torch.int64)
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
) -> Generator[dict[str, Any], None, int]:
    """Trains a stage, yields one record a step and gives the step reached; resumes from what `folder` holds.

    The averaged weights stay in the model. Every process of a run calls it; the loss in the records is the mean over all shares,
    other figures are those of the main process's last share.

    folder        where samples and checkpoints go
    metrics_path  JSON lines, one a step, and one for the last evaluation of a stage
    deadline      when to save and stop, seconds of `time.monotonic`; SIGTERM does the same
    evaluate      called with the averaged weights in place whenever samples are drawn; its figures join the record
    Raises FloatingPointError where a loss, a gradient or a weight is not finite: nothing of that is saved, and the last checkpoint is
    from before. Raises ValueError where a checkpoint cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    set_seed(seed)

    optimizer = torch.optim.AdamW(stage.param_groups(), weight_decay=settings.weight_decay, betas=settings.betas, fused=True)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    accelerator.gradient_accumulation_steps = settings.accumulation
    model, optimizer = accelerator.prepare(stage.model, optimizer)
    parameters = [p for p in stage.model.parameters() if p.requires_grad]
    average = Average(stage.model, settings.ema_decay)
    step = checkpoint.resume(accelerator, folder, average)
    average.ema.to(accelerator.device)
    if accelerator.is_main_process:
        checkpoint.forget_metrics_from(metrics_path, stage.name, step)
    resumed_at, saved, in_a_row = step, time.monotonic(), 0
    logger.info("%s: step %d of %d", stage.name, step, settings.max_steps)

    num_shares = settings.accumulation * accelerator.num_processes
    shares = [part * accelerator.num_processes + accelerator.process_index for part in range(settings.accumulation)]

    with StopRequest() as stop, ThreadPoolExecutor(1, "batches") as drawer:
        coming = [drawer.submit(stage.batch, step, share, num_shares) for share in shares]
        while True:
            due = time.monotonic() - saved >= 60 * settings.save_minutes
            hurried, late, due = _agreed(accelerator, stop.asked, time.monotonic() >= deadline, due)
            stopping = hurried or late or step >= settings.max_steps
            record: dict[str, Any] = {"stage": stage.name, "step": step}

            # evaluate and sample, with the averaged weights
            if step > resumed_at and (stopping or step % settings.sample_every == 0) and not hurried:
                with average.in_place(), accelerator.autocast():
                    record |= evaluate() if evaluate else {}
                    _sample(stage, folder / "samples" / f"{step:07d}.png", keep=accelerator.is_main_process)
                (is_best,) = _agreed(accelerator, accelerator.is_main_process and _is_best(folder, record.get(settings.best_by)))
                if is_best and accelerator.is_main_process:
                    checkpoint.note_best(folder, step, record[settings.best_by])
                due = due or is_best

            # save
            if step > resumed_at and (stopping or due or step % settings.save_every == 0):
                (spoilt,) = _agreed(accelerator, not average.is_finite())
                _check_finite(stage.name, "averaged weight", step, math.nan if spoilt else 0.0)
                checkpoint.save(accelerator, folder, step, average, keep=settings.keep)
                saved = time.monotonic()
            if stopping:
                if len(record) > 2 and accelerator.is_main_process:
                    checkpoint.append_line(metrics_path, record)
                break

            # forward and backward, share by share
            started = time.monotonic()
            optimizer.zero_grad(set_to_none=True)
            losses, waited = [], 0.0
            for part, share in enumerate(shares):
                asked = time.monotonic()
                batch = coming.pop(0).result()
                waited += time.monotonic() - asked
                coming.append(drawer.submit(stage.batch, step + 1, share, num_shares))
                generator = step_generator(seed, step, share)
                torch.manual_seed(generator.initial_seed())  # dropout
                with accelerator.accumulate(model):
                    with accelerator.autocast():
                        loss, figures = stage.loss(model, batch, generator)
                    losses.append(loss.detach().float())
                    accelerator.backward(loss)
                    if part + 1 == settings.accumulation:
                        norm = accelerator.clip_grad_norm_(parameters, settings.grad_clip)
            loss = accelerator.reduce(torch.stack(losses).mean(), "mean")
            norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
            _check_finite(stage.name, "loss", step, loss.item())
            if accelerator.scaler is None:
                _check_finite(stage.name, "gradient", step, float(norm))
            else:  # of float16, which leaves out steps that are not finite while it looks for its scale
                in_a_row = 0 if math.isfinite(float(norm)) else in_a_row + 1
                _check_finite(stage.name, "gradient", step, 0.0 if in_a_row < MOST_LEFT_OUT else float(norm))

            # step
            scale = learning_rate_scale(step, settings)
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * scale
            optimizer.step()
            average.step()

            record |= {"loss": loss.item(), **figures, "grad_norm": float(norm), "seconds": time.monotonic() - started, "waited": waited}
            if accelerator.is_main_process:
                checkpoint.append_line(metrics_path, record)
            accelerator.log({f"{stage.name}/{name}": value for name, value in record.items() if isinstance(value, float)}, step=step)
            yield {**record, "max_steps": settings.max_steps}
            step += 1

    average.copy_to_model()
    return step


def _check_finite(stage: str, what: str, step: int, value: float) -> None:
    if not math.isfinite(value):
        raise FloatingPointError(f"{stage}: the {what} at step {step} is {value}; lower the learning rate or use precision 'no'")


def _agreed(accelerator: Accelerator, *claims: bool) -> list[bool]:
    """Each claim, true on every process where it is true on one: clocks and signals differ between them."""
    if accelerator.num_processes == 1:
        return list(claims)
    votes = torch.tensor([float(claim) for claim in claims], device=accelerator.device)
    return (accelerator.reduce(votes, "sum") > 0).tolist()


def _is_best(folder: Path, figure: float | None) -> bool:
    best = checkpoint.best_of(folder)
    return figure is not None and math.isfinite(figure) and (best is None or figure < best["figure"])


def _sample(stage: Stage, path: Path, *, keep: bool) -> None:
    """Draws samples on every process, since a split model works only where all take part; one picture stays."""
    if keep:
        path.parent.mkdir(exist_ok=True)
        stage.sample(path)
    else:
        with TemporaryDirectory() as aside:
            stage.sample(Path(aside) / path.name)
