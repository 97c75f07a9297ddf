"""The paper's equations hold among themselves."""

import pytest
import torch

from trip.diffusion import (
    add_noise,
    alphas_bar,
    arrival_share,
    betas,
    image_noise_prior,
    linear_fusion,
    loop_share,
    matched_timestep,
    noise_from_v,
    predict_z_0,
    prior_share,
    residual_to_first,
    scaled_residual,
    snr,
    v_from_noise,
)

ALPHA_BAR = torch.tensor([0.9, 0.03])
SHAPE = (2, 4, 5, 3, 6)  # b c f h w
TIMES = torch.arange(5.0).expand(2, -1)
SHARES = {"num_frames": 5, "lam_first": 0.9, "lam_last": 0.1}


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b.expand_as(a), rtol=1e-4, atol=1e-4)


@pytest.fixture
def z_0() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def eps() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))


def test_one_step_backward_with_the_true_noise_returns_the_clip(z_0, eps):
    """Eq. 3 inverts Eq. 1."""
    assert close(predict_z_0(add_noise(z_0, eps, ALPHA_BAR), eps, ALPHA_BAR), z_0)


def test_noising_keeps_unit_variance():
    z_0, eps = torch.randn(2, 2, 4, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(add_noise(z_0, eps, ALPHA_BAR).flatten(1).var(dim=1), torch.ones(2), atol=0.02)


def test_prior_is_the_noise_on_a_still_clip(z_0, eps):
    still = z_0[:, :, :1].expand(SHAPE)
    assert close(image_noise_prior(add_noise(still, eps, ALPHA_BAR), z_0[:, :, :1], ALPHA_BAR), eps)


def test_prior_is_the_noise_plus_the_scaled_residual(z_0, eps):
    """Eq. 7, with C_t of Eq. 5, from Eq. 8."""
    z_first = z_0[:, :, :1]
    c_t = scaled_residual(residual_to_first(z_0, z_first), ALPHA_BAR)
    assert close(image_noise_prior(add_noise(z_0, eps, ALPHA_BAR), z_first, ALPHA_BAR), eps + c_t)


def test_prior_recovers_first_frame(z_0, eps):
    """The end of Sec. 3.2: one step backward with the prior gives the first frame, whatever the clip shows."""
    z_first, z_t = z_0[:, :, :1], add_noise(z_0, eps, ALPHA_BAR)
    assert close(predict_z_0(z_t, image_noise_prior(z_t, z_first, ALPHA_BAR), ALPHA_BAR), z_first)


def test_fusing_noises_is_blending_clean_clips(z_0, eps):
    """Eq. 9 in noise space against lam z_0^1 + (1 - lam) z_0 of the residual path."""
    z_first, z_t = z_0[:, :, :1], add_noise(z_0, eps, ALPHA_BAR)
    residual = eps.flip(0)  # any other noise
    lam = prior_share(ALPHA_BAR, TIMES, **SHARES, motion_variance=0.5)
    fused = linear_fusion(image_noise_prior(z_t, z_first, ALPHA_BAR), residual, lam)
    assert close(predict_z_0(z_t, fused, ALPHA_BAR), lam * z_first + (1 - lam) * predict_z_0(z_t, residual, ALPHA_BAR))


def test_noise_from_the_true_v_is_the_true_noise(z_0, eps):
    a = ALPHA_BAR.view(-1, 1, 1, 1, 1)
    v = a.sqrt() * eps - (1 - a).sqrt() * z_0
    z_t = add_noise(z_0, eps, ALPHA_BAR)
    assert close(noise_from_v(v, z_t, ALPHA_BAR), eps)
    assert torch.allclose(v_from_noise(eps, z_t, ALPHA_BAR), v, atol=1e-4)


def test_prior_share_without_motion_variance_is_the_papers():
    """A linear decay along the frames that does not know t."""
    lam = prior_share(ALPHA_BAR, TIMES, **SHARES, motion_variance=0.0)
    assert lam.shape == (2, 1, 5, 1, 1)
    assert torch.allclose(lam[:, 0, :, 0, 0], torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1]).expand(2, 5))


def test_prior_share_falls_along_the_frames_and_with_the_signal():
    alpha_bar = torch.tensor([0.001, 0.1, 0.5, 0.999])
    lam = prior_share(alpha_bar, torch.arange(5.0).expand(4, -1), **SHARES, motion_variance=0.5)[:, 0, :, 0, 0]
    assert (lam.diff(dim=1) < 0).all()
    assert (lam.diff(dim=0) < 0).all()
    assert ((lam > 0) & (lam < 1)).all()


def test_prior_share_follows_the_frames_distance_and_stays_at_its_last():
    """Half-way frames lie between; beyond the clip that the shares were made for nothing falls below lam_last."""
    lam = prior_share(ALPHA_BAR[:1], torch.tensor([[0.5, 2.0, 4.0, 9.0]]), **SHARES, motion_variance=0.0)
    assert lam.flatten().tolist() == pytest.approx([0.8, 0.5, 0.1, 0.1])


def test_prior_share_keeps_the_priors_error_bounded(z_0, eps):
    """At low noise the prior alone is far off, by sqrt(SNR) times the motion; its share of the fused noise is not."""
    alpha_bar = torch.tensor([0.9999, 0.9999])
    prior = image_noise_prior(add_noise(z_0, eps, alpha_bar), z_0[:, :, :1], alpha_bar)
    fused = linear_fusion(prior, eps, prior_share(alpha_bar, TIMES, **SHARES, motion_variance=0.5))
    assert (prior - eps).abs().max() > 100
    assert (fused - eps).abs().max() < 0.2


def test_snr_is_one_where_signal_and_noise_are_equal():
    assert snr(torch.tensor([0.5, 0.8])).tolist() == pytest.approx([1, 4], rel=1e-5)


def test_linear_betas_are_the_papers():
    schedule = betas("linear", 1e-4, 2e-2, 1000)
    assert schedule.dtype == torch.float32 and schedule.shape == (1000,)
    assert schedule[[0, -1]].tolist() == pytest.approx([1e-4, 2e-2])
    assert torch.allclose(schedule.diff(), torch.full((999,), (2e-2 - 1e-4) / 999), atol=1e-8)


def test_scaled_linear_betas_are_linear_in_their_root():
    schedule = betas("scaled_linear", 0.00085, 0.012, 1000)
    assert schedule[[0, -1]].tolist() == pytest.approx([0.00085, 0.012])
    assert torch.allclose(schedule.sqrt().diff(), torch.full((999,), (0.012**0.5 - 0.00085**0.5) / 999), atol=1e-7)


def test_unknown_schedule_is_named_with_the_choices():
    with pytest.raises(ValueError, match=r"^unknown noise schedule 'cosine'; choose linear or scaled_linear$"):
        betas("cosine", 1e-4, 2e-2, 1000)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_give_float32(z_0, eps, dtype):
    z_0, eps, alpha_bar = z_0.to(dtype), eps.to(dtype), torch.tensor([0.9, 0.9999]).to(torch.float32)
    z_t, z_first = add_noise(z_0, eps, alpha_bar), z_0[:, :, :1]
    prior = image_noise_prior(z_t.to(dtype), z_first, alpha_bar)
    for tensor in (z_t, prior, predict_z_0(z_t.to(dtype), eps, alpha_bar), noise_from_v(eps, z_t.to(dtype), alpha_bar)):
        assert tensor.dtype == torch.float32 and tensor.isfinite().all()


def test_the_loop_share_begins_free_and_would_end_at_the_photo():
    share = loop_share(20)
    assert (share[:13] == 0).all() and (share.diff() >= 0).all()
    shares = loop_share(1000)
    assert not shares[:600].any() and shares[601] > 0 and shares[800] == pytest.approx(0.5, abs=1e-3)
    assert share[-1] < 1 and shares[-1] > 0.999


def test_the_arrival_share_begins_free_and_ends_at_the_picture():
    shares = arrival_share(torch.linspace(0, 1, 1001))
    assert not shares[:601].any() and shares[601] > 0 and shares[800] == pytest.approx(0.5, abs=1e-3) and shares[-1] == 1
    assert torch.equal(arrival_share(torch.arange(20) / 20), loop_share(20))
    assert arrival_share(torch.tensor([0.5, 0.75]), begins=0.5).tolist() == [0, 0.5]


def test_matched_steps_leave_as_much_signal():
    """Between whole steps of the base's schedule too; its ends where it has no such step."""
    paper, base = alphas_bar("linear", 1e-4, 2e-2, 1000), alphas_bar("scaled_linear", 0.00085, 0.012, 1000)
    matched = matched_timestep(paper, base)
    inside = (paper < base[0]) & (paper > base[-1])
    low = matched.long().clamp(max=998)
    between = snr(base)[low].log().lerp(snr(base)[low + 1].log(), matched - low)
    assert torch.allclose(between[inside], snr(paper)[inside].log(), atol=1e-3)
    assert [snr(schedule)[500].sqrt().item() for schedule in (paper, base)] == pytest.approx([0.29, 0.62], abs=0.01)
    assert matched[500] > 650 and (matched.diff() >= 0).all()
    assert matched[0] == 0 and matched[-1] == 999 and not inside[:4].any() and not inside[730:].any()
    assert torch.allclose(matched_timestep(base, base), torch.arange(1000.0), atol=1e-2)
