"""Intervals over photos: they hold the true value as often as they say, and photos, not clips, are the unit."""

import numpy as np
import pytest

from trip.evaluation.bootstrap import by_photo, interval, mean_over_photos, paired_difference, ratio_of_medians, verdict


def rows(values: dict[str, list[float]], key: str = "psnr") -> list[dict]:
    return [{"photo": photo, key: value} for photo, of_photo in values.items() for value in of_photo]


def test_an_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [interval(rng.normal(20, 2, 25)) for _ in range(400)]
    held = np.mean([one["low"] <= 20 <= one["high"] for one in found])
    assert 0.90 <= held <= 0.98
    widths = [one["high"] - one["low"] for one in found]
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 2 / 25**0.5, rel=0.1)


def test_photos_are_the_unit_and_not_clips() -> None:
    few = {f"photo {i}": [value] for i, value in enumerate(np.random.default_rng(1).normal(0, 1, 12))}
    many = {photo: value * 10 for photo, value in few.items()}  # ten clips of a photo that are all alike say nothing more
    assert mean_over_photos(rows(many), "psnr") == pytest.approx(mean_over_photos(rows(few), "psnr"))
    uneven = {"a": [1.0, 1.0, 1.0, 1.0], "b": [0.0]}
    assert by_photo(rows(uneven), "psnr") == {"a": 1, "b": 0}
    assert mean_over_photos(rows(uneven), "psnr")["value"] == 0.5


def test_the_same_seed_gives_the_same_interval_and_few_photos_none() -> None:
    values = np.random.default_rng(2).normal(0, 1, 9)
    assert interval(values, seed=3) == interval(values, seed=3) != interval(values, seed=4)
    assert interval(values[:1]) == {"value": pytest.approx(values[0]), "low": None, "high": None, "num_photos": 1}
    assert interval(values[:0]) == {"value": None, "low": None, "high": None, "num_photos": 0}


def test_a_ratio_of_medians_is_that_and_has_no_value_over_nothing() -> None:
    above = np.array([1.0, 2, 3, 10])
    found = interval(np.stack([above, np.full(4, 5.0)], axis=1), ratio_of_medians)
    assert found["value"] == 0.5 and found["low"] == pytest.approx(0.2, abs=0.11) and found["high"] <= 2
    assert interval(np.stack([above, np.zeros(4)], axis=1), ratio_of_medians)["value"] is None


def test_pairs_see_what_photos_alone_hide() -> None:
    rng = np.random.default_rng(0)
    easy = rng.normal(25, 5, 16)  # photos differ far more than the two runs do
    ours = {f"photo {i}": [value + 0.5 + noise] for i, (value, noise) in enumerate(zip(easy, rng.normal(0, 0.2, 16), strict=True))}
    theirs = {f"photo {i}": [value] for i, value in enumerate(easy)} | {"only here": [99.0]}
    difference = paired_difference(rows(ours), rows(theirs), "psnr")
    assert difference["num_photos"] == 16
    assert 0.3 < difference["low"] < difference["value"] < difference["high"] < 0.7
    assert verdict(difference) == "better" and verdict(paired_difference(rows(theirs), rows(ours), "psnr")) == "worse"
    assert verdict(paired_difference(rows(ours), rows(ours), "psnr")) == "no difference"
    assert verdict(interval(np.array([5.0]))) == "no difference"


def test_what_was_not_measured_is_left_out() -> None:
    assert by_photo([{"photo": "a", "psnr": None}, {"photo": "b", "psnr": 2}], "psnr") == {"b": 2}
