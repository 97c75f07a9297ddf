"""A clip is rendered: known motions of a textured photo against the truly moved photo; light, surroundings, sizes, rates."""

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from trip.data.motion import PAN_SHIFT, PARALLAX_NEAR, REFERENCE_FRAMES, ROLL_ANGLE, ZOOM_FACTOR, _photograph, _pose, _true_places
from trip.data.prompts import Motion
from trip.data.scene import Source
from trip.diffusion import arrival_share
from trip.media import fit_photo, fitted_part, read_photo
from trip.model.warp import REFERENCE_FRAMES as UNIT
from trip.model.warp import MotionField
from trip.output import AnimatedClip
from trip.render import Rendering, output_shape
from trip.render.motion import ClipMotion

MODEL, NUM_FRAMES, FPS = 64, 9, 8.0
CROP = (0.25, 0.25, 0.5, 0.5)  # of the photo: what the network sees
CAMERA = {
    "pan_right": [[0, 0, 2 * PAN_SHIFT], [0, 0, 0], [0, 0, 0]],
    "tilt_up": [[0, 0, 0], [0, 0, -2 * PAN_SHIFT], [0, 0, 0]],
    "zoom_in": [[-np.log(ZOOM_FACTOR), 0, 0], [0, -np.log(ZOOM_FACTOR), 0], [0, 0, 0]],
    "zoom_out": [[np.log(ZOOM_FACTOR), 0, 0], [0, np.log(ZOOM_FACTOR), 0], [0, 0, 0]],
    "roll_left": [[0, -ROLL_ANGLE, 0], [ROLL_ANGLE, 0, 0], [0, 0, 0]],
}


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A photo with texture of every size down to some pixels: 512 x 512."""
    noise = np.random.default_rng(0).normal(0, 1, (512, 512, 3)).astype(np.float32)
    layers = [cv2.GaussianBlur(noise, (0, 0), sigma) * sigma * weight for sigma, weight in ((1.6, 20), (3, 26), (12, 40))]
    return Image.fromarray(np.clip(128 + 2 * sum(layers), 0, 255).astype(np.uint8))


def field(name: str = "still", scene: np.ndarray | None = None, gone: float = 0.0) -> MotionField:
    """A motion of the camera, and of the scene 4 g g, at medium speed; and at what rate the photo goes out of sight."""
    camera = torch.tensor(CAMERA.get(name, np.zeros((3, 3))), dtype=torch.float32) * UNIT / REFERENCE_FRAMES
    ways = np.zeros((4, 24, 24)) if scene is None else scene
    return MotionField(camera[None], torch.tensor(np.concatenate([ways, np.full((1, 24, 24), gone)]), dtype=torch.float32)[None])


def moved(photo: Image.Image, name: str, **more) -> AnimatedClip:
    """What a network gives that draws a motion as it is."""
    times = np.arange(NUM_FRAMES) * (REFERENCE_FRAMES / (NUM_FRAMES - 1))
    return drawn(photo, field(name), truth(photo, name, times, MODEL)[0], **more)


def drawn(photo: Image.Image, motion: MotionField | None, frames: np.ndarray | None = None, crop=CROP, **more) -> AnimatedClip:
    """What a network gives that sees the crop; as its frames, where none are given, the photo that stands still."""
    first = fit_photo(photo, MODEL, box=crop)
    frames = np.stack([first] * NUM_FRAMES) if frames is None else frames
    given = {"times": np.arange(len(frames), dtype=np.float32) * (REFERENCE_FRAMES / (len(frames) - 1)), **more}
    part = fitted_part(photo.size, *frames.shape[1:3], crop)
    return AnimatedClip(frames=frames, fps=FPS, metadata={}, photo=photo, part=part, decoded_photo=frames[0], field=motion, **given)


def truth(photo: Image.Image, name: str, times: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The crop really moved, and the true places."""
    pixels, deep = np.asarray(photo), name.startswith("parallax")
    source = Source(pixels, np.ones(pixels.shape[:2], np.float32), photo.width / 2, (photo.width / 2, photo.height / 2))
    poses = [_pose((Motion(name),), time) for time in times]
    frames = [_photograph(pixels, source, pose, deep, 2 * size) for pose in poses]
    places = np.stack([_true_places(source, pose, deep, []) for pose in poses])
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames]), places


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9)))


def sharpness(picture: np.ndarray) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), cv2.CV_32F).var())


# motion


@pytest.mark.parametrize("name", CAMERA)
def test_a_known_move_of_the_camera_is_the_truly_moved_photo(photo, name):
    """Also where the crop ends: there the rest of the photo comes into view."""
    made = moved(photo, name)
    frames = Rendering(made, rate=FPS)
    true, _ = truth(photo, name, made.times, 256)
    assert frames.shape == (256, 256) and len(frames) == NUM_FRAMES
    for index in (0, 4, 8):
        assert psnr(frames[index][4:-4, 4:-4], true[index][4:-4, 4:-4]) > 35
    assert sharpness(frames[8]) > 0.9 * sharpness(true[8])
    assert frames.photo_share == 1


def test_a_known_parallax_is_the_truly_moved_photo(photo):
    times = np.arange(NUM_FRAMES) * (REFERENCE_FRAMES / (NUM_FRAMES - 1))
    true, places = truth(photo, "parallax_right", times, 256)
    s = times / UNIT
    ways = np.linalg.lstsq(np.stack([s, s**2], 1), (places - places[0]).reshape(NUM_FRAMES, -1), rcond=None)[0]
    motion = field(scene=ways.reshape(2, 24, 24, 2).transpose(0, 3, 1, 2).reshape(4, 24, 24))
    made = drawn(photo, motion, truth(photo, "parallax_right", times, MODEL)[0])
    frames = Rendering(made, rate=FPS)
    inner = slice(16, -16)  # the field's outer cells end half a cell within the frame
    assert abs(motion.scene[0, 0]).max() > PARALLAX_NEAR
    for index in (4, 8):
        assert psnr(frames[index][inner, inner], true[index][inner, inner]) > 33
    assert sharpness(frames[8]) > 0.9 * sharpness(true[8])


@pytest.mark.parametrize("rate", [8.0, 24.0])
def test_a_still_clip_is_the_photo_bit_for_bit(photo, rate):
    frames = Rendering(drawn(photo, field()), rate=rate)
    fitted = fit_photo(photo, 256, box=CROP).astype(int)
    assert len(frames) == round(NUM_FRAMES / FPS * rate)
    assert all(np.abs(frame - fitted).max() <= 1 for frame in frames)


@pytest.mark.parametrize("name", [*CAMERA, "still"])
def test_frame_0_is_the_photo(photo, name):
    first = Rendering(moved(photo, name))[0]
    assert psnr(first, fit_photo(photo, 256, box=CROP)) > (35 if name == "zoom_in" else 48)


def test_what_a_small_photo_does_not_show_comes_from_the_frames(photo):
    """The crop is all there is: what comes into view is what the network drew there, at its place, and steady."""
    inside = photo.crop((128, 128, 384, 384))
    true, _ = truth(photo, "pan_right", np.arange(NUM_FRAMES) * REFERENCE_FRAMES / (NUM_FRAMES - 1), MODEL)
    frames = Rendering(drawn(inside, field("pan_right"), true, crop=(0, 0, 1, 1)), rate=FPS)
    enlarged = cv2.resize(true[-1], (256, 256), interpolation=cv2.INTER_CUBIC)
    assert psnr(frames[-1][:, -48:], enlarged[:, -48:]) > 27
    assert 0.85 < frames.photo_share < 0.95
    shift = round(256 * PAN_SHIFT / 8)
    assert psnr(frames[7][:, shift:], frames[8][:, :-shift]) > 30


# light, and what is new


def test_light_that_fades_in_the_frames_fades_in_the_clip(photo):
    fading = 1 - 0.5 * np.linspace(0, 1, NUM_FRAMES)
    first = fit_photo(photo, MODEL, box=CROP)
    frames = Rendering(drawn(photo, field(), np.stack([(first * gain).round().astype(np.uint8) for gain in fading])), rate=FPS)
    fitted = fit_photo(photo, 256, box=CROP)
    for index in (0, 4, 8):
        assert psnr(frames[index], fitted * fading[index]) > 30
    means = [frame.mean() for frame in frames]
    assert all(a > b for a, b in zip(means[:-1], means[1:], strict=True))


def snowed(photo: Image.Image) -> np.ndarray:
    """Frames on which a flake falls."""
    frames = np.stack([fit_photo(photo, MODEL, box=CROP)] * NUM_FRAMES)
    for index, frame in enumerate(frames[1:], start=1):
        cv2.circle(frame, (30, 4 + 6 * index), 3, (255, 255, 255), -1)
    return frames


def test_what_is_new_is_seen_where_the_field_lets_go_of_the_photo(photo):
    with_flake = Rendering(drawn(photo, field(gone=0.5), snowed(photo)), rate=FPS)
    without = Rendering(drawn(photo, field(gone=0.0), snowed(photo)), rate=FPS)
    fitted = fit_photo(photo, 256, box=CROP)
    for index in (3, 8):
        y = 4 * (4 + 6 * index)
        assert with_flake[index][y - 2 : y + 4, 118:124].mean() > 215
        assert np.abs(with_flake[index][:, :64].astype(int) - fitted[:, :64]).max() <= 1
        assert psnr(without[index], fitted) > 45
    assert with_flake.photo_share < 1


@pytest.mark.parametrize(("name", "shows"), [("still", True), ("pan_right", False)])
def test_what_is_faintly_new_is_seen_where_nothing_moves(photo, name, shows):
    """As snow is: the field lets go of less than a tenth of the photo, the frames are some grey levels brighter in places."""
    made = moved(photo, name)
    frames = made.frames.astype(np.float32)
    frames[1:, 24:40, 24:40] += 14
    bright = replace(made, frames=frames.clip(0, 255).astype(np.uint8), field=field(name, gone=0.09))
    plain, seen = (Rendering(one, rate=FPS)[8].astype(float)[112:144, 112:144] for one in (made, bright))
    assert ((seen - plain).mean() > 7) == shows


def test_a_clip_at_rest_is_told_from_one_that_moves(photo):
    times = np.array([0.0, REFERENCE_FRAMES / 2, REFERENCE_FRAMES])
    assert ClipMotion(drawn(photo, field())).moving(times) == 0
    assert ClipMotion(drawn(photo, field("pan_right"))).moving(times) == 1
    assert ClipMotion(drawn(photo, field("pan_right"))).moving(times[:1]) == 0
    assert ClipMotion(drawn(photo, None)).moving(times) == 1
    assert ClipMotion(drawn(photo, field(scene=np.full((4, 24, 24), 0.05)))).moving(times) == 1
    there_and_back = np.full((4, 24, 24), 0.1)
    there_and_back[2:] *= -UNIT / REFERENCE_FRAMES  # d_2 against d_1: home at the end
    swaying = ClipMotion(drawn(photo, field(scene=there_and_back)))
    assert swaying.moving(times[[0, 2]]) < 0.1 and swaying.moving(times) == 1


def test_without_a_field_the_frames_flow_moves_the_photo(photo):
    true, _ = truth(photo, "pan_right", np.arange(NUM_FRAMES) * 0.5 * REFERENCE_FRAMES / (NUM_FRAMES - 1), 2 * MODEL)
    frames = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in true])
    large, _ = truth(photo, "pan_right", np.arange(NUM_FRAMES) * 0.5 * REFERENCE_FRAMES / (NUM_FRAMES - 1), 256)
    clip = Rendering(drawn(photo, None, frames), rate=FPS)
    enlarged = cv2.resize(frames[-1], (256, 256), interpolation=cv2.INTER_CUBIC)
    inner = (slice(40, -40), slice(40, -60))
    assert psnr(clip[8][inner], large[8][inner]) > psnr(enlarged[inner], large[8][inner]) + 2


# time


def test_between_the_networks_frames_the_camera_moves_on(photo):
    made = moved(photo, "pan_right")
    frames = Rendering(made, rate=24.0)
    assert len(frames) == 27 and frames.fps == 24.0
    times = np.linspace(0, made.times[-1], 27)
    true, _ = truth(photo, "pan_right", times, 256)
    assert min(psnr(frames[index][:, 4:-4], true[index][:, 4:-4]) for index in range(0, 27, 5)) > 35


def test_a_loop_comes_home(photo):
    rise = np.array([0, 3, 6, 9, 12, 12, 9, 6, 3], np.float32)
    made = drawn(photo, field("pan_right"), truth(photo, "pan_right", rise, MODEL)[0], times=rise, loop=True)
    frames = Rendering(made, rate=16.0)
    fitted = fit_photo(photo, 256, box=CROP)
    nearest = [psnr(frame, fitted) for frame in frames]
    assert len(frames) == 18 and nearest[0] > 48
    assert nearest[1] == pytest.approx(nearest[-1], abs=3) and min(nearest) == min(nearest[8:11])


@pytest.mark.parametrize("name", ["still", "pan_right"])
def test_a_clip_that_arrives_at_another_photo_dissolves_into_it(photo, name):
    """Both photos' own pixels, whatever the network's frames look like between them; the last frame is the second photo."""
    other = Image.fromarray(np.asarray(photo)[::-1, ::-1] // 2)
    plain, there = moved(photo, name), fit_photo(other, MODEL)
    blurred = cv2.blur(there, (5, 5))
    share = arrival_share(torch.linspace(0, 1, NUM_FRAMES)).numpy()[:, None, None, None]
    frames = ((1 - share) * plain.frames + share * blurred).round().astype(np.uint8)
    made = replace(plain, frames=frames, last_photo=other, decoded_last=blurred)
    clip, without = Rendering(made, rate=16.0), Rendering(plain, rate=16.0)
    fitted = fit_photo(other, 256)
    assert np.array_equal(clip[-1], fitted) and all(psnr(clip[index], without[index]) > 40 for index in range(10))
    middle = int(np.abs(made.arrived(clip.at) - 0.5).argmin())
    part = float(made.arrived(clip.at)[middle])
    assert 0.3 < part < 0.7 and psnr(clip[middle], (1 - part) * without[middle] + part * fitted) > 34
    assert clip.photo_share > without.photo_share - 0.01


def test_the_networks_own_frames_are_a_size(photo):
    made = drawn(photo, field("pan_right"), snowed(photo))
    frames = Rendering(made, "model", rate=24.0)
    assert frames.fps == FPS and np.array_equal(np.stack(list(frames)), made.frames)


# sizes


@pytest.mark.parametrize(
    "photo_size, aspect, size, shape",
    [
        ((2160, 3840), (64, 64), "auto", (768, 768)),
        ((2160, 3840), (64, 64), "1024", (1024, 1024)),
        ((2160, 3840), (48, 80), "photo", (1080, 1800)),
        ((3840, 2160), (80, 48), "512", (854, 512)),
        ((300, 500), (64, 64), "1024", (300, 300)),
        ((31, 47), (64, 64), "auto", (62, 62)),
        ((100, 100), (64, 64), "photo", (128, 128)),
        ((700, 700), (64, 64), "model", (64, 64)),
    ],
)
def test_a_clip_is_no_larger_than_its_photo(photo_size, aspect, size, shape):
    whole = Image.new("RGB", photo_size[::-1])
    frames = np.zeros((2, *aspect, 3), np.uint8)
    made = AnimatedClip(frames, FPS, {}, whole, fitted_part(whole.size, *aspect), frames[0], np.arange(2, dtype=np.float32))
    assert output_shape(made, size) == shape


def test_an_unknown_size_is_refused(photo):
    with pytest.raises(ValueError, match="^unknown size '640'; choose model, auto, 512, 768, 1024, photo$"):
        output_shape(drawn(photo, None), "640")


@pytest.mark.parametrize("shape, crop", [((48, 80), (0, 0, 1, 1)), ((80, 48), (0.1, 0.1, 0.7, 0.6))])
@pytest.mark.parametrize("kind", ["tiny", "grey", "alpha", "large"])
def test_photos_of_every_kind_are_rendered(photo, shape, crop, kind):
    kinds = {
        "tiny": photo.resize((40, 50)),
        "grey": photo.convert("L"),
        "alpha": Image.merge("RGBA", (*photo.split(), photo.getchannel(0))),
        "large": photo.resize((3840, 2160)),
    }
    whole = read_photo(kinds[kind])
    frames = np.stack([fit_photo(whole, *shape, crop)] * NUM_FRAMES)
    clip = Rendering(drawn(whole, field("zoom_out"), frames, crop), "photo", rate=4.0)
    assert clip.shape == output_shape(clip.clip, "photo") and all(frame.shape == (*clip.shape, 3) for frame in clip)
    assert psnr(clip[0], fit_photo(whole, *clip.shape, crop)) > 40


def test_memory_does_not_grow_with_the_clip(photo):
    def peak(num_frames: int) -> int:
        frames = Rendering(drawn(photo, field("pan_right"), np.stack([fit_photo(photo, MODEL, box=CROP)] * 9)), rate=num_frames)
        tracemalloc.start()
        for frame in frames:
            assert frame.nbytes == 3 * 256 * 256
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(56) < 1.2 * peak(14)
