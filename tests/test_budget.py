"""What reading may take: turns, budgets, and files that are far larger than they look."""

import struct
import subprocess
import sys
import threading
import time
import weakref
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from trip.data.clips import ClipFile, read_window
from trip.data.intake import STRIP_FRAMES, STRIP_HEIGHT, STRIP_WIDTH, crop_bars, inspect_clip
from trip.media import Budget, MediaError, budget, clip, open_video, photo, read_clip, read_photo, video

ROOT = Path(__file__).parents[1]


def refusal(act, *arguments, **more) -> str:
    with pytest.raises(ValueError) as caught:
        act(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def film(path: Path, width: int, height: int, num_frames: int, codec: str = "libx264", rate: int = 30) -> Path:
    """A texture that moves to the left."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(height // 8, 0).repeat(width // 8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"preset": "ultrafast"} if codec == "libx264" else {})
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(texture, -5 * index, axis=1)), format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# turns


def test_readers_together_never_hold_more_than_there_is():
    semaphore, held, most, changing = budget.WeightedSemaphore(10), [0], [0], threading.Lock()

    def read(amount: int) -> None:
        with semaphore.acquire("photo", amount):
            with changing:
                held[0] += min(amount, 10)
                most[0] = max(most[0], held[0])
            time.sleep(0.005)
            with changing:
                held[0] -= min(amount, 10)

    threads = [threading.Thread(target=read, args=(amount,)) for amount in (3, 4, 10, 25, 1, 6) * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert 6 <= most[0] <= 10


def test_who_gets_no_turn_is_told_in_one_line_and_takes_nothing(monkeypatch):
    monkeypatch.setattr(budget, "WAIT_SECONDS", 0.05)
    semaphore = budget.WeightedSemaphore(2)

    def read(name: str) -> None:
        with semaphore.acquire(name, 2):
            pass

    with semaphore.acquire("first", 2):
        assert refusal(read, "second") == "second: too much is being read just now; try again in a minute"
    read("third")


def test_a_reader_that_fails_gives_its_turn_back(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "WAIT_SECONDS", 0.5)
    (tmp_path / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 100)
    (tmp_path / "half.mp4").write_bytes(film(tmp_path / "whole.mp4", 64, 64, 5).read_bytes()[:600])
    for _ in range(2 * budget.PHOTOS_AT_ONCE):
        refusal(read_photo, tmp_path / "half.png")
        refusal(read_clip, tmp_path / "half.mp4")
    assert budget.DECODING_MEMORY._held == budget.OPEN_PHOTOS._held == 0


_CROWD = """
import sys, threading, time
from trip.media import read_photo
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**30
top, base, threads = [0.0], rss(), [threading.Thread(target=read_photo, args=(sys.argv[1], 2048)) for _ in range(4)]
for thread in threads: thread.start()
while any(thread.is_alive() for thread in threads):
    top[0] = max(top[0], rss())
    time.sleep(0.005)
print(top[0] - base)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is looked up in /proc")
def test_four_photos_of_64_megapixels_at_once_take_what_one_takes(tmp_path):
    Image.new("RGBA", (8000, 8000)).save(tmp_path / "large.webp", lossless=True)
    assert (tmp_path / "large.webp").stat().st_size < 5000
    told = subprocess.run([sys.executable, "-c", _CROWD, tmp_path / "large.webp"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert 1.0 < float(told.stdout) < 2.3, told.stderr[-1000:]  # GiB; one takes 1.43


def test_a_large_photo_is_shrunk_to_what_is_kept_and_a_small_one_is_not(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 600, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    wanted = Image.fromarray(pixels)
    wanted.thumbnail((200, 200))
    assert np.array_equal(read_photo(tmp_path / "photo.png", 200), wanted)
    assert np.array_equal(read_photo(tmp_path / "photo.png", 600), pixels)


# budgets


def test_a_budget_counts_the_frames_of_all_who_share_it(tmp_path):
    path, shared = film(tmp_path / "film.mp4", 64, 64, 10), Budget(pixels=64 * 64 * 15)
    for count in (10, 5):
        with open_video(path, shared) as opened:
            seen = []
            try:
                seen.extend(frame for _, frame in opened.timed_frames())
            except MediaError as error:
                assert "film.mp4: has more pixels in all its frames than are read" in str(error)
                seen = [None] * 5
        assert len(seen) == count
    assert "than are read" in inspect_clip(path, min_frames=2, budget=shared).verdict


def test_a_budget_ends_with_its_seconds(tmp_path):
    path, short = film(tmp_path / "film.mp4", 64, 64, 10), Budget(seconds=0.0)
    inspection = inspect_clip(path, min_frames=2, budget=short)
    assert "could not be read within 0 s" in inspection.verdict and not inspection.usable


def test_a_clip_that_would_not_fit_into_memory_is_refused_before_it_is_there(tmp_path, monkeypatch):
    path = film(tmp_path / "film.mp4", 64, 64, 10)
    monkeypatch.setattr(clip, "MAX_CLIP_BYTES", 5 * 64 * 64 * 3)
    assert "cut the video" in refusal(read_clip, path)
    assert len(read_clip(path, max_frames=5).frames) == 5


@pytest.mark.parametrize("suffix, codec", [("avi", "mjpeg"), ("mkv", "mjpeg"), ("mp4", "mjpeg"), ("mkv", "ffv1")])
def test_frames_larger_than_8k_are_refused_whatever_holds_them(tmp_path, suffix, codec):
    path = film(tmp_path / f"huge.{suffix}", 8192, 4608, 1, codec)
    assert "at most 36 megapixels" in refusal(read_clip, path)
    assert "megapixels" in inspect_clip(path, min_frames=1).verdict


def patched(path: Path, change) -> Path:
    """A copy of a file with its bytes changed."""
    path.with_stem("patched").write_bytes(change(path.read_bytes()))
    return path.with_stem("patched")


@pytest.mark.parametrize("codec", ["libx264", "mjpeg", "ffv1"])
def test_a_header_that_says_less_than_its_frames_have_is_bounded_all_the_same(tmp_path, codec):
    """Matroska's PixelWidth (B0) and PixelHeight (BA) say 16 x 16."""

    def lie(data: bytes) -> bytes:
        for element, value in ((b"\xb0", 8192), (b"\xba", 4608)):
            at = data.index(element + b"\x82" + struct.pack(">H", value))
            data = data[: at + 2] + struct.pack(">H", 16) + data[at + 4 :]
        return data

    path = patched(film(tmp_path / "large.mkv", 8192, 4608, 1, codec), lie)
    assert refusal(read_clip, path).startswith("patched.mkv: ")
    assert inspect_clip(path, min_frames=1).faults


def test_a_header_that_says_fewer_frames_than_there_are_costs_no_memory_and_keeps_the_strip_small(tmp_path):
    """Matroska's Duration (44 89) says a tenth of a second."""

    def lie(data: bytes) -> bytes:
        at = data.index(b"\x44\x89\x88")
        return data[: at + 3] + struct.pack(">d", 100.0) + data[at + 11 :]

    honest = film(tmp_path / "long.mkv", 64, 64, 120)
    path = patched(honest, lie)
    with open_video(path) as opened:
        assert opened.num_frames <= 4
    inspections = [inspect_clip(one, min_frames=2) for one in (honest, path)]
    assert [inspection.num_frames for inspection in inspections] == [120, 120]
    assert [inspection.faults for inspection in inspections] == [(), ()]
    assert len(inspections[1].strip) < 2 * len(inspections[0].strip)


def test_a_clip_as_wide_as_can_be_has_a_strip_of_bounded_width(tmp_path):
    inspection = inspect_clip(film(tmp_path / "wide.mkv", 8192, 16, 8, "mjpeg"), min_frames=2)
    strip = read_photo(inspection.strip)
    assert strip.height == STRIP_HEIGHT and strip.width <= STRIP_FRAMES * STRIP_WIDTH


class Watched:
    """Converts frames, and knows how many of them were in memory at once."""

    def __init__(self, monkeypatch):
        self.pictures, self.most, self.upright = [], 0, video.Video.upright
        monkeypatch.setattr(video.Video, "upright", lambda opened, frame: self.noted(opened, frame))

    def noted(self, opened: video.Video, frame: av.VideoFrame) -> np.ndarray:
        pixels = self.upright(opened, frame)
        self.pictures.append(weakref.ref(pixels))
        self.most = max(self.most, sum(picture() is not None for picture in self.pictures))
        return pixels


def test_a_window_of_large_frames_is_cut_frame_by_frame(tmp_path, monkeypatch):
    path, watched = film(tmp_path / "large.mp4", 1920, 1080, 6), Watched(monkeypatch)
    frames, times = read_window(ClipFile(path), num_frames=6, size=64, rng=None)
    assert frames.shape == (6, 64, 64, 3) and times[0] == 0
    assert len(watched.pictures) == 6 and watched.most <= 2
    first = read_clip(path, max_frames=1).frames[0]
    assert np.array_equal(frames[0], cv2.resize(first[:, 420:1500], (64, 64), interpolation=cv2.INTER_AREA))


def test_a_wide_clip_is_mended_frame_by_frame_to_a_bounded_size(tmp_path, monkeypatch):
    path = film(tmp_path / "wide.mp4", 4096, 64, 40)
    inspection, watched = inspect_clip(path, min_frames=2), Watched(monkeypatch)
    (mended,) = crop_bars(path, inspection)
    assert len(watched.pictures) == 40 and watched.most <= 3
    with open_video(mended) as opened:
        assert opened.size == (2048, 32) and opened.fps == pytest.approx(30)
        assert sum(1 for _ in opened.timed_frames()) == 40


def test_a_photo_at_the_limit_of_pixels_weighs_less_than_all_who_decode_may_hold():
    assert photo.DECODING_PIXEL_BYTES * 64_000_000 <= budget.DECODING_BYTES
    assert video.DECODING_PIXEL_BYTES * video.MAX_FRAME_PIXELS <= budget.DECODING_BYTES
