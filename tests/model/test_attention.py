"""Attention kernels agree, and the photo window looks where it is told to."""

import pytest
import torch
from torch.nn import functional as F

from trip.model import attention
from trip.model.attention import FrameContext, PhotoWindow, attend

EMBEDDING = 8


@pytest.mark.parametrize("num_tokens", [5, attention.PLAIN_UP_TO, attention.PLAIN_UP_TO + 1, 150])
def test_both_kernels_are_scaled_dot_product_attention(num_tokens):
    q = torch.randn(3, 2, 7, 8, generator=torch.Generator().manual_seed(0))
    k, v = torch.randn(2, 3, 2, num_tokens, 8, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(attend(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-5)


def test_many_sequences_are_cut_without_a_trace(monkeypatch):
    q, k, v = torch.randn(3, 7, 2, 70, 8, generator=torch.Generator().manual_seed(0))
    whole = attend(q, k, v)
    monkeypatch.setattr(attention, "MOST_SEQUENCES", 3)
    assert torch.allclose(attend(q, k, v), whole, atol=1e-6)


@torch.no_grad()
def weights_of(window: PhotoWindow, height: int, width: int, frames: int = 1) -> torch.Tensor:
    """How a query of each place looks at each place of the photo when queries and keys say nothing: f nh n n."""
    n, nh = height * width, window.heads
    q = torch.zeros(frames, nh, n, 4)
    v = torch.eye(n).expand(1, nh, n, n)  # what comes out is the weights themselves
    context = FrameContext(frames, 0, torch.zeros(frames, EMBEDDING), height, width)
    out = window(q, torch.zeros(1, nh, n, 4), v, torch.zeros(frames, n, 6), context)
    return out.view(frames, n, nh, n).transpose(1, 2)


@pytest.mark.parametrize("height, width", [(8, 8), (4, 8), (9, 5)])
def test_window_starts_centred_on_its_own_place(height, width):
    weights = weights_of(PhotoWindow(6, 2, EMBEDDING), height, width, frames=3)
    assert torch.equal(weights.argmax(dim=3), torch.arange(height * width).expand(3, 2, -1))
    assert torch.allclose(weights.sum(dim=3), torch.ones(3, 2, height * width), atol=1e-5)


def test_window_is_a_gaussian_of_its_radius():
    """One cell to the side and one down weigh the same, by exp(-d^2 / 2 r^2)."""
    weights = weights_of(PhotoWindow(6, 1, EMBEDDING, first_radius=0.3), 8, 8)[0, 0]
    here, beside, below = 3 * 8 + 3, 3 * 8 + 4, 4 * 8 + 3
    expected = torch.exp(torch.tensor(-(0.25**2) / (2 * 0.3**2)))  # cells are 2 / 8 apart
    assert torch.allclose(weights[here, beside] / weights[here, here], expected, rtol=1e-4)
    assert torch.allclose(weights[here, below] / weights[here, here], expected, rtol=1e-4)


@pytest.mark.parametrize("right, down", [(2, 0), (0, -1), (-3, 2)])
def test_window_looks_at_the_place_that_its_affine_map_shifts_to(right, down):
    """A pan moves every look by the same way: cells to the right and down, where they are inside the photo."""
    height, width = 6, 10
    window = PhotoWindow(6, 2, EMBEDDING)
    with torch.no_grad():
        bias = window.affine.bias.view(2, 2, 3)  # nh, x and y, factors of (x, y, 1)
        bias[1, 0, 2], bias[1, 1, 2] = 2 * right / width, 2 * down / height
    looks = weights_of(window, height, width).argmax(dim=3)[0].view(2, height, width)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inside = (x + right >= 0) & (x + right < width) & (y + down >= 0) & (y + down < height)
    assert torch.equal(looks[0], y * width + x), "the other head stays"
    assert torch.equal(looks[1][inside], ((y + down) * width + x + right)[inside])


def test_window_of_a_zoom_looks_towards_the_middle():
    height = width = 8
    window = PhotoWindow(6, 1, EMBEDDING)
    with torch.no_grad():
        bias = window.affine.bias.view(1, 2, 3)
        bias[0, 0, 0] = bias[0, 1, 1] = -0.5  # half as far from the middle
    looks = weights_of(window, height, width).argmax(dim=3)[0, 0].view(height, width)
    assert looks[0, 0] in (9, 10, 17, 18)  # the corner looks two cells inwards
    assert looks[-1, -1] in (45, 46, 53, 54)


def test_shift_follows_the_features_of_each_place():
    height = width = 8
    window = PhotoWindow(1, 1, EMBEDDING)
    with torch.no_grad():
        window.shift.weight.copy_(torch.tensor([[0.5], [0.0]]))  # a feature of 1: two cells to the right
    tokens = torch.zeros(1, 64, 1)
    tokens[0, 20] = 1
    v = torch.eye(64).expand(1, 1, 64, 64)
    context = FrameContext(1, 0, torch.zeros(1, EMBEDDING), height, width)
    with torch.no_grad():
        weights = window(torch.zeros(1, 1, 64, 4), torch.zeros(1, 1, 64, 4), v, tokens, context)[0]
    expected = torch.arange(64)
    expected[20] = 22
    assert torch.equal(weights.argmax(dim=1), expected)
