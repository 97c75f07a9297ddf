"""What people bring is read or refused in one line; what is written comes back."""

import io
import json
import struct
import weakref
import zlib
from collections.abc import Sequence

import av
import numpy as np
import pytest
from PIL import Image, ImageCms

from trip.media import (
    Clip,
    MediaError,
    check_writable,
    embedded_photo,
    fit_photo,
    fitted_part,
    read_clip,
    read_metadata,
    read_photo,
    shown_part,
    with_photo,
    write_clip,
    write_frames,
)

SUFFIXES = (".mp4", ".gif", ".webp")
MADE_WITH = {"prompt": 'the "clouds" drift\nto the left, 雲 \U0001f600', "seed": 7, "motion": 1.5, "num_steps": None}


def gradient(width=48, height=32):
    """Red grows to the right, green downwards."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([red, green, np.full_like(red, 90)], -1).astype(np.uint8))


def drift(frames=8, height=64, width=96, step=4):
    wide = np.asarray(gradient(width + frames * step, height))
    return np.stack([wide[:, i * step : i * step + width] for i in range(frames)])


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def mean_error(a, b):
    return np.abs(np.asarray(a).astype(float) - np.asarray(b)).mean()


def refusal(call, *arguments, **keywords):
    with pytest.raises(MediaError) as caught:
        call(*arguments, **keywords)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


@pytest.fixture
def clip():
    return Clip(drift(), 8.0, MADE_WITH)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_the_common_kinds_are_read_from_path_bytes_and_pillow(tmp_path, kind):
    data = encoded(gradient(), kind)
    path = tmp_path / "photo"
    path.write_bytes(data)
    photos = [read_photo(path), read_photo(str(path)), read_photo(data), read_photo(Image.open(path))]
    assert all(photo.mode == "RGB" and photo.size == (48, 32) for photo in photos)
    assert all(mean_error(photo, photos[0]) == 0 for photo in photos)
    assert mean_error(photos[0], gradient()) < 8


def test_of_an_animated_gif_the_first_frame_is_taken():
    data = encoded(Image.new("RGB", (32, 32), "red"), "GIF", save_all=True, append_images=[Image.new("RGB", (32, 32), "blue")])
    assert read_photo(data).getpixel((5, 5)) == (255, 0, 0)


def test_cmyk_keeps_its_colours():
    assert mean_error(read_photo(encoded(gradient().convert("CMYK"), "JPEG", quality=98)), gradient()) < 6


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_greys_are_scaled_not_clipped(kind):
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (32, 1))
    grey = np.asarray(read_photo(encoded(Image.fromarray(ramp), kind)))[..., 0]
    np.testing.assert_array_equal(grey, ramp >> 8)


def test_sixteen_bit_greys_are_turned_upright_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (32, 1))
    assert read_photo(encoded(Image.fromarray(ramp), "PNG", exif=exif)).size == (32, 64)


@pytest.mark.parametrize("most", [255, 65535])
def test_greys_kept_in_thirty_two_bits_keep_their_brightness(most):
    ramp = np.tile(np.linspace(0, most, 64).astype(np.int32), (32, 1))
    grey = np.asarray(read_photo(encoded(Image.fromarray(ramp), "TIFF")))[..., 0]
    np.testing.assert_array_equal(grey, ramp if most == 255 else ramp >> 8)


def test_deeper_than_sixteen_bits_is_refused():
    assert "8 or 16 bits" in refusal(read_photo, encoded(Image.fromarray(np.full((32, 32), 1e6, np.float32)), "TIFF"))


def test_transparency_is_laid_on_white():
    see_through = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert read_photo(encoded(see_through, "PNG")).getpixel((3, 3)) == (255, 255, 255)
    half = Image.new("RGBA", (32, 32), (0, 0, 0, 128))
    assert read_photo(encoded(half, "PNG")).getpixel((3, 3)) == (127, 127, 127)


def test_palette_photos_work_with_and_without_a_transparent_colour():
    flat = Image.new("P", (32, 32), 1)
    flat.putpalette([0, 0, 0, 10, 200, 30])
    assert read_photo(encoded(flat, "PNG")).getpixel((0, 0)) == (10, 200, 30)
    assert read_photo(encoded(flat, "PNG", transparency=1)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_a_photo_taken_sideways_is_turned_upright(kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    photo = read_photo(encoded(gradient(), kind, exif=exif))
    assert photo.size == (32, 48)
    assert mean_error(photo, gradient().transpose(Image.Transpose.ROTATE_270)) < 8


def test_a_broken_exif_does_not_cost_the_photo():
    assert read_photo(encoded(gradient(), "JPEG", exif=b"Exif\0\0broken")).size == (48, 32)


def test_colours_of_a_profile_are_turned_into_srgb():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert mean_error(read_photo(encoded(gradient(), "PNG", icc_profile=profile)), gradient()) < 1
    swapped = profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")  # its red is our blue
    red, _, blue = read_photo(encoded(Image.new("RGB", (32, 32), "red"), "PNG", icc_profile=swapped)).getpixel((0, 0))
    assert red < 10 and blue > 245


def grey_profile(gamma):
    """A profile of greys with one curve, as monitors and printers have them."""
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D),
        b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)),
    }
    table, data = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(tag))
        data += tag + bytes(-len(tag) % 4)
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(data), b"lcms", 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D) + bytes(48)
    return head + table + data


@pytest.mark.parametrize("mode, kind", [("L", "JPEG"), ("L", "PNG"), ("L", "TIFF"), ("LA", "PNG")])
@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_a_grey_photo_is_seen_through_its_own_profile(mode, kind, gamma):
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (32, 1))).convert(mode)
    options = {"quality": 100} if kind == "JPEG" else {}
    read = np.asarray(read_photo(encoded(ramp, kind, icc_profile=grey_profile(gamma), **options))).astype(float)
    linear = (np.arange(256) / 255) ** gamma
    srgb = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(read - srgb[:, None]).mean() < 1 and np.abs(read - srgb[:, None]).max() < 10  # the darkest of a linear curve


def test_colours_are_turned_into_srgb_before_they_are_laid_on_white():
    dark = Image.new("LA", (32, 32), (64, 128))
    alone = read_photo(encoded(Image.new("L", (32, 32), 64), "PNG", icc_profile=grey_profile(1.0))).getpixel((0, 0))[0]
    laid = read_photo(encoded(dark, "PNG", icc_profile=grey_profile(1.0))).getpixel((0, 0))[0]
    assert alone == pytest.approx(137, abs=1) and laid == pytest.approx((128 * alone + 127 * 255) / 255, abs=1)


def test_a_broken_profile_does_not_cost_the_photo():
    assert mean_error(read_photo(encoded(gradient(), "PNG", icc_profile=b"not a profile")), gradient()) == 0


def header_only_png(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", b"")
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(20000, 20000), (9000, 9000), (16385, 20)])
def test_a_huge_photo_is_refused_by_its_header(size):
    message = refusal(read_photo, header_only_png(*size))
    assert "at most 64 megapixels" in message and f"got {size[0]} x {size[1]}; shrink it" in message


@pytest.mark.parametrize("size", [(1, 1), (10, 4000), (4000, 10)])
def test_a_tiny_or_thin_photo_is_refused(size):
    assert f"at least 16 x 16 pixels, got {size[0]} x {size[1]}" in refusal(read_photo, encoded(Image.new("RGB", size), "PNG"))
    assert "at least 16 x 16" in refusal(read_photo, Image.new("RGB", size))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_a_truncated_photo_is_refused(tmp_path, kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: len(data) // 2])
    assert refusal(read_photo, path).startswith("cut.jpg: wanted a whole photo")


@pytest.mark.parametrize("data", [b"hello", b'<svg xmlns="http://www.w3.org/2000/svg"/>', b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0" * 100])
def test_what_is_no_photo_is_refused(data):
    assert "another kind of file" in refusal(read_photo, data)


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic", b"heix\0\0\0\0"])
def test_a_heic_photo_is_refused_by_its_name(brands):
    data = struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(100)
    assert "got a HEIC photo; save it as JPEG" in refusal(read_photo, data)


@pytest.mark.parametrize("size", [(16, 2049), (5000, 39)])
def test_a_photo_narrower_than_any_panorama_is_refused(size):
    assert f"at most 128 times as long as wide, got {size[0]} x {size[1]}" in refusal(read_photo, Image.new("RGB", size))


@pytest.mark.parametrize("size", [(16, 2048), (8000, 63), (4096, 32)])
def test_the_narrowest_photos_come_back_out_of_a_clip(tmp_path, size):
    kept = read_photo(Image.new("RGB", size), 2048)
    assert max(kept.size) <= 2048 or min(kept.size) == 16
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*kept.size[::-1], 3), dtype=np.uint8))
    inside = embedded_photo(with_photo({}, read_photo(encoded(noise, "PNG"), 2048)))
    assert min(inside.size) >= 16 and inside.width / inside.height == pytest.approx(size[0] / size[1], rel=0.05)


@pytest.mark.parametrize("thing", [5, None, 2.5, ["photo.jpg"], {"path": "photo.jpg"}])
def test_what_is_neither_file_nor_picture_is_refused(thing):
    assert f"PIL image, got {type(thing).__name__}" in refusal(read_photo, thing)


def test_empty_missing_and_unreadable_files_are_refused(tmp_path):
    (tmp_path / "empty.jpg").touch()
    assert "empty file" in refusal(read_photo, tmp_path / "empty.jpg")
    assert "no bytes" in refusal(read_photo, b"")
    assert "no file there" in refusal(read_photo, tmp_path / "missing.jpg")
    assert "no file there" in refusal(read_photo, tmp_path)
    assert "no file there" in refusal(read_photo, "two\nlines\0.jpg")
    assert "cannot be read (File name too long)" in refusal(read_photo, "x" * 300)


def test_fit_photo_takes_the_centre_square_and_leaves_a_fitting_photo_alone():
    photo = gradient(96, 64)
    np.testing.assert_array_equal(fit_photo(photo, 64), np.asarray(photo)[:, 16:80])
    fitted = fit_photo(photo, 32)
    assert fitted.shape == (32, 32, 3) and fitted.dtype == np.uint8
    np.testing.assert_array_equal(fit_photo(Image.fromarray(fitted), 32), fitted)
    assert fit_photo(gradient(16, 200), 40).shape == (40, 40, 3)
    assert fit_photo(photo, 40, 64).shape == (40, 64, 3)
    np.testing.assert_array_equal(fit_photo(photo, 16, 32, (0.25, 0.5, 1 / 3, 0.25)), np.asarray(photo)[32:48, 24:56])
    assert "read_photo" in refusal(fit_photo, Image.new("L", (32, 32)), 16)


USUAL_SIZES = [
    (910, 512),
    (512, 910),
    (1600, 900),
    (1366, 768),
    (4032, 3024),
    (3024, 4032),
    (1179, 2556),
    (799, 533),
    (1001, 1501),
    (17, 2000),
]
SHAPES = [(192, 192), (224, 176), (176, 224), (256, 144), (144, 256), (160, 224), (352, 192)]  # of frames, for each aspect


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", USUAL_SIZES)
def test_a_photo_of_any_size_fits_any_aspect(size, shape):
    photo = gradient(*size)
    assert fit_photo(photo, *shape).shape == (*shape, 3)
    assert 0 not in shown_part(photo, *shape).size


def test_the_part_shown_lies_in_the_photo_and_has_the_shape_asked_for():
    rng = np.random.default_rng(0)
    for width, height, across, down in rng.integers(16, 4000, (20_000, 4)).tolist():
        left, top = rng.uniform(0, 0.99, 2).tolist()
        box = left, top, rng.uniform(0.01, 1 - left), rng.uniform(0.01, 1 - top)
        for part in (None, box, (left, top, 1 - left, 1 - top)):
            x, y, right, bottom = fitted_part((width, height), down, across, part)
            assert 0 <= x < right <= width and 0 <= y < bottom <= height
            assert (right - x) / (bottom - y) == pytest.approx(across / down, rel=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_settings_come_back_out_of_the_file(tmp_path, clip, suffix):
    path = write_clip(clip, tmp_path / f"clip{suffix}")
    assert read_metadata(path) == MADE_WITH
    longest = {"prompt": "\U0001f600" * 10_000, "negative_prompt": "\U0001f600" * 10_000}
    assert read_metadata(write_clip(Clip(drift(2), 8, longest), path)) == longest


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_clip_without_settings_has_none(tmp_path, suffix):
    assert read_metadata(write_clip(Clip(drift(2), 8), tmp_path / f"clip{suffix}")) == {}


def test_an_mp4_keeps_frames_rate_and_length(tmp_path):
    frames = drift(9, 128, 128)
    read = read_clip(write_clip(Clip(frames, 25 / 3), tmp_path / "clip.mp4"))
    assert read.frames.shape == frames.shape and read.fps == pytest.approx(25 / 3)
    assert mean_error(read.frames, frames) < 3
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(9 / (25 / 3), abs=0.01)


def test_an_mp4_is_one_that_browsers_play(tmp_path, clip):
    path = write_clip(clip, tmp_path / "clip.mp4")
    with av.open(str(path)) as container:
        coder = container.streams.video[0].codec_context
        assert (coder.name, coder.pix_fmt, coder.colorspace) == ("h264", "yuv420p", 1)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # playing starts before the file is there


def test_an_odd_side_is_padded_with_its_last_row(tmp_path):
    frames = drift(3, 33, 47)
    read = read_clip(write_clip(Clip(frames, 8), tmp_path / "odd.mp4")).frames
    assert read.shape == (3, 34, 48, 3)
    assert mean_error(read[:, :33, :47], frames) < 4


def test_colours_survive_an_mp4(tmp_path):
    for colour in [(255, 0, 0), (0, 200, 0), (20, 40, 250), (255, 255, 255), (0, 0, 0), (200, 120, 90)]:
        frames = np.full((2, 32, 32, 3), colour, np.uint8)
        assert mean_error(read_clip(write_clip(Clip(frames, 8), tmp_path / "c.mp4")).frames, frames) < 2.5


def test_a_gif_and_a_webp_move_loop_and_keep_time(tmp_path, clip):
    for suffix, most in ((".gif", 8), (".webp", 4)):
        with Image.open(write_clip(clip, tmp_path / f"clip{suffix}")) as image:
            assert image.n_frames == 8 and image.info["loop"] == 0
            shown = 0
            for index in range(8):
                image.seek(index)
                assert mean_error(image.convert("RGB"), clip.frames[index]) < most
                shown += image.info["duration"]
        assert shown == 1000


def test_a_webp_holds_few_frames_at_a_time(tmp_path, clip):
    given, most = [], 0

    class Lazy(Sequence):
        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> np.ndarray:
            nonlocal most
            frame = clip.frames[index % 8].copy()
            given.append(weakref.ref(frame))
            most = max(most, sum(one() is not None for one in given))
            return frame

    with Image.open(write_frames(Lazy(), 20, tmp_path / "clip.webp")) as image:
        assert image.n_frames == 40
    assert most <= 3


def test_a_fast_gif_stays_at_what_browsers_can_show(tmp_path):
    with Image.open(write_clip(Clip(drift(4), 60), tmp_path / "fast.gif")) as image:
        assert image.info["duration"] == 20


def test_an_output_that_cannot_be_written_is_refused_ahead(tmp_path, clip):
    (tmp_path / "taken.mp4").mkdir()
    (tmp_path / "file").touch()
    for path, why in [
        (tmp_path / "clip.avi", "choose .mp4, .gif, .webp"),
        (tmp_path / "clip", "choose .mp4"),
        (tmp_path / "nowhere" / "clip.mp4", "no folder"),
        (tmp_path / "file" / "clip.mp4", "no folder"),
        (tmp_path / "taken.mp4", "a folder has that name"),
        (tmp_path / ("x" * 300 + ".mp4"), "File name too long"),
    ]:
        assert refusal(write_clip, clip, path).startswith("cannot write") and why in refusal(check_writable, path)
    assert refusal(write_clip, clip, "/proc/clip.mp4").startswith("cannot write")


def test_a_name_as_long_as_the_disk_takes_is_written(tmp_path, clip):
    for suffix in SUFFIXES:
        longest = tmp_path / ("x" * (255 - len(suffix)) + suffix)
        assert check_writable(longest) == longest and write_clip(clip, longest).is_file()
        assert "File name too long" in refusal(check_writable, longest.with_stem("x" * (256 - len(suffix))))


def test_a_link_is_followed_not_replaced(tmp_path, clip):
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "clip.mp4", tmp_path / "far" / "other.mp4"
    link.symlink_to(target)
    for _ in range(2):  # the target is not there yet, then it is
        write_clip(clip, link)
        assert link.is_symlink() and read_metadata(target) == MADE_WITH
    link.unlink()
    link.symlink_to(tmp_path / "nowhere" / "clip.mp4")
    assert "there is no folder" in refusal(check_writable, link)
    link.unlink()
    link.symlink_to("/dev/null")
    assert "is no file" in refusal(check_writable, link)


@pytest.mark.parametrize("colour", [0, 1, 200, 255])
@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_clip_that_holds_still_is_still_a_clip(tmp_path, suffix, colour):
    textured = np.stack([np.asarray(gradient(47, 33))] * 16)
    for frames in (np.full((16, 33, 47, 3), colour, np.uint8), textured):
        path = write_clip(Clip(frames, 8, MADE_WITH), tmp_path / f"still{suffix}")
        with Image.open(path) as image:
            assert image.is_animated and image.n_frames == 2 and image.info.get("loop") == 0
            shown = []
            for index in range(2):
                image.seek(index)
                image.load()
                shown.append((np.asarray(image.convert("RGB")), image.info["duration"]))
        assert sum(duration for _, duration in shown) == 2000
        assert np.array_equal(shown[0][0], shown[1][0]) and mean_error(shown[0][0], frames[0]) < 8
        assert read_metadata(path) == MADE_WITH
        assert len(read_clip(path).frames) >= 2 if suffix == ".gif" else True


def test_a_decoded_clip_is_as_bright_as_it_was(tmp_path):
    frames = np.stack([np.asarray(gradient(256, 256)) // 2 + 60] * 4)
    read = read_clip(write_clip(Clip(frames, 8), tmp_path / "clip.mp4")).frames
    assert np.abs((read.astype(float) - frames).mean(axis=(0, 1, 2))).max() < 0.3  # a plain conversion loses a level


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, clip):
    path = write_clip(clip, tmp_path / "clip.webp")
    before = path.read_bytes()
    too_wide = Clip(np.zeros((1, 16, 16400, 3), np.uint8), 8)  # WebP ends at 16,383
    assert "cannot write" in refusal(write_clip, too_wide, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_relative_name_that_looks_like_an_address_is_a_file(tmp_path, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_clip(write_clip(clip, "http:clip.mp4")).metadata == MADE_WITH


@pytest.mark.parametrize(
    "frames, fps, metadata",
    [
        (np.zeros((2, 8, 8, 3), np.float32), 8, {}),
        (np.zeros((8, 8, 3), np.uint8), 8, {}),
        (np.zeros((0, 8, 8, 3), np.uint8), 8, {}),
        (np.zeros((2, 8, 8, 3), np.uint8), 0, {}),
        (np.zeros((2, 8, 8, 3), np.uint8), float("nan"), {}),
        (np.zeros((2, 8, 8, 3), np.uint8), 8, {"list": [1]}),
        (np.zeros((2, 8, 8, 3), np.uint8), 8, {"motion": float("inf")}),
    ],
)
def test_a_clip_that_no_file_can_hold_is_refused(frames, fps, metadata):
    refusal(Clip, frames, fps, metadata)


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "made elsewhere",
        "[1, 2]",
        '{"a": {"b": 1}}',
        '{"a": NaN}',
        '{"a": 1e999}',
        "[" * 50_000,
        '{"a": "' + "x" * 600_000 + '"}',
        "1" * 5000,
    ],
)
def test_foreign_metadata_is_none_of_ours(tmp_path, comment):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.gif", comment=comment.encode())
    exif = Image.Exif()
    exif[0x010E] = comment
    Image.new("RGB", (32, 32)).save(tmp_path / "a.webp", exif=exif)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        container.metadata["comment"] = comment
        container.mux(container.add_stream("libx264", rate=8, width=32, height=32, pix_fmt="yuv420p").encode(av.VideoFrame(32, 32)))
        container.mux(container.streams.video[0].encode(None))
    assert [read_metadata(tmp_path / name) for name in ("a.gif", "a.webp", "a.mp4")] == [{}, {}, {}]


def test_broken_text_in_metadata_can_be_printed(tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.gif", comment=json.dumps({"prompt": "\ud83d"}).encode())
    assert read_metadata(tmp_path / "a.gif")["prompt"].encode() == b"?"
    Image.new("RGB", (32, 32)).save(tmp_path / "a.gif", comment=b'{"prompt": "\xff\xfe"}')
    assert read_metadata(tmp_path / "a.gif") == {}


def test_metadata_of_what_is_no_clip_is_an_error(tmp_path):
    (tmp_path / "text.mp4").write_text("hello")
    refusal(read_metadata, tmp_path / "text.mp4")
    refusal(read_metadata, tmp_path / "missing.mp4")


def numbered(tmp_path, fps, frames=20):
    """A clip whose brightness says which frame it is: 10 a frame."""
    levels = np.arange(frames, dtype=np.uint8) * 10 + 20
    return write_clip(Clip(np.broadcast_to(levels[:, None, None, None], (frames, 32, 32, 3)).copy(), fps), tmp_path / "numbered.mp4")


def frame_numbers(clip):
    return np.round((clip.frames.mean((1, 2, 3)) - 20) / 10).astype(int).tolist()


def test_resampling_takes_the_nearest_frame_and_keeps_the_length(tmp_path):
    path = numbered(tmp_path, fps=10)
    assert frame_numbers(read_clip(path)) == list(range(20))
    assert frame_numbers(read_clip(path, fps=5)) == list(range(0, 20, 2))
    assert frame_numbers(read_clip(path, fps=20))[::2] == list(range(20)) and len(read_clip(path, fps=20).frames) == 40
    eight = read_clip(path, fps=8, max_frames=6)
    assert eight.fps == 8 and frame_numbers(eight) == [0, 1, 2, 4, 5, 6]  # at 0, 1.25, 2.5, 3.75, 5, 6.25 tenths
    assert frame_numbers(read_clip(path, max_frames=3)) == [0, 1, 2]


def test_a_clip_filmed_sideways_is_turned_upright(tmp_path):
    frames = drift(3, 32, 64)
    path = write_clip(Clip(frames, 8), tmp_path / "phone.mp4")
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    struct.pack_into(">9i", data, matrix, 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # as phones store it: turn clockwise to show
    path.write_bytes(data)
    read = read_clip(path).frames
    assert read.shape == (3, 64, 32, 3)
    assert mean_error(read, np.rot90(frames, -1, axes=(1, 2))) < 4


def test_what_holds_no_pictures_is_refused(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    assert "without pictures" in refusal(read_clip, tmp_path / "sound.mp4")
    (tmp_path / "empty.mp4").touch()
    assert "empty file" in refusal(read_clip, tmp_path / "empty.mp4")
    path = numbered(tmp_path, fps=8)
    path.write_bytes(path.read_bytes()[:400])
    assert refusal(read_clip, path).startswith("numbered.mp4: wanted a video, got a file")
    assert "frames per second" in refusal(read_clip, path, fps=float("nan"))


def test_a_playlist_is_not_followed(tmp_path):
    numbered(tmp_path, fps=8)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nnumbered.mp4\n#EXT-X-ENDLIST\n")
    assert "does not decode" in refusal(read_clip, tmp_path / "list.mp4")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile numbered.mp4\n")
    assert "does not decode" in refusal(read_clip, tmp_path / "concat.mp4")


@pytest.mark.parametrize("box", [None, (0.1, 0.2, 0.5, 0.4), (0.9, 0.9, 0.1, 0.1)])
@pytest.mark.parametrize("shape", [(32, 32), (18, 32), (32, 24)])
def test_the_part_that_is_shown_is_what_the_frame_is_made_of(box, shape):
    y, x = np.mgrid[:200, :300]
    photo = Image.fromarray(np.stack([x % 256, y, (x + y) // 2], axis=2).astype(np.uint8))
    part = shown_part(photo, *shape, box)
    assert part.width <= 300 and part.height <= 200
    assert part.width / part.height == pytest.approx(shape[1] / shape[0], rel=0.1)
    assert np.abs(fit_photo(part, *shape).astype(int) - fit_photo(photo, *shape, box)).mean() < 2
