"""From a folder of clips to a trained model: check, encode, train, resume, animate; and the plan of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from accelerate.utils import DeepSpeedPlugin, DistributedType, LoggerType
from safetensors.torch import load_file

from tests.conftest import make_pipeline
from trip.cli import main
from trip.data.photos import is_held_out
from trip.data.shards import EncodedDataSet
from trip.media import Clip, write_clip
from trip.model.build import build_fusion, build_unet
from trip.model.denoiser import Denoiser
from trip.pipeline import TripPipeline
from trip.settings import PRESETS, AnimateSettings, changed
from trip.training import checkpoint, scale
from trip.training.cost import cost_of_a_clip
from trip.training.scale import ScaleRun
from trip.training.stages.denoiser import DenoiserStage
from trip.training.warm_start import open_base

ROOT = Path(__file__).parents[2]
SMALL = ["--preset", "paper", "--set", "model.frame_size=16", "--set", "model.num_frames=4", "--set", "recipe.precision=no"]
SMALL += ["--batch-size", "2", "--set", "recipe.denoiser.sample_every=2", "--set", "recipe.denoiser.save_every=2"]


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    folder, rng = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    names = [f"clip{i}.mp4" for i in range(60)]
    chosen = [name for name in names if not is_held_out(name)][:6] + [name for name in names if is_held_out(name)][:2]
    for name in chosen:
        texture = rng.integers(0, 256, (1, 24, 60, 3), dtype=np.uint8).repeat(2, 1).repeat(2, 2)
        frames = np.concatenate([np.roll(texture, 2 * shift, axis=2) for shift in range(12)])[:, :, :64]
        write_clip(Clip(frames, 8.0), folder / name)
        (folder / name).with_suffix(".txt").write_text("the camera pans right")
    (folder / "clip999.mp4").write_bytes(b"not a clip")
    return folder


@pytest.fixture(scope="module")
def cache(films, text_to_video, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("encoded") / "cache"
    window = ["--num-frames", "4", "--size", "16", "--shard-size", "4"]
    assert main(["encode", str(films), "--base", str(text_to_video), "--output", str(folder), *window]) == 0
    return folder


def command(cache: Path, base: Path, run: Path, *more: str) -> list[str]:
    return ["train", *SMALL, "--cache", str(cache), "--init", str(base), "--output", str(run), *more]


def losses(run: Path) -> list[float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]


@pytest.fixture(scope="module")
def trained(cache, text_to_video, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    more = ["--max-steps", "5", "--set", 'model.unet.added_conditions=["fps","strength"]', "--set", "recipe.photo_noise=0.3"]
    assert main(command(cache, text_to_video, run, *more, "--set", "recipe.gradient_checkpointing=true")) == 0
    return run


def test_the_trained_model_opens_animates_and_names_its_base(trained, photo):
    pipe = TripPipeline.from_pretrained(trained / "model")
    pipe.set_progress_bar_config(disable=True)
    output = pipe.animate(photo, AnimateSettings(prompt="the camera pans right", seed=1, num_steps=2, motion=0.5))
    assert output.frames.shape == (4, 16, 16, 3)
    assert "text-to-video" in pipe.weights_card and "cc-by-nc-4.0" in pipe.weights_card
    assert "license: cc-by-nc-4.0" in (trained / "model" / "README.md").read_text()
    assert json.loads((trained / "settings.json").read_text())["base"] == {"name": "text-to-video", "licence": "cc-by-nc-4.0"}


def test_the_trained_model_is_the_average_of_the_weights(trained):
    newest = checkpoint.completed(trained / "denoiser")[-1]
    average = load_file(newest / checkpoint.AVERAGE)
    written = load_file(trained / "model" / "unet" / "diffusion_pytorch_model.safetensors")
    raw = load_file(newest / "model.safetensors")
    for name, tensor in written.items():
        assert torch.equal(tensor, average[f"unet.{name}"].half())
    assert any(not torch.equal(raw[f"unet.{name}"].half(), tensor) for name, tensor in written.items())


def test_the_best_checkpoint_stays_beside_the_newest(trained):
    best = checkpoint.best_of(trained / "denoiser")
    kept = [checkpoint.step_of(path) for path in checkpoint.completed(trained / "denoiser")]
    assert best["step"] in kept and kept[-1] == 5 and len(kept) <= 3
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert best["figure"] == min(record["held_out_loss"] for record in records if "held_out_loss" in record)


def test_a_run_that_is_asked_to_stop_saves_and_goes_on(cache, text_to_video, tmp_path, capsys, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert main(command(cache, text_to_video, whole, "--max-steps", "4")) == 0

    def asked(stage: DenoiserStage, *arguments: object) -> object:
        monkeypatch.undo()  # once: a second signal would end the process
        os.kill(os.getpid(), signal.SIGTERM)
        return stage.loss(*arguments)

    monkeypatch.setattr(DenoiserStage, "loss", asked)
    assert main(command(cache, text_to_video, stopped, "--max-steps", "4")) == 2
    assert "give the same command again" in capsys.readouterr().err and not (stopped / "model").exists()
    saved = checkpoint.completed(stopped / "denoiser")
    assert len(losses(stopped)) == checkpoint.step_of(saved[-1]) == 1
    assert main(command(cache, text_to_video, stopped, "--max-steps", "4")) == 0
    assert losses(stopped) == pytest.approx(losses(whole), rel=1e-6)


def on_two(cache: Path, base: Path, run: Path, *more: str) -> subprocess.CompletedProcess:
    """The whole verb on two processes over gloo, as people start it on CPUs."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "trip"]
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [*launch, *command(cache, base, run, *more)]
    return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=500)


@pytest.mark.timeout(600)
def test_the_whole_verb_on_two_processes_ends_with_the_model_and_goes_on_as_one(cache, text_to_video, tmp_path):
    alone, run = tmp_path / "alone", tmp_path / "run"
    without_dropout = ["--set", "model.unet.temporal_dropout=0"]  # it is drawn per process
    assert main(command(cache, text_to_video, alone, *without_dropout, "--max-steps", "4", "--batch-size", "4")) == 0
    stopped = on_two(cache, text_to_video, run, *without_dropout, "--max-steps", "4", "--max-minutes", "0")
    assert stopped.returncode != 0 and stopped.stderr.count("the time was up before there was a model") == 1, stopped.stderr[-3000:]
    done = on_two(cache, text_to_video, run, *without_dropout, "--max-steps", "4")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [str(run / "model")]
    shutil.rmtree(run / "model")  # a finished run given once more, on one process, writes its model again
    assert main(command(cache, text_to_video, run, *without_dropout, "--max-steps", "4")) == 0
    assert losses(run) == pytest.approx(losses(alone), abs=1e-4)
    assert TripPipeline.from_pretrained(run / "model").config.num_frames == 4
    assert "Traceback" not in done.stderr


def test_msrvtt_and_dtdb_are_encoded_as_the_paper_evaluates_on_them(films, text_to_video, tmp_path):
    good = sorted(path for path in films.glob("*.mp4") if path.name != "clip999.mp4")
    splits = ("train", "validate", "test", "test")
    videos = [{"video_id": f"video{number}", "split": split} for number, split in enumerate(splits)]
    sentences = [{"video_id": video["video_id"], "caption": f"{video['video_id']} moves"} for video in videos]
    (tmp_path / "msrvtt").mkdir()
    (tmp_path / "msrvtt/videodatainfo.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    names = [f"msrvtt/video{number}.mp4" for number in range(4)]
    names += [f"dtdb/{split}/{name}/a.mp4" for split in ("TRAIN", "TEST") for name in ("Waterfall", "Flags")]
    for name, clip in zip(names, good, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / name)

    def captions(data: str, *more: str) -> dict[str, list[str]]:
        cache = tmp_path / "-".join(["cache", data, *more])
        window = ["--num-frames", "4", "--size", "16"]
        assert main(["encode", str(tmp_path / data), "--base", str(text_to_video), "--output", str(cache), *window, *more]) == 0
        encoded = {folder.name: EncodedDataSet(folder) for folder in cache.iterdir()}
        return {split: [clip.caption for clip in clips.first(9)] for split, clips in encoded.items()}

    assert captions("msrvtt") == {"test": ["video2 moves", "video3 moves"]}
    both = ["--split", "train", "--split", "validation"]
    assert captions("msrvtt", *both) == {"train": ["video0 moves"], "validation": ["video1 moves"]}
    assert captions("dtdb", "--category", "waterfall") == {"test": ["waterfall"]}
    report = tmp_path / "report.json"
    assert main(["data", "check", str(tmp_path / "dtdb"), "--category", "flag", "--output", str(report)]) == 0
    assert json.loads(report.read_text())["listed"] == {"train": 1, "test": 1}


def test_a_data_set_can_be_encoded_on_the_way(films, text_to_video, tmp_path, caplog):
    run = tmp_path / "run"
    words = ["train", *SMALL, "--data", str(films), "--init", str(text_to_video), "--output", str(run), "--max-steps", "2"]
    assert main(words) == 0
    assert len(losses(run)) == 2


def test_waves_stay_as_they_are_where_films_do_not_tell_of_them(films, tmp_path):
    preset = changed(PRESETS["tiny"], {"model.unet.scene_frequencies": 2})
    make_pipeline(preset.model).save_pretrained(tmp_path / "base")
    run = ["train", "--preset", "tiny", "--set", "model.unet.scene_frequencies=2", "--data", str(films)]
    run += ["--init", str(tmp_path / "base"), "--output", str(tmp_path / "run"), "--max-steps", "2", "--batch-size", "2"]
    assert main(run) == 0
    before, after = (
        load_file(folder / "unet" / "diffusion_pytorch_model.safetensors") for folder in (tmp_path / "base", tmp_path / "run/model")
    )
    waves = {name for name in before if name.startswith("warp.waves.")}
    assert waves and all(torch.allclose(before[name], after[name].float(), atol=1e-3) for name in waves)
    assert any(not torch.allclose(before[name], after[name].float(), atol=1e-3) for name in before.keys() - waves)


def test_a_full_disk_leaves_the_last_checkpoint(cache, text_to_video, tmp_path, monkeypatch):
    preset = changed(PRESETS["paper"], {"model.frame_size": 16, "model.num_frames": 4, "recipe.precision": "no"})
    stage = {"max_steps": 6, "save_every": 2, "batch_size": 2}
    preset = changed(preset, {f"recipe.denoiser.{name}": value for name, value in stage.items()})
    run = ScaleRun(preset, tmp_path / "run", open_base(text_to_video, preset.model), cache=cache)

    def full(path: Path, **_) -> None:
        raise OSError(28, "No space left on device")

    records = run.stages()
    for _ in range(4):
        next(records)
    monkeypatch.setattr(checkpoint.Average, "save", lambda *_, **__: full(None))
    with pytest.raises(ValueError, match="No space left on device.*step-0000002 is whole; free some space"):
        list(records)
    assert [checkpoint.step_of(path) for path in checkpoint.completed(tmp_path / "run" / "denoiser")] == [2]
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    "change, said",
    [
        (["--set", "model.num_frames=8"], "wanted clips encoded with num_frames 8"),
        (["--set", "model.nothing=8"], "there is no setting 'model.nothing'"),
        (["--set", "recipe.text_drop=7"], "recipe.text_drop"),
        (["--batch-size", "0"], "--batch-size: wanted at least 1"),
        (["--log-with", "trackio"], "pip install trackio"),
        (["--data", "elsewhere"], "wanted one of --photos, --cache and --data"),
    ],
)
def test_what_cannot_be_is_one_line(cache, text_to_video, tmp_path, capsys, change, said):
    assert main(command(cache, text_to_video, tmp_path / "run", *change)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert said in error and error.startswith("trip: ")


def test_a_cache_that_changed_is_refused(cache, trained, text_to_video, tmp_path, capsys):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    settings = json.loads((run / "settings.json").read_text())
    settings["data"]["digest"] = "another"
    (run / "settings.json").write_text(json.dumps(settings))
    more = ["--set", 'model.unet.added_conditions=["fps","strength"]']
    assert main(command(cache, text_to_video, run, *more)) == 2
    assert "holds a run of another data" in capsys.readouterr().err


def test_a_plan_trains_nothing_and_says_where_its_seconds_come_from(tmp_path, capsys):
    words = ["train", "--preset", "tiny", "--dry-run", "--num-processes", "8", "--num-clips", "1000"]
    assert main(words) == 0
    plan = json.loads(capsys.readouterr().out)
    stage = PRESETS["tiny"].recipe.denoiser
    assert plan["training"]["clips_seen"] == 8 * stage.batch_size * stage.max_steps
    assert plan["training"]["seconds_are"].startswith("assumed: 125 TFLOP/s")
    assert plan["cache"]["latents_tb"] == pytest.approx(1000 * 2 * 4 * 4 * 16 * 16 / 1e12, rel=0.01)
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text("".join(f'{{"stage": "denoiser", "step": {i}, "seconds": 0.5}}\n' for i in range(30)))
    assert main([*words, "--output", str(run)]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["training"]["seconds_a_step"] == 0.5 and plan["training"]["seconds_are"].startswith("measured")
    assert [path.name for path in run.iterdir()] == ["metrics.jsonl"]


def test_checkpointing_costs_operations_and_saves_memory():
    costs = [cost_of_a_clip(PRESETS["tiny"].model, precision="bf16", checkpointing=c) for c in (False, True)]
    assert costs[0].forward_flops == costs[1].forward_flops
    assert costs[1].training_flops == pytest.approx(costs[0].training_flops * 4 / 3)
    assert costs[1].activations < costs[0].activations / 3 and costs[1].peak < costs[0].peak
    assert costs[0].weights == costs[1].weights > 0
    assert torch.nn.functional.linear.__module__ != "trip.training.cost", "what was put in place of torch's functions is gone"


def test_a_tracker_gets_the_values_of_each_step(cache, text_to_video, tmp_path, monkeypatch):
    """A tracker of accelerate's own kind stands where TensorBoard would, which is not installed here."""
    told: dict[int, dict] = {}

    class Noted(GeneralTracker):
        name, requires_logging_directory = "tensorboard", True

        def __init__(self, run_name: str, logging_dir: str, **_):
            super().__init__()
            told[-1] = {"run": run_name, "folder": logging_dir}

        @property
        def tracker(self) -> dict:
            return told

        def store_init_configuration(self, values: dict) -> None:
            pass

        def log(self, values: dict, step: int | None = None, **_) -> None:
            told[step] = values

    monkeypatch.setattr(scale, "find_spec", lambda name: True)
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", Noted)
    monkeypatch.setattr("accelerate.tracking._available_trackers", [LoggerType.TENSORBOARD])
    run = tmp_path / "run"
    assert main(command(cache, text_to_video, run, "--max-steps", "2", "--log-with", "tensorboard")) == 0
    assert told.pop(-1) == {"run": "trip", "folder": str(run)}
    assert [told[step]["denoiser/loss"] for step in (0, 1)] == losses(run)


def test_the_deepspeed_configuration_is_one_that_accelerates_plugin_takes():
    """As the launcher hands it over. DeepSpeed itself is not installed: that it takes it was not tried."""
    config = load_config_from_file(str(ROOT / "examples" / "accelerate" / "deepspeed.yaml")).deepspeed_config
    plugin = DeepSpeedPlugin(
        zero_stage=config["zero_stage"],
        offload_optimizer_device=config["offload_optimizer_device"],
        offload_param_device=config["offload_param_device"],
        zero3_init_flag=config["zero3_init_flag"],
    )
    assert plugin.deepspeed_config["zero_optimization"]["stage"] == 2
    assert set(config) == {"zero_stage", "offload_optimizer_device", "offload_param_device", "zero3_init_flag"}


@pytest.mark.parametrize("name", ["ddp", "fsdp", "deepspeed"])
def test_the_configurations_are_what_accelerate_reads(name):
    config = load_config_from_file(str(ROOT / "examples" / "accelerate" / f"{name}.yaml"))
    kinds = {"ddp": DistributedType.MULTI_GPU, "fsdp": DistributedType.FSDP, "deepspeed": DistributedType.DEEPSPEED}
    assert config.distributed_type == kinds[name] and config.mixed_precision == "bf16" and config.num_processes == 8
    layers = {
        type(module).__name__ for module in Denoiser(build_unet(PRESETS["tiny"].model), build_fusion(PRESETS["tiny"].model)).modules()
    }
    assert set(config.fsdp_config.get("fsdp_transformer_layer_cls_to_wrap", "NoiseFusion").split(",")) <= layers
