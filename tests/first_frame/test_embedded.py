"""The editor that is shipped opens and does what it is told, on a photo that it never saw."""

import json

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from trip.data.edits import apply_edit
from trip.evaluation.similarity import psnr
from trip.first_frame.embedded import EDITOR, LEAST_LIGHT, edit_all, lightened, open_editor, with_detail

PHOTO = cv2.resize(astronaut(), (128, 128), interpolation=cv2.INTER_AREA)
ASKED = {"night": "what if it were midnight", "underwater": "what if it were under the sea", "brighter": "please make it better lit"}


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    pipe = open_editor()
    return dict(zip(ASKED, with_detail(pipe, edit_all(pipe, PHOTO, list(ASKED.values()), seed=0), PHOTO), strict=True))


@pytest.mark.parametrize("name", ASKED)
def test_an_instruction_never_seen_brings_the_photo_to_its_edit(name, pictures):
    known = {other: apply_edit(other, PHOTO, np.random.default_rng(0)) for other in ASKED}
    assert max(ASKED, key=lambda other: psnr(pictures[name], known[other])) == name
    assert psnr(pictures[name], known[name]) > psnr(PHOTO, known[name]) + 3


def test_a_night_is_not_black(pictures):
    night = lightened(pictures["night"], PHOTO)
    assert pictures["night"].mean() < 0.9 * night.mean() and night.mean() == pytest.approx(LEAST_LIGHT * PHOTO.mean(), rel=0.1)
    assert lightened(pictures["brighter"], PHOTO) is pictures["brighter"]


def test_what_is_shipped_is_small_and_names_no_place_of_this_machine():
    sizes = [path.stat().st_size for path in EDITOR.rglob("*") if path.is_file()]
    assert max(sizes) < 10e6 and sum(sizes) < 30e6
    assert {path.suffix for path in EDITOR.rglob("*") if path.is_file()} == {".json", ".md", ".safetensors"}
    for path in EDITOR.rglob("*config.json"):
        assert "/" not in json.loads(path.read_text()).get("_name_or_path", "")
