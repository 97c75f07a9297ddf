"""Attention kernels agree."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trip.model import attention
from trip.model.attention import attend

LENGTHS = [5, attention.PLAIN_UP_TO, attention.PLAIN_UP_TO + 1, attention.LONG_FROM - 1, attention.LONG_FROM, attention.LONG_FROM + 9]


def queries_keys_values(num_tokens: int) -> list[Tensor]:
    """As the linear layers leave them: heads beside each other in the channels. 3 2 7 8, and twice 3 2 n 8."""
    generator = torch.Generator().manual_seed(0)
    wide = [torch.randn(3, length, 2 * 8, generator=generator) for length in (7, num_tokens, num_tokens)]
    return [x.unflatten(2, (2, 8)).transpose(1, 2) for x in wide]


def output_and_gradients(function, tensors: list[Tensor]) -> list[Tensor]:
    """Attention, and the gradients of q, k and v; float32."""
    tensors = [x.detach().requires_grad_() for x in tensors]
    mixed = function(*tensors)
    mixed.float().sin().sum().backward()
    return [x.float() for x in (mixed.detach(), *(x.grad for x in tensors))]


@pytest.mark.parametrize("num_tokens", LENGTHS)
def test_all_kernels_are_scaled_dot_product_attention(num_tokens):
    q, k, v = queries_keys_values(num_tokens)
    wanted = F.scaled_dot_product_attention(q, k, v)
    assert torch.allclose(attend(q, k, v), wanted, atol=1e-5)
    with torch.no_grad():
        got = attend(*(x.bfloat16() for x in (q, k, v)))
    assert got.dtype == torch.bfloat16 and (got - wanted).abs().max() < 0.02


@pytest.mark.parametrize("dtype, most", [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("num_tokens", LENGTHS)
def test_gradients_are_those_of_scaled_dot_product_attention(num_tokens, dtype, most):
    tensors = queries_keys_values(num_tokens)
    wanted = output_and_gradients(F.scaled_dot_product_attention, tensors)
    for got, one in zip(output_and_gradients(attend, [x.to(dtype) for x in tensors]), wanted, strict=True):
        assert got.shape == one.shape and (got - one).norm() < most * one.norm()


@pytest.mark.parametrize("most_scores", [1, 2 * 7 * 300, 10**9])
def test_sequences_in_parts_are_the_same(monkeypatch, most_scores):
    monkeypatch.setattr(attention, "has_wide_vectors", lambda: True)
    tensors = [x.bfloat16() for x in queries_keys_values(300)]
    whole = output_and_gradients(attend, tensors)
    monkeypatch.setattr(attention, "MOST_SCORES", most_scores)
    for got, one in zip(output_and_gradients(attend, tensors), whole, strict=True):
        assert torch.allclose(got, one, atol=1e-3)


@pytest.mark.parametrize("num_tokens", [5, 300])
def test_autocast_changes_no_type(num_tokens):
    tensors = queries_keys_values(num_tokens)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attend(*tensors), attend(*tensors)) and attend(*tensors).dtype == torch.float32
        assert attend(*(x.bfloat16() for x in tensors)).dtype == torch.bfloat16


def test_many_sequences_are_cut_without_a_trace(monkeypatch):
    tensors = [x.to("meta") for x in queries_keys_values(70)]
    monkeypatch.setattr(attention, "MOST_SEQUENCES", 2)
    seen = []
    kernel = F.scaled_dot_product_attention
    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", lambda *parts: seen.append(len(parts[0])) or kernel(*parts))
    assert attend(*tensors).shape == (3, 2, 7, 8) and seen == [2, 1]
