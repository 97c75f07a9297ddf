"""The run folder: which run it belongs to, that one process alone trains in it, and the model at its end."""

import copy
import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from trip.model.denoiser import Denoiser
from trip.pipeline import TripPipeline
from trip.settings import ModelSettings
from trip.system.files import atomic_write_text

PATIENCE = 60.0  # seconds that a run waits for another process to leave its folder


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Holds the run folder, so that no two processes train in it; waits for one that is just stopping.

    Raises ValueError, in one line, where another one goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise ValueError(f"{folder}: another process trains in this folder; stop it or choose a new --output") from None
                time.sleep(0.2)
        yield


def remember_settings(folder: Path, settings: dict[str, Any], fixed: tuple[str, ...], *, writes: bool = True) -> dict[str, Any]:
    """Notes what a run folder belongs to, and gives what it was started with.

    fixed  keys that must stay what they were, so that nothing is mixed up
    Raises ValueError, in one line, where they are not, or where nothing can be written there.
    """
    path = folder / "settings.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = json.loads(path.read_text()) if path.exists() else settings
        changed = [name for name in fixed if name in known and known[name] != settings[name]]  # an older run may not name all
        if not changed:
            if writes:
                atomic_write_text(path, json.dumps(settings, indent=1))
            return known
    except OSError as error:
        raise ValueError(f"{folder}: wanted a folder that can be written ({error.strerror}); choose another --output") from error
    raise ValueError(f"{folder}: holds a run of another {' and '.join(changed)}; choose a new --output or give what it was started with")


def write_model(
    folder: Path,
    model: ModelSettings,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    denoiser: Denoiser,
    scheduler: DDIMScheduler,
    *,
    card: str,
    max_shard_size: str = "9MB",
) -> None:
    """Writes what can be opened and passed on: half precision, shards that any git host takes."""
    TripPipeline(
        vae=copy.deepcopy(vae).half(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=copy.deepcopy(denoiser.unet).half(),
        fusion=copy.deepcopy(denoiser.fusion).half(),
        scheduler=scheduler,
        num_frames=model.num_frames,
        fps=model.fps,
        num_steps=model.num_steps,
        guidance_scale=model.guidance_scale,
        card=card,
    ).save_pretrained(folder, max_shard_size=max_shard_size)
