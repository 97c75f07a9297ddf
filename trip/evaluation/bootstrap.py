"""How sure a figure is: intervals by bootstrap, with photos as the unit.

Clips of one photo resemble each other, so photos are drawn anew, never clips: a figure of a photo is the mean over its clips.
"""

from collections.abc import Callable, Iterable

import numpy as np

NUM_DRAWS = 2000
COVERED = 0.95  # share of intervals that are to hold the true value

NOTHING = "not measured"
Estimate = dict[str, float | int | None]  # value, low and high ends of its interval, number of photos it rests on


def by_photo(clips: Iterable[dict], key: str) -> dict[str, float]:
    """Mean of a figure over the clips of each photo; clips on which it was not measured are left out."""
    values: dict[str, list[float]] = {}
    for clip in clips:
        if clip.get(key) is not None:
            values.setdefault(clip["photo"], []).append(float(clip[key]))
    return {photo: float(np.mean(of_photo)) for photo, of_photo in values.items()}


def mean_over_photos(clips: Iterable[dict], key: str, seed: int = 0) -> Estimate:
    """Mean of a figure over photos, with its interval."""
    return interval(np.array(list(by_photo(clips, key).values())), seed=seed)


def interval(values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] | None = None, seed: int = 0) -> Estimate:
    """A statistic of photos and its percentile interval; no value without a photo, no ends with one alone.

    values     one row a photo                                        n or n k
    statistic  of many draws at once, d n or d n k -> d; none: the mean
    """
    statistic = statistic or (lambda drawn: drawn.mean(axis=1))
    number = len(values)
    value = float(statistic(values[None])[0]) if number else None
    if number < 2 or not np.isfinite(value):
        return {"value": value if number and np.isfinite(value) else None, "low": None, "high": None, "num_photos": number}
    drawn = statistic(values[np.random.default_rng(seed).integers(number, size=(NUM_DRAWS, number))])
    ends = np.quantile(drawn[np.isfinite(drawn)], [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return {"value": value, "low": float(ends[0]), "high": float(ends[1]), "num_photos": number}


def ratio_of_medians(values: np.ndarray) -> np.ndarray:
    """Median of the first column over that of the second, for many draws at once: d n 2 -> d; infinite where the second is 0."""
    above, below = np.moveaxis(np.median(values, axis=1), -1, 0)
    return np.divide(above, below, out=np.full_like(above, np.inf), where=below > 0)


def paired_difference(ours: Iterable[dict], theirs: Iterable[dict], key: str, seed: int = 0) -> Estimate:
    """By how much a figure is higher in one run than in another, photo by photo, over the photos of both."""
    one, other = by_photo(ours, key), by_photo(theirs, key)
    return interval(np.array([one[photo] - other[photo] for photo in one if photo in other]), seed=seed)


def verdict(difference: Estimate) -> str:
    """better, worse or no difference, by whether the interval of a difference holds 0; a single photo decides nothing."""
    if difference["low"] is None:
        return "no difference"
    return "better" if difference["low"] > 0 else "worse" if difference["high"] < 0 else "no difference"


def with_interval(figure: Estimate | None, digits: int = 1, unit: str = "") -> str:
    """A figure with its interval; "not measured" where there is none."""
    if figure is None or figure["value"] is None:
        return NOTHING
    ends = "" if figure["low"] is None else f" [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"
    return f"{figure['value']:.{digits}f}{unit}{ends}"
