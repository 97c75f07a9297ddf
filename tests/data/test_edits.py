"""Known edits do what their names say, to any photo, and the words for them are many and honest."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from trip.data.edits import EDITS, apply_edit
from trip.data.instructions import DEGREES, ORDERS, STATES, UNSEEN, draw_instruction

PHOTO = cv2.resize(astronaut(), (96, 64), interpolation=cv2.INTER_AREA)
GREENERY = np.full((64, 64, 3), (70, 140, 40), np.uint8)


def landscape() -> np.ndarray:
    """A blue sky over grass."""
    picture = GREENERY.copy()
    picture[:28] = (110, 160, 230)
    return picture


def edited(name: str, photo: np.ndarray = PHOTO, amount: float = 1.0, seed: int = 0) -> np.ndarray:
    return apply_edit(name, photo, np.random.default_rng(seed), amount)


def mean(photo: np.ndarray) -> np.ndarray:
    return photo.reshape(-1, 3).mean(axis=0)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_keeps_the_shape_and_changes_the_picture_by_its_amount(name):
    change = [np.abs(edited(name, amount=amount).astype(float) - PHOTO).mean() for amount in (0.0, 0.5, 1.0)]
    assert edited(name).shape == PHOTO.shape and edited(name).dtype == np.uint8
    assert change[0] == 0 and 2 < change[1] < change[2]


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("photo", [np.zeros((8, 16, 3), np.uint8), np.full((16, 8, 3), 255, np.uint8)], ids=["black", "white"])
def test_an_edit_takes_photos_of_one_colour(name, photo):
    assert edited(name, photo).shape == photo.shape


def test_the_same_chance_gives_the_same_rain():
    assert np.array_equal(edited("rain", seed=1), edited("rain", seed=1))
    assert not np.array_equal(edited("rain", seed=1), edited("rain", seed=2))


def test_light_and_colour_go_where_the_names_say():
    red, green, blue = mean(PHOTO)
    assert mean(edited("brighter")).mean() > mean(PHOTO).mean() > mean(edited("darker")).mean() > mean(edited("night")).mean()
    assert mean(edited("warmer"))[0] - mean(edited("warmer"))[2] > red - blue > mean(edited("cooler"))[0] - mean(edited("cooler"))[2]
    assert np.ptp(edited("black and white").astype(int), axis=2).max() == 0
    assert mean(edited("sketch")).mean() > 150


def test_seasons_change_the_grass_and_times_of_day_the_sky():
    photo = landscape()
    sky, grass = (slice(0, 16), slice(None)), (slice(44, 64), slice(None))
    autumn, winter, sunset, night = (edited(name, photo) for name in ("autumn", "winter", "sunset", "night"))
    assert mean(autumn[grass])[0] > mean(autumn[grass])[1] > mean(autumn[grass])[2]
    assert mean(winter[grass]).min() > 120
    assert mean(sunset[sky])[0] > mean(sunset[sky])[2] and mean(night[sky]).max() < 80
    assert mean(autumn[sky])[2] > mean(autumn[sky])[0]


def test_an_unknown_edit_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^unknown edit 'nihgt'; choose night, .*vivid$"):
        edited("nihgt")


def test_every_edit_has_words_and_no_words_mean_two_edits():
    assert set(STATES) == set(ORDERS) == set(UNSEEN) == set(EDITS)
    words = [words for table in (STATES, ORDERS, UNSEEN) for name in EDITS for words in table[name]]
    assert len(words) == len(set(words))


def test_instructions_are_many_and_none_of_those_kept_out():
    rng = np.random.default_rng(0)
    drawn = [draw_instruction(rng, "a lake") for _ in range(4000)]
    kept_out = {sentence for sentences in UNSEEN.values() for sentence in sentences}
    assert len({words for _, _, words in drawn}) > 1500 and {name for name, _, _ in drawn} == set(EDITS)
    assert not kept_out & {words for _, _, words in drawn}


def test_words_kept_out_are_made_of_words_that_are_drawn():
    rng = np.random.default_rng(0)
    known = {word for _ in range(20_000) for word in draw_instruction(rng)[2].split()}
    assert {word for sentences in UNSEEN.values() for sentence in sentences for word in sentence.split()} <= known


def test_degrees_set_the_amount():
    rng = np.random.default_rng(0)
    drawn = [draw_instruction(rng) for _ in range(4000)]
    slight = [amount for _, amount, words in drawn if " slightly " in f" {words} "]
    strong = [amount for _, amount, words in drawn if " very " in f" {words} "]
    assert max(slight) < min(strong) and DEGREES[""][0] > max(slight)
