"""The paper's variants trained side by side and judged: whole runs of the tiny preset, and the arithmetic of the tables."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from trip.cli import main
from trip.data.photos import Photo
from trip.evaluation.ablation import (
    REAL,
    STILL,
    Draws,
    Row,
    Scores,
    cases_of,
    changed_clips,
    made_clips,
    orderings,
    rows_of,
    score,
    tables,
    true_clips,
)
from trip.evaluation.extractors import FeatureExtractor
from trip.evaluation.published import TABLES
from trip.model.build import build_unet
from trip.pipeline import TripPipeline
from trip.settings import PRESETS
from trip.training.ablation import VARIANTS_OF_THE_PAPER, ablation_preset, of_variant, plan
from trip.training.warm_start import take_unet

ROOT = Path(__file__).parents[2]
SHORT = "--size 32 --steps 2 --start-steps 2 --num-clips 8 --batch-size 2 --num-photos 2"
FLAGS = ["--preset", "tiny", *SHORT.split(), "--set", "model.num_frames=6", "--set", "model.num_steps=2"]


def words(photos, base, output, *more) -> list[str]:
    return ["ablate", "--photos", str(photos), "--base", str(base), "--output", str(output), *FLAGS, *more]


@pytest.fixture(scope="module")
def unbroken(photos, tiny_model, tmp_path_factory) -> Path:
    """An ablation from beginning to end."""
    folder = tmp_path_factory.mktemp("ablation") / "run"
    assert main(words(photos, tiny_model, folder, "--seeds", "1")) == 0
    return folder


def steps(folder: Path) -> list[dict]:
    return [record for line in (folder / "metrics.jsonl").read_text().splitlines() if "loss" in (record := json.loads(line))]


def test_every_variant_and_seed_is_trained_on_the_same_clips_from_one_start(unbroken) -> None:
    of = {}
    for record in steps(unbroken):
        of.setdefault(record["stage"], []).append(record["step"])
    cells = {f"{variant}-0" for variant in VARIANTS_OF_THE_PAPER}
    assert set(of) == {"start", *cells} and all(found == [0, 1] for found in of.values())
    for variant in VARIANTS_OF_THE_PAPER:
        pipe = TripPipeline.from_pretrained(unbroken / f"{variant}-0" / "model")
        assert not pipe.unet.config.photo_warp and not getattr(pipe.fusion.config, "skip", False)
    assert TripPipeline.from_pretrained(unbroken / "trip-w-0" / "model").fusion.config.motion_variance == 0  # Eq. 9 as it stands
    assert not list(unbroken.rglob("step-*")), "checkpoints of what is done"


def test_the_start_has_seen_no_photo_and_all_variants_take_it_whole(unbroken) -> None:
    state = load_file(unbroken / "start" / "start.safetensors")
    preset, _ = ablation_preset("tiny", size=32, steps=2, start_steps=2, batch_size=2, num_clips=8)
    channels = preset.model.vae.latent_channels
    assert state["conv_in.weight"].shape[1] == channels
    for variant in VARIANTS_OF_THE_PAPER:
        unet = build_unet(of_variant(preset, variant).model)
        assert take_unet(unet, state) == []
        own = unet.state_dict()
        assert all(torch.equal(own[name], weight) for name, weight in state.items() if name != "conv_in.weight")
        assert torch.equal(own["conv_in.weight"][:, :channels], state["conv_in.weight"]) and not own["conv_in.weight"][:, channels:].any()


def test_tables_5_and_6_and_the_picture_come_out_of_it(unbroken, capsys) -> None:
    text = (unbroken / "tables.md").read_text()
    assert (
        "Table 5. Where the first frame is attached, at this scale" in text and "Table 6. Temporal residual learning, at this scale" in text
    )
    for row in ("TRIP_C", "TRIP_TE", "TRIP⁻", "TRIP^W", "TRIP", STILL, REAL):
        (line, *_) = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
        assert len(line.split("|")) == 10
    still = next(line for line in text.splitlines() if line.startswith(f"| {STILL} |")).split("|")
    assert still[2].strip().startswith("100.00") and still[4].strip() == "not measured" and still[7].strip().startswith("0")
    real = next(line for line in text.splitlines() if line.startswith(f"| {REAL} |")).split("|")
    assert real[5].strip().startswith("60.00")  # dB: the same frames
    assert "6 clips of 2 held-out photos, 1 seed;" in text and "efficientnet-lite0" in text
    picture = cv2.imread(str(unbroken / "figure-8.png"))
    assert picture.shape[0] > 6 * 64  # the truly moved clip and five variants, enlarged
    told = json.loads((unbroken / "reports" / "consistency-trip-w-0.json").read_text())
    assert told["system"] == "trip-w, seed 0" and told["variant"] == "trip-w" and told["protocol"]["num_fake"] == 6
    assert told["protocol"]["stride"] == 0.125
    assert main(["tables", "--runs", str(unbroken), "--output", str(unbroken / "shown")]) == 0
    assert "trip-w, seed 0" in capsys.readouterr().out


def test_the_same_command_ends_at_once_and_more_seeds_go_on(unbroken, photos, tiny_model, tmp_path, capsys) -> None:
    folder = shutil.copytree(unbroken, tmp_path / "run")
    before, text = ((folder / name).read_text() for name in ("metrics.jsonl", "tables.md"))
    assert main(words(photos, tiny_model, folder, "--seeds", "1")) == 0
    assert (folder / "metrics.jsonl").read_text() == before and (folder / "tables.md").read_text() == text
    assert main(words(photos, tiny_model, folder, "--steps", "3")) == 2
    assert "holds a run of another recipe; choose" in capsys.readouterr().err
    assert main(words(photos, tiny_model, folder, "--seeds", "2")) == 0
    after = (folder / "metrics.jsonl").read_text()
    assert after.startswith(before) and "2 held-out photos, 2 seeds;" in (folder / "tables.md").read_text()
    of_seed = {record["stage"]: record["loss"] for record in steps(folder)}
    assert all(of_seed[f"{variant}-0"] != of_seed[f"{variant}-1"] for variant in VARIANTS_OF_THE_PAPER)


def test_a_killed_ablation_goes_on_as_if_it_had_not_been(unbroken, photos, tiny_model, tmp_path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "trip", *words(photos, tiny_model, folder, "--seeds", "1")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        if (folder / "trip-te-0" / "model").exists():
            break
        try:
            process.wait(0.1)
            break
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(words(photos, tiny_model, folder, "--seeds", "1")) == 0
    once = {(record["stage"], record["step"]): record["loss"] for record in steps(folder)}
    whole = {(record["stage"], record["step"]): record["loss"] for record in steps(unbroken)}
    assert once == whole and len(steps(folder)) == len(whole)


def test_what_cannot_be_is_refused_and_a_dry_run_counts(tmp_path, capsys) -> None:
    assert main(["ablate", "--output", str(tmp_path)]) == 2 and "--photos: wanted a folder" in capsys.readouterr().err
    assert main(["ablate", "--seeds", "0"]) == 2 and "--seeds: wanted at least 1, got 0" in capsys.readouterr().err
    assert main(["ablate", *FLAGS, "--dry-run", "--set", "model.fusion.width=24"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["trainings"] == 15 and told["weights_million"]["trip"] > told["weights_million"]["trip-w"] and told["minutes"] > 0
    preset, start = ablation_preset("tiny", size=32, steps=2, start_steps=2, batch_size=2, num_clips=8)
    twice, _ = ablation_preset("tiny", size=32, steps=4, start_steps=2, batch_size=2, num_clips=8)
    one, other = (plan(each, start, ("trip-w",), 1, 6)["tflop_a_training"]["trip-w"] for each in (preset, twice))
    assert other >= one
    form = PRESETS["paper"].model.fusion
    assert (preset.model.fusion.attend, preset.model.fusion.query, preset.model.fusion.skip) == (form.attend, form.query, False)
    assert main(["ablate", *FLAGS, "--dry-run", "--set", "model.fusion.colour=1"]) == 2 and "no setting" in capsys.readouterr().err


# arithmetic


def flat_extractor(is_of_frames: bool) -> FeatureExtractor:
    """Features that are means of colours: of a clip, or of its frames."""

    def features(frames: np.ndarray) -> np.ndarray:
        means = frames.reshape(len(frames), -1, 3).mean(axis=1).astype(np.float32)
        return means if is_of_frames else means.ravel()

    return FeatureExtractor("flat", "0" * 16, f"mean colours, {is_of_frames}", features, is_of_frames=is_of_frames)


@pytest.fixture(scope="module")
def cases():
    rng = np.random.default_rng(3)
    pixels = [cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (120, 120), interpolation=cv2.INTER_CUBIC) for _ in range(3)]
    return cases_of([Photo(f"photo.{index}.png", one) for index, one in enumerate(pixels)])


def test_clips_of_a_case_are_made_once_and_scored_against_the_true_ones(cases, tmp_path) -> None:
    true = true_clips(tmp_path / "real", cases, size=32, num_frames=5, fps=8)
    assert len(true) == 9 and all(frames.shape == (5, 32, 32, 3) for frames in true.values())
    again = true_clips(tmp_path / "real", cases, size=32, num_frames=5, fps=8)
    assert all((again[name] == frames).all() for name, frames in true.items())
    seeds = []

    def animate(asked):
        seeds.extend(one.seed for one in asked)
        return [np.repeat(one.photo[None], 5, axis=0) for one in asked]

    assert list(made_clips(tmp_path / "trip-0", cases, true, animate, seed=0, at_once=4)) == [0, 4, 8, 9]
    assert list(made_clips(tmp_path / "trip-0", cases, true, animate, seed=0)) == [9] and len(set(seeds)) == 9
    changed_clips(tmp_path / "still", true, lambda frames: np.repeat(frames[:1], 5, axis=0))
    extractors = {"fvd": flat_extractor(False), "consistency": flat_extractor(True)}
    told = {"system": "s", "variant": "trip", "data": "d"}
    found, still, real = (
        score(tmp_path, name, cases, true, extractors, tmp_path / "features", **told) for name in ("trip-0", "still", "real")
    )
    assert found.features.shape == (3, 3, 15) and (found.features == still.features).all()
    assert (found.per_photo["f_consistency_all"] > 99.999).all() and (found.per_photo["right"] == 0).all()
    assert (real.per_photo["psnr"] == 60).all() and (real.per_photo["f_consistency_all"] < 100).all()
    assert found.reports["fvd"]["figures"]["fvd"]["value"] > 0 and real.reports["fvd"]["figures"]["fvd"]["value"] < 1e-6
    rows = rows_of({"trip": [found], REAL: [real]}, {"trip": [0.25]})
    assert rows["trip"]["fvd"].value == pytest.approx(found.reports["fvd"]["figures"]["fvd"]["value"])
    assert rows["trip"]["held_out_loss"].figure() == {"value": 0.25, "low": None, "high": None, "num_photos": 1}
    (tmp_path / "trip-0" / cases[0].name).rename(tmp_path / "aside")
    with pytest.raises(ValueError, match="wanted a clip for each of 9 cases"):
        score(tmp_path, "trip-0", cases, true, extractors, tmp_path / "features", **told)


def test_intervals_cover_seeds_and_photos_and_differences_are_paired() -> None:
    rng, covered = np.random.default_rng(0), 0
    for trial in range(60):
        values = rng.normal(size=(6, 1)) + rng.normal(size=(1, 20)) + rng.normal(size=(6, 20))
        figure = Row(float(values.mean()), Draws(6, 20, trial).means(values), False, 20).figure()
        covered += figure["low"] <= 0 <= figure["high"]
    assert covered >= 45  # of 60; six seeds are few
    photos, lift = rng.normal(scale=10, size=(1, 20)), 0.3 + 0.1 * rng.normal(size=(3, 20))
    draws = Draws(3, 20)
    low, high = (Row(float(v.mean()), draws.means(v), False, 20) for v in (np.repeat(photos, 3, axis=0), photos + lift))
    apart = high.above(low)
    assert 0.2 < apart["low"] < apart["value"] < apart["high"] < 0.4  # though each by itself is sure to some decibels alone
    assert high.figure()["high"] - high.figure()["low"] > 5


def scores_of(value: float, scale: float = 0.01) -> Scores:
    rng = np.random.default_rng(int(value * 1000))
    return Scores({key: value + scale * rng.normal(size=8) for key in ("psnr", "f_consistency_4", "f_consistency_all")}, None, {})


def test_the_order_of_the_paper_is_told_beside_ours() -> None:
    levels = {"trip": 3.0, "trip-w": 4.0, "trip-minus": 2.0}
    rows = rows_of({variant: [scores_of(level + seed / 100) for seed in range(3)] for variant, level in levels.items()}, {})
    table = TABLES[-1]
    first, second = orderings(table, rows)
    assert "published TRIP before TRIP^W before TRIP⁻; here TRIP^W before TRIP before TRIP⁻" in first
    assert "TRIP against TRIP⁻ +1.00" in first and ", better; against TRIP^W -1.00" in first and first.endswith(", worse.")
    assert second.startswith("F-Consistency all")
    (title, cells, lines) = list(tables(rows, ["a line"]))[-1]
    assert title.startswith("Table 6") and [row[0] for row in cells] == ["", "TRIP⁻", "TRIP^W", "TRIP"] and lines[-1] == "a line"
    assert cells[1][3] == "not measured"
    levels["trip"] = 5.0
    rows = rows_of({variant: [scores_of(level)] for variant, level in levels.items()}, {})
    assert "the same order" in next(iter(orderings(table, rows)))
