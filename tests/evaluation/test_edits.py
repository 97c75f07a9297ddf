"""Figures of edits against editors whose answers are known."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from trip.data.edits import EDITS, apply_edit
from trip.data.photos import Photo
from trip.evaluation.edits import WORDINGS, evaluate_edits
from trip.evaluation.similarity import psnr

PHOTOS = [Photo("a.jpg", cv2.resize(astronaut(), (80, 64), interpolation=cv2.INTER_AREA))]
NAME_OF = {words: name for name, kinds in WORDINGS.items() for sentences in kinds.values() for words in sentences}


def perfect(photo, instructions, seed):
    return [apply_edit(NAME_OF[words], photo, np.random.default_rng([0, seed])) for words in instructions]


def test_an_editor_that_knows_the_edits_is_right_everywhere():
    report = evaluate_edits(perfect, PHOTOS, size=48)
    assert report["overall"]["recognised"] == 1 and report["overall"]["psnr"] == 60
    assert all(check["passed"] for check in report["checks"].values())


def test_an_editor_that_does_nothing_gains_nothing_and_fails():
    report = evaluate_edits(lambda photo, instructions, seed: [photo] * len(instructions), PHOTOS, size=48)
    assert report["overall"]["gain_db"] == 0 and report["overall"]["recognised"] <= 1 / len(EDITS) + 1e-9
    assert not any(check["passed"] for check in report["checks"].values())


def test_an_editor_deaf_to_the_instruction_is_seen_through():
    def deaf(photo, instructions, seed):
        return [apply_edit("night", photo, np.random.default_rng(0))] * len(instructions)

    report = evaluate_edits(deaf, PHOTOS, size=48)
    assert report["overall"]["recognised"] == pytest.approx(1 / len(EDITS))
    assert report["per_edit"]["winter"]["taken_for"] == {"night": 3}


def test_psnr_of_a_known_error():
    assert psnr(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)) == pytest.approx(20 * np.log10(5), abs=1e-3)
