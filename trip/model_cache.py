"""The models that are open in this process: opened once, on the accelerator while they work, put away to make room for others."""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import DiffusionPipeline
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from safetensors import SafetensorError

from trip.checkpoint import check_checkpoint
from trip.model.lora import lora_file
from trip.model.weights import check_finite
from trip.pipeline import TripPipeline
from trip.system.accelerator import arithmetic, device, precision
from trip.system.environment import ASSETS, on_spaces_gpu
from trip.system.memory import free_memory, total_memory

logger = logging.getLogger(__name__)

EMBEDDED = ASSETS / "embedded"
DEVICE_SHARE = 0.85  # of an accelerator's memory that weights may take; the rest is for what they work on
MEMORY_SHARE = 0.75  # of the machine's
USABLE = 0.9  # of an accelerator's, where it is known what a model takes with what it works on
WHOLE, IN_TURN, BY_LAYER = range(3)  # ways to work there
WORKING = 1.5  # times its weights, what a part that works takes about
_creating = threading.Lock()


def save_memory(pipe: TripPipeline) -> None:
    """One rung lower: frames decoded one by one, and on a CUDA device only the part at work is there."""
    pipe.decode_chunk = 1
    if device().type == "cuda" and not on_spaces_gpu():
        pipe.enable_model_cpu_offload()


class Movable(Protocol):
    """What the cache holds: a pipeline, or anything like it."""

    components: dict[str, Any]

    def to(self, device: torch.device | str) -> Any:
        """Moves all networks."""


def num_bytes_of(model: Movable) -> int:
    """Bytes of its weights."""
    return sum(_num_bytes(part) for part in model.components.values() if isinstance(part, torch.nn.Module))


def _num_bytes(module: torch.nn.Module) -> int:
    return sum(weight.nbytes for weight in (*module.parameters(), *module.buffers()))


@dataclass(eq=False)
class _Entry:
    """A model in the cache: what it takes, how many use it now, and when somebody last did.

    takes  bytes with what it works on, where that is known: all of it on the accelerator, part by part, layer by layer
    """

    model: Movable
    num_bytes: int
    is_pinned: bool
    users: int = 0
    is_on_device: bool = False
    last_used: float = 0.0
    takes: tuple[float, ...] = ()


class ModelCache:
    """The models that are open, and which of them are on the accelerator. They take turns by one rule:

    before a model is opened, or moved to the accelerator, those that nobody uses are put away, least recently used first, until it
    fits. From an accelerator they go to the machine's memory; from there they are forgotten, unless they are kept.
    A model that is too large for the accelerator even alone works from the machine's memory, part by part; where a part is too large
    with what it works on, layer by layer.

    on                where the models work
    num_bytes         room there
    memory_num_bytes  room in the machine's memory, where that is not the same
    """

    def __init__(self, on: torch.device, num_bytes: int, memory_num_bytes: int | None = None):
        self.on, self.num_bytes = on, num_bytes
        self.memory_num_bytes = num_bytes if memory_num_bytes is None else memory_num_bytes
        self._entries: dict[Hashable, _Entry] = {}
        self._lock = threading.RLock()

    def open(self, key: Hashable, opener: Callable[[], Movable], num_bytes: int = 0, *, pin: bool = False) -> Any:
        """The model of that key, opened where it is not. Raises ValueError, in one line, where it is larger than the memory.

        num_bytes  about what it takes
        pin        never evict it, and have it ready to work at once
        """
        if key in self._entries and pin:  # without a wait for what is being opened meanwhile
            return self._entries[key].model
        with self._lock:
            if key not in self._entries:
                if not self._make_room(num_bytes, on_device=False) and num_bytes > self.memory_num_bytes:
                    raise ValueError(
                        f"this model takes {num_bytes / 1e9:.1f} GB of memory, and there is room for {self.memory_num_bytes / 1e9:.1f} GB; "
                        "choose a smaller model"
                    )
                model = opener()
                self._entries[key] = _Entry(model, num_bytes_of(model), pin)
                if pin:
                    self._move_to_device(self._entries[key])
            self._entries[key].last_used = time.monotonic()
            return self._entries[key].model

    @contextmanager
    def acquire(self, key: Hashable, opener: Callable[[], Movable], num_bytes: int = 0, takes: tuple[float, ...] = ()) -> Iterator[Any]:
        """The model of that key, ready to work; nobody puts it away until it is given back.

        takes  see `_Entry`
        """
        with self._lock:
            self.open(key, opener, num_bytes)
            entry = self._entries[key]
            entry.takes = takes
            entry.users += 1
            try:
                self._move_to_device(entry)
            except BaseException:
                entry.users -= 1
                raise
        try:
            yield entry.model
        finally:
            with self._lock:
                entry.users -= 1
                entry.last_used = time.monotonic()

    def __iter__(self) -> Iterator[Hashable]:
        """Keys of what is open, least recently used first."""
        return iter(sorted(self._entries, key=lambda key: self._entries[key].last_used))

    def _move_to_device(self, entry: _Entry) -> None:
        """To the accelerator, where there is one."""
        if entry.is_on_device or self.on.type == "cpu":
            return
        way = self._way(entry)
        self._make_room(int(DEVICE_SHARE * max(entry.takes[way], entry.num_bytes)) if entry.takes else entry.num_bytes, on_device=True)
        if way == BY_LAYER:
            entry.model.enable_sequential_cpu_offload(device=self.on)
        elif way == IN_TURN:
            entry.model.enable_model_cpu_offload(device=self.on)
        else:
            entry.model.to(self.on)
        entry.is_on_device = True

    def _way(self, entry: _Entry) -> int:
        """How it works on the accelerator: the fastest way that fits, by what it takes, or else by its weights alone."""
        if not isinstance(entry.model, DiffusionPipeline) or on_spaces_gpu():
            return WHOLE
        if entry.takes:
            room = USABLE * self.num_bytes / DEVICE_SHARE
            return next((way for way in (WHOLE, IN_TURN) if entry.takes[way] <= room), BY_LAYER)
        if entry.num_bytes <= self.num_bytes:
            return WHOLE
        largest = max(_num_bytes(part) for part in entry.model.components.values() if isinstance(part, torch.nn.Module))
        return IN_TURN if WORKING * largest <= self.num_bytes else BY_LAYER

    def _make_room(self, num_bytes: int, *, on_device: bool) -> bool:
        """Puts models away by the rule of the class; whether there is room then."""
        room = self.num_bytes if on_device else self.memory_num_bytes
        for key in self:
            if self._used(on_device) + num_bytes <= room:
                break
            entry = self._entries[key]
            if entry.users or entry.is_on_device != on_device:
                continue
            if on_device and (entry.is_pinned or entry.num_bytes <= self.memory_num_bytes):
                self._make_room(entry.num_bytes, on_device=False)
                self._move_to_memory(entry)
            elif not entry.is_pinned:
                logger.info("put away: %s", key)
                del self._entries[key]
            del entry
            free_memory()
        return self._used(on_device) + num_bytes <= room

    def _used(self, on_device: bool) -> int:
        return sum(one.num_bytes for one in self._entries.values() if one.is_on_device == on_device)

    @staticmethod
    def _move_to_memory(entry: _Entry) -> None:
        if isinstance(entry.model, DiffusionPipeline):
            entry.model.remove_all_hooks()
        entry.model.to("cpu")
        entry.is_on_device = False


def shared_cache() -> ModelCache:
    """The one model cache of this process, with room by what the machine has."""
    with _creating:  # two caches would open models at once, which the libraries' ways to open them do not bear
        return _shared_cache()


@cache
def _shared_cache() -> ModelCache:
    memory = int(MEMORY_SHARE * total_memory())
    if torch.cuda.is_available() and not on_spaces_gpu():  # there, no GPU is to be asked before the call that it is lent to
        return ModelCache(device(), int(DEVICE_SHARE * torch.cuda.get_device_properties(0).total_memory), memory)
    return ModelCache(device(), memory)


def _open(name: str) -> TripPipeline:
    if Path(name).is_absolute() or name.startswith(".") or Path(name).exists() or name.count("/") != 1:
        check_checkpoint(Path(name))
    try:
        pipe = TripPipeline.from_pretrained(name, use_safetensors=True, dtype=precision(device()))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ValueError(f"{name}: wanted a checkpoint folder or a hub id that exists, found neither; check the name") from error
    except (OSError, SafetensorError, LookupError, AttributeError, TypeError, ArithmeticError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{name}: not a TRIP checkpoint that opens ({type(error).__name__}: {reason}); copy or download it again"
        ) from error
    if not all(isinstance(part, torch.nn.Module) for part in (pipe.unet, pipe.fusion)):
        raise ValueError(f"{name}: wanted a TRIP checkpoint with a U-Net and a fusion, found another kind; give another folder")
    check_finite(name, *(part for part in pipe.components.values() if isinstance(part, torch.nn.Module)))
    pipe.vae.to(memory_format=torch.channels_last)  # a seventh faster on a CPU
    pipe.arithmetic = arithmetic(device())
    if device().type == "cpu":
        pipe.decode_chunk = 2  # what is being decoded stays in the cache
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_pipeline(name: str | Path | None = None, lora: str | Path | None = None) -> TripPipeline:
    """The pipeline in a folder or on the hub, opened once and kept; the embedded one where no name is given.

    lora  file or run folder of a fine-tune, whose changes are added; such a pipeline is kept as long as there is room
    Raises ValueError, in one line, where there is nothing that opens.
    """
    return shared_cache().open(*_trip(name, lora), pin=lora is None)


def acquire_pipeline(name: str | Path | None = None, lora: str | Path | None = None) -> AbstractContextManager[TripPipeline]:
    """The same, for as long as it samples: where other models share the accelerator, it is there until then."""
    load_pipeline(name, lora)
    return shared_cache().acquire(*_trip(name, lora))


def _trip(name: str | Path | None, lora: str | Path | None) -> tuple[Hashable, Callable[[], TripPipeline]]:
    name = str(name or EMBEDDED)
    if lora is None:
        return ("trip", name), lambda: _open(name)
    path = lora_file(Path(lora))
    return ("trip", name, str(path), path.stat().st_mtime_ns), lambda: _open(name).with_lora(path)  # parts of its own: it moves alone
