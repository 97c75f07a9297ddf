"""`python -m trip tables`: the paper's tables and its Figure 4, published figures beside what was measured here."""

import argparse
import sys
from pathlib import Path

from trip.cli.verbs import Verbs
from trip.system.files import atomic_write_text, check_run_folder


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    parser = verbs.add_parser("tables", help="Tables 1 to 6 and Figure 4 of the paper, published figures beside those of reports")
    parser.add_argument(
        "--runs", type=Path, required=True, metavar="DIR", help="reports of evaluate fvd, fid, consistency and anchors, and studies"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where tables.md, tables.csv, figure-4.png and tables.html go (default: --runs)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    from trip.evaluation.curve import draw_curve
    from trip.evaluation.page import page
    from trip.evaluation.paper_tables import apart, as_csv, markdown, read_reports, read_studies, tables

    reports = [report for _, report in read_reports(options.runs)]
    output = options.output or options.runs
    check_run_folder(output)
    output.mkdir(parents=True, exist_ok=True)
    found = list(tables(reports, read_studies(options.runs)))
    written = {"tables.md": markdown(found), "tables.csv": as_csv(found), "tables.html": page(found, options.runs, output)}
    for name, text in written.items():
        atomic_write_text(output / name, text)
    for line in apart(reports):
        print(f"trip: {line}", file=sys.stderr)
    curves: dict[tuple[str, str], list[dict]] = {}
    for report in reports:
        if report["metric"] == "consistency":
            curves.setdefault((report["data"], report["hash"]), []).append(report)
    paths = [output / name for name in written]
    for number, of in enumerate(curves.values(), start=1):
        path = output / ("figure-4.png" if len(curves) == 1 else f"figure-4-{number}.png")
        try:
            paths.append(draw_curve(of, path))
        except ValueError as error:  # the tables are there without it
            print(f"trip: {error}", file=sys.stderr)
    print(written["tables.md"])
    for path in paths:
        print(path)
