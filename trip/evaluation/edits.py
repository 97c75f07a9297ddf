"""Does an editor do what the instruction says: its pictures against the known edits of photos held out of training.

The editor comes in as a callable; this file sees pixels only.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from trip.data.edits import EDITS, apply_edit
from trip.data.instructions import STATES, UNSEEN
from trip.data.photos import Photo
from trip.data.windows import squared
from trip.evaluation.similarity import psnr

Edit = Callable[[ndarray, Sequence[str], int], Sequence[ndarray]]  # photo (h w 3, uint8), instructions, seed -> a picture each, as large
Progress = Callable[[float, str], None]  # share done, what was just measured

WORDINGS = {  # edit -> a sentence as in training, and sentences that training never sees
    name: {"seen": [f"make it {STATES[name][0]}"], "unseen": UNSEEN[name]} for name in EDITS
}


def evaluate_edits(
    edit: Edit, photos: Sequence[Photo], *, size: int, seed: int = 0, progress: Progress = lambda share, text: None
) -> dict[str, Any]:
    """Figures per edit and overall: how near the pictures come to the known edits, and whether the instruction is what decides.

    gain_db     PSNR of the result to the known edit, above that of the untouched photo
    recognised  share of results that are nearer to the edit asked for than to every other one (chance: one in `len(EDITS)`)
    """
    results = []
    for index, photo in enumerate(photos):
        pixels = squared(photo.pixels, size)
        known = {name: apply_edit(name, pixels, np.random.default_rng([seed, index])) for name in EDITS}
        asked = [(name, kind, words) for name in EDITS for kind, sentences in WORDINGS[name].items() for words in sentences]
        pictures = edit(pixels, [words for _, _, words in asked], seed + index)
        for (name, kind, words), picture in zip(asked, pictures, strict=True):
            results.append({"photo": photo.name, "edit": name, "wording": kind, "words": words, **measure(picture, name, pixels, known)})
        progress((index + 1) / len(photos), photo.name)
    return report(results)


def measure(picture: ndarray, name: str, photo: ndarray, known: dict[str, ndarray]) -> dict[str, Any]:
    """One result against the edit asked for, the photo, and all other edits."""
    distance = {other: psnr(picture, after) for other, after in known.items()}
    return {
        "psnr": distance[name],
        "psnr_untouched": psnr(photo, known[name]),
        "nearest": max(distance, key=distance.get),
    }


def report(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures overall, for wordings seen and unseen in training, and per edit; and two checks."""
    overall = _figures(results)
    per_edit = {name: _figures([r for r in results if r["edit"] == name]) for name in EDITS}
    for name, figures in per_edit.items():
        taken = [r["nearest"] for r in results if r["edit"] == name and r["nearest"] != name]
        figures["taken_for"] = {other: taken.count(other) for other in sorted(set(taken))}
    return {
        "overall": overall,
        "wordings": {kind: _figures([r for r in results if r["wording"] == kind]) for kind in ("seen", "unseen")},
        "per_edit": per_edit,
        "checks": {
            "recognised": {"value": overall["recognised"], "wanted": ">= 0.8", "passed": overall["recognised"] >= 0.8},
            "edits_that_gain": {
                "value": sum(figures["gain_db"] > 0 for figures in per_edit.values()),
                "wanted": f">= {len(EDITS)}",
                "passed": all(figures["gain_db"] > 0 for figures in per_edit.values()),
            },
        },
    }


def _figures(results: Sequence[dict[str, Any]]) -> dict[str, float | int]:
    result, untouched = (float(np.mean([r[key] for r in results])) for key in ("psnr", "psnr_untouched"))
    return {
        "recognised": sum(r["nearest"] == r["edit"] for r in results) / len(results),
        "num_results": len(results),
        "psnr": result,
        "psnr_untouched": untouched,
        "gain_db": result - untouched,
    }
