"""The samplers that a person can choose by name, and what any other one must do: all are fed with noise, on the checkpoint's schedule.
And where one stands between two steps.
"""

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, SchedulerMixin, UniPCMultistepScheduler
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trip.diffusion import add_noise, predict_z_0
from trip.system.files import atomic_write, check_header

REMEMBERED = ("model_outputs", "timestep_list", "last_sample", "lower_order_nums", "this_order", "_step_index")  # from step to step


class DDIM(DDIMScheduler):
    """Deterministic DDIM (Song et al. 2021, eta 0) that steps to the next of its own timesteps.

    The base class steps by a fixed `T // num_steps`, which under `trailing` spacing is not the next timestep unless the number of
    steps divides T, and under `leading` spacing begins far below T unless it does: 501 of 1,000 steps would begin half-way.
    """

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Timesteps spread evenly over all of the training's; the base class's own where that spreads them so."""
        super().set_timesteps(num_inference_steps, device)
        if self.config.timestep_spacing == "leading":
            num_train = self.config.num_train_timesteps
            offset = min(self.config.steps_offset, num_train // num_inference_steps - 1)
            self.timesteps = (torch.arange(num_inference_steps) * num_train // num_inference_steps + offset).flip(0).to(device)
        self.timesteps = self.timesteps[:num_inference_steps]  # floats make one too many of some numbers under `trailing` spacing

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, **_: Any) -> tuple[Tensor]:
        """model_output: noise, sample: noised clip, both b c f h w. Gives the clip at the next timestep."""
        index = int((self.timesteps == timestep).nonzero()[0])
        last = index + 1 == len(self.timesteps)
        now = self.alphas_cumprod[int(timestep)].to(sample.device)
        following = (self.final_alpha_cumprod if last else self.alphas_cumprod[int(self.timesteps[index + 1])]).to(sample.device)
        return (add_noise(predict_z_0(sample, model_output, now), model_output, following),)


SAMPLERS = {"ddim": DDIM, "dpm++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}


def check_timesteps(scheduler: SchedulerMixin, num_steps: int) -> None:
    """ValueError, in one line, where one of SAMPLERS does not spread so many steps over the whole schedule."""
    even = len(scheduler.timesteps.unique()) == num_steps and begins_in_noise(scheduler, num_steps)
    if type(scheduler) in SAMPLERS.values() and not even:
        raise ValueError(f"num_steps: {type(scheduler).__name__} cannot spread {num_steps} steps over this schedule; choose fewer, or ddim")


def begins_in_noise(scheduler: SchedulerMixin, num_steps: int) -> bool:
    """Whether its steps lie on its schedule and the first of them is near the end of that."""
    steps, whole = scheduler.timesteps, scheduler.config.num_train_timesteps
    return bool(steps.min() >= 0 and 0 < whole - steps.max() <= max(0.15, 1 / num_steps) * whole)


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


@dataclass(frozen=True)
class SoFar:
    """Where sampling stands between two steps: all that it needs to go on as if it had never stopped. No sampler here draws noise on
    the way, so there is no state of a generator.

    step        steps done
    z_t         noised clips   b c f h w
    remembered  what the sampler knows of earlier steps, by REMEMBERED: a number, a tensor, nothing, or a list of these
    """

    step: int
    z_t: Tensor
    remembered: dict[str, Any]

    @classmethod
    def of(cls, step: int, z_t: Tensor, sampler: SchedulerMixin) -> Self:
        """Where a sampler stands that has done so many steps."""
        known = {name: vars(sampler)[name] for name in REMEMBERED if name in vars(sampler)}
        return cls(step, z_t, {name: list(value) if isinstance(value, list) else value for name, value in known.items()})

    def remind(self, sampler: SchedulerMixin, z_t: Tensor) -> Tensor:
        """Brings a new sampler to where the old one stood, and gives the noised clips.

        z_t  those that a clip from the start would have, for shape and device
        Raises ValueError where this is of another clip.
        """
        if self.z_t.shape != z_t.shape or not 0 < self.step < len(sampler.timesteps):
            raise ValueError(
                f"wanted to go on with a clip of {tuple(z_t.shape)} and {len(sampler.timesteps)} steps, got one of {tuple(self.z_t.shape)} "
                f"after {self.step} steps; begin it anew"
            )
        vars(sampler).update(_mapped(self.remembered, lambda one: one.to(z_t.device) if isinstance(one, Tensor) else one))
        return self.z_t.to(z_t.device)

    def save(self, path: Path, about: dict[str, Any]) -> None:
        """Writes one safetensors file, whole, with what else there is to know about the clip. Raises OSError where it cannot be written."""
        tensors = {"z_t": self.z_t.cpu().contiguous()}

        def name_of(one: Any) -> Any:
            if isinstance(one, Tensor):
                tensors[name := f"tensor {len(tensors)}"] = one.cpu().contiguous().clone()
                return name
            return one

        header = {"step": self.step, "remembered": _mapped(self.remembered, name_of), "about": about}
        with atomic_write(path) as partial:
            save_file(tensors, partial, {"so_far": json.dumps(header)})

    @classmethod
    def load(cls, path: Path) -> tuple[Self, dict[str, Any]]:
        """What `save` wrote, on the CPU. ValueError where the file is missing, broken or another one."""
        try:
            check_header(path)
            with safe_open(path, "pt") as file:
                header, tensors = json.loads(file.metadata()["so_far"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            remembered = _mapped(header["remembered"], lambda one: tensors[one] if isinstance(one, str) else one)
            return cls(header["step"], tensors["z_t"], remembered), header["about"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path.name}: wanted a clip that was set aside, got {error}; begin it anew") from error


def _mapped(value: Any, change: Any) -> Any:
    """The same dict or list with each single value changed."""
    if isinstance(value, dict):
        return {name: _mapped(one, change) for name, one in value.items()}
    return [_mapped(one, change) for one in value] if isinstance(value, list) else change(value)
