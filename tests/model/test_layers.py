"""Layers that are fast on a CPU compute what the layers that they stand for compute."""

import pytest
import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from trip.model import layers
from trip.model.layers import FrameConv, GatedFeedForward, TokenLinear, make_fast


def pair(plain: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A layer, and the fast one of the same weights."""
    fast = type(plain)(*plain.arguments)
    fast.load_state_dict(plain.state_dict())
    make_fast(nn.Sequential(fast))
    return plain, fast


def built(kind: type[nn.Module], *arguments: object) -> nn.Module:
    """An untrained layer that knows how it was built."""
    torch.manual_seed(0)
    layer = kind(*arguments)
    layer.arguments = arguments
    return layer


def output_and_gradients(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """What a layer gives, and the gradients of its input and weights."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.sin().sum().backward()
    return [y.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("shape", [(3, 8), (2, 512, 8), (34, 36, 8), (1, 521, 8), (7, 11, 13, 8), (520, 8)])
def test_linear_layer_of_many_tokens_is_a_linear_layer(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    plain, fast = pair(built(nn.Linear, 8, 24))
    assert type(fast) is TokenLinear
    for wanted, got in zip(output_and_gradients(plain, x), output_and_gradients(fast, x), strict=True):
        assert got.shape == wanted.shape and torch.allclose(got, wanted, rtol=1e-4, atol=1e-5)
    moved = x.transpose(0, -2)
    assert torch.allclose(fast(moved), plain(moved), atol=1e-5)


@pytest.mark.parametrize("num_tokens", [512, 1224, 2304, 19584, 9409])
def test_tokens_become_a_picture_of_as_many_rows_as_it_takes(num_tokens):
    rows = layers._rows(num_tokens)
    assert rows >= layers.FEWEST_ROWS and num_tokens % rows == 0 and num_tokens // rows >= layers.FEWEST_ROWS


@pytest.mark.parametrize("num_tokens", [521, 2 * 521])
def test_tokens_that_make_no_picture_stay_as_they_are(num_tokens):
    assert layers._rows(num_tokens) == 0


def test_feed_forward_in_parts_is_the_whole_one(monkeypatch):
    monkeypatch.setattr(layers, "FEWEST_AT_ONCE", 64)
    monkeypatch.setattr(layers, "HIDDEN_AT_ONCE", 0)
    plain, fast = pair(built(FeedForward, 8))
    x = torch.randn(2, 75, 8, generator=torch.Generator().manual_seed(1))
    assert type(fast) is GatedFeedForward
    seen = []
    fast.net[2].register_forward_hook(lambda layer, given, y: seen.append(len(y)))
    with torch.no_grad():
        assert torch.allclose(fast(x), plain(x), atol=1e-5)
    assert seen == [64, 64, 22]
    for wanted, got in zip(output_and_gradients(plain, x), output_and_gradients(fast, x), strict=True):
        assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_convolution_over_frames_is_the_same_in_two_dimensions():
    plain, fast = pair(built(nn.Conv3d, 4, 6, (3, 1, 1), 1, (1, 0, 0)))
    x = torch.randn(2, 4, 5, 3, 7, generator=torch.Generator().manual_seed(1))
    assert type(fast) is FrameConv
    for wanted, got in zip(output_and_gradients(plain, x), output_and_gradients(fast, x), strict=True):
        assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_keys_stay_and_so_does_what_is_of_a_class_of_its_own():
    class Own(nn.Linear):
        pass

    network = nn.Sequential(nn.Linear(2, 2), Own(2, 2))
    names = list(network.state_dict())
    make_fast(network)
    assert [type(layer) for layer in network] == [TokenLinear, Own] and list(network.state_dict()) == names
