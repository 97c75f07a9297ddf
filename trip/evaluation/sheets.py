"""Contact sheets: clips as rows of frames, to look at."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from trip.system.files import atomic_write

LABEL_HEIGHT = 18  # pixels above each row
GAP = 2  # pixels between frames


def contact_sheet(clips: Sequence[Sequence[np.ndarray]], labels: Sequence[str], path: str | Path, columns: int = 8) -> Path:
    """Writes a PNG with a labelled row of evenly spaced frames for each clip, first and last included, and gives its path.

    clips  each frames of h w 3, uint8; sizes and lengths may differ
    """
    if not clips or len(clips) != len(labels) or columns < 1:
        raise ValueError(f"wanted as many labels as clips, and columns; got {len(clips)} clips, {len(labels)} labels, {columns} columns")
    rows = [_row(clip, label, columns) for clip, label in zip(clips, labels, strict=True)]
    width = max(row.shape[1] for row in rows)
    sheet = np.vstack([np.pad(row, ((0, GAP), (0, width - row.shape[1]), (0, 0))) for row in rows])
    path = Path(path)
    encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1]
    try:
        with atomic_write(path) as partial:
            partial.write_bytes(encoded.tobytes())
    except OSError as error:
        raise ValueError(f"{path}: wanted to write a contact sheet, got '{error.strerror}'; choose a folder that can be written") from error
    return path


def side_by_side(clips: Sequence[Sequence[np.ndarray]], labels: Sequence[str], height: int = 256) -> np.ndarray:
    """One clip that shows all of them at once, each under its label: f h w 3, uint8.

    clips   each frames of h w 3, uint8; a shorter one waits on its last frame
    height  of the clips, pixels
    """
    if not clips or len(clips) != len(labels):
        raise ValueError(f"wanted a label for each clip, got {len(clips)} clips and {len(labels)} labels")
    frames = []
    for index in range(max(len(clip) for clip in clips)):
        columns = [_labelled(clip[min(index, len(clip) - 1)], label, height) for clip, label in zip(clips, labels, strict=True)]
        frames.append(np.hstack(columns)[:, :-GAP])
    return np.stack(frames)


def on_one_clock(clips: Sequence[Sequence[np.ndarray]], rates: Sequence[float], rate: float) -> list[list[np.ndarray]]:
    """Clips of different frame rates as frames at one rate, each as long as it lasts.

    rates  frames per second, of each
    """
    together = []
    for clip, own in zip(clips, rates, strict=True):
        count = max(round(len(clip) / own * rate), 1)
        together.append([clip[min(int(index * own / rate + 1e-6), len(clip) - 1)] for index in range(count)])
    return together


def _labelled(frame: np.ndarray, label: str, height: int) -> np.ndarray:
    width = round(frame.shape[1] * height / frame.shape[0])
    frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.pad(np.vstack([_strip(label, width), frame]), ((0, 0), (0, GAP), (0, 0)))


def _row(clip: Sequence[np.ndarray], label: str, columns: int) -> np.ndarray:
    chosen = np.linspace(0, len(clip) - 1, min(columns, len(clip))).round().astype(int)
    frames = np.hstack([np.pad(clip[index], ((0, 0), (0, GAP), (0, 0))) for index in chosen])
    return np.vstack([_strip(label, frames.shape[1]), frames])


def _strip(label: str, width: int) -> np.ndarray:
    strip = np.zeros((LABEL_HEIGHT, width, 3), np.uint8)
    cv2.putText(strip, label, (3, LABEL_HEIGHT - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return strip
