"""What is told of a filmed clip's motion."""

import cv2
import numpy as np

from trip.data.filmed_motion import filmed

SIZE = 96


def textured(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (SIZE * 2, SIZE * 2, 3)).astype(np.float32)
    return np.clip(128 + 40 * sum(cv2.GaussianBlur(noise, (0, 0), s) * s for s in (2, 5)), 0, 255).astype(np.uint8)


def test_a_pan_is_seen_and_what_it_brings_into_view_is_not_known():
    wide = textured(0)
    frames = np.stack([wide[40 : 40 + SIZE, 40 + 4 * i : 40 + 4 * i + SIZE] for i in range(5)])
    clip = filmed(frames)
    inner = (slice(4, -4), slice(4, -6))
    still = clip.places[0][inner]
    np.testing.assert_allclose(clip.places[4][inner] - still, np.broadcast_to([16 * 2 / SIZE, 0], still.shape), atol=0.03)
    assert clip.known[4][inner].min() > 0.9 and clip.visibility[4][inner].min() > 0.7
    assert clip.known[4][:, -2:].max() < 0.1 and clip.visibility[4][:, -2:].max() < 0.1


def test_another_picture_is_no_motion():
    clip = filmed(np.stack([textured(1)[:SIZE, :SIZE], textured(2)[:SIZE, :SIZE]]))
    assert clip.visibility[1].mean() < 0.2 and clip.visibility[0].mean() > 0.95
