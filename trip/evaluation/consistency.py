"""F-Consistency: how alike the frames of a clip are in a network's features (the paper's Sec. 4.1, Table 1 and Figure 4).

The paper names the network, CLIP ViT-L/14, and not the pairs. Both readings are measured: neighbouring frames, which is the one under
which a clip's whole can score above its first four frames, as in the paper's Table 1, and all pairs of frames, as Tune-A-Video has it.
A still image scores 100: motion stands beside every figure.
"""

import numpy as np

from trip.evaluation.bootstrap import Estimate, interval

FIRST = 4  # frames of F-Consistency_4
PERCENT = 100.0


def neighbour_similarity(features: np.ndarray) -> np.ndarray:
    """Cosine similarity of each frame to the next: n f d -> n f-1, in [-1, 1]."""
    unit = _unit(features)
    return (unit[:, :-1] * unit[:, 1:]).sum(axis=-1)


def pair_similarity(features: np.ndarray) -> np.ndarray:
    """Mean cosine similarity of all pairs of two different frames: n f d -> n, in [-1, 1]."""
    unit, num_frames = _unit(features), features.shape[1]
    return (np.square(unit.sum(axis=1)).sum(axis=-1) - num_frames) / (num_frames * (num_frames - 1))


def consistency_figures(features: np.ndarray, seed: int = 0) -> dict[str, Estimate]:
    """F-Consistency of the first four frames, of all, and of all pairs, in percent, with intervals over clips: features n f d.

    Raises ValueError where clips are shorter than four frames.
    """
    if features.ndim != 3 or features.shape[1] < FIRST:
        raise ValueError(f"wanted features of at least {FIRST} frames a clip, got shape {features.shape}; ask for more frames")
    neighbours = PERCENT * neighbour_similarity(features)
    return {
        "f_consistency_4": interval(neighbours[:, : FIRST - 1].mean(axis=1), seed=seed),
        "f_consistency_all": interval(neighbours.mean(axis=1), seed=seed),
        "all_pairs": interval(PERCENT * pair_similarity(features), seed=seed),
    }


def consistency_curve(features: np.ndarray, seed: int = 0) -> dict[str, Estimate]:
    """F-Consistency of the first 2, 3, … frames, as in Figure 4, with intervals over clips: features n f d."""
    neighbours = PERCENT * neighbour_similarity(features)
    return {str(count): interval(neighbours[:, : count - 1].mean(axis=1), seed=seed) for count in range(2, features.shape[1] + 1)}


def _unit(features: np.ndarray) -> np.ndarray:
    features = features.astype(np.float64)
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)
