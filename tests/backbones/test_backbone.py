"""Video models by others behind one interface: every row of the catalogue by its tiny twin."""

from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from trip.backbones import backbone
from trip.backbones.kinds import KINDS
from trip.backbones.opening import acquire
from trip.data.motion import photo_in_motion
from trip.data.prompts import camera_told
from trip.first_frame.catalogue import CARDS, cards
from trip.media import fit_photo
from trip.model.latents import round_trip
from trip.pipeline import Interrupted
from trip.prior import Shares, encode_photo
from trip.settings import AnimateSettings

TWINS = [name for name in cards("video") if name != "zeroscope"]  # which is ModelScope's class at another size
HELD = [name for name in TWINS if name not in ("text2video-zero", "ltx")]
BLIND = ["animatediff", "animatelcm", "modelscope"]  # to the photo, but for the prior
SHAPES = {"animatediff": (16, 32), "animatelcm": (16, 32), "text2video-zero": (8, 32), "modelscope": (16, 32), "i2vgen-xl": (4, 64)}
SHAPES |= {"wan-ti2v-5b": (9, 64), "cogvideox-i2v": (9, 64), "ltx": (9, 64), "svd-xt": (4, 64)}
QUICK = {"num_steps": 4, "seed": 5, "prompt": "a red house"}
FEW = {"animatediff": 4, "animatelcm": 4, "modelscope": 4}  # frames, where fewer than the model's own say as much


def settings(name: str, **changes: object) -> AnimateSettings:
    return AnimateSettings.checked(**QUICK | ({"num_frames": FEW[name]} if name in FEW else {}) | changes)


def clip(name: str, models: Path, photo: Image.Image, **changes: object) -> np.ndarray:
    with acquire(name, None, models) as model:
        return model.animate(photo, settings(name, **changes)).frames


@pytest.mark.parametrize("name", TWINS)
def test_a_photo_and_a_prompt_become_a_clip(video_models, landscape, name):
    num_frames, side = SHAPES[name]
    steps = []
    with acquire(name, None, video_models) as model:
        made = model.animate(
            landscape, AnimateSettings.checked(**QUICK), callback_on_step_end=lambda *told: steps.append((told[1], set(told[3])))
        )
    assert made.frames.shape == (num_frames, side, side, 3) and made.frames.dtype == np.uint8 and made.frames.std() > 0
    card, kind = CARDS[name], KINDS[CARDS[name].pipeline]
    assert made.fps == kind.fps and made.photo.size == landscape.size and made.part == (24.0, 0.0, 120.0, 96.0)
    is_held = name in BLIND
    assert made.metadata["prior"] == ("holds the clip" if is_held else "none") and made.metadata["fusion"] == "trained"
    assert (
        made.metadata["model"] == card.title and made.metadata["guidance_scale"] == card.guidance_scale and made.metadata["size"] == "model"
    )
    known = {key: value for key, value in made.metadata.items() if key in AnimateSettings.model_fields}
    assert AnimateSettings.checked(**known).num_frames == num_frames
    assert steps[-1][0] == 3 and all(tensors == ({"z_0"} if is_held else set()) for _, tensors in steps)


@pytest.mark.parametrize("name", TWINS)
def test_without_the_prior_it_is_the_model_alone_bit_for_bit(video_models, landscape, name):
    ours = clip(name, video_models, landscape, fusion="none")
    with acquire(name, None, video_models) as model:
        pipe, kind = model.pipe, model.kind
    side, num_frames = ours.shape[1], len(ours)
    asked = {"height": side, "width": side, "num_inference_steps": 4, "output_type": "np", "generator": torch.Generator().manual_seed(5)}
    if kind.reads_prompt:
        asked |= {"prompt": "a red house", "guidance_scale": kind.guidance_scale}
    else:
        asked |= {"fps": 7, "max_guidance_scale": kind.guidance_scale, "motion_bucket_id": 127}
    if kind.sees_photo:
        asked["image"] = Image.fromarray(fit_photo(landscape, side, side))
    asked |= {"i2vgen-xl": {"target_fps": 8}, "ltx": {"frame_rate": 24}, "text2video-zero": {"t0": 0, "t1": 1}}.get(name, {})
    with torch.random.fork_rng():
        torch.manual_seed(5)
        made = pipe(**asked, **{"video_length" if name == "text2video-zero" else "num_frames": num_frames})
    theirs = made.images if name == "text2video-zero" else made.frames[0]
    assert np.array_equal(ours, (np.asarray(theirs).clip(0, 1) * 255).round().astype(np.uint8))


@pytest.mark.parametrize("name", HELD)
def test_the_whole_prior_gives_the_photo_held_still(video_models, landscape, monkeypatch, name):
    monkeypatch.setitem(backbone.SHARES, "usual", Shares(1, 1, 0, 1))
    told = []
    with acquire(name, None, video_models) as model:
        asked = settings(name, fusion="linear")
        held = model.animate(landscape, asked, callback_on_step_end=lambda *of_step: told.append(of_step[3]["z_0"])).frames
        pixels = fit_photo(landscape, *held.shape[1:3])
        z = encode_photo(model.pipe.vae, torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1, len(held))
    for z_0 in told:
        torch.testing.assert_close(z_0, z, atol=5e-3, rtol=1e-3)
    if name in ("animatediff", "animatelcm", "modelscope", "i2vgen-xl"):  # whose autoencoders are of pictures
        assert np.abs(held.astype(int) - round_trip(model.pipe.vae, pixels[None])[0]).max() <= 2


@pytest.mark.parametrize("name", BLIND)
def test_the_motion_slider_says_how_much_the_photo_holds(video_models, landscape, name):
    """By the clean clip that the first step implies, which is the same network's on the same noise."""
    away = []
    with acquire(name, None, video_models) as model:
        z = encode_photo(model.pipe.vae, torch.from_numpy(fit_photo(landscape, 32, 32)).permute(2, 0, 1)[None] / 127.5 - 1, 4)
        for motion in (0.2, 1.0, 2.0):
            told = []
            asked = settings(name, motion=motion)
            model.animate(landscape, asked, callback_on_step_end=lambda *of_step, told=told: told.append(of_step[3]["z_0"]))
            away.append(float((told[0] - z)[:, :, 1:].abs().mean()))
    assert away[0] < away[1] < away[2]


def test_where_the_sentence_tells_the_camera_the_prior_points_at_the_photo_in_motion(video_models, landscape, monkeypatch):
    monkeypatch.setitem(backbone.SHARES, "usual", Shares(1, 1, 0, 1))
    made = clip("modelscope", video_models, landscape, prompt="the camera pans right, a red house")
    with acquire("modelscope", None, video_models) as model:
        vae = model.pipe.vae
    moved = photo_in_motion(fit_photo(landscape, 32, 32), camera_told("the camera pans right"), np.linspace(0, 15, 4))
    assert np.abs(made.astype(int) - round_trip(vae, moved).astype(int)).max() <= 2
    assert np.abs(moved[0].astype(int) - moved[3]).mean() > 10


def test_other_numbers_reach_the_model(video_models, landscape):
    usual = clip("svd-xt", video_models, landscape)
    assert np.array_equal(usual, clip("svd-xt", video_models, landscape))
    for changes in ({"motion": 2.0}, {"fps": 20}, {"guidance_scale": 6}, {"seed": 6}, {"num_steps": 5}):
        assert not np.array_equal(usual, clip("svd-xt", video_models, landscape, **changes)), changes
    usual = clip("modelscope", video_models, landscape)
    for changes in ({"negative_prompt": "a blue sky"}, {"prompt": "winter"}, {"scheduler": "dpm++"}, {"crop": (0.5, 0, 0.5, 1)}):
        assert not np.array_equal(usual, clip("modelscope", video_models, landscape, **changes)), changes
    with acquire("modelscope", None, video_models) as model:
        assert type(model.pipe.scheduler).__name__ == "DDIMScheduler" and "step" not in vars(model.pipe.scheduler)


@pytest.mark.parametrize(
    "aspect, shape, wanted",
    [
        ("1:1", (480, 832), (640, 640)),
        ("16:9", (704, 1280), (704, 1280)),
        ("9:16", (512, 704), (800, 448)),
        ("photo", (512, 512), (416, 624)),
    ],
)
def test_frames_have_the_aspect_asked_for_and_about_as_many_pixels(video_models, landscape, aspect, shape, wanted):
    with acquire("ltx", None, video_models) as model:
        model.kind = replace(model.kind, shape=shape)
        assert model.frame_shape(aspect, landscape.size) == tuple(round(side / 32) * 32 for side in wanted)
        model.kind = replace(model.kind, is_fixed=True)
        assert model.frame_shape(aspect, landscape.size) == shape


@pytest.mark.parametrize(
    "name, changes, words",
    [
        ("wan-ti2v-5b", {"num_frames": 8}, "Frames: Wan 2.2 TI2V-5B makes at most 121, a multiple of 4 and one more, not 8"),
        ("animatediff", {"num_frames": 40}, "Frames: .* makes at most 32, not 40"),
        ("svd-xt", {"loop": True}, "Close the loop: Stable Video Diffusion XT cannot come back"),
        ("ltx", {"fusion": "linear"}, "Fusion: the prior cannot hold LTX-Video 2B"),
        ("wan-ti2v-5b", {"scheduler": "dpm++"}, "Sampler: Wan 2.2 TI2V-5B samples with its own alone"),
        ("text2video-zero", {"num_steps": 3}, "Steps: .* needs at least 4, not 3"),
        ("text2video-zero", {"guidance_scale": 1}, "Guidance: .* cannot go without; choose more than 1"),
        ("svd-xt", {"scheduler": "unipc"}, "Sampler: .* samples with its own alone"),
        ("cogvideox-i2v", {"num_frames": 5}, "at most 49, a multiple of 8 and one more, not 5"),
        ("modelscope", {"num_steps": 600}, "Steps: DDIMScheduler would begin 600 steps at 600 of 1000; take fewer"),
        ("modelscope", {"num_steps": 1000}, "Steps: DDIMScheduler would begin 1000 steps at 1000 of 1000; take fewer"),
        ("modelscope", {"num_steps": 500, "scheduler": "dpm++"}, "Steps: DPMSolverMultistepScheduler would begin 500 steps at"),
    ],
)
def test_what_a_model_cannot_is_told_in_one_line(video_models, landscape, name, changes, words):
    with pytest.raises(ValueError, match=words) as refused:
        clip(name, video_models, landscape, **changes)
    assert "\n" not in str(refused.value)


def test_a_clip_that_fails_leaves_the_next_one_as_it_would_be(video_models, landscape, monkeypatch):
    before = clip("modelscope", video_models, landscape)
    with monkeypatch.context() as broken:
        broken.setattr(backbone, "encode_photo", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no room")))
        with pytest.raises(torch.OutOfMemoryError):
            clip("modelscope", video_models, landscape, scheduler="unipc")
    assert np.array_equal(clip("modelscope", video_models, landscape), before)


def test_what_a_pipeline_raises_becomes_one_line(video_models, landscape, monkeypatch):
    with acquire("modelscope", None, video_models) as model:
        monkeypatch.setattr(model.pipe, "decode_latents", lambda latents: [][0])
        with pytest.raises(ValueError, match="ModelScopeT2V 1.7B cannot make this clip .IndexError: list index out of range.; choose"):
            model.animate(landscape, settings("modelscope"))


def test_as_many_frames_are_decoded_at_once_as_the_memory_is_reckoned_with(video_models, landscape, monkeypatch):
    with acquire("svd-xt", None, video_models) as model:
        decode, seen = model.pipe.vae.decode, []
        monkeypatch.setattr(model.pipe.vae, "decode", lambda latents, **more: seen.append(len(latents)) or decode(latents, **more))
        model.animate(landscape, settings("svd-xt", num_frames=10, num_steps=1))
    assert seen == [8, 2]


def test_it_cannot_arrive_at_a_last_photo(video_models, landscape):
    with acquire("modelscope", None, video_models) as model, pytest.raises(ValueError, match="cannot arrive at a last photo"):
        model.animate(landscape, settings("modelscope"), landscape)


@pytest.mark.parametrize("name", ["modelscope", "text2video-zero", "wan-ti2v-5b"])
def test_a_clip_ends_within_a_step(video_models, landscape, name):
    seen = []

    def stop(model, step, timestep, tensors) -> None:
        seen.append(step)
        model.interrupt = True

    with acquire(name, None, video_models) as model:
        with pytest.raises(Interrupted, match="stopped after 1 of 4 steps"):
            model.animate(landscape, settings(name), callback_on_step_end=stop)
        assert seen == [0] and "step" not in vars(model.pipe.scheduler)
        assert len(model.animate(landscape, settings(name)).frames)


def test_a_preview_has_the_photos_colours(video_models, landscape):
    seen = []
    with acquire("modelscope", None, video_models) as model:
        model.animate(
            landscape,
            settings("modelscope", motion=0.2, num_steps=8),
            callback_on_step_end=lambda model, step, t, tensors: seen.append(model.preview(tensors["z_0"])),
        )
        assert model.preview(None) is None
    photo = fit_photo(landscape, *seen[-1].shape[1:3]).astype(float)
    assert seen[-1].shape == (4, 64, 64, 3)
    assert np.abs(seen[-1][0].mean((0, 1)) - photo.mean((0, 1))).max() < 25


@pytest.mark.parametrize(
    "name, fusion, notes",
    [
        ("modelscope", "trained", ()),
        ("modelscope", "none", ("ModelScopeT2V 1.7B alone does not see the photo: it draws what the sentence says",)),
        ("modelscope", "linear", ("The prior goes with the camera: medium pan right",)),
        ("svd-xt", "trained", ("Stable Video Diffusion XT reads no sentence: the photo and the motion's strength decide",)),
        ("wan-ti2v-5b", "trained", ()),
    ],
)
def test_people_are_told_what_a_model_does_and_does_not_heed(video_models, landscape, name, fusion, notes):
    prompt = "the camera pans right" if fusion == "linear" else "a red house"
    with acquire(name, None, video_models) as model:
        assert model.animate(landscape, settings(name, fusion=fusion, prompt=prompt)).notes == notes


def test_what_of_a_long_prompt_is_not_read_is_told(video_models, landscape):
    with acquire("modelscope", None, video_models) as model:
        (note,) = model.notes(settings("modelscope", prompt="a red house " * 60), held=True)
    assert note.startswith("Prompt: the model reads 75 tokens")


def test_the_real_classes_take_the_words_they_are_called_with():
    import inspect

    for name, kind in KINDS.items():
        taken = inspect.signature(getattr(diffusers, name).__call__).parameters
        words = {kind.word(ours) for ours in ("prompt", "negative_prompt", "num_frames", "guidance_scale", "fps")} - {""}
        words |= {"height", "width", "num_inference_steps", "output_type", "generator"} | ({"image"} if kind.sees_photo else set())
        assert words <= set(taken), name
        assert (kind.num_frames - 1) % kind.stride == 0 and kind.num_frames <= kind.most_frames
        assert all(side % kind.multiple == 0 for side in kind.shape)
