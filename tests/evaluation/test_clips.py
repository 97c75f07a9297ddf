"""What a model is asked and what it gives back: the photo is the first frame, the rest of it lies around; one size and one time for all."""

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from trip.data.photos import Photo
from trip.evaluation.clips import GeneratedClip, clip_request, evenly, true_clip
from trip.evaluation.similarity import frame_psnr
from trip.media import fit_photo

SIZE = 96
PHOTO = Photo("astronaut", cv2.resize(astronaut(), (480, 320), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("seed", range(4))
def test_the_crop_of_the_whole_photo_is_the_first_frame(seed: int) -> None:
    true, view = true_clip(PHOTO, "pan_left", np.arange(3), size=SIZE, seed=seed)
    question = clip_request(PHOTO, true[0], view, "the camera pans left", seed)
    assert np.array_equal(question.photo, true[0])
    assert np.array_equal(fit_photo(Image.fromarray(question.whole), SIZE, box=question.crop), true[0])
    assert question.whole.shape[1] / question.whole.shape[0] == pytest.approx(480 / 320, rel=0.03)


@pytest.mark.parametrize("seed", range(4))
def test_the_surroundings_are_what_a_pan_comes_to_show(seed: int) -> None:
    true, view = true_clip(PHOTO, "pan_left", np.arange(16), size=SIZE, seed=seed)
    question = clip_request(PHOTO, true[0], view, "the camera pans left", seed)
    left = question.left - round(0.2 * SIZE)  # a pan to the left goes there, a fifth of the view
    panned = question.whole[question.top : question.top + SIZE, left : left + SIZE]
    assert frame_psnr(panned[None], true[-1:])[0] > 24  # the way is not a whole number of pixels
    assert frame_psnr(true[:1], true[-1:])[0] < 20


def test_of_a_tiny_photo_the_view_is_all_there_is() -> None:
    tiny = Photo("tiny", PHOTO.pixels[:40, :40].copy())
    true, view = true_clip(tiny, "still", np.arange(2), size=SIZE, seed=0)
    question = clip_request(tiny, true[0], view, "nothing moves", 0)
    assert np.array_equal(question.whole, true[0]) and question.crop == (0, 0, 1, 1)


def test_the_true_clip_is_the_same_for_the_same_photo_and_seed() -> None:
    first, again, other = (true_clip(PHOTO, "roll_left", np.arange(3), size=32, seed=seed)[0] for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_the_same_view_can_be_drawn_at_other_times() -> None:
    clip, view = true_clip(PHOTO, "zoom_in", np.arange(5.0), size=48, seed=1)
    again, same = true_clip(PHOTO, "zoom_in", np.array([0, 1.5, 3]), size=48, seed=1, view=view)
    assert same == view
    assert frame_psnr(again[[0, 2]], clip[[0, 3]]).min() > 45  # the photo may be shrunk by another factor first
    assert frame_psnr(again[1:2], clip[1:2])[0] < 40


def test_of_rendered_frames_those_nearest_to_the_networks_are_taken() -> None:
    network = np.zeros((4, 32, 32, 3), np.uint8)
    rendered = np.broadcast_to(np.arange(10, dtype=np.uint8)[:, None, None, None], (10, 64, 64, 3))
    found = GeneratedClip(network, list(rendered), np.linspace(0, 3, 10)).sources(64, 4)
    assert found["rendered"][0][:, 0, 0, 0].tolist() == [0, 3, 6, 9] and found["rendered"][1] == pytest.approx([0, 1, 2, 3])
    sparse = GeneratedClip(network, rendered[:8], np.linspace(0, 3, 8)).sources(64, 4)
    assert sparse["rendered"][1] == pytest.approx(np.array([0, 2, 5, 7]) * 3 / 7)
    assert found["network"][0].shape == (4, 64, 64, 3)
    assert set(GeneratedClip(network).sources(64, 4)) == {"network"}


def test_clips_that_do_not_fit_are_refused() -> None:
    network, rendered = np.zeros((4, 32, 32, 3), np.uint8), np.zeros((7, 64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=r"wanted a clip of shape \(9, n, n, 3\), uint8; got \(4, 32, 32, 3\)"):
        GeneratedClip(network).sources(64, 9)
    with pytest.raises(ValueError, match="rendered frames of 96 x 96, uint8; got 64 x 64"):
        GeneratedClip(network, rendered).sources(96, 4)
    with pytest.raises(ValueError, match="one that is 0.60 frames away"):
        GeneratedClip(network, rendered, np.arange(7) * 0.4).sources(64, 4)
    with pytest.raises(ValueError, match="4 times and 7 frames"):
        GeneratedClip(network, rendered, np.arange(4)).sources(64, 4)
    with pytest.raises(ValueError, match="uint8; got .* float64"):
        GeneratedClip(network.astype(float)).sources(64, 4)


def test_photos_are_taken_from_all_along_the_list() -> None:
    photos = [Photo(str(number), PHOTO.pixels) for number in range(9)]
    assert [photo.name for photo in evenly(photos, 3)] == ["0", "4", "8"]
    assert evenly(photos, None) == photos == evenly(photos, 20)
