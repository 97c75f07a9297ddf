"""The moving average of the weights, which is what gets evaluated and passed on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from trip.system.files import replacing


class Average:
    """Moving average of a model's trained weights, in float32; each process of a split model keeps its own part.

    decay  share of the average that a step keeps; rises to this from 0.1 over the first steps
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model = model
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.names, self.parameters = list(trained), list(trained.values())
        self.ema = EMAModel(self._own(), decay=decay, foreach=True)
        self.ema.to(dtype=torch.float32)

    def _own(self) -> list[Tensor]:
        """This process's part of each weight, in the weight's own memory."""
        parts = (parameter.data.to_local() if isinstance(parameter, DTensor) else parameter.data for parameter in self.parameters)
        return [part.detach().requires_grad_() for part in parts]

    def step(self) -> None:
        """Takes in the weights as they are now."""
        self.ema.step(self._own())

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The average stands in the model; afterwards the weights that are being trained."""
        self.ema.store(self._own())
        self.ema.copy_to(self._own())
        self.model.eval()
        yield
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # it would go on with the gathered copy of the average
        self.ema.restore(self._own())

    def is_finite(self) -> bool:
        """Whether this process's part of the average is: a weight that was ever not finite stays in it."""
        return all(bool(torch.isfinite(part).all()) for part in self.ema.shadow_params)

    def copy_to_model(self) -> None:
        """The average takes the weights' place for good."""
        self.ema.copy_to(self._own())

    def save(self, path: Path, *, writes: bool) -> None:
        """Writes the whole average as safetensors; every process of a split model has to call it, one `writes`."""
        tensors = {}
        for name, weight, part in zip(self.names, self.parameters, self.ema.shadow_params, strict=True):
            if isinstance(weight, DTensor):
                shape = {"shape": weight.shape, "stride": weight.stride()}
                part = DTensor.from_local(part, weight.device_mesh, weight.placements, **shape).full_tensor()
            if writes:
                tensors[name] = part.cpu().contiguous()
        if writes:
            with replacing(path) as partial:
                save_file(tensors, partial, metadata={"steps": str(self.ema.optimization_step)})

    def load(self, path: Path) -> None:
        """Reads what `save` wrote, on any number of processes."""
        with safe_open(path, framework="pt") as file:
            self.ema.optimization_step = int(file.metadata()["steps"])
            for name, weight, part in zip(self.names, self.parameters, self.ema.shadow_params, strict=True):
                whole = file.get_tensor(name)
                if isinstance(weight, DTensor):
                    whole = distribute_tensor(whole.to(part.device), weight.device_mesh, weight.placements).to_local()
                part.copy_(whole)
