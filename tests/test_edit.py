"""Clips made of clips: every frame where it belongs, and once."""

import io
import json
import resource
import zipfile

import numpy as np
import pytest
from PIL import Image

from trip.evaluation.similarity import frame_psnr
from trip.media import Clip, MediaError, mp4, open_video, read_clip, read_metadata, write_clip, write_continuation
from trip.media.edit import boomerang, check_joins, joined_metadata, loop_gap, parts, write_png_zip

MADE_WITH = {"prompt": "the camera pans left, \u96f2", "seed": 7, "negative_prompt": None}


def numbered(*levels: int, fps: float = 8, metadata: dict | None = None, size: tuple[int, int] = (16, 24)) -> Clip:
    """A clip of grey frames whose brightness says which they are."""
    frames = np.array(levels, np.uint8)[:, None, None, None] * np.ones((*size, 3), np.uint8)
    return Clip(frames, fps, metadata or {})


def noisy(num_frames: int = 12) -> Clip:
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, 32, 32, 3), dtype=np.uint8)
    return Clip(frames, 25 / 3, MADE_WITH)


def patched(num_frames: int = 12) -> Clip:
    """Patches of random greys, large enough for H.264 to keep."""
    greys = np.random.default_rng(0).integers(0, 256, (num_frames, 4, 4, 1), dtype=np.uint8)
    return Clip(greys.repeat(16, axis=1).repeat(16, axis=2).repeat(3, axis=3), 25 / 3, MADE_WITH)


def levels(clip: Clip) -> list[int]:
    return clip.frames[:, 0, 0, 0].tolist()


def refusal(call, *arguments) -> str:
    with pytest.raises(MediaError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# continuations


def test_metadata_keeps_every_part_in_order(tmp_path):
    one, two, three = ({"seed": seed, "prompt": f"part {seed}"} for seed in (1, 2, 3))
    both = joined_metadata(one, two)
    assert parts(both) == [one, two] and parts(one) == [one]
    assert parts(joined_metadata(both, three)) == parts(joined_metadata(one, joined_metadata(two, three))) == [one, two, three]
    stored = read_clip(write_clip(numbered(1, 2, metadata=both), tmp_path / "joined.mp4"))
    assert parts(stored.metadata) == [one, two]


@pytest.mark.parametrize("broken", ["[", "{}", "[1]", 7, "[" * 100_000])
def test_a_broken_list_of_parts_is_refused(broken):
    assert "broken list" in refusal(parts, {"parts": broken})


def test_clips_that_do_not_fit_are_refused_with_both_values(tmp_path):
    path = write_clip(numbered(1, 2, fps=25 / 3), tmp_path / "clip.mp4")
    with open_video(path) as video:
        check_joins(video, (16, 24), 8.3333)  # a rate that the file rounded is the same rate
        assert "24 x 16 and 16 x 16 pixels" in refusal(check_joins, video, (16, 16), 25 / 3)
        assert "got 8.33333 and 4 frames per second" in refusal(check_joins, video, (16, 24), 4)


def test_a_file_goes_on_again_and_again_and_loses_nothing(tmp_path):
    clip = patched()
    path = write_clip(clip, tmp_path / "clip.mp4")
    first = read_clip(path)
    for count in (1, 2, 3):
        metadata = joined_metadata(read_metadata(path), MADE_WITH)
        write_continuation(path, patched().frames[1:], clip.fps, metadata, path)
        stored = read_clip(path)
        assert len(stored.frames) == 12 + 11 * count and stored.fps == pytest.approx(clip.fps, rel=1e-3)
        assert np.array_equal(stored.frames[:12], first.frames)
        assert frame_psnr(stored.frames[-11:], patched().frames[1:]).min() > 30
        assert parts(stored.metadata) == [MADE_WITH] * (count + 1)


def test_a_file_that_was_coded_otherwise_is_coded_again(tmp_path, monkeypatch):
    with monkeypatch.context() as today:
        today.setitem(mp4.CODING, "profile", "baseline")
        path = write_clip(patched(), tmp_path / "clip.mp4")
    write_continuation(path, patched().frames[1:], patched().fps, MADE_WITH, tmp_path / "longer.mp4")
    stored = read_clip(tmp_path / "longer.mp4")
    assert len(stored.frames) == 23 and not np.array_equal(stored.frames[:12], read_clip(path).frames)
    assert frame_psnr(stored.frames[:12], patched().frames).min() > 25


# boomerang and loop


@pytest.mark.parametrize("there, both_ways", [([1], [1]), ([1, 2], [1, 2]), ([1, 2, 3], [1, 2, 3, 2]), ([1, 2, 3, 4], [1, 2, 3, 4, 3, 2])])
def test_boomerang_goes_there_and_back(there, both_ways):
    clip = boomerang(numbered(*there, metadata=MADE_WITH))
    assert levels(clip) == both_ways
    assert clip.metadata == {**MADE_WITH, "played": "there and back"} and clip.fps == 8


def test_a_boomerang_loops_as_smoothly_as_it_plays():
    assert loop_gap(boomerang(numbered(10, 20, 30, 40)).frames) == pytest.approx(1)


def test_loop_gap_is_in_steps_of_the_clip():
    assert loop_gap(numbered(10, 20, 30, 40, 50, 60).frames) == pytest.approx(5)
    assert loop_gap(numbered(10, 20, 30, 25).frames) == pytest.approx(1.5)  # neighbours are 10, 10 and 5 apart
    assert loop_gap(numbered(0, 255).frames) == pytest.approx(1)


def test_loop_gap_of_what_stands_still():
    assert loop_gap(numbered(9, 9, 9).frames) == 1
    assert loop_gap(numbered(9, 9, 9, 50).frames) == np.inf
    assert "at least 2 frames" in refusal(loop_gap, numbered(1).frames)


# PNG frames


def test_a_zip_holds_every_frame_exactly_and_the_settings(tmp_path):
    clip = noisy()
    path = write_png_zip(clip, str(tmp_path / "frames.zip"))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [*(f"frame_{index:04d}.png" for index in range(12)), "settings.json"]
        frames = [np.asarray(Image.open(io.BytesIO(archive.read(f"frame_{index:04d}.png")))) for index in range(12)]
        assert json.loads(archive.read("settings.json")) == {**MADE_WITH, "fps": 25 / 3}
    assert np.array_equal(frames, clip.frames)


def test_a_zip_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "taken.zip").mkdir()
    for name, why in [("clip.png", "choose .zip"), ("nowhere/clip.zip", "no folder"), ("taken.zip", "a folder has that name")]:
        assert why in refusal(write_png_zip, noisy(), tmp_path / name)


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    path = write_png_zip(numbered(1), tmp_path / "frames.zip")
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # a file cannot grow beyond this
    try:
        message = refusal(write_png_zip, noisy(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.startswith("cannot write") and "File too large" in message
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
