"""The whole measure, with stand-ins for a model whose result is known: the true clip, a still image, a motion mirrored."""

import json

import cv2
import numpy as np
import pytest
from skimage.data import astronaut, coffee

from trip.data.photos import Photo
from trip.data.prompts import CAMERA_MOTIONS, MOTIONS
from trip.evaluation.camera import EXPECTED_COMPONENTS
from trip.evaluation.clips import ClipRequest, GeneratedClip, photo_seed, true_clip
from trip.evaluation.comparison import compare, line
from trip.evaluation.motion import PROMPTS, asked_scenes, evaluate_motion, scene_summary, summary
from trip.evaluation.scenes import SCENE_PROMPTS, scene_view, true_scene
from trip.evaluation.sheets import contact_sheet
from trip.evaluation.similarity import SAME_DB
from trip.evaluation.tables import motion_tables

SIZE, FRAMES = 128, 6
PHOTOS = [Photo("astronaut", astronaut()[:400]), Photo("coffee", coffee(), kind="street"), Photo("turned", coffee()[::-1, ::-1].copy())]
MIRROR = {"left": "right", "right": "left", "up": "down", "down": "up", "in": "out", "out": "in"}


def by_prompt(question: ClipRequest) -> tuple[Photo, str]:
    """Photo and motion of a question; a stand-in knows what no model does."""
    name = next(name for name, wording in {**PROMPTS, **SCENE_PROMPTS}.items() if wording == question.prompt)
    seeds = {np.random.default_rng(photo_seed(photo, 0)).integers(2**31): photo for photo in PHOTOS}
    return seeds[question.seed], name


def moved(question: ClipRequest, name: str) -> np.ndarray:
    return true_clip(by_prompt(question)[0], name, np.arange(FRAMES), size=SIZE, seed=0)[0]


def oracle(question: ClipRequest) -> GeneratedClip:
    """Draws what was asked, half as large, and renders it in full at three frames for each."""
    photo, name = by_prompt(question)
    if name in SCENE_PROMPTS:
        view = scene_view(photo, name, photo_seed(photo, 0))
        true = true_scene(photo, name, view, np.arange(FRAMES), SIZE, (123,))
    else:
        true = moved(question, name)
    assert np.array_equal(true[0], question.photo)
    small = np.stack([cv2.resize(frame, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA) for frame in true])
    return GeneratedClip(small, np.repeat(true, 3, axis=0), np.arange(3 * FRAMES) / 3)


def stays(question: ClipRequest) -> GeneratedClip:
    return GeneratedClip(np.repeat(question.photo[None], FRAMES, axis=0))


def mirrored(question: ClipRequest) -> GeneratedClip:
    name, _, side = by_prompt(question)[1].partition("_")
    return GeneratedClip(moved(question, f"{name}_{MIRROR[side]}")) if side else GeneratedClip(moved(question, name))


def noisy(question: ClipRequest) -> GeneratedClip:
    true, rng = moved(question, by_prompt(question)[1]), np.random.default_rng(0)
    return GeneratedClip(np.concatenate([true[:1], (true[1:] + rng.normal(0, 12, true[1:].shape)).clip(0, 255).astype(np.uint8)]))


@pytest.fixture(scope="module")
def report() -> dict:
    seen: list[float] = []
    made = evaluate_motion(
        oracle, PHOTOS, size=SIZE, num_frames=FRAMES, scene_photos=PHOTOS[1:2], progress=lambda share, text: seen.append(share)
    )
    assert seen == sorted(seen) and seen[-1] == 1 and len(seen) == len(PHOTOS) * len(PROMPTS) + 3
    return made


def test_every_motion_has_a_prompt_of_the_training_data_and_a_direction() -> None:
    assert set(EXPECTED_COMPONENTS) == set(CAMERA_MOTIONS)
    assert set(PROMPTS) == {*CAMERA_MOTIONS, "still"}
    for name, prompt in PROMPTS.items():
        plain = {" ".join(wording.format(ly="", how="", a="a").split()) for wording in MOTIONS[name].wordings}
        assert prompt in plain, f"{prompt!r} is not how the training data words {name} at medium speed"


def test_the_truly_moved_clip_passes_every_check(report: dict) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    rendered = report["overall"]["rendered"]
    assert rendered["right"] == {"value": 1, "low": 1, "high": 1, "num_photos": 3}
    assert rendered["psnr"]["value"] == SAME_DB and rendered["sharpness"]["value"] == 1
    assert rendered["ssim"]["value"] == pytest.approx(1)
    assert report["still"]["rendered"]["lowest_psnr"] == SAME_DB
    assert report["judged"] == "rendered" and all(check["passed"] for check in report["checks"].values())


def test_three_clips_stand_side_by_side_at_one_size(report: dict) -> None:
    assert list(report["overall"]) == ["network", "rendered", "still"]
    network, still = report["overall"]["network"], report["overall"]["still"]
    assert network["right"]["value"] > 0.9  # half the size costs pixels, not motion
    assert still["psnr"]["value"] < network["psnr"]["value"] < 40 and network["sharpness"]["value"] < 0.5
    assert still["right"]["value"] == 0 and still["gain_db"]["value"] == 0
    assert report["per_motion"]["still"]["still"]["right"]["value"] == 1
    assert report["still"]["still"]["still_to_pan_flow"]["value"] is None  # no pan moved: nothing to be calmer than
    assert len(report["clips"]) == 3 * len(PHOTOS) * len(PROMPTS)


def test_scenes_of_true_clips_are_right_and_of_still_ones_never(report: dict) -> None:
    scenes = report["scenes"]
    assert set(scenes["per_scene"]) == {"smoke", "snow", "rain"} and scenes["num_clips"] == 3 and scenes["chance"] < 0.15
    assert scenes["right"]["true"]["value"] == scenes["right"]["rendered"]["value"] == 1
    assert scenes["right"]["still"]["value"] == 0
    assert {row["source"] for row in report["scene_clips"]} == {"network", "rendered", "still", "true"}


def test_the_tables_say_what_the_report_says(report: dict) -> None:
    overall, motions, scenes = motion_tables(report).split("\n\n")
    assert overall.splitlines()[0].startswith(
        "| 3 photos at 128 × 128 [95 % interval over photos] | network's own frames | rendered clip |"
    )
    assert "| camera clips that go where told |" in overall and "| 100 % [100, 100] | 0 % [0, 0] |" in overall
    assert [row.split(" | ")[0][2:] for row in motions.splitlines()[2:]] == [name.replace("_", " ") for name in PROMPTS]
    assert "chance" in scenes.splitlines()[0] and scenes.splitlines()[-1].startswith("| verdicts dealt anew |")
    for table in (overall, motions, scenes):
        assert len({row.count("|") for row in table.splitlines()}) == 1


def test_a_still_clip_goes_nowhere_and_gains_nothing() -> None:
    made = evaluate_motion(stays, PHOTOS[:1], size=SIZE, num_frames=FRAMES)
    assert made["overall"]["network"]["right"]["value"] == made["overall"]["network"]["gain_db"]["value"] == 0
    passed = {name for name, check in made["checks"].items() if check["passed"]}
    assert "still_lowest_psnr_db" in passed and not passed & {"goes_where_told", "psnr_db", "ssim", "still_to_pan_flow"}
    assert made["scenes"]["num_clips"] == 0 and len(motion_tables(made).split("\n\n")) == 2


def test_a_mirrored_motion_is_wrong_however_sharp() -> None:
    made = evaluate_motion(mirrored, PHOTOS[:1], size=SIZE, num_frames=FRAMES)
    assert made["overall"]["network"]["right"]["value"] == 0
    assert made["overall"]["network"]["gain_db"]["value"] < 0 and made["overall"]["network"]["sharpness"]["value"] > 0.5


def test_a_clip_of_another_rate_stands_beside_the_truth_of_its_own_times() -> None:
    def rendered(question: ClipRequest) -> GeneratedClip:
        photo, name = by_prompt(question)
        times = np.linspace(0, FRAMES - 1, 9)  # hardly one of them is the time of a frame of the network's
        still, view = stays(question), true_clip(photo, name, np.arange(FRAMES), size=SIZE, seed=0)[1]
        return GeneratedClip(still.network, true_clip(photo, name, times, size=SIZE, seed=0, view=view)[0], times)

    made = evaluate_motion(rendered, PHOTOS[:1], size=SIZE, num_frames=FRAMES, motions=("pan_left", "roll_right"))
    assert made["overall"]["rendered"]["psnr"]["value"] > 45 and made["overall"]["rendered"]["right"]["value"] == 1
    assert made["overall"]["network"]["right"]["value"] == 0


def test_what_was_not_measured_does_not_pass() -> None:
    made = evaluate_motion(oracle, PHOTOS[:1], size=SIZE, num_frames=FRAMES, motions=("tilt_up",))
    assert made["checks"]["goes_where_told"]["passed"]
    assert made["checks"]["still_to_pan_flow"] == {"value": None, "wanted": "<=", "threshold": 0.25, "passed": False}
    assert not made["checks"]["still_lowest_psnr_db"]["passed"]


def test_one_answer_to_all_is_no_more_than_chance() -> None:
    rows = [
        {"photo": f"{name} {i}", "scene": name, "source": source, "chance": 0.1, "right": nearest == name, "nearest": nearest}
        for name, number in (("light", 6), ("snow", 3), ("waves", 1))
        for i in range(number)
        for source, nearest in (("network", "light"), ("true", name))
    ]
    found = scene_summary(rows)
    assert found["right"]["network"]["value"] == found["by_habit"]["network"] == pytest.approx(0.6)
    assert found["right"]["true"]["value"] == 1 and found["by_habit"]["true"] == pytest.approx(0.46)
    assert found["taken_for"]["network"] == {"snow": {"light": 3}, "waves": {"light": 1}, "light": {"light": 6}}


def test_scenes_are_asked_on_photos_they_suit_and_on_so_many() -> None:
    photos = [Photo(f"sea {i}", PHOTOS[0].pixels, kind="sea") for i in range(5)] + [Photo("fire", PHOTOS[0].pixels, kind="fire")]
    asked = [(photo.name, name) for photo, name in asked_scenes(photos, 2)]
    assert asked == [("sea 0", "water_ripples"), ("sea 0", "waves"), ("sea 4", "water_ripples"), ("sea 4", "waves"),
                     ("fire", "flames"), ("fire", "smoke")]  # fmt: skip
    assert asked_scenes(photos, 0) == []


def test_two_runs_are_compared_motion_by_motion(report: dict) -> None:
    worse = evaluate_motion(noisy, PHOTOS, size=SIZE, num_frames=FRAMES)
    found = {(one["what"], one["figure"]): one for one in compare(worse, report)}
    assert found["camera motions", "psnr"]["verdict"] == found["pan_left", "psnr"]["verdict"] == "worse"
    assert found["still", "least_psnr_to_photo"]["verdict"] == "worse"
    assert found["camera motions", "right"]["verdict"] == "no difference"
    assert {one["verdict"] for one in compare(report, report)} == {"no difference"}
    assert {what for what, _ in found} >= {*PROMPTS, "network's own frames"}
    text = line(found["pan_left", "psnr"])
    assert text.startswith("pan left: worse, PSNR -") and text.endswith("dB, 3 photos") and "\n" not in text
    assert any(one["figure"] == "margin" for one in compare(report, report))


def test_runs_that_were_not_measured_alike_are_not_compared(report: dict) -> None:
    with pytest.raises(ValueError, match="size 128 and 256"):
        compare(report, {**report, "protocol": {**report["protocol"], "size": 256}})
    with pytest.raises(ValueError, match="same photos"):
        compare(report, {**report, **summary(report["clips"], []), "clips": [{**c, "photo": "other"} for c in report["clips"]]})


def test_wrong_sizes_and_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"wanted a clip of shape \(9, n, n, 3\), uint8; got \(6, 128, 128, 3\)"):
        evaluate_motion(stays, PHOTOS, size=SIZE, num_frames=9)
    with pytest.raises(ValueError, match="jump"):
        evaluate_motion(stays, PHOTOS, size=SIZE, motions=("jump",))
    with pytest.raises(ValueError, match="0 photos"):
        evaluate_motion(stays, [], size=SIZE)


def test_contact_sheet_shows_first_and_last_frame(tmp_path) -> None:
    clip = true_clip(PHOTOS[0], "pan_left", np.arange(16), size=SIZE, seed=0)[0]
    path = contact_sheet([clip, clip[:2]], ["pan left", "two frames"], tmp_path / "sheet.png", columns=4)
    sheet = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    assert sheet.shape == (2 * (SIZE + 20), 4 * (SIZE + 2), 3)
    assert np.array_equal(sheet[18 : 18 + SIZE, :SIZE], clip[0])
    assert np.array_equal(sheet[18 : 18 + SIZE, 3 * (SIZE + 2) : -2], clip[-1])
    with pytest.raises(ValueError, match="2 clips, 1 labels"):
        contact_sheet([clip, clip], ["one"], tmp_path / "sheet.png")
    with pytest.raises(ValueError, match="choose a folder"):
        contact_sheet([clip], ["one"], tmp_path / "missing" / "sheet.png")
