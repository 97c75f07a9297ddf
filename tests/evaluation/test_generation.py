"""A checkpoint over data sets, from the command line: resumed, dealt out, refused where it would mix; then measured and shown."""

import json
import shutil

import cv2
import numpy as np
import pytest

from tests.evaluation.test_clip_sets import film
from tests.evaluation.test_extractors import tiny_clip
from trip.cli import main
from trip.data.layouts import Entry
from trip.evaluation.generation import chosen_entries, clip_seed, sentence
from trip.media import read_clip

FLAGS = ("--num-frames", "6", "--fps", "4", "--size", "32", "--num-steps", "1")


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four clips, one of them too short, one broken."""
    folder = tmp_path_factory.mktemp("films")
    for name in ("a", "b", "below/c"):
        film(folder / f"{name}.mp4", num_frames=30, fps=12 if name == "a" else 8)
    film(folder / "short.mp4", num_frames=6)
    (folder / "broken.mp4").write_bytes(b"no film")
    (folder / "a.txt").write_text("the camera pans right\n")
    return folder


@pytest.fixture(scope="module")
def run(data, tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "run"
    assert main(["evaluate", "generate", str(data), "--model", str(tiny_model), "--output", str(folder), *FLAGS]) == 0
    return folder


def test_every_clip_that_can_be_read_is_animated_from_its_first_frame(run) -> None:
    for kind in ("real", "network", "rendered"):
        assert {path.rsplit("/", 1)[0] for path in files(run / kind)} == {"a", "b", "below/c"}, kind
        assert len(files(run / kind)) == 18 and cv2.imread(str(run / kind / "a" / "000.png")).shape == (32, 32, 3)
    photo, drawn = (cv2.imread(str(run / kind / "a" / "000.png")).astype(int) for kind in ("real", "network"))
    assert np.abs(photo - drawn).max() <= 1  # resized there and back, at most
    told = json.loads((run / "clips" / "a.json").read_text())
    assert told["prompt"] == "the camera pans right" and told["seed"] == clip_seed("a", 0)
    unfit = [json.loads(line) for line in (run / "unfit" / "00000-of-00001.jsonl").read_text().splitlines()]
    assert [(one["name"], one["reason"]) for one in unfit] == [("broken.mp4", "broken"), ("short.mp4", "short")]
    settings = json.loads((run / "run.json").read_text())
    assert settings["stride"] == 0.25 and settings["first_frame"] == "the photo" and len(settings["weights"]) == 16


def test_the_same_command_goes_on_and_parts_make_the_same_clips(run, data, tiny_model, tmp_path, capsys, monkeypatch) -> None:
    other = tmp_path / "run"
    words = ["evaluate", "generate", str(data), "--model", str(tiny_model), "--output", str(other), *FLAGS]
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")  # as a launcher says it
    assert main(words) == 0
    monkeypatch.undo()
    assert set(files(other / "network")) == {f"{name}/{index:03d}.png" for name in ("a", "below/c") for index in range(6)}
    capsys.readouterr()
    shutil.rmtree(other / "network" / "a", ignore_errors=True)
    (other / "clips" / "a.json").unlink(missing_ok=True)
    assert main(words) == 0
    assert "were here, 2 left out" in capsys.readouterr().err
    assert files(other / "network") == files(run / "network") and files(other / "rendered") == files(run / "rendered")
    assert main([*words, "--seed", "3"]) == 2
    assert "holds a run with seed 0 and now 3; choose another --output" in capsys.readouterr().err
    assert main([*words, "--part", "2", "--num-parts", "2"]) == 2


def test_frame_0_can_be_the_networks_own(run, data, tiny_model, tmp_path) -> None:
    words = ["evaluate", "generate", str(data), "--model", str(tiny_model), "--output", str(tmp_path), *FLAGS, "--first-frame", "network"]
    assert main([*words, "--num-clips", "2"]) == 0
    assert not (tmp_path / "rendered").exists() and json.loads((tmp_path / "run.json").read_text())["first_frame"] == "the network's own"
    name = next((tmp_path / "network").rglob("000.png")).parent.relative_to(tmp_path / "network")
    own, photo = (cv2.imread(str(folder / name / "000.png")).astype(int) for folder in (tmp_path / "network", run / "real"))
    assert np.abs(own - photo).mean() > 5  # a random autoencoder


def test_a_rate_that_the_checkpoint_cannot_draw_is_refused(data, tiny_model, tmp_path, capsys) -> None:
    words = ["evaluate", "generate", str(data), "--model", str(tiny_model), "--output", str(tmp_path / "run"), "--fps", "0.5"]
    assert main(words) == 2
    assert "frames a second, wanted" in capsys.readouterr().err


def test_consistency_and_anchors_of_a_run_and_its_page(run, tiny_model, tmp_path, capsys) -> None:
    tiny_clip(tmp_path / "models" / "clip")
    reading = ["--num-frames", "6", "--fps", "4", "--size", "32", "--models", str(tmp_path / "models")]
    for kind in ("network", "rendered"):
        words = ["evaluate", "consistency", "--fake", str(run / kind), "--real", str(run / "real"), *reading]
        assert main([*words, "--output", str(tmp_path / f"{kind}.json")]) == 0
    words = ["evaluate", "anchors", "--metrics", "consistency", "--real", str(run / "real"), "--model", str(tiny_model), *reading]
    assert main([*words, "--output", str(tmp_path / "anchors")]) == 0
    assert main(["tables", "--runs", str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    table = printed[printed.index("**On ") :]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")][2:]
    system = json.loads((run / "run.json").read_text())["system"]
    wanted = {"still image", "autoencoder's round trip", "real clips", f"{system}, network's own frames", f"{system}, rendered"}
    assert set(rows) == wanted and "stay in tables" not in printed  # one protocol, one table
    still = json.loads((tmp_path / "anchors" / "consistency-still-image.json").read_text())
    assert still["figures"]["f_consistency_all"]["value"] == pytest.approx(100) and still["motion"]["moves"]["value"] == 0
    assert main(["tables", "--runs", str(run), "--output", str(run)]) == 0
    page = (run / "tables.html").read_text()
    named = [name for part in page.split('data-frames="')[1:] for name in json.loads(part.split('"')[0].replace("&quot;", '"'))]
    assert len(named) == 3 * 3 * 6 and all((run / name).is_file() for name in named) and "the camera pans right" in page


def test_clips_are_exported_in_the_folders_of_vbench(run, tmp_path, capsys) -> None:
    assert main(["evaluate", "vbench", str(run / "network"), "--output", str(tmp_path / "v")]) == 0
    videos, images = ({path.stem for path in (tmp_path / "v" / name).iterdir()} for name in ("videos", "images"))
    assert videos == images == {"a", "b", "below--c"}
    clip = read_clip(tmp_path / "v" / "videos" / "a.mp4")
    assert clip.frames.shape == (6, 32, 32, 3) and clip.fps == pytest.approx(4)
    assert "--mode custom_input" in capsys.readouterr().err
    assert main(["evaluate", "vbench", str(tmp_path), "--output", str(tmp_path / "w")]) == 2
    assert "generate first" in capsys.readouterr().err


def test_what_is_not_here_or_not_wanted_is_refused_in_a_line(run, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    both = ["--real", str(run / "real"), "--fake", str(run / "network")]
    report = ["--output", str(tmp_path / "report.json")]
    cases = {
        ("fvd", *both, *report): "--fetch i3d",
        ("fid", *both, *report): "--fetch inception",
        ("consistency", *both, *report): "--fetch clip",
        ("fvd", *both, "--output", str(tmp_path / "report.txt")): "unknown kind '.txt'; choose .json",
        ("fvd", *both, *report, "--num-frames", "1"): "--num-frames: wanted at least 2",
        ("fvd", *both, *report, "--models", str(tmp_path / "none")): "wanted a folder of models",
        ("consistency", "--network", "efficientnet-lite0", "--fake", str(tmp_path / "none"), *report): "wanted a folder of clips",
    }
    for words, said in cases.items():
        assert main(["evaluate", *words]) == 2
        printed = capsys.readouterr()
        assert said in printed.err and printed.err.count("\n") == 1 and "Traceback" not in printed.err, words


def test_a_rendering_of_the_networks_own_frame_0_is_refused(run, tmp_path, capsys) -> None:
    words = ["evaluate", "generate", str(tmp_path), "--output", str(tmp_path / "run"), "--only", "rendered", "--first-frame", "network"]
    assert main(words) == 2 and "--only: wanted network with --first-frame network" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_papers_samples_are_drawn_by_seed(tmp_path) -> None:
    (tmp_path / "webvid").mkdir()
    lines = ["videoid,name,page_dir", *(f"{number},caption {number},p" for number in range(2060))]
    (tmp_path / "webvid" / "results_2M_val.csv").write_text("\n".join(lines))
    layout, split, number, found = chosen_entries(tmp_path / "webvid")
    assert (layout, split, number, len(found)) == ("webvid", "validation", 2048, 2048) and len({one.name for one in found}) == 2048
    assert found == chosen_entries(tmp_path / "webvid")[3] != chosen_entries(tmp_path / "webvid", seed=1)[3]
    for name in (
        "TEST/Fire/1",
        "TEST/Clouds/2",
        "TEST/Waterfall/3",
        "TEST/Vegetation/4",
        "TEST/Traffic/5",
        "TRAIN/Fire/6",
        "TEST/Fireworks/7",
    ):
        film(tmp_path / "dtdb" / f"{name}.mp4", num_frames=2)
    layout, split, _, found = chosen_entries(tmp_path / "dtdb")
    assert layout == "dtdb" and [one.captions[0] for one in found] == ["clouds", "fire", "vegetation", "waterfall"]
    assert [one.path.parent.name for one in chosen_entries(tmp_path / "dtdb", categories=["traffic"])[3]] == ["Traffic"]
    with pytest.raises(ValueError, match="wanted the layout dtdb"):
        chosen_entries(tmp_path / "webvid", categories=["traffic"])
    clip = Entry("video7.mp4", tmp_path, tuple("abcdefgh"), "test")
    assert {sentence(clip, seed) for seed in range(60)} == set("abcdefgh") and sentence(clip, 5) == sentence(clip, 5)
    with pytest.raises(ValueError, match="wanted clips of the split train"):
        chosen_entries(tmp_path / "webvid", split="train")
