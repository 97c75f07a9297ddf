"""Kills a training (SIGKILL) at random steps, goes on, and compares its losses with those of a run that nobody killed.

python tests/stress/kill_training.py [--kills 10] [--steps 40]
"""

import argparse
import json
import os
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "training")]

from on_many import train_to  # noqa: E402

from trip.data.cache import Sample, encode_cache  # noqa: E402


def draw(rng: np.random.Generator) -> Sample:
    frames = rng.integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    return Sample(frames, 0.5 * np.arange(7), f"the camera pans, clip {rng.integers(100)}")


def in_a_child(**how: object) -> int:
    """Trains in a process of its own and gives its exit status."""
    child = os.fork()
    if not child:
        train_to(**how)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "loss" in record]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chance = random.Random(0)
    with TemporaryDirectory() as place:
        cache, whole, killed = (Path(place) / name for name in ("cache", "whole", "killed"))
        list(encode_cache(cache, draw, lambda v: torch.cat([v, v[:, :1]], dim=1), num_clips=20, seed=0, key={}))
        how = {"max_steps": options.steps, "cache": cache, "batch_size": 2}
        assert in_a_child(**how, run=whole) == 0
        steps = sorted(chance.sample(range(1, options.steps), options.kills))
        for step in steps:
            assert in_a_child(**how, run=killed, die_at=step) == 9
        assert in_a_child(**how, run=killed) == 0
        furthest = max(abs(a - b) for a, b in zip(losses(whole), losses(killed), strict=True))
    print(json.dumps({"killed_at": steps, "losses": options.steps, "largest_difference": furthest}))


if __name__ == "__main__":
    main()
