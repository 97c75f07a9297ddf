"""A human study: what is drawn, what is kept, and what a report says of answers whose truth is known."""

import csv
import json
import re
from collections import Counter

import cv2
import numpy as np
import pytest

from tests.evaluation.test_clip_sets import film
from trip.cli import main
from trip.evaluation import preferences
from trip.evaluation.paper_tables import markdown
from trip.evaluation.preferences import answers_of, krippendorff_alpha, report_of, tables_of
from trip.evaluation.study import QUESTIONS, Pair, Study, StudyFull, StudySettings, Trial, create, named, trials_of
from trip.media import read_clip
from trip.system.files import atomic_write_text


def study_of(folder, num_pairs=40, systems=("ours", "theirs"), **settings) -> Study:
    """A study whose clips nobody looks at."""
    (folder / "raters").mkdir(parents=True)
    compared = [(a, b) for index, a in enumerate(systems) for b in systems[index + 1 :]]

    def pair(item, two):
        return {"item": item, "prompt": "", "photo": "p", "systems": two, "clips": ("a", "b"), "fps": (8, 8), "frames": (16, 16)}

    told = {
        "settings": {"systems": {name: name for name in systems}, **settings},
        "pairs": [pair(f"item{index}", two) for index in range(num_pairs) for two in compared],
        "attention": [pair("item0", ("whole", "spoilt"))] * 2,
    }
    atomic_write_text(folder / "study.json", json.dumps(told))
    return Study(folder)


@pytest.fixture(autouse=True)
def unsynced(monkeypatch) -> None:
    """Thousands of answers need not reach the disk one by one."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def answer_all(study: Study, rater: str, choose) -> None:
    for number, trial in enumerate(study.trials(rater)):
        for question in QUESTIONS:
            assert study.answer(rater, (number, question), choose(study.pair_of(trial), trial, question), 1.0)


def prefer(chance: dict[str, float], rng):
    """Chooses the first system of a pair with the chance of it; looks at attention pairs."""

    def choose(pair: Pair, trial: Trial, question: str) -> str:
        first = trial.kind == "attention" or rng.random() < chance[pair.systems[0]]
        return "left" if (trial.left == 0) == first else "right"

    return choose


def test_32_raters_who_prefer_one_system_by_60_to_40_are_read_as_such(tmp_path) -> None:
    rng, held = np.random.default_rng(1), 0
    study = study_of(tmp_path / "study", num_pairs=256, per_rater=64)
    for _ in range(32):
        lean = 0.6 + rng.normal(scale=0.05)  # each has a taste of their own
        answer_all(study, study.join(), prefer({"ours": lean}, rng))
    with pytest.raises(StudyFull, match="wanted 32 raters, and all have begun"):
        study.join()
    report = report_of(study)
    for question in QUESTIONS:
        of = report.ratios[question, "ours", "theirs"]
        held += of["answers"]["low"] <= 60 <= of["answers"]["high"]
        assert of["count"] == {"value": 64 * 32, "low": None, "high": None, "num_photos": 32}
        assert 3 < of["answers"]["high"] - of["answers"]["low"] < 9 and of["answers"]["low"] > 50
        assert of["raters"]["value"] > 75 and abs(report.agreement[question]) < 0.15  # they agree no more than by their taste
        assert report.consistency[question]["low"] < 52 < report.consistency[question]["high"]  # 0.6² + 0.4²
    assert held == 3
    assert (report.raters_with_answers, report.failed) == (32, 0) and 47 < report.left["value"] < 53
    assert not report.strengths


def test_raters_who_look_at_nothing_are_left_out(tmp_path) -> None:
    study, rng = study_of(tmp_path / "study"), np.random.default_rng(0)
    answer_all(study, study.join(), prefer({"ours": 1.0}, rng))
    answer_all(study, study.join(), lambda pair, trial, question: "left")
    report = report_of(study)
    assert (report.raters_with_answers, report.failed) == (2, 1)
    for question in QUESTIONS:
        assert report.ratios[question, "ours", "theirs"]["answers"]["value"] == 100
        assert report.consistency[question]["value"] == 100 and report.agreement[question] is None
    assert "2 raters answered, 1 of them failed" in tables_of(report)[0][2][0]


def test_where_every_rater_failed_nothing_is_measured(tmp_path) -> None:
    study = study_of(tmp_path / "study", num_pairs=12, systems=("a", "b", "c"))
    answer_all(study, study.join(), lambda pair, trial, question: "left")
    report = report_of(study)
    assert report.failed == report.raters_with_answers == 1
    assert {of["value"] for strengths in report.strengths.values() for of in strengths.values()} == {None}
    assert "nan" not in markdown(tables_of(report))


def test_three_systems_get_the_strengths_that_they_were_given(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(preferences, "NUM_DRAWS", 60)
    study, rng = study_of(tmp_path / "study", num_pairs=60, systems=("a", "b", "c")), np.random.default_rng(0)
    strength = {"a": 5.0, "b": 3.0, "c": 2.0}

    def choose(pair: Pair, trial: Trial, question: str) -> str:
        one, other = (strength.get(system, 1.0) for system in pair.systems)
        first = trial.kind == "attention" or rng.random() < one / (one + other)
        return "left" if (trial.left == 0) == first else "right"

    for _ in range(8):
        answer_all(study, study.join(), choose)
    report = report_of(study)
    assert len(report.ratios) == 9
    for of in report.strengths.values():
        assert sum(figure["value"] for figure in of.values()) == pytest.approx(100)
        for system, wanted in strength.items():
            assert abs(of[system]["value"] - 10 * wanted) < 5 and of[system]["low"] < of[system]["value"] < of[system]["high"]
    (title, (head, *rows), _) = tables_of(report)[-1]
    assert title.startswith("Bradley-Terry") and head == ["", "a", "b", "c"] and len(rows) == 3


def test_not_sure_is_a_mode_of_its_own(tmp_path) -> None:
    forced, unsure = study_of(tmp_path / "forced"), study_of(tmp_path / "unsure", num_pairs=10, mode="not-sure")
    rater = forced.join()
    with pytest.raises(ValueError, match="wanted left or right as an answer, got 'not sure'"):
        forced.answer(rater, (0, next(iter(QUESTIONS))), "not sure", 1.0)
    count = iter(range(1000))

    def choose(pair, trial, question):
        if trial.kind == "attention" or next(count) % 2:
            return "left" if trial.left == 0 else "right"
        return "not sure"

    answer_all(unsure, unsure.join(), choose)
    report = report_of(unsure)
    values = [report.ratios[question, "ours", "theirs"] for question in QUESTIONS]
    assert all(of["answers"]["value"] == 100 and of["count"]["value"] == 10 for of in values)
    assert 30 < np.mean([of["unsure"]["value"] for of in values]) < 70
    (_, (head, *rows), lines) = tables_of(report)[0]
    assert "not sure, %" in head and all(len(row) == len(head) for row in rows) and lines[0].startswith("Not sure was an answer")


@pytest.mark.parametrize("num_pairs, per_rater", [(40, None), (256, 32), (1, None), (7, 3)])
def test_what_a_rater_sees_follows_from_the_seed(num_pairs, per_rater) -> None:
    seen = Counter()
    for slot in range(32):
        trials = trials_of(num_pairs, slot, seed=3, per_rater=per_rater)
        assert trials == trials_of(num_pairs, slot, seed=3, per_rater=per_rater)
        first, again, attention = ([(n, t) for n, t in enumerate(trials) if t.kind == kind] for kind in ("first", "repeat", "attention"))
        count = per_rater or num_pairs
        assert len(first) == len({t.pair for _, t in first}) == count
        assert len(again) == max(1, round(count / 10))
        places = {t.pair: (n, t.left) for n, t in first}
        assert all(n > places[t.pair][0] + (count > 1) and t.left != places[t.pair][1] for n, t in again)
        assert sorted(t.pair for _, t in attention) == [0, 1] and {t.left for _, t in attention} == {0, 1}
        seen.update(t.pair for _, t in first)
    assert set(seen) == set(range(num_pairs)) and max(seen.values()) - min(seen.values()) <= 1
    assert trials_of(num_pairs, 0, seed=4, per_rater=per_rater) != trials_of(num_pairs, 0, seed=3, per_rater=per_rater) or num_pairs == 1
    left = np.mean([t.left for slot in range(200) for t in trials_of(num_pairs, slot, seed=0, per_rater=per_rater) if t.kind == "first"])
    assert 0.4 < left < 0.6


def test_answers_are_on_disk_at_once_in_order_and_survive_a_kill(tmp_path) -> None:
    study = study_of(tmp_path / "study")
    rater, question = study.join(), list(QUESTIONS)
    path = tmp_path / "study" / "raters" / f"{rater}.jsonl"
    assert study.answer(rater, (0, question[0]), "left", 2.345)
    assert json.loads(path.read_text())["seconds"] in (2.34, 2.35)
    assert not study.answer(rater, (0, question[0]), "right", 1.0) and not study.answer(rater, (1, question[0]), "right", 1.0)
    assert study.answer(rater, (0, question[1]), "right", 1.0)
    with path.open("a") as file:
        file.write('{"trial": 0, "question": "vis')  # a kill
    again = Study(tmp_path / "study")
    assert again.knows(rater) and not again.knows("nobody-here") and not again.knows("../study")
    assert [answer["choice"] for answer in again.answers(rater)] == ["left", "right"]
    assert again.answer(rater, (0, question[2]), "left", 1.0)
    assert [json.loads(line)["question"] for line in path.read_text().splitlines()] == question
    assert again.trials(rater) == study.trials(rater) and [a["rater"] for a in answers_of(again)] == [rater] * 3
    one, other = (study.pair_of(study.trials(rater)[0]).systems[i] for i in (study.trials(rater)[0].left, 1 - study.trials(rater)[0].left))
    assert [(a["left"], a["right"], a["chosen"]) for a in answers_of(again)] == [(one, other, one), (one, other, other), (one, other, one)]


def test_krippendorffs_alpha() -> None:
    assert krippendorff_alpha({1: ["a", "a"], 2: ["b", "b"], 3: ["a"]}) == 1
    assert krippendorff_alpha({1: ["a", "a"]}) == 1 and krippendorff_alpha({1: ["a"]}) is None
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", nominal data of two observers: 0.095
    one, other = "0100000010", "1110010000"
    units = {index: [a, b] for index, (a, b) in enumerate(zip(one, other, strict=True))}
    assert krippendorff_alpha(units) == pytest.approx(0.095, abs=5e-4)


@pytest.fixture
def folders(tmp_path):
    """Films of one system and pictures of another; one name is broken, one is in one folder alone."""
    for index, name in enumerate(("a", "b", "below/c")):
        film(tmp_path / "one" / f"{name}.mp4", num_frames=24, fps=12)
        place = tmp_path / "run" / "network" / name
        place.mkdir(parents=True)
        for number in range(20):
            cv2.imwrite(str(place / f"{number:03d}.png"), np.full((32, 32, 3), 10 * index + number, np.uint8))
        told = tmp_path / "run" / "clips" / f"{name}.json"
        told.parent.mkdir(parents=True, exist_ok=True)
        told.write_text(json.dumps({"prompt": f"<b>{name}</b>"}))
    (tmp_path / "run" / "run.json").write_text(json.dumps({"stride": 0.125}))
    (tmp_path / "one" / "b.mp4").write_bytes(b"no film")
    film(tmp_path / "one" / "alone.mp4")
    return tmp_path / "one", tmp_path / "run" / "network"


def test_a_study_is_made_of_clips_of_the_same_names(folders, tmp_path) -> None:
    settings = StudySettings(named(folders), num_pairs=5, seed=1)
    left_out = create(tmp_path / "study", settings)
    assert len(left_out) == 1 and left_out[0].startswith("b: left out")
    study = Study(tmp_path / "study")
    assert sorted(pair.item for pair in study.pairs) == ["a", "below/c"] and study.pairs[0].systems == ("one", "network")
    for pair in study.pairs:
        assert pair.prompt == f"<b>{pair.item}</b>" and (tmp_path / "study" / "photos" / f"{pair.photo}.png").is_file()
        clips = [read_clip(tmp_path / "study" / "clips" / f"{name}.mp4") for name in pair.clips]
        assert [len(clip.frames) for clip in clips] == list(pair.frames) == [24, 16]  # both 2 seconds
        assert [round(clip.fps) for clip in clips] == list(map(round, pair.fps)) == [12, 8]
    names = [path.name for path in (tmp_path / "study" / "clips").iterdir()]
    assert len(names) == 6 and all(re.fullmatch("[0-9a-f]{16}.mp4", name) for name in names)  # no word of systems or photos
    whole, spoilt = (read_clip(tmp_path / "study" / "clips" / f"{name}.mp4").frames for name in study.attention[0].clips)
    assert whole.shape == spoilt.shape and np.abs(whole.astype(int) - spoilt).mean() > 15
    assert create(tmp_path / "study", settings) == []  # and nothing is drawn anew
    assert Study(tmp_path / "study").pairs == study.pairs


def test_other_studies_and_unfit_folders_are_refused(folders, tmp_path, capsys) -> None:
    words = ["study", *map(str, folders), "--output", str(tmp_path / "study")]
    create(tmp_path / "study", StudySettings(named(folders), num_pairs=2))
    assert main([*words, "--pairs", "2", "--not-sure"]) == 2
    assert "holds a study with mode forced and now not-sure; choose another --output" in capsys.readouterr().err
    assert main([*words[:2], "--output", str(tmp_path / "x")]) == 2 and "wanted two folders" in capsys.readouterr().err
    assert main(words[:3]) == 2 and "--output: wanted a folder" in capsys.readouterr().err
    assert main([*words, "--raters", "0"]) == 2 and "--raters: wanted at least 1" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    film(tmp_path / "other" / "z.mp4")
    assert main(["study", str(folders[0]), str(tmp_path / "other"), "--output", str(tmp_path / "x")]) == 2
    assert "wanted clips of the same names" in capsys.readouterr().err
    assert main(["study", "report", str(tmp_path / "nothing")]) == 2 and "wanted a file of a study" in capsys.readouterr().err
    assert main(["study", "report", str(tmp_path / "study")]) == 2 and "there are none yet" in capsys.readouterr().err
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "study.json").write_text("{}")
    assert main([*words[:3], "--output", str(tmp_path / "damaged")]) == 2
    assert "its study.json is of another kind" in capsys.readouterr().err
    assert named([tmp_path / "one" / "clips", tmp_path / "two" / "clips"]).keys() == {"one/clips", "two/clips"}


def test_the_report_is_written_as_tables_and_as_values(tmp_path, capsys) -> None:
    study, rng = study_of(tmp_path / "study", num_pairs=12), np.random.default_rng(0)
    for _ in range(3):
        answer_all(study, study.join(), prefer({"ours": 0.9}, rng))
    assert main(["study", "report", str(tmp_path / "study")]) == 0
    assert "| temporal coherence | ours over theirs |" in capsys.readouterr().out
    rows = (tmp_path / "study" / "answers.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * (12 + 1 + 2) * 3 and rows[0].startswith("rater,trial,kind")
    assert "Table 4. Preferences" in (tmp_path / "study" / "report.csv").read_text()


def test_the_papers_tables_have_the_studies_beside_what_is_published(tmp_path, capsys) -> None:
    study, rng = study_of(tmp_path / "runs" / "spring", num_pairs=12), np.random.default_rng(0)
    for _ in range(3):
        answer_all(study, study.join(), prefer({"ours": 0.9}, rng))
    assert main(["study", "report", str(tmp_path / "runs" / "spring")]) == 0
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "preferences.json").write_text('{"preferences": []}')
    [value] = {one["answers"]["value"] for (question, *_), one in report_of(study).ratios.items() if question == "visual_quality"}
    assert main(["tables", "--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "out")]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "tables.csv").open()))
    [cell] = [row["value"] for row in rows if row["column"] == "ours against theirs, here (spring)" and row["system"] == "Visual quality"]
    assert cell.startswith(f"{value:.1f} [")
    assert "spring: forced choice, 12 photos, 3 raters, of whom 0 failed" in (tmp_path / "out" / "tables.md").read_text()
