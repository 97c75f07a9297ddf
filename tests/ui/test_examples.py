"""The first frames that the page offers."""

import csv
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image

from trip.media import read_clip
from trip.ui.panels import examples

EXAMPLES = Path(__file__).parents[2] / "examples"


def _rows() -> list[dict[str, str]]:
    with open(EXAMPLES / "examples.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_photo_is_listed_with_its_licence():
    rows, readme = _rows(), (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert {row["file"] for row in rows} == {path.name for path in EXAMPLES.glob("*.jpg")}
    for row in rows:
        assert row["licence"].startswith(("CC0", "public domain"))
        assert f"`{row['file']}`" in readme
        assert row["prompt"] in readme


def test_photos_are_small_enough_for_a_page():
    for row in _rows():
        with Image.open(EXAMPLES / row["file"]) as photo:
            assert max(photo.size) <= 768
            assert photo.format == "JPEG"


def test_every_photo_has_a_moving_thumbnail_and_all_are_quick_to_fetch():
    thumbnails = [(EXAMPLES / row["file"]).with_suffix(".webp") for row in _rows()]
    for path in thumbnails:
        with Image.open(path) as moving:
            assert moving.n_frames > 10 and moving.size == (144, 144)
    assert sum(path.stat().st_size for path in thumbnails) < 250_000


def test_the_finished_example_is_what_the_page_says_and_small():
    clip = read_clip(examples.FIRST)
    assert (len(clip.frames), clip.fps) == (examples.FIRST_FRAMES, examples.FIRST_FPS)
    assert clip.metadata["prompt"] == examples.FIRST_PROMPT and clip.metadata["model"] == "embedded"
    assert examples.FIRST.stat().st_size < 500_000


def test_an_example_is_one_of_those_that_are_shown():
    def click(data: object) -> list:
        return examples.chosen(gr.EventData(None, data))

    photo, prompt, motion = click({"index": 1})
    assert (Path(photo).name, prompt, motion) == ("coffee.jpg", "the camera zooms in slowly", 1.0)
    for data in ({"index": 6}, {"index": -1}, {"index": "1"}, {"index": True}, {}, None):
        with pytest.raises(gr.Error, match="wanted an example from 0 to 5"):
            click(data)
