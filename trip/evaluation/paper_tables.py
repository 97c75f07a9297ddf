"""Tables 1 to 6 of the paper: what it prints in one column, what was measured here beside it, each with its protocol.

Figures stand in one table only where their protocols have one hash; where they have several there is a table for each.
"""

import csv
import io
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trip.evaluation.bootstrap import NOTHING, Estimate, with_interval
from trip.evaluation.protocol import differences, protocol_of
from trip.evaluation.published import COLUMNS, PREFERENCES, TABLES, Row, Table

logger = logging.getLogger(__name__)

PREFERENCES_FILE = "preferences.json"  # of a human study
MEASURED = {"f_consistency_4": "consistency", "f_consistency_all": "consistency", "fid": "fid", "fvd": "fvd"}  # figure -> its report
DIGITS = {"f_consistency_4": 2, "f_consistency_all": 2, "way": 1, "moves": 0}
Report = dict[str, Any]
Cells = list[str]


def read_reports(folder: Path) -> list[tuple[Path, Report]]:
    """Reports of fvd, fid and consistency below a folder; a file that says it is one and is not is named in a warning.

    Raises ValueError where there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: wanted a folder of reports, found none there; check the path")
    found = []
    for path in sorted(folder.rglob("*.json")):
        try:
            report = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if not isinstance(report, dict) or report.get("metric") not in MEASURED.values():
            continue
        try:
            protocol_of(report)
        except ValueError as error:
            logger.warning("%s left out: %s", path, error)
            continue
        found.append((path, report))
    return found


def read_studies(folder: Path) -> list[Report]:
    """What `study report` wrote below a folder; one that is damaged is named in a warning."""
    found = []
    for path in sorted(folder.rglob(PREFERENCES_FILE)):
        try:
            study = json.loads(path.read_text())
            of_columns(study), _study_line(study)
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s left out: wanted what study report wrote, cannot read it (%s)", path, error)
            continue
        found.append(study)
    return found


def of_columns(study: Report) -> dict[tuple[str, str], dict[str, Estimate]]:
    """(system, other) -> question in the words of Table 4 -> its figure."""
    columns: dict[tuple[str, str], dict[str, Estimate]] = {}
    for one in study["preferences"]:
        question = one["question"].replace("_", " ").capitalize()
        columns.setdefault((one["system"], one["other"]), {})[question] = {key: one[key] for key in ("value", "low", "high", "num_photos")}
    return columns


@dataclass(frozen=True)
class Group:
    """Reports that may stand in one table: of each measure all have one protocol.

    reports  system -> measure -> its report
    """

    hashes: dict[str, str]
    reports: dict[str, dict[str, Report]]


def groups_of(reports: Iterable[Report]) -> list[Group]:
    """Reports in as few groups as their protocols allow; a later report of a system and protocol takes an earlier one's place."""
    by_system: dict[str, list[Report]] = {}
    for report in reports:
        by_system.setdefault(report["system"], []).append(report)
    groups: list[Group] = []
    for system, of_system in by_system.items():
        for report in of_system:
            metric, digest = report["metric"], report["hash"]
            same = [one for one in groups if one.hashes.get(metric, digest) == digest]
            known = [one for one in same if system in one.reports] or same
            if not known:
                groups.append(Group({}, {}))
                known = [groups[-1]]
            known[0].hashes[metric] = digest
            known[0].reports.setdefault(system, {})[metric] = report
    return groups


def tables(reports: Sequence[Report], studies: Sequence[Report] = ()) -> Iterator[tuple[str, list[Cells], list[str]]]:
    """Title, rows with the head first, and lines below, of the paper's tables and of what was measured on other data."""
    used: set[int] = set()
    for table in TABLES:
        mine = [one for one in reports if one["data"] == table.data and (table.number < 5 or one["variant"])]
        used |= {id(one) for one in mine}
        title = f"Table {table.number}. {table.title}"
        yield from _several(title, groups_of(mine), lambda group, table=table: _paper_rows(table, group), table.measures)
        if table.number == 3:
            yield "Table 4. Preference of TRIP over other systems on WebVid-10M, %", *_preferences(studies)
    rest: dict[str, list[Report]] = {}
    for report in reports:
        if id(report) not in used:
            rest.setdefault(report["data"], []).append(report)
    for data, mine in rest.items():
        measures = [name for name in COLUMNS if MEASURED[name] in {one["metric"] for one in mine}]
        yield from _several(f"On {data or 'clips'}", groups_of(mine), lambda group, measures=measures: _own_rows(measures, group), measures)


def markdown(found: Iterable[tuple[str, list[Cells], list[str]]]) -> str:
    """All tables as Markdown."""
    parts = []
    for title, (head, *rows), lines in found:
        cells = "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
        parts.append("\n\n".join((f"**{title}**", cells, *lines)))
    return "\n\n".join(parts) + "\n"


def as_csv(found: Iterable[tuple[str, list[Cells], list[str]]]) -> str:
    """All tables as comma-separated values: table, system, column, text."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["table", "system", "column", "value"])
    for title, (head, *rows), _ in found:
        writer.writerows([title, row[0], column, cell] for row in rows for column, cell in zip(head[1:], row[1:], strict=True))
    return text.getvalue()


def apart(reports: Sequence[Report]) -> Iterator[str]:
    """A line for each data set and measure that was measured by several protocols: in what they differ."""
    known: dict[tuple[str, str], dict[str, Report]] = {}
    for report in reports:
        known.setdefault((report["data"], report["metric"]), {}).setdefault(report["hash"], report)
    for (data, metric), of in known.items():
        first, *others = of.values()
        for other in others:
            how = differences(protocol_of(first), protocol_of(other))
            yield f"{metric} on {data}: [{first['hash']}] and [{other['hash']}] stay in tables of their own, since they differ: {how}"


def _several(title: str, groups: list[Group], rows_of: Any, measures: Sequence[str]) -> Iterator[tuple[str, list[Cells], list[str]]]:
    for number, group in enumerate(groups or [Group({}, {})]):
        wanted = {MEASURED[name] for name in measures}
        reports = {m: r for of in group.reports.values() for m, r in of.items() if m in wanted}
        lines = [reports[metric]["protocol_line"] for metric in sorted(reports)]
        yield f"{title}{f' ({number + 1})' if len(groups) > 1 else ''}", rows_of(group), lines


def _paper_rows(table: Table, group: Group) -> list[Cells]:
    head = [
        "",
        *(f"{COLUMNS[name]}, published" for name in table.measures),
        *(f"{COLUMNS[name]}, here" for name in table.measures),
        "moves, %",
    ]
    rows, named = [head], set()
    for row in table.rows:
        mine = _beside(row, group, table.number)
        named |= set(mine)
        for system in mine or [row.system]:
            name = row.system if system == row.system else f"{row.system}: {system}"
            rows.append([f"{name} ({row.note})" if row.note else name, *_published(row), *_measured(table.measures, group, system)])
    others = [] if table.number > 4 else [system for system in group.reports if system not in named]
    rows += [[system, *[""] * len(table.measures), *_measured(table.measures, group, system)] for system in others]
    return rows


def _beside(row: Row, group: Group, number: int) -> list[str]:
    """The systems that were measured here under a name, or as a variant, of the paper's."""

    def is_it(system: str, of: dict[str, Report]) -> bool:
        variants = {report["variant"] for report in of.values()} - {""}
        return row.variant in variants if row.variant and variants else system.casefold() == row.system.casefold() and number < 5

    return [system for system, of in group.reports.items() if is_it(system, of)]


def _published(row: Row) -> Cells:
    return ["not given" if value is None else value for value in row.figures]


def _measured(measures: Sequence[str], group: Group, system: str) -> Cells:
    of = group.reports.get(system, {})
    cells = [with_interval(of.get(MEASURED[name], {}).get("figures", {}).get(name), DIGITS.get(name, 1)) for name in measures]
    motion = next((report["motion"]["moves"] for report in of.values()), None)
    return [*cells, with_interval(motion, 0)]


def _own_rows(measures: Sequence[str], group: Group) -> list[Cells]:
    head = ["", *(COLUMNS[name] for name in measures), "moves, %", "way, % of the width"]
    rows = []
    for system, of in group.reports.items():
        way = next(report["motion"]["way"] for report in of.values())
        rows.append([system, *_measured(measures, group, system), with_interval(way)])
    return [head, *rows]


def _preferences(studies: Sequence[Report]) -> tuple[list[Cells], list[str]]:
    """Rows of Table 4, a column for each pair of systems of each study here, and a line for each study."""
    systems = list(next(iter(PREFERENCES.values())))
    here = [(study["study"], *pair, of) for study in studies for pair, of in of_columns(study).items()]
    head = [
        "",
        *(f"against {system}, published" for system in systems),
        *(f"{one} against {other}, here ({name})" for name, one, other, _ in here),
        *(["here"] if not here else []),
    ]
    rows = [
        [
            question,
            *(f"{published[system]:g} to {100 - published[system]:.1f}" for system in systems),
            *(with_interval(of.get(question)) for *_, of in here),
            *([NOTHING] if not here else []),
        ]
        for question, published in PREFERENCES.items()
    ]
    return [head, *rows], [_study_line(study) for study in studies]


def _study_line(study: Report) -> str:
    choice = "not sure was an answer" if study["mode"] == "not-sure" else "forced choice"
    return (
        f"{study['study']}: {choice}, {study['photos']} photos, {study['raters']} raters, of whom {study['failed']} failed an attention "
        "pair and are left out; % of decided answers for the first system, 95 % intervals over raters."
    )
