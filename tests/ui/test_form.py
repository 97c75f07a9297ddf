"""Settings as controls, and refused values as one line."""

import math

import gradio as gr
import pytest

from trip.settings import AnimateSettings
from trip.ui.form import PAGE_DEFAULTS, control
from trip.ui.tabs.animate import frames_for, lasting, prompts_of


@pytest.mark.parametrize("name", AnimateSettings.model_fields)
def test_every_setting_has_a_labelled_control(name):
    with gr.Blocks(analytics_enabled=False):
        box = control(name)
    assert box.label == AnimateSettings.model_fields[name].title
    assert box.info == AnimateSettings.model_fields[name].description


def test_range_of_a_control_is_that_of_the_setting():
    with gr.Blocks(analytics_enabled=False):
        motion, seed = control("motion"), control("seed")
    assert (motion.minimum, motion.maximum, motion.value) == (0, 2, 1)
    assert (seed.minimum, seed.maximum) == (0, 2**31 - 1)


def test_none_means_the_default():
    assert AnimateSettings.checked(prompt=None, motion=None, num_frames=None) == AnimateSettings()


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"motion": 5}, "Motion must be a number from 0 to 2, not 5"),
        ({"motion": math.nan}, "Motion must be a number from 0 to 2, not nan"),
        ({"motion": "NaN"}, "Motion must be a number from 0 to 2, not NaN"),
        ({"fps": -math.inf}, "Frames per second must be a number from 1 to 60, not -inf"),
        ({"num_frames": 3.5}, "Frames must be a whole number from 2 to 128, not 3.5"),
        ({"num_frames": "many\nlines"}, "Frames must be a whole number from 2 to 128, not many lines"),
        ({"seed": 2**31}, "Seed must be a whole number from 0 to 2,147,483,647, not 2147483648"),
        ({"scheduler": "euler"}, "Sampler must be ddim or dpm++ or unipc, not euler"),
        ({"prompt": 5 * 10**5}, "Prompt must be text of at most 10,000 characters, not 500000"),
        ({"prompt": "x" * 20_000}, "Prompt must be text of at most 10,000 characters, not 20,000"),
        ({"prompt": "half a pair: \ud83d"}, "Prompt must be text of at most 10,000 characters, not half a pair: ?"),
        ({"speed": 1}, "there is no setting 'speed'; choose from prompt, "),
    ],
)
def test_refused_value_is_named_in_one_line(values, line):
    with pytest.raises(ValueError) as refusal:
        AnimateSettings.checked(**values)
    assert str(refusal.value).startswith(line)
    assert "\n" not in str(refusal.value)


def test_all_refused_values_are_named():
    with pytest.raises(ValueError, match="Motion .*; Steps "):
        AnimateSettings.checked(motion=5, num_steps=0)


@pytest.mark.parametrize(
    ("num_frames", "fps", "seconds"), [(16, None, 2.0), (16, 4, 4.0), (None, 4, None), (12, 5, 2.4), (0, 5, None), ("many", 5, None)]
)
def test_frames_are_told_in_seconds(num_frames, fps, seconds):
    assert lasting(num_frames, fps, {"fps": 8.0}) == seconds


@pytest.mark.parametrize(
    ("seconds", "fps", "num_frames"), [(2, None, 16), (1.5, 4, 6), (100, None, 128), (0.01, None, 2), (None, 4, None), (math.nan, 4, None)]
)
def test_seconds_give_frames_that_the_model_takes(seconds, fps, num_frames):
    assert frames_for(seconds, fps, {"fps": 8.0}) == num_frames


def test_before_the_weights_are_loaded_a_length_is_left_to_them():
    assert lasting(16, None, {}) is None and frames_for(2, None, {}) is None


def test_the_page_takes_the_photo_as_wide_as_it_is_and_programs_the_square():
    assert AnimateSettings().aspect == "1:1" and AnimateSettings(aspect=PAGE_DEFAULTS["aspect"]).aspect == "photo"
    with gr.Blocks(analytics_enabled=False):
        assert ("as my photo", "photo") in control("aspect").choices and ("the photo's own, up to 1080", "photo") in control("size").choices


@pytest.mark.parametrize(
    "prompt, num_photos, each",
    [
        ("the camera pans left\n\n zooms in ", 2, ["the camera pans left", "zooms in"]),
        ("the camera pans left\nzooms in", 3, ["the camera pans left\nzooms in"] * 3),
        ("the camera\npans left", 1, ["the camera\npans left"]),
        ("the camera pans left", 2, ["the camera pans left"] * 2),
        ("", 2, ["", ""]),
    ],
)
def test_several_photos_have_a_line_of_the_prompt_each_where_there_are_as_many(prompt, num_photos, each):
    assert prompts_of(prompt, num_photos) == each
