"""The Fréchet distance equals its definition, is right on Gaussians of known distance, and its intervals hold what they say."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from trip.evaluation.frechet import frechet_distance, frechet_figure


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    one, other = np.cov(x.T), np.cov(y.T)
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(one + other - 2 * sqrtm(one @ other).real))


def test_it_equals_the_definition_on_large_sets() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 24)) @ rng.normal(size=(24, 24)), rng.normal(1, 2, size=(300, 24))
    assert frechet_distance(x, y) == pytest.approx(by_definition(x, y), rel=1e-9)


def test_it_is_right_on_gaussians_of_known_distance_with_fewer_samples_than_dimensions() -> None:
    """Both sets have exactly these covariances, of rank 9 in 40 dimensions, along common axes: the distance is known."""
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(40, 9)))[0].T
    white = np.linalg.qr(np.c_[np.ones(10), rng.normal(size=(10, 9))])[0][:, 1:] * 3  # 10 samples: no mean, unit covariance
    wide, narrow, shift = rng.uniform(1, 3, 9), rng.uniform(0.1, 1, 9), rng.normal(size=40)
    x, y = (white * wide) @ axes, (white[::-1] * narrow) @ axes + shift
    assert np.cov(x.T) == pytest.approx((axes.T * wide**2) @ axes, abs=1e-9)
    assert frechet_distance(x, y) == pytest.approx(np.square(shift).sum() + np.square(wide - narrow).sum(), rel=1e-9)


def test_a_set_is_at_no_distance_from_itself_however_few_it_has() -> None:
    for number in (2, 12, 300):
        x = np.random.default_rng(number).normal(3, 5, size=(number, 60))
        assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9) and frechet_distance(x, x[::-1]) < 1e-9
        assert frechet_distance(x, x + 2) == pytest.approx(4 * 60)


def test_sets_that_cannot_be_compared_are_refused() -> None:
    for x, y in ((np.ones((1, 3)), np.ones((5, 3))), (np.ones((4, 3)), np.ones((4, 2)))):
        with pytest.raises(ValueError, match=r"at least 2 features of one length, got shapes \(\d, 3\)"):
            frechet_distance(x, y)


def test_intervals_hold_the_expected_distance_as_often_as_they_say_or_more() -> None:
    """More with few samples: draws repeat some of them, which also widens the spread."""
    rng, found = np.random.default_rng(0), []
    for seed in range(80):
        x, y = rng.normal(size=(60, 5)), rng.normal(0.7, 1.3, size=(60, 5))
        found.append(frechet_figure(x, y, num_draws=60, seed=seed))
    expected = np.mean([one["value"] for one in found])
    assert 0.88 <= np.mean([one["low"] <= expected <= one["high"] for one in found]) <= 1
    reach = np.mean([one["high"] - one["value"] for one in found])
    assert reach == pytest.approx(1.96 * np.std([one["value"] for one in found]), rel=0.3)


def test_frames_of_a_clip_are_drawn_together_and_clips_of_one_photo_in_pairs() -> None:
    rng = np.random.default_rng(2)
    photos = rng.normal(0, 5, size=(30, 4))
    clip = photos[:, None] + rng.normal(0, 0.01, size=(30, 16, 4))
    frames = frechet_figure(clip, clip + 1, num_draws=40)
    alone = frechet_figure(clip[:, 0], clip[:, 0] + 1, num_draws=40)
    assert frames["num_photos"] == 30 and frames["value"] == pytest.approx(4)
    assert frames["high"] - frames["low"] == pytest.approx(alone["high"] - alone["low"], rel=0.5)  # 480 frames say no more than 30 clips
    paired = frechet_figure(photos, photos + 1, paired=True, num_draws=40)
    assert paired["high"] - paired["low"] < 1e-9 < 1 < alone["high"] - alone["low"]  # the shift is the same whichever photos are drawn
    assert frechet_figure(photos, photos, num_draws=0)["low"] is None
