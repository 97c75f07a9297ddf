"""How the camera of a clip moved: optical flow between neighbouring frames, and the similarity that fits it.

The flow is Farneback's. Clips are made with DIS, and what made a clip never judges it. All sizes are measured by one ruler: frames are
looked at with a short side of FLOW_SIDE pixels.
"""

from typing import NamedTuple

import cv2
import numpy as np

EXPECTED_COMPONENTS = {  # motion -> the component that carries it and its sign; a pan to the right moves the content to the left
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
FLOW_SIDE = 128  # short side of what the flow is found on, pixels
FARNEBACK = {"pyr_scale": 0.5, "levels": 4, "winsize": 13, "iterations": 3, "poly_n": 5, "poly_sigma": 1.1, "flags": 0}  # for that side
SAME = 0.05  # grey levels of difference, mean over a window; in flat places Farneback finds motion between equal frames
MARGIN = 0.1  # share of the frame left out on each side: what enters or leaves the picture has no partner to flow to
GRID = 2  # every second pixel takes part in the fit
RADIUS = (1 - 2 * MARGIN) / 6**0.5  # root mean square distance of the fitted points from the centre, frame widths
FLOOR = 0.02  # frame widths over the clip; a tenth of a medium pan, and above what noise alone adds up to on a still clip (see the tests)


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


def judged_flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where every pixel of `a` is in `b`, by Farneback's flow: h w 2 (right, down), pixels; a, b are frames h w 3, uint8 RGB."""
    scale = FLOW_SIDE / min(a.shape[:2])
    a, b, size = _grey(a, scale), _grey(b, scale), a.shape[1::-1]
    found = cv2.calcOpticalFlowFarneback(a, b, None, **FARNEBACK)
    found[cv2.blur(cv2.absdiff(a, b).astype(np.float32), (FARNEBACK["winsize"],) * 2) < SAME] = 0  # what does not change does not move
    return cv2.resize(found, size, interpolation=cv2.INTER_LINEAR) / np.float32(scale)


def _grey(frame: np.ndarray, scale: float) -> np.ndarray:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def neighbour_flows(frames: np.ndarray) -> np.ndarray:
    """Optical flow from each frame to the next: f h w 3, uint8 -> f-1 h w 2 (right, down), pixels."""
    return np.stack([judged_flow(a, b) for a, b in zip(frames[:-1], frames[1:], strict=True)])


def at_most(frames: np.ndarray, short_side: int) -> np.ndarray:
    """Frames shrunk to a short side of so many pixels; smaller ones as they are: f h w 3, uint8."""
    scale = short_side / min(frames.shape[1:3])
    return frames if scale >= 1 else resized(frames, round(frames.shape[1] * scale), round(frames.shape[2] * scale))


def resized(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Frames shrunk by averaging, or enlarged smoothly: f h w 3, uint8."""
    if frames.shape[1:3] == (height, width):
        return frames
    how = cv2.INTER_AREA if height * width < frames.shape[1] * frames.shape[2] else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, (width, height), interpolation=how) for frame in frames])


def motion_components(frames: np.ndarray, flows: np.ndarray | None = None) -> MotionComponents:
    """Camera motion of a whole clip: a similarity fitted to the flow between neighbours, chained from first to last frame.

    Neighbours differ by a few pixels even in a fast clip, and each step is fitted on a full picture, so a clip that is blurry or
    moves half a frame width is measured as well as any; a single flow from first to last frame would be lost there.

    frames  f h w 3, uint8
    flows   its `neighbour_flows`, where they are known; else frames are shrunk to FLOW_SIDE, which is where flow is found
    """
    full_width = frames.shape[2]
    frames = at_most(frames, FLOW_SIDE) if flows is None else frames
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
        median=way * full_width / width,
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


def follows_prompt(name: str, components: MotionComponents) -> bool:
    """Whether the component that motion `name` is about has its sign, passes FLOOR and is the largest; "still": none passes FLOOR."""
    moves = components.displacements()
    if name == "still":
        return max(map(abs, moves.values())) < FLOOR
    if name not in EXPECTED_COMPONENTS:
        raise ValueError(f"unknown camera motion {name!r}; choose {', '.join(EXPECTED_COMPONENTS)} or still")
    component, sign = EXPECTED_COMPONENTS[name]
    largest = max(moves, key=lambda key: abs(moves[key]))
    return component == largest and sign * moves[component] > FLOOR
