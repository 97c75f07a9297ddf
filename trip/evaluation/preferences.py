"""What a human study says: how often one system is preferred to another (Table 4), how sure that is, and how far raters can be trusted.

Answers of one rater resemble each other, so raters are drawn anew for an interval, never answers. Raters who failed an attention pair are
left out. Second showings tell of consistency alone.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trip.evaluation.bootstrap import COVERED, NOTHING, Estimate, interval, with_interval
from trip.evaluation.study import NOT_SURE, QUESTIONS, Study

NUM_DRAWS = 500  # of the Bradley-Terry model, which is fitted anew for each
Answer = dict[str, Any]  # a line of a rater's file, and `rater`
PERCENT = 100.0


@dataclass(frozen=True)
class Report:
    """Of a study.

    ratios       (question, system, other) -> share of decided answers for the system, %; `raters` the share of raters of whom most are
                 for it, %, ties half; `unsure` the share of answers that were not sure, %
    consistency  question -> share of second showings with the same answer, %
    agreement    question -> Krippendorff's alpha over pairs
    strengths    question -> system -> Bradley-Terry strength, all together 100; of three systems and more
    raters_with_answers, failed  how many raters answered, and how many of them are left out
    left         share of answers for the left side, %
    """

    ratios: dict[tuple[str, str, str], dict[str, Estimate]]
    consistency: dict[str, Estimate]
    agreement: dict[str, float | None]
    strengths: dict[str, dict[str, Estimate]]
    raters_with_answers: int
    failed: int
    left: Estimate
    mode: str


def answers_of(study: Study) -> list[Answer]:
    """All answers of all raters."""
    return [answer | {"rater": path.stem} for path in study.raters() for answer in study.answers(path.stem)]


def failed_raters(answers: Iterable[Answer]) -> set[str]:
    """Raters who did not prefer the whole clip to the spoilt one, by any question."""
    return {answer["rater"] for answer in answers if answer["kind"] == "attention" and answer["chosen"] != "whole"}


def report_of(study: Study, seed: int = 0) -> Report:
    """Reads the answers that are there, of raters who are done and of those who are not. ValueError where there are none."""
    answers = answers_of(study)
    if not answers:
        raise ValueError(f"{study.folder}: wanted answers, there are none yet; serve the study first")
    failed = failed_raters(answers)
    kept = [answer for answer in answers if answer["rater"] not in failed and answer["kind"] != "attention"]
    first = [answer for answer in kept if answer["kind"] == "first"]
    compared = list(dict.fromkeys(pair.systems for pair in study.pairs))
    ratios = {(question, *two): _ratios(first, question, two, seed) for question in QUESTIONS for two in compared}
    return Report(
        ratios=ratios,
        consistency={question: _consistency(kept, question, seed) for question in QUESTIONS},
        agreement={question: krippendorff_alpha(_choices(first, question)) for question in QUESTIONS},
        strengths={question: _strengths(first, question, list(study.settings.systems), seed) for question in QUESTIONS}
        if len(study.settings.systems) > 2
        else {},
        raters_with_answers=len({answer["rater"] for answer in answers}),
        failed=len(failed),
        left=_share(first, lambda answer: answer["choice"] == "left", lambda answer: answer["choice"] != NOT_SURE, seed),
        mode=study.settings.mode,
    )


def _share(answers: Iterable[Answer], counts: Callable[[Answer], bool], among: Callable[[Answer], bool], seed: int) -> Estimate:
    """Share in percent of the answers among which they count, with an interval clustered by rater."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for answer in answers:
        if among(answer):
            sums[answer["rater"]][0] += counts(answer)
            sums[answer["rater"]][1] += 1
    values = np.array(list(sums.values()), np.float64).reshape(-1, 2)
    return interval(values, lambda drawn: PERCENT * drawn[..., 0].sum(axis=1) / drawn[..., 1].sum(axis=1), seed)


def _ratios(answers: Sequence[Answer], question: str, systems: tuple[str, str], seed: int) -> dict[str, Estimate]:
    mine = [one for one in answers if one["question"] == question and {one["left"], one["right"]} == set(systems)]
    decided = [one for one in mine if one["chosen"]]
    by_rater: dict[str, list[bool]] = defaultdict(list)
    for one in decided:
        by_rater[one["rater"]].append(one["chosen"] == systems[0])
    leanings = np.array([np.sign(np.mean(of) - 0.5) for of in by_rater.values()])
    return {
        "answers": _share(decided, lambda one: one["chosen"] == systems[0], lambda one: True, seed),
        "raters": interval(PERCENT * (leanings + 1) / 2, seed=seed),
        "unsure": _share(mine, lambda one: one["choice"] == NOT_SURE, lambda one: True, seed),
        "count": {"value": len(mine), "low": None, "high": None, "num_photos": len(by_rater)},
    }


def _consistency(answers: Sequence[Answer], question: str, seed: int) -> Estimate:
    mine = [one for one in answers if one["question"] == question]
    before = {(one["rater"], one["pair"]): one["chosen"] for one in mine if one["kind"] == "first"}
    again = [one for one in mine if one["kind"] == "repeat"]
    return _share(again, lambda one: one["chosen"] == before[one["rater"], one["pair"]], lambda one: True, seed)


def _choices(answers: Iterable[Answer], question: str) -> dict[int, list[str]]:
    """Pair -> what each rater chose."""
    found: dict[int, list[str]] = defaultdict(list)
    for answer in answers:
        if answer["question"] == question:
            found[answer["pair"]].append(answer["chosen"] or NOT_SURE)
    return found


def krippendorff_alpha(choices: Mapping[Any, Sequence[str]]) -> float | None:
    """Agreement beyond chance of nominal choices (Krippendorff 2004, ch. 11): 1 is full, 0 none; none where no pair was seen twice.

    choices  unit -> what each rater chose; units with one rater do not count
    """
    units = [of for of in choices.values() if len(of) > 1]
    together: dict[str, int] = defaultdict(int)
    disagreed = 0.0
    for of in units:
        counts = {value: of.count(value) for value in set(of)}
        disagreed += (len(of) ** 2 - sum(count**2 for count in counts.values())) / (len(of) - 1)
        for value, count in counts.items():
            together[value] += count
    total = sum(together.values())
    expected = total**2 - sum(count**2 for count in together.values())
    if not units:
        return None
    return 1.0 if not expected else 1 - (total - 1) * disagreed / expected


def _strengths(answers: Sequence[Answer], question: str, systems: Sequence[str], seed: int) -> dict[str, Estimate]:
    """Bradley-Terry strengths with intervals over raters; a tie counts half for each."""
    try:
        from evalica import Winner, bradley_terry
    except ImportError as error:
        raise ValueError('wanted the package evalica for three systems and more, found none; pip install "trip[eval]"') from error
    by_rater: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer["question"] == question:
            by_rater[answer["rater"]].append(answer)
    raters = list(by_rater.values())

    def fitted(of: Iterable[list[Answer]]) -> np.ndarray:
        rows = [answer for mine in of for answer in mine]
        winners = [Winner.Draw if not one["chosen"] else Winner.X if one["chosen"] == one["left"] else Winner.Y for one in rows]
        scores = bradley_terry([one["left"] for one in rows], [one["right"] for one in rows], winners).scores
        found = np.array([scores.get(system, 0.0) for system in systems])
        return PERCENT * found / found.sum()

    if not raters:
        return dict.fromkeys(systems, {"value": None, "low": None, "high": None, "num_photos": 0})
    value, rng = fitted(raters), np.random.default_rng(seed)
    drawn = np.array([fitted([raters[i] for i in rng.integers(len(raters), size=len(raters))]) for _ in range(NUM_DRAWS)])
    ends = np.quantile(drawn, [(1 - COVERED) / 2, (1 + COVERED) / 2], axis=0) if len(raters) > 1 else np.full((2, len(systems)), np.nan)
    sure = len(raters) > 1
    return {
        system: {
            "value": float(value[index]),
            "low": float(ends[0, index]) if sure else None,
            "high": float(ends[1, index]) if sure else None,
            "num_photos": len(raters),
        }
        for index, system in enumerate(systems)
    }


def tables_of(report: Report) -> list[tuple[str, list[list[str]], list[str]]]:
    """Tables as `paper_tables.markdown` and `as_csv` take them: preferences, trust, and strengths where there are some."""
    words = {question: question.replace("_", " ") for question in QUESTIONS}
    not_sure = report.mode == "not-sure"
    head = ["", "", "prefer the first, % of answers", "% of raters", *(["not sure, %"] if not_sure else []), "answers", "raters"]
    rows = []
    for (question, one, other), of in report.ratios.items():
        shares = [with_interval(of[key]) for key in ("answers", "raters", *(["unsure"] if not_sure else []))]
        counts = [str(of["count"][key]) for key in ("value", "num_photos")]
        rows.append([words[question], f"{one} over {other}", *shares, *counts])
    choice = "Not sure was an answer" if not_sure else "Forced choice"
    lines = [
        f"{choice}; 95 % intervals, raters drawn anew. {report.raters_with_answers} raters answered, {report.failed} of them failed an "
        f"attention pair and are left out. {with_interval(report.left)} % of the answers were left.",
    ]
    found = [("Table 4. Preferences", [head, *rows], lines)]
    trust = [["", "same answer to a pair shown again, %", "Krippendorff's alpha between raters"]]
    for question in QUESTIONS:
        alpha = report.agreement[question]
        trust.append([words[question], with_interval(report.consistency[question]), NOTHING if alpha is None else f"{alpha:.2f}"])
    found.append(("Self-consistency and agreement", trust, []))
    if report.strengths:
        systems = list(next(iter(report.strengths.values())))
        rows = [[words[question], *(with_interval(of[system]) for system in systems)] for question, of in report.strengths.items()]
        found.append(("Bradley-Terry strengths, all together 100", [["", *systems], *rows], []))
    return found


def preferences_json(report: Report, study: Study) -> dict[str, Any]:
    """What `tables` reads of a study."""
    return {
        "study": study.folder.resolve().name,
        "mode": report.mode,
        "photos": len({pair.item for pair in study.pairs}),
        "raters": report.raters_with_answers,
        "failed": report.failed,
        "preferences": [
            {"question": question, "system": one, "other": other, **of["answers"]} for (question, one, other), of in report.ratios.items()
        ],
    }


def answers_csv(answers: Sequence[Answer]) -> str:
    """All answers as comma-separated values, a line each."""
    text = io.StringIO()
    columns = ("rater", "trial", "kind", "pair", "question", "left", "right", "choice", "chosen", "seconds", "at")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(answers)
    return text.getvalue()
