"""Where the code runs: device, precision, Spaces GPUs, and which checkpoint is open. The one place that knows."""

import logging
import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from safetensors import SafetensorError

from trip.pipeline import TripPipeline, check_checkpoint

logger = logging.getLogger(__name__)

EMBEDDED = Path(__file__).resolve().parent.parent / "assets" / "embedded"
_opening = threading.Lock()


def device() -> torch.device:
    """The accelerator of this machine, or its CPU."""
    if torch.cuda.is_available() or on_spaces_gpu():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def precision(on: torch.device) -> torch.dtype:
    """What weights are kept in: bfloat16 on a CUDA device, float32 elsewhere."""
    return torch.bfloat16 if on.type == "cuda" else torch.float32


def on_spaces_gpu() -> bool:
    """Whether this is a Space whose GPU comes and goes with each call."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))


def gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a function with a Spaces GPU held for as long as it needs; elsewhere the function itself."""
    if not on_spaces_gpu():
        return function
    import spaces  # must come before the first use of CUDA, and means nothing elsewhere

    return spaces.GPU(duration=60)(function)


@cache
def _open(name: str) -> TripPipeline:
    if Path(name).is_absolute() or name.startswith(".") or Path(name).exists() or name.count("/") != 1:
        check_checkpoint(Path(name))
    try:
        pipe = TripPipeline.from_pretrained(name, use_safetensors=True, dtype=precision(device()))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ValueError(f"{name}: wanted a checkpoint folder or a hub id that exists, found neither; check the name") from error
    except (OSError, SafetensorError, KeyError, AttributeError, TypeError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{name}: not a TRIP checkpoint that opens ({type(error).__name__}: {reason}); copy or download it again"
        ) from error
    if not all(isinstance(part, torch.nn.Module) for part in (pipe.unet, pipe.fusion)):
        raise ValueError(f"{name}: wanted a TRIP checkpoint with a U-Net and a fusion, found another kind; give another folder")
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device())


def load_pipeline(name: str | Path | None = None) -> TripPipeline:
    """The pipeline in a folder or on the hub, opened once; the embedded one where no name is given.

    Raises ValueError, in one line, where there is nothing that opens.
    """
    with _opening:
        return _open(str(name or EMBEDDED))
