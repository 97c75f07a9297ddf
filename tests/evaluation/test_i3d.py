"""I3D's layers, and the release's tensors in them: normalisation folded in, TensorFlow's padding, what is no such file refused.

The real weights are checked by `tests/stress/golden_fvd.py`, which wants a download.
"""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from trip.evaluation.i3d import EPSILON, I3D, LEAST_FRAMES, NUM_CLASSES, SIZE, Mixed, Pool, Unit, folded, load_i3d, unit_names


@pytest.fixture(scope="module")
def released() -> dict[str, torch.Tensor]:
    """Random tensors under the names and in the shapes of the release."""
    generator, layers = torch.Generator().manual_seed(0), dict(I3D().named_modules())
    tensors = {}
    for ours, theirs in unit_names():
        out, into, *kernel = layers[ours].weight.shape
        tensors[f"params:{theirs}:Conv_0:kernel"] = torch.randn(*kernel, into, out, generator=generator) / (into * np.prod(kernel)) ** 0.5
        tensors[f"params:{theirs}:BatchNorm_0:bias"] = torch.randn(out, generator=generator) / 4
        tensors[f"batch_stats:{theirs}:BatchNorm_0:mean"] = torch.randn(1, 1, 1, 1, out, generator=generator) / 4
        tensors[f"batch_stats:{theirs}:BatchNorm_0:var"] = torch.rand(1, 1, 1, 1, out, generator=generator) / 50
    tensors["params:Logits/Conv3d_0c_1x1:Conv_0:kernel"] = torch.randn(1, 1, 1, 1024, NUM_CLASSES, generator=generator) / 32
    tensors["params:Logits/Conv3d_0c_1x1:Conv_0:bias"] = torch.randn(NUM_CLASSES, generator=generator)
    return tensors


@pytest.fixture(scope="module")
def network(released, tmp_path_factory) -> I3D:
    folder = tmp_path_factory.mktemp("i3d")
    save_file(released, folder / "i3d.safetensors")
    return load_i3d(folder)


def test_it_has_the_size_of_the_release() -> None:
    """12,704,544 numbers in the file, of which the mean and the variance are folded away, one bias a channel stays."""
    units = [module for module in I3D().modules() if isinstance(module, Unit)]
    assert len(units) == 57 and sum(1 for _ in unit_names()) == 57
    channels = sum(unit.out_channels for unit in units)
    assert sum(weight.numel() for weight in I3D().parameters()) == 12_704_544 - 2 * channels


def test_clips_become_logits(network) -> None:
    with torch.inference_mode():
        logits = network(torch.rand(1, 3, LEAST_FRAMES, SIZE, SIZE) * 2 - 1)
    assert logits.shape == (1, NUM_CLASSES) and logits.isfinite().all() and logits.std() > 0.1


@pytest.mark.parametrize("ours, theirs", [("stem.3", "Conv3d_2c_3x3"), ("mixed.Mixed_4e.branch_2.1", "Mixed_4e:Branch_2/Conv3d_0b_3x3")])
def test_normalisation_is_folded_with_its_own_epsilon(released, network, ours, theirs) -> None:
    unit = network.get_submodule(ours)
    x = torch.rand(1, unit.in_channels, 3, 6, 6)
    kernel = released[f"params:{theirs}:Conv_0:kernel"].permute(4, 3, 0, 1, 2)
    mean, variance = (released[f"batch_stats:{theirs}:BatchNorm_0:{name}"].flatten() for name in ("mean", "var"))
    plain = functional.conv3d(x, kernel, padding=1)
    wanted = functional.batch_norm(plain, mean, variance, None, released[f"params:{theirs}:BatchNorm_0:bias"], eps=EPSILON).relu()
    torch.testing.assert_close(unit(x), wanted, rtol=1e-4, atol=1e-4)
    other = functional.batch_norm(plain, mean, variance, None, released[f"params:{theirs}:BatchNorm_0:bias"], eps=1e-5).relu()
    assert (unit(x) - other).abs().max() > 1e-2  # PyTorch's own epsilon is seen


@pytest.mark.parametrize(
    "length, size, stride, first, number",
    [(16, 7, 2, -2, 8), (15, 7, 2, -3, 8), (112, 3, 2, 0, 56), (9, 3, 2, -1, 5), (8, 2, 2, 0, 4), (5, 3, 1, -1, 5)],
)
def test_windows_lie_where_tensorflow_has_them(length, size, stride, first, number) -> None:
    """The first window begins `first` places from the beginning; where padding is odd, more of it is at the end."""
    unit = Unit(1, 1, size, stride)
    with torch.no_grad():
        unit.weight.zero_()[..., 0, 0, 0] = 1  # looks at the first place of its window alone
        unit.bias.zero_()
    x = torch.arange(1.0, length + 1).view(1, 1, -1, 1, 1).expand(-1, -1, -1, length, length).contiguous()
    seen = unit(x.transpose(2, 4).contiguous())[0, 0, -1, -1]
    places = [first + stride * index for index in range(number)]
    assert seen.shape == (number,)
    assert [place + 1 if place >= 0 else 0 for place in places] == seen.round().int().tolist()


def test_pools_take_the_largest_and_mixed_layers_stand_side_by_side() -> None:
    x = torch.rand(1, 4, 4, 9, 9)
    pooled = Pool((1, 3, 3), (1, 2, 2))(x)
    assert pooled.shape == (1, 4, 4, 5, 5)
    assert pooled[0, 1, 2, 1, 1] == x[0, 1, 2, 1:4, 1:4].max() and pooled[0, 0, 0, 0, 0] == x[0, 0, 0, :2, :2].max()
    layer = Mixed(4, 3, (2, 5), (2, 6), 7)
    y = layer(x)
    assert y.shape == (1, 21, 4, 9, 9) and layer.out_channels == 21
    torch.testing.assert_close(y[:, 3:8], layer.branch_1(x))


def test_other_files_are_refused_in_a_line(released, tmp_path) -> None:
    lacking = {name: tensor for name, tensor in released.items() if "Mixed_5c" not in name}
    save_file(lacking, tmp_path / "i3d.safetensors")
    with pytest.raises(ValueError, match="wanted the weights of I3D, got others .*Mixed_5c.*fetch i3d again"):
        load_i3d(tmp_path)
    (tmp_path / "i3d.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="wanted the weights of I3D"):
        load_i3d(tmp_path)
    with pytest.raises(KeyError):
        folded(lacking)
