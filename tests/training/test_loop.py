"""The loop that all stages share, on a stage of one weight: what it writes, how it resumes, how it stops."""

import json
import math
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import GeneralTracker
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from trip.settings import StageSettings
from trip.training import checkpoint
from trip.training.average import Average
from trip.training.loop import MOST_LEFT_OUT, learning_rate_scale, step_generator, train

SETTINGS = StageSettings(max_steps=12, batch_size=4, learning_rate=0.05, ema_decay=0.9, weight_decay=0.0, save_every=4, sample_every=5)


class Slope:
    """Learns the slope of y = x through noise; at step `breaks_at` the loss is infinite, at `spoils_at` its gradient alone is nan."""

    name = "slope"

    def __init__(self, breaks_at: int | None = None, spoils_at: int | None = None):
        torch.manual_seed(0)
        self.model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self.breaks_at, self.spoils_at = breaks_at, spoils_at

    def param_groups(self):
        return [{"params": list(self.model.parameters()), "lr": SETTINGS.learning_rate}]

    def batch(self, step, rank, num_ranks):
        return step, torch.randn(4, 1, generator=step_generator(7, step, rank))

    def loss(self, model, batch, generator):
        step, x = batch
        noise = 0.1 * torch.randn(x.shape, generator=generator)
        x, noise = x.to(self.model.weight.device), noise.to(self.model.weight.device)
        loss = (model(x) - x - noise).square().mean()
        loss = loss + (0 * self.model.weight).sqrt().sum() if step == self.spoils_at else loss
        return loss * math.inf if step == self.breaks_at else loss, {"slope": self.slope}

    def sample(self, path):
        path.with_suffix(".txt").write_text(str(self.slope))

    @property
    def slope(self) -> float:
        return self.model.weight.item()


def records(stage: Slope, folder: Path, settings: StageSettings = SETTINGS, *, seed: int = 0, **more):
    return train(stage, settings, folder, folder / "metrics.jsonl", seed=seed, accelerator=Accelerator(), **more)


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def changed(**values) -> StageSettings:
    return StageSettings(**{**SETTINGS.model_dump(), **values})


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> tuple[Path, Slope]:
    folder, stage = tmp_path_factory.mktemp("unbroken"), Slope()
    list(records(stage, folder))
    return folder, stage


def test_metrics_have_each_step_once(unbroken):
    folder, _ = unbroken
    lines = metrics(folder)
    assert [line["step"] for line in lines] == list(range(12))
    assert all(math.isfinite(line["loss"]) and line["seconds"] > 0 and line["grad_norm"] >= 0 for line in lines)
    assert all(0 <= line["waited"] <= line["seconds"] for line in lines)
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_records_are_the_metrics(tmp_path):
    assert list(records(Slope(), tmp_path, changed(max_steps=3))) == [line | {"max_steps": 3} for line in metrics(tmp_path)]


def test_samples_and_checkpoints_come_when_they_are_due(unbroken):
    folder, _ = unbroken
    assert sorted(path.name for path in (folder / "samples").iterdir()) == ["0000005.txt", "0000010.txt", "0000012.txt"]
    assert [path.name for path in checkpoint.completed(folder)] == ["step-0000008", "step-0000012"]  # the newest two


@pytest.mark.parametrize("done", [1, 4, 6, 9])
def test_a_run_that_was_dropped_goes_on_as_if_it_never_had_been(unbroken, tmp_path, done):
    """`done` steps, then nothing is saved any more: what the last checkpoint does not hold is done again."""
    folder, whole = unbroken
    broken = records(Slope(), tmp_path)
    for _ in range(done):
        next(broken)
    broken.close()
    stage = Slope()
    again = list(records(stage, tmp_path))
    assert again[0]["step"] == (done - 1) // 4 * 4  # a checkpoint is written when the next step is asked for
    wanted = [line["loss"] for line in metrics(folder)]
    assert [line["step"] for line in metrics(tmp_path)] == list(range(12))
    assert [line["loss"] for line in metrics(tmp_path)] == pytest.approx(wanted, rel=1e-6)
    assert stage.slope == pytest.approx(whole.slope, rel=1e-6)


def test_a_line_that_a_kill_cut_in_half_is_written_again(tmp_path):
    list(records(Slope(), tmp_path, changed(max_steps=6)))
    with (tmp_path / "metrics.jsonl").open("a") as lines:
        lines.write('{"stage": "slope", "step": 6, "loss": 0.1}\n{"stage": "slope", "step": 7, "lo')
    list(records(Slope(), tmp_path))
    assert [line["step"] for line in metrics(tmp_path)] == list(range(12))


def test_a_half_written_checkpoint_is_passed_by(tmp_path):
    list(records(Slope(), tmp_path, changed(max_steps=6)))
    (tmp_path / "step-0000008.partial").mkdir()
    (tmp_path / "step-0000008.partial" / "model.safetensors").write_bytes(b"half of")
    assert next(records(Slope(), tmp_path))["step"] == 6
    list(records(Slope(), tmp_path))
    assert not list(tmp_path.glob("*.partial"))


def test_a_finished_run_stays_as_it_is(unbroken):
    folder, whole = unbroken
    before = (folder / "metrics.jsonl").read_bytes()
    stage = Slope()
    assert list(records(stage, folder)) == []
    assert stage.slope == pytest.approx(whole.slope, rel=1e-6)
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_averaged_weights_stay_in_the_model_and_lag_behind_the_raw_ones(unbroken):
    """The slope climbs from 0 towards 1, so an average of it is lower than it is."""
    folder, stage = unbroken
    raw = load_file(folder / "step-0000012" / "model.safetensors")["weight"].item()
    assert 0 < stage.slope < raw - 0.01


def test_samples_show_the_averaged_weights_and_training_goes_on_with_the_raw_ones(unbroken):
    folder, _ = unbroken
    raw = [line["slope"] for line in metrics(folder)]
    assert float((folder / "samples" / "0000005.txt").read_text()) < raw[5] - 1e-3
    assert raw == sorted(raw)


def test_figures_of_an_evaluation_join_the_record_of_its_step(tmp_path):
    lines = list(records(Slope(), tmp_path, evaluate=lambda: {"figure": 1.5}))
    assert [line["step"] for line in lines if "figure" in line] == [5, 10]
    assert metrics(tmp_path)[-1] == {"stage": "slope", "step": 12, "figure": 1.5}  # after the last step


def test_a_loss_that_is_not_finite_stops_with_its_stage_and_step(tmp_path):
    with pytest.raises(FloatingPointError) as caught:
        list(records(Slope(breaks_at=3), tmp_path))
    assert str(caught.value).startswith("slope: the loss at step 3 is inf; ") and "\n" not in str(caught.value)
    assert [line["step"] for line in metrics(tmp_path)] == [0, 1, 2]


def test_a_gradient_that_is_not_finite_under_a_finite_loss_is_never_saved(unbroken, tmp_path):
    with pytest.raises(FloatingPointError, match="slope: the gradient at step 6 is nan; lower the learning rate"):
        list(records(Slope(spoils_at=6), tmp_path))
    assert [checkpoint.step_of(path) for path in checkpoint.completed(tmp_path)] == [4]
    assert all(checkpoint.is_finite(path) for path in checkpoint.completed(tmp_path))
    stage = Slope()
    assert next(records(stage, tmp_path))["step"] == 4
    list(records(stage := Slope(), tmp_path))
    assert stage.slope == pytest.approx(unbroken[1].slope, rel=1e-6)


@pytest.fixture
def in_float16(monkeypatch) -> Accelerator:
    """As accelerate makes one where there is an accelerator: it has no float16 on a CPU, though torch has."""
    accelerator = Accelerator()
    monkeypatch.setitem(AcceleratorState._shared_state, "_mixed_precision", "fp16")
    accelerator.native_amp, accelerator.scaler = True, torch.amp.GradScaler("cpu", init_scale=16.0)
    return accelerator


def spoilt_at(steps: set[int]) -> Slope:
    """A stage whose gradient is nan at some steps."""
    stage = Slope()

    def loss(model, batch, generator):
        stage.spoils_at = batch[0] if batch[0] in steps else None
        return Slope.loss(stage, model, batch, generator)

    stage.loss = loss
    return stage


def test_float16_leaves_out_a_step_whose_gradient_is_not_finite_and_goes_on(tmp_path, in_float16):
    settings = changed(max_steps=5)
    lines = list(train(spoilt_at({2}), settings, tmp_path, tmp_path / "metrics.jsonl", seed=0, accelerator=in_float16))
    assert [math.isfinite(line["grad_norm"]) for line in lines] == [True, True, False, True, True]
    slopes = [line["slope"] for line in lines]
    assert slopes[0] < slopes[1] < slopes[2] == slopes[3] < slopes[4]


def test_float16_stops_where_too_many_steps_in_a_row_were_left_out(tmp_path, in_float16):
    """One less in a row is still a search for the scale, and a step between that is well begins the count anew."""
    stage = spoilt_at({*range(MOST_LEFT_OUT - 1), *range(MOST_LEFT_OUT, 200)})
    settings = changed(max_steps=200, save_every=1000, sample_every=1000)
    with pytest.raises(FloatingPointError, match=f"slope: the gradient at step {2 * MOST_LEFT_OUT - 1} is nan"):
        list(train(stage, settings, tmp_path, tmp_path / "metrics.jsonl", seed=0, accelerator=in_float16))


def spoil(path: Path) -> None:
    """Makes a checkpoint as it was saved before gradients were looked at."""
    for name in ("model.safetensors", checkpoint.AVERAGE):
        with safe_open(path / name, framework="pt") as file:
            tensors, metadata = {key: torch.full_like(file.get_tensor(key), math.nan) for key in file.keys()}, file.metadata()  # noqa: SIM118
        save_file(tensors, path / name, metadata=metadata)


@pytest.mark.parametrize("count, begins_at", [(1, 8), (2, 4), (3, 0)])
def test_a_run_with_checkpoints_that_are_not_finite_goes_back_to_the_last_good_one(unbroken, tmp_path, caplog, count, begins_at):
    list(records(Slope(), tmp_path, changed(keep=3)))
    checkpoint.note_best(tmp_path, 12, math.nan)
    for path in checkpoint.completed(tmp_path)[-count:]:
        spoil(path)
    stage = Slope()
    again = list(records(stage, tmp_path, changed(keep=1)))
    assert [line["step"] for line in again] == list(range(begins_at, 12))
    assert "not finite" in caplog.text
    assert stage.slope == pytest.approx(unbroken[1].slope, rel=1e-6)
    assert [checkpoint.step_of(path) for path in checkpoint.completed(tmp_path)] == [12]
    assert checkpoint.is_finite(tmp_path / "step-0000012")


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    running = records(stage := Slope(), tmp_path)
    for _ in range(6):
        next(running)
    stage.model.weight.data.fill_(math.inf)
    stage.loss = lambda model, batch, generator: (0 * torch.nan_to_num(model.weight, posinf=0).sum() + 1, {})
    with pytest.raises(FloatingPointError, match="the averaged weight at step 8 is nan"):
        list(running)
    assert [checkpoint.step_of(path) for path in checkpoint.completed(tmp_path)] == [4]


def test_an_evaluation_that_is_not_finite_is_never_the_best(tmp_path):
    figures = iter([math.nan, 2.0, math.nan, 3.0])
    settings = changed(max_steps=8, save_every=2, sample_every=2, best_by="figure")
    list(records(Slope(), tmp_path, settings, evaluate=lambda: {"figure": next(figures)}))
    assert checkpoint.best_of(tmp_path) == {"step": 4, "figure": 2.0}


def test_a_deadline_saves_and_stops(tmp_path):
    endless = changed(max_steps=1_000_000, save_every=1_000_000, sample_every=1_000_000)
    lines = list(records(Slope(), tmp_path, endless, deadline=time.monotonic() + 0.2))
    assert [int(path.name.removeprefix("step-")) for path in checkpoint.completed(tmp_path)] == [len(lines)]
    assert next(records(Slope(), tmp_path, endless))["step"] == len(lines)


def test_a_deadline_that_has_passed_takes_no_step(tmp_path):
    assert list(records(Slope(), tmp_path, deadline=time.monotonic())) == []


def test_another_seed_sees_other_noise(unbroken, tmp_path):
    folder, _ = unbroken
    other = list(records(Slope(), tmp_path, changed(max_steps=1), seed=1))
    assert other[0]["loss"] != pytest.approx(metrics(folder)[0]["loss"], rel=1e-6)


def test_steps_ranks_and_seeds_have_noise_of_their_own():
    places = [(seed, step, rank) for seed in range(3) for step in range(20) for rank in range(4)]
    drawn = {float(torch.rand(1, generator=step_generator(*place), dtype=torch.float64)) for place in places}
    assert len(drawn) == len(places)


def test_what_a_step_drops_is_the_same_whatever_was_drawn_before_it(tmp_path):
    """Dropout takes torch's own noise, and so may an evaluation between two steps."""
    found = []
    for evaluate in (None, lambda: {"figure": torch.rand(()).item()}):
        stage = Slope()
        stage.loss = lambda model, batch, generator, stage=stage: Slope.loss(stage, model, (batch[0], F.dropout(batch[1])), generator)
        folder = tmp_path / str(evaluate is None)
        folder.mkdir()
        found.append([line["loss"] for line in records(stage, folder, changed(max_steps=4, sample_every=1), evaluate=evaluate)])
    assert found[0] == found[1]


def test_learning_rate_rises_stays_and_falls_to_zero():
    settings = changed(max_steps=100, warmup_steps=9, cooldown=0.2)
    scale = [learning_rate_scale(step, settings) for step in range(101)]
    assert scale[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert scale[9:81] == [1.0] * 72
    assert scale[80:] == pytest.approx([1 - 0.05 * step for step in range(21)], abs=1e-9)


def test_learning_rate_is_flat_without_warmup_and_cooldown():
    assert {learning_rate_scale(step, SETTINGS) for step in range(12)} == {1.0}


class Slopes(Slope):
    """Two weights of the same stage, the second with a tenth of the rate."""

    def __init__(self):
        super().__init__()
        self.model = nn.ParameterList([nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1, 1))])

    def param_groups(self):
        return [{"params": [part], "lr": rate} for part, rate in zip(self.model, (0.05, 0.005), strict=True)]

    def loss(self, model, batch, generator):
        x = batch[1]
        loss = sum((x @ part - x).square().mean() for part in model)
        return loss, {}

    @property
    def slope(self) -> list[float]:
        return [part.item() for part in self.model]


def test_every_group_keeps_its_own_rate(tmp_path):
    stage = Slopes()
    steps = records(stage, tmp_path, changed(warmup_steps=1))
    next(steps)  # AdamW's first step is the rate itself, half of it while it rises
    assert stage.slope == pytest.approx([0.025, 0.0025], rel=1e-3)
    next(steps)
    assert stage.slope[0] / stage.slope[1] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.5, 0.7)])
def test_the_optimizer_is_adamw_with_the_settings_betas(tmp_path, betas):
    stage, plain = Slope(), Slope()
    settings = changed(betas=betas, max_steps=6, grad_clip=1e6, weight_decay=0.1)
    optimizer = torch.optim.AdamW(plain.model.parameters(), lr=0.05, betas=betas, weight_decay=0.1)
    for step, _ in enumerate(records(stage, tmp_path, settings)):
        optimizer.zero_grad()
        plain.loss(plain.model, plain.batch(step, 0, 1), step_generator(0, step, 0))[0].backward()
        optimizer.step()
        assert stage.slope == pytest.approx(plain.slope, rel=1e-5)


@pytest.mark.parametrize("decay", [0.2, 0.9])
def test_the_average_keeps_the_share_that_is_asked_for(decay):
    """It rises to `decay` by (1 + n) / (10 + n)."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average, expected = Average(model, decay), 0.0
    for step in range(1, 30):
        nn.init.constant_(model.weight, step)
        average.step()
        share = min(decay, step / (9 + step)) if step > 1 else 0.0
        expected = share * expected + (1 - share) * step
    with average.in_place():
        assert model.weight.item() == pytest.approx(expected, rel=1e-5)
    assert model.weight.item() == 29


@pytest.mark.parametrize("decay", [0.2, 0.9])
def test_the_loop_averages_by_its_settings(tmp_path, decay):
    stage, expected = Slope(), 0.0
    lines = list(records(stage, tmp_path, changed(max_steps=6, ema_decay=decay), evaluate=lambda: {"averaged": stage.slope}))
    for step in range(1, 6):  # a record has the slope before its step
        share = min(decay, step / (9 + step)) if step > 1 else 0.0
        expected = share * expected + (1 - share) * lines[step]["slope"]
    assert lines[5]["averaged"] == pytest.approx(expected, rel=1e-5)


def test_gradients_are_clipped(tmp_path):
    """One step of AdamW does not show it, its moments do: they are the clipped gradient's."""
    stage = Slope()
    line = next(records(stage, tmp_path, changed(grad_clip=0.01)))
    assert line["grad_norm"] > 0.01
    assert stage.model.weight.grad.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_every_tracker_of_accelerates_gets_the_figures(tmp_path):
    class Kept(GeneralTracker):
        name, requires_logging_directory = "kept", False
        lines: list = []

        @property
        def tracker(self):
            return self.lines

        def log(self, values, step=None, **_):
            self.lines.append((step, values))

    accelerator = Accelerator(log_with=Kept())
    accelerator.init_trackers("trip")
    settings = changed(max_steps=3)
    list(train(Slope(), settings, tmp_path, tmp_path / "metrics.jsonl", seed=0, accelerator=accelerator))
    assert [step for step, _ in Kept.lines] == [0, 1, 2]
    assert [values["slope/loss"] for _, values in Kept.lines] == [line["loss"] for line in metrics(tmp_path) if "loss" in line]


def test_checkpoints_come_by_minutes_too(tmp_path):
    settings = changed(max_steps=3, save_every=1000, save_minutes=1e-9, keep=10)
    list(records(Slope(), tmp_path, settings))
    assert [checkpoint.step_of(path) for path in checkpoint.completed(tmp_path)] == [1, 2, 3]


def test_the_best_checkpoint_outlives_the_newest(tmp_path):
    figures = iter([3.0, 1.0, 2.0, 4.0])
    settings = changed(max_steps=8, save_every=2, sample_every=2, keep=1, best_by="figure")
    list(records(Slope(), tmp_path, settings, evaluate=lambda: {"figure": next(figures)}))
    assert checkpoint.best_of(tmp_path) == {"step": 4, "figure": 1.0}
    assert [checkpoint.step_of(path) for path in checkpoint.completed(tmp_path)] == [4, 8]


def test_a_best_evaluation_is_saved_whether_a_checkpoint_is_due_or_not(tmp_path):
    figures = iter([3.0, 1.0, 2.0, 4.0])
    settings = changed(max_steps=8, save_every=1000, sample_every=2, keep=10, best_by="figure")
    list(records(Slope(), tmp_path, settings, evaluate=lambda: {"figure": next(figures)}))
    assert [checkpoint.step_of(path) for path in checkpoint.completed(tmp_path)] == [2, 4, 8]


def test_shares_that_are_added_up_are_one_batch(tmp_path):
    """The mean over two shares of four samples has the gradient of all eight."""
    seen = []
    stage = Slope()
    stage.batch = lambda step, share, num_shares: seen.append((step, share, num_shares)) or Slope.batch(stage, step, share, num_shares)
    line = next(records(stage, tmp_path, changed(accumulation=2, grad_clip=0.01)))
    assert {(0, 0, 2), (0, 1, 2)} <= set(seen)
    model = Slope().model
    loss = sum(stage.loss(model, Slope.batch(stage, 0, share, 2), step_generator(0, 0, share))[0] for share in (0, 1)) / 2
    loss.backward()
    assert line["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert line["grad_norm"] == pytest.approx(model.weight.grad.norm().item(), rel=1e-5), "clipped once, when all of it is there"
