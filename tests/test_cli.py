"""Every verb of the command line: what it writes and prints, and one line with exit code 2 for what cannot work."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_sound import loudness, tone
from trip.cli import main
from trip.data.photos import is_held_out
from trip.data.prompts import CAMERA_MOTIONS
from trip.media import fit_photo, read_clip, read_metadata
from trip.settings import PRESETS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def photo_file(photo, tmp_path_factory) -> Path:
    """The photo in a folder, under a name that is held out of training."""
    name = next(name for name in (f"photo{i}.png" for i in range(100)) if is_held_out(name))
    path = tmp_path_factory.mktemp("photos") / name
    photo.save(path)
    return path


def code_of(*words: object) -> int:
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:  # how argparse ends
        return stop.code


def refusal(capsys: pytest.CaptureFixture, *words: object) -> str:
    """The one line that a bad command prints."""
    assert code_of(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "Traceback" not in printed.err
    assert printed.err.count("\n") == 1 and printed.err.endswith("\n") and len(printed.err) < 700
    return printed.err


# animate


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_animate_writes_a_clip_and_prints_its_path(photo_file, tiny_model, tmp_path, capsys, suffix):
    output = tmp_path / f"clip{suffix}"
    assert code_of("animate", photo_file, "--prompt", "the camera pans right", "--seed", 5, "--model", tiny_model, "--output", output) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{output}\n"
    assert "100%" in printed.err and "Traceback" not in printed.err
    assert output.stat().st_size > 0
    metadata = read_metadata(output)
    assert (metadata["prompt"], metadata["seed"], metadata["model"]) == ("the camera pans right", 5, tiny_model.name)
    model = PRESETS["tiny"].model
    assert num_frames(output) == 24 * model.num_frames / model.fps  # as long, at another rate


def num_frames(path: Path) -> int:
    if path.suffix == ".mp4":
        return len(read_clip(path).frames)
    with Image.open(path) as image:
        return image.n_frames


def test_animate_takes_every_setting(photo_file, photo, tiny_model, tmp_path):
    output = tmp_path / "clip.mp4"
    words = {
        "prompt": "the clouds drift",
        "negative-prompt": "blur",
        "motion": 0.5,
        "num-frames": 6,
        "fps": 12,
        "num-steps": 3,
        "guidance-scale": 1.5,
        "scheduler": "dpm++",
        "seed": 9,
        "aspect": "16:9",
        "crop": "0, 0.1, 0.9, 0.8",
        "size": "512",
        "frame-rate": 18,
    }
    flags = [word for name, value in words.items() for word in (f"--{name}", value)] + ["--loop"]
    assert code_of("animate", photo_file, *flags, "--model", tiny_model, "--output", output) == 0
    metadata, clip = read_metadata(output), read_clip(output)
    assert {name: metadata[name.replace("-", "_")] for name in words} == words
    assert metadata["loop"] and clip.frames.shape == (9, 76, 116, 3) and clip.fps == pytest.approx(18)
    first = fit_photo(photo, 76, 116, (0, 0.1, 0.9, 0.8))
    brightness = (clip.frames[0].astype(int) - first) @ (0.21, 0.72, 0.07)  # H.264 keeps half of the colours' resolution
    assert np.abs(brightness).mean() < 6


def test_animate_arrives_at_a_last_photo(photo_file, photo, tiny_model, tmp_path, capsys):
    last, output = tmp_path / "last.png", tmp_path / "clip.mp4"
    Image.new("RGB", (80, 60), (200, 40, 90)).save(last)
    words = ["--last-photo", last, "--num-steps", 1, "--num-frames", 4, "--model", tiny_model, "--output", output]
    assert code_of("animate", photo_file, *words) == 0
    clip = read_clip(output)
    assert np.abs(clip.frames[-1].astype(int) - (200, 40, 90)).max() < 12 and clip.metadata["last_photo"].startswith("80 x 60, ")
    assert np.abs(clip.frames[0].astype(int) - fit_photo(photo, *clip.frames.shape[1:3])).mean() < 8
    assert code_of("animate", photo_file, *words, "--loop") == 2 and "got both; choose one" in capsys.readouterr().err
    assert code_of("animate", photo_file, "--last-photo", tmp_path / "none.png", "--output", output) == 2


def test_animate_puts_a_sound_beside_the_pictures(photo_file, tiny_model, tmp_path, capsys):
    words = ["--sound", tone(tmp_path / "tone.wav", 9), "--num-steps", 1, "--num-frames", 4, "--fps", 4, "--model", tiny_model]
    assert code_of("animate", photo_file, *words, "--output", tmp_path / "clip.mp4") == 0
    clip = read_clip(tmp_path / "clip.mp4")
    assert len(loudness(tmp_path / "clip.mp4")) == int(10 * len(clip.frames) / clip.fps) and clip.metadata["fps"] == 4
    for output, sound in (("clip.gif", tmp_path / "tone.wav"), ("other.mp4", photo_file)):
        assert code_of("animate", photo_file, "--sound", sound, "--output", tmp_path / output) == 2
        assert "wanted a" in capsys.readouterr().err and not (tmp_path / output).exists()


def test_animate_writes_what_the_network_drew_where_that_is_the_size(photo_file, photo, tiny_model, tmp_path):
    words = ["--size", "model", "--num-steps", 1, "--num-frames", 3, "--model", tiny_model, "--output", tmp_path / "clip.mp4"]
    assert code_of("animate", photo_file, *words) == 0
    assert read_clip(tmp_path / "clip.mp4").frames.shape == (3, 32, 32, 3)


def test_a_gif_is_smaller_and_says_what_it_weighs(tiny_model, tmp_path, capsys):
    Image.new("RGB", (600, 600), "grey").save(tmp_path / "large.png")
    words = ["--num-steps", 1, "--num-frames", 2, "--model", tiny_model, "--output", tmp_path / "clip.gif"]
    assert code_of("animate", tmp_path / "large.png", *words) == 0
    assert "384 x 384 pixels, " in capsys.readouterr().err
    assert code_of("animate", tmp_path / "large.png", *words, "--size", "512") == 0
    assert "512 x 512 pixels, " in capsys.readouterr().err


def test_animate_without_a_prompt_lets_the_model_decide(photo_file, tiny_model, tmp_path):
    assert code_of("animate", photo_file, "--model", tiny_model, "--num-steps", 1, "--output", tmp_path / "clip.gif") == 0


@pytest.mark.parametrize(
    "flag, value, said",
    [
        ("--motion", "3", "Motion must be a number from 0 to 2, not 3"),
        ("--motion", "nan", "Motion"),
        ("--motion", "much", "Motion"),
        ("--num-frames", "1", "Frames"),
        ("--num-frames", "4.5", "Frames"),
        ("--num-frames", "100000", "Frames"),
        ("--fps", "0", "Frames per second"),
        ("--frame-rate", "61", "Frame rate must be a number from 1 to 60"),
        ("--size", "640", "Size must be auto or model or 512 or 768 or 1024 or photo, not 640"),
        ("--num-steps", "0", "Steps"),
        ("--guidance-scale", "inf", "Guidance"),
        ("--scheduler", "euler", "ddim or dpm++ or unipc"),
        ("--seed", "-1", "Seed"),
        ("--aspect", "2:1", "1:1 or 4:3"),
        ("--crop", "0.5,0.5,0.6,0.5", "inside the photo"),
        ("--crop", "left", "inside the photo"),
        ("--prompt", "x" * 10_001, "10,001"),
    ],
)
def test_bad_settings_are_refused(tmp_path, capsys, flag, value, said):
    """Before anything is opened: neither the photo nor the model is there."""
    assert said in refusal(capsys, "animate", "photo.jpg", flag, value, "--output", tmp_path / "clip.mp4")


def test_what_of_a_prompt_is_not_read_is_said(photo_file, tiny_model, tmp_path, capsys):
    prompt = "a cup of coffee on an old wooden table " * 9 + ", the camera pans left"
    assert (
        code_of("animate", photo_file, "--model", tiny_model, "--prompt", prompt, "--num-steps", 1, "--output", tmp_path / "clip.mp4") == 0
    )
    assert "trip: Prompt: the model reads " in capsys.readouterr().err


@pytest.mark.parametrize("output", ["clip.avi", "clip", "no/such/folder/clip.mp4"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(photo_file, tmp_path, capsys, output):
    assert "cannot write" in refusal(capsys, "animate", photo_file, "--model", tmp_path, "--output", tmp_path / output)


@pytest.mark.parametrize(
    "verb",
    [
        ["control", "{photo}", "--annotator", "canny", "--map-only", "--output", "{place}.png"],
        ["control", "{photo}", "--annotator", "canny", "--map-only", "--output", "{place}.mp4"],
        ["control", "{photo}", "--annotator", "canny", "--output", "{place}.mp4"],
        ["edit", "{photo}", "--instruction", "make it winter", "--output", "{place}.mp4"],
        ["text-to-video", "--prompt", "a house", "--output", "{place}.mp4"],
        ["figure9", "{photo}", "--edit-instruction", "make it winter", "--control-prompt", "a house", "--output", "{place}.mp4"],
        ["data", "check", "{folder}", "--output", "{place}.json"],
        ["train", "--preset", "tiny", "--photos", "{folder}", "--output", "{place}"],
        ["train-editor", "--photos", "{folder}", "--output", "{place}"],
        ["finetune", "--clips", "{folder}", "--output", "{place}"],
        ["encode", "{folder}", "--base", "{folder}", "--output", "{place}"],
    ],
    ids=lambda verb: " ".join(verb[:2]),
)
@pytest.mark.parametrize("place", ["/proc/out", "{folder}/file/out", "{folder}/" + "n" * 300])
def test_every_output_is_tried_before_the_work(photo_file, tmp_path, capsys, verb, place):
    (tmp_path / "file").touch()
    names = {"photo": photo_file, "folder": tmp_path, "place": place.format(folder=tmp_path)}
    assert "cannot write" in refusal(capsys, *(word.format(**names) for word in verb))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_kept_beside_a_long_name_is_tried_too(photo_file, tmp_path, capsys):
    call = ["control", photo_file, "--annotator", "canny", "--map-only", "--output"]
    assert "-map.png: File name too long" in refusal(capsys, *call, tmp_path / ("n" * 250 + ".mp4"))
    assert not list(tmp_path.glob("n*"))


def test_words_and_names_that_no_encoding_knows_are_one_line(photo_file, tmp_path, capsys):
    assert "Prompt must be text" in refusal(capsys, "animate", photo_file, "--prompt", "half \udcff", "--output", tmp_path / "clip.mp4")
    assert "no file there" in refusal(capsys, "animate", tmp_path / "\udcff.jpg", "--output", tmp_path / "clip.mp4")


def test_a_folder_is_no_output(photo_file, tiny_model, tmp_path, capsys):
    (tmp_path / "clip.mp4").mkdir()
    assert "a folder has that name" in refusal(capsys, "animate", photo_file, "--model", tiny_model, "--output", tmp_path / "clip.mp4")


@pytest.mark.parametrize("content", [None, b"", b"no photo at all", b"\xff\xd8\xff\xe0 half a JPEG"])
def test_a_photo_that_is_none_is_refused(tiny_model, tmp_path, capsys, content):
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    assert "photo.jpg" in refusal(capsys, "animate", path, "--model", tiny_model, "--output", tmp_path / "clip.mp4")
    assert not (tmp_path / "clip.mp4").exists()


def test_a_model_that_is_not_there_is_refused(photo_file, tmp_path, capsys):
    line = refusal(capsys, "animate", photo_file, "--model", tmp_path / "nowhere", "--output", tmp_path / "clip.mp4")
    assert "nowhere" in line and "found nothing there" in line


@pytest.mark.parametrize(
    "words", [[], ["dance"], ["animate"], ["animate", "photo.jpg"], ["train", "--preset", "huge"], ["bench", "--repeats", "x"]]
)
def test_a_command_that_is_none_is_refused_in_one_line(capsys, words):
    assert refusal(capsys, *words)


def test_settings_are_checked_before_torch_is_loaded(tmp_path):
    """In a process of its own: exit code, one line, and nothing that takes seconds to import."""
    code = "import sys; from trip.cli import main; code = main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(code)"
    command = [sys.executable, "-c", code, "animate", "photo.jpg", "--motion", "7", "--output", str(tmp_path / "clip.mp4")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "trip: Motion must be a number from 0 to 2, not 7\n"


@pytest.mark.parametrize("verb", [[], ["animate"], ["train"], ["data", "check"], ["encode"], ["evaluate", "motion"], ["bench"]])
def test_every_verb_explains_itself(capsys, verb):
    assert code_of(*verb, "--help") == 0
    assert "usage: python -m trip" in capsys.readouterr().out


# evaluate, bench


def test_evaluate_motion_writes_a_report_and_prints_tables(photo_file, tiny_model, tmp_path, capsys):
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    words = ["--photos", photo_file.parent, "--model", tiny_model, "--num-steps", 1, "--guidance-scale", 1, "--size", 128]
    assert code_of("evaluate", "motion", *words, "--per-scene", 0, "--sheet", sheet, "--output", report) == 0
    *tables, last = capsys.readouterr().out.splitlines()
    assert (
        last == str(report)
        and tables[0].startswith("| 1 photo at 128 × 128")
        and tables[0].endswith("| network's own frames | rendered clip | still image |")
    )
    told = json.loads(report.read_text())
    assert {"model", "scheduler", "overall", "per_motion", "still", "scenes", "checks", "clips"} <= set(told)
    assert told["model"] == tiny_model.name and told["scheduler"] == "ddim"
    assert set(told["per_motion"]) == {*CAMERA_MOTIONS, "still"}
    assert not told["checks"]["goes_where_told"]["passed"], "random weights do not move as told"
    assert Image.open(sheet).size[0] > 32


def test_evaluate_motion_compares_with_a_checkpoint_and_with_its_report(photo_file, tiny_model, tmp_path, capsys):
    words = ["--photos", photo_file.parent, "--model", tiny_model, "--num-steps", 1, "--guidance-scale", 1, "--size", 128]
    words += ["--per-scene", 0, "--surroundings"]
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert code_of("evaluate", "motion", *words, "--against", tiny_model, "--output", first) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "pan left: no difference, PSNR +0.00 dB, 1 photo" in lines
    assert code_of("evaluate", "motion", *words, "--against", first, "--output", second) == 0
    assert json.loads(second.read_text())["comparison"] == json.loads(first.read_text())["comparison"]
    words.remove("--surroundings")
    capsys.readouterr()
    said = refusal(capsys, "evaluate", "motion", *words, "--against", first, "--output", second)
    assert "wanted two reports of one protocol, got surroundings False and True; measure both alike" in said
    assert "got size 130 and 128" in refusal(capsys, "evaluate", "motion", *words, "--size", 130, "--against", first, "--output", second)


@pytest.mark.parametrize(
    "flags, complaint",
    [
        (["--num-photos", 0], "--num-photos must be at least 1, not 0"),
        (["--size", 129], "--size must be an even number from 128 to 1080, not 129"),
        (["--against", "photo"], "wanted a report of this command, got a file that is no JSON"),
    ],
)
def test_evaluate_motion_refuses_what_cannot_be_measured(photo_file, tiny_model, tmp_path, capsys, flags, complaint):
    flags = [photo_file if flag == "photo" else flag for flag in flags]
    words = ["--photos", photo_file.parent, "--model", tiny_model, "--output", tmp_path / "report.json"]
    assert complaint in refusal(capsys, "evaluate", "motion", *words, *flags)


def test_photos_that_no_model_was_trained_on_are_all_taken(photo_file, tiny_model, tmp_path):
    for name in ("a.jpg", "b.jpg"):  # on the training side of the split
        assert not is_held_out(name)
        shutil.copy(photo_file, tmp_path / name)
    words = ["--photos", tmp_path, "--model", tiny_model, "--num-steps", 1, "--guidance-scale", 1, "--size", 128, "--per-scene", 0]
    assert code_of("evaluate", "motion", *words, "--unseen", "--output", tmp_path / "report.json") == 0
    assert {clip["photo"] for clip in json.loads((tmp_path / "report.json").read_text())["clips"]} == {"a.jpg", "b.jpg"}


def test_evaluate_wants_photos_that_were_held_out(tiny_model, tmp_path, capsys):
    assert "held-out photos" in refusal(
        capsys, "evaluate", "motion", "--photos", tmp_path, "--model", tiny_model, "--output", tmp_path / "report.json"
    )


@pytest.mark.parametrize("output", ["no/such/folder/report.json", "."])
def test_evaluate_refuses_an_output_that_cannot_be_written_before_the_work(photo_file, tmp_path, capsys, output):
    words = ["--photos", photo_file.parent, "--model", tmp_path / "nowhere"]
    line = refusal(capsys, "evaluate", "motion", *words, "--output", tmp_path / output)
    assert "write" in line and "nowhere" not in line


@pytest.mark.parametrize("precision, most", [("float32", 1e-5), ("bfloat16", 0.1)])
def test_bench_against_diffusers_computes_the_same(capsys, precision, most):
    words = ["--preset", "tiny", "--num-frames", 2, "--repeats", 2, "--precision", precision]
    assert code_of("bench", "--against", "diffusers", *words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["preset"], told["precision"], told["num_frames"]) == ("tiny", precision, 2) and told["num_parameters"] > 10_000
    assert 0 <= told["relative_difference"] < most
    assert 0 < told["lowest_ratio"] <= told["ratio"] <= told["highest_ratio"] and 0 < min(told["our_seconds"], told["their_seconds"]) < 60


@pytest.mark.parametrize("words", [["--num-frames", 0], ["--repeats", 0], ["--preset", "huge"]])
def test_bench_against_diffusers_refuses_in_one_line(capsys, words):
    assert refusal(capsys, "bench", "--against", "diffusers", "--preset", "tiny", *words)


def test_bench_prints_seconds_and_shares(tiny_model, capsys):
    assert code_of("bench", "--model", tiny_model, "--repeats", 1) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["num_frames"], told["frame_size"]) == (4, 32)
    for name in ("unet", "fusion", "prior", "decode"):
        assert 0 < told[f"{name}_seconds"] < 60
    assert told["fusion_share_of_unet"] == pytest.approx(told["fusion_seconds"] / told["unet_seconds"], rel=0.05, abs=0.01)
    assert told["prior_share_of_unet"] < told["fusion_share_of_unet"] < 1


def test_bench_without_a_round_is_refused(tiny_model, capsys):
    assert "at least 1 repeat" in refusal(capsys, "bench", "--model", tiny_model, "--repeats", 0)
