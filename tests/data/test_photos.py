"""Photos for training are read as photos to animate are: by one reader."""

import numpy as np
import pytest
from PIL import Image

from trip.data.photos import is_held_out, read_photos
from trip.media import read_photo

NAMES = [f"{index}.png" for index in range(40)]
TRAINING = [name for name in NAMES if not is_held_out(name)]


def gradient(width=48, height=32):
    return Image.fromarray(np.linspace(0, 255, width * height * 3).reshape(height, width, 3).astype(np.uint8))


def test_a_photo_looks_in_training_as_it_does_animated(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    half = Image.merge("RGBA", (*gradient().split(), Image.linear_gradient("L").resize((48, 32))))
    kinds = {"turned": (gradient(), {"exif": turned}), "half": (half, {}), "grey": (gradient().convert("L"), {})}
    for (image, options), name in zip(kinds.values(), TRAINING, strict=False):
        image.save(tmp_path / name, **options)
    photos = read_photos(tmp_path, held_out=False)
    assert len(photos) == 3
    for photo in photos:
        np.testing.assert_array_equal(photo.pixels, np.asarray(read_photo(tmp_path / photo.name)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif", "gif", "bmp", "tif"])
def test_every_kind_that_is_animated_is_learnt_from(tmp_path, suffix):
    name = next(f"{index}.{suffix}" for index in range(40) if not is_held_out(f"{index}.{suffix}"))
    gradient().save(tmp_path / name)
    assert [photo.name for photo in read_photos(tmp_path, held_out=False)] == [name]


def test_tiny_cut_and_broken_photos_are_named_and_left_out(tmp_path, caplog):
    good, tiny, cut, text = TRAINING[:4]
    gradient().save(tmp_path / good)
    Image.new("RGB", (1, 1)).save(tmp_path / tiny)
    gradient().save(tmp_path / "whole.png")
    (tmp_path / cut).write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    (tmp_path / "whole.png").unlink()
    (tmp_path / text).write_text("hello")
    assert [photo.name for photo in read_photos(tmp_path, held_out=False)] == [good]
    assert len(caplog.messages) == 3 and all(any(name in line for line in caplog.messages) for name in (tiny, cut, text))
    assert "at least 16 x 16 pixels, got 1 x 1" in caplog.text


def test_large_photos_are_shrunk_to_a_short_side(tmp_path):
    gradient(600, 400).save(tmp_path / TRAINING[0])
    (photo,) = read_photos(tmp_path, held_out=False, short_side=100)
    assert photo.pixels.shape == (100, 150, 3)


@pytest.mark.parametrize(
    "text",
    [
        "\ufefffile,caption,category\nNAME,a thing,sea\n",
        "file;caption;category\r\nNAME;a thing;sea\r\n",
        "file,caption,category\nother.png\nNAME,a thing,sea\n",
        "Category,Caption,File\nsea,a thing,/home/me/photos/NAME\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_photos_csv_is_read_as_every_table(tmp_path, text, encoding):
    gradient().save(tmp_path / TRAINING[0])
    (tmp_path / "photos.csv").write_bytes(text.replace("NAME", TRAINING[0]).encode(encoding))
    (photo,) = read_photos(tmp_path, held_out=False)
    assert (photo.caption, photo.kind) == ("a thing", "sea")


def test_a_short_row_has_no_caption(tmp_path):
    gradient().save(tmp_path / TRAINING[0])
    (tmp_path / "photos.csv").write_text(f"file,caption,category\n{TRAINING[0]}\n")
    assert read_photos(tmp_path, held_out=False)[0].caption == ""
