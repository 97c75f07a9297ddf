"""`python -m trip evaluate fvd | fid | consistency | anchors | vbench`: folders of clips in, figures with their protocol out."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from trip.cli.data import add_window, check_counts
from trip.cli.progress import progress_bar
from trip.cli.verbs import Verbs
from trip.system.files import atomic_write_text, check_run_folder

if TYPE_CHECKING:
    from trip.evaluation.clip_sets import Reading
    from trip.evaluation.extractors import FeatureExtractor

NETWORKS = ("clip", "efficientnet-lite0")  # for consistency: the paper's, and one whose weights come with a package
HELP = {
    "fvd": "Fréchet video distance of clips to real ones (I3D)",
    "fid": "Fréchet inception distance of frames to those of real clips",
    "consistency": "F-Consistency of clips, with its curve over the number of frames and motion beside it",
}


def add(measures: Verbs) -> None:
    """What the verbs take."""
    for metric, words in HELP.items():
        parser = measures.add_parser(metric, help=words)
        parser.add_argument("--real", type=Path, required=metric != "consistency", metavar="DIR", help="clips, or folders of pictures")
        parser.add_argument("--fake", type=Path, required=True, metavar="DIR", help="the clips to judge")
        _add_reading(parser)
        parser.add_argument("--as-they-come", action="store_true", help="take the judged clips' first frames, whatever their rate")
        parser.add_argument("--stride", type=float, metavar="SECONDS", help="between two judged frames, where they come without times")
        parser.add_argument("--first-frame", choices=["photo", "network"], help="what frame 0 of the judged clips is, where no run says it")
        parser.add_argument("--leave-out-first", action="store_true", help="leave frame 0, which may be the photo itself, out")
        parser.add_argument("--system", default="", metavar="NAME", help="what made the clips, for tables")
        parser.add_argument("--variant", default="", metavar="NAME", help="which of the paper's variants, for Tables 5 and 6")
        if metric != "consistency":
            parser.add_argument("--by-folder", action="store_true", help="measure each folder's clips by themselves; mean over folders")
        parser.add_argument("--output", type=Path, required=True, metavar="report.json")
        parser.set_defaults(run=_score, metric=metric)

    anchors = measures.add_parser("anchors", help="what figures are to be read against: still image, real against real, autoencoder")
    anchors.add_argument("--real", type=Path, required=True, metavar="DIR")
    anchors.add_argument("--model", metavar="FOLDER_OR_ID", help="whose autoencoder; the embedded one where none is given")
    anchors.add_argument("--metrics", nargs="+", default=["fvd"], choices=list(HELP))
    _add_reading(anchors)
    anchors.add_argument("--output", type=Path, required=True, metavar="DIR", help="a report for each row")
    anchors.set_defaults(run=_anchors)

    vbench = measures.add_parser("vbench", help="clips of a run in the folders that VBench-I2V reads")
    vbench.add_argument("clips", type=Path, metavar="RUN/network")
    vbench.add_argument("--output", type=Path, required=True, metavar="DIR")
    vbench.set_defaults(run=_vbench)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    add_window(parser)
    parser.add_argument("--squeeze", action="store_true", help="squeeze the whole picture into the square instead of cutting its centre")
    parser.add_argument("--split", choices=["train", "validation", "test"], help="of real clips that are a data set")
    parser.add_argument("--num-clips", type=int, metavar="N", help="only so many of each, from all along the folder")
    parser.add_argument("--data", default="", metavar="NAME", help="what the real clips are, for tables: webvid, dtdb, msrvtt, any name")
    parser.add_argument("--network", default="clip", choices=NETWORKS, help="features of consistency; all but clip are not the paper's")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of networks, beside the hub's cache")
    parser.add_argument("--num-draws", type=int, metavar="N", help="of the bootstrap of a distance (default: 200; of FID 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="features measured before (default: features beside the report)")


def _score(options: argparse.Namespace) -> None:
    _check(options)
    check_counts(options, stride=1e-3)
    from trip.evaluation.clip_sets import open_set, run_metadata
    from trip.evaluation.generation import NETWORKS_OWN
    from trip.evaluation.scores import DISTANCES, PHOTO, ScoreSettings, consistency_report, distance_report
    from trip.media import check_target

    check_target(options.output, (".json",))
    extractor = extractor_for(options.metric, options)
    metadata = run_metadata(options.fake)
    reading = _reading(options)
    limits = {"most": options.num_clips}
    real = open_set(options.real, reading, **_part_of_data(options), **limits) if options.real else None
    fake = open_set(options.fake, _reading(options, options.as_they_come), **limits)
    if fake.stride is None and options.stride:
        fake = replace(fake, stride=options.stride)
    first_frames = {"photo": PHOTO, "network": NETWORKS_OWN, None: str(metadata.get("first_frame", "not told"))}
    settings = ScoreSettings(
        system=options.system or _system_of(options.fake, metadata),
        data=options.data or str(metadata.get("data", "")) or (options.real or options.fake).resolve().name,
        variant=options.variant or str(metadata.get("variant", "")),
        first_frame=first_frames[options.first_frame],
        seed=options.seed,
        num_draws=_draws(options, options.metric),
        cache=options.cache or options.output.absolute().parent / "features",
    )
    with progress_bar() as on_progress:
        if options.metric in DISTANCES:
            report = distance_report(options.metric, extractor, real, fake, settings, by_group=options.by_folder, progress=on_progress)
        else:
            report = consistency_report(extractor, fake, settings, real=real, progress=on_progress)
    atomic_write_text(options.output, json.dumps(report, indent=1))
    _print(report)
    print(options.output)


def _system_of(folder: Path, metadata: dict[str, Any]) -> str:
    """What made the clips: as the run says, and which of a model's two clips it is."""
    kind = {"rendered": ", rendered", "network": ", network's own frames", "real": ", real clips"}
    return f"{metadata['system']}{kind.get(folder.resolve().name, '')}" if metadata.get("system") else ""


def _anchors(options: argparse.Namespace) -> None:
    _check(options)
    check_run_folder(options.output)
    from trip.evaluation.clip_sets import open_set, run_metadata
    from trip.evaluation.scores import ScoreSettings, anchor_reports

    extractors = {metric: extractor_for(metric, options) for metric in options.metrics}
    real = open_set(options.real, _reading(options), **_part_of_data(options), most=options.num_clips)
    round_trip = _round_trip(options.model)
    options.output.mkdir(parents=True, exist_ok=True)
    metadata = run_metadata(options.real)
    for metric, extractor in extractors.items():
        settings = ScoreSettings(
            data=options.data or str(metadata.get("data", "")) or options.real.resolve().name,
            seed=options.seed,
            num_draws=_draws(options, metric),
            cache=options.cache or options.output / "features",
        )
        with progress_bar() as on_progress:
            for report in anchor_reports(metric, extractor, real, settings, round_trip, on_progress):
                name = "".join(letter if letter.isalnum() else "-" for letter in report["system"])
                path = options.output / f"{metric}-{name}.json"
                atomic_write_text(path, json.dumps(report, indent=1))
                _print(report)
                print(path)


def _part_of_data(options: argparse.Namespace) -> dict[str, Any]:
    """Which of the real clips are wanted, as `open_set` takes it."""
    return {name: getattr(options, name) for name in ("layout", "split", "categories")}


def _round_trip(model: str | None) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """What an autoencoder is called, and clips through it at the model's own size."""
    from trip.data.cache import digest
    from trip.evaluation.camera import resized
    from trip.model.latents import round_trip
    from trip.model_cache import load_pipeline

    pipe = load_pipeline(model)
    vae, side = pipe.vae, pipe.frame_size

    def decoded(frames: np.ndarray) -> np.ndarray:
        return resized(round_trip(vae, resized(frames, side, side)), *frames.shape[1:3])

    return f"through the autoencoder {digest(vae.state_dict())} at {side}", decoded


def _vbench(options: argparse.Namespace) -> None:
    from trip.evaluation.clip_sets import run_metadata
    from trip.evaluation.vbench import export, suggested_command

    check_run_folder(options.output)
    with tqdm(unit="clip", desc="export") as bar:
        for _ in export(options.clips, options.output, run_metadata(options.clips)):
            bar.update()
    print(suggested_command(options.output), file=sys.stderr)
    print(options.output)


def extractor_for(metric: str, options: argparse.Namespace) -> "FeatureExtractor":
    """The network of a measure, opened; ValueError, in one line with what to do, where it is not here."""
    from trip.evaluation import extractors
    from trip.first_frame.local_models import extractor_folder
    from trip.system.accelerator import device

    if metric == "fvd":
        return extractors.i3d_extractor(extractor_folder("i3d", options.models), device())
    if metric == "fid":
        return extractors.inception_extractor(extractor_folder("inception", options.models), device())
    if options.network != "clip":
        return extractors.imagenet_extractor(device())
    return extractors.clip_extractor(extractor_folder("clip", options.models), device())


def _check(options: argparse.Namespace) -> None:
    check_counts(options, num_frames=2, fps=0.1, size=16, num_clips=2, num_draws=0, seed=0)
    if options.models and not options.models.is_dir():
        raise ValueError(f"{options.models}: wanted a folder of models, found none; create it or choose another --models")


def _draws(options: argparse.Namespace, metric: str) -> int:
    from trip.evaluation.frechet import NUM_DRAWS

    own = NUM_DRAWS // 10 if metric == "fid" else NUM_DRAWS  # of frames, in 2,048 dimensions: each takes seconds
    return own if options.num_draws is None else options.num_draws


def _reading(options: argparse.Namespace, as_they_come: bool = False) -> "Reading":
    from trip.evaluation.clip_sets import Reading

    skip = int(getattr(options, "leave_out_first", False))
    return Reading(options.num_frames, None if as_they_come else options.fps, options.size, not options.squeeze, skip)


def _print(report: dict[str, Any]) -> None:
    """Figures and motion for people, the protocol, and what was left out."""
    from trip.evaluation.bootstrap import with_interval

    for side, left in report["unfit"].items():
        for reason, count in left["counts"].items():
            print(f"trip: {side} clips left out, {reason}: {count}, such as {left['named'][reason][0]}", file=sys.stderr)
    figures = [*report["figures"].items(), *((f"{name} (motion)", figure) for name, figure in report["motion"].items())]
    print(f"{report['system']}: " + ", ".join(f"{name} {with_interval(figure)}" for name, figure in figures))
    print(report["protocol_line"])
