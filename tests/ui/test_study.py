"""The page of a human study, by two raters at once in Chromium; the app is killed between two questions, and opened again."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import SLOW, until
from trip.cli import main
from trip.evaluation.study import QUESTIONS, Study
from trip.media import Clip, write_clip

ROOT = Path(__file__).parents[2]
HOSTILE = "<img src=x onerror='window.broken=1'> ${window.broken=1} {{prompt}}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two systems with two clips each, bright and dark, half a second long."""
    folder = tmp_path_factory.mktemp("study")
    for system, level in {"ours": 200, "theirs": 60}.items():
        for name in ("a", "b"):
            (folder / system).mkdir(exist_ok=True)
            write_clip(Clip(np.full((8, 48, 64, 3), level, np.uint8), 16), folder / system / f"{name}.mp4")
            (folder / system / f"{name}.txt").write_text(HOSTILE)
    return folder


@contextmanager
def served(folder: Path, environment: dict[str, str], *more: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """The page in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["study", str(folder / "ours"), str(folder / "theirs"), "--output", str(folder / "study"), "--port", str(port), *more]
    environment = environment | {"GRADIO_TEMP_DIR": str(folder / "cache"), "HF_HOME": str(folder / "hub")}
    log = folder / "log.txt"
    with log.open("w") as sink:
        process = subprocess.Popen([sys.executable, "-m", "trip", *words], cwd=ROOT, env=environment, stdout=sink, stderr=sink)
        try:
            url, begun = f"http://127.0.0.1:{port}", time.monotonic()
            while not answers(url):
                assert process.poll() is None and time.monotonic() - begun < 120, log.read_text()
                time.sleep(0.1)
            yield process, url
        finally:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def opened(browser: Browser, url: str) -> Page:
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    context.set_default_timeout(SLOW)
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(url)
    return page


def test_two_raters_at_once_and_one_that_was_killed(folder, browser, no_network) -> None:
    with served(folder, no_network) as (process, url):
        one, other = opened(browser, url), opened(browser, url)
        for page in (one, other):
            page.locator("#study-begin").click()
            expect(page.locator("#study-progress")).to_contain_text("Pair 1 of 5, question 1 of 3")
        expect(one.locator("#study-given p")).to_have_text(HOSTILE)
        assert one.evaluate("window.broken") is None

        for page in (one, other):  # not before the clips have run once
            assert page.locator("trip-compare").evaluate("e => e.shadowRoot.querySelectorAll('video').length") == 2
            expect(page.locator("#study-left")).to_be_enabled()
        one.keyboard.press("ArrowLeft")
        expect(one.locator("#study-progress")).to_contain_text("Pair 1 of 5, question 2 of 3")
        other.locator("#study-right").click()
        expect(other.locator("#study-progress")).to_contain_text("Pair 1 of 5, question 2 of 3")
        expect(other.locator("#study-right")).to_be_enabled()  # the same clips need not run again
        other.keyboard.press("2")
        expect(other.locator("#study-progress")).to_contain_text("Pair 1 of 5, question 3 of 3")
        study = Study(folder / "study")
        kept = {path.stem: [answer["choice"] for answer in study.answers(path.stem)] for path in study.raters()}
        assert sorted(kept.values()) == [["left"], ["right", "right"]]
        names = one.locator("trip-compare").get_attribute("clips")
        assert "ours" not in names and "theirs" not in names
        for path in ("study.json", *(f"raters/{rater}.json" for rater in kept)):
            assert httpx.get(f"{url}/gradio_api/file={folder / 'study' / path}", trust_env=False).status_code in (403, 404)
        address = one.url
        assert any(f"rater={rater}" in address for rater in kept)
        process.kill()

    with served(folder, no_network) as (process, url):
        again = opened(browser, f"{url}/?{address.partition('?')[2]}")  # in another browser, by the address
        expect(again.locator("#study-progress")).to_contain_text("Pair 1 of 5, question 2 of 3")
        expect(again.locator("#study-left")).to_be_enabled()
        (mine,) = [rater for rater, choices in kept.items() if choices == ["left"]]
        for done in range(1, 5 * len(QUESTIONS)):
            expect(again.locator("#study-left")).to_be_enabled()
            again.keyboard.press("1")
            until(again, lambda done=done: len(Study(folder / "study").answers(mine)) == done + 1)
            number, question = divmod(done + 1, len(QUESTIONS))
            if number < 5:
                expect(again.locator("#study-progress")).to_contain_text(f"Pair {number + 1} of 5, question {question + 1} of 3")
        expect(again.locator("#study-end")).to_contain_text("all answers are kept")
        again.reload()
        expect(again.locator("#study-end")).to_be_visible()
        assert not again.errors + one.errors + other.errors
    study = Study(folder / "study")
    done = {path.stem: len(study.answers(path.stem)) for path in study.raters()}
    assert sorted(done.values()) == [2, 5 * len(QUESTIONS)]
    lines = [json.loads(line) for line in (folder / "study" / "raters" / f"{max(done, key=done.get)}.jsonl").read_text().splitlines()]
    assert [line["trial"] for line in lines] == sorted(line["trial"] for line in lines) and all(line["seconds"] >= 0 for line in lines)
    assert main(["study", "report", str(folder / "study")]) == 0


def test_buttons_wait_for_the_clips_and_a_full_study_says_so(folder, browser, no_network, tmp_path) -> None:
    for system in ("ours", "theirs"):
        (tmp_path / system).mkdir()
        write_clip(Clip(np.full((60, 48, 64, 3), 90, np.uint8), 10), tmp_path / system / "long.mp4")
    with served(tmp_path, no_network, "--raters", "1", "--not-sure") as (_, url):
        page = opened(browser, url)
        page.locator("#study-begin").click()
        expect(page.locator("#study-progress")).to_contain_text("question 1 of 3")
        video = page.locator("trip-compare video").first
        video.evaluate("video => new Promise(done => video.readyState > 1 ? done() : video.addEventListener('loadeddata', done))")
        expect(page.locator("#study-left")).to_be_disabled()  # six seconds of clip are left
        page.keyboard.press("1")
        page.wait_for_timeout(300)
        assert not list((tmp_path / "study" / "raters").glob("*.jsonl"))
        expect(page.locator("#study-not-sure")).to_be_enabled()
        page.keyboard.press("3")
        expect(page.locator("#study-progress")).to_contain_text("question 2 of 3")
        (answered,) = (tmp_path / "study" / "raters").glob("*.jsonl")
        assert json.loads(answered.read_text())["choice"] == "not sure"
        late = opened(browser, url)
        late.locator("#study-begin").click()
        expect(late.get_by_test_id("toast-body")).to_contain_text("all have begun")
