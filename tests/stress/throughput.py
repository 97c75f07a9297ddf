"""What the training loop takes beside the network: CPU seconds of its steps against bare forward and backward passes.

python tests/stress/throughput.py --data DIR [--steps 8] [--batch-size 2]

One thread, the embedded model's sizes. DIR holds clips, which are read from a cache and then again decoded and encoded on the way.
CPU seconds, all threads of the process together, do not depend on what else the machine does.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from accelerate import Accelerator

sys.path.insert(0, str(Path(__file__).parents[2]))

from trip.cli import main as trip  # noqa: E402
from trip.data.shards import EncodedDataSet  # noqa: E402
from trip.model.build import build_scheduler  # noqa: E402
from trip.settings import PRESETS, changed  # noqa: E402
from trip.training.encode import WindowSettings, latent_encoder, window_reader  # noqa: E402
from trip.training.loop import train  # noqa: E402
from trip.training.stages.denoiser import DenoiserStage  # noqa: E402
from trip.training.uncached import FilmedClips  # noqa: E402
from trip.training.warm_start import open_base  # noqa: E402

WARM_UP = 2  # steps that are left out
BASE = "assets/embedded"


def bare(stage: DenoiserStage, steps: int) -> float:
    """Median CPU seconds of a forward and a backward pass on one batch, nothing else."""
    batch, seconds = stage.batch(0, 0, 1), []
    with torch.no_grad():
        condition = stage._condition(batch, batch["timestep"])
    alpha_bar = stage.alphas_bar[batch["timestep"]]
    for _ in range(steps):
        begun = time.process_time()
        stage.model.zero_grad(set_to_none=True)
        eps_hat = stage.model(batch["z_0"], batch["timestep"], alpha_bar, condition).eps
        (eps_hat - batch["eps"]).square().mean().backward()
        seconds.append(time.process_time() - begun)
    return median(seconds[WARM_UP:])


def in_the_loop(stage: DenoiserStage, folder: Path) -> float:
    """Median CPU seconds from one record of the loop to the next."""
    seconds, begun = [], time.process_time()
    for _ in train(stage, stage.settings, folder, folder / "metrics.jsonl", seed=0, accelerator=Accelerator(cpu=True)):
        seconds.append(time.process_time() - begun)
        begun = time.process_time()
    return median(seconds[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    values = {"max_steps": options.steps, "batch_size": options.batch_size, "sample_every": 1000, "save_every": 1000}
    preset = changed(PRESETS["embedded"], {f"recipe.denoiser.{name}": value for name, value in values.items()})
    model, base = preset.model, open_base(BASE, preset.model)
    vae, text_encoder, tokenizer = base.frozen_parts()
    window = WindowSettings(model.num_frames, model.fps, model.frame_size)

    def stage_on(clips: EncodedDataSet | FilmedClips) -> DenoiserStage:
        return DenoiserStage(
            "denoiser",
            base.denoiser(),
            clips,
            clips,
            preset.recipe.denoiser,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=build_scheduler(model),
            recipe=preset.recipe,
            seed=0,
        )

    with TemporaryDirectory() as place:
        cache = Path(place) / "cache"
        flags = ["--num-frames", model.num_frames, "--fps", model.fps, "--size", model.frame_size, "--max-clips", 16, "--split", "train"]
        assert trip(["encode", str(options.data), "--base", BASE, "--output", str(cache), *map(str, flags)]) == 0
        shown = EncodedDataSet(cache / "train").first(2)  # instead of held-out clips: once drawn at the end, and not counted
        clips = EncodedDataSet(cache / "train")
        clips.first = lambda count: shown
        cached = stage_on(clips)
        alone = bare(cached, options.steps)
        with_cache = in_the_loop(cached, Path(place) / "cached")
        how = {"num_frames": model.num_frames, "read": window_reader(window), "encode": latent_encoder(vae)}
        filmed = FilmedClips(options.data, "train", layout="auto", **how)
        filmed.first = clips.first
        without = in_the_loop(stage_on(filmed), Path(place) / "filmed")
    told = {"bare_s": alone, "loop_with_cache_s": with_cache, "loop_without_cache_s": without, "lost_in_the_loop": 1 - alone / with_cache}
    print(json.dumps({name: round(value, 4) for name, value in told.items()}))


if __name__ == "__main__":
    main()
