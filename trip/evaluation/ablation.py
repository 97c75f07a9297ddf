"""Tables 5 and 6 at a small scale: the paper's variants on held-out photos that are set in motion, with intervals over seeds and photos.

All figures are of one set of cases: a photo, a motion, the truly moved clip. Every variant and seed makes a clip of each; clips are folders
of pictures, so that `evaluate` measures them, too. Seeds and photos are drawn anew for an interval, the clips of a photo together.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trip.data.photos import Photo
from trip.evaluation.bootstrap import COVERED, Estimate, verdict, with_interval
from trip.evaluation.camera import resized
from trip.evaluation.clip_sets import RUN, Change, Reading, open_set
from trip.evaluation.clips import ClipRequest, clip_seed, true_clip
from trip.evaluation.consistency import FIRST, PERCENT, neighbour_similarity
from trip.evaluation.extractors import FeatureExtractor
from trip.evaluation.features import features_of
from trip.evaluation.frechet import NORMAL, frechet_distance
from trip.evaluation.generation import write_pictures
from trip.evaluation.motion import PROMPTS, measure
from trip.evaluation.published import TABLES, Table
from trip.evaluation.scores import PHOTO, ScoreSettings, consistency_report, distance_report
from trip.evaluation.sheets import contact_sheet
from trip.system.files import atomic_write_text

MOTIONS = ("pan_left", "zoom_in", "roll_right")  # one of each way that a camera moves a flat picture
NUM_DRAWS = 1000  # of means; of a distance one in ten
REAL, STILL, ROUND_TRIP = "truly moved", "still image", "autoencoder's round trip"
FOLDERS = {REAL: "real", STILL: "still", ROUND_TRIP: "autoencoder"}
COLUMNS = {  # figure -> head of its column, digits, whether more is better
    "f_consistency_4": ("F-Consistency₄ ↑", 2, True),
    "f_consistency_all": ("F-Consistency all ↑", 2, True),
    "fvd": ("FVD ↓", 0, False),
    "psnr": ("PSNR to the truly moved clip, dB ↑", 2, True),
    "right": ("go where told, %", 0, True),
    "moves": ("clips that move, %", 0, True),
    "held_out_loss": ("held-out loss ↓", 4, False),
}
JUDGED = ("f_consistency_4", "f_consistency_all", "fvd")  # that the paper orders its variants by
AnimateAll = Callable[[list[ClipRequest]], list[np.ndarray]]


@dataclass(frozen=True)
class Case:
    """A photo that is to move in a way."""

    photo: Photo
    motion: str

    @property
    def name(self) -> str:
        """Of its folder of pictures."""
        return f"{self.photo.name.replace('.', '-')}-{self.motion}"


def cases_of(photos: Sequence[Photo], motions: Sequence[str] = MOTIONS) -> list[Case]:
    """Every photo with every motion."""
    return [Case(photo, motion) for photo in photos for motion in motions]


def true_clips(folder: Path, cases: Sequence[Case], *, size: int, num_frames: int, fps: float) -> dict[str, np.ndarray]:
    """The truly moved clip of each case, f size size 3, uint8, written below the folder; what is there is read back.

    fps  that all clips beside the folder are said to have, where `evaluate` and `study` look for it
    """
    found = {}
    folder.mkdir(parents=True, exist_ok=True)
    run = {"num_frames": num_frames, "stride": 1 / fps, "size": size, "crop": True, "first_frame": PHOTO}
    atomic_write_text(folder.parent / RUN, json.dumps(run, indent=1))
    for case in cases:
        known = _kept(folder / case.name, num_frames, size)
        if known is None:
            known, _ = true_clip(case.photo, case.motion, np.arange(float(num_frames)), size=size, seed=0)
            write_pictures(folder / case.name, known)
        found[case.name] = known
    return found


def made_clips(
    folder: Path, cases: Sequence[Case], true: Mapping[str, np.ndarray], animate: AnimateAll, *, seed: int, at_once: int = 12
) -> Iterator[int]:
    """Has the first frame of each case animated, and yields how many are there so far; what is there is not made again."""
    num_frames, size = next(iter(true.values())).shape[:2]
    missing = [case for case in cases if _kept(folder / case.name, num_frames, size) is None]
    yield len(cases) - len(missing)
    for start in range(0, len(missing), at_once):
        some = missing[start : start + at_once]
        requests = [ClipRequest(true[c.name][0], true[c.name][0], 0, 0, PROMPTS[c.motion], clip_seed(c.name, seed)) for c in some]
        for case, frames in zip(some, animate(requests), strict=True):
            assert frames.shape == true[case.name].shape, frames.shape
            write_pictures(folder / case.name, frames)
        yield len(cases) - len(missing) + start + len(some)


def changed_clips(folder: Path, true: Mapping[str, np.ndarray], change: Change) -> None:
    """Writes what a change makes of each truly moved clip; what is there stays."""
    for name, frames in true.items():
        if _kept(folder / name, *frames.shape[:2]) is None:
            write_pictures(folder / name, change(frames))


def _kept(folder: Path, num_frames: int, size: int) -> np.ndarray | None:
    """The pictures of a folder; none where not all are there: they are written in order."""
    if not (folder / f"{num_frames - 1:03d}.png").is_file():
        return None
    return open_set(folder, Reading(num_frames, None, size)).sources[0].read(Reading(num_frames, None, size))


@dataclass(frozen=True)
class Scores:
    """Figures of one set of clips.

    per_photo  figure -> mean over the clips of each photo   p
    features   of FVD's network, the clips of a photo together p m d; none where it is not here
    reports    of `evaluate`, by measure
    """

    per_photo: dict[str, np.ndarray]
    features: np.ndarray | None
    reports: dict[str, dict[str, Any]]


def score(
    clips: Path, name: str, cases: Sequence[Case], true: Mapping[str, np.ndarray], extractors: Mapping[str, FeatureExtractor],
    cache: Path, *, system: str, variant: str, data: str,
) -> Scores:  # fmt: skip
    """Measures the clips of a folder below `clips` against the true ones beside it.

    extractors  fvd, and consistency; one that is not here is not measured
    Raises ValueError where clips are missing.
    """
    num_frames, size = next(iter(true.values())).shape[:2]
    reading, order = Reading(num_frames, None, size), [case.name for case in cases]
    fake, real = (open_set(clips / folder, reading) for folder in (name, FOLDERS[REAL]))
    fake, real = (replace(one, sources=tuple(_in_order(one.sources, order))) for one in (fake, real))  # these cases alone
    settings = ScoreSettings(system=system, data=data, variant=variant, first_frame=PHOTO, cache=cache)
    values: dict[str, list[float]] = {"psnr": [], "right": []}
    for case, source in zip(cases, fake.sources, strict=True):
        found = measure(case.motion, source.read(reading), true[case.name])
        values["psnr"].append(found["psnr"])
        values["right"].append(PERCENT * found["right"])
    reports, features = {}, None
    if extractor := extractors.get("consistency"):
        reports["consistency"] = consistency_report(extractor, fake, settings)
        judged = features_of(fake, extractor, cache)
        judged = judged.of([judged.names.index(one) for one in order])
        alike = PERCENT * neighbour_similarity(judged.values)
        values |= {"f_consistency_4": alike[:, : FIRST - 1].mean(axis=1), "f_consistency_all": alike.mean(axis=1)}
        values |= {"moves": PERCENT * judged.moves}
    if extractor := extractors.get("fvd"):
        reports["fvd"] = distance_report("fvd", extractor, real, fake, settings)
        judged = features_of(fake, extractor, cache)
        features = _by_photo(judged.of([judged.names.index(one) for one in order]).values, cases)
    return Scores({key: _by_photo(np.array(of), cases).mean(axis=1) for key, of in values.items()}, features, reports)


def _in_order(sources: Iterable[Any], names: Sequence[str]) -> list[Any]:
    known = {source.name: source for source in sources}
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"wanted a clip for each of {len(names)} cases, {missing[0]} is missing; make them first")
    return [known[name] for name in names]


def _by_photo(values: np.ndarray, cases: Sequence[Case]) -> np.ndarray:
    """n … -> p m …: cases come photo by photo."""
    return values.reshape(len({case.photo.name for case in cases}), -1, *values.shape[1:])


class Draws:
    """Seeds and photos drawn anew, the same for all that is compared."""

    def __init__(self, num_seeds: int, num_photos: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.seeds = rng.integers(num_seeds, size=(NUM_DRAWS, num_seeds))
        self.photos = rng.integers(num_photos, size=(NUM_DRAWS, num_photos))

    def means(self, values: np.ndarray) -> np.ndarray:
        """Mean of each draw: s p -> draws."""
        return np.stack([values[np.ix_(s, p)].mean() for s, p in zip(self.seeds, self.photos, strict=True)])

    def distances(self, real: np.ndarray, fake: np.ndarray) -> np.ndarray:
        """Distance of each draw, the mean over its seeds: real p m d, fake s p m d -> draws / 10."""
        flat, found = lambda features: features.reshape(-1, features.shape[-1]), []
        for seeds, photos in list(zip(self.seeds, self.photos, strict=True))[::10]:
            of_seed = {s: frechet_distance(flat(real[photos]), flat(fake[s][photos])) for s in set(seeds.tolist())}
            found.append(np.mean([of_seed[s] for s in seeds.tolist()]))
        return np.array(found)


@dataclass(frozen=True)
class Row:
    """A figure of one variant over its seeds: value, and what it is in each draw."""

    value: float
    drawn: np.ndarray
    is_distance: bool
    num_photos: int

    def figure(self) -> Estimate:
        """With its interval: percentiles of the draws, of a distance 1.96 of their deviations, since draws repeat clips and raise it."""
        return _figure(self.value, self.drawn, self.is_distance, self.num_photos)

    def above(self, other: "Row") -> Estimate:
        """By how much it is higher than another's, draw by draw."""
        return _figure(self.value - other.value, self.drawn - other.drawn, self.is_distance, self.num_photos)


def _figure(value: float, drawn: np.ndarray, is_distance: bool, number: int) -> Estimate:
    if is_distance:
        reach = NORMAL * float(np.std(drawn, ddof=1))
        low, high = value - reach, value + reach
    else:
        low, high = (float(end) for end in np.quantile(drawn, [(1 - COVERED) / 2, (1 + COVERED) / 2]))
    return {"value": value, "low": low, "high": high, "num_photos": number} if number > 1 else dict(
        value=value, low=None, high=None, num_photos=number)  # fmt: skip


def rows_of(scores: Mapping[str, Sequence[Scores]], losses: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Row]]:
    """Figures of every system: system -> figure -> row.

    scores  of each seed of a system; all of the same photos. REAL is among them, where FVD is measured
    losses  held-out loss of each seed
    """
    found: dict[str, dict[str, Row]] = {}
    for system, of in scores.items():
        num_photos = len(of[0].per_photo["psnr"])
        draws = Draws(len(of), num_photos)
        rows = {}
        for key in of[0].per_photo:
            values = np.stack([one.per_photo[key] for one in of])
            rows[key] = Row(float(values.mean()), draws.means(values), False, num_photos)
        if of[0].features is not None and scores[REAL][0].features is not None:
            real, fake = scores[REAL][0].features, np.stack([one.features for one in of])
            value = np.mean([frechet_distance(real.reshape(-1, real.shape[-1]), one.reshape(-1, one.shape[-1])) for one in fake])
            rows["fvd"] = Row(float(value), draws.distances(real, fake), True, num_photos)
        if losses.get(system):
            values = np.array(losses[system])
            rows["held_out_loss"] = Row(float(values.mean()), values[draws.seeds].mean(axis=1), False, max(len(values), 1))
        found[system] = rows
    return found


def tables(rows: Mapping[str, Mapping[str, Row]], lines: Sequence[str]) -> Iterator[tuple[str, list[list[str]], list[str]]]:
    """Tables 5 and 6 as `paper_tables.markdown` and `as_csv` take them: title, rows with the head first, lines below.

    rows   of `rows_of`; variants under their names, such as trip-w
    lines  what is said under both: protocols, cost
    """
    for table in (one for one in TABLES if one.number > 4):
        names = {row.system: row.variant for row in table.rows if row.variant in rows}
        shown = {**names, **{name: name for name in (STILL, ROUND_TRIP, REAL) if name in rows}}
        cells = [["", *(head for head, _, _ in COLUMNS.values())]]
        for title, system in shown.items():
            of = rows[system]
            cells.append(
                [title, *(with_interval(of[key].figure() if key in of else None, digits) for key, (_, digits, _) in COLUMNS.items())]
            )
        yield f"Table {table.number}. {table.title.partition(',')[0]}, at this scale", cells, [*orderings(table, rows), *lines]


def orderings(table: Table, rows: Mapping[str, Mapping[str, Row]]) -> Iterator[str]:
    """A line a measure of the paper's: its order of the variants, ours, and by how much TRIP is higher than each, with the verdict."""
    variants = {row.variant: row for row in table.rows if row.variant in rows}
    if "trip" not in variants or len(variants) < 2:
        return
    for index, key in enumerate(table.measures):
        if key not in JUDGED or any(key not in rows[variant] for variant in variants):
            continue
        head, digits, more = COLUMNS[key]
        sign = -1 if more else 1
        published = sorted(variants, key=lambda v, i=index, s=sign: s * float(variants[v].figures[i]))
        ours = sorted(variants, key=lambda v, k=key, s=sign: s * rows[v][k].value)
        against = []
        for variant in (one for one in variants if one != "trip"):
            above = rows["trip"][key].above(rows[variant][key])
            judged = verdict(above if more else {**above, **_turned(above)})
            ends = f" [{above['low']:+.{digits}f}, {above['high']:+.{digits}f}]" if above["low"] is not None else ""
            against.append(f"{variants[variant].system} {above['value']:+.{digits}f}{ends}, {judged}")
        order = [" before ".join(variants[v].system for v in one) for one in (published, ours)]
        alike = "the same order" if ours == published else f"here {order[1]}"
        yield f"{head}: published {order[0]}; {alike}. TRIP against " + "; against ".join(against) + "."


def _turned(figure: Estimate) -> Estimate:
    """Of a figure of which less is better: the same, told as of one of which more is."""
    return {"low": figure["high"] and -figure["high"], "high": figure["low"] and -figure["low"]}


def figure_8(clips: Path, case: Case, systems: Mapping[str, str], path: Path, *, size: int, num_frames: int, scale: int = 2) -> Path:
    """One photo, the variants below each other (Figure 8), as a PNG: evenly spaced frames of each, the truly moved clip first.

    systems  title -> folder below `clips`
    """
    rows = {title: _kept(clips / folder / case.name, num_frames, size) for title, folder in {REAL: FOLDERS[REAL], **systems}.items()}
    rows = {title: resized(frames, scale * size, scale * size) for title, frames in rows.items() if frames is not None}
    titles = [f"{title}: {PROMPTS[case.motion]}" if title == REAL else title for title in rows]
    return contact_sheet(list(rows.values()), titles, path, columns=8)
