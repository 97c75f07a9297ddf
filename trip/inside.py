"""What both paths of a denoising step say: a recorder for the sampling loop, its file, and two pictures of what it holds."""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import torch
from torch import Tensor

from trip.diffusion import predict_z_0
from trip.system.files import atomic_write

MOST_STEPS = MOST_FRAMES = 6  # that clean clips are kept of
SAME = 1e-5  # paths that differ by less than this share of their size agree: the rest is rounding
PATHS = ("prior", "residual", "eps")
AGREE = (150, 150, 150)  # colour where there is no share: none of viridis


@dataclass(frozen=True)
class Inside:
    """What was said inside one clip, by steps s and frames f; clean clips are kept of p of the steps and n of the frames.

    timesteps          t of each step                                             s, int
    share              of the prior in the fused noise, see `fusion_share`        s f, NaN where both paths agree
    rms                of the noise by PATHS: prior, residual, fused              3 s f
    picture_steps      which steps, from 0; the last of a whole clip is there     p, int
    picture_frames     which frames; 0 is the photo                               n, int
    photo              clean latent of the photo: what the prior alone implies for every frame, by Eq. 8   c 1 h w, float16
    residual           clean latents that the residual path alone implies         p c n h w, float16
    fused              clean latents that the fusion implies                      p c n h w, float16
    """

    timesteps: np.ndarray
    share: np.ndarray
    rms: np.ndarray
    picture_steps: np.ndarray
    picture_frames: np.ndarray
    photo: np.ndarray
    residual: np.ndarray
    fused: np.ndarray

    def save(self, path: Path) -> Path:
        """Writes one compressed .npz, whole, and gives its path. ValueError where it cannot be written."""
        try:
            with atomic_write(path) as partial, partial.open("wb") as file:
                np.savez_compressed(file, **vars(self))
        except OSError as error:
            raise ValueError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote. ValueError where the file is missing, broken or another one."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(**{field.name: stored[field.name] for field in fields(cls)})
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: wanted a file that Inside.save wrote, got {error}; record the clip again") from error


class InsideRecorder:
    """Collects `Inside` of a batch's first clip; give it to the pipeline as `callback_on_step_end`.

    num_steps  of the clip: `pipe.resolve(settings).num_steps`
    so_far     what was said before the clip was interrupted, where it goes on
    """

    def __init__(self, num_steps: int, so_far: Inside | None = None):
        self.picture_steps = _evenly(num_steps, MOST_STEPS)
        self.numbers: list[tuple[int, Tensor, Tensor]] = []
        self.clean: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        if so_far is not None:
            share, rms = torch.from_numpy(so_far.share), torch.from_numpy(so_far.rms)
            self.numbers = list(zip(so_far.timesteps.tolist(), share, rms.unbind(1), strict=True))
            photo = [so_far.photo] * len(so_far.picture_steps)
            self.clean = list(zip(so_far.picture_steps.tolist(), photo, so_far.residual, so_far.fused, strict=True))

    def __call__(self, pipe: Any, step: int, timestep: int, tensors: dict[str, Tensor]) -> None:
        """One step.

        pipe     a TripPipeline: its schedule tells alpha_bar
        tensors  z_t, prior, residual and eps as in `TripPipeline.animate_batch`   b c f h w
        """
        noises = [tensors[name][:1] for name in PATHS]
        rms = torch.stack([noise.square().mean(dim=(0, 1, 3, 4)).sqrt() for noise in noises])
        self.numbers.append((timestep, fusion_share(*noises)[0].float().cpu(), rms.float().cpu()))
        if step in self.picture_steps:
            alpha_bar = pipe.scheduler.alphas_cumprod[timestep].to(noises[0].device)
            prior, residual, fused = (predict_z_0(tensors["z_t"][:1], noise, alpha_bar)[0].half().cpu().numpy() for noise in noises)
            chosen = _evenly(fused.shape[1], MOST_FRAMES)
            self.clean.append((step, prior[:, :1], residual[:, chosen], fused[:, chosen]))

    def result(self) -> Inside:
        """What was said so far: also of a clip that was stopped. ValueError before the first step."""
        if not self.numbers:
            raise ValueError("wanted a clip's steps, got none; animate with the recorder as callback_on_step_end first")
        timesteps, shares, rms = zip(*self.numbers, strict=True)
        steps, prior, residual, fused = zip(*self.clean, strict=True)
        return Inside(
            timesteps=np.array(timesteps),
            share=torch.stack(shares).numpy(),
            rms=torch.stack(rms, dim=1).numpy(),
            picture_steps=np.array(steps),
            picture_frames=_evenly(shares[0].shape[0], MOST_FRAMES),
            photo=prior[0],
            residual=np.stack(residual),
            fused=np.stack(fused),
        )


def fusion_share(prior: Tensor, residual: Tensor, eps: Tensor) -> Tensor:
    """Share of the prior in the fused noise of each frame: b c f h w (three of them) -> b f, float64.

    The factor of (prior - residual) that comes closest to (eps - residual), by least squares. For Eq. 9 that is lam. For the attention
    of Eq. 11, which is no blend, it is a projection: what the fusion adds across that line is not in it, and it may be below 0 or
    above 1. NaN where both paths agree to rounding, for then any share gives the same noise.
    """
    prior, residual, eps = (noise.cpu().double() for noise in (prior, residual, eps))
    way, axes = prior - residual, (1, 3, 4)
    length = way.square().sum(axes)
    share = ((eps - residual) * way).sum(axes) / length
    return share.where(length > SAME**2 * (prior.square() + residual.square()).sum(axes), torch.nan)


@dataclass(frozen=True)
class ShareMap:
    """The share of the prior as colours.

    cells      a pixel for each frame, downwards, and step, to the right    f s 3, uint8
    low, high  shares of the darkest and the brightest colour: 0 .. 1, and further where nine tenths of the shares reach further
    is_beyond  whether some lie below the one, and above the other
    has_gaps   whether somewhere both paths said the same, so that there is no share: grey
    """

    cells: np.ndarray
    low: float
    high: float
    is_beyond: tuple[bool, bool]
    has_gaps: bool


def share_map(inside: Inside) -> ShareMap:
    """What `Inside.share` looks like."""
    known = inside.share[np.isfinite(inside.share)]
    low, high = (min(0.0, np.percentile(known, 5)), max(1.0, np.percentile(known, 95))) if known.size else (0.0, 1.0)
    beyond = bool((known < low).any()), bool((known > high).any())
    return ShareMap(colours((inside.share.T - low) / (high - low)), float(low), float(high), beyond, known.size < inside.share.size)


def clean_clips(inside: Inside, step: int, decode: Callable[[Tensor], np.ndarray]) -> dict[str, np.ndarray]:
    """The clips that prior, residual and fusion imply at one of `picture_steps`: n h w 3 each, uint8.

    decode  clean latents b c f h w -> pixels b f h w 3, uint8, such as `TripPipeline.decode`
    """
    if step not in inside.picture_steps:
        raise ValueError(f"no pictures of step {step}; choose {', '.join(map(str, inside.picture_steps))}")
    index = list(inside.picture_steps).index(step)
    residual, fused = inside.residual[index], inside.fused[index]
    pictures = decode(torch.from_numpy(np.concatenate([residual, fused, inside.photo], axis=1)).float().unsqueeze(0))[0]
    count = len(inside.picture_frames)
    return {"prior": pictures[[-1] * count], "residual": pictures[:count], "fused": pictures[count : 2 * count]}


def colours(values: np.ndarray) -> np.ndarray:
    """Viridis, which is as readable without red and green: h w -> h w 3, uint8; 0 dark, 1 bright, NaN grey."""
    levels = np.nan_to_num(values * 255).round().clip(0, 255).astype(np.uint8)
    return np.where(np.isnan(values)[..., None], np.uint8(AGREE), cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1])


def _evenly(count: int, most: int) -> np.ndarray:
    """At most so many of 0 .. count - 1, first and last among them."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int) if count > 1 else np.zeros(1, int)
