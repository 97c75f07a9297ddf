"""The same training on one process and on two, split or not, broken off or not."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch

from trip.data.cache import Sample, encode_cache

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "training" / "on_many.py"
LAUNCH = [
    "-m",
    "accelerate.commands.launch",
    "--multi_gpu",
    "--num_processes=2",
    "--num_machines=1",
    "--mixed_precision=no",
    "--dynamo_backend=no",
]
ON_CPU = {**os.environ, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def draw(rng: np.random.Generator) -> Sample:
    frames = rng.integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    return Sample(frames, 0.5 * np.arange(7), f"the camera pans, clip {rng.integers(100)}")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "cache"
    list(encode_cache(folder, draw, lambda v: torch.cat([v, v[:, :1]], dim=1), num_clips=20, seed=0, key={"test": "many"}))
    return folder


@pytest.fixture(scope="module")
def on_many():
    """The script as a module, for what one process does."""
    spec = spec_from_file_location("on_many", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def alone(on_many, cache, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    on_many.train_to(4, cache, folder, batch_size=4)
    return folder


@pytest.fixture(scope="module")
def together(cache, tmp_path_factory) -> Path:
    """Two processes over gloo; each kind of run is opened again half way."""
    folder = tmp_path_factory.mktemp("together")
    done = subprocess.run(
        [sys.executable, *LAUNCH, str(SCRIPT), str(cache), str(folder)], cwd=ROOT, env=ON_CPU, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def losses(folder: Path) -> list[float]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "loss" in record] == list(range(4))
    return [record["loss"] for record in records if "loss" in record]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["copied", "split"])
def test_two_processes_do_what_one_does(alone, together, kind):
    """DDP and FSDP2, on the same global batch."""
    assert losses(together / kind) == pytest.approx(losses(alone), abs=1e-4)
    weights = [torch.load(folder / "weights.pt") for folder in (alone, together / kind)]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-3) for name in weights[0])


@pytest.mark.timeout(600)
def test_what_ends_one_process_ends_all(together):
    """The second one's deadline was over from the start: neither took a step."""
    assert (together / "late" / "weights.pt").exists() and not (together / "late" / "metrics.jsonl").exists()


@pytest.mark.timeout(600)
def test_one_process_takes_up_what_two_left(on_many, alone, together, cache, tmp_path):
    """From step 2 of the run on two, adding up the gradients of two halves."""
    run = Path(shutil.copytree(together / "copied", tmp_path / "run"))
    shutil.rmtree(run / "step-0000004")
    on_many.train_to(4, cache, run, batch_size=2, accumulation=2)
    assert losses(run) == pytest.approx(losses(alone), abs=1e-4)
