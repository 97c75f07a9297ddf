"""The samplers that a person can choose, all made from the checkpoint's own schedule and fed with noise."""

from typing import Any

from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
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
