"""What each form of the fusion makes of two noises: python tests/stress/fusion_forms.py [--seeds 3] [--steps 400] [--preset embedded].

Latents without a 3D-UNet, at the sizes of a preset's fusion. In about a third of a frame's places the content leaves the photo's, the
further the later the frame; the residual is the true noise with an error of variance 0.09 everywhere. So the prior is the better path where
nothing moves, and everywhere at much noise. Each form learns Eq. 10 on the paper's schedule and is asked on clips that it did not see. The
best possible knows the variance of both errors in every place: no fusion of these two noises has a lower mean error. Errors are means over
seeds, with 95 % intervals (Student's t). A form takes a minute or two on one thread.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[2]))

from trip.diffusion import add_noise, alphas_bar, image_noise_prior, snr, spread  # noqa: E402
from trip.model.fusion import NoiseFusion  # noqa: E402
from trip.settings import PRESETS, ModelSettings  # noqa: E402

FORMS = {
    f"{attend}, {concatenate}, {query}": {"attend": attend, "concatenate": concatenate, "query": query}
    for attend, concatenate, query in itertools.product(("space", "time"), ("tokens", "channels"), ("residual", "both"))
}
FORMS["space, tokens, residual, skip"] = {"skip": True, "lam_first": 0.5}  # the embedded model's
BLENDS = {
    "Eq. 9": {"kind": "linear", "motion_variance": 0.0},
    "Eq. 9 with a share that falls with the SNR": {"kind": "linear", "lam_first": 0.5},
}
RESIDUAL_ERROR, MOTION = 0.09, 0.63  # variances: of the residual's error; of what moves, in the last frame
TIMESTEPS = (100, 300, 500, 900)  # that a form is asked at
NUM_ASKED = 4  # clips at each
ALPHAS_BAR = alphas_bar("linear", 1e-4, 2e-2, 1000)  # the paper's


class Clips:
    """Noised clips with their photos and residuals, and the best that can be made of them, drawn by a generator.

    timestep  of each clip   b
    """

    def __init__(self, timestep: Tensor, shape: tuple[int, int, int, int], generator: torch.Generator):
        b, (c, f, h, w) = len(timestep), shape
        self.timestep, self.alpha_bar, self.times = timestep, ALPHAS_BAR[timestep], torch.arange(float(f)).expand(b, -1)
        rough = torch.randn(b, 1, h // 4, w // 4, generator=generator)
        moves = (functional.interpolate(rough, (h, w), mode="bilinear") > 0.25).float().unsqueeze(2)
        variance = MOTION * moves * (self.times / (f - 1)).square().view(b, 1, f, 1, 1)
        self.z_first, self.eps = torch.randn(b, c, 1, h, w, generator=generator), torch.randn(b, c, f, h, w, generator=generator)
        motion, error = torch.randn(2, *self.eps.shape, generator=generator)
        self.residual = self.eps + RESIDUAL_ERROR**0.5 * error
        self.z_t = add_noise(self.z_first + variance.sqrt() * motion, self.eps, self.alpha_bar)
        self.prior = image_noise_prior(self.z_t, self.z_first, self.alpha_bar)
        off = spread(snr(self.alpha_bar)) * variance  # variance of the prior's error; that of the noise itself is 1
        self.best = (RESIDUAL_ERROR * self.prior + off * self.residual) / (RESIDUAL_ERROR + off + RESIDUAL_ERROR * off)

    def error(self, noise: Tensor) -> Tensor:
        """Mean squared error of a noise."""
        return (noise - self.eps).square().mean()

    def error_of(self, fusion: NoiseFusion) -> Tensor:
        """The same of what a fusion makes of prior and residual."""
        return self.error(fusion(self.z_t, self.z_first, self.residual, self.timestep, self.alpha_bar, self.times))


def learn(fusion: NoiseFusion, shape: tuple[int, int, int, int], seed: int, options: argparse.Namespace) -> None:
    """Trains a fusion on clips drawn anew at each step, one at a time."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(fusion.parameters(), options.learning_rate, betas=(0.9, 0.99))
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.learning_rate, total_steps=options.steps, pct_start=0.1)
    for _ in range(options.steps):
        optimizer.zero_grad()
        Clips(torch.randint(len(ALPHAS_BAR), (1,), generator=generator), shape, generator).error_of(fusion).backward()
        torch.nn.utils.clip_grad_norm_(fusion.parameters(), 1.0)
        optimizer.step()
        rates.step()


def sizes_of(model: ModelSettings) -> tuple[dict[str, int], tuple[int, int, int, int]]:
    """Keywords of a preset's fusion, and the shape of its clips, c f h w."""
    side = model.frame_size // 2 ** (len(model.vae.block_channels) - 1)
    sizes = {"channels": model.vae.latent_channels, "num_frames": model.num_frames}
    sizes |= {name: getattr(model.fusion, name) for name in ("width", "heads", "depth")}
    return sizes, (sizes["channels"], sizes["num_frames"], side, side)


def row(name: str, errors: list[list[float]], more: str = "") -> str:
    """A line of the table: errors of each seed at each time step."""
    mean, cells = np.mean(errors, axis=0), []
    for value, of_seeds in zip(mean, np.transpose(errors), strict=True):
        half = stats.t.ppf(0.975, len(errors) - 1) * stats.sem(of_seeds) if len(errors) > 1 else None
        cells.append(f"{value:.4f}" + (f" ± {half:.4f}" if half is not None else ""))
    return " | ".join([f"{name:45}", *(f"{cell:17}" for cell in cells), more])


def main() -> None:
    """Flags, training, the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=["embedded", "paper"], default="embedded", help="whose sizes")
    parser.add_argument("--side", type=int, help="height and width of a frame of latents, whole fours (default: the preset's)")
    parser.add_argument("--form", action="append", choices=FORMS, help="this one alone; may be given several times")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    options = parser.parse_args()
    sizes, shape = sizes_of(PRESETS[options.preset].model)
    shape = (*shape[:2], *[options.side or shape[2]] * 2)

    generator = torch.Generator().manual_seed(2**31)
    asked = [Clips(torch.full((NUM_ASKED,), t), shape, generator) for t in TIMESTEPS]
    print(f"{sizes}, clips of {' x '.join(map(str, shape))}, {options.steps} steps, {options.seeds} seeds")
    print(" | ".join([f"{'attend, concatenate, query':45}", *(f"t = {t:<13}" for t in TIMESTEPS), "at the start, CPU seconds"]))
    for name, noise in {"residual": "residual", "prior": "prior", "best possible": "best"}.items():
        print(row(name, [[clips.error(getattr(clips, noise)).item() for clips in asked]]))
    with torch.no_grad():
        for name, blend in BLENDS.items():
            print(row(name, [[clips.error_of(NoiseFusion(**sizes, **blend)).item() for clips in asked]]))
    for name in options.form or FORMS:
        starts, ends, begun = [], [], time.process_time()
        for seed in range(options.seeds):
            torch.manual_seed(seed)
            fusion = NoiseFusion(**sizes, **FORMS[name])
            with torch.no_grad():
                starts.append([clips.error_of(fusion).item() for clips in asked])
            learn(fusion, shape, seed, options)
            with torch.no_grad():
                ends.append([clips.error_of(fusion).item() for clips in asked])
        start, seconds = np.mean(starts, axis=0), (time.process_time() - begun) / options.seeds
        print(row(name, ends, f"{', '.join(f'{value:.4f}' for value in start)}; {seconds:.0f} s"), flush=True)


if __name__ == "__main__":
    main()
