"""The studio with the real pipeline: what it tells while it works, and how a run ends early."""

import threading
from pathlib import Path

import pytest

from trip.settings import AnimateSettings
from trip.ui import studio as studios
from trip.ui.studio import ACCELERATOR, Studio

PHOTO = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
LONG = AnimateSettings(num_steps=1000, num_frames=4)
SHORT = AnimateSettings(num_steps=2, num_frames=4)


@pytest.fixture
def studio(tiny_model, tmp_path) -> Studio:
    return Studio(str(tiny_model), tmp_path / "outputs")


def test_each_step_tells_where_it_stands_and_shows_frames(studio):
    told = list(studio.animate("me", str(PHOTO), SHORT))
    steps = [step for step in told if step.text.startswith("Step")]
    assert [step.fraction for step in steps] == [0.5, 1.0]
    assert all(step.preview.ndim == 4 for step in steps)
    assert told[-1].result.path.is_file()
    assert told[-1].result.seed == told[-1].result.settings["seed"]


def _to_first_step(run) -> None:
    next(step for step in run if step.text.startswith("Step"))


def _is_free() -> bool:
    free = ACCELERATOR.acquire(timeout=20)
    ACCELERATOR.release()
    return free


def test_stop_ends_a_run_within_one_step(studio):
    run = studio.animate("me", str(PHOTO), LONG)
    _to_first_step(run)
    studio.stop("me")
    rest = list(run)
    assert len(rest) <= 2  # a step that was told already, and the one in which the stop came
    assert all(step.result is None for step in rest)
    assert _is_free()
    assert list(studio.outputs.iterdir()) == []


def test_stop_of_one_session_leaves_the_other_alone(studio):
    run = studio.animate("me", str(PHOTO), SHORT)
    _to_first_step(run)
    studio.stop("somebody else")
    assert list(run)[-1].result is not None


def test_a_run_that_nobody_listens_to_frees_everything(studio):
    run = studio.animate("me", str(PHOTO), LONG)
    _to_first_step(run)
    run.close()
    assert _is_free()
    assert list(studio.outputs.iterdir()) == []
    assert list(studio.animate("me", str(PHOTO), SHORT))[-1].result is not None


def test_no_worker_stays_behind(studio):
    list(studio.animate("me", str(PHOTO), SHORT))
    assert _is_free()
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("clip")]
    for worker in workers:
        worker.join(timeout=5)
    assert not any(worker.is_alive() for worker in workers)


def test_old_clips_make_room_and_other_folders_stay(studio, monkeypatch):
    monkeypatch.setattr(studios, "KEPT_CLIPS", 2)
    (studio.outputs / "mine").mkdir()
    clips = [list(studio.animate("me", str(PHOTO), SHORT))[-1].result.path for _ in range(3)]
    assert [clip.exists() for clip in clips] == [False, True, True]
    assert (studio.outputs / "mine").is_dir()


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_clip_is_converted_once_beside_the_first(studio, suffix):
    clip = list(studio.animate("me", str(PHOTO), SHORT))[-1].result.path
    made = studio.convert(clip, suffix)
    written = made.stat().st_mtime_ns
    assert made == clip.with_suffix(suffix)
    assert studio.convert(clip, suffix).stat().st_mtime_ns == written


def test_a_checkpoint_that_is_not_there_is_told_in_words(tmp_path):
    studio = Studio(str(tmp_path / "nothing"), tmp_path / "outputs")
    studio.load()
    assert studio.card().startswith("No model: ")
    assert studio.defaults() == {}
    with pytest.raises(ValueError, match="nothing"):
        list(studio.animate("me", str(PHOTO), SHORT))
    assert list(studio.outputs.iterdir()) == []
