"""Moving clips made of photos: what is drawn is what the words say."""

import re
from collections import Counter

import cv2
import numpy as np
import pytest

from trip.data.motion import PAN_SHIFT, ROLL_ANGLE, ZOOM_FACTOR, MovingClip, draw, enlarged, photo_in_motion, render
from trip.data.prompts import CAMERA_MOTIONS, MOTIONS, PACE_WORDS, Motion, camera_told, describe, draw_motion, motion_vector, pace
from trip.data.scene import SCENE_EFFECTS, Source, region_of

SIZE = 64
SIDES = {"left": "right", "right": "left", "up": "down", "down": "up", "in": "out", "out": "in"}
OPPOSITES = {  # words that must not occur in the wordings of a direction
    "left": {"right", "rightward", "clockwise"},
    "right": {"left", "leftward", "counterclockwise", "anticlockwise"},
    "up": {"down", "downward", "sinks"},
    "down": {"up", "upward", "rises"},
    "in": {"out", "back", "backward", "away", "widens", "shrinks"},
    "out": {"in", "forward", "closer", "approaches", "grows"},
}
SPEED_WORDS = {
    name: {word for choices in PACE_WORDS[name].values() for choice in choices for word in choice.split()} - {"a", "at", "pace", "speed"}
    for name in ("slow", "fast")
}


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Blue above, green in the middle, water below, and something warm: something for every motion to act on, with no two places alike."""
    rng = np.random.default_rng(3)
    noise = sum(cv2.GaussianBlur(rng.normal(0, 1, (200, 280, 3)).astype(np.float32), (0, 0), s) * s for s in (2, 6))
    colours = np.where(np.arange(200)[:, None, None] < 90, (110, 150, 210), (120, 160, 90)) + 45 * noise
    colours[140:] += (-40, -20, 90)
    colours[:, 120:150] += (90, 20, -60)
    return np.clip(colours, 0, 255).astype(np.uint8)


def clip(photo: np.ndarray, name: str, times: list[float], speed: float = 1.0, seed: int = 0) -> np.ndarray:
    return moving(photo, name, times, speed, seed).frames


def moving(photo: np.ndarray, name: str, times: list[float], speed: float = 1.0, seed: int = 0) -> MovingClip:
    return render(photo, (Motion(name, speed),), np.array(times, float), SIZE, np.random.default_rng(seed))


def grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)


def shift_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far the content moved, x and y, in pixels."""
    window = cv2.createHanningWindow(first.shape[1::-1], cv2.CV_32F)
    return np.array(cv2.phaseCorrelate(grey(first), grey(second), window)[0])


def undone(frame: np.ndarray, angle: float, scale: float) -> np.ndarray:
    """The frame turned by an angle (degrees, counterclockwise on the screen) and scaled about its middle."""
    matrix = cv2.getRotationMatrix2D((SIZE / 2 - 0.5, SIZE / 2 - 0.5), angle, scale)
    return cv2.warpAffine(frame, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference in the middle of two frames."""
    inner = slice(SIZE // 4, -SIZE // 4)
    return float(np.abs(first[inner, inner].astype(float) - second[inner, inner]).mean())


@pytest.mark.parametrize(
    ("name", "direction"),
    [("pan_right", (-1, 0)), ("pan_left", (1, 0)), ("tilt_up", (0, 1)), ("tilt_down", (0, -1))],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_content_moves_against_the_camera_by_the_stated_share(photo, name, direction, seed):
    frames = clip(photo, name, [0, 3, 15], seed=seed)
    moved = shift_between(frames[0], frames[1])
    np.testing.assert_allclose(moved, np.array(direction) * PAN_SHIFT * SIZE / 5, atol=0.5)
    whole = np.array(direction) * round(PAN_SHIFT * SIZE)  # 13 pixels stand for 12.8
    kept = np.roll(frames[0], whole[::-1], (0, 1))
    assert distance(kept, frames[2]) < 0.4 * distance(frames[0], frames[2])


@pytest.mark.parametrize(("name", "factor"), [("zoom_in", 1 / ZOOM_FACTOR), ("zoom_out", ZOOM_FACTOR)])
def test_zoom_undone_gives_the_photo_back(photo, name, factor):
    first, last = clip(photo, name, [0, 15])
    assert distance(undone(last, 0, factor), first) < 0.3 * distance(last, first)


@pytest.mark.parametrize(("name", "back"), [("roll_right", 1), ("roll_left", -1)])
def test_roll_right_turns_the_picture_clockwise(photo, name, back):
    first, last = clip(photo, name, [0, 15])
    assert distance(undone(last, back * np.degrees(ROLL_ANGLE), 1), first) < 0.3 * distance(last, first)


@pytest.mark.parametrize(("name", "sign"), [("parallax_right", -1), ("parallax_left", 1)])
def test_near_content_moves_further_than_far_content(photo, name, sign):
    first, second = clip(photo, name, [0, 6])
    third = SIZE // 3
    far, near = (sign * shift_between(first[rows], second[rows])[0] for rows in (slice(0, third), slice(-third, None)))
    assert 0.5 < far < near - 1


@pytest.mark.parametrize(("name", "sign"), [("clouds_right", 1), ("clouds_left", -1)])
def test_sky_moves_and_ground_stays(photo, name, sign):
    land = photo.copy()
    land[70:] = land[70:] * 0.4  # dark ground, more of it than a view can leave out
    first, second = clip(land, name, [0, 6])
    top = SIZE // 3
    assert sign * shift_between(first[:top], second[:top])[0] == pytest.approx(0.15 * SIZE * 6 / 15, abs=1.0)
    assert np.abs(first[-4:].astype(int) - second[-4:]).max() <= 1


@pytest.mark.parametrize("name", MOTIONS)
def test_every_motion_starts_from_the_same_still_frame_and_then_moves(photo, name):
    again = clip(photo, name, [0, 0, 1, 8])
    np.testing.assert_array_equal(again[0], again[1])
    first_step, later = (np.abs(again[0].astype(float) - again[i]).mean() for i in (2, 3))
    assert (later == 0) if name == "still" else later > 0.5
    assert first_step < 15, "no jump from the photo to the second frame"


@pytest.mark.parametrize("name", SCENE_EFFECTS)
def test_scene_at_the_start_is_the_photo_itself(photo, name):
    effect = SCENE_EFFECTS[name]
    act = effect.make(Source(photo, region_of(photo, effect.region), 120.0, (140.0, 100.0)), np.random.default_rng(0))
    np.testing.assert_array_equal(act.draw(photo, 0.0), photo)
    assert (act.draw(photo, 0.5) != photo).any()


@pytest.mark.parametrize("name", MOTIONS)
def test_same_seed_draws_the_same_clip(photo, name):
    np.testing.assert_array_equal(clip(photo, name, [0, 7.5, 15], seed=4), clip(photo, name, [0, 7.5, 15], seed=4))
    assert (clip(photo, name, [0], seed=4) != clip(photo, name, [0], seed=5)).any()


@pytest.mark.parametrize("name", MOTIONS)
def test_motion_depends_on_speed_times_time(photo, name):
    slow, fast = clip(photo, name, [0, 4, 10], speed=0.8), clip(photo, name, [0, 2, 5], speed=1.6)
    assert np.abs(slow.astype(int) - fast).max() <= 1


@pytest.mark.parametrize("name", CAMERA_MOTIONS)
def test_fast_camera_over_double_time_never_leaves_the_photo(name):
    """On a ramp of colour a mirrored border would show as a ramp that turns round."""
    ramp = np.zeros((200, 250, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(250)[None], np.arange(200)[:, None]
    for seed in range(4):
        shown = clip(ramp, name, [0, 15, 30], speed=1.7, seed=seed).astype(int)
        across, along = shown[:, :, 16:, 0] - shown[:, :, :-16, 0], shown[:, 16:, :, 1] - shown[:, :-16, :, 1]
        assert (across > 0).all() or (across < 0).all()
        assert (along > 0).all()


@pytest.mark.parametrize("name", [name for name in MOTIONS if name not in ("smoke", "light", "flames")])
def test_the_true_places_name_what_every_frame_shows(name):
    """On a ramp of colour each pixel says where it was."""
    ramp = np.zeros((500, 500, 3), np.uint8)
    ramp[..., 0], ramp[..., 1], ramp[..., 2] = np.arange(500)[None] / 2, np.arange(500)[:, None] / 2, 130
    told = moving(ramp, name, [0, 10])
    at = (enlarged(told.places[1], SIZE) + 1) * (SIZE / 2) - 0.5
    expected = cv2.remap(told.frames[0].astype(np.float32), at[..., 0], at[..., 1], cv2.INTER_LINEAR)
    sure = enlarged(told.visibility[1][..., None], SIZE) > 0.9
    assert sure.mean() > (0.02 if name == "snow" else 0.2), "flakes are large here, where a view has 64 pixels"
    difference = np.abs(expected - told.frames[1])[sure][:, :2].mean()
    assert difference < (1.0 if MOTIONS[name].camera or name in ("still", "snow", "rain") else 3.0), "light of waves counts too"
    assert told.visibility[0].min() > 0.99 and (told.known == 1).all()


@pytest.mark.parametrize("name", ["water_ripples", "waves", "flames", "leaves", "snow", "rain", "smoke"])
def test_the_patterns_of_a_scene_are_drawn_anew_for_every_clip(photo, name):
    effect = SCENE_EFFECTS[name]
    source = Source(photo, np.ones(photo.shape[:2], np.float32), 120.0, (140.0, 100.0))
    one, other = (effect.make(source, np.random.default_rng(seed)).draw(photo, 0.5) for seed in (0, 1))
    assert (one != other).any()


def test_a_view_can_be_given_so_that_scenes_differ_in_nothing_but_themselves(photo):
    first = draw(photo, (Motion("waves"),), np.array([0.0, 6.0]), SIZE, np.random.default_rng(3))
    again = draw(photo, (Motion("waves"),), np.array([0.0, 6.0]), SIZE, np.random.default_rng(4), first.view)
    rain = draw(photo, (Motion("rain"),), np.array([0.0]), SIZE, np.random.default_rng(5), first.view)
    assert first.view == again.view == rain.view
    assert np.array_equal(first.frames[0], again.frames[0]) and np.array_equal(first.frames[0], rain.frames[0])
    assert not np.array_equal(first.frames[1], again.frames[1]), "the pattern is another"


@pytest.mark.parametrize("seed", range(4))
def test_the_view_says_what_of_the_photo_the_first_frame_shows(photo, seed):
    drawn = draw(photo, (Motion("zoom_out"),), np.array([0.0]), SIZE, np.random.default_rng(seed))
    view, pixels = drawn.view, photo[:, ::-1] if drawn.view.mirrored else photo
    scale = view.side / SIZE
    matrix = np.array([[scale, 0, view.left + scale / 2 - 0.5], [0, scale, view.top + scale / 2 - 0.5]])
    seen = cv2.warpAffine(np.ascontiguousarray(pixels), matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    assert np.abs(seen.astype(float) - drawn.frames[0]).mean() < 3


def test_what_came_into_view_is_not_the_photo(photo):
    told = moving(photo, "pan_right", [0, 15])
    columns = told.visibility[1].mean(axis=0)
    assert columns[:16].min() > 0.8 and columns[-4:].max() < 0.05  # a fifth of the view is new, on the right
    assert told.places[1][0, -1, 0] == pytest.approx(2 * PAN_SHIFT + 1 - 1 / 24, abs=1e-3)


@pytest.mark.parametrize("scene", ["rain", "light"])
def test_camera_and_scene_move_together(photo, scene):
    frames = render(photo, (Motion("tilt_up"), Motion(scene)), np.array([0.0, 3.0]), SIZE, np.random.default_rng(0)).frames
    assert shift_between(*frames)[1] == pytest.approx(PAN_SHIFT * SIZE / 5, abs=0.4)


def test_tiny_photo_still_gives_a_clip():
    tiny = np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    assert clip(tiny, "pan_right", [0, 15, 30], speed=1.6).shape == (3, SIZE, SIZE, 3)


@pytest.mark.filterwarnings("error")
def test_a_photo_with_a_black_top_still_gives_a_clip(photo):
    night = photo.copy()
    night[: len(night) // 2] = 0
    frames = clip(night, "clouds_left", [0.0, 15.0])
    assert frames.shape == (2, SIZE, SIZE, 3)


@pytest.mark.parametrize("name", [n for n in MOTIONS if n.rpartition("_")[2] in SIDES])
def test_wordings_of_a_direction_never_name_the_other(name):
    direction = name.rpartition("_")[2]
    for wording in MOTIONS[name].wordings:
        words = set(re.findall(r"[a-z]+", re.sub(r"{\w+}", "", wording)))
        assert not words & OPPOSITES[direction], wording


@pytest.mark.parametrize("name", MOTIONS)
def test_every_motion_has_wordings_of_its_own(name):
    wordings = MOTIONS[name].wordings
    assert len(set(wordings)) == len(wordings) >= 8
    others = {wording for other, kind in MOTIONS.items() if other != name for wording in kind.wordings}
    assert not set(wordings) & others
    paces = [len(re.findall(r"{(?:ly|how|a)}", wording)) for wording in wordings]
    assert paces == [0 if name == "still" else 1] * len(wordings)


@pytest.mark.parametrize(("speed", "name"), [(0.5, "slow"), (0.47, "slow"), (0.93, "medium"), (1.07, "medium"), (1.5, "fast")])
def test_words_tell_the_speed(speed, name):
    rng = np.random.default_rng(1)
    assert pace(speed) == name
    for motion in MOTIONS.keys() - {"still"}:
        for _ in range(12):
            words = set(re.findall(r"[a-z]+", describe((Motion(motion, speed),), rng).lower()))
            said = {pace_name for pace_name, some in SPEED_WORDS.items() if words & some}
            assert said == ({name} - {"medium"}), words


def test_subject_is_named_at_times_but_not_where_it_tells_sides():
    rng = np.random.default_rng(2)
    texts = [describe((Motion("pan_right"),), rng, "a red boat on a lake") for _ in range(400)]
    assert 0.3 < np.mean(["red boat" in text for text in texts]) < 0.5
    assert len(set(texts)) > 150
    assert not any("left" in describe((Motion("pan_right"),), rng, "a man, left of a tree").lower() for _ in range(50))


def test_two_motions_are_both_told():
    text = describe((Motion("pan_left"), Motion("rain")), np.random.default_rng(0)).lower()
    assert "left" in text and "rain" in text


def test_motion_vector_holds_the_speed_at_the_motions_index():
    vector = motion_vector((Motion("zoom_in", 1.6), Motion("snow", 0.5)))
    assert vector.dtype == np.float32 and vector.shape == (len(MOTIONS),)
    names = list(MOTIONS)
    assert {names[i]: pytest.approx(v) for i, v in enumerate(vector) if v} == {"zoom_in": 1.6, "snow": 0.5}


def test_drawn_motions_have_the_stated_shares():
    rng = np.random.default_rng(0)
    drawn = [draw_motion(rng, "sea") for _ in range(4000)]
    shares = Counter(tuple("camera" if m.name in CAMERA_MOTIONS else "still" if m.name == "still" else "scene" for m in d) for d in drawn)
    for kinds, share in {("camera",): 0.44, ("still",): 0.08, ("scene",): 0.38, ("camera", "scene"): 0.10}.items():
        assert shares[kinds] / 4000 == pytest.approx(share, abs=0.03)
    paces = Counter(pace(m.speed) for d in drawn for m in d if m.name in CAMERA_MOTIONS)
    assert paces["medium"] / paces.total() == pytest.approx(0.6, abs=0.04)
    assert {m.name for d in drawn for m in d if m.name not in CAMERA_MOTIONS} == {"still", "water_ripples", "waves"}
    assert all(m.name in (*CAMERA_MOTIONS, "still") for _ in range(200) for m in draw_motion(rng, ""))


@pytest.mark.parametrize("name, shift", [("pan_right", (0, 12)), ("pan_left", (0, -12)), ("tilt_down", (12, 0)), ("tilt_up", (-12, 0))])
def test_a_photo_in_motion_shows_what_the_camera_comes_to(name, shift):
    """A medium pan goes a fifth of the width in 15 reference frames: 12 of 60 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    start, end = photo_in_motion(pixels, (Motion(name),), np.array([0.0, 15.0]))
    assert np.array_equal(start, pixels)
    assert np.array_equal(end[13:27, 13:47], pixels[13 + shift[0] : 27 + shift[0], 13 + shift[1] : 47 + shift[1]])


def test_a_photo_is_zoomed_and_turned_about_its_middle():
    y, x = np.mgrid[:41, :61]
    pixels = np.stack([4 * x, 6 * y, 0 * x], axis=2).astype(np.uint8)
    zoomed, turned = (photo_in_motion(pixels, (Motion(name),), np.array([15.0]))[0].astype(int) for name in ("zoom_in", "roll_right"))
    assert zoomed[20, 30].tolist() == turned[20, 30].tolist() == pixels[20, 30].tolist()
    assert zoomed[20, 55, 0] == pytest.approx(4 * (30 + 25 / 1.25), abs=2)
    assert turned[20, 55, 1] == pytest.approx(6 * (20 - 25 * np.sin(np.radians(12))), abs=4)  # what was above has come to the right


@pytest.mark.parametrize(
    "text, told",
    [
        ("the camera pans left slowly", [("pan_left", 0.5)]),
        ("A slow zoom in, a red house", [("zoom_in", 0.5)]),
        ("a red house while the camera pans to the right", [("pan_right", 1.0)]),
        ("The camera tilts up quickly. The clouds drift to the left", [("tilt_up", 1.6)]),
        ("look up", [("tilt_up", 1.0)]),
        ("the waves roll in", []),
        ("the camera does not pan right", []),
        ("pan right and tilt up", []),
        ("the camera zooms in and pans right", []),
        ("the children look up at the fireworks", []),
        ("dancers turn clockwise", []),
        ("", []),
    ],
)
def test_the_camera_is_told_by_a_clause_of_its_own(text, told):
    assert [(motion.name, motion.speed) for motion in camera_told(text)] == told


@pytest.mark.parametrize("name", CAMERA_MOTIONS)
def test_every_wording_of_a_camera_motion_tells_it_or_one_that_shares_it(name):
    def medium(one: str) -> set[str]:
        return {" ".join(wording.format(how="", ly="", a="a").split()) for wording in MOTIONS[one].wordings}

    for sentence in medium(name):
        if "," not in sentence:  # two clauses
            (motion,) = camera_told(sentence)
            assert motion.speed == 1 and sentence in medium(motion.name)
