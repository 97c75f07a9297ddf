"""Figures of pictures over maps against painters whose answers are known."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut, coffee

from trip.data.edges import canny_edges
from trip.data.edits import apply_edit
from trip.data.photos import Photo
from trip.data.titles import STYLES
from trip.data.wordings import STATES
from trip.evaluation.edits import centre_square
from trip.evaluation.maps import edge_f1, evaluate_maps

SIZE = 96
PHOTOS = [Photo("a.jpg", astronaut(), "a woman"), Photo("b.jpg", coffee(), "a cup")]
SQUARES = {photo.caption: centre_square(photo.pixels, SIZE) for photo in PHOTOS}
STYLE_OF = {STATES[name][0]: name for name in STYLES}


def perfect(found, prompts, seed):
    """Knows every photo by its caption, and every style."""
    pictures = []
    for prompt in prompts:
        caption, _, state = prompt.partition(", ")
        square = SQUARES[caption]
        pictures.append(apply_edit(STYLE_OF[state], square, np.random.default_rng([0, seed])) if state else square)
    return pictures


def test_a_painter_that_knows_the_photos_is_right_everywhere():
    report = evaluate_maps(perfect, PHOTOS, size=SIZE)
    assert report["overall"]["edge_f1"] == pytest.approx(1) and report["overall"]["colour_error"] == pytest.approx(0)
    assert report["overall"]["style_recognised"] == 1
    assert all(check["passed"] for check in report["checks"].values())


def test_a_painter_that_sees_no_map_and_hears_no_words_fails_all_checks():
    grey = np.full((SIZE, SIZE, 3), 128, np.uint8)
    report = evaluate_maps(lambda found, prompts, seed: [grey] * len(prompts), PHOTOS, size=SIZE)
    assert report["overall"]["edge_f1"] == 0 and report["overall"]["colour_error"] == report["overall"]["colour_error_other"]
    assert not any(check["passed"] for check in report["checks"].values())


def test_edges_count_within_one_pixel():
    line = np.zeros((32, 32), np.uint8)
    line[:, 16] = 255
    assert edge_f1(np.roll(line, 1, axis=1), line) == pytest.approx(1)
    assert edge_f1(np.roll(line, 2, axis=1), line) == 0


def test_edges_of_the_map_painted_on_the_picture_are_found():
    square = SQUARES["a woman"]
    edges = canny_edges(square, 100, 200)
    assert edge_f1(edges, edges) == 1 and edge_f1(edges, np.zeros_like(edges)) == 0
    assert edges.shape == cv2.cvtColor(square, cv2.COLOR_RGB2GRAY).shape


def test_one_photo_is_refused():
    with pytest.raises(ValueError, match="at least 2 held-out photos"):
        evaluate_maps(perfect, PHOTOS[:1], size=SIZE)
