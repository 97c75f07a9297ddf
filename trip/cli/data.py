"""`python -m trip data check`: what a data set holds, and which of its clips cannot be used."""

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from trip.cli.verbs import Verbs
from trip.system.files import write_whole


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    data = verbs.add_parser("data", help="look at a data set")
    check = data.add_subparsers(required=True, metavar="check").add_parser("check", help="what it holds, and what cannot be used")
    check.add_argument("folder", type=Path, metavar="DIR")
    add_window(check)
    check.add_argument("--every", type=int, default=1, metavar="N", help="look into one clip in so many; all are counted")
    check.add_argument("--num-processes", type=int, default=1, metavar="N")
    check.add_argument("--output", type=Path, metavar="report.json", help="write the report there instead of printing it")
    check.set_defaults(run=_check)


def add_window(parser: argparse.ArgumentParser) -> None:
    """Flags of how clips are found and read, the paper's by default."""
    parser.add_argument("--layout", default="auto", choices=["auto", "webvid", "msrvtt", "dtdb", "table", "folder"])
    parser.add_argument(
        "--category",
        action="append",
        default=[],
        dest="categories",
        metavar="NAME",
        help="of dtdb, this one alone; may be given several times, the paper's are fires, clouds, vegetation and waterfall",
    )
    parser.add_argument("--num-frames", type=int, default=16, metavar="N")
    parser.add_argument("--fps", type=float, default=4.0, metavar="X", help="frames per second that clips are read at")
    parser.add_argument("--size", type=int, default=256, metavar="PIXELS", help="side of the centre square")


def check_counts(options: argparse.Namespace, **least: float) -> None:
    """ValueError, in one line, for a flag below its least value."""
    for name, lowest in least.items():
        value = getattr(options, name)
        if value is not None and not value >= lowest:
            raise ValueError(f"--{name.replace('_', '-')}: wanted at least {lowest:g}, got {value:g}")


def _check(options: argparse.Namespace) -> None:
    from trip.data.report import check_data_set
    from trip.media import check_target

    check_counts(options, num_frames=2, fps=0.1, size=8, every=1, num_processes=1)
    if options.output:
        check_target(options.output, (".json",))
    settings = {name: getattr(options, name) for name in ("layout", "categories", "num_frames", "fps", "size", "every", "num_processes")}
    report = {}
    with tqdm(unit="clip", desc="check") as bar:
        for report in check_data_set(options.folder, **settings):
            bar.update(sum(report["looked_at"].values()) - bar.n)
    for reason, count in report["unfit"].items():
        print(f"{reason}: {count}, such as {report['named'][reason][0]}", file=sys.stderr)
    text = json.dumps(report, indent=1)
    if options.output:
        write_whole(options.output, text)
    print(options.output or text)
