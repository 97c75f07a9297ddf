"""Figures of clips whose photo, motion and damage are known."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from trip.evaluation.camera import MotionComponents
from trip.evaluation.clip_metrics import ClipMetrics, clip_metrics, lasting_error
from trip.evaluation.similarity import SAME_DB, frame_psnr
from trip.media import Clip, FlowFinder, read_clip, write_clip

SIZE = 128
WIDE = cv2.resize(astronaut(), (256, 256), interpolation=cv2.INTER_AREA)


def shifted(right: int = 0, down: int = 0, num_frames: int = 8) -> np.ndarray:
    """A window on the photo whose content moves by whole pixels a frame."""
    places = [(64 - down * index, 64 - right * index) for index in range(num_frames)]
    return np.stack([WIDE[top : top + SIZE, left : left + SIZE] for top, left in places])


def noisy(frames: np.ndarray, deviation: float, seed: int = 0) -> np.ndarray:
    """Each frame after the first with noise of its own, grey levels."""
    noise = np.random.default_rng(seed).normal(0, deviation, frames[1:].shape)
    return np.concatenate([frames[:1], (frames[1:] + noise).round().clip(0, 255).astype(np.uint8)])


def value(found: ClipMetrics, label: str) -> str:
    return {name: text for name, text, _ in found.rows()}[label]


def test_a_still_clip_keeps_everything():
    found = clip_metrics(shifted(), shifted()[0])
    assert (found.first_frame_db, found.photo_kept_db) == (SAME_DB, SAME_DB)
    assert found.flicker == pytest.approx(0, abs=0.01) and found.motion == pytest.approx([0] * 5, abs=1e-3)
    assert value(found, "First frame") == value(found, "Photo kept") == "60 dB or more"
    assert value(found, "Left or right") == value(found, "Zoom") == value(found, "Roll") == "none"


def test_first_frame_is_compared_with_the_photo():
    frames = shifted()
    photo = frames[0] // 2
    known = 10 * np.log10(255**2 / np.square(frames[0].astype(float) - photo).mean())
    assert clip_metrics(frames, photo).first_frame_db == pytest.approx(known)


def test_h264_costs_the_first_frame_little_and_that_is_said(tmp_path):
    frames = shifted(right=2)
    stored = read_clip(write_clip(Clip(frames, 8), tmp_path / "clip.mp4")).frames
    assert 30 < clip_metrics(stored, frames[0]).first_frame_db < SAME_DB == clip_metrics(frames, frames[0]).first_frame_db


def test_a_known_shift_is_found_and_costs_the_photo_nothing():
    frames = shifted(right=-3, down=1)
    found = clip_metrics(frames, frames[0])
    assert 100 * found.motion.dx == pytest.approx(-3 * 7 / SIZE * 100, abs=1) and 100 * found.motion.dy == pytest.approx(
        7 / SIZE * 100, abs=1
    )
    assert found.motion.median == pytest.approx(7 * 10**0.5, rel=0.05)
    assert found.photo_kept_db > frame_psnr(frames[1:], frames[:1].repeat(7, axis=0)).mean() + 10
    assert value(found, "Left or right").endswith("% of the width to the left") and value(found, "Up or down").endswith(
        "% of the width downwards"
    )


@pytest.mark.parametrize("damage", [12, 30])
def test_damage_costs_the_photo_whether_it_moves_or_not(damage):
    still, moving = (clip_metrics(noisy(shifted(right=right), damage), shifted()[0]) for right in (0, 2))
    known = 20 * np.log10(255 / damage)
    assert still.photo_kept_db == pytest.approx(known, abs=1) and moving.photo_kept_db == pytest.approx(known, abs=1)


def test_flicker_is_of_what_changes_and_not_of_what_moves():
    calm, fast = (clip_metrics(shifted(right=right), shifted()[0]).flicker for right in (0, 3))
    some, more = (clip_metrics(noisy(shifted(right=3), deviation), shifted()[0]).flicker for deviation in (8, 20))
    assert calm < 0.01 and fast < 2 < 5 < some < more / 2


def test_light_that_blinks_is_flicker_of_that_height():
    frames = np.full((9, SIZE, SIZE, 3), 100, np.uint8)
    frames[1::2] += 10
    assert clip_metrics(frames, frames[0]).flicker == pytest.approx(10)


def test_what_comes_into_the_picture_is_left_out():
    a, b = shifted(right=20, num_frames=2)
    b[:, :20] = 255  # where nothing of a went
    way = FlowFinder(SIZE, SIZE).flow(a, b)
    assert lasting_error(a, b, way) < 100 < np.square(a.astype(float) - b).mean()


def test_rows_say_amount_unit_and_direction():
    found = ClipMetrics(38.25, 24.5, 3.21, MotionComponents(dx=0.12, dy=-0.05, zoom=float(np.log(0.9)), roll=-3.04, median=12.8), width=128)
    assert [(label, text) for label, text, _ in found.rows()] == [
        ("First frame", "38.2 dB"),
        ("Photo kept", "24.5 dB"),
        ("Flicker", "3.2 of 255"),
        ("Motion", "12.8 pixels, 10.0 % of the width"),
        ("Left or right", "12.0 % of the width to the right"),
        ("Up or down", "5.0 % of the width upwards"),
        ("Zoom", "10.0 % smaller"),
        ("Roll", "3.0° counterclockwise"),
    ]
    assert value(ClipMetrics(**{**vars(found), "photo_kept_db": float("nan")}), "Photo kept") == "not measurable"
    assert all(meaning and "\n" not in meaning for _, _, meaning in found.rows())


def test_clips_that_cannot_be_measured_are_refused():
    with pytest.raises(ValueError, match=r"photo's shape \(64, 64, 3\), got \(8, 128, 128, 3\)"):
        clip_metrics(shifted(), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="at least 2 frames"):
        clip_metrics(shifted(num_frames=1), shifted()[0])
