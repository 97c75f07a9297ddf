"""The run folder: one process alone trains in it."""

import pytest

from trip.cli import main
from trip.training import folder
from trip.training.folder import run_lock


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--preset", "tiny", "--photos", "{photos}"],
        ["train-editor", "--preset", "tiny", "--photos", "{photos}", "--base", "{model}"],
        ["ablate", "--preset", "tiny", "--photos", "{photos}", "--base", "{model}"],
    ],
    ids=lambda words: words[0],
)
def test_a_folder_in_which_another_process_trains_is_refused(words, photos, tiny_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(folder, "PATIENCE", 0.0)
    run = tmp_path / "run"
    call = [word.format(photos=photos, model=tiny_model) for word in words] + ["--output", str(run)]
    with run_lock(run):
        assert main(call) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.endswith(f"{run}: another process trains in this folder; stop it or choose a new --output")
    assert [path.name for path in run.iterdir()] == ["lock"]
    with run_lock(run):  # free again
        pass
