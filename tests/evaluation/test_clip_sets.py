"""Folders as people have them: films and numbered pictures, of any size and rate; what cannot be read is named, and stops nothing."""

import json

import cv2
import numpy as np
import pytest

from trip.data.layouts import Entry
from trip.data.windows import Unfit
from trip.evaluation.clip_sets import ClipSet, Reading, faults, grouped, numbered_sources, open_set
from trip.media import Clip, write_clip

READING = Reading(num_frames=5, fps=4.0, size=32)


def film(path, num_frames=24, fps=12.0, height=40, width=56):
    """A clip whose brightness says which frame it is: 8 a frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = (np.arange(num_frames) * 8 + 10).astype(np.uint8)
    write_clip(Clip(np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy(), fps), path)


def pictures(folder, levels, side=32):
    folder.mkdir(parents=True)
    for index, level in enumerate(levels):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((side, side + 8, 3), level, np.uint8))


def read(clips: ClipSet):
    found = [(source.name, frames) for source, frames in clips.windows()]
    good = {name: frames for name, frames in found if not isinstance(frames, Unfit)}
    return good, [frames for _, frames in found if isinstance(frames, Unfit)]


def numbers(frames):
    return np.round((frames.mean((1, 2, 3)) - 10) / 8).astype(int).tolist()


def test_a_folder_of_anything_gives_what_can_be_read_and_names_the_rest(tmp_path) -> None:
    film(tmp_path / "a.mp4")
    film(tmp_path / "below" / "wide.mp4", fps=8.0, height=30, width=90)
    film(tmp_path / "short.mp4", num_frames=7)
    film(tmp_path / "slow.mp4", fps=2.0)
    (tmp_path / "broken.mp4").write_bytes(b"nothing" * 50)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:-900])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "notes.txt").write_text("no clip")
    clips = open_set(tmp_path, READING)
    good, unfit = read(clips)
    assert set(good) == {"a", "below/wide"} and len(clips) == 7 and clips.stride == 0.25
    assert all(frames.shape == (5, 32, 32, 3) for frames in good.values())
    assert numbers(good["a"]) == [0, 3, 6, 9, 12] and numbers(good["below/wide"]) == [0, 2, 4, 6, 8]
    told = faults(unfit)
    assert told["counts"] == {"broken": 3, "short": 1, "slow": 1}
    assert "short.mp4: 0.50 s, wanted at least 1.00 s" in told["named"]["short"][0] and "2 frames a second" in told["named"]["slow"][0]


def test_clips_can_be_taken_as_they_come_and_without_their_first_frame(tmp_path) -> None:
    film(tmp_path / "slow.mp4", fps=2.0)
    as_they_come = Reading(num_frames=5, fps=None, size=32, skip=1)
    clips = open_set(tmp_path, as_they_come)
    (frames,) = read(clips)[0].values()
    assert numbers(frames) == [1, 2, 3, 4] and clips.stride is None


def test_folders_of_pictures_are_clips_in_the_order_of_their_numbers(tmp_path) -> None:
    pictures(tmp_path / "set" / "x" / "one", range(10, 130, 10))
    pictures(tmp_path / "set" / "x" / "two", [5] * 4)
    pictures(tmp_path / "set" / "y" / "three", range(50, 60))
    (tmp_path / "set" / "y" / "three" / "2.png").write_bytes(b"broken")
    clips = open_set(tmp_path / "set", READING)
    good, unfit = read(clips)
    assert [source.name for source in clips.sources] == ["x/one", "x/two", "y/three"] and clips.stride is None
    assert good["x/one"][:, 0, 0, 0].tolist() == [10, 20, 30, 40, 50]  # 2 comes before 10
    assert [(one.name, one.reason) for one in unfit] == [("x/two", "short"), ("y/three", "broken")]
    assert {name: len(group) for name, group in grouped(clips).items()} == {"x": 2, "y": 1}
    (tmp_path / "run.json").write_text(json.dumps({"stride": 0.125}))
    assert open_set(tmp_path / "set", READING).stride == 0.125


def test_a_report_beside_folders_of_pictures_hides_nothing(tmp_path) -> None:
    pictures(tmp_path / "a", [10, 20])
    reading = Reading(num_frames=2, fps=None, size=16)
    before = open_set(tmp_path, reading)
    (tmp_path / "fvd.json").write_text('{"metric": "fvd"}')
    assert [source.name for source in open_set(tmp_path, reading).sources] == [source.name for source in before.sources] == ["a"]


def test_a_digest_follows_names_sizes_and_what_is_done(tmp_path) -> None:
    for name in ("a", "b", "c"):
        film(tmp_path / "one" / f"{name}.mp4")
        film(tmp_path / "other" / f"{name}.mp4")
    one, other = (open_set(tmp_path / name, READING) for name in ("one", "other"))
    assert one.digest() == other.digest() and one.digest(exact=True) != other.digest(exact=True)
    assert one.digest() != one.with_change("still", lambda frames: frames, "still").digest()
    assert one.digest() != open_set(tmp_path / "one", Reading(6, 4.0, 32)).digest()
    assert [source.name for source in open_set(tmp_path / "one", READING, most=2).sources] == ["a", "c"]
    film(tmp_path / "other" / "d.mp4")
    assert open_set(tmp_path / "other", READING).digest() != one.digest()


def test_names_are_single_and_lead_nowhere_else(tmp_path) -> None:
    names = ["a.mp4", "a-1.mp4", "a.mp4", "a.mp4", "../../up.mp4", "/etc/root.mp4", "x/./y z.mp4", "..", "b.c.mp4"]
    found = [source.name for source in numbered_sources(Entry(name, tmp_path, (), "test") for name in names)]
    assert found == ["a", "a-1", "a-2", "a-3", "up", "etc/root", "x/y_z", "clip", "b.c"]


def test_folders_without_clips_are_refused(tmp_path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="wanted (clips|a folder of clips)"):
            open_set(folder, READING)
