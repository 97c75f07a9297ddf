"""Which edits words tell."""

import numpy as np
import pytest

from trip.data.instructions import UNSEEN, draw_instruction, told_edits


def test_every_wording_tells_its_edit():
    rng = np.random.default_rng(0)
    drawn = [draw_instruction(rng, "a red house by the lake") for _ in range(500)]
    asked = [(name, words) for name, _, words in drawn] + [(name, words) for name in UNSEEN for words in UNSEEN[name]]
    assert [(name, words) for name, words in asked if name not in told_edits(words)] == []


@pytest.mark.parametrize(
    "words, told",
    [
        ("add a dog", []),
        ("add a dog in the snow", []),
        ("replace the sky with a sunset over Rome", []),
        ("make it a watercolor", []),
        ("", []),
        ("add lots of snow", ["winter"]),
        ("Make the cat look SNOWY!", ["winter"]),
    ],
)
def test_things_that_no_wording_has_tell_none(words, told):
    assert told_edits(words) == told
