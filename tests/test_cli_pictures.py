"""The verbs that make a first frame: each ends in a clip and keeps its pictures, and says in one line what it lacks."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trip.cli import main
from trip.evaluation.sheets import side_by_side
from trip.media import fit_photo, read_clip, read_metadata

QUICK = ["--size", "64", "--num-steps", "2", "--seed", "3"]
CLIP = ["--clip-num-steps", "1", "--clip-seed", "5"]


@pytest.fixture(scope="module")
def photo_file(photo, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    photo.save(path)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test looks into the hub's cache of this machine."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def run(*words: object) -> int:
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code


def test_text_to_video_keeps_every_candidate_and_animates_the_first(picture_models, tiny_model, tmp_path, capsys):
    output = tmp_path / "clip.mp4"
    words = ["--prompt", "a red house", "--num-pictures", 2, "--aspect", "16:9", "--models", picture_models, "--model", tiny_model]
    assert run("text-to-video", *words, *QUICK, *CLIP, "--output", output) == 0
    pictures = [tmp_path / f"clip-picture-{seed}.png" for seed in (3, 4)]
    assert capsys.readouterr().out.split() == [*map(str, pictures), str(output)]
    assert read_metadata(output)["prompt"] == "a red house" and read_metadata(output)["aspect"] == "16:9"
    first = read_clip(output).frames[0]
    with Image.open(pictures[0]) as picture:
        brightness = (first.astype(int) - fit_photo(picture, *first.shape[:2])) @ (0.21, 0.72, 0.07)  # H.264 keeps half of the colours'
    assert np.abs(brightness).mean() < 8


def test_picture_and_motion_have_words_of_their_own(picture_models, tiny_model, tmp_path):
    words = ["--prompt", "a red house", "--clip-prompt", "the camera pans right", "--models", picture_models, "--model", tiny_model]
    assert run("text-to-video", *words, *QUICK, *CLIP, "--output", tmp_path / "clip.gif") == 0
    assert read_metadata(tmp_path / "clip.gif")["prompt"] == "the camera pans right"


def test_a_png_stops_at_the_picture(picture_models, tmp_path, photo_file, capsys):
    output = tmp_path / "winter.png"
    assert run("edit", photo_file, "--instruction", "make it winter", "--models", picture_models, *QUICK, "--output", output) == 0
    assert capsys.readouterr().out == f"{output}\n" and output.exists()


def test_control_keeps_its_map_and_takes_it_again(picture_models, tiny_model, tmp_path, photo_file):
    words = ["--prompt", "a tiger", "--models", picture_models, "--model", tiny_model, *QUICK, *CLIP]
    assert run("control", photo_file, *words, "--output", tmp_path / "clip.mp4") == 0
    assert {path.name for path in tmp_path.glob("clip*")} == {"clip.mp4", "clip-picture-3.png", "clip-map.png"}
    assert run("control", photo_file, *words, "--map", tmp_path / "clip-map.png", "--output", tmp_path / "again.png") == 0
    with Image.open(tmp_path / "again.png") as again, Image.open(tmp_path / "clip-picture-3.png") as first:
        assert np.array_equal(np.asarray(again), np.asarray(first))


def test_canny_needs_no_model(tmp_path, photo_file, capsys):
    assert run("control", photo_file, "--map-only", "--output", tmp_path / "map.png") == 0
    with Image.open(tmp_path / "map.png") as found:
        assert set(np.unique(np.asarray(found))) == {0, 255}


def test_figure_9_is_one_command(picture_models, tiny_model, tmp_path, photo_file, capsys):
    words = ["--edit-instruction", "make it winter", "--control-prompt", "a tiger", "--clip-prompt", "the camera zooms in"]
    small = [f"--{task}-{name}" for task in ("edit", "control") for name in ("size=64", "num-steps=2", "seed=3")]
    where = ["--models", picture_models, "--model", tiny_model, "--output", tmp_path / "figure.mp4"]
    assert run("figure9", photo_file, *words, *small, *CLIP, *where) == 0
    clip = read_clip(tmp_path / "figure.mp4")
    assert clip.frames.shape[1:3] == (274, 3 * 256 + 4) and clip.metadata["seed"] == 5
    assert {path.name for path in tmp_path.glob("figure-*")} == {"figure-sheet.png", *(f"figure-picture-{index}.png" for index in range(3))}


def test_figure_9_says_what_it_leaves_out(tiny_model, tmp_path, photo_file, capsys):
    words = ["--edit-instruction", "make it winter", "--control-prompt", "a tiger", "--model", tiny_model, *CLIP]
    assert run("figure9", photo_file, *words, "--output", tmp_path / "figure.mp4") == 0
    said = capsys.readouterr().err
    assert "left out: Stable Diffusion 1.5 and ControlNet" in said and "--fetch control-sd15-canny" in said
    assert read_clip(tmp_path / "figure.mp4").frames.shape[2] == 2 * 256 + 2  # the photo, and the embedded editor's edit


def test_side_by_side_waits_for_the_longest_clip():
    short, long = (np.full((count, 8, 12, 3), value, np.uint8) for count, value in ((2, 50), (4, 200)))
    frames = side_by_side([short, long], ["one", "other"], height=16)
    assert frames.shape == (4, 18 + 16, 2 * 24 + 2, 3) and (frames[3, 20, 5] == 50).all() and (frames[3, 20, 45] == 200).all()


@pytest.mark.parametrize(
    "words, said",
    [
        (["text-to-video", "--prompt", "x"], "--fetch sdxl"),
        (["text-to-video", "--prompt", "x", "--guidance-scale", "99"], "Guidance must be"),
        (["text-to-video", "--prompt", "x", "--clip-motion", "9"], "Motion must be"),
        (["text-to-video", "--prompt", "x", "--picture-model", "no/such/folder"], "there is no model 'no/such/folder' here"),
        (["edit", "PHOTO", "--instruction", "winter", "--picture-model", "ip2p"], "--fetch ip2p"),
        (["edit", "PHOTO"], "there is no instruction yet"),
        (["edit", "missing.png", "--instruction", "winter"], "missing.png"),
        (["control", "PHOTO", "--prompt", "x"], "get it (about 2.9 GB) with: python -m trip models --fetch control-sd15-canny"),
        (["control", "PHOTO", "--annotator", "pose", "--map-only"], "--fetch annotator-pose"),
        (["control", "PHOTO", "--annotator", "x-ray"], "Annotator must be canny"),
    ],
)
def test_what_cannot_work_is_told_in_one_line(tmp_path, photo_file, capsys, words, said):
    assert run(*(photo_file if word == "PHOTO" else word for word in words), "--output", tmp_path / "clip.mp4") == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("trip: ")]
    assert len(lines) == 1 and said in lines[0] and printed.out == "" and not list(tmp_path.glob("clip*"))


def test_bench_times_every_picture_model_that_is_here(picture_models, tiny_model, photo_file, capsys):
    here = ["--models", picture_models, "--model", tiny_model]
    assert run("bench", "--pictures", photo_file, *here, "--num-steps", 1, "--size", 64) == 0
    rows = {row["model"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"sdxl", "sdxl-turbo", "sdxl-lightning-4", "sd15", "ip2p", "ip2p-xl", "control-sd15-canny", "control-sdxl-canny"} <= set(rows)
    assert {"editor", "trip"} <= set(rows) and set(rows["trip"]["seconds"]) == {"open", "animate"}
    for row in rows.values():
        assert set(row["seconds"]) == set(row["bytes"]) >= {"open"} and min(row["bytes"].values()) > 0
        assert row["most_bytes"] >= max(row["bytes"].values()) and row["again_seconds"] > 0
        assert row["switch_seconds"] < 1 and not row["put_away"]  # there is room for all of them
