"""The running app, as programs see it: the endpoint /animate, its complaints, and the command line."""

import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app import main
from tests.test_sound import loudness, tone
from tests.training.test_finetune import write_moving_square
from trip.cli.app import build_parser, parse
from trip.media import embedded_photo, fit_photo, read_clip, read_metadata, read_photo

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "examples" / "coffee.jpg"
QUICK = {"num_steps": 2, "num_frames": 4, "seed": 7}


@pytest.fixture(scope="module")
def client(app) -> Client:
    return Client(app.url, verbose=False)


def animate(client: Client, photo: Path = PHOTO, **values: Any) -> tuple[str, int, dict]:
    return client.predict(handle_file(photo), api_name="/animate", **QUICK | values)


def test_programs_see_the_endpoints_meant_for_them(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    clips = ["/animate", "/cancel", "/compare", "/compare_models", "/continue_clip", "/estimate", "/job", "/jobs", "/sound"]
    assert sorted(endpoints) == sorted([*clips, "/control_map", "/edit_and_animate", "/fine_tune", "/text_to_video"])


def test_animate_gives_a_clip_its_seed_and_its_settings(client):
    path, seed, settings = animate(client, prompt="the camera pans right", fps=5)
    clip = read_clip(path)
    assert len(clip.frames) == 19  # four frames at 5 a second, at 24
    assert clip.fps == pytest.approx(24)
    assert seed == settings["seed"] == 7
    assert settings["prompt"] == "the camera pans right"
    stored = read_metadata(path)
    beside = {"job", "notes"}  # told with the settings, and none of them
    assert {name: stored[name] for name in settings if name not in beside} == {k: v for k, v in settings.items() if k not in beside}
    assert embedded_photo(stored).size == Image.open(PHOTO).size


def test_a_program_gives_a_clip_a_sound_and_takes_it_away(client, tmp_path):
    *_, settings = animate(client, fps=5)
    path, _, again = client.predict(settings["job"], handle_file(tone(tmp_path / "tone.wav", 5)), api_name="/sound")
    assert len(loudness(Path(path))) in (7, 8) and again == settings  # four frames at 5 a second
    with pytest.raises(AppError, match="wanted a sound, got"):
        client.predict(settings["job"], handle_file(PHOTO.with_name("chelsea.webp")), api_name="/sound")
    path, *_ = client.predict(settings["job"], None, api_name="/sound")
    with av.open(path) as container:
        assert len(container.streams) == 1


def test_a_clip_arrives_at_the_last_photo_that_a_program_names(client):
    last = ROOT / "examples" / "rocket.jpg"
    path, _, settings = animate(client, last_photo=handle_file(last))
    shown, wanted = read_clip(path).frames[-1], fit_photo(read_photo(last), *read_clip(path).frames.shape[1:3])
    assert np.abs(shown.astype(int) - wanted).mean() < 8 and settings["last_photo"].startswith("640 x 427, ")
    with pytest.raises(AppError, match="got both; choose one"):
        animate(client, last_photo=handle_file(last), loop=True)


def test_a_program_teaches_a_motion_and_uses_it(client, tmp_path):
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as packed:
        for phase in range(2):
            write_moving_square(tmp_path / f"jumping_square_{phase}.mp4", phase)
            packed.write(tmp_path / f"jumping_square_{phase}.mp4", f"jumping_square_{phase}.mp4")
    asked = {"rank": 1, "batch_size": 1, "max_steps": 1, "sample_every": 1}
    job = client.predict(handle_file(tmp_path / "clips.zip"), **asked, api_name="/fine_tune")
    assert job["settings"]["rank"] == 1 and job["state"] in ("queued", "running")
    with pytest.raises(AppError, match="no finished fine-tune yet"):
        animate(client, lora=job["id"])
    end = time.monotonic() + 120
    while client.predict(job["id"], api_name="/job")["state"] != "done":
        assert time.monotonic() < end
        time.sleep(0.2)
    path, _, _ = animate(client, lora=job["id"])
    assert read_metadata(path)["lora"].endswith("1 steps") and "lora" not in read_metadata(animate(client)[0])


def test_same_seed_gives_the_same_frames(client):
    first, again, other = (read_clip(animate(client, seed=seed)[0]).frames for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_a_seed_one_is_drawn_and_told(client):
    _, seed, settings = animate(client, seed=None)
    assert isinstance(seed, int)
    assert settings["seed"] == seed


@pytest.mark.parametrize("prompt", ["", "slowly " * 714 + "zo"])
def test_empty_and_long_prompts_work(client, prompt):
    path, _, settings = animate(client, prompt=prompt)
    assert len(read_clip(path).frames) == 12
    assert settings["prompt"] == prompt


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"motion": 5}, "Motion must be a number from 0 to 2, not 5"),
        ({"motion": "nan"}, "Motion must be a number from 0 to 2, not nan"),
        ({"num_frames": 1}, "Frames must be a whole number from 2 to 128, not 1"),
        ({"scheduler": "euler"}, "Sampler must be ddim or dpm++ or unipc, not euler"),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(client, values, line):
    with pytest.raises(AppError) as refusal:
        animate(client, **values)
    assert str(refusal.value) == line


@pytest.fixture
def http(app) -> Iterator[httpx.Client]:
    """One visitor's calls as they are sent: the cookie is kept."""
    with httpx.Client(base_url=f"{app.url}/gradio_api", trust_env=False, timeout=60) as http:
        yield http


def _call(http: httpx.Client, data: list) -> str:
    """The end of a call of /animate whose JSON is sent as it is, NaN included."""
    body = json.dumps({"data": data})
    event = http.post("/call/animate", content=body, headers={"Content-Type": "application/json"}).json()["event_id"]
    return http.get(f"/call/animate/{event}").text


def test_not_a_number_in_raw_json_is_refused(http):
    path = http.post("/upload", files={"files": ("photo.jpg", PHOTO.read_bytes())}).json()[0]
    photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
    answer = _call(http, [photo, "", "", float("nan"), None, None, None, None, "ddim", None, "1:1", None, False, "trained", ""])
    assert answer.startswith("event: error")
    assert "Motion must be a number from 0 to 2, not nan" in answer


@pytest.mark.parametrize("said", [{"meta": {"_type": "gradio.FileData"}}, {}])
def test_files_of_the_server_are_out_of_reach(http, said):
    photo = {"path": str(PHOTO), **said}
    answer = _call(http, [photo, "", "", 1, 4, None, 2, None, "ddim", None, "1:1", None, False, "trained", ""])
    assert answer.startswith("event: error")


def test_the_table_of_jobs_is_not_served(app):
    for name in ("jobs.sqlite", "timings.jsonl", "lock"):
        answer = httpx.get(f"{app.url}/gradio_api/file={app.outputs / name}", trust_env=False)
        assert answer.status_code in (403, 404)


def _not_an_image(path: Path) -> None:
    path.write_text("a text\n")


def _empty(path: Path) -> None:
    path.touch()


def _truncated(path: Path) -> None:
    path.write_bytes(PHOTO.read_bytes()[:5000])


def _huge(path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(path, "PNG")


@pytest.mark.parametrize("spoil", [_not_an_image, _empty, _truncated, _huge])
def test_a_photo_that_cannot_be_used_is_refused_in_one_line(client, tmp_path, spoil):
    photo = tmp_path / "photo.jpg"
    spoil(photo)
    with pytest.raises(AppError) as refusal:
        animate(client, photo)
    assert "photo.jpg" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_every_job_has_a_folder_of_its_own_with_a_random_name(app, client):
    before = set((app.outputs / "jobs").iterdir())
    animate(client)
    animate(Client(app.url, verbose=False))
    new = set((app.outputs / "jobs").iterdir()) - before
    assert [sorted(clip.name for clip in folder.glob("*.mp4")) for folder in new] == [["drawn-7.mp4", "trip-7.mp4"]] * 2


def test_a_program_sees_its_own_jobs_alone(app):
    mine, other = Client(app.url, verbose=False), Client(app.url, verbose=False)
    job = animate(mine)[2]["job"]
    assert [known["id"] for known in mine.predict(api_name="/jobs")] == [job]
    assert mine.predict(job, api_name="/job")["state"] == "done"
    assert other.predict(api_name="/jobs") == []
    for endpoint in ("/job", "/cancel", "/continue_clip"):
        with pytest.raises(AppError, match="^there is no such job of yours"):
            other.predict(job, api_name=endpoint)


def test_a_clip_can_be_continued_and_compared(client):
    first = animate(client)[2]["job"]
    path, _, settings = client.predict(first, prompt="the camera tilts up", api_name="/continue_clip")
    assert len(read_clip(path).frames) == 23  # the frame in the middle shows once
    assert settings["prompt"] == "the camera tilts up"
    again = animate(client)[2]["job"]
    assert client.predict(first, again, api_name="/compare")["psnr_db"] > 50


def test_a_clip_is_made_by_another_model_and_compared_with_all_that_are_here(client):
    """The app's folder has Stable Diffusion, and so Text2Video-Zero."""
    path, seed, settings = animate(client, video_model="text2video-zero", num_steps=4, prompt="a red house")
    clip = read_clip(path)
    assert (len(clip.frames), clip.fps, seed, settings["model"]) == (4, 4, 7, "Text2Video-Zero on Stable Diffusion 1.5")
    assert settings["notes"] == ["Text2Video-Zero on Stable Diffusion 1.5 alone does not see the photo: it draws what the sentence says"]
    with pytest.raises(AppError, match="^there is no video model 'wan' here; choose text2video-zero$"):
        animate(client, video_model="wan")
    with pytest.raises(AppError, match="^there is no video model"):
        animate(client, video_model="../../etc")
    beside, rows = client.predict(settings["job"], api_name="/compare_models")
    assert [row["model"] for row in rows] == ["TRIP", settings["model"]] and [row["state"] for row in rows] == ["done"] * 2
    assert all(row["seconds"] > 0 and "Photo kept" in row["figures"] for row in rows)
    assert read_clip(beside).frames.shape[2] > 1.8 * read_clip(beside).frames.shape[1]


def test_an_estimate_rests_on_the_clips_before(client):
    animate(client)
    known = client.predict(num_frames=4, num_steps=2, api_name="/estimate")
    assert 0 < known["seconds"] < 60 and known["num_bytes"] > 10**6 and known["count"] >= 1


@pytest.fixture
def refusal(monkeypatch, capsys, tmp_path) -> Callable[..., str]:
    """What app.py says where it ends at once: in this process, as gradio takes seconds to import."""

    def begun(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["app.py", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        answer = capsys.readouterr().err
        assert end.value.code == 2 and "Traceback" not in answer
        return answer

    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):  # which it sets
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return begun


def test_a_second_app_on_the_same_folder_is_refused(app, refusal):
    answer = refusal("--output-dir", app.outputs)
    assert answer.splitlines()[-1].endswith("another app serves this folder; stop it or choose another --output-dir")


def test_a_bad_flag_ends_the_app_with_one_line(no_network):
    """In a process of its own."""
    done = subprocess.run([sys.executable, str(ROOT / "app.py"), "--colour", "blue"], capture_output=True, text=True, env=no_network)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("app.py: ") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--allowed-host", "http://a.b"],
        ["--port", "0"],
        ["--port", "http"],
        ["--auth", "nobody"],
        ["--auth", ":secret"],
        ["--model", "no/such/folder"],
        ["--models", "none"],
    ],
)
def test_a_bad_flag_is_one_line_and_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args(arguments)
    answer = capsys.readouterr().err
    assert end.value.code == 2
    assert answer.startswith(f"app.py: argument {arguments[0]}: ")
    assert len(answer.splitlines()) == 1 and len(answer) < 200


@pytest.mark.skipif(find_spec("mcp") is not None, reason="the package is there")
def test_a_missing_package_for_agents_is_named(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["app.py", "--mcp"])
    with pytest.raises(SystemExit):
        parse(build_parser())
    assert capsys.readouterr().err == 'app.py: --mcp needs a package that is not installed; run: pip install "gradio[mcp]"\n'


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        (["--host", "0.0.0.0"], True),
        (["--host", "192.168.1.7"], True),
        (["--host", "0.0.0.0", "--auth", "trip:secret"], False),
        (["--host", "127.0.0.1"], False),
        (["--host", "localhost"], False),
        ([], False),
    ],
)
def test_a_page_open_to_the_network_is_warned_of_in_one_line(arguments, warned, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
    parse(build_parser())
    answer = capsys.readouterr().err
    assert answer.startswith("WARNING: --host") == warned and len(answer.splitlines()) == int(warned)


def test_a_port_that_is_taken_is_one_line_and_a_link_open_to_all_is_warned_of(app, refusal):
    answer = refusal("--share", "--port", app.url.rpartition(":")[2])  # the taken port keeps it from being shared
    assert answer.startswith("WARNING: --share without --auth")
    assert answer.splitlines()[-1].startswith("app.py: cannot listen on this machine, port ")


def test_another_release_of_the_package_for_agents_is_named(no_network, tmp_path):
    """A package of that name in which Gradio does not find what it needs; in a process of its own."""
    (tmp_path / "mcp").mkdir()
    (tmp_path / "mcp" / "__init__.py").touch()
    command, environment = [sys.executable, str(ROOT / "app.py"), "--mcp"], no_network | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    said = "app.py: --mcp needs another release of its package than the one installed; run: pip install"
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(said) and "Traceback" not in done.stderr
