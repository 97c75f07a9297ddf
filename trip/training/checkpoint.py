"""Checkpoints of a stage's training state: written beside and renamed into place, so that a kill never leaves half of one."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from trip.files import replacing


def save(accelerator: Accelerator, folder: Path, step: int, keep: int = 2) -> Path:
    """Writes the whole training state as `folder/step-…`, and keeps the newest `keep` of them."""
    final = folder / f"step-{step:07d}"
    partial = folder / f"{final.name}.partial"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if final.exists():
            shutil.rmtree(final)
        os.replace(partial, final)
        for old in completed(folder)[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return final


def completed(folder: Path) -> list[Path]:
    """The finished checkpoints of a stage, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.suffix != ".partial")


def resume(accelerator: Accelerator, folder: Path) -> int:
    """Loads the newest checkpoint and gives its step; 0 where there is none."""
    found = completed(folder)
    if not found:
        return 0
    accelerator.load_state(str(found[-1]))
    return int(found[-1].name.removeprefix("step-"))


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
    with replacing(path) as partial:
        partial.write_text("".join(f"{line}\n" for line in kept))
