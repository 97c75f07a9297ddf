"""Checkpoints of a stage's training state: written beside and renamed into place, so that a kill never leaves half of one.

FOLDER/step-…      training state of accelerate, and average.safetensors, the averaged weights by name
FOLDER/best.json   the step whose evaluation was the lowest so far, and its figure
"""

import json
import logging
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open

from trip.system.files import write_whole
from trip.training.average import Average

logger = logging.getLogger(__name__)

AVERAGE = "average.safetensors"


def save(accelerator: Accelerator, folder: Path, step: int, average: Average, keep: int = 2) -> Path:
    """Writes the whole training state as `folder/step-…`; the newest `keep` of them stay, and the best one.

    Raises ValueError, in one line, where it cannot be written; what was saved before is then still there.
    """
    final = folder / f"step-{step:07d}"
    partial = folder / f"{final.name}.partial"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    try:
        accelerator.save_state(str(partial))
        average.save(partial / AVERAGE, writes=accelerator.is_main_process)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        whole = completed(folder)
        kept = f"{whole[-1].name} is whole" if whole else "there was no checkpoint yet"
        raise ValueError(f"{folder}: cannot be written ({reason}); {kept}; free some space and give the same command") from error
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if final.exists():
            shutil.rmtree(final)
        os.replace(partial, final)
        best = best_of(folder)
        for old in completed(folder)[:-keep]:
            if best is None or step_of(old) != best["step"]:
                shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return final


def completed(folder: Path) -> list[Path]:
    """The finished checkpoints of a stage, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.suffix != ".partial")


def step_of(path: Path) -> int:
    """The step that a checkpoint was saved at."""
    return int(path.name.removeprefix("step-"))


def resume(accelerator: Accelerator, folder: Path, average: Average) -> int:
    """Loads the newest checkpoint whose weights are finite, on any number of processes, and gives its step; 0 where there is none.

    Newer ones, whose weights are not finite, are dropped: nothing can be learnt from them.
    """
    spoilt = []
    for path in reversed(completed(folder)):
        if is_finite(path):
            break
        spoilt.append(path)
    accelerator.wait_for_everyone()  # until all have looked
    if accelerator.is_main_process:
        for path in spoilt:
            logger.warning("%s: its weights are not finite, so it is dropped and the one before it is taken up", path)
            shutil.rmtree(path)
        if (best := best_of(folder)) and best["step"] in map(step_of, spoilt):
            (folder / "best.json").unlink()
    accelerator.wait_for_everyone()
    found = completed(folder)
    if not found:
        return 0
    accelerator.load_state(str(found[-1]))
    average.load(found[-1] / AVERAGE)
    return step_of(found[-1])


def is_finite(path: Path) -> bool:
    """Whether the weights of a checkpoint are finite, by its average: what was ever not finite stays in an average."""
    with safe_open(path / AVERAGE, framework="pt") as file:
        return all(bool(torch.isfinite(file.get_tensor(name)).all()) for name in file.keys())  # noqa: SIM118  not a dict


def best_of(folder: Path) -> dict[str, Any] | None:
    """Step and figure of the best evaluation so far."""
    path = folder / "best.json"
    best = json.loads(path.read_text()) if path.exists() else None
    return best if best and math.isfinite(best["figure"]) else None


def note_best(folder: Path, step: int, figure: float) -> None:
    """Notes that the evaluation at a step is the best so far."""
    write_whole(folder / "best.json", json.dumps({"step": step, "figure": figure}))


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Adds a record to a file of JSON lines."""
    with path.open("a") as lines:
        lines.write(json.dumps(record) + "\n")


def forget_metrics_from(path: Path, stage: str, step: int) -> None:
    """Drops the lines that a resumed stage writes again, and a line that a kill cut in half."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break
        if record["stage"] != stage or record["step"] < step or (record["step"] == step and "loss" not in record):
            kept.append(line)
    write_whole(path, "".join(f"{line}\n" for line in kept))
