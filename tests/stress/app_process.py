"""The real app on a tiny random model, in a process of its own with no way out to the network; shared by the scripts beside it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
PHOTO = ROOT / "examples" / "coffee.jpg"
DEAD_END = "http://127.0.0.1:9"  # a proxy that is not there
os.environ |= {
    "HTTP_PROXY": DEAD_END,
    "HTTPS_PROXY": DEAD_END,
    "ALL_PROXY": DEAD_END,
    "NO_PROXY": "127.0.0.1,localhost",
    "HF_HUB_OFFLINE": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
}


def tiny_model(folder: Path) -> Path:
    """Writes a tiny random checkpoint, as the tests have it."""
    from conftest import make_pipeline

    from trip.settings import PRESETS

    make_pipeline(PRESETS["tiny"].model).save_pretrained(folder)
    return folder


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def running(model: Path, outputs: Path, port: int) -> Iterator[str]:
    """The app's address, once it answers; killed with SIGKILL at the end."""
    command = [sys.executable, str(ROOT / "app.py"), "--model", str(model), "--port", str(port), "--output-dir", str(outputs)]
    environment = os.environ | {"GRADIO_TEMP_DIR": str(outputs.parent / "cache")}
    log, begun = outputs.parent / "log.txt", time.monotonic()
    with log.open("a") as sink, subprocess.Popen(command, cwd=outputs.parent, env=environment, stdout=sink, stderr=sink) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            while not answers(url):
                if process.poll() is not None or time.monotonic() - begun > 120:
                    sys.exit(f"the app did not come up:\n{log.read_text()[-3000:]}")
                time.sleep(0.1)
            yield url
        finally:
            process.kill()


def answers(url: str) -> bool:
    """Whether the page is there."""
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
