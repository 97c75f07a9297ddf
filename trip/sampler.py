"""The samplers that a person can choose by name, and what any other one must do: all are fed with noise, on the checkpoint's schedule."""

import inspect
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, SchedulerMixin, UniPCMultistepScheduler
from torch import Tensor

from trip.diffusion import add_noise, predict_z_0


class DDIM(DDIMScheduler):
    """Deterministic DDIM (Song et al. 2021, eta 0) that steps to the next of its own timesteps.

    The base class steps by a fixed `T // num_steps`, which under `trailing` spacing is not the next timestep unless the number of
    steps divides T.
    """

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, **_: Any) -> tuple[Tensor]:
        """model_output: noise, sample: noised clip, both b c f h w. Gives the clip at the next timestep."""
        index = int((self.timesteps == timestep).nonzero()[0])
        last = index + 1 == len(self.timesteps)
        now = self.alphas_cumprod[int(timestep)].to(sample.device)
        following = (self.final_alpha_cumprod if last else self.alphas_cumprod[int(self.timesteps[index + 1])]).to(sample.device)
        return (add_noise(predict_z_0(sample, model_output, now), model_output, following),)


SAMPLERS = {"ddim": DDIM, "dpm++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}


def check_scheduler(scheduler: SchedulerMixin) -> None:
    """ValueError, in one line, where a scheduler cannot sample with noise, on a schedule that leaves some signal."""
    name, predicts = type(scheduler).__name__, scheduler.config.get("prediction_type", "epsilon")
    taken = [
        one for one in inspect.signature(scheduler.step).parameters.values() if one.default is one.empty and one.kind != one.VAR_KEYWORD
    ]
    wanted = (
        "wanted a scheduler of noise on the checkpoint's own schedule, such as EulerDiscreteScheduler.from_config(pipe.scheduler.config)"
    )
    if not hasattr(scheduler, "alphas_cumprod") or len(taken) != 3:
        raise ValueError(f"{wanted}, got {name}, which works another way; choose another")
    if predicts != "epsilon":
        raise ValueError(f"{wanted}, got {name} for {predicts}; leave prediction_type as it is: the network's output becomes noise before")
    if scheduler.alphas_cumprod.min() <= 0:
        raise ValueError(f"{wanted}, got {name} rescaled to no signal at all at its end; leave rescale_betas_zero_snr off")


def signal_share(scheduler: SchedulerMixin, t: Tensor) -> Tensor:
    """alpha_bar at a timestep t, one number. Schedulers that scale the clip (Euler and its kin) have it at any t, by their own sigma."""
    one = torch.ones((), device=t.device)
    scaled = scheduler.scale_model_input(one, t)
    return scheduler.alphas_cumprod.to(t.device)[t.long()] if scaled is one else scaled.float().square()
