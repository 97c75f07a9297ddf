"""Chips under the prompt: what they write, what is read off a prompt, and what is offered where a prompt tells no motion."""

import pytest
from transformers import CLIPTokenizer

from trip.data.prompts import MOTIONS, PACE_WORDS
from trip.model.text import reads_whole
from trip.system.environment import ASSETS
from trip.ui import chips
from trip.ui.chips import CHIPS, PACES, chosen, is_told, nearest, pressed, sentence

ALL = tuple(CHIPS)


def test_every_motion_has_a_chip_whose_sentence_the_weights_were_trained_on():
    assert set(CHIPS) == set(MOTIONS)
    for name, (_, words) in CHIPS.items():
        assert words in MOTIONS[name].wordings
    assert all(words in PACE_WORDS[pace]["how"] for pace, (_, words) in PACES.items())


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("pace", ["", *PACES])
def test_a_chip_is_read_off_its_own_sentence(name, pace):
    told = pace if "{how}" in CHIPS[name][1] else ""
    assert chosen(sentence(name, pace)) == [name, *filter(None, [told])]


@pytest.mark.parametrize(
    ("prompt", "names", "written"),
    [
        ("", ["zoom_in"], "the camera zooms in"),
        ("the camera zooms in", ["zoom_in", "slow"], "the camera zooms in slowly"),
        ("the camera zooms in slowly", ["zoom_in", "slow", "fast"], "the camera zooms in fast"),
        ("the camera zooms in slowly", ["zoom_in", "slow", "waves"], "the camera zooms in slowly and the waves roll in slowly"),
        ("the camera zooms in and rain falls", ["zoom_in", "rain", "pan_left"], "the camera pans left and rain falls"),
        ("the clouds drift to the left", ["clouds_left", "clouds_right"], "the clouds drift to the right"),
        ("the camera pans left and snow falls", ["pan_left", "snow", "still"], "nothing moves"),
        ("nothing moves", ["still", "rain"], "rain falls"),
        ("a cat and a dog, the camera pans left", [], "a cat and a dog"),
        ("a cat and a dog", ["rain"], "a cat and a dog, rain falls"),
        ("the camera pans left for ever", ["rain"], "the camera pans left for ever, rain falls"),
    ],
)
def test_pressing_a_chip_writes_its_sentence_and_keeps_what_was_typed(prompt, names, written):
    assert pressed(prompt, names) == written


@pytest.mark.parametrize("prompt", ["zoom", "Zooming in!", "panning", "a dog, the clouds drift", "dolly shot", "fire"])
def test_a_word_of_a_motion_is_known_in_every_form(prompt):
    assert is_told(prompt, ALL)


@pytest.mark.parametrize("prompt", ["a dog barks at the moon", "make it beautiful", "zom in", "a view and a camera", "привет"])
def test_words_that_tell_no_motion_are_not_known(prompt):
    assert not is_told(prompt, ALL)


def test_a_motion_that_the_weights_do_not_know_is_not_known():
    assert is_told("zoom in", ALL) and not is_told("zoom in", ("pan_left", "rain"))


def test_the_nearest_chips_are_those_with_words_like_the_typed_ones():
    assert nearest("zom in", ALL) == ["zoom_in", "zoom_out"]
    assert nearest("cloudz", ALL) == ["clouds_left", "clouds_right"]
    assert nearest("a dog barks at the moon", ALL) == ["zoom_in", "pan_right", "parallax_left"]
    assert nearest("a dog barks at the moon", ("rain", "snow")) == ["snow", "rain"]


def test_an_empty_prompt_becomes_a_gentle_zoom_or_what_the_weights_know():
    assert chips.gentle(ALL) == "the camera zooms in slowly"
    assert chips.gentle(("pan_left", "rain")) == "the camera pans left slowly"
    assert chips.gentle(()) == ""


def test_lines_for_people_show_hostile_words_as_text():
    assert "<img" not in chips.taken("<img src=x>") and "<img" not in chips.offer("<img src=x>", ALL)


def test_the_embedded_weights_know_every_chip_and_a_strange_word_is_spelt():
    tokenizer = CLIPTokenizer.from_pretrained(ASSETS / "embedded" / "tokenizer")
    assert [name for name in CHIPS if not any(reads_whole(word, tokenizer) for word in chips.telling_words(name))] == []
    assert not reads_whole("trampoline", tokenizer)
