"""Where the code runs: device, precision, Spaces GPUs, and which checkpoint is open. The one place that knows."""

import gc
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
from trip.place import on_spaces_gpu

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


def gpu(function: Callable[..., Any], seconds: Callable[..., int]) -> Callable[..., Any]:
    """Runs a function with a Spaces GPU held for as long as `seconds` says of the same arguments; elsewhere the function itself."""
    if not on_spaces_gpu():
        return function
    import spaces  # must come before the first use of CUDA, and means nothing elsewhere

    return spaces.GPU(duration=seconds)(function)


def memory_in_use() -> int:
    """Bytes that this process holds on its accelerator, or where there is none, in memory."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on an accelerator or in the process."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def free_memory() -> None:
    """Gives back what nothing holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def save_memory(pipe: TripPipeline) -> None:
    """One rung lower: frames decoded one by one, and on a CUDA device only the part at work is there."""
    pipe.decode_chunk = 1
    if device().type == "cuda" and not on_spaces_gpu():
        pipe.enable_model_cpu_offload()


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
