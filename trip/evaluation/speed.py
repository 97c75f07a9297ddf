"""How long a denoising step takes, and what share of it is not the 3D-UNet: all measured in one process, turn by turn."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from trip.diffusion import image_noise_prior


def time_step(pipe: Any, *, repeats: int = 10) -> dict[str, float | int]:
    """Median seconds of one call at the pipeline's own size: bare 3D-UNet, fusion with its prior, prior alone, decoding a clip.

    pipe     anything with `unet`, `fusion`, `vae`, `config.num_frames` and `decode`, such as a TripPipeline
    repeats  rounds; in each one everything is timed once, so that a drift of the machine hits all alike
    Raises ValueError where there are no rounds.
    """
    _check_repeats(repeats)
    unet, fusion, device = pipe.unet, pipe.fusion, pipe.device
    c, f, n = fusion.config.channels, pipe.config.num_frames, unet.config.sample_size
    generator = torch.Generator().manual_seed(0)
    z_t = torch.randn(1, c, f, n, n, generator=generator).to(device)
    z_first = z_t[:, :, :1]
    extra = 0 if unet.config.first_frame == "channel" else 1
    sample = torch.randn(1, unet.config.in_channels, f + extra, n, n, generator=generator).to(device, unet.dtype)
    words = torch.randn(1, 16, unet.config.cross_attention_dim, generator=generator).to(device, unet.dtype)
    times = torch.arange(f + extra, device=device).expand(1, -1)
    t, alpha_bar = torch.tensor([500], device=device), torch.tensor([0.08], device=device)
    parts: dict[str, Callable[[], object]] = {
        "unet": lambda: unet(sample, t, words, frame_times=times, sentence=words[:, 0]),
        "fusion": lambda: fusion(z_t, z_first, z_t, t, alpha_bar, times[:, extra:] - extra),
        "prior": lambda: image_noise_prior(z_t, z_first, alpha_bar),
        "decode": lambda: pipe.decode(z_t),
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    with torch.no_grad():
        for _ in range(repeats + 1):
            for name, call in parts.items():
                seconds[name].append(_timed(call, device))
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first round warms up
    return {
        "num_frames": f,
        "frame_size": pipe.frame_size,
        "threads": torch.get_num_threads(),
        **{f"{name}_seconds": round(value, 5) for name, value in medians.items()},
        "fusion_share_of_unet": round(medians["fusion"] / medians["unet"], 5),
        "prior_share_of_unet": round(medians["prior"] / medians["unet"], 5),
    }


def time_in_turn(ours: Callable[[], object], theirs: Callable[[], object], device: torch.device, *, repeats: int = 10) -> dict[str, float]:
    """Median seconds of two ways to compute the same, turn by turn, and ours by theirs: median and spread of the rounds' ratios.

    `cpu_ratio` is that of the time that this process had a CPU: it holds on a machine that others work on, and says nothing of a GPU.
    Raises ValueError where there are no rounds.
    """
    _check_repeats(repeats)
    rounds = []
    with torch.no_grad():
        for _ in range(repeats + 1):
            rounds.append([])
            for call in (ours, theirs):
                busy = time.process_time()
                rounds[-1] += [_timed(call, device), time.process_time() - busy]
    own, own_busy, other, other_busy = zip(*rounds[1:], strict=True)  # the first round warms up
    ratios = [a / b for a, b in zip(own, other, strict=True)]
    busy_ratios = [a / b for a, b in zip(own_busy, other_busy, strict=True)]
    figures = {"our_seconds": statistics.median(own), "their_seconds": statistics.median(other), "ratio": statistics.median(ratios)}
    figures |= {"lowest_ratio": min(ratios), "highest_ratio": max(ratios), "cpu_ratio": statistics.median(busy_ratios)}
    return {name: round(value, 4) for name, value in figures.items()}


def _check_repeats(repeats: int) -> None:
    if repeats < 1:
        raise ValueError(f"wanted at least 1 repeat, got {repeats}")


def _timed(call: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
