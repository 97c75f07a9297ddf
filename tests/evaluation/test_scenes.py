"""The judge of scenes: true clips of other seeds are known again, also damaged as a small model gives them; what shows nothing is not."""

import cv2
import numpy as np
import pytest
from skimage.data import coffee

from trip.data.photos import Photo
from trip.data.prompts import MOTIONS
from trip.data.scene import SCENE_EFFECTS
from trip.evaluation import scenes
from trip.evaluation.scenes import NOTHING, SCENE_PROMPTS, SceneClassifier, scene_classifier, scene_view, scenes_for, signature, true_scene

TIMES = np.arange(12.0)


def landscape() -> np.ndarray:
    """Sky with clouds over greenery over water, with the texture of a real photo, and something that burns."""
    rng = np.random.default_rng(0)
    texture = cv2.resize(coffee(), (480, 360)).astype(np.float32).mean(axis=2, keepdims=True) - 110
    clouds = cv2.GaussianBlur(rng.normal(0, 1, (360, 480)).astype(np.float32), (0, 0), 9)[..., None] * 500
    y = np.linspace(0, 1, 360)[:, None, None]
    picture = np.where(y < 0.4, np.array([130, 170, 230]) + clouds, np.where(y < 0.6, [60, 120, 50], [40, 90, 130]) + 0.5 * texture)
    picture[170:230, 200:260] = [250, 170, 60] + 0.4 * texture[170:230, 200:260]
    return picture.clip(0, 255).astype(np.uint8)


PHOTO = Photo("landscape", landscape())


@pytest.fixture(scope="module")
def classifier() -> SceneClassifier:
    return scene_classifier(PHOTO, scene_view(PHOTO, "snow", (0,)), TIMES, (0, 1))


def clip_of(name: str, seed: int, size: int = 128) -> np.ndarray:
    return true_scene(PHOTO, name, scene_view(PHOTO, "snow", (0,)), TIMES, size, (7, seed))


def damaged(clip: np.ndarray) -> np.ndarray:
    """Weaker, softer, and each frame but the first with noise of its own."""
    rng, change = np.random.default_rng(0), 0.7 * (clip[1:].astype(np.float32) - clip[:1])
    soft = [
        cv2.GaussianBlur(frame + clip[0], (0, 0), 1.2) + cv2.GaussianBlur(rng.normal(0, 3, frame.shape), (0, 0), 1.5) for frame in change
    ]
    return np.concatenate([clip[:1], np.round(soft).clip(0, 255).astype(np.uint8)])


def test_every_scene_has_a_prompt_of_the_training_data() -> None:
    assert list(SCENE_PROMPTS) == list(SCENE_EFFECTS)
    for name, prompt in SCENE_PROMPTS.items():
        assert prompt in {" ".join(wording.format(ly="", how="", a="a").split()) for wording in MOTIONS[name].wordings}, name


def test_true_clips_of_other_seeds_are_known_again(classifier: SceneClassifier) -> None:
    assert len(classifier.names) >= 8 and classifier.names[-1] == NOTHING
    asked = [(name, seed) for name in classifier.names[:-1] for seed in range(2)]
    right = np.mean([classifier.verdict(clip_of(name, seed), name)["right"] for name, seed in asked])
    assert right >= 0.9  # chance: one in nine to eleven


def test_so_are_damaged_ones_and_those_of_another_size(classifier: SceneClassifier) -> None:
    asked = classifier.names[:-1]
    assert np.mean([classifier.verdict(damaged(clip_of(name, 5)), name)["right"] for name in asked]) >= 0.6
    assert np.mean([classifier.verdict(clip_of(name, 6, size=192), name)["right"] for name in asked]) >= 0.8


def test_a_still_clip_is_nothing_and_right_nowhere(classifier: SceneClassifier) -> None:
    still = np.repeat(clip_of("snow", 0)[:1], len(TIMES), axis=0)
    for name in classifier.names[:-1]:
        verdict = classifier.verdict(still, name)
        assert verdict["nearest"] == NOTHING and not verdict["right"] and verdict["margin"] < 0


def test_what_an_autoencoder_loses_of_the_photo_is_no_change(classifier: SceneClassifier) -> None:
    still = np.repeat(clip_of("snow", 0)[:1], len(TIMES), axis=0)
    still[1:] = cv2.GaussianBlur(still[0], (0, 0), 2)
    assert classifier.verdict(still, "light")["nearest"] == NOTHING


def test_the_other_direction_is_wrong(classifier: SceneClassifier) -> None:
    verdict = classifier.verdict(clip_of("clouds_right", 3), "clouds_left")
    assert verdict["nearest"] == "clouds_right" and verdict["margin"] < 0


def test_a_scene_with_nothing_to_move_is_no_candidate() -> None:
    grey = Photo("grey", np.full((300, 300, 3), 120, np.uint8))
    names = scene_classifier(grey, scene_view(grey, "snow", (0,)), TIMES, (0,)).names
    assert "leaves" not in names and {"snow", "rain", "light", NOTHING} <= set(names)


def test_where_no_scene_shows_the_still_photo_is_all_there_is(monkeypatch) -> None:
    monkeypatch.setattr(scenes, "changes", lambda clip: False)
    assert scene_classifier(PHOTO, scene_view(PHOTO, "snow", (0,)), TIMES, (0, 1)).names == (NOTHING,)


def test_a_signature_does_not_depend_on_the_pattern() -> None:
    snow, other, rain = (signature(clip_of(name, seed)) for name, seed in (("snow", 1), ("snow", 2), ("rain", 1)))
    assert np.linalg.norm(snow - other) < 0.4 * np.linalg.norm(snow - rain)
    assert np.isfinite(signature(np.full((5, 64, 64, 3), 7, np.uint8))).all()


def test_scenes_suit_the_kind_of_photo() -> None:
    assert set(scenes_for(Photo("a", PHOTO.pixels, kind="sea"))) == {"water_ripples", "waves"}
    assert scenes_for(PHOTO) == list(SCENE_PROMPTS)
