"""The accelerator, as far as a machine without one can say."""

import torch

from trip.system.accelerator import gpu, precision


def test_a_cpu_keeps_weights_in_full_precision():
    assert precision(torch.device("cpu")) == torch.float32
    assert precision(torch.device("cuda")) == torch.bfloat16


def test_elsewhere_than_on_spaces_a_gpu_function_is_itself(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert gpu(str.upper, lambda text: 60) is str.upper
