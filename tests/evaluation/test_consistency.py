"""F-Consistency on features whose angles are known."""

import numpy as np
import pytest

from trip.evaluation.consistency import consistency_curve, consistency_figures, neighbour_similarity, pair_similarity


def turning(degrees: list[float]) -> np.ndarray:
    """Features of a clip whose directions are so many degrees from the first one's, of any length: f 2."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.linspace(1, 7, len(degrees))[:, None]


def test_similarities_are_cosines_of_known_angles() -> None:
    clip = turning([0, 30, 90, 90])[None]
    assert neighbour_similarity(clip)[0] == pytest.approx([np.cos(np.pi / 6), 0.5, 1])
    pairs = [np.cos(np.radians(angle)) for angle in (30, 90, 90, 60, 60, 0)]
    assert pair_similarity(clip)[0] == pytest.approx(np.mean(pairs))


def test_a_still_image_scores_a_hundred() -> None:
    for figure in consistency_figures(np.ones((3, 16, 8))).values():
        assert figure["value"] == pytest.approx(100) and figure["low"] == pytest.approx(100)


def test_a_clip_that_calms_down_scores_higher_as_a_whole_under_neighbours_alone() -> None:
    """As the paper's Table 1 has it: 95.36 over four frames, 96.41 over all."""
    clip = turning([0, 20, 40, 60, *range(62, 86, 2)])[None]
    found = consistency_figures(np.repeat(clip, 2, axis=0))
    assert found["f_consistency_4"]["value"] == pytest.approx(100 * np.cos(np.radians(20)))
    assert found["f_consistency_all"]["value"] > found["f_consistency_4"]["value"] > found["all_pairs"]["value"]


def test_the_curve_ends_in_the_figures() -> None:
    features = np.random.default_rng(0).normal(size=(6, 16, 12))
    curve, found = consistency_curve(features), consistency_figures(features)
    assert list(curve) == [str(count) for count in range(2, 17)]
    assert curve["4"] == found["f_consistency_4"] and curve["16"] == found["f_consistency_all"]
    assert curve["2"]["value"] == pytest.approx(100 * neighbour_similarity(features)[:, 0].mean())
    with pytest.raises(ValueError, match="at least 4 frames a clip"):
        consistency_figures(features[:, :3])
