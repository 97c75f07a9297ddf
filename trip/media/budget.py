"""What reading may take: memory of all that decode at once, pixels and time of one reader. Counted while it reads."""

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

from trip.media.files import MediaError

DECODING_BYTES = 3 * 2**29  # that all who decode at once may work on
PHOTOS_AT_ONCE = 4  # whose headers are read or pixels decoded: what a header unpacks to counts as well
WAIT_SECONDS = 60.0  # for a turn
MANY_PIXELS = 8_000_000
VIDEO_PIXELS = 64 * 10**9  # that one reading of a video decodes: 1,800 frames of 8K


class WeightedSemaphore:
    """Lets readers in as long as all of them together hold no more than so much; others wait for a while.

    capacity  bytes, or readers
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self._held, self._changed = 0, threading.Condition()

    @contextmanager
    def acquire(self, name: str, amount: int) -> Iterator[None]:
        """A turn with so much of it; one that asks for more than there is gets all of it, alone. Raises MediaError where none comes."""
        amount = min(amount, self.capacity)
        with self._changed:
            if not self._changed.wait_for(lambda: self._held + amount <= self.capacity, WAIT_SECONDS):
                raise MediaError(f"{name}: too much is being read just now; try again in a minute")
            self._held += amount
        try:
            yield
        finally:
            with self._changed:
                self._held -= amount
                self._changed.notify_all()


DECODING_MEMORY, OPEN_PHOTOS = WeightedSemaphore(DECODING_BYTES), WeightedSemaphore(PHOTOS_AT_ONCE)


@dataclass
class Budget:
    """What is left to one reader, or to several that share it.

    pixels   to decode, of all frames
    seconds  to read in, from the making of the budget on
    """

    pixels: int = VIDEO_PIXELS
    seconds: float = float("inf")
    _begun: float = field(default_factory=time.monotonic, repr=False)

    def spend(self, name: str, pixels: int) -> None:
        """Counts what was decoded. Raises MediaError where nothing is left."""
        self.pixels -= pixels
        if self.pixels < 0:
            raise MediaError(f"{name}: has more pixels in all its frames than are read; cut it, or make it smaller")
        if time.monotonic() - self._begun > self.seconds:
            raise MediaError(f"{name}: could not be read within {self.seconds:g} s; cut it, make it smaller, or bring fewer at once")


def trim_memory(pixels: int) -> None:
    """Gives what was freed back to the system after so many pixels were decoded at once, where they are many: glibc keeps it for each
    thread that has ever decoded, which adds up.
    """
    if pixels >= MANY_PIXELS and (trim := _trim()):
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library than glibc
        return None
