"""How long a clip will take and how much memory, from what clips took on this machine before."""

import json
import logging
import statistics
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from trip.settings import AnimateSettings
from trip.system.files import atomic_write_text

logger = logging.getLogger(__name__)

KEPT_TIMINGS = 200
LEASE_MARGIN = 1.5  # asked for on a shared GPU, over what is expected
LEAST_LEASE, FIRST_LEASE, LONG_LEASE = 10, 60, 120  # seconds: at least, and before anything was measured, of a model by others too


@dataclass(frozen=True)
class Timing:
    """What one clip took.

    pixels     of all its frames
    passes     of the denoiser: steps, twice with guidance
    seconds    from noise to decoded frames
    num_bytes  most memory in use at the end of a step
    rendering  seconds from decoded frames to the file
    """

    model: str
    device: str
    pixels: int
    passes: int
    seconds: float
    num_bytes: int
    rendering: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """What a clip should take; none where nothing was measured yet.

    seconds   in all
    sampling  of them on the accelerator
    count     clips that it rests on
    """

    seconds: float | None
    num_bytes: int | None
    count: int
    sampling: float | None = None


class Timings:
    """The timings of an output folder, kept in a file of JSON lines.

    shape_of  settings -> (model, device, pixels, passes), as a clip with these settings would have
    """

    def __init__(self, path: Path, shape_of: Callable[[AnimateSettings], tuple[str, str, int, int]]):
        self.path, self.shape_of = path, shape_of
        self._lock = threading.Lock()
        self._known = self._read()

    def _read(self) -> list[Timing]:
        known = []
        try:
            lines = self.path.read_text(errors="replace").splitlines()
        except OSError:
            return []
        for line in lines:
            try:
                known.append(Timing(**json.loads(line)))
            except (ValueError, TypeError):  # half a line, after a kill
                continue
        known = known[-KEPT_TIMINGS:]
        if len(known) < len(lines):
            atomic_write_text(self.path, "".join(_line(timing) for timing in known))
        return known

    def add(self, timing: Timing) -> None:
        """Remembers a timing; on a full disk until the app ends."""
        with self._lock:
            self._known = [*self._known, timing][-KEPT_TIMINGS:]
            try:
                with self.path.open("a") as lines:
                    lines.write(_line(timing))
            except OSError as error:
                logger.warning("%s: %s", self.path, error.strerror)

    def estimate(self, settings: AnimateSettings) -> Estimate:
        """From clips of the same model on the same device: the median time of a pass over a pixel, of the ten clips most alike.

        Decoding and encoding count as two passes, so that a draft of few steps is not promised too soon.
        """
        model, device, pixels, passes = self.shape_of(settings)
        alike = [t for t in self._known if (t.model, t.device) == (model, device)]
        alike = sorted(reversed(alike), key=lambda t: abs(t.passes - passes) / passes + abs(t.pixels - pixels) / pixels)[:10]
        if not alike:
            return Estimate(None, None, 0)
        rate = statistics.median(t.seconds / (t.pixels * (t.passes + 2)) for t in alike)
        per_pixel = statistics.median(t.num_bytes / t.pixels for t in alike)
        near = [t.num_bytes for t in alike if t.pixels >= pixels]
        num_bytes = min(near) if near else int(per_pixel * pixels)
        rendering = statistics.median(t.rendering / t.pixels for t in alike) * pixels if settings.size != "model" else 0.0
        sampling = rate * pixels * (passes + 2)
        return Estimate(sampling + rendering, num_bytes, len(alike), sampling)

    def seconds_by(self, model: str) -> float | None:
        """Median seconds of a clip by a model of that name, whatever its settings; none where it made none here."""
        seconds = [timing.seconds for timing in self._known if timing.model == model]
        return statistics.median(seconds) if seconds else None

    def lease_seconds(self, settings: AnimateSettings, by_others: str = "") -> int:
        """How long to ask a shared GPU for.

        by_others  name of the video model by others that makes the clip
        """
        seconds, first = (self.seconds_by(by_others), LONG_LEASE) if by_others else (self.estimate(settings).sampling, FIRST_LEASE)
        return first if seconds is None else max(LEAST_LEASE, round(LEASE_MARGIN * seconds))


def _line(timing: Timing) -> str:
    return json.dumps(asdict(timing)) + "\n"
