"""Memory of the machine, the container and the accelerator, in bytes: how much there is, what is free, what this process takes."""

import gc
import sys
from pathlib import Path

import psutil
import torch

CONTAINER = Path("/sys/fs/cgroup")  # where Linux says how much memory a container may take, and takes


def memory_limit() -> int | None:
    """What the container may take (cgroup v2); None where nothing is said, or no limit is set."""
    limit = CONTAINER / "memory.max"
    return int(text) if limit.exists() and (text := limit.read_text().strip()).isdecimal() else None


def total_memory() -> int:
    """Memory of the machine, or as much of it as the container may have."""
    whole, limit = psutil.virtual_memory().total, memory_limit()
    return whole if limit is None else min(whole, limit)


def available_memory(device: torch.device) -> int:
    """What this process has, or could have: of a CUDA device's memory, or of the machine's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    free = psutil.virtual_memory().available
    if (limit := memory_limit()) is not None:
        taken = dict(line.split() for line in (CONTAINER / "memory.stat").read_text().splitlines())["anon"]
        free = min(free, limit - int(taken))
    return free + psutil.Process().memory_info().rss


def memory_in_use() -> int:
    """Bytes that this process holds on its accelerator, or where there is none, in memory."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    return psutil.Process().memory_info().rss


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on an accelerator or in the process."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def free_memory() -> None:
    """Gives back what nothing holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def reset_peak_memory(device: torch.device) -> None:
    """The next `peak_memory` is that of what comes now; where a system cannot forget, of all so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (forgetting := Path("/proc/self/clear_refs")).exists():
        forgetting.write_text("5")


def peak_memory(device: torch.device) -> int:
    """The most that this process held at once: on a CUDA device, or in memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if (status := Path("/proc/self/status")).exists():
        return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
