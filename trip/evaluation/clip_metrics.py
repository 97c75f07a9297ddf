"""Numbers of one result in plain words: does the clip begin with its photo, keep it, how does it move, does it flicker."""

from dataclasses import dataclass

import numpy as np

from trip.evaluation.camera import MotionComponents, at_most, judged_flow, motion_components, neighbour_flows
from trip.evaluation.similarity import SAME_DB, frame_psnr
from trip.media import carried

LOOKED_AT = 5  # later frames, evenly spread, that are compared with the first
LARGEST = 256  # short side to which larger frames are shrunk for all but the first figure, pixels


@dataclass(frozen=True)
class ClipMetrics:
    """Figures of one clip.

    first_frame_db  PSNR of frame 0 to the photo, dB, at most SAME_DB
    photo_kept_db   PSNR of the later frames to frame 0 once the motion is undone, mean over LOOKED_AT of them, dB, at most SAME_DB;
                    NaN where a frame has nothing left of frame 0
    flicker         difference of neighbouring frames once the motion is undone, root mean square, grey levels of 255
    motion          from first to last frame, see `MotionComponents`
    width           of a frame, pixels
    """

    first_frame_db: float
    photo_kept_db: float
    flicker: float
    motion: MotionComponents
    width: int

    def rows(self) -> list[tuple[str, str, str]]:
        """What to show to people: label, value with its unit, what it means in a line."""
        move, share = self.motion, 100 * self.motion.median / self.width
        way = f"{move.median:.1f} pixels, {share:.1f} % of the width"
        sideways = _directed(100 * move.dx, " % of the width", "to the right", "to the left")
        upright = _directed(100 * move.dy, " % of the width", "downwards", "upwards")
        return [
            ("First frame", _decibels(self.first_frame_db), "how like the photo the clip begins; 40 dB and more look the same"),
            ("Photo kept", _decibels(self.photo_kept_db), "how like the first frame the later ones are once motion is undone"),
            ("Flicker", f"{self.flicker:.1f} of 255", "how much neighbouring frames differ once motion is undone"),
            ("Motion", way, "how far the median pixel goes over the clip, trembling counted"),
            ("Left or right", sideways, "where the picture went; panning right moves it left"),
            ("Up or down", upright, "where the picture went; tilting up moves it down"),
            ("Zoom", _directed(100 * np.expm1(move.zoom), " %", "larger", "smaller"), "how much the picture grew or shrank"),
            ("Roll", _directed(move.roll, "°", "clockwise", "counterclockwise"), "how far the picture turned"),
        ]


def clip_metrics(frames: np.ndarray, photo: np.ndarray) -> ClipMetrics:
    """Measures a clip; of a file's frames, read back, the loss of H.264 is measured with it. ValueError where sizes differ.

    Motion is undone along dense optical flow, another than clips are made with; what came into the picture since has no partner and is
    left out. Large frames are shrunk to LARGEST for that.

    frames  f h w 3, uint8; at least 2
    photo   as the model saw it   h w 3, uint8
    """
    if len(frames) < 2 or frames.shape[1:] != photo.shape:
        raise ValueError(
            f"wanted at least 2 frames of the photo's shape {photo.shape}, got {frames.shape}; give the photo as the model saw it"
        )
    first_frame_db, full_width = float(frame_psnr(frames[:1], photo[None])[0]), frames.shape[2]
    frames = at_most(frames, LARGEST)
    later = frames[np.linspace(1, len(frames) - 1, min(LOOKED_AT, len(frames) - 1)).round().astype(int)]
    lost = [lasting_error(frame, frames[0], judged_flow(frame, frames[0])) for frame in later]
    kept = np.minimum(10 * np.log10(255.0**2 / np.maximum(lost, 1e-9)), SAME_DB)
    flows = neighbour_flows(frames)
    flicker = [lasting_error(*three) for three in zip(frames[:-1], frames[1:], flows, strict=True)]
    motion = motion_components(frames, flows)
    return ClipMetrics(
        first_frame_db=first_frame_db,
        photo_kept_db=float(kept.mean()),
        flicker=float(np.sqrt(np.mean(flicker))),
        motion=motion._replace(median=motion.median * full_width / frames.shape[2]),
        width=full_width,
    )


def lasting_error(frame: np.ndarray, other: np.ndarray, way: np.ndarray) -> float:
    """Mean squared difference of a frame to another once the motion between the two is undone, grey levels squared; NaN where all of
    it left the picture.

    frame, other  h w 3, uint8
    way           optical flow from the frame to the other   h w 2
    """
    seen, inside = carried(other, way)
    return float(np.square(frame.astype(np.float32) - seen)[inside].mean()) if inside.any() else np.nan


def _decibels(value: float) -> str:
    if np.isnan(value):
        return "not measurable"
    return f"{SAME_DB:.0f} dB or more" if value >= SAME_DB else f"{value:.1f} dB"


def _directed(value: float, unit: str, positive: str, negative: str) -> str:
    """A signed amount in words; what rounds to nothing has no direction."""
    return f"{abs(value):.1f}{unit} {positive if value > 0 else negative}" if abs(value) >= 0.05 else "none"
