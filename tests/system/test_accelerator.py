"""The accelerator, as far as a machine without one can say."""

import torch

from trip.system import accelerator
from trip.system.accelerator import arithmetic, gpu, precision


def test_a_cpu_keeps_weights_in_full_precision():
    assert precision(torch.device("cpu")) == torch.float32
    assert precision(torch.device("cuda")) == torch.bfloat16


def test_bfloat16_is_for_cpus_that_are_fast_in_it(monkeypatch):
    cpu = torch.device("cpu")
    assert arithmetic(torch.device("cuda")) is None
    assert arithmetic(cpu) in (None, torch.bfloat16)
    monkeypatch.setattr(accelerator, "has_wide_vectors", lambda: True)
    for slow, wanted in ((torch.bfloat16, None), (torch.float32, torch.bfloat16)):
        clock = [0.0]

        def convolution(x, *_, clock=clock, slow=slow, **__):
            clock[0] += 0.02 if x.dtype == slow else 0.01

        monkeypatch.setattr(accelerator.torch, "conv2d", convolution)
        monkeypatch.setattr(accelerator.time, "perf_counter", lambda clock=clock: clock[0])
        assert arithmetic.__wrapped__(cpu) == wanted
    monkeypatch.setattr(accelerator, "has_wide_vectors", lambda: False)
    assert arithmetic.__wrapped__(cpu) is None


def test_elsewhere_than_on_spaces_a_gpu_function_is_itself(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert gpu(str.upper, lambda text: 60) is str.upper
