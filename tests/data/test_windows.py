"""Windows at a wanted rate: the nearest frames, the centre, and a reason for every clip that cannot be used."""

import av
import numpy as np
import pytest

from trip.data.layouts import Entry
from trip.data.report import check_data_set
from trip.data.windows import Unfit, read_at_rate
from trip.media import Clip, write_clip


def numbered(path, fps=12.0, frames=30, height=32, width=48):
    """A clip whose brightness says which frame it is: 8 a frame."""
    levels = np.arange(frames, dtype=np.uint8) * 8 + 10
    write_clip(Clip(np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)).copy(), fps), path)
    return Entry(path.name, path, (), "train")


def uneven(path):
    """A clip that stops for half a second in its middle."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 8 * number, np.uint8), format="rgb24")
            frame.pts = number + (6 if number > 12 else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Entry(path.name, path, (), "train")


def read(entry, num_frames=5, fps=4.0, rng=None, **more):
    return read_at_rate(entry, num_frames=num_frames, fps=fps, size=16, rng=rng, **more)


def numbers(frames):
    return np.round((frames.mean((1, 2, 3)) - 10) / 8).astype(int).tolist()


def test_frames_lie_at_even_times_from_the_beginning(tmp_path):
    frames, seconds = read(numbered(tmp_path / "a.mp4"))
    assert numbers(frames) == [0, 3, 6, 9, 12] and frames.shape == (5, 16, 16, 3)
    np.testing.assert_allclose(seconds, np.arange(5) / 4, atol=1e-3)


@pytest.mark.parametrize("fps", [5.0, 10.0, 23.976])
def test_a_rate_that_does_not_divide_gives_the_nearest_frames_and_their_own_times(tmp_path, fps):
    entry = numbered(tmp_path / "a.mp4", fps=fps)
    for seed in range(4):
        frames, seconds = read(entry, rng=np.random.default_rng(seed))
        assert len(set(numbers(frames))) == 5
        np.testing.assert_allclose(np.diff(numbers(frames)) / fps, np.diff(seconds), atol=0.01)
        assert np.abs(np.diff(seconds) - 0.25).max() <= 1 / fps + 0.01


def test_the_nearest_frame_is_taken_not_the_next_one(tmp_path):
    entry = numbered(tmp_path / "a.mp4", fps=10.0)
    assert numbers(read(entry, num_frames=4, fps=3.0)[0]) == [0, 3, 7, 10]  # 0.33, 0.67 and 1 s


def test_the_square_is_the_pictures_middle(tmp_path):
    frames = np.zeros((12, 32, 96, 3), np.uint8)
    frames[:, :, 32:64] = 200
    write_clip(Clip(frames, 12.0), tmp_path / "wide.mp4")
    seen, _ = read(Entry("wide.mp4", tmp_path / "wide.mp4", (), "train"), num_frames=2)
    assert seen[:, :, 1:-1].min() > 150
    write_clip(Clip(frames.transpose(0, 2, 1, 3).copy(), 12.0), tmp_path / "tall.mp4")
    seen, _ = read(Entry("tall.mp4", tmp_path / "tall.mp4", (), "train"), num_frames=2)
    assert seen[:, 1:-1].min() > 150


def test_a_span_of_a_file_is_not_left(tmp_path):
    entry = numbered(tmp_path / "a.mp4")
    part = Entry(entry.name, entry.path, (), "train", begin=1.0, end=2.2)
    for seed in range(4):
        drawn = numbers(read(part, rng=np.random.default_rng(seed))[0])
        assert drawn[0] >= 12 and drawn[-1] <= 27
    with pytest.raises(Unfit, match="wanted at least 1.75 s"):
        read(part, num_frames=8)


def test_the_whole_picture_can_be_squeezed(tmp_path):
    ramp = np.broadcast_to(np.linspace(0, 255, 96)[None, None, :, None], (8, 32, 96, 3)).astype(np.uint8)
    path = write_clip(Clip(ramp, 8), tmp_path / "ramp.mp4")
    entry = Entry(path.name, path, (), "train")
    cut, squeezed = (read(entry, 2, crop=crop)[0].mean((0, 1, 3)) for crop in (True, False))
    assert np.ptp(squeezed) > 220 and np.ptp(cut) < 90


def test_what_cannot_be_used_says_why(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"hello")
    half = numbered(tmp_path / "half.mp4").path
    half.write_bytes(half.read_bytes()[:900])
    reasons = {
        "missing": Entry("gone.mp4", tmp_path / "gone.mp4", (), "train"),
        "broken": Entry("broken.mp4", tmp_path / "broken.mp4", (), "train"),
        "short": numbered(tmp_path / "short.mp4", frames=6),
        "slow": numbered(tmp_path / "slow.mp4", fps=2.0, frames=12),
        "variable": uneven(tmp_path / "uneven.mp4"),
    }
    for reason, entry in reasons.items():
        with pytest.raises(Unfit) as caught:
            read(entry, num_frames=8 if reason == "variable" else 5)
        assert caught.value.reason == reason and entry.name in str(caught.value) and "\n" not in str(caught.value)


def test_a_report_counts_and_names_what_cannot_be_used(tmp_path):
    numbered(tmp_path / "good.mp4")
    numbered(tmp_path / "short.mp4", frames=6)
    (tmp_path / "broken.mp4").write_bytes(b"hello")
    *_, report = check_data_set(tmp_path, layout="auto", num_frames=5, fps=4, size=16, every=1, num_processes=1)
    assert sum(report["listed"].values()) == 3 and sum(report["fit"].values()) == 1
    assert report["unfit"] == {"broken": 1, "short": 1} and "short.mp4" in report["named"]["short"][0]
    assert report["sizes"] == {"48x32": 2} and report["fps"]["median"] == 12
