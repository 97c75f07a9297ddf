"""Videos as cameras, browsers and old programs write them: counted, timed, turned and stretched as they are meant to be seen."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from trip.data.clips import ClipFile, find_clips, read_window
from trip.data.intake import inspect_clip
from trip.media import open_video, read_clip

NUM_FRAMES, RATE = 24, 12


def numbered(path, *, codec="libx264", live=False, options=None, pixel_aspect=None, height=32, width=48):
    """Frames that say by their grey which they are, 10 a frame; the middle of the upper left quarter is always white."""
    with av.open(str(path), "w", options={"live": "1"} if live else {}) as container:
        stream = container.add_stream(codec, rate=RATE, options=options or {})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        for number in range(NUM_FRAMES):
            pixels = np.full((height, width, 3), 10 * number, np.uint8)
            pixels[: height // 2, : width // 2] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def numbers(frames):
    """Which frames these are, by their lower right quarter."""
    height, width = frames.shape[1:3]
    return np.round(frames[:, height // 2 + 2 :, width // 2 + 2 :].mean((1, 2, 3)) / 10).astype(int).tolist()


def test_a_browsers_recording_is_counted(tmp_path):
    path = numbered(tmp_path / "live.webm", codec="libvpx", live=True)
    with av.open(str(path)) as container:
        assert not container.duration and not container.streams.video[0].duration and not container.streams.video[0].frames
    with open_video(path) as video:
        assert video.num_frames == NUM_FRAMES and video.fps == pytest.approx(RATE, rel=0.01)
    (clip,) = find_clips(tmp_path, held_out=None, min_frames=NUM_FRAMES)
    for seed in range(4):
        frames, times = read_window(clip, num_frames=8, size=16, rng=np.random.default_rng(seed))
        assert len(frames) == 8 and (np.diff(times) > 0).all()
    assert inspect_clip(path, min_frames=NUM_FRAMES).usable


def test_an_avi_with_frames_that_refer_to_later_ones_runs_forwards(tmp_path):
    path = numbered(tmp_path / "old.avi", options={"bf": "3", "g": "8", "x264-params": "b-adapt=0"})
    with open_video(path) as video:
        timed = [(time, frame.pict_type) for time, frame in video.timed_frames()]
    np.testing.assert_allclose([time for time, _ in timed], np.arange(NUM_FRAMES) / RATE, atol=1e-6)
    assert numbers(read_clip(path).frames) == list(range(NUM_FRAMES))
    for start in (0.5, 0.99, 1.5):
        with open_video(path) as video:
            time, frame = next(video.timed_frames(start))
            assert time >= start - 1e-6 and numbers(video.upright(frame)[None]) == [round(time * RATE)]


@pytest.mark.parametrize("pixel_aspect, shown", [("2/1", (32, 96)), ("1/2", (64, 48)), ("4/3", (32, 64)), ("1/1", (32, 48))])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_pixels_that_are_no_squares_are_made_squares(tmp_path, suffix, pixel_aspect, shown):
    path = numbered(tmp_path / f"wide{suffix}", pixel_aspect=Fraction(pixel_aspect))
    assert read_clip(path).frames.shape[1:3] == shown
    inspection = inspect_clip(path, min_frames=2)
    assert (inspection.height, inspection.width) == shown
    frames, _ = read_window(ClipFile(path), num_frames=4, size=16, rng=None)
    assert frames.shape == (4, 16, 16, 3)


def test_pixels_wider_than_any_camera_has_are_taken_as_squares(tmp_path):
    assert read_clip(numbered(tmp_path / "wide.mp4", pixel_aspect=Fraction(200))).frames.shape[1:3] == (32, 48)


@pytest.mark.parametrize(
    "matrix, seen",
    [
        ((1, 0, 0, 1), lambda pixels: pixels),
        ((0, 1, -1, 0), lambda pixels: np.rot90(pixels, -1)),
        ((-1, 0, 0, -1), lambda pixels: np.rot90(pixels, 2)),
        ((0, -1, 1, 0), lambda pixels: np.rot90(pixels)),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda pixels: pixels.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1)),
    ],
)
def test_a_clip_is_turned_and_mirrored_as_its_matrix_says(tmp_path, matrix, seen):
    path = numbered(tmp_path / "phone.mp4")
    plain = read_clip(path, max_frames=2).frames
    content = path.read_bytes()
    at = content.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), content.index(b"tkhd"))
    a, b, c, d = (value << 16 for value in matrix)
    path.write_bytes(content[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[at + 36 :])
    for before, after in zip(plain, read_clip(path, max_frames=2).frames, strict=True):
        np.testing.assert_array_equal(after, seen(before))
