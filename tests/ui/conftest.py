"""The real app, running in a process of its own on tiny checkpoints, with no way out to the network."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
DEAD_END = "http://127.0.0.1:9"  # a proxy that is not there
NO_NETWORK = {
    "HTTP_PROXY": DEAD_END,
    "HTTPS_PROXY": DEAD_END,
    "ALL_PROXY": DEAD_END,
    "NO_PROXY": "127.0.0.1,localhost",
    "HF_HUB_OFFLINE": "1",
}


@pytest.fixture(scope="session")
def no_network() -> dict[str, str]:
    """Environment in which whatever asks for something outside this machine fails."""
    return os.environ | NO_NETWORK


@dataclass(frozen=True)
class App:
    """A running app: its address, its folder of clips, and how long it took to answer."""

    url: str
    outputs: Path
    seconds: float


@pytest.fixture(scope="session")
def app(tiny_model: Path, picture_models: Path, no_network: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("app")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    models = ["--model", str(tiny_model), "--models", str(picture_models)]
    command = [sys.executable, str(ROOT / "app.py"), *models, "--port", str(port)]
    environment = no_network | {"GRADIO_TEMP_DIR": str(folder / "cache"), "HF_HOME": str(folder / "hub")}
    begun, log = time.monotonic(), folder / "log.txt"
    with open(log, "w") as sink, subprocess.Popen(command, cwd=folder, env=environment, stdout=sink, stderr=sink) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            while not _answers(url):
                if process.poll() is not None or time.monotonic() - begun > 60:
                    pytest.fail(f"the app did not come up:\n{log.read_text()}")
                time.sleep(0.1)
            yield App(url, folder / "outputs", time.monotonic() - begun)
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
