"""Does a clip move the way its prompt says, and does it still show the photo: optical flow and PSNR over held-out photos.

The model comes in as a callable; this file sees frames only.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from trip.data.motion import CAMERA_MOTIONS, Motion, render
from trip.data.photos import Photo
from trip.media import FlowFinder

Animate = Callable[[np.ndarray, str, int], np.ndarray]  # photo (size size 3, uint8), prompt, seed -> clip (f size size 3, uint8)
Progress = Callable[[float, str], None]  # share done, what was just measured

PROMPTS = {  # one plain wording a motion, at medium speed
    "pan_left": "the camera pans left",
    "pan_right": "the camera pans right",
    "tilt_up": "the camera tilts up",
    "tilt_down": "the camera tilts down",
    "zoom_in": "the camera zooms in",
    "zoom_out": "the camera zooms out",
    "roll_left": "the picture turns counterclockwise",
    "roll_right": "the picture turns clockwise",
    "parallax_left": "the camera trucks left",
    "parallax_right": "the camera trucks right",
    "still": "nothing moves",
}
TOLD = {  # motion -> the component that carries it and its sign; a pan to the right moves the content to the left
    "pan_left":       ("dx", +1),
    "pan_right":      ("dx", -1),
    "tilt_up":        ("dy", +1),
    "tilt_down":      ("dy", -1),
    "zoom_in":        ("zoom", +1),
    "zoom_out":       ("zoom", -1),
    "roll_left":      ("roll", -1),
    "roll_right":     ("roll", +1),
    "parallax_left":  ("dx", +1),
    "parallax_right": ("dx", -1),
}  # fmt: skip
PANS = ("pan_left", "pan_right")

MARGIN = 0.1  # share of the frame left out on each side: what enters or leaves the picture has no partner to flow to
GRID = 2  # every second pixel takes part in the fit
RADIUS = (1 - 2 * MARGIN) / 6**0.5  # root mean square distance of the fitted points from the centre, frame widths
FLOOR = 0.02  # frame widths over the clip; a tenth of a medium pan, and above what noise alone adds up to on a still clip (see the tests)
SAME_DB = 60.0  # what identical frames count as, so that means stay finite


class MotionComponents(NamedTuple):
    """How the picture moves from the first frame to the last.

    dx, dy  shift of what was at the centre, frame widths, right and down are positive
    zoom    natural log of the scale, growing is positive
    roll    degrees, clockwise on the screen is positive
    median  length of the way of the median pixel, frame after frame, pixels: trembling counts
    """

    dx: float
    dy: float
    zoom: float
    roll: float
    median: float

    def displacements(self) -> dict[str, float]:
        """The four components in one unit: frame widths that a pixel moves by (root mean square over the picture), signed."""
        return {"dx": self.dx, "dy": self.dy, "zoom": self.zoom * RADIUS, "roll": float(np.radians(self.roll)) * RADIUS}


def neighbour_flows(frames: np.ndarray, quick: bool = False) -> np.ndarray:
    """Optical flow from each frame to the next: f h w 3, uint8 -> f-1 h w 2 (right, down), pixels; none depends on another."""
    finder, flows = FlowFinder(*frames.shape[1:3], quick), []
    for a, b in zip(frames[:-1], frames[1:], strict=True):
        finder.found = None
        flows.append(finder.flow(a, b))
    return np.stack(flows)


def motion_components(frames: np.ndarray, flows: np.ndarray | None = None) -> MotionComponents:
    """Camera motion of a whole clip: a similarity fitted to the flow between neighbours, chained from first to last frame.

    Neighbours differ by a few pixels even in a fast clip, and each step is fitted on a full picture, so a clip that is blurry or
    moves half a frame width is measured as well as any; a single flow from first to last frame would be lost there.

    frames  f h w 3, uint8
    flows   its `neighbour_flows`, where they are known
    """
    height, width = frames.shape[1:3]
    top, left = int(height * MARGIN), int(width * MARGIN)
    region = (slice(top, height - top, GRID), slice(left, width - left, GRID))
    y, x = np.mgrid[region]
    points = (x - (width - 1) / 2) + 1j * (y - (height - 1) / 2)  # complex: one factor is both scale and rotation
    turn, shift, way = 1 + 0j, 0j, 0.0
    for a, flow in zip(frames[:-1], neighbour_flows(frames) if flows is None else flows, strict=True):
        moved = flow[region]
        moved = moved[..., 0] + 1j * moved[..., 1]
        step_turn, step_shift = fit_similarity(points.ravel(), moved.ravel(), _texture(a)[region].ravel())
        turn, shift = step_turn * turn, step_turn * shift + step_shift
        way += float(np.median(np.abs(moved)))
    return MotionComponents(
        dx=float(shift.real / width),
        dy=float(shift.imag / width),
        zoom=float(np.log(np.abs(turn))),
        roll=float(np.degrees(np.angle(turn))),
        median=way,
    )


def fit_similarity(points: np.ndarray, moved: np.ndarray, weight: np.ndarray, num_rounds: int = 12) -> tuple[complex, complex]:
    """The factor and the shift that carry `points` to `points + moved` with the least sum of distances, so that a subject with its
    own motion does not count by its square. Found by least squares whose weights are divided by the distances of the round before.

    points, moved  complex, pixels  n
    weight         trust, >= 0      n
    """
    trust = weight
    for _ in range(num_rounds):
        share = trust / trust.sum()
        centre, mean = (share * points).sum(), (share * moved).sum()
        spread = points - centre
        factor = (share * spread.conj() * (moved - mean)).sum() / (share * np.abs(spread) ** 2).sum()
        shift = mean - factor * centre
        trust = weight / np.maximum(np.abs(factor * points + shift - moved), 0.05)  # pixels; closer than that is flow's own noise
    return complex(1 + factor), complex(shift)


def _texture(frame: np.ndarray) -> np.ndarray:
    """How well a pixel's motion can be seen: contrast along its weakest direction; an empty sky weighs next to nothing."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return np.sqrt(np.maximum(cv2.cornerMinEigenVal(grey, blockSize=7), 0)) + 1e-6


def goes_where_told(name: str, components: MotionComponents) -> bool:
    """Whether the component that motion `name` is about has its sign, passes FLOOR and is the largest; "still": none passes FLOOR."""
    moves = components.displacements()
    if name == "still":
        return max(map(abs, moves.values())) < FLOOR
    if name not in TOLD:
        raise ValueError(f"unknown camera motion {name!r}; choose {', '.join(TOLD)} or still")
    component, sign = TOLD[name]
    largest = max(moves, key=lambda key: abs(moves[key]))
    return component == largest and sign * moves[component] > FLOOR


def frame_psnr(clip: np.ndarray, target: np.ndarray) -> np.ndarray:
    """PSNR of each frame to its target: f, dB, at most SAME_DB.

    clip, target  f h w 3, uint8
    """
    error = np.square(clip.astype(np.float64) - target.astype(np.float64)).mean(axis=(1, 2, 3))  # whole numbers: exact in any order
    return np.minimum(10 * np.log10(255.0**2 / np.maximum(error, 1e-9)), SAME_DB)


def evaluate_motion(
    animate: Animate,
    photos: Sequence[Photo],
    *,
    size: int,
    num_frames: int = 16,
    seed: int = 0,
    motions: Sequence[str] = (*CAMERA_MOTIONS, "still"),
    least_gain_db: float = 2.0,
    progress: Progress | None = None,
) -> dict[str, object]:
    """Animates every photo with the prompt of every motion, measures the clips, and sums up: a report that JSON can hold.

    The view of the photo that the model sees is frame 0 of the true moved clip, which the same seed draws again at any time.
    least_gain_db  how much closer than a still clip the clips must come to the true ones: 2 after training on a GPU, 0 on a CPU
    """
    if unknown := [name for name in motions if name not in PROMPTS]:
        raise ValueError(f"unknown motions {', '.join(unknown)}; choose among {', '.join(PROMPTS)}")
    if not photos:
        raise ValueError("wanted photos to animate, got 0 photos; give at least one")
    jobs = [(index, photo, name) for index, photo in enumerate(photos) for name in motions]
    clips = []
    for done, (index, photo, name) in enumerate(jobs, start=1):
        true = true_clip(photo, name, index, size=size, num_frames=num_frames, seed=seed)
        clip = animate(true[0], PROMPTS[name], seed + index)
        if clip.shape != true.shape or clip.dtype != np.uint8:
            raise ValueError(f"wanted a clip of shape {true.shape}, uint8; got {clip.shape}, {clip.dtype}; ask the model for these sizes")
        clips.append({"photo": photo.name, "motion": name, **measure(name, clip, true)})
        if progress is not None:
            progress(done / len(jobs), f"{photo.name}, {name}: {'right' if clips[-1]['right'] else 'wrong'}")
    return {**summary(clips, least_gain_db), "size": size, "num_frames": num_frames, "seed": seed, "clips": clips}


def true_clip(photo: Photo, name: str, index: int, *, size: int, num_frames: int, seed: int) -> np.ndarray:
    """The photo really moved: f size size 3, uint8; the same for the same seed and index."""
    rng = np.random.default_rng([seed, index])
    return render(photo.pixels, (Motion(name, 1.0),), np.arange(num_frames, dtype=np.float32), size, rng).frames


def measure(name: str, clip: np.ndarray, true: np.ndarray) -> dict[str, bool | float]:
    """Figures of one clip; PSNR over the frames after the photo, in dB.

    clip, true  f h w 3, uint8
    """
    components = motion_components(clip)
    photo = np.broadcast_to(true[:1], true[1:].shape)
    return {
        "right": goes_where_told(name, components),
        **components._asdict(),
        "psnr_model": float(frame_psnr(clip[1:], true[1:]).mean()),
        "psnr_still": float(frame_psnr(photo, true[1:]).mean()),
        "least_psnr_to_photo": float(frame_psnr(clip[1:], photo).min()),
    }


def summary(clips: Sequence[dict], least_gain_db: float) -> dict[str, object]:
    """Figures per motion and overall, and the four checks; what was not measured is None and does not pass.

    clips  one dict a clip: `photo`, `motion` and what `measure` gives
    """
    by_motion = {name: [c for c in clips if c["motion"] == name] for name in dict.fromkeys(c["motion"] for c in clips)}
    camera = [c for c in clips if c["motion"] in TOLD]
    pan_flow = float(np.median([c["median"] for c in clips if c["motion"] in PANS] or [0.0]))
    overall = _figures(camera) if camera else {"share_right": None, "gain_db": None}
    still: dict[str, float] = {}
    if "still" in by_motion:
        least = [c["least_psnr_to_photo"] for c in by_motion["still"]]
        still = {"median_flow": _median(by_motion["still"], "median"), "min_psnr": min(least), "median_min_psnr": float(np.median(least))}
    ratio = still["median_flow"] / pan_flow if still and pan_flow > 0 else None  # no pan moved: nothing to be calmer than
    return {
        "overall": overall,
        "per_motion": {name: _figures(group) for name, group in by_motion.items()},
        "still": still,
        "still_to_pan_flow": ratio,
        "checks": {
            "moves_as_told": _check(overall["share_right"], ">=", 0.90),
            "still_to_pan_flow": _check(ratio, "<=", 0.25),
            "still_keeps_photo_db": _check(still.get("min_psnr"), ">=", 22.0),
            "gain_over_still_db": _check(overall["gain_db"], ">" if least_gain_db == 0 else ">=", least_gain_db),
        },
    }


def _figures(group: Sequence[dict]) -> dict[str, float | int]:
    model, still = (float(np.mean([c[key] for c in group])) for key in ("psnr_model", "psnr_still"))
    return {
        "share_right": sum(c["right"] for c in group) / len(group),
        "num_clips": len(group),
        "psnr_model": model,
        "psnr_still": still,
        "gain_db": model - still,
        "median_flow": _median(group, "median"),
    }


def _median(group: Sequence[dict], key: str) -> float:
    return float(np.median([c[key] for c in group]))


def _check(value: float | None, sign: str, threshold: float) -> dict[str, object]:
    passes = {">=": lambda v: v >= threshold, "<=": lambda v: v <= threshold, ">": lambda v: v > threshold}[sign]
    return {"value": value, "wanted": sign, "threshold": threshold, "passed": value is not None and passes(value)}
