"""`python -m trip study`: a human study of two systems or more, on a page of its own, and what came of it."""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trip.cli.app import port
from trip.cli.data import check_counts
from trip.cli.progress import progress_bar
from trip.cli.verbs import Verbs
from trip.system.files import atomic_write_text, check_run_folder

if TYPE_CHECKING:
    from trip.evaluation.study import Study

REPORT = "report"  # in place of folders


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    parser = verbs.add_parser(
        "study",
        help="ask people which clips are better (Table 4), on a page; the same command goes on. `study report STUDY` says what came of it",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="a system's clips each, of the same names; or: report STUDY")
    parser.add_argument("--output", type=Path, metavar="STUDY")
    parser.add_argument("--pairs", type=int, default=256, metavar="N", help="pairs of each two systems, drawn by seed (default: 256)")
    parser.add_argument("--raters", type=int, default=32, metavar="N", help="people who can begin (default: 32)")
    parser.add_argument("--per-rater", type=int, metavar="N", help="pairs that one of them sees, dealt evenly (default: all)")
    parser.add_argument("--against-first", action="store_true", help="compare the first system with each other one, and no others")
    parser.add_argument("--not-sure", action="store_true", help="let raters say that they are not sure; without it they must choose")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of pairs, order and sides")
    parser.add_argument("--host", help="address to listen on, such as 0.0.0.0 (default: this machine only)")
    parser.add_argument("--port", type=port, metavar="PORT", help="default: the first free one from 7860")
    parser.add_argument("--share", action="store_true", help="also serve the page through a public link of Gradio's")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    if str(options.folders[0]) == REPORT:
        if len(options.folders) != 2:
            raise ValueError(f"study report: wanted the folder of one study, got {len(options.folders) - 1}")
        _report(options.folders[1])
        return
    check_counts(options, pairs=1, raters=1, per_rater=1, seed=0)
    if options.output is None:
        raise ValueError("--output: wanted a folder for the study, got none; name one")
    check_run_folder(options.output)
    from trip.evaluation.study import Study, StudySettings, create, named

    settings = StudySettings(
        systems=named(options.folders),
        mode="not-sure" if options.not_sure else "forced",
        num_pairs=options.pairs,
        num_raters=options.raters,
        per_rater=options.per_rater,
        against_first=options.against_first,
        seed=options.seed,
    )
    with progress_bar() as progress:
        for line in create(options.output, settings, progress):
            print(f"trip: {line}", file=sys.stderr)
    study = Study(options.output)
    photos = len({pair.item for pair in study.pairs})
    print(f"trip: {len(study.pairs)} pairs of {photos} photos, of {options.pairs} wanted", file=sys.stderr)
    _serve(study, options)


def _serve(study: "Study", options: argparse.Namespace) -> None:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from trip.ui.study import build, launch_options

    try:
        page = build(study).queue(default_concurrency_limit=None)
        page.launch(
            server_name=options.host, server_port=options.port, share=options.share, prevent_thread_lock=True, **launch_options(study)
        )
    except OSError as error:
        place = f"{options.host or 'this machine'}, port {options.port or '7860 to 7959'}"
        raise ValueError(f"--port: wanted one that is free, cannot listen on {place}; choose another") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    page.block_thread()


def _report(folder: Path) -> None:
    from trip.evaluation.paper_tables import PREFERENCES_FILE, as_csv, markdown
    from trip.evaluation.preferences import answers_csv, answers_of, preferences_json, report_of, tables_of
    from trip.evaluation.study import Study

    study = Study(folder)
    report = report_of(study)
    found = tables_of(report)
    written = {
        "report.md": markdown(found),
        "report.csv": as_csv(found),
        PREFERENCES_FILE: json.dumps(preferences_json(report, study), indent=1),
        "answers.csv": answers_csv(answers_of(study)),
    }
    for name, text in written.items():
        atomic_write_text(folder / name, text)
    print(written["report.md"])
    for name in written:
        print(folder / name)
