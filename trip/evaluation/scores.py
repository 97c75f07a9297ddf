"""Reports of one set of clips against real ones: a figure with its interval, motion beside it, the protocol, and what was left out."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trip.evaluation.bootstrap import Estimate, interval
from trip.evaluation.clip_sets import Change, ClipSet, faults, grouped
from trip.evaluation.consistency import consistency_curve, consistency_figures
from trip.evaluation.extractors import FeatureExtractor
from trip.evaluation.features import Features, Progress, features_of, partial_progress, versions
from trip.evaluation.frechet import NUM_DRAWS, frechet_figure
from trip.evaluation.protocol import Protocol

DISTANCES = {"fvd": "i3d", "fid": "inception"}  # measure -> the network that it is defined with
PHOTO = "the photo"  # what frame 0 of a clip is, where it was pasted
Report = dict[str, Any]


@dataclass(frozen=True)
class ScoreSettings:
    """How a set is measured.

    system, data  what the clips were made by, and what they were made from, for tables; `variant` one of the paper's, or empty
    first_frame   what frame 0 of the clips judged is, in words
    num_draws     of the bootstrap of a distance
    cache         folder of features that were measured before
    """

    system: str = ""
    data: str = ""
    variant: str = ""
    first_frame: str = "not told"
    seed: int = 0
    num_draws: int = NUM_DRAWS
    cache: Path | None = None


def distance_report(
    metric: str,
    extractor: FeatureExtractor,
    real: ClipSet,
    fake: ClipSet,
    settings: ScoreSettings,
    *,
    by_group: bool = False,
    progress: Progress = lambda *_: None,
) -> Report:
    """FVD or FID of clips against real ones.

    by_group  measure the clips of each folder by themselves; the figure is the mean over folders, which both sets must have
    Raises ValueError.
    """
    pairs = _groups(real, fake) if by_group else {"": (real, fake)}
    figures, motions, unfit, counts = {}, [], {"real": [], "fake": []}, [0, 0]
    for index, (name, (one, other)) in enumerate(pairs.items()):
        share = 0.5 / len(pairs)
        known = features_of(one, extractor, settings.cache, partial_progress(progress, 2 * index * share, share))
        judged = features_of(other, extractor, settings.cache, partial_progress(progress, (2 * index + 1) * share, share))
        figures[name] = _distance(known, judged, settings)
        motions.append((known, judged))
        unfit["real"] += known.unfit
        unfit["fake"] += judged.unfit
        counts = [counts[0] + len(known), counts[1] + len(judged)]
    return {
        **_head(metric, settings, fake),
        "figures": {metric: _mean_of(list(figures.values()))},
        **({"groups": figures} if by_group else {}),
        "motion": motion_figures([judged for _, judged in motions], settings.seed),
        "real_motion": motion_figures([known for known, _ in motions], settings.seed),
        **_protocol_of(metric, extractor, real, fake, counts, settings, tuple(pairs) if by_group else ()),
        "unfit": {side: faults(of) for side, of in unfit.items()},
    }


def consistency_report(
    extractor: FeatureExtractor,
    fake: ClipSet,
    settings: ScoreSettings,
    *,
    real: ClipSet | None = None,
    progress: Progress = lambda *_: None,
) -> Report:
    """F-Consistency of clips, its curve over the number of frames, motion beside it; of the real ones, too, where they are given.

    Raises ValueError.
    """
    judged = features_of(fake, extractor, settings.cache, partial_progress(progress, 0, 0.5 if real is not None else 1))
    report = {
        **_head("consistency", settings, fake),
        "figures": consistency_figures(judged.values, settings.seed),
        "curve": consistency_curve(judged.values, settings.seed),
        "motion": motion_figures([judged], settings.seed),
        **_protocol_of("consistency", extractor, None, fake, [0, len(judged)], settings),
        "unfit": {"fake": faults(judged.unfit)},
    }
    if real is not None:
        known = features_of(real, extractor, settings.cache, partial_progress(progress, 0.5, 0.5))
        report |= {"real_figures": consistency_figures(known.values, settings.seed), "real_motion": motion_figures([known], settings.seed)}
        report["unfit"]["real"] = faults(known.unfit)
    return report


def anchor_reports(
    metric: str,
    extractor: FeatureExtractor,
    real: ClipSet,
    settings: ScoreSettings,
    round_trip: tuple[str, Change] | None = None,
    progress: Progress = lambda *_: None,
) -> Iterator[Report]:
    """What any figure is to be read against, from real clips alone: a still image, one half of them against the other or their own
    consistency, and the clips through an autoencoder. Each begins with the photo itself.

    round_trip  what the autoencoder is called with its digest, and frames f h w 3, uint8 -> the same decoded
    """
    sets = [still(real)]
    if round_trip:
        sets.append(real.with_change("autoencoder's round trip", after_the_photo(round_trip[1]), round_trip[0]))
    settings = replace(settings, first_frame=PHOTO)
    if metric in DISTANCES:
        halves = [replace(real, sources=real.sources[start::2]) for start in (0, 1)]
        rows = [(one.label, real, one) for one in sets] + [("real against real, two halves", *halves)]
    else:
        rows = [(one.label, None, one) for one in sets] + [("real clips", None, real)]
    for index, (label, known, judged) in enumerate(rows):
        step, mine = partial_progress(progress, index / len(rows), 1 / len(rows)), replace(settings, system=label)
        if known is not None:
            yield distance_report(metric, extractor, known, judged, mine, progress=step)
        else:
            yield consistency_report(extractor, judged, mine, progress=step)


def after_the_photo(change: Change) -> Change:
    """The same change, of every frame but the photo."""

    def changed(frames: np.ndarray) -> np.ndarray:
        return np.concatenate([frames[:1], change(frames[1:])])

    return changed


def still(clips: ClipSet) -> ClipSet:
    """Each clip's first frame for as long as the clip lasts."""
    return clips.with_change("still image", lambda frames: np.repeat(frames[:1], len(frames), axis=0), "still")


def motion_figures(sets: Sequence[Features], seed: int = 0) -> dict[str, Estimate]:
    """How far pixels go, in percent of the frame's width over the clip, and the share of clips that move, in percent."""
    way, moves = (np.concatenate([getattr(one, name) for one in sets]) for name in ("way", "moves"))
    return {"way": interval(100 * way, seed=seed), "moves": interval(100 * moves, seed=seed)}


def _distance(real: Features, fake: Features, settings: ScoreSettings) -> Estimate:
    """Clips of one name were made from one photo, and are drawn together."""
    both = [name for name in real.names if name in set(fake.names)]
    paired = len(both) == len(real) == len(fake)
    if paired:
        places = {name: index for index, name in enumerate(fake.names)}
        fake = fake.of([places[name] for name in real.names])
    return frechet_figure(real.values, fake.values, paired=paired, num_draws=settings.num_draws, seed=settings.seed)


def _groups(real: ClipSet, fake: ClipSet) -> dict[str, tuple[ClipSet, ClipSet]]:
    one, other = grouped(real), grouped(fake)
    if set(one) != set(other) or "" in one:
        raise ValueError(
            f"wanted the same folders of clips in both, got {', '.join(map(repr, one))} and {', '.join(map(repr, other))}; "
            "put the clips of each category into a folder of its name"
        )
    return {name: (one[name], other[name]) for name in one}


def _mean_of(figures: list[Estimate]) -> Estimate:
    """Mean over groups, which vary independently."""
    if len(figures) == 1:
        return figures[0]
    value, number = float(np.mean([one["value"] for one in figures])), sum(one["num_photos"] for one in figures)
    if any(one["high"] is None for one in figures):
        return {"value": value, "low": None, "high": None, "num_photos": number}
    reach = float(np.sqrt(sum((one["high"] - one["value"]) ** 2 for one in figures))) / len(figures)
    return {"value": value, "low": max(value - reach, 0.0), "high": value + reach, "num_photos": number}


def _head(metric: str, settings: ScoreSettings, fake: ClipSet) -> Report:
    return {"metric": metric, "system": settings.system or fake.label, "variant": settings.variant, "data": settings.data}


def _protocol_of(
    metric: str,
    extractor: FeatureExtractor,
    real: ClipSet | None,
    fake: ClipSet,
    counts: list[int],
    settings: ScoreSettings,
    groups: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The protocol, its hash and its line."""
    reading = fake.reading
    protocol = Protocol(
        metric=metric,
        network=str(extractor),
        input=extractor.input,
        data=real.digest() if real is not None else "",
        num_real=counts[0],
        num_fake=counts[1],
        num_frames=reading.num_frames - reading.skip,
        stride=(fake if real is None else real).stride,
        fake_stride=fake.stride,
        size=reading.size,
        crop="centre square" if reading.crop else "squeezed",
        first_frame="left out" if reading.skip else settings.first_frame,
        seed=settings.seed,
        averaged_over=groups,
        versions=versions(),
    )
    return {"protocol": asdict(protocol), "hash": protocol.digest(), "protocol_line": protocol.line()}
