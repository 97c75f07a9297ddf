"""Kills a training (SIGKILL) at random steps, goes on, and compares its losses with those of a run that nobody killed.

python tests/stress/kill_training.py [--kills 10] [--steps 40] [--processes 2]
"""

import argparse
import json
import os
import random
import signal
import socket
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


def in_children(count: int, **how: object) -> set[int]:
    """Trains in so many processes of their own, over gloo where there are several, and gives their exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    children = []
    for rank in range(count):
        if not (child := os.fork()):
            if count > 1:
                os.environ |= {**place, "WORLD_SIZE": str(count), "RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"}
            try:
                train_to(**how)
            except RuntimeError:  # the other process is dead
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(0)
        children.append(child)
    return {os.waitpid(child, 0)[1] for child in children}


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "loss" in record]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chance = random.Random(0)
    with TemporaryDirectory() as place:
        cache, whole, killed = (Path(place) / name for name in ("cache", "whole", "killed"))
        list(encode_cache(cache, draw, lambda v: torch.cat([v, v[:, :1]], dim=1), num_clips=20, seed=0, key={}))
        how = {"max_steps": options.steps, "cache": cache, "batch_size": 2}
        assert in_children(options.processes, **how, run=whole) == {0}
        steps = sorted(chance.sample(range(1, options.steps), options.kills))
        for step in steps:
            assert in_children(options.processes, **how, run=killed, die_at=step) == {9}
        assert in_children(options.processes, **how, run=killed) == {0}
        furthest = max(abs(a - b) for a, b in zip(losses(whole), losses(killed), strict=True))
    print(json.dumps({"processes": options.processes, "killed_at": steps, "losses": options.steps, "largest_difference": furthest}))


if __name__ == "__main__":
    main()
