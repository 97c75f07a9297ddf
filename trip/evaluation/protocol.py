"""How a figure was measured, in a line and a hash. Figures of different hashes never stand in one table."""

import hashlib
import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Protocol:
    """All that a figure depends on beside the clips that are judged.

    metric       what is measured
    network      in whose features: name and sixteen letters of its weights
    input        what is done to frames before the network
    data         sixteen letters of the names and sizes of the real clips' files; empty where no real clips took part
    num_real, num_fake  clips that were read
    num_frames   of each clip, those left out not counted
    stride       between two frames of real clips, seconds, and `fake_stride` of those judged; none: frames as they come
    size         side of the squares that are read, pixels, and `crop` how they are cut
    first_frame  what frame 0 of the clips judged is: the photo itself, the network's own, left out, not told
    averaged_over  groups that the figure is the mean over
    """

    metric: str
    network: str
    input: str
    data: str
    num_real: int
    num_fake: int
    num_frames: int
    stride: float | None
    fake_stride: float | None
    size: int
    crop: str
    first_frame: str
    seed: int = 0
    averaged_over: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Eight letters that change with any of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    def line(self) -> str:
        """All of it in a line for people, its hash first."""
        counts = f"{self.num_real} real ({self.data}) and {self.num_fake} judged clips" if self.data else f"{self.num_fake} clips"
        stride = (
            _apart(self.stride) if self.stride == self.fake_stride else f"{_apart(self.stride)}; judged clips' {_apart(self.fake_stride)}"
        )
        parts = [
            f"{self.metric} in {self.network} ({self.input})",
            counts,
            f"{self.num_frames} frames {stride}",
            f"{self.size} × {self.size}, {self.crop}",
            f"frame 0 {self.first_frame}",
            f"seed {self.seed}",
            *([f"mean over {', '.join(self.averaged_over)}"] if self.averaged_over else []),
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        ]
        return f"[{self.digest()}] " + "; ".join(parts)


def protocol_of(report: dict) -> Protocol:
    """The protocol that a report was written with; ValueError where it is none, or says another hash than it has."""
    try:
        fields = dict(report["protocol"])
        protocol = Protocol(**fields | {"averaged_over": tuple(fields["averaged_over"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"wanted a report with its protocol, got one without ({error})") from error
    if protocol.digest() != report.get("hash"):
        raise ValueError(f"wanted a report whose protocol has the hash {protocol.digest()}, got {report.get('hash')}; measure it again")
    return protocol


def differences(one: Protocol, other: Protocol) -> str:
    """In what two protocols differ, in words."""
    a, b = asdict(one), asdict(other)
    return ", ".join(f"{name.replace('_', ' ')} {a[name]} and {b[name]}" for name in a if a[name] != b[name])


def _apart(stride: float | None) -> str:
    return "as they come" if stride is None else f"{stride:g} s apart"
