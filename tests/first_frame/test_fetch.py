"""Downloads from a hub that this test serves itself: whole, broken off and gone on with, gated, misspelt, offline, a full disk."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from trip.cli import main
from trip.first_frame import fetch as fetching
from trip.first_frame.catalogue import CARDS
from trip.first_frame.fetch import fetch
from trip.first_frame.local_models import card_folder, download_hint, find_model
from trip.pipeline import Interrupted

COMMIT = "c0ffee" * 6 + "c0ff"
EDITOR = "timbrooks/instruct-pix2pix"
WEIGHTS = b"\x08\0\0\0\0\0\0\0{}      " + bytes(range(256)) * 2000


def pipeline_files() -> dict[str, bytes]:
    """What lies in a repository of a pipeline: what is wanted, and much that is not."""
    index = {"_class_name": "X", "unet": ["diffusers", "UNet"], "vae": ["diffusers", "VAE"], "scheduler": ["diffusers", "DDIMScheduler"],
             "tokenizer": ["transformers", "CLIPTokenizer"], "safety_checker": ["stable_diffusion", "Checker"]}  # fmt: skip
    files = {
        "model_index.json": json.dumps(index).encode(),
        "README.md": b"# card",
        "vae/config.json": b"{}",
        "tokenizer/merges.txt": b"a b",
    }
    files |= {f"unet/diffusion_pytorch_model{kind}": WEIGHTS for kind in (".fp16.safetensors", ".safetensors", ".bin", ".fp16.bin")}
    files |= {"unet/config.json": b"{}", "vae/config.json": b"{}"}
    files |= {"vae/diffusion_pytorch_model.safetensors": WEIGHTS, "scheduler/scheduler_config.json": b"{}"}
    files |= {"safety_checker/model.safetensors": WEIGHTS, "vae_1_0/diffusion_pytorch_model.safetensors": WEIGHTS}
    return files


WANTED = {
    "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors", "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json", "tokenizer/merges.txt",
}  # fmt: skip


@dataclass
class Hub:
    """The hub as far as a download asks.

    repos      hub id -> file name -> content
    gated      hub ids that ask for a licence first
    break_off  file name -> bytes after which the connection ends, once
    sent       (file name, first byte) of every download
    """

    repos: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    break_off: dict[str, int] = field(default_factory=dict)
    sent: list[tuple[str, int]] = field(default_factory=list)


def handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].strip("/")
            if path.startswith("api/models/"):
                return self._listing("/".join(path.split("/")[2:4]))
            owner, name, _, _, *rest = path.split("/")
            return self._file(f"{owner}/{name}", "/".join(rest))

        def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for key, value in ({"Content_Length": str(len(body)), "X_Repo_Commit": COMMIT} | headers).items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def _refused(self, repo: str) -> bool:
            if repo in hub.gated:
                self._answer(403, X_Error_Code="GatedRepo", X_Error_Message="ask first")
            elif repo not in hub.repos:
                self._answer(401, X_Error_Code="RepoNotFound", X_Error_Message="not found")
            return repo in hub.gated or repo not in hub.repos

        def _listing(self, repo: str) -> None:
            if not self._refused(repo):
                siblings = [{"rfilename": name, "size": len(content)} for name, content in hub.repos[repo].items()]
                body = json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode()
                self._answer(200, body, Content_Type="application/json")

        def _file(self, repo: str, name: str) -> None:
            if self._refused(repo):
                return
            if name not in hub.repos[repo]:
                return self._answer(404, X_Error_Code="EntryNotFound")
            content = hub.repos[repo][name]
            etag = f'"{hashlib.sha256(name.encode() + content).hexdigest()}"'
            first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            if self.command == "HEAD":
                return self._answer(200, ETag=etag, Content_Length=str(len(content)), Accept_Ranges="bytes")
            hub.sent.append((name, first))
            if name in hub.break_off:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: hub.break_off.pop(name)])
                self.wfile.flush()
                self.close_connection = True
                return None
            return self._answer(206 if first else 200, content[first:], ETag=etag)

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub of this test's own, which the hub's client asks."""
    hub = Hub({EDITOR: pipeline_files()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
    monkeypatch.setattr(fetching, "HfApi", lambda: huggingface_hub.HfApi(endpoint=address))
    yield hub
    server.shutdown()
    server.server_close()


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts}


def test_a_pipeline_is_fetched_in_half_precision_without_pickles_and_what_nobody_asks_for(hub, tmp_path):
    reports = []
    folders = fetch("ip2p", tmp_path, lambda *news: reports.append(news))
    assert folders == [tmp_path / "timbrooks--instruct-pix2pix"] and files(folders[0]) == WANTED
    assert reports[-1][0] == reports[-1][1] == sum(len(pipeline_files()[name]) for name in WANTED)
    assert all(done <= total and speed >= 0 for done, total, speed in reports)
    assert find_model("ip2p", tmp_path, "edit").folder == folders[0]


def test_what_is_here_is_not_fetched_again(hub, tmp_path):
    fetch("ip2p", tmp_path, lambda *_: None)
    hub.sent.clear()
    fetch("ip2p", tmp_path, lambda *_: None)
    assert hub.sent == []


def test_without_a_models_folder_the_hubs_cache_takes_it(hub):
    (folder,) = fetch("ip2p", None, lambda *_: None)
    assert card_folder(CARDS["ip2p"], None) == folder and folder.is_relative_to(huggingface_hub.constants.HF_HUB_CACHE)


def test_a_connection_that_breaks_is_taken_up_again(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    name = "unet/diffusion_pytorch_model.fp16.safetensors"
    hub.break_off[name] = 100_000
    (folder,) = fetch("ip2p", tmp_path, lambda *_: None)
    assert files(folder) == WANTED and (folder / name).read_bytes() == WEIGHTS
    assert [sent for sent, _ in hub.sent].count(name) == 2


def test_a_download_that_is_stopped_goes_on_with_what_is_not_whole(hub, tmp_path):
    def stop(done: int, total: int, speed: float) -> None:
        if done > 100_000:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        fetch("ip2p", tmp_path, stop)
    assert card_folder(CARDS["ip2p"], tmp_path) is None
    assert "what is whole of it is kept" in download_hint("ip2p", tmp_path)
    before = [name for name, _ in hub.sent]
    (folder,) = fetch("ip2p", tmp_path, lambda *_: None)
    assert files(folder) == WANTED
    whole, after = before[:-1], [name for name, _ in hub.sent[len(before) :]]  # the last one may have been under way
    assert not set(whole) & set(after) and set(before) | set(after) == set(WANTED) and len(before) < len(WANTED)


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(28, "No space left on device"), "the disk is full; free some space and fetch it again; the files that are whole are kept"),
        (
            ConnectionResetError("reset"),
            "the download broke off (ConnectionResetError: reset); fetch it again; the files",
        ),
    ],
)
def test_what_breaks_a_download_is_told_in_one_line(hub, tmp_path, monkeypatch, error, said):
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(fetching, "hf_hub_download", broken)
    with pytest.raises(ValueError) as refused:
        fetch("ip2p", tmp_path, lambda *_: None)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_gated_model_says_where_to_ask(hub, tmp_path):
    hub.gated.add(EDITOR)
    with pytest.raises(ValueError, match="is gated: accept its terms at https://huggingface.co/timbrooks/instruct-pix2pix, log in"):
        fetch("ip2p", tmp_path, lambda *_: None)


@pytest.mark.parametrize("name", ["nobody/nothing", "so/many bad letters", "x" * 200 + "/y"])
def test_a_misspelt_hub_id_is_told(hub, tmp_path, name):
    with pytest.raises(ValueError, match="no such model on the hub, or it is private; check the spelling"):
        fetch(name, tmp_path, lambda *_: None)


def test_a_name_that_is_in_no_list_is_told(tmp_path):
    with pytest.raises(ValueError, match="there is no model 'sdlx'; choose from sdxl, "):
        fetch("sdlx", tmp_path, lambda *_: None)


def test_a_hub_that_does_not_answer_is_told(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "HfApi", lambda: huggingface_hub.HfApi(endpoint="http://127.0.0.1:9"))
    with pytest.raises(ValueError, match="the download broke off"):
        fetch("ip2p", tmp_path, lambda *_: None)


def test_offline_nothing_is_asked(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        fetch("ip2p", tmp_path, lambda *_: None)
    assert hub.sent == []


def test_a_disk_that_is_too_small_is_told_before_the_download(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "SPARE_BYTES", 2**60)
    with pytest.raises(ValueError, match="free; free some space or choose another --models"):
        fetch("ip2p", tmp_path, lambda *_: None)
    assert {name for name, _ in hub.sent} <= {"model_index.json"}


def test_a_repository_with_pickles_alone_is_not_fetched(hub, tmp_path):
    hub.repos[EDITOR] = {name: content for name, content in pipeline_files().items() if not name.endswith(".safetensors")}
    with pytest.raises(ValueError, match="wanted weights as safetensors in unet/, found none; pickles can run code"):
        fetch("ip2p", tmp_path, lambda *_: None)
    assert not list(tmp_path.rglob("*.bin"))


def test_a_controlnet_brings_its_base_and_an_annotator_its_files(hub, tmp_path):
    hub.repos[CARDS["sd15"].repo] = pipeline_files()
    hub.repos[CARDS["control-sd15-pose"].repo] = {"config.json": b"{}", "diffusion_pytorch_model.safetensors": WEIGHTS}
    hub.repos["lllyasviel/Annotators"] = {name: b"x" for name in (*CARDS["annotator-pose"].files, "netG.pth")}
    assert len(fetch("control-sd15-pose", tmp_path, lambda *_: None)) == 2
    (folder,) = fetch("annotator-pose", tmp_path, lambda *_: None)
    assert files(folder) == set(CARDS["annotator-pose"].files)


def test_the_command_lists_and_fetches(hub, tmp_path, capsys):
    assert main(["models", "--models", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in CARDS if CARDS[name].repo) and listed.count("here: ") == 1  # our own
    assert "about 2.1 GB; MIT; https://huggingface.co/timbrooks/instruct-pix2pix" in listed
    assert main(["models", "--models", str(tmp_path), "--fetch", "ip2p"]) == 0
    assert str(tmp_path) in capsys.readouterr().out
    assert main(["models", "--models", str(tmp_path)]) == 0
    assert f"here: {tmp_path}" in capsys.readouterr().out
    assert main(["models", "--fetch", "nobody/nothing"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("trip: nobody/nothing: there is no such model")
