"""The Inflated 3D ConvNet that FVD is defined with (Carreira and Zisserman, "Quo vadis, action recognition?", 2017), of Kinetics-400.

Layers and names are those of DeepMind's release; batch normalisation, whose epsilon there is 1e-3, is folded into the convolutions.
"""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

SIZE = 224  # side of the frames that it takes, pixels
LEAST_FRAMES = 9  # fewer leave nothing to average over time
NUM_CLASSES = 400  # its features: the logits
EPSILON = 1e-3  # of the batch normalisation
MIXED = {  # channels of the branches: one by one, a pair, a pair, after the pool
    "Mixed_3b": (64, (96, 128), (16, 32), 32),
    "Mixed_3c": (128, (128, 192), (32, 96), 64),
    "Mixed_4b": (192, (96, 208), (16, 48), 64),
    "Mixed_4c": (160, (112, 224), (24, 64), 64),
    "Mixed_4d": (128, (128, 256), (24, 64), 64),
    "Mixed_4e": (112, (144, 288), (32, 64), 64),
    "Mixed_4f": (256, (160, 320), (32, 128), 128),
    "Mixed_5b": (256, (160, 320), (32, 128), 128),
    "Mixed_5c": (384, (192, 384), (48, 128), 128),
}  # fmt: skip

POOLED_BEFORE = {"Mixed_4b": ((3, 3, 3), (2, 2, 2)), "Mixed_5b": ((2, 2, 2), (2, 2, 2))}  # kernel and stride, frames first


def _same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around it, as TensorFlow's "SAME" has them: at the end where their number is odd. x  b c f h w"""
    pads = []
    for length, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        total = max((-(-length // s) - 1) * s + k - length, 0)
        pads.append((total // 2, total - total // 2))
    return functional.pad(x, [side for pair in reversed(pads) for side in pair])


class Unit(nn.Conv3d):
    """Convolution with its normalisation folded in, and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, size: int = 1, stride: int = 1):
        super().__init__(in_channels, out_channels, size, stride)

    def forward(self, x: Tensor) -> Tensor:
        """b c f h w."""
        return super().forward(_same(x, self.kernel_size, self.stride)).relu_()


class Pool(nn.Module):
    """Largest value of each window. What is pooled is never negative, so that zeros around it change nothing."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """b c f h w."""
        return functional.max_pool3d(_same(x, self.kernel, self.stride), self.kernel, self.stride)


class Mixed(nn.Module):
    """Four branches side by side in the channels."""

    def __init__(self, in_channels: int, alone: int, middle: tuple[int, int], small: tuple[int, int], pooled: int):
        super().__init__()
        self.branch_0 = Unit(in_channels, alone)
        self.branch_1 = nn.Sequential(Unit(in_channels, middle[0]), Unit(*middle, 3))
        self.branch_2 = nn.Sequential(Unit(in_channels, small[0]), Unit(*small, 3))
        self.branch_3 = nn.Sequential(Pool((3, 3, 3), (1, 1, 1)), Unit(in_channels, pooled))
        self.out_channels = alone + middle[1] + small[1] + pooled

    def forward(self, x: Tensor) -> Tensor:
        """b c f h w."""
        return torch.cat([self.branch_0(x), self.branch_1(x), self.branch_2(x), self.branch_3(x)], dim=1)


class I3D(nn.Module):
    """Clips to logits. Of the frames' size only that they are at least SIZE matters: what is larger is averaged over the place."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            Unit(3, 64, 7, 2),
            Pool((1, 3, 3), (1, 2, 2)),
            Unit(64, 64),
            Unit(64, 192, 3),
            Pool((1, 3, 3), (1, 2, 2)),
        )
        channels, layers = 192, {}
        for name, branches in MIXED.items():
            if name in POOLED_BEFORE:
                layers[f"pool before {name}"] = Pool(*POOLED_BEFORE[name])
            layers[name] = Mixed(channels, *branches)
            channels = layers[name].out_channels
        self.mixed = nn.Sequential(OrderedDict(layers))
        self.logits = nn.Conv3d(channels, NUM_CLASSES, 1)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits, mean over time.

        clips  b 3 f SIZE SIZE in [-1, 1], at least LEAST_FRAMES frames
        ->     b NUM_CLASSES
        """
        x = self.mixed(self.stem(clips))
        x = functional.avg_pool3d(x, (2, SIZE // 32, SIZE // 32), stride=1)
        return self.logits(x).mean(dim=(2, 3, 4))


def load_i3d(folder: Path) -> I3D:
    """The network with DeepMind's weights, out of the i3d.safetensors that `python -m trip models --fetch i3d` writes.

    Raises ValueError, in one line, where the file holds anything else.
    """
    path = Path(folder) / "i3d.safetensors"
    try:
        network = I3D()
        network.load_state_dict(folded(load_file(path)))
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path}: wanted the weights of I3D, got others ({reason}); delete it and fetch i3d again") from error
    return network.eval().requires_grad_(False)


def folded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """DeepMind's tensors under their own names (kernels t h w in out) as the state of an `I3D`; KeyError where one is missing."""
    state = {}
    for ours, theirs in unit_names():
        kernel = weights[f"params:{theirs}:Conv_0:kernel"].double().permute(4, 3, 0, 1, 2)
        mean, variance = (weights[f"batch_stats:{theirs}:BatchNorm_0:{name}"].double().flatten() for name in ("mean", "var"))
        scale = (variance + EPSILON).rsqrt()
        state[f"{ours}.weight"] = (kernel * scale.view(-1, 1, 1, 1, 1)).float()
        state[f"{ours}.bias"] = (weights[f"params:{theirs}:BatchNorm_0:bias"].double() - mean * scale).float()
    last = "params:Logits/Conv3d_0c_1x1:Conv_0"
    state["logits.weight"] = weights[f"{last}:kernel"].permute(4, 3, 0, 1, 2).contiguous()
    state["logits.bias"] = weights[f"{last}:bias"]
    return state


def unit_names() -> Iterator[tuple[str, str]]:
    """Every convolution with a normalisation: its name in `I3D`, and in DeepMind's release."""
    yield from (("stem.0", "Conv3d_1a_7x7"), ("stem.2", "Conv3d_2b_1x1"), ("stem.3", "Conv3d_2c_3x3"))
    for name in MIXED:
        yield f"mixed.{name}.branch_0", f"{name}:Branch_0/Conv3d_0a_1x1"
        for branch in (1, 2):
            yield f"mixed.{name}.branch_{branch}.0", f"{name}:Branch_{branch}/Conv3d_0a_1x1"
            yield f"mixed.{name}.branch_{branch}.1", f"{name}:Branch_{branch}/Conv3d_0b_3x3"
        yield f"mixed.{name}.branch_3.1", f"{name}:Branch_3/Conv3d_0b_1x1"
