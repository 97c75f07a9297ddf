"""The first frames that the page offers."""

import csv
from pathlib import Path

from PIL import Image

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
