"""What a recorder says of a denoising step, against fusions whose share of the prior is known."""

import numpy as np
import pytest
import torch

from trip.diffusion import add_noise, image_noise_prior, linear_fusion
from trip.inside import AGREE, Inside, InsideRecorder, clean_clips, fusion_share, share_map
from trip.media import fit_photo
from trip.model.fusion import NoiseFusion
from trip.model.latents import encode_video
from trip.pipeline import Interrupted, TripPipeline
from trip.settings import AnimateSettings

PAN = AnimateSettings(prompt="the camera pans right", seed=3, num_steps=8, num_frames=5)


@pytest.fixture(scope="module")
def blending(pipe) -> TripPipeline:
    """The same pipeline with Eq. 9, whose share of the prior is known at every step."""
    fusion = NoiseFusion(kind="linear", channels=4, num_frames=5, lam_first=0.9, lam_last=0.1, motion_variance=0.5)
    blending = TripPipeline(**{**pipe.components, "fusion": fusion}, num_frames=5, guidance_scale=pipe.config.guidance_scale)
    blending.set_progress_bar_config(disable=True)
    return blending


@pytest.fixture(scope="module")
def recorded(pipe, photo) -> Inside:
    recorder = InsideRecorder(PAN.num_steps)
    pipe.animate(photo, PAN, callback_on_step_end=recorder)
    return recorder.result()


def noises(num_frames: int = 4) -> torch.Tensor:
    """Prior and residual, 1 c f h w each."""
    return torch.randn(2, 1, 4, num_frames, 6, 6, generator=torch.Generator().manual_seed(0))


def made(share: np.ndarray) -> Inside:
    """Something to draw, with shares of one's own: s f."""
    num_steps, num_frames = share.shape
    photo, clean = np.zeros((4, 1, 2, 3), np.float16), np.zeros((1, 4, 2, 2, 3), np.float16)
    ends = np.array([0, num_frames - 1])
    return Inside(np.arange(num_steps)[::-1], share, np.ones((3, *share.shape)), np.array([0]), ends, photo, clean, clean)


# numbers


def test_share_of_a_linear_blend_is_its_lam():
    prior, residual = noises()
    lam = torch.tensor([0.9, 0.4, 0.0, 1.0])
    share = fusion_share(prior, residual, linear_fusion(prior, residual, lam.view(1, 1, -1, 1, 1)))
    assert torch.allclose(share, lam.double()[None], atol=1e-6)


@pytest.mark.parametrize("lam", [-0.7, 1.6])
def test_share_beyond_the_two_paths_is_not_cut(lam):
    prior, residual = noises()
    assert torch.allclose(fusion_share(prior, residual, linear_fusion(prior, residual, lam)), torch.tensor(lam).double(), atol=1e-5)


def test_what_lies_across_the_line_of_the_paths_does_not_count():
    prior, residual = noises()
    way, other = prior - residual, noises(8)[0][:, :, 4:]
    axes = dict(dim=(1, 3, 4), keepdim=True)
    across = other - way * (other * way).sum(**axes) / way.square().sum(**axes)
    share = fusion_share(prior, residual, residual + 0.3 * way + 2 * across)
    assert torch.allclose(share, torch.tensor(0.3).double(), atol=1e-5)


def test_where_both_paths_agree_there_is_no_share():
    prior, residual = noises()
    residual[:, :, 1] = prior[:, :, 1]
    residual[:, :, 2] = prior[:, :, 2] * (1 + 1e-7)
    share = fusion_share(prior, residual, prior)[0]
    assert share.isnan().tolist() == [False, True, True, False]
    assert fusion_share(prior * 0, prior * 0, prior * 0).isnan().all()


def test_rms_is_that_of_each_path_and_frame(pipe):
    recorder = InsideRecorder(num_steps=1)
    scale = torch.tensor([1.0, 2.0, 5.0]).view(1, 1, 3, 1, 1)
    signs = torch.where(noises(3)[0] > 0, 1.0, -1.0)
    recorder(pipe, 0, 500, {"z_t": signs, "prior": scale * signs, "residual": 3 * scale * signs, "eps": 2 * scale * signs})
    inside = recorder.result()
    assert inside.rms[:, 0] == pytest.approx(np.outer([1, 3, 2], [1, 2, 5]))
    assert inside.share[0] == pytest.approx([0.5] * 3)
    assert inside.timesteps.tolist() == [500]


def test_sampling_with_eq_9_takes_the_share_that_eq_9_says(blending, photo):
    """Guided noise too: the prior is the same with either text."""
    recorder = InsideRecorder(PAN.num_steps)
    blending.animate(photo, PAN, callback_on_step_end=recorder)
    inside = recorder.result()
    alpha_bar = blending.scheduler.alphas_cumprod[inside.timesteps]
    known = blending.fusion.share(alpha_bar, torch.arange(5.0).expand(len(alpha_bar), -1))[:, 0, :, 0, 0]
    assert PAN.num_steps == len(inside.timesteps) and blending.config.guidance_scale > 1
    assert inside.share == pytest.approx(known.numpy(), abs=1e-3)


# pictures


def test_each_path_is_shown_as_the_clip_that_it_implies(pipe, photo):
    """With the true noise as the residual, the residual path shows the true clip and the prior the photo."""
    pictures = np.stack([fit_photo(photo.rotate(angle), 32) for angle in (0, 90, 180)])
    z_0 = torch.cat([latents(pipe, one) for one in pictures], dim=2)
    alpha_bar = pipe.scheduler.alphas_cumprod[300:301]
    eps = torch.randn(z_0.shape, generator=torch.Generator().manual_seed(1))
    z_t = add_noise(z_0, eps, alpha_bar)
    prior = image_noise_prior(z_t, z_0[:, :, :1], alpha_bar)
    recorder = InsideRecorder(num_steps=1)
    recorder(pipe, 0, 300, {"z_t": z_t, "prior": prior, "residual": eps, "eps": prior})
    inside = recorder.result()
    assert off(inside.residual[0], z_0[0]) < 0.02  # half precision
    assert off(inside.photo, z_0[0, :, :1]) < 0.02
    assert off(inside.fused[0], z_0[0, :, :1]) < 0.02  # every frame: the prior alone is the still photo


def latents(pipe: TripPipeline, pixels: np.ndarray) -> torch.Tensor:
    return encode_video(pipe.vae, torch.from_numpy(pixels).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1)


def off(found: np.ndarray, target: torch.Tensor) -> float:
    return float(np.abs(found.astype(np.float32) - target.numpy()).max())


def test_last_step_holds_the_clean_clip_and_the_photo(pipe, photo, recorded):
    seen = {}
    pipe.animate(photo, PAN, callback_on_step_end=lambda pipe, step, t, tensors: seen.update(tensors))
    assert off(recorded.fused[-1], seen["z_0"][0]) < 0.02
    assert off(recorded.photo, latents(pipe, fit_photo(photo, 32))[0]) < 0.02


def test_at_most_six_steps_and_six_frames_are_pictured(pipe, photo):
    recorder = InsideRecorder(8)
    settings = AnimateSettings(**{**PAN.model_dump(), "num_frames": 9})
    pipe.animate(photo, settings, callback_on_step_end=recorder)
    inside = recorder.result()
    assert inside.picture_steps.tolist() == [0, 1, 3, 4, 6, 7]
    assert inside.picture_frames.tolist() == [0, 2, 3, 5, 6, 8]
    assert inside.share.shape == (8, 9) and inside.rms.shape == (3, 8, 9)
    assert inside.photo.shape == (4, 1, 16, 16)
    assert inside.residual.shape == inside.fused.shape == (6, 4, 6, 16, 16)


def test_recording_does_not_change_the_clip(pipe, photo):
    assert np.array_equal(pipe.animate(photo, PAN).frames, pipe.animate(photo, PAN, callback_on_step_end=InsideRecorder(8)).frames)


def test_a_stopped_clip_leaves_what_was_said(pipe, photo):
    recorder = InsideRecorder(PAN.num_steps)

    def stop_at_the_third(pipe, step, timestep, tensors):
        recorder(pipe, step, timestep, tensors)
        pipe.interrupt = step == 2

    with pytest.raises(Interrupted):
        pipe.animate(photo, PAN, callback_on_step_end=stop_at_the_third)
    inside = recorder.result()
    assert len(inside.share) == 3 and inside.picture_steps.tolist() == [0, 1]
    with pytest.raises(ValueError, match="^wanted a clip's steps, got none; "):
        InsideRecorder(3).result()


def test_a_recorder_goes_on_from_what_was_said_before(pipe, photo, recorded, tmp_path):
    recorder = InsideRecorder(PAN.num_steps)

    def stop_at_the_first(pipe, step, timestep, tensors):
        recorder(pipe, step, timestep, tensors)
        pipe.interrupt = True

    with pytest.raises(Interrupted) as interrupted:
        pipe.animate(photo, PAN, callback_on_step_end=stop_at_the_first)
    so_far = Inside.load(recorder.result().save(tmp_path / "inside.npz"))
    going_on = InsideRecorder(PAN.num_steps, so_far)
    pipe.animate(photo, PAN, callback_on_step_end=going_on, so_far=interrupted.value.so_far)
    for name, value in vars(going_on.result()).items():
        assert np.array_equal(value, getattr(recorded, name), equal_nan=value.dtype.kind == "f"), name


# file


def test_saved_is_what_is_loaded(recorded, tmp_path):
    path = recorded.save(tmp_path / "inside.npz")
    again = Inside.load(path)
    assert list(tmp_path.iterdir()) == [path]
    for name, value in vars(recorded).items():
        np.testing.assert_array_equal(getattr(again, name), value)
        assert getattr(again, name).dtype == value.dtype


def test_other_files_are_refused_in_one_line(recorded, tmp_path):
    whole = recorded.save(tmp_path / "inside.npz").read_bytes()
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "objects.npz", **{**vars(recorded), "share": np.array([{}], dtype=object)})
    np.savez(tmp_path / "less.npz", share=recorded.share)
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npz").touch()
    for name in ("array.npy", "objects.npz", "less.npz", "cut.npz", "empty.npz", "missing.npz"):
        with pytest.raises(ValueError, match="wanted a file that Inside.save wrote") as caught:
            Inside.load(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="^cannot write .*: No such file or directory; choose another place$"):
        recorded.save(tmp_path / "nowhere" / "inside.npz")


# drawing


def test_a_share_map_shows_steps_to_the_right_and_frames_downwards():
    drawn = share_map(made(np.array([[0.0, 0.5, 1.0], [1.0, np.nan, 0.0]])))
    assert drawn.cells.shape == (3, 2, 3) and drawn.cells.dtype == np.uint8
    assert (drawn.low, drawn.high, drawn.is_beyond, drawn.has_gaps) == (0, 1, (False, False), True)
    dark, bright = drawn.cells[0, 0].astype(int), drawn.cells[2, 0].astype(int)
    assert bright.sum() > dark.sum() + 200  # told apart by lightness alone
    assert np.array_equal(drawn.cells[0, 1], bright) and np.array_equal(drawn.cells[2, 1], dark)
    assert drawn.cells[1, 1].tolist() == list(AGREE)
    assert dark.sum() < drawn.cells[1, 0].sum() < bright.sum()


def test_the_scale_of_a_share_map_grows_with_the_shares():
    share = np.full((4, 4), 0.5)
    inner = share_map(made(share)).cells[0, 0]
    share[1:3] = [[3.0] * 4, [-2.0] * 4]
    drawn = share_map(made(share))
    assert (drawn.low, drawn.high, drawn.is_beyond) == (-2, 3, (False, False))
    assert np.array_equal(drawn.cells[0, 0], inner)  # the middle of 0 .. 1 and of -2 .. 3
    assert drawn.cells[0, 1].sum() > inner.sum() > drawn.cells[0, 2].sum()
    share = np.full((10, 10), 0.5)
    share[0, 0], share[0, 1] = 40, -40
    drawn = share_map(made(share))
    assert (drawn.low, drawn.high, drawn.is_beyond, drawn.has_gaps) == (0, 1, (True, True), False)


def test_the_share_map_of_a_clip_whose_paths_agree_is_grey():
    drawn = share_map(made(np.full((2, 3), np.nan)))
    assert (drawn.cells == AGREE).all() and drawn.has_gaps and drawn.is_beyond == (False, False)


def test_each_path_has_the_clip_that_it_means(pipe, recorded):
    clips = clean_clips(recorded, int(recorded.picture_steps[2]), pipe.decode)
    clean = {"prior": recorded.photo.repeat(5, axis=1), "residual": recorded.residual[2], "fused": recorded.fused[2]}
    assert list(clips) == list(clean)
    for name, z_0 in clean.items():
        pixels = pipe.decode(torch.from_numpy(z_0[None]).float())[0]
        assert clips[name].shape == pixels.shape and clips[name].dtype == np.uint8
        assert np.abs(clips[name].astype(int) - pixels).max() <= 1


def test_a_step_without_pictures_is_named(pipe, recorded):
    with pytest.raises(ValueError, match="^no pictures of step 2; choose 0, 1, 3, 4, 6, 7$"):
        clean_clips(recorded, 2, pipe.decode)
