"""Folders of clips: captions are found, sources are never split, broken files cost nothing but themselves."""

import json

import numpy as np
import pytest

from trip.data.clips import ClipFile, draw_window, find_clips, read_window
from trip.data.photos import is_held_out
from trip.media import Clip, MediaError, write_clip


def numbered(path, fps=8.0, frames=24, height=32, width=48):
    """A clip whose brightness says which frame it is: 8 a frame."""
    levels = np.arange(frames, dtype=np.uint8) * 8 + 20
    return write_clip(Clip(np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)).copy(), fps), path)


def frame_numbers(frames):
    return np.round((frames.mean((1, 2, 3)) - 20) / 8).astype(int)


def name_of(held_out):
    return next(f"clip{i}.mp4" for i in range(100) if is_held_out(f"clip{i}.mp4") == held_out)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clips").mkdir()
    return tmp_path / "clips"


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("place", ["in", "above"])
@pytest.mark.parametrize("list_name", ["clips.csv", "metadata.csv", "metadata.jsonl"])
def test_captions_come_from_a_list_in_the_folder_or_above_it(folder, list_name, place):
    name = name_of(held_out=False)
    numbered(folder / name)
    where = (folder if place == "in" else folder.parent) / list_name
    if list_name.endswith("jsonl"):
        where.write_text(json.dumps({"file_name": name, "text": "a grey sky, brightening"}) + "\n\n")
    else:
        where.write_text(f'\ufefffile,caption\n{name},"a grey sky, brightening"\n', encoding="utf-8")
    assert [clip.caption for clip in find_clips(folder, held_out=False)] == ["a grey sky, brightening"]


def test_a_text_file_beside_a_clip_is_its_caption(folder):
    name = name_of(held_out=False)
    numbered(folder / name)
    (folder / name).with_suffix(".txt").write_text("a grey sky\n")
    assert find_clips(folder, held_out=False) == [ClipFile((folder / name).resolve(), "a grey sky", "")]


def test_a_clip_in_a_subfolder_is_listed_by_its_path(folder):
    (folder / "deep").mkdir()
    name = name_of(held_out=False)
    numbered(folder / "deep" / name)
    (folder / "clips.csv").write_text(f"file,caption\ndeep/{name},right\n")
    assert find_clips(folder, held_out=False)[0].caption == "right"


def test_clips_of_one_source_stay_on_one_side(folder):
    for i in range(6):
        numbered(folder / f"clip{i}.mp4", frames=2)
    for source in ("one", "two", "three"):
        rows = "".join(f"clip{i}.mp4,x,{source}.mp4\n" for i in range(6))
        (folder / "clips.csv").write_text("file,caption,source_path\n" + rows)
        assert len(find_clips(folder, held_out=is_held_out(f"{source}.mp4"))) == 6
        with pytest.raises(ValueError, match="found none; add clips"):
            find_clips(folder, held_out=not is_held_out(f"{source}.mp4"))


def test_broken_and_short_clips_are_counted_named_and_left_out(folder, caplog):
    names = [f"clip{i}.mp4" for i in range(30) if not is_held_out(f"clip{i}.mp4")][:4]
    numbered(folder / names[0])
    (folder / names[1]).touch()
    (folder / names[2]).write_bytes((folder / names[0]).read_bytes()[:700])
    numbered(folder / names[3], frames=4)
    clips = find_clips(folder, held_out=False, min_frames=8)
    assert [clip.path.name for clip in clips] == [names[0]]
    assert "3 of 4 clips left out" in caplog.text and all(name in caplog.text for name in names[1:])


@pytest.mark.parametrize(
    "name, text, named",
    [
        ("clips.csv", "name,words\na.mp4,x\n", "clips.csv row 2"),
        ("metadata.jsonl", "hello\n", "metadata.jsonl line 1"),
        ("metadata.jsonl", "[1]\n", "metadata.jsonl line 1"),
    ],
)
def test_a_list_that_cannot_be_understood_is_named_with_its_line(folder, name, text, named):
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=named) as caught:
        find_clips(folder, held_out=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, text, left_out",
    [
        ("metadata.jsonl", '{"file": "NAME", "text": "right\u2028words"}\nhello\n[1]\n', "metadata.jsonl line 2"),
        ("clips.csv", "\ufefffile;caption;source_path\n\nNAME;right words\nNAME;a;b;c\n;;\n", "clips.csv row 4"),
    ],
)
def test_a_bad_row_costs_nothing_but_itself(folder, caplog, name, text, left_out):
    numbered(folder / name_of(held_out=False))
    (folder / name).write_text(text.replace("NAME", name_of(held_out=False)))
    assert [clip.caption for clip in find_clips(folder, held_out=False)] == ["right words"]
    assert left_out in caplog.text


def test_half_a_surrogate_pair_does_not_come_in_by_a_table(folder):
    numbered(folder / name_of(held_out=False))
    (folder / "metadata.jsonl").write_text(json.dumps({"file": name_of(held_out=False), "text": "it moves \ud83d"}))
    assert find_clips(folder, held_out=False)[0].caption == "it moves ?"


def test_a_row_that_names_several_clips_or_none_is_told(folder, caplog):
    for place in ("a", "b"):
        (folder / place).mkdir()
        numbered(folder / place / "x.mp4")
    (folder / "clips.csv").write_text("file,caption\nx.mp4,which\nz.mp4,none\n")
    assert [clip.caption for clip in find_clips(folder, held_out=None)] == ["", ""]
    assert "2 of 2 rows name no file that is here, or not which one: clips.csv row 2 (x.mp4 names several)" in caplog.text


def test_a_folder_that_is_missing_or_empty_is_one_line(folder):
    for place in (folder, folder / "nowhere"):
        with pytest.raises(ValueError, match="wanted") as caught:
            find_clips(place, held_out=False)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fps", [6.0, 25 / 3, 12.0, 30.0])
def test_times_say_where_each_frame_lies_in_the_clip(folder, rng, fps):
    clip = ClipFile(numbered(folder / "a.mp4", fps=fps))
    for _ in range(8):
        frames, times = read_window(clip, num_frames=5, size=16, rng=rng)
        assert frames.shape == (5, 16, 16, 3) and frames.dtype == np.uint8 and times.dtype == np.float32
        numbers = frame_numbers(frames)
        steps = np.diff(numbers)
        assert (steps == steps[0]).all() and 0.5 <= steps[0] * 8 / fps <= 2
        np.testing.assert_allclose(times, (numbers - numbers[0]) * 8 / fps, atol=0.02)


def test_windows_begin_anywhere_and_reach_the_last_frame(folder, rng):
    clip = ClipFile(numbered(folder / "a.mp4", frames=12))
    drawn = [frame_numbers(read_window(clip, num_frames=4, size=16, rng=rng)[0]) for _ in range(40)]
    assert {numbers[0] for numbers in drawn} >= {0, 4, 8} and max(numbers[-1] for numbers in drawn) == 11


def test_a_clip_just_long_enough_is_read_whole_and_a_shorter_one_refused(folder, rng):
    clip = ClipFile(numbered(folder / "a.mp4", fps=30, frames=9))
    assert frame_numbers(read_window(clip, num_frames=9, size=16, rng=rng)[0]).tolist() == list(range(9))
    with pytest.raises(MediaError, match="wanted at least 10 frames, got 9"):
        read_window(clip, num_frames=10, size=16, rng=rng)


def test_without_a_generator_the_middle_square_is_read_from_the_beginning(folder):
    ramp = np.broadcast_to(np.linspace(0, 255, 96)[None, None, :, None], (8, 32, 96, 3)).astype(np.uint8)
    clip = ClipFile(write_clip(Clip(ramp, 8), folder / "ramp.mp4"))
    frames, times = read_window(clip, num_frames=8, size=32, rng=None)
    np.testing.assert_allclose(times, np.arange(8), atol=0.02)
    assert np.abs(frames.astype(float) - ramp[:, :, 32:64]).mean() < 4


def test_the_same_seed_reads_the_same_window_and_crops_differ_between_seeds(folder):
    noise = np.random.default_rng(1).integers(0, 255, (1, 32, 48, 3), dtype=np.uint8).repeat(10, 0)
    clip = ClipFile(write_clip(Clip(noise, 8), folder / "noise.mp4"))
    read = [read_window(clip, num_frames=4, size=24, rng=np.random.default_rng(seed))[0] for seed in (5, 5, 6)]
    assert (read[0] == read[1]).all() and (read[0] != read[2]).any()


def test_drawing_passes_over_clips_that_turn_out_broken(folder, rng, caplog):
    good = ClipFile(numbered(folder / "good.mp4"), "brightening")
    broken = ClipFile(folder / "broken.mp4")
    broken.path.write_bytes(b"hello")
    for _ in range(8):
        clip, frames, times = draw_window([broken, good], num_frames=6, size=16, rng=rng)
        assert clip is good and len(frames) == len(times) == 6
    assert "broken.mp4" in caplog.text
    with pytest.raises(ValueError, match="none of 1 has them"):
        draw_window([broken], num_frames=6, size=16, rng=rng)
