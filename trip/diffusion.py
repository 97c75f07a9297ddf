"""The paper's equations. Imports torch alone; every function takes and gives plain tensors.

z_0, z_t     clean and noised latents of a clip   b c f h w
z_first      clean latent of the given photo      b c 1 h w
eps          the noise in z_t                     b c f h w
alpha_bar    share of signal left at t, 0 < … < 1  b, or anything that broadcasts once it is spread over c f h w
"""

from functools import cache

import torch
from torch import Tensor


def betas(kind: str, start: float, end: float, num_steps: int) -> Tensor:
    """Variances added by each step of the forward process, t = 0 … T-1: float32.

    `linear` is the paper's; `scaled_linear` is that of the Stable Diffusion and ModelScope weights.
    """
    if kind == "linear":
        return torch.linspace(start, end, num_steps, dtype=torch.float32)
    if kind == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, num_steps, dtype=torch.float32) ** 2
    raise ValueError(f"unknown noise schedule {kind!r}; choose linear or scaled_linear")


@cache
def alphas_bar(kind: str, start: float, end: float, num_steps: int) -> Tensor:
    """Share of signal left after each step of a noise schedule, t = 0 … T-1: float32."""
    return (1 - betas(kind, start, end, num_steps)).cumprod(0)


def matched_timestep(alpha_bar: Tensor, schedule: Tensor) -> Tensor:
    """Step of another noise schedule at which as much signal is left, between whole steps too; its ends where there is none.

    schedule  share of signal left at each step of the other schedule, falling   T
    """
    log_snr, wanted = snr(schedule).log(), snr(alpha_bar.to(schedule)).log()
    after = torch.searchsorted(-log_snr, -wanted).clamp(1, len(schedule) - 1)  # first step with less signal
    gone = (log_snr[after - 1] - wanted) / (log_snr[after - 1] - log_snr[after])
    return after - 1 + gone.clamp(0, 1)


def spread(values: Tensor) -> Tensor:
    """One value a sample, shaped to broadcast over a clip: b -> b 1 1 1 1."""
    return values.float().view(-1, 1, 1, 1, 1)


def snr(alpha_bar: Tensor) -> Tensor:
    """Signal-to-noise ratio, alpha_bar / (1 - alpha_bar)."""
    return alpha_bar / (1 - alpha_bar)


def add_noise(z_0: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """Forward process (Eq. 1)."""
    a = spread(alpha_bar)
    return a.sqrt() * z_0 + (1 - a).sqrt() * eps


def predict_z_0(z_t: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """One step of the backward process: the clean clip that `eps` implies (Eq. 3)."""
    a = spread(alpha_bar)
    return (z_t - (1 - a).sqrt() * eps) / a.sqrt()


def residual_to_first(z_0: Tensor, z_first: Tensor) -> Tensor:
    """What each frame adds to the first (Eq. 4)."""
    return z_0 - z_first


def scaled_residual(delta: Tensor, alpha_bar: Tensor) -> Tensor:
    """C_t: the difference to the first frame on the scale of the noise (Eq. 5)."""
    return spread(snr(alpha_bar)).sqrt() * delta


def image_noise_prior(z_t: Tensor, z_first: Tensor, alpha_bar: Tensor) -> Tensor:
    """Noise each frame would carry if it showed the first frame (Eq. 8): eps + C_t, by Eq. 7.

    Grows like sqrt(SNR) towards t = 0, hence float32 whatever comes in.
    """
    a = spread(alpha_bar)
    return (z_t.float() - a.sqrt() * z_first.float()) / (1 - a).sqrt()


def noise_from_v(v: Tensor, z_t: Tensor, alpha_bar: Tensor) -> Tensor:
    """The noise that a v-prediction means: eps = sqrt(alpha_bar) v + sqrt(1 - alpha_bar) z_t (Salimans and Ho 2022)."""
    a = spread(alpha_bar)
    return a.sqrt() * v.float() + (1 - a).sqrt() * z_t.float()


def v_from_noise(eps: Tensor, z_t: Tensor, alpha_bar: Tensor) -> Tensor:
    """The v-prediction that a noise means: the way back from `noise_from_v`."""
    a = spread(alpha_bar)
    return (eps.float() - (1 - a).sqrt() * z_t.float()) / a.sqrt()


def prior_share(alpha_bar: Tensor, times: Tensor, *, num_frames: int, lam_first: float, lam_last: float, motion_variance: float) -> Tensor:
    """lam of Eq. 9: share of the prior in each frame, b 1 f 1 1, in [0, 1].

    Falls linearly with the frame's distance to the photo, as in the paper. It also falls with the signal-to-noise ratio: the
    prior's error is SNR times the squared motion of the frame, so at low noise a fixed share would be all error. With
    `motion_variance` at 0 it is the paper's, which does not know t.

    times       distance of each frame to the photo, in frames    b f
    num_frames  over so many frames the share falls from lam_first to lam_last, where it stays
    """
    gone = (times / (num_frames - 1)).clamp(0, 1)
    by_frame = (lam_first + (lam_last - lam_first) * gone).view(times.shape[0], 1, -1, 1, 1)
    return by_frame / (1 + motion_variance * spread(snr(alpha_bar)))


def linear_fusion(prior: Tensor, residual: Tensor, lam: Tensor) -> Tensor:
    """Eq. 9. The same as blending the clean clips that both imply, with the same shares."""
    return lam * prior + (1 - lam) * residual


def arrival_share(gone: Tensor, begins: float = 0.6) -> Tensor:
    """Shares of a prior (Eq. 9's lam) that bring a clip to the picture of that prior: they rise smoothly from 0 to 1.

    gone    how much of the way to that picture is over, in [0, 1], of any shape
    begins  the share of the way on which they begin to rise
    """
    gone = ((gone - begins) / (1 - begins)).clamp(0, 1)
    return gone.square() * (3 - 2 * gone)


def loop_share(num_frames: int) -> Tensor:
    """Those that bring a clip back to its photo, f, up to almost 1: the frame after the last one would be the photo again."""
    return arrival_share(torch.arange(num_frames) / num_frames)
