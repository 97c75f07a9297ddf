"""Attention kernels agree."""

import pytest
import torch
from torch.nn import functional as F

from trip.model import attention
from trip.model.attention import attend


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
