"""The same training on one process and on two, split or not, broken off or not."""

import json
import os
import shutil
import subprocess
import sys
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


def run(cache: Path, folder: Path, *flags: object, processes: int = 1, port: int = 29531) -> Path:
    launch = [*LAUNCH, f"--main_process_port={port}"] if processes == 2 else []
    command = [sys.executable, *launch, str(SCRIPT), str(cache), str(folder), *map(str, flags)]
    done = subprocess.run(command, cwd=ROOT, env=ON_CPU, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def losses(folder: Path) -> list[float]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "loss" in record] == list(range(6))
    return [record[name] for record in records for name in ("loss", "held_out_loss") if name in record]


@pytest.fixture(scope="module")
def alone(cache, tmp_path_factory) -> Path:
    return run(cache, tmp_path_factory.mktemp("alone"), "--batch-size", 4)


@pytest.mark.parametrize("flags", [(), ("--sharded",)], ids=["copied", "split"])
def test_two_processes_do_what_one_does(cache, alone, tmp_path, flags):
    """DDP and FSDP2 over gloo, on the same global batch; half way both are opened again from their checkpoint."""
    two = run(cache, tmp_path, "--batch-size", 2, "--steps", 4, 6, *flags, processes=2, port=29532 + len(flags))
    assert losses(two) == pytest.approx(losses(alone), abs=1e-4)
    weights = [torch.load(folder / "weights.pt") for folder in (alone, two)]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-3) for name in weights[0])
    if not flags:  # and one process takes up what two left
        for step in (4, 6):
            shutil.rmtree(two / f"step-{step:07d}")
        run(cache, two, "--batch-size", 2, "--accumulation", 2)
        assert losses(two) == pytest.approx(losses(alone), abs=1e-4)
