"""A clip that was preempted half-way: what its job's folder keeps of it, so that it is resumed as if nothing had been between.

JOB/aside/so-far.safetensors   where sampling stands, and of which clip: settings with the seed, weights, what it took by then
JOB/aside/inside-N.npz         what both paths said in its first N steps
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from trip.settings import AnimateSettings

if TYPE_CHECKING:
    from trip.inside import Inside
    from trip.pipeline import TripPipeline
    from trip.sampler import SoFar

logger = logging.getLogger(__name__)

CHECKPOINT = "aside"  # in a job's folder
_SO_FAR = "so-far.safetensors"


@dataclass(frozen=True)
class SamplingCheckpoint:
    """A clip that is suspended between two steps.

    settings   as they are used, nothing left open
    seconds    that it took by now
    num_bytes  most memory in use by now
    """

    so_far: "SoFar"
    inside: "Inside"
    settings: AnimateSettings
    seconds: float
    num_bytes: int

    def save(self, job: Path, pipe: "TripPipeline") -> None:
        """Writes it into a job's folder: a kill leaves this one or the one before. Raises OSError or ValueError where it cannot."""
        folder = job / CHECKPOINT
        folder.mkdir(exist_ok=True)
        about = {"settings": self.settings.model_dump(), "weights": pipe.fingerprint, "seconds": self.seconds, "num_bytes": self.num_bytes}
        inside = self.inside.save(folder / f"inside-{self.so_far.step}.npz")
        self.so_far.save(folder / _SO_FAR, about)
        for path in folder.glob("inside-*"):
            if path != inside:
                path.unlink()

    @classmethod
    def load(cls, job: Path, pipe: "TripPipeline") -> Self | None:
        """What a job's folder keeps of the clip that these weights were making; none, so that it begins anew, where they were others."""
        from trip.inside import Inside
        from trip.sampler import SoFar

        folder = job / CHECKPOINT
        if not folder.exists():
            return None
        try:
            so_far, about = SoFar.load(folder / _SO_FAR)
            if about["weights"] != pipe.fingerprint:
                raise ValueError("the clip was begun with other weights")
            inside = Inside.load(folder / f"inside-{so_far.step}.npz")
            return cls(so_far, inside, AnimateSettings.checked(**about["settings"]), about["seconds"], about["num_bytes"])
        except (ValueError, KeyError) as error:
            logger.warning("job %s begins anew: %s", job.name, error)
            return None


def discard(job: Path) -> None:
    """Drops what a job's folder keeps: its clip is done."""
    shutil.rmtree(job / CHECKPOINT, ignore_errors=True)
