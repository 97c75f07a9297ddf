"""The real app, running in a process of its own on tiny checkpoints, with no way out to the network."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ROOT = Path(__file__).parents[2]
SLOW = 60_000  # milliseconds that anything on the page may take: every wait is for a state, on a machine however busy
SETTLING = 5  # frames that the browser draws; Gradio takes two at most
DEAD_END = "http://127.0.0.1:9"  # a proxy that is not there
NO_NETWORK = {
    "HTTP_PROXY": DEAD_END,
    "HTTPS_PROXY": DEAD_END,
    "ALL_PROXY": DEAD_END,
    "NO_PROXY": "127.0.0.1,localhost",
    "HF_HUB_OFFLINE": "1",
}

expect.set_options(timeout=SLOW)


@pytest.fixture(scope="session")
def no_network() -> dict[str, str]:
    """Environment in which whatever asks for something outside this machine fails."""
    return os.environ | NO_NETWORK


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a file; a context of its own gives each of them a clean one."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_playwright() as playwright:
        if not found and not Path(playwright.chromium.executable_path).exists():
            pytest.fail("no Chromium found; run tests/install_browser.py, or on Debian: apt-get install chromium")
        browser = playwright.chromium.launch(executable_path=found, headless=True, args=QUIET, timeout=30_000)
        yield browser
        browser.close()


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


@dataclass
class BrowserSession:
    """An open page, and what must stay empty: errors in its console, requests that leave this machine."""

    page: Page
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def reload(self) -> None:
        """Opens the page again; what was under way is broken off, and the browser says so."""
        self.page.reload()
        self.errors.clear()

    def let_move(self) -> None:
        """Opens the page as for somebody who has not asked for less motion."""
        self.page.emulate_media(reduced_motion="no-preference")
        self.reload()


@pytest.fixture
def session(app: App, browser: Browser) -> Iterator[BrowserSession]:
    # what plays and moves takes a core where no graphics card helps: only where a test is about it
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(SLOW)
    session = BrowserSession(context.new_page())
    session.page.on("console", lambda message: session.errors.append(message.text) if message.type == "error" else None)
    session.page.on("pageerror", lambda error: session.errors.append(str(error)))
    session.page.on("request", lambda request: session.outside.append(request.url) if _leaves(request.url, app.url) else None)
    session.page.goto(app.url)
    expect(session.page.locator("#estimate")).to_contain_text("About")  # the model is loaded
    expect(session.page.locator("#chips label")).to_have_count(6)  # and has said what it knows
    yield session
    context.close()
    assert not session.errors
    assert not session.outside


def until(page: Page, true: Callable[[], bool]) -> None:
    """Waits for what the page itself does not show."""
    end = time.monotonic() + SLOW / 1000
    while not true():
        assert time.monotonic() < end, "nothing happened"
        page.wait_for_timeout(20)


def fill(field: Locator, text: str) -> None:
    """Fills a field of a tab or a folded part that may just have been opened.

    A frame or two after Gradio shows such a part it sets everything in it once more, to what it was before: text that came sooner is lost.
    """
    field.wait_for()
    field.evaluate(
        "(_, frames) => new Promise(done => { const next = () => frames-- > 0 ? requestAnimationFrame(next) : done(); next(); })", SETTLING
    )
    field.fill(text)


def _leaves(url: str, home: str) -> bool:
    return not url.startswith((home, "data:", "blob:"))
