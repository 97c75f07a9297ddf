"""What a data set holds: every clip, or a sample of them, opened and read as the training would."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from trip.data.layouts import Entry, entries, layout_of
from trip.data.windows import Unfit, read_at_rate
from trip.media import open_video

MAX_NAMED = 20  # unfit clips that a report names, of each reason


def check_data_set(
    folder: Path, *, layout: str, categories: Sequence[str] = (), num_frames: int, fps: float, size: int, every: int, num_processes: int
) -> Iterator[dict[str, Any]]:
    """Yields the report as it grows, some clips at a time; the last one is the whole.

    categories  of DTDB, those that are wanted; none: all
    every       look at one clip in so many; all are listed and counted
    """
    listed, looked, fit = Counter(), Counter(), Counter()
    unfit: dict[str, list[str]] = defaultdict(list)
    reasons, captions, sizes, rates, seconds = Counter(), Counter(), Counter(), [], []

    def chosen() -> Iterator[Entry]:
        for index, entry in enumerate(entries(folder, layout, categories=categories)):
            listed[entry.split] += 1
            captions[min(len(entry.captions), 20)] += 1
            if index % every == 0:
                yield entry

    def report() -> dict[str, Any]:
        return {
            "folder": folder.name,
            "layout": layout_of(folder) if layout == "auto" else layout,
            "wanted": {"num_frames": num_frames, "fps": fps, "size": size},
            "listed": dict(listed),
            "looked_at": dict(looked),
            "fit": dict(fit),
            "unfit": dict(reasons),
            "named": {reason: lines[:MAX_NAMED] for reason, lines in unfit.items()},
            "captions_a_clip": dict(sorted(captions.items())),
            "sizes": dict(sizes.most_common(10)),
            "fps": _range(rates),
            "seconds": {**_range(seconds), "total": round(sum(seconds), 1)},
        }

    look = partial(_look, num_frames=num_frames, fps=fps, size=size)
    with ProcessPoolExecutor(num_processes, get_context("spawn")) as pool:
        waiting = chosen()
        while batch := list(islice(waiting, 64 * num_processes)):
            looks = pool.map(look, batch, chunksize=8) if num_processes > 1 else map(look, batch)
            for split, reason, line, header in looks:
                looked[split] += 1
                if header:
                    sizes[header[0]] += 1
                    rates.append(header[1])
                    seconds.append(header[2])
                if reason:
                    reasons[reason] += 1
                    unfit[reason].append(line)
                else:
                    fit[split] += 1
            yield report()
    if not looked:
        raise ValueError(f"{folder}: wanted a data set, found no clips that it lists; check the layout")


def _look(entry: Entry, *, num_frames: int, fps: float, size: int) -> tuple[str, str, str, tuple[str, float, float] | None]:
    """Split, reason why the clip is unfit (empty for a fit one), that in words, and size, rate and seconds where it opens."""
    header = None
    try:
        if entry.path.is_file():
            with open_video(entry.path) as video:
                end = entry.end or video.num_frames / video.fps
                header = f"{video.stream.width}x{video.stream.height}", video.fps, end - entry.begin
        read_at_rate(entry, num_frames=num_frames, fps=fps, size=size, rng=None)
    except Unfit as error:
        return entry.split, error.reason, str(error), header
    except ValueError as error:
        return entry.split, "broken", str(error), header
    return entry.split, "", "", header


def _range(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {name: round(float(np.quantile(values, q)), 3) for name, q in (("least", 0), ("median", 0.5), ("most", 1))}
