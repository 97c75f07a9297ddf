"""A photo becomes a clip: the sampling loop against what is known of it, and its promises to the people who call it."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import make_pipeline, quiet
from trip.diffusion import add_noise, loop_share, predict_z_0
from trip.media import fit_photo
from trip.model.build import build_scheduler, build_unet
from trip.model.fusion import NoiseFusion
from trip.model.latents import encode_video
from trip.pipeline import Interrupted, TripPipeline
from trip.sampler import SAMPLERS, SoFar
from trip.settings import PRESETS, AnimateSettings

TINY = PRESETS["tiny"].model
PAN = AnimateSettings(prompt="the camera pans right", seed=3, num_steps=3)


def altered(pipe: TripPipeline, **parts) -> TripPipeline:
    """The same pipeline with some of its models exchanged."""
    own = {name: pipe.config[name] for name in ("num_frames", "fps", "num_steps", "guidance_scale", "card")}
    return quiet(TripPipeline(**{**pipe.components, **parts}, **own))


def changed(settings: AnimateSettings, **values) -> AnimateSettings:
    return AnimateSettings(**{**settings.model_dump(), **values})


def clean_clips(pipe: TripPipeline, photo: Image.Image, settings: AnimateSettings) -> list[torch.Tensor]:
    """The clean clip that each step predicts."""
    seen = []
    pipe.animate(photo, settings, callback_on_step_end=lambda pipe, step, t, tensors: seen.append(tensors["z_0"]))
    return seen


def differ(pipe: TripPipeline, photo: Image.Image, one: AnimateSettings, other: AnimateSettings) -> bool:
    a, b = clean_clips(pipe, photo, one)[-1], clean_clips(pipe, photo, other)[-1]
    return (a - b).abs().max().item() > 1e-3


def latent_of(pipe: TripPipeline, photo: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(fit_photo(photo, pipe.frame_size)).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1
    return encode_video(pipe.vae, pixels)


# what comes out


def test_first_frame_is_the_photo_as_it_was_fitted(pipe, photo):
    output = pipe.animate(photo, PAN)
    assert output.frames.shape == (4, 32, 32, 3) and output.frames.dtype == np.uint8
    assert np.array_equal(output.frames[0], fit_photo(photo, 32))
    assert not np.array_equal(output.frames[1], output.frames[0])


def test_a_photo_may_come_as_a_file_an_image_or_pixels(pipe, photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    clips = [pipe.animate(source, PAN).frames for source in (photo, np.asarray(photo), tmp_path / "photo.png", str(tmp_path / "photo.png"))]
    assert all(np.array_equal(clip, clips[0]) for clip in clips)


@pytest.mark.parametrize("num_frames", [2, 7])
def test_number_of_frames_and_their_rate_are_as_asked(pipe, photo, num_frames):
    output = pipe.animate(photo, changed(PAN, num_frames=num_frames, fps=12.5))
    assert output.frames.shape == (num_frames, 32, 32, 3)
    assert output.fps == 12.5


def test_what_is_left_open_is_what_the_checkpoint_was_made_for(pipe, photo):
    output = pipe.animate(photo)
    assert (len(output.frames), output.fps) == (TINY.num_frames, TINY.fps)
    assert {name: output.metadata[name] for name in ("num_frames", "fps", "num_steps", "guidance_scale")} == {
        "num_frames": TINY.num_frames,
        "fps": TINY.fps,
        "num_steps": TINY.num_steps,
        "guidance_scale": TINY.guidance_scale,
    }
    assert 0 <= output.metadata["seed"] < 2**31


def test_metadata_says_everything_and_names_no_place_on_this_machine(pipe, photo, tiny_model):
    metadata = pipe.animate(photo, PAN).metadata
    assert AnimateSettings(**{name: metadata[name] for name in AnimateSettings.model_fields}) == pipe.resolve(PAN)
    assert metadata["model"] == tiny_model.name
    assert torch.__version__.startswith(metadata["version_torch"])
    assert {"version_trip", "version_diffusers", "version_transformers"} <= set(metadata)
    assert "/" not in json.dumps(metadata) and "\\\\" not in json.dumps(metadata)


def test_a_clips_metadata_makes_the_clip_again(pipe, photo):
    first = pipe.animate(photo, AnimateSettings(prompt="the clouds drift", num_steps=2))
    again = pipe.animate(photo, AnimateSettings(**{name: first.metadata[name] for name in AnimateSettings.model_fields}))
    assert np.array_equal(first.frames, again.frames)


@torch.no_grad()
def test_what_is_moved_may_be_the_photos_pixels_or_its_latents(photo):
    """A photo that stays where it is gives the same clip either way; one that moves does not."""
    clips = {}
    for pan in (0.0, 0.2):
        for space in ("pixel", "latent"):
            made = make_pipeline(TINY.model_copy(update={"unet": TINY.unet.model_copy(update={"warp_space": space})}))
            for last in (made.unet.warp.camera[-1], made.unet.warp.scene[-1]):
                last.weight.zero_()
                last.bias.zero_()
            made.unet.warp.scene[-1].bias[4:] = -30.0  # all of the photo stays in view
            made.unet.warp.camera[-1].bias[2] = pan
            made.unet.photo_in.weight.mul_(50)
            clips[pan, space] = clean_clips(quiet(made), photo, PAN)[-1]
    assert torch.allclose(clips[0.0, "pixel"], clips[0.0, "latent"], atol=1e-4)
    assert (clips[0.2, "pixel"] - clips[0.2, "latent"]).abs().max() > 1e-2


def test_weights_say_what_they_are(pipe):
    assert pipe.weights_card == "Random weights, for tests."
    assert altered(pipe).model_name == "memory"


def test_weights_say_which_words_mean_something_to_them(pipe):
    assert pipe.spells_other_words
    assert [word for word in ("camera", "pans", "zooms", "clouds") if pipe.reads_whole(word)] == ["camera", "pans", "clouds"]


def test_weights_that_are_given_texts_as_vectors_read_no_word(pipe):
    wordless = altered(pipe, text_encoder=None, tokenizer=None)
    assert not wordless.reads_whole("camera") and not wordless.spells_other_words
    assert wordless.truncation_notes(changed(PAN, prompt="the camera pans right " * 50)) == ()


@pytest.mark.parametrize(
    ("size", "shape"),
    [((640, 427), (160, 240)), ((512, 512), (192, 192)), ((4000, 3000), (160, 208)), ((1080, 1920), (256, 144)), ((8000, 500), (128, 288))],
)
def test_a_frame_as_wide_as_its_photo_takes_the_nearest_shape(pipe, monkeypatch, size, shape):
    monkeypatch.setattr(TripPipeline, "frame_size", 192)
    found = pipe.frame_shape("photo", size)
    assert found == shape and pipe.frame_shape("photo", found[::-1]) == found
    assert pipe.frame_shape("photo", size, (0.2, 0.2, 0.5, 0.5)) == found
    assert pipe.frame_shape("photo", (2 * size[0], size[1]), (0, 0, 0.5, 1)) == found


def test_a_clip_as_wide_as_its_photo_goes_on_in_the_same_shape(pipe, monkeypatch):
    for side in (32, 64, 128, 192, 256, 512):
        monkeypatch.setattr(TripPipeline, "frame_size", side)
        assert pipe.frame_shape("photo") == (side, side)
        for width in range(20, 800, 7):
            height, across = pipe.frame_shape("photo", (width, 200))
            assert pipe.frame_shape("photo", (across, height)) == (height, across)
            assert abs(height * across / side**2 - 1) <= 0.125


def test_photos_of_one_batch_share_a_shape_also_where_it_is_their_own(pipe, monkeypatch):
    monkeypatch.setattr(TripPipeline, "frame_size", 64)
    wide, upright = Image.new("RGB", (90, 60)), Image.new("RGB", (60, 90))
    settings = AnimateSettings(aspect="photo", num_steps=1, num_frames=2)
    clips = pipe.animate_batch([wide, wide.resize((180, 120))], [settings] * 2)
    assert [clip.frames.shape[1:3] for clip in clips] == [(48, 80)] * 2 and clips[0].metadata["aspect"] == "photo"
    with pytest.raises(ValueError, match="wanted photos of one shape .* got 2; name an aspect"):
        pipe.animate_batch([wide, upright], [settings] * 2)


# seeds, batches, files


def test_same_seed_same_clip(pipe, photo):
    assert np.array_equal(pipe.animate(photo, PAN).frames, pipe.animate(photo, PAN).frames)
    assert not np.array_equal(pipe.animate(photo, PAN).frames, pipe.animate(photo, changed(PAN, seed=4)).frames)


def test_a_batch_gives_the_clips_of_its_members(pipe, photo):
    other, settings = photo.rotate(180), [PAN, changed(PAN, prompt="the clouds drift to the left", seed=8, fps=5)]
    together = pipe.animate_batch([photo, other], settings)
    alone = [pipe.animate(photo, settings[0]), pipe.animate(other, settings[1])]
    for one, single in zip(together, alone, strict=True):
        assert np.abs(one.frames.astype(int) - single.frames).max() <= 1
        assert (one.metadata, one.fps) == (single.metadata, single.fps)


@pytest.mark.parametrize("difference", [{"num_frames": 3}, {"num_steps": 2}, {"scheduler": "unipc"}, {"guidance_scale": 1}, {"motion": 0}])
def test_a_batch_of_unlike_settings_is_refused(pipe, photo, difference):
    with pytest.raises(ValueError, match=r"^wanted one set of frames, steps, .* got 2; make several batches$"):
        pipe.animate_batch([photo, photo], [PAN, changed(PAN, **difference)])


def test_saved_pipeline_gives_the_same_clip(pipe, photo, tmp_path):
    pipe.save_pretrained(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
    again = quiet(TripPipeline.from_pretrained(tmp_path))
    assert np.array_equal(again.animate(photo, PAN).frames, pipe.animate(photo, PAN).frames)
    assert again.weights_card == pipe.weights_card


# the sampling loop


@pytest.mark.parametrize(
    "preset, num_steps", [("paper", 50), ("tiny", 5), ("embedded", PRESETS["embedded"].model.num_steps), ("tiny", 300)]
)
def test_ddim_with_the_true_noise_returns_the_clip(preset, num_steps):
    """Deterministic DDIM keeps its noise: at every step the same clean clip, and at the end Eq. 1 at the schedule's first step."""
    scheduler = SAMPLERS["ddim"].from_config(build_scheduler(PRESETS[preset].model).config)
    scheduler.set_timesteps(num_steps)
    z_0, eps = torch.randn(2, 1, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    alpha_bar = scheduler.alphas_cumprod
    z_t = add_noise(z_0, eps, alpha_bar[scheduler.timesteps[:1]])
    for t in scheduler.timesteps:
        z_t = scheduler.step(eps, t, z_t)[0]
    assert torch.allclose(z_t, add_noise(z_0, eps, alpha_bar[:1]), atol=2e-3)


def test_arithmetic_in_bfloat16_changes_little_and_no_weights(pipe, photo):
    exact = pipe.animate(photo, PAN).frames.astype(float)
    low = altered(pipe)
    low.arithmetic = torch.bfloat16
    clip = low.animate(photo, PAN)
    error = (clip.frames - exact)[1:]
    assert error.any() and 10 * np.log10(255**2 / np.square(error).mean()) > 30
    assert pipe.unet.dtype == pipe.vae.dtype == torch.float32
    assert low.copied().arithmetic == torch.bfloat16 and low.copied(torch.float32).arithmetic is None


@pytest.fixture(scope="module")
def holding(pipe) -> TripPipeline:
    """A pipeline that believes the prior alone."""
    return altered(pipe, fusion=NoiseFusion(kind="linear", channels=4, num_frames=4, lam_first=1, lam_last=1, motion_variance=0))


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_the_prior_alone_makes_a_still_clip(holding, photo, scheduler):
    """By Eq. 8 and Eq. 3 every step predicts the photo for every frame, with any sampler."""
    z_first = latent_of(holding, photo)
    settings = changed(PAN, scheduler=scheduler, num_steps=5)
    for z_0 in clean_clips(holding, photo, settings):
        assert z_0.shape == (1, 4, 4, 16, 16)
        assert torch.allclose(z_0, z_first.expand_as(z_0), atol=1e-3)
    if scheduler != "ddim":  # which ends at t = 0, where the schedule has some noise left
        decoded = holding.decode(z_first)[0].astype(int)
        assert np.abs(holding.animate(photo, settings).frames[1:] - decoded).max() <= 1


@pytest.mark.parametrize("scheduler", SAMPLERS)
@pytest.mark.parametrize("num_steps", [1, 6])
def test_every_sampler_runs_at_any_length(pipe, photo, scheduler, num_steps):
    clips = clean_clips(pipe, photo, changed(PAN, scheduler=scheduler, num_steps=num_steps))
    assert len(clips) == num_steps
    assert all(z_0.isfinite().all() for z_0 in clips)


def test_samplers_differ(pipe, photo):
    ddim, dpm, unipc = (changed(PAN, scheduler=name) for name in SAMPLERS)
    assert differ(pipe, photo, ddim, dpm) and differ(pipe, photo, dpm, unipc)


def test_prompt_and_negative_prompt_change_the_clip(pipe, photo):
    assert differ(pipe, photo, PAN, changed(PAN, prompt="the clouds drift to the left"))
    assert differ(pipe, photo, PAN, changed(PAN, negative_prompt="the clouds drift to the left"))


def test_words_at_the_end_of_a_long_prompt_count_and_what_is_not_read_is_told(pipe, photo):
    scene = "a cup of coffee on a saucer with a small silver spoon on an old wooden table in a cosy cafe " * 3
    right, left = (AnimateSettings(prompt=f"{scene}, the camera pans {side}", seed=1) for side in ("right", "left"))
    assert differ(pipe, photo, right, left)
    (note,) = pipe.animate(photo, right).notes
    assert note.startswith("Prompt: the model reads ") and "a cosy cafe" in note and "pans right" not in note
    assert pipe.animate(photo, AnimateSettings(prompt="the camera pans right", seed=1)).notes == ()


def test_without_guidance_the_negative_prompt_is_idle(pipe, photo):
    alone = changed(PAN, guidance_scale=1)
    assert not differ(pipe, photo, alone, changed(alone, negative_prompt="the clouds drift to the left"))
    assert differ(pipe, photo, alone, PAN)


def test_guidance_comes_after_fusion(pipe, photo):
    """The first step's clean clip is linear in the fused noise, so guidance leads it along a straight line; guiding the residual
    noise would bend it, since the attention of the fusion is not linear."""
    torch.manual_seed(0)
    fusion = NoiseFusion(channels=4, width=16, heads=2, num_frames=4).eval()
    bent = altered(pipe, fusion=fusion, scheduler=build_scheduler(PRESETS["paper"].model))
    texts, start = ("the clouds drift to the left", PAN.prompt), changed(PAN, num_steps=2)
    without, with_text = (clean_clips(bent, photo, changed(start, guidance_scale=1, prompt=text))[0] for text in texts)
    for scale in (2, 30):
        guided = clean_clips(bent, photo, changed(start, guidance_scale=scale, negative_prompt=texts[0]))[0]
        way = scale * (with_text - without)
        assert (guided - without - way).abs().max() < 1e-3 * way.abs().max()


def test_a_step_tells_both_paths_their_fusion_and_what_it_implies(pipe, photo):
    told = []
    pipe.animate(photo, changed(PAN, num_steps=2), callback_on_step_end=lambda pipe, step, t, tensors: told.append((t, tensors)))
    z_first = latent_of(pipe, photo)
    for t, tensors in told:
        alpha_bar = pipe.scheduler.alphas_cumprod[t]
        assert torch.allclose(tensors["z_0"], predict_z_0(tensors["z_t"], tensors["eps"], alpha_bar), atol=1e-5)
        assert torch.allclose(predict_z_0(tensors["z_t"], tensors["prior"], alpha_bar), z_first.expand_as(tensors["z_t"]), atol=1e-2)
        assert tensors["residual"].shape == tensors["eps"].shape and not torch.equal(tensors["residual"], tensors["eps"])


# shape, crop, loop


@pytest.mark.parametrize("aspect, shape", [("1:1", (32, 32)), ("4:3", (32, 32)), ("16:9", (32, 48)), ("9:16", (48, 32))])
def test_clips_have_the_aspect_asked_for(pipe, photo, aspect, shape):
    frames = pipe.animate(photo, changed(PAN, aspect=aspect, num_steps=1)).frames
    assert frames.shape[1:3] == shape == pipe.frame_shape(aspect)
    assert np.array_equal(frames[0], fit_photo(photo, *shape))


@pytest.mark.parametrize("aspect", ["1:1", "4:3", "3:4", "16:9", "9:16"])
@pytest.mark.parametrize("preset", ["embedded", "paper"])
def test_aspects_keep_the_number_of_pixels(pipe, monkeypatch, aspect, preset):
    size = PRESETS[preset].model.frame_size
    monkeypatch.setattr(TripPipeline, "frame_size", size)
    height, width = pipe.frame_shape(aspect)
    across, down = map(int, aspect.split(":"))
    assert height % 16 == width % 16 == 0
    assert height * width == pytest.approx(size**2, rel=0.05)
    assert width / height == pytest.approx(across / down, rel=0.05)


def test_the_crop_is_what_the_model_sees(pipe, photo):
    crop = (0.25, 0.0, 0.5, 0.6)
    output = pipe.animate(photo, changed(PAN, crop=crop, num_steps=1))
    assert np.array_equal(output.frames[0], fit_photo(photo, 32, box=crop))
    assert output.metadata["crop"] == "0.25, 0, 0.5, 0.6"
    assert AnimateSettings(crop=output.metadata["crop"]).crop == crop


@pytest.mark.parametrize("told_time", [True, False])
def test_a_closed_loop_comes_back_to_the_photo(pipe, timeless, photo, told_time):
    """The later a frame, the nearer to the photo, whatever the network says; the beginning is free."""
    pipe = pipe if told_time else timeless
    z_first = latent_of(pipe, photo)
    open_clip, loop = (clean_clips(pipe, photo, changed(PAN, num_frames=12, loop=loop))[0] for loop in (False, True))
    assert told_time or torch.allclose(open_clip[:, :, :7], loop[:, :, :7], atol=1e-3)  # told, frames hear of each other's times
    far = (loop - z_first).square().mean(dim=(0, 1, 3, 4)).sqrt()
    free = (open_clip - z_first).square().mean(dim=(0, 1, 3, 4)).sqrt()
    assert (far[8:] < free[8:]).all() and far[-1] < 0.15 * free[-1]
    assert told_time or torch.allclose(far, (1 - loop_share(12)) * free, rtol=1e-3)  # the frame after the last would be the photo


@pytest.mark.parametrize("told_time", [True, False])
def test_a_clip_arrives_at_a_last_photo(pipe, timeless, photo, told_time):
    """The beginning is free; the last frame is that photo, and the nearer to the end a frame is, the nearer it is to it."""
    pipe, last, seen = pipe if told_time else timeless, Image.fromarray(255 - np.asarray(photo)), []
    free = clean_clips(pipe, photo, changed(PAN, num_frames=12))[0]
    made = pipe.animate(photo, changed(PAN, num_frames=12), last, callback_on_step_end=lambda *given: seen.append(given[-1]["z_0"]))
    z_last = latent_of(pipe, last)
    far, of_free = ((clip[0] - z_last[0]).square().mean(dim=(0, 2, 3)).sqrt() for clip in (seen[0], free))
    assert (far[8:].diff() < 0).all() and far[-1] < 1e-3 and (far[8:] < of_free[8:]).all() and far[4] > 100 * far[-1]
    assert told_time or torch.allclose(free[:, :, :7], seen[0][:, :, :7], atol=1e-3)
    assert np.array_equal(made.frames[-1], fit_photo(last, 32)) and np.array_equal(made.frames[0], fit_photo(photo, 32))
    assert made.metadata["last_photo"].startswith(f"{photo.width} x {photo.height}, ")
    assert "last_photo" not in pipe.animate(photo, changed(PAN, num_frames=2)).metadata


def test_the_usual_call_takes_a_last_image_for_all_clips_or_one_each(pipe, photo):
    last, told = Image.fromarray(255 - np.asarray(photo)), {"num_frames": 4, "num_inference_steps": 2, "seed": 3}
    one, both = pipe(photo, "pan", last_image=last, **told).clips, pipe(photo, ["pan", "zoom"], last_image=np.asarray(last), **told).clips
    assert np.abs(one[0].frames.astype(int) - both[0].frames).max() <= 1 and np.array_equal(both[0].frames[-1], both[1].frames[-1])
    swapped = pipe([photo, last], "pan", last_image=[last, photo], **told).clips
    assert np.array_equal(swapped[0].frames[-1], swapped[1].frames[0])
    with pytest.raises(ValueError, match="last_image must be one, or as many as the clips, which are 3, not 2"):
        pipe([photo] * 3, "pan", last_image=[last] * 2)
    with pytest.raises(ValueError, match="got both; choose one"):
        pipe(photo, "pan", last_image=last, loop=True)
    with pytest.raises(ValueError, match="one last photo for each photo, got 2 for 1"):
        pipe.animate_batch([photo], [PAN], last_images=[last] * 2)


def test_a_loop_is_told_times_that_come_home(pipe, photo):
    plain, loop = (pipe.animate(photo, changed(PAN, num_frames=12, loop=loop, motion=0.5)) for loop in (False, True))
    assert np.array_equal(plain.times, np.arange(12, dtype=np.float32) / 2) and not plain.loop
    assert loop.loop and loop.times.argmax() in (7, 8) and loop.times[-1] < 0.2 * loop.times.max()
    assert np.array_equal(loop.times[:7], plain.times[:7])


# what the renderer is given


def test_all_that_rendering_needs_comes_with_the_clip(pipe, photo):
    output = pipe.animate(photo, changed(PAN, aspect="16:9", crop=(0.25, 0.0, 0.5, 0.6)))
    z_first = latent_of(pipe, photo)
    assert output.photo.size == photo.size and output.photo.mode == "RGB"
    left, top, right, bottom = output.part
    assert (right - left) / (bottom - top) == pytest.approx(48 / 32) and 16 <= left < right <= 48
    assert output.decoded_photo.shape == output.frames.shape[1:]
    square = pipe.animate(photo, PAN)
    assert np.abs(square.decoded_photo.astype(int) - pipe.decode(z_first)[0, 0]).max() <= 1
    assert (square.field is not None) == pipe.unet.config.photo_warp


def test_a_checkpoint_of_before_opens(pipe, tiny_model, photo, tmp_path):
    """What gave detail back to the frames is gone: its switch in the index is passed over."""
    shutil.copytree(tiny_model, tmp_path / "before")
    index = json.loads((tmp_path / "before" / "model_index.json").read_text())
    (tmp_path / "before" / "model_index.json").write_text(json.dumps({**index, "carry_detail": True}))
    opened = quiet(TripPipeline.from_pretrained(tmp_path / "before"))
    assert np.array_equal(opened.animate(photo, PAN).frames, pipe.animate(photo, PAN).frames)
    opened.save_pretrained(tmp_path / "again")
    assert "carry_detail" not in (tmp_path / "again" / "model_index.json").read_text()


# motion


def test_motion_changes_the_clip_through_the_frames_times(pipe, photo):
    still, told, fast = (changed(PAN, motion=motion) for motion in (0, 1, 2))
    assert pipe.unet.config.frame_embedding
    assert differ(pipe, photo, still, told) and differ(pipe, photo, told, fast)


@pytest.fixture(scope="module")
def timeless(pipe) -> TripPipeline:
    """A pipeline whose 3D-UNet is not told any time, as the paper's."""
    torch.manual_seed(0)
    unet = TINY.unet.model_copy(update={"frame_embedding": False})
    return altered(pipe, unet=build_unet(TINY.model_copy(update={"unet": unet})).eval())


def test_without_times_no_motion_is_the_still_photo(timeless, photo):
    settings = changed(PAN, motion=0, scheduler="dpm++")  # which ends at the clean clip itself
    z_first = latent_of(timeless, photo)
    for z_0 in clean_clips(timeless, photo, settings):
        assert torch.allclose(z_0, z_first.expand_as(z_0), atol=1e-3)
    assert np.abs(timeless.animate(photo, settings).frames[1:] - timeless.decode(z_first)[0].astype(int)).max() <= 1
    assert differ(timeless, photo, settings, changed(settings, motion=1))


def test_without_times_motion_scales_the_way_from_the_still_photo(timeless, photo):
    still, told, twice = (clean_clips(timeless, photo, changed(PAN, motion=motion))[0] for motion in (0, 1, 2))
    assert (told - still).abs().max() > 1e-2
    assert torch.allclose(twice - still, 2 * (told - still), rtol=1e-2, atol=1e-3 * float((twice - still).abs().max()))


@pytest.mark.parametrize("told", [{}, {"frame_embedding": False, "added_conditions": ("strength",)}], ids=["times", "strength"])
def test_a_network_that_is_told_the_motion_has_its_noise_left_as_it_is(pipe, photo, told):
    torch.manual_seed(0)
    telling = altered(pipe, unet=build_unet(TINY.model_copy(update={"unet": TINY.unet.model_copy(update=told)})).eval())
    settings, seen = changed(PAN, motion=2, fusion="none", guidance_scale=1), []
    telling.animate(photo, settings, callback_on_step_end=lambda pipe, step, t, tensors: seen.append(tensors))
    assert len(seen) == 3 and all(torch.equal(tensors["eps"], tensors["residual"]) for tensors in seen)


# while it runs


def test_every_step_tells_its_clean_clip(pipe, photo):
    told = []

    def listen(caller, step, timestep, tensors):
        told.append((step, timestep, tuple(tensors["z_0"].shape)))
        assert caller is pipe and isinstance(timestep, int)

    pipe.animate(photo, changed(PAN, num_frames=5), callback_on_step_end=listen)
    assert [step for step, _, _ in told] == [0, 1, 2]
    assert [t for _, t, _ in told] == sorted((t for _, t, _ in told), reverse=True)
    assert {shape for _, _, shape in told} == {(1, 4, 5, 16, 16)}


def test_the_photos_motion_is_found_once_and_not_at_every_step(pipe, photo):
    found = []
    hook = pipe.unet.warp.register_forward_hook(lambda *_: found.append(1))
    try:
        pipe.animate(photo, PAN, callback_on_step_end=lambda *_: None)
    finally:
        hook.remove()
    assert len(found) == 1


def test_a_pipeline_that_has_not_run_says_so(pipe):
    new = altered(pipe)
    assert (new.num_timesteps, new.interrupt, new.guidance_scale) == (0, False, TINY.guidance_scale)


def test_preview_shows_some_frames_in_the_colours_of_the_photo(pipe, photo):
    z_0 = clean_clips(pipe, photo, changed(PAN, num_frames=9))[0]
    assert pipe.preview(z_0, num_frames=4).shape == (4, 64, 64, 3)
    assert pipe.preview(z_0[:, :, :2]).shape == (2, 64, 64, 3)
    looked = pipe.preview(latent_of(pipe, photo))[0].mean(axis=(0, 1))
    assert looked == pytest.approx(fit_photo(photo, 32).mean(axis=(0, 1)), abs=6)


def test_interrupt_ends_the_loop_before_the_next_step(pipe, photo):
    steps = []

    def stop_at_the_second(pipe, step, timestep, tensors):
        steps.append(step)
        pipe.interrupt = step == 1

    with pytest.raises(Interrupted, match=r"^stopped after 2 of 9 steps$"):
        pipe.animate(photo, changed(PAN, num_steps=9), callback_on_step_end=stop_at_the_second)
    assert steps == [0, 1]


def test_an_interrupt_from_elsewhere_gives_no_half_clip(pipe, photo):
    """It comes from another thread, at no callback's time."""
    hook = pipe.unet.register_forward_hook(lambda *_: setattr(pipe, "interrupt", True))
    try:
        with pytest.raises(Interrupted, match=r"^stopped after 1 of 3 steps$"):
            pipe.animate(photo, PAN)
    finally:
        hook.remove()


def test_a_pipeline_that_was_interrupted_works_again(pipe, photo):
    before = pipe.animate(photo, PAN).frames
    with pytest.raises(Interrupted):
        pipe.animate(photo, PAN, callback_on_step_end=lambda pipe, *_: setattr(pipe, "interrupt", True))
    assert np.array_equal(pipe.animate(photo, PAN).frames, before)


@pytest.mark.parametrize("prompt", ["", "雲 \U0001f600", "qwertyuiop " * 450, "the camera pans right"])
def test_any_prompt_gives_a_clip(pipe, photo, prompt):
    assert pipe.animate(photo, changed(PAN, prompt=prompt, num_steps=1)).metadata["prompt"] == prompt


def test_a_clip_can_be_made_by_another_fusion_where_the_weights_can(pipe, photo):
    trained, linear, residual = (pipe.animate(photo, changed(PAN, fusion=name)).frames for name in ("trained", "linear", "none"))
    assert not np.array_equal(trained, linear) and not np.array_equal(linear, residual)
    only = altered(pipe, fusion=NoiseFusion(kind="none"))
    assert np.array_equal(only.animate(photo, PAN).frames, residual)
    with pytest.raises(ValueError, match="Fusion must be trained or none with this checkpoint, not linear"):
        only.animate(photo, changed(PAN, fusion="linear"))


def test_saved_again_it_names_no_folder_of_this_machine(pipe, tmp_path, tiny_model):
    pipe.save_pretrained(tmp_path / "again")
    written = "".join(path.read_text() for path in (tmp_path / "again").rglob("*.json"))
    assert str(tiny_model) not in written and tiny_model.name not in written


@pytest.mark.parametrize("stops", [[1], [2, 3], [5]], ids=str)
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_a_clip_that_was_interrupted_goes_on_as_if_it_had_not_been(pipe, photo, tmp_path, scheduler, stops):
    """Bit for bit, however often, through a file, for samplers that remember earlier steps too."""
    settings, so_far = changed(PAN, num_steps=6, scheduler=scheduler, guidance_scale=3.0), None
    for stop in stops:

        def after(pipe, step, *_, stop=stop):
            pipe.interrupt = step + 1 == stop

        with pytest.raises(Interrupted) as interrupted:
            pipe.animate(photo, settings, callback_on_step_end=after, so_far=so_far)
        interrupted.value.so_far.save(tmp_path / "so-far.safetensors", {"why": "a test"})
        so_far, about = SoFar.load(tmp_path / "so-far.safetensors")
        assert (so_far.step, about) == (stop, {"why": "a test"})
    seen = []
    gone_on = pipe.animate(photo, settings, callback_on_step_end=lambda pipe, step, *_: seen.append(step), so_far=so_far)
    assert seen == list(range(stops[-1], 6))
    assert np.array_equal(gone_on.frames, pipe.animate(photo, settings).frames)


def test_a_clip_goes_on_only_as_the_one_it_was(pipe, photo):
    with pytest.raises(Interrupted) as interrupted:
        pipe.animate(photo, PAN, callback_on_step_end=lambda pipe, step, *_: setattr(pipe, "interrupt", True))
    for other in (changed(PAN, num_frames=5), changed(PAN, num_steps=1)):
        with pytest.raises(ValueError, match=r"^wanted to go on with a clip of .* after 1 steps; begin it anew$"):
            pipe.animate(photo, other, so_far=interrupted.value.so_far)


@pytest.mark.parametrize("content", [None, b"", b"hello", b"\xff" * 40, b"\2\0\0\0\0\0\0\0{}"], ids=str)
def test_what_is_no_clip_set_aside_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "so-far.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^so-far.safetensors: wanted a clip that was set aside, got [^\n]*; begin it anew$"):
        SoFar.load(path)


def test_waves_of_the_scene_follow_the_seed_alone(photo):
    """Drawn from noise for each clip: the same for a seed, alone or in a batch, whatever else is drawn."""
    model = PRESETS["tiny"].model
    pipe = quiet(make_pipeline(model.model_copy(update={"unet": model.unet.model_copy(update={"scene_frequencies": 2})})))
    with torch.no_grad():
        pipe.unet.warp.moves[-1].bias.fill_(100.0)
    one, again, other = (pipe.animate(photo, AnimateSettings(prompt="the water ripples", seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(one.field.waves, again.field.waves) and not torch.allclose(one.field.waves, other.field.waves)
    assert torch.equal(one.field.scene, other.field.scene) and (one.frames == again.frames).all()
    both = pipe(
        photo, prompt="the water ripples", generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)], num_videos_per_prompt=2
    )
    assert all(torch.allclose(clip.field.waves, alone.field.waves, atol=1e-5) for clip, alone in zip(both.clips, (one, other), strict=True))
