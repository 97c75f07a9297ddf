"""Does a painter follow its map, and do its words count: pictures over the canny maps of photos held out of training.

The painter comes in as a callable; this file sees pixels only.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy import ndarray

from trip.data.edges import canny_edges
from trip.data.edits import apply_edit
from trip.data.photos import Photo
from trip.data.titles import STYLES
from trip.data.wordings import STATES
from trip.evaluation.edits import Progress, centre_square

Paint = Callable[[ndarray, Sequence[str], int], Sequence[ndarray]]  # map (h w, uint8), prompts, seed -> a picture each: h w 3, uint8
LOW, HIGH = 100, 200  # thresholds, as they are where nobody changes them
NEAR = 1  # pixels by which an edge may be off
CELLS = 4  # a side, of the coarse picture whose colours are compared


def evaluate_maps(
    paint: Paint, photos: Sequence[Photo], *, size: int, seed: int = 0, progress: Progress = lambda share, text: None
) -> dict[str, Any]:
    """Figures overall, and three checks.

    edge_f1              edges of the picture against those of its map, found within NEAR pixels
    edge_f1_other        the same against the map of another photo: what chance gives
    colour_error         CIELAB distance of coarse colours to the photo, painted with its caption
    colour_error_other   the same, painted with the caption of another photo
    style_recognised     share of pictures nearest in colours to the photo in the style asked for (chance: one in `len(STYLES)`)
    Raises ValueError for fewer than two photos, as each needs another.
    """
    if len(photos) < 2:
        raise ValueError(f"wanted at least 2 held-out photos to compare, got {len(photos)}; add photos")
    squares = [centre_square(photo.pixels, size) for photo in photos]
    maps = [canny_edges(square, LOW, HIGH) for square in squares]
    results, styles = [], []
    for index, (photo, square) in enumerate(zip(photos, squares, strict=True)):
        other = (index + 1) % len(photos)
        styled = [f"{photo.caption}, {STATES[name][0]}" for name in STYLES]
        right, wrong, *others = paint(maps[index], [photo.caption, photos[other].caption, *styled], seed + index)
        edges = canny_edges(right, LOW, HIGH)
        results.append(
            {
                "edge_f1": edge_f1(edges, maps[index]),
                "edge_f1_other": edge_f1(edges, maps[other]),
                "colour_error": colour_error(right, square),
                "colour_error_other": colour_error(wrong, square),
            }
        )
        known = {name: apply_edit(name, square, np.random.default_rng([seed, index])) for name in STYLES}
        styles += [
            (name, min(known, key=lambda style, picture=picture: colour_error(picture, known[style])))
            for name, picture in zip(STYLES, others, strict=True)
        ]
        progress((index + 1) / len(photos), photo.name)
    return report(results, styles)


def edge_f1(found: ndarray, wanted: ndarray) -> float:
    """Harmonic mean of precision and recall of edges, h w, an edge pixel counting within NEAR pixels of the other's; 0 where none are."""
    found, wanted = found > 0, wanted > 0
    if not found.any() or not wanted.any():
        return 0.0
    reach = np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)
    precision = cv2.dilate(wanted.astype(np.uint8), reach)[found].mean()
    recall = cv2.dilate(found.astype(np.uint8), reach)[wanted].mean()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def colour_error(one: ndarray, other: ndarray) -> float:
    """Mean CIELAB distance of two pictures, h w 3, each shrunk to CELLS x CELLS colours."""
    return float(np.linalg.norm(_coarse(one) - _coarse(other), axis=-1).mean())


def _coarse(picture: ndarray) -> ndarray:
    small = cv2.resize(picture.astype(np.float32) / 255, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2LAB)


def report(results: Sequence[dict[str, float]], styles: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Means, the share of styles that are recognised, overall and for each, and the checks; styles are asked for and found."""
    overall = {name: float(np.mean([result[name] for result in results])) for name in results[0]}
    overall["style_recognised"] = float(np.mean([asked == found for asked, found in styles]))
    return {
        "num_photos": len(results),
        "overall": overall,
        "per_style": {name: float(np.mean([found == name for asked, found in styles if asked == name])) for name in STYLES},
        "checks": {
            "follows_the_map": {
                "wanted": "edge_f1 >= edge_f1_other + 0.15",
                "passed": overall["edge_f1"] >= overall["edge_f1_other"] + 0.15,
            },
            "heeds_the_caption": {
                "wanted": "colour_error <= 0.9 * colour_error_other",
                "passed": overall["colour_error"] <= 0.9 * overall["colour_error_other"],
            },
            "knows_styles": {"wanted": "style_recognised >= 0.5", "passed": overall["style_recognised"] >= 0.5},
        },
    }
