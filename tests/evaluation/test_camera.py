"""Camera motion found by optical flow, against clips whose motion is known exactly."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from trip.evaluation.camera import EXPECTED_COMPONENTS, fit_similarity, follows_prompt, judged_flow, motion_components, resized

SIZE = 128
PHOTO = cv2.resize(astronaut(), (256, 256), interpolation=cv2.INTER_AREA)
KNOWN = {  # motion -> shift in frame widths, log zoom, degrees of roll at the last frame; parallax adds a shift that grows downwards
    "pan_left": {"dx": 0.2},
    "pan_right": {"dx": -0.2},
    "tilt_up": {"dy": 0.2},
    "tilt_down": {"dy": -0.2},
    "zoom_in": {"zoom": 0.25},
    "zoom_out": {"zoom": -0.25},
    "roll_left": {"roll": -12},
    "roll_right": {"roll": 12},
    "parallax_left": {"dx": 0.15, "shear": 0.2},
    "parallax_right": {"dx": -0.15, "shear": -0.2},
    "still": {},
}


def moved(*, dx: float = 0, dy: float = 0, zoom: float = 0, roll: float = 0, shear: float = 0, num_frames: int = 16) -> np.ndarray:
    """A window on the photo whose content moves steadily by a similarity (and sideways by `shear` times the height)."""
    clip = []
    for share in np.linspace(0, 1, num_frames):
        angle, scale = np.radians(roll * share), np.exp(zoom * share)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # y down: clockwise on the screen
        turn = turn @ np.array([[1, shear * share], [0, 1]])
        offset = np.array([dx, dy]) * share * SIZE + (SIZE - 1) / 2 - turn @ np.array([127.5, 127.5])
        clip.append(cv2.warpAffine(PHOTO, np.column_stack([turn, offset]), (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT))
    return np.stack(clip)


def degraded(clip: np.ndarray) -> np.ndarray:
    """As a small model gives it: the photo sharp, the frames after it blurred and each with noise of its own."""
    rng = np.random.default_rng(0)
    noisy = [cv2.GaussianBlur(frame, None, 1.5) + cv2.GaussianBlur(rng.normal(0, 12, frame.shape), None, 1.5) for frame in clip[1:]]
    return np.concatenate([clip[:1], np.clip(np.round(noisy), 0, 255).astype(np.uint8)])


@pytest.mark.parametrize("size", [32, 128, 256, 300])
def test_flow_is_in_pixels_of_the_input(size: int) -> None:
    wide = cv2.resize(PHOTO, (size + 8, size + 8), interpolation=cv2.INTER_AREA)
    vectors = judged_flow(wide[4:-4, 4:-4], wide[2:-6, 5:-3])  # content moves left by 1 and down by 2
    assert vectors.shape == (size, size, 2)
    middle = vectors[size // 4 : -size // 4, size // 4 : -size // 4]
    assert np.median(middle, axis=(0, 1)) == pytest.approx([-1, 2], abs=0.15)


def test_what_does_not_change_does_not_move() -> None:
    assert not judged_flow(PHOTO, PHOTO).any()


@pytest.mark.parametrize("name", [name for name in KNOWN if not name.startswith("parallax")])
def test_components_are_those_of_the_clip(name: str) -> None:
    known = {"dx": 0, "dy": 0, "zoom": 0, "roll": 0} | KNOWN[name]
    found = motion_components(moved(**known, num_frames=8))
    assert found.dx == pytest.approx(known["dx"], abs=0.01)
    assert found.dy == pytest.approx(known["dy"], abs=0.01)
    assert found.zoom == pytest.approx(known["zoom"], abs=0.01)
    assert found.roll == pytest.approx(known["roll"], abs=0.5)


def test_median_is_the_way_of_a_pan_in_pixels() -> None:
    assert motion_components(moved(dx=-0.2)).median == pytest.approx(0.2 * SIZE, rel=0.05)


@pytest.mark.parametrize("damage", [lambda clip: clip, degraded], ids=["sharp", "degraded"])
def test_only_what_the_clip_shows_counts_as_told(damage) -> None:
    for name, known in KNOWN.items():
        found = motion_components(damage(moved(**known, num_frames=6)))
        agreeing = {told for told in (*EXPECTED_COMPONENTS, "still") if follows_prompt(told, found)}
        sideways = name.partition("_")[0] in ("pan", "parallax")  # the two differ in depth alone, which a similarity does not hold
        side = name.partition("_")[2]
        assert agreeing == ({f"pan_{side}", f"parallax_{side}"} if sideways else {name}), (name, found)


def test_noise_on_a_still_clip_is_not_motion() -> None:
    still, pan = motion_components(degraded(moved())), motion_components(degraded(moved(dx=-0.2)))
    assert max(map(abs, still.displacements().values())) < 0.01
    assert 0 < still.median < pan.median / 4


def test_trembling_counts_as_flow_though_it_ends_where_it_began() -> None:
    steady, pushed = moved(num_frames=2)[0], moved(dx=0.03, num_frames=2)[1]
    found = motion_components(np.stack([steady, pushed] * 4 + [steady]))
    assert abs(found.dx) < 0.005
    assert found.median == pytest.approx(8 * 0.03 * SIZE, rel=0.1)


def test_a_subject_that_moves_alone_is_not_the_camera() -> None:
    clip = moved()
    for index, frame in enumerate(clip):
        frame[40:90, 20 + 2 * index : 60 + 2 * index] = PHOTO[150:200, 150:190]
    assert follows_prompt("still", motion_components(clip))


def test_fit_ignores_a_quarter_of_wrong_vectors() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-50, 50, 400) + 1j * rng.uniform(-50, 50, 400)
    turn, shift = 1.05 * np.exp(0.04j), 3 - 2j
    vectors = turn * points + shift - points
    vectors[:100] = 20 + 15j
    found = fit_similarity(points, vectors, np.ones(400), num_rounds=50)
    assert np.allclose(found, (turn, shift), atol=0.02)


@pytest.mark.parametrize("size", [64, 256])
def test_a_clip_of_any_size_is_measured_alike(size: int) -> None:
    clip = moved(dx=-0.2, num_frames=8)
    plain, other = motion_components(clip), motion_components(resized(clip, size, size))
    assert other.dx == pytest.approx(plain.dx, abs=0.005)
    assert other.median / size == pytest.approx(plain.median / SIZE, rel=0.03)


def test_flat_frames_do_not_move() -> None:
    found = motion_components(np.full((4, SIZE, SIZE, 3), 90, np.uint8))
    assert np.allclose(found, 0)


def test_unknown_motion_is_named() -> None:
    with pytest.raises(ValueError, match="unknown camera motion 'jump'"):
        follows_prompt("jump", motion_components(moved(num_frames=2)))
