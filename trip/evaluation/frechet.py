"""Fréchet distance of two sets of features, each taken for a Gaussian: what FVD and FID are (Heusel et al. 2017, Unterthiner et al. 2019).

|m1 - m2|² + tr S1 + tr S2 - 2 tr (S1 S2)^½. With centred features X (n x d) and Y (m x d) the last trace is the nuclear norm of X Yᵀ
over √((n-1)(m-1)): no square root of a matrix, nothing complex, exact also with fewer samples than dimensions.
"""

import numpy as np

from trip.evaluation.bootstrap import Estimate

NUM_DRAWS = 200
NORMAL = 1.96  # standard deviations on either side of 95 % of a Gaussian


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Distance of the two Gaussians, covariances divided by n - 1.

    x, y  features   n d and m d; at least 2 each. Raises ValueError
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"wanted two sets of at least 2 features of one length, got shapes {x.shape} and {y.shape}")
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    apart = np.square(x.mean(axis=0) - y.mean(axis=0)).sum()
    x, y = ((one - one.mean(axis=0)) / (len(one) - 1) ** 0.5 for one in (x, y))
    overlap = np.linalg.svd(_root(x) @ _root(y).T, compute_uv=False).sum()
    return max(float(apart + np.square(x).sum() + np.square(y).sum() - 2 * overlap), 0.0)


def _root(x: np.ndarray) -> np.ndarray:
    """Something with the same xᵀx and no more rows than columns."""
    return np.linalg.qr(x, mode="r") if len(x) > x.shape[1] else x


def frechet_figure(x: np.ndarray, y: np.ndarray, *, paired: bool = False, num_draws: int = NUM_DRAWS, seed: int = 0) -> Estimate:
    """The distance with an interval by bootstrap over clips: 1.96 standard deviations of the draws on either side.

    Draws hold some clips twice, which raises every distance; so their spread is used, and not their place.

    x, y    features of each clip, or of each of its k frames   n d or n k d
    paired  whether clip i of both was made from one photo: then they are drawn together
    """
    value, rng, drawn = frechet_distance(_flat(x), _flat(y)), np.random.default_rng(seed), []
    for _ in range(num_draws):
        one = rng.integers(len(x), size=len(x))
        other = one if paired else rng.integers(len(y), size=len(y))
        drawn.append(frechet_distance(_flat(x[one]), _flat(y[other])))
    if len(drawn) < 2 or min(len(x), len(y)) < 3:
        return {"value": value, "low": None, "high": None, "num_photos": min(len(x), len(y))}
    reach = NORMAL * float(np.std(drawn, ddof=1))
    return {"value": value, "low": max(value - reach, 0.0), "high": value + reach, "num_photos": min(len(x), len(y))}


def _flat(features: np.ndarray) -> np.ndarray:
    return features.reshape(-1, features.shape[-1])
