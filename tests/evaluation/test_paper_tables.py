"""The paper's tables: what it prints, what was measured beside it, and never two protocols in one table."""

import csv
import io
import json

import pytest

from trip.cli import main
from trip.evaluation.paper_tables import apart, groups_of, read_reports, tables
from trip.evaluation.protocol import Protocol
from trip.evaluation.published import TABLES


def report(system, metric="fvd", data="webvid", variant="", value=50.0, num_fake=8):
    told = Protocol(metric, "net 0", "as it is", "d", 8, num_fake, 16, 0.25, 0.25, 256, "centre square", "the photo")
    names = {"fvd": ["fvd"], "fid": ["fid"], "consistency": ["f_consistency_4", "f_consistency_all", "all_pairs"]}[metric]
    figure = {"value": value, "low": value - 1, "high": value + 1, "num_photos": 8}
    curve = {str(count): figure for count in range(2, 17)} if metric == "consistency" else {}
    motion = {"way": figure, "moves": {**figure, "value": 75.0, "low": None, "high": None}}
    head = {"metric": metric, "system": system, "variant": variant, "data": data, "figures": dict.fromkeys(names, figure), "curve": curve}
    return {**head, "motion": motion, "protocol": told.__dict__, "hash": told.digest(), "protocol_line": told.line(), "unfit": {}}


def by_title(reports):
    return {title: {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]} for title, rows, _ in tables(reports)}


def test_every_system_of_the_paper_keeps_its_row_where_nothing_was_measured() -> None:
    found = by_title([])
    assert len(found) == 6
    rows = [row for of in found.values() for row in of.values()]
    here = [cell for row in rows for column, cell in row.items() if column.endswith("here") or column == "moves, %"]
    assert here and set(here) == {"not measured"}
    systems = " ".join(name for of in found.values() for name in of)
    names = ["T2V-Zero", "VideoComposer", "CogVideo", "Make-A-Video", "ModelScopeT2V", "AL", "cINN", "TRIP_C", "TRIP_TE", "TRIP⁻", "TRIP^W"]
    assert all(name in systems for name in names)
    one, three = found["Table 1. F-Consistency and FVD on WebVid-10M"], found["Table 3. FID and FVD on MSR-VTT"]
    assert one["TRIP"]["FVD ↓, published"] == "38.9" and three["Make-A-Video (text to video)"]["FVD ↓, published"] == "not given"
    preferences = next(of for title, of in found.items() if title.startswith("Table 4"))
    assert preferences["Motion fidelity"]["against VideoComposer, published"] == "81.3 to 18.7"
    assert sum(len(table.rows) for table in TABLES) == 3 + 3 + 6 + 3 + 3


def test_what_was_measured_stands_beside_what_is_published() -> None:
    reports = [
        report("VideoComposer", value=231.5),
        report("VideoComposer", "consistency", value=88.0),
        report("ours", variant="trip", value=40.0),
        report("a stranger", value=99.0),
        report("without the prior", variant="trip-minus", value=60.0),
        report("cINN", data="dtdb", value=450.0),
        report("still image", data="home", value=7.0),
    ]
    found = by_title(reports)
    one = found["Table 1. F-Consistency and FVD on WebVid-10M"]
    assert one["VideoComposer"]["FVD ↓, published"] == "231" and one["VideoComposer"]["FVD ↓, here"] == "231.5 [230.5, 232.5]"
    assert one["VideoComposer"]["F-Consistency₄ ↑, here"] == "88.00 [87.00, 89.00]" and one["VideoComposer"]["moves, %"] == "75"
    assert one["TRIP: ours"]["FVD ↓, here"] == "40.0 [39.0, 41.0]" and one["TRIP: ours"]["FVD ↓, published"] == "38.9"
    assert one["a stranger"]["FVD ↓, published"] == "" and one["a stranger"]["FVD ↓, here"].startswith("99.0")
    six = found["Table 6. Temporal residual learning, on WebVid-10M"]
    assert six["TRIP⁻: without the prior"]["FVD ↓, here"].startswith("60.0") and six["TRIP^W"]["FVD ↓, here"] == "not measured"
    assert "a stranger" not in six and set(found["On home"]) == {"still image"}
    assert found["Table 2. FID and FVD on DTDB, means over four categories of scenes"]["cINN (not zero-shot)"]["FVD ↓, here"].startswith(
        "450"
    )


def test_figures_of_two_protocols_never_share_a_table() -> None:
    reports = [report("one"), report("two", num_fake=9), report("one", "consistency"), report("three")]
    groups = groups_of(reports)
    assert [sorted(group.reports) for group in groups] == [["one", "three"], ["two"]]
    titles = [title for title in by_title(reports) if title.startswith("Table 1")]
    assert [title[-3:] for title in titles] == ["(1)", "(2)"]
    (line,) = apart(reports)
    assert line.endswith("stay in tables of their own, since they differ: num fake 8 and 9") and line.startswith("fvd on webvid: [")


def test_the_command_writes_tables_a_figure_and_a_page(tmp_path, capsys) -> None:
    for index, one in enumerate([report("x & <y>"), report("x & <y>", "consistency", value=90.0), report("other", num_fake=9)]):
        (tmp_path / f"{index}.json").write_text(json.dumps(one))
    (tmp_path / "edited.json").write_text(json.dumps({**report("edited"), "hash": "0" * 8}))
    (tmp_path / "unrelated.json").write_text("[1]")
    assert main(["tables", "--runs", str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "since they differ: num fake 8 and 9" in printed.err and "Table 1. F-Consistency" in printed.out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "tables.csv").read_text())))
    assert {"table": rows[0]["table"], "system": "x & <y>", "column": "FVD ↓, here", "value": "50.0 [49.0, 51.0]"} in rows
    assert not any(row["system"] == "edited" for row in rows)
    page = (tmp_path / "out" / "tables.html").read_text()
    assert "x &amp; &lt;y&gt;" in page and "<y>" not in page
    assert (tmp_path / "out" / "figure-4.png").read_bytes().startswith(b"\x89PNG")
    assert [path for path, _ in read_reports(tmp_path)] == [tmp_path / f"{index}.json" for index in range(3)]
    assert main(["tables", "--runs", str(tmp_path / "nowhere")]) == 2
    assert "wanted a folder of reports" in capsys.readouterr().err


def test_reports_with_a_forged_protocol_are_named(tmp_path, caplog) -> None:
    (tmp_path / "edited.json").write_text(json.dumps({**report("edited"), "hash": "0" * 8}))
    with caplog.at_level("WARNING"):
        assert read_reports(tmp_path) == []
    assert "edited.json left out: wanted a report whose protocol has the hash" in caplog.text


@pytest.mark.parametrize("name", ["fvd", "fid", "consistency"])
def test_reports_written_by_hand_pass_the_same_gate(name) -> None:
    assert groups_of([report("one", name)])[0].hashes == {name: report("one", name)["hash"]}
