"""The image noise prior under a video model that was not trained with it: any latent diffusion model of diffusers, whatever it predicts.

Eq. 9 blends the clean clips that prior and network imply: z_0' = lam z_photo + (1 - lam) z_0. A prediction, be it of the noise, of v, of
the flow or of the clip itself, is affine in the clean clip that it means, z_0 = skip z_t + out prediction, so that the same blend can be
taken on predictions: lam prior + (1 - lam) network, where the prior is what a network would predict that sees the photo's latent in every
frame (Eq. 8 in that form). The blend comes after guidance, as in TRIP: guidance pushes the network's two branches apart, and the prior is
the same in both.

    with held_by(pipe.scheduler, ImagePrior(encode_photo(pipe.vae, photo, num_frames))):
        frames = pipe(prompt, num_frames=num_frames).frames[0]
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, AutoencoderTiny, SchedulerMixin
from einops import rearrange
from torch import Tensor

from trip.diffusion import prior_share
from trip.model.latents import encode_video

OF_PICTURES = AutoencoderKL | AutoencoderKLTemporalDecoder | AutoencoderTiny  # autoencoders that know no time, or decode it alone

CLIP = "b c f h w"
LAYOUTS = {  # how pipelines hold a clip while they sample
    "AnimateDiffPipeline": CLIP,
    "WanPipeline": CLIP,
    "WanImageToVideoPipeline": CLIP,
    "TextToVideoSDPipeline": "(b f) c h w",
    "I2VGenXLPipeline": "(b f) c h w",
    "StableVideoDiffusionPipeline": "b f c h w",
    "CogVideoXPipeline": "b f c h w",
    "CogVideoXImageToVideoPipeline": "b f c h w",
    "LTXPipeline": "b (f h w) c",
}


@dataclass(frozen=True)
class Shares:
    """How much of the prior each frame takes at a noise level: `trip.diffusion.prior_share`, and none towards the end.

    motion_variance  by which the share falls as the noise does: what a frame differs from the photo by, squared
    ends             share of the steps after which the network goes on by itself, so that the motion is not frozen
    """

    lam_first: float = 1.0
    lam_last: float = 0.1
    motion_variance: float = 0.1
    ends: float = 0.6


# Chosen by what the shares do to the maths, not measured on anybody's weights.
SHARES = {"still": Shares(1.0, 0.8, 0.02, 1.0), "usual": Shares(), "free": Shares(0.5, 0.0, 0.5, 0.4)}


@dataclass
class ImagePrior:
    """What a clip is held by.

    z         clean latent of the photo in every frame, as the model scales latents; where the camera is to move, of the photo as it would
              show it                                                                          b c f h w
    shares    how much it counts
    feedback  whether what the network gets wrong in the photo's own frame, where the truth is known, is taken off every frame: noise
              rectification (Li et al. 2024, arXiv 2403.02827) with Eq. 8 in the place of a stored noise
    layout    how the pipeline holds the clip, one of LAYOUTS
    """

    z: Tensor
    shares: Shares = field(default_factory=Shares)
    feedback: bool = False
    layout: str = CLIP

    def __post_init__(self):
        if self.z.ndim != 5:
            raise ValueError(f"wanted latents as {CLIP}, got {tuple(self.z.shape)}; see encode_photo")
        if self.layout not in LAYOUTS.values():
            raise ValueError(f"unknown layout {self.layout!r}; choose {', '.join(dict.fromkeys(LAYOUTS.values()))}")

    def hold(self, prediction: Tensor, z_t: Tensor, level: "NoiseLevel", gone: float = 0.0) -> Tensor:
        """The prediction, held by the prior, in its own layout and precision.

        prediction, z_t  of the network, after guidance, and the clip that it saw, in `layout`
        gone             share of the steps that are over
        """
        if gone >= self.shares.ends:
            return prediction
        network, seen, num_frames = self._as_clip(prediction), self._as_clip(z_t), self.z.shape[2]
        prior = level.meant(self.z.to(network), seen)
        if self.feedback:
            network = network + (prior - network)[:, :, :1]
        times = torch.arange(num_frames, device=network.device).float()[None]
        shares = self.shares
        lam = prior_share(
            level.alpha_bar.to(network).view(1),
            times,
            num_frames=max(num_frames, 2),
            lam_first=shares.lam_first,
            lam_last=shares.lam_last,
            motion_variance=shares.motion_variance,
        )
        return rearrange(torch.lerp(network, prior, lam), f"{CLIP} -> {self.layout}").to(prediction.dtype)

    def clean(self, prediction: Tensor, z_t: Tensor, level: "NoiseLevel") -> Tensor:
        """The clean clip that a prediction means, both in `layout`: b c f h w, float32."""
        return level.clean(self._as_clip(prediction), self._as_clip(z_t))

    def _as_clip(self, part: Tensor) -> Tensor:
        size = dict(zip("bcfhw", self.z.shape, strict=True))
        return rearrange(part, f"{self.layout} -> {CLIP}", **{name: size[name] for name in "fhw" if name in self.layout}).float()

    def held_step(self, scheduler: SchedulerMixin, timestep: Tensor | float, prediction: Tensor, z_t: Tensor) -> Tensor:
        """The same at a scheduler's step."""
        gone = step_index(scheduler, timestep) / len(scheduler.timesteps)
        return self.hold(prediction, z_t, noise_level(scheduler, timestep), gone)


@dataclass(frozen=True)
class NoiseLevel:
    """What a prediction means at one step: z_0 = skip z_t + out prediction; each one number.

    alpha_bar  share of signal at which the signal-to-noise ratio is that of this step
    """

    skip: Tensor
    out: Tensor
    alpha_bar: Tensor

    def clean(self, prediction: Tensor, z_t: Tensor) -> Tensor:
        """The clean clip that a prediction means."""
        return self.skip.to(z_t) * z_t + self.out.to(z_t) * prediction

    def meant(self, z_0: Tensor, z_t: Tensor) -> Tensor:
        """What a network would predict that sees the clean clip `z_0` in `z_t`; of the noise, Eq. 8."""
        return (z_0 - self.skip.to(z_t) * z_t) / self.out.to(z_t)


def noise_level(scheduler: SchedulerMixin, timestep: Tensor | float) -> NoiseLevel:
    """That of a scheduler's step; ValueError for a prediction that is none of noise, v, flow and clip."""
    predicts = scheduler.config.get("prediction_type") or "flow_prediction"  # schedulers of flow alone have no such setting
    if predicts == "flow_prediction":  # of eps - z_0, where z_t = (1 - sigma) z_0 + sigma eps
        noise = scheduler.sigmas[step_index(scheduler, timestep)].double().cpu()
        signal = 1 - noise
    else:
        one = torch.ones((), dtype=torch.float64)
        scaled = scheduler.scale_model_input(one, timestep).cpu()  # 1 where signal and noise keep the sum of their squares
        alpha_bar = scheduler.alphas_cumprod[int(timestep)].double().cpu() if scaled == 1 else scaled.square()
        signal, noise = (alpha_bar.sqrt(), (1 - alpha_bar).sqrt()) if scaled == 1 else (one, (1 / alpha_bar - 1).sqrt())
    size = (signal.square() + noise.square()).sqrt()
    meanings = {  # skip and out of NoiseLevel
        "epsilon": (1 / signal, -noise / signal),
        "v_prediction": (signal / size**2, -noise / size),
        "sample": (torch.zeros_like(noise), torch.ones_like(noise)),
        "flow_prediction": (torch.ones_like(noise), -noise),
    }
    if predicts not in meanings:
        raise ValueError(f"unknown prediction {predicts!r} of a scheduler; choose one that predicts {', '.join(meanings)}")
    skip, out = meanings[predicts]
    return NoiseLevel(skip, out, (signal / size).square())


def step_index(scheduler: SchedulerMixin, timestep: Tensor | float) -> int:
    """Which of a scheduler's steps a timestep is, from 0."""
    return int((scheduler.timesteps.to("cpu", torch.float64) - float(timestep)).abs().argmin())


@contextmanager
def each_step(scheduler: SchedulerMixin, change: Callable[[SchedulerMixin, Tensor | float, Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Inside, every step of the scheduler, or of a copy of it, takes what `change` makes of the prediction.

    change  (scheduler, timestep, prediction, z_t) -> prediction
    """
    signature = inspect.signature(scheduler.step)

    @functools.wraps(type(scheduler).step)  # pipelines look at what it takes
    def step(own: SchedulerMixin, *arguments: Any, **more: Any) -> Any:
        call = signature.bind(*arguments, **more)
        given = call.arguments
        given["model_output"] = change(own, given["timestep"], given["model_output"], given["sample"])
        return type(own).step(own, *call.args, **call.kwargs)

    scheduler.step = MethodType(step, scheduler)
    try:
        yield
    finally:
        del scheduler.step


def held_by(scheduler: SchedulerMixin, prior: ImagePrior) -> AbstractContextManager[None]:
    """Inside, every step of the scheduler gets a prediction that the prior holds, so that any pipeline that samples with it does."""
    return each_step(scheduler, prior.held_step)


def encode_photo(vae: torch.nn.Module, photo: Tensor, num_frames: int, device: torch.device | None = None) -> Tensor:
    """The photo's latent in every frame, as the model scales latents: 1 3 h w in [-1, 1] -> 1 c f h w, float32.

    vae     of pictures, or of clips, which is given the photo repeated: it may make fewer frames of them
    device  where the autoencoder computes, where that is not where it lies
    """
    if isinstance(vae, OF_PICTURES):
        return encode_clip(vae, photo.unsqueeze(2), device).expand(-1, -1, num_frames, -1, -1)
    return encode_clip(vae, photo.unsqueeze(2).expand(-1, -1, num_frames, -1, -1), device)


@torch.no_grad()
def encode_clip(vae: torch.nn.Module, video: Tensor, device: torch.device | None = None) -> Tensor:
    """The latents of a clip, as the model scales them: 1 3 f h w in [-1, 1] -> 1 c f h w, float32; see `encode_photo`."""
    if isinstance(vae, OF_PICTURES):
        return encode_video(vae, video, device=device)
    z = vae.encode(video.to(device or vae.device, vae.dtype)).latent_dist.mode().float()
    for name in ("latents_mean", "latents_std"):
        values = vae.config.get(name) if vae.config.get(name) is not None else getattr(vae, name, None)
        if values is not None:
            values = torch.as_tensor(values).to(z).view(1, -1, 1, 1, 1)
            z = z - values if name == "latents_mean" else z / values
    return z * vae.config.get("scaling_factor", 1.0)


def start_noise(z: Tensor, level: NoiseLevel, eps: Tensor, cutoff: float = 0.25) -> Tensor:
    """Noise to start from that has something of the photo in its low frequencies, as the noised photo has, and in its high ones none:
    FrameInit (Ren et al. 2024, ConsistI2V), with a Gaussian filter.

    z, eps  clean latent of the photo in every frame, and noise   b c f h w
    level   of the first step
    cutoff  frequency, as a share of the highest, at which the filter has fallen to exp(-1/2)
    """
    signal, axes = level.alpha_bar.to(eps).sqrt(), (-3, -2, -1)
    noised = signal * z.to(eps) + (1 - signal.square()).sqrt() * eps
    grids = torch.meshgrid(*(2 * torch.fft.fftfreq(eps.shape[axis], device=eps.device) for axis in axes), indexing="ij")
    low = torch.exp(-sum(grid.square() for grid in grids) / (2 * cutoff**2))
    return torch.fft.ifftn(torch.fft.fftn(noised - eps, dim=axes) * low, dim=axes).real + eps
