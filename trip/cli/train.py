"""`python -m trip train`: train a preset, from nothing or from given weights, or go on where it stopped."""

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from trip.cli.data import check_counts
from trip.cli.progress import show_steps
from trip.cli.verbs import Verbs, named_settings
from trip.settings import PRESETS, VARIANTS, Preset, changed
from trip.system.files import check_run_folder


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    train = verbs.add_parser("train", help="train a preset; the same command goes on where it stopped")
    train.add_argument("--preset", choices=list(PRESETS), default="embedded")
    train.add_argument("--variant", choices=list(VARIANTS), help="a row of the paper's ablations; the preset's where none is given")
    train.add_argument("--output", type=Path, metavar="RUN")
    train.add_argument("--max-steps", type=int, metavar="N", help="optimizer steps of the denoiser; the preset's where none are given")
    train.add_argument("--max-minutes", type=float, default=math.inf, metavar="M", help="save and stop after so many minutes")
    train.add_argument("--batch-size", type=int, metavar="N", help="clips per process and forward pass")
    train.add_argument("--accumulation", type=int, metavar="N", help="forward passes to a step")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help='any other setting, such as recipe.loss_weight=min_snr or model.unet.added_conditions=["fps"]',
    )
    train.add_argument("--seed", type=int, default=0, metavar="N")
    train.add_argument("--init", metavar="FOLDER_OR_ID", help="weights to start from: a checkpoint, or a text-to-video pipeline")
    _add_photos(train.add_argument_group("from photos, on one machine"))
    _add_data(train.add_argument_group("from filmed data, on any number of processes (accelerate launch -m trip train …)"))
    _add_plan(train.add_argument_group("plan"))
    train.set_defaults(run=run)


def _add_photos(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--photos", type=Path, metavar="DIR", help="photos that are set in motion")
    group.add_argument("--clips", type=Path, metavar="DIR", help="filmed clips with captions")
    group.add_argument("--base", type=Path, metavar="FOLDER", help="take autoencoder and text encoder from this checkpoint, untrained on")


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--cache", type=Path, metavar="CACHE", help="what python -m trip encode wrote")
    group.add_argument("--data", type=Path, metavar="DIR", help="a data set that is encoded on the way instead")
    group.add_argument("--layout", default="auto", choices=["auto", "webvid", "msrvtt", "dtdb", "table", "folder"])
    group.add_argument(
        "--schedule",
        choices=["preset", "plain", "base"],
        help="noise schedule from a text-to-video pipeline on: the preset's with time steps matched by SNR (default), the preset's with "
        "plain time steps, or the pipeline's own",
    )
    group.add_argument("--log-with", choices=["tensorboard", "trackio"], help="beside RUN/metrics.jsonl")


def _add_plan(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--dry-run", action="store_true", help="print what the training takes, and train nothing")
    group.add_argument("--num-processes", type=int, default=1, metavar="N", help="processes that the plan counts with")
    group.add_argument("--num-clips", type=int, metavar="N", help="clips of the data set; WebVid-10M's where none are given")
    group.add_argument("--tflops", type=float, metavar="X", help="what one GPU computes in a second; assumed where it is not given")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    check_counts(options, max_steps=1, batch_size=1, accumulation=1, num_processes=1, num_clips=1, tflops=1e-3)
    preset = preset_in(options)
    if options.dry_run:
        print(json.dumps(_plan(options, preset), indent=1))
        return
    if options.output is None:
        raise ValueError("--output: wanted the folder of the run, got none; name one, or ask for a --dry-run")
    given = [name for name in ("photos", "cache", "data") if getattr(options, name)]
    if len(given) != 1:
        raise ValueError(f"wanted one of --photos, --cache and --data, got {' and '.join(given) or 'none'}")
    check_run_folder(options.output)
    from trip.training.folder import run_lock

    written, is_first = options.output / "model", int(os.environ.get("RANK", 0)) == 0
    with run_lock(options.output) if is_first else nullcontext():
        show_steps(_photo_stages(options, preset) if options.photos else _data_stages(options, preset))
    if not is_first:  # one process of several tells how it went
        return
    if not written.exists():
        raise ValueError(f"{options.output}: the time was up before there was a model; give the same command again to go on")
    print(written)


def preset_in(options: argparse.Namespace) -> Preset:
    """The preset with what the flags change."""
    return changed(PRESETS[options.preset], _chosen(options))


def _chosen(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that somebody chose, each by its path."""
    values = {
        "model.variant": options.variant,
        "recipe.denoiser.max_steps": options.max_steps,
        "recipe.denoiser.batch_size": options.batch_size,
        "recipe.denoiser.accumulation": options.accumulation,
    }
    values = {name: value for name, value in values.items() if value is not None}
    return values | named_settings(options.set)


def _chosen_of_model(options: argparse.Namespace) -> list[str]:
    return [name.removeprefix("model.") for name in _chosen(options) if name.startswith("model.")]


def _plan(options: argparse.Namespace, preset: Preset) -> dict[str, Any]:
    from trip.training.plan import ASSUMED_TFLOPS, WEBVID_CLIPS, Hardware, plan

    hardware = Hardware(options.num_processes, options.tflops or ASSUMED_TFLOPS, is_assumed=options.tflops is None)
    return plan(preset, hardware, num_clips=options.num_clips or WEBVID_CLIPS, run=options.output)


def _photo_stages(options: argparse.Namespace, preset: Preset) -> Iterator[dict[str, Any]]:
    from trip.training.run import TrainingRun

    run = TrainingRun(
        preset,
        options.output,
        options.photos,
        options.clips,
        seed=options.seed,
        max_minutes=options.max_minutes,
        base=options.base,
        init=options.init and Path(options.init),
        chosen=_chosen_of_model(options),
    )
    return run.stages()


def _data_stages(options: argparse.Namespace, preset: Preset) -> Iterator[dict[str, Any]]:
    from trip.training.scale import ScaleRun
    from trip.training.warm_start import check_kept, open_base

    if not options.init:
        raise ValueError("--init: wanted the weights to start from, got none; name a folder or a hub id")
    base = open_base(options.init, preset.model, schedule=options.schedule)
    check_kept(_chosen_of_model(options), preset.model, base.model, base.name)
    print(f"{base.name}: licence {base.licence}; it is noted in the trained model", file=sys.stderr)
    if base.clamped_share:
        print(
            f"{base.name}: {base.clamped_share:.0%} of the time steps are noisier than these weights ever saw; each is told as their last "
            "one (--schedule plain tells the plain number)",
            file=sys.stderr,
        )
    run = ScaleRun(
        preset,
        options.output,
        base,
        cache=options.cache,
        data=options.data,
        layout=options.layout,
        seed=options.seed,
        max_minutes=options.max_minutes,
        log_with=options.log_with,
    )
    return run.stages()
