"""The Fine-tune tab, as a person meets it in Chromium: clips in, a table, a training, its result used and compared."""

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.training.test_finetune import write_moving_square
from tests.ui.conftest import fill

TRAINED = 180_000  # milliseconds that a few steps of the tiny model may take, its process included


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    for phase in range(3):
        write_moving_square(folder / f"jumping_square_{phase}.mp4", phase)
    shutil.copyfile(folder / "jumping_square_0.mp4", folder / "twin.mp4")
    write_moving_square(folder / "two_frames.mp4", 1, num_frames=2)
    return sorted(folder.iterdir())


def test_clips_become_a_model_that_is_used_and_compared(session, clips, request):
    page = session.page
    page.get_by_role("tab", name="Fine-tune").click()
    page.set_input_files("#clips input[type=file]", clips)
    seen = page.locator("#clips-seen")
    expect(seen).to_contain_text("the same as jumping_square_0.mp4")
    expect(seen).to_contain_text("too short: 2 frames")
    page.locator("#mend").click()
    expect(seen).not_to_contain_text("twin.mp4")
    expect(seen.locator("li.good")).to_have_count(3)
    expect(page.locator("#captions")).to_contain_text("jumping square")
    page.locator("#describe").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("not on this machine; run: hf download")
    page.get_by_test_id("toast-close").first.click()

    page.locator("#what-to-train > button").click()
    fill(page.locator("#finetune-max_steps input[type=number]"), "4")
    fill(page.locator("#finetune-sample_every input[type=number]"), "2")
    page.locator("#finetune-preset label", has_text="light").click()
    expect(page.locator("#finetune-rank input[type=number]")).to_have_value("8")
    page.locator("#plan").click()
    expect(page.locator("#plan-words [role=progressbar]")).to_be_visible()
    expect(page.locator("#plan")).to_be_hidden()
    page.locator("#plan-stop").click()
    expect(page.locator("#plan-stop")).to_be_hidden()
    expect(page.locator("#plan-words")).to_have_text("")
    page.locator("#plan").click()
    expect(page.locator("#plan-words")).to_contain_text("for 4 steps", timeout=TRAINED)
    expect(page.locator("#lighter")).to_be_hidden()
    fill(page.locator("#finetune-rank input[type=number]"), "2")
    page.locator("#train").click()
    expect(page.locator("#training")).to_be_visible()
    expect(page.locator("#finetune-facts")).to_contain_text("has the accelerator", timeout=TRAINED)
    expect(page.locator("#progress")).to_contain_text("Done", timeout=TRAINED)
    expect(page.locator("#finetune-facts")).to_contain_text("4 steps")
    expect(page.locator("#samples video")).to_be_visible()
    expect(page.locator("#loss svg, #loss canvas").first).to_be_visible()
    _pictured(page, request, "finetune")

    with page.expect_download() as started:
        page.locator("#download-lora").click()
    assert started.value.suggested_filename == "lora.safetensors"

    page.locator("#compare-base").click()
    expect(page.locator("#base-comparison video")).to_have_count(2)

    page.locator("#use").click()
    expect(page.locator("#lora input")).to_have_value(re.compile("jumping square"))
    expect(page.locator("#prompt textarea")).to_have_value("jumping square")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_is_no_clip_is_refused_in_a_toast(session, tmp_path):
    page = session.page
    (tmp_path / "clips.zip").write_bytes(b"PK no archive")
    page.get_by_role("tab", name="Fine-tune").click()
    page.set_input_files("#clips input[type=file]", tmp_path / "clips.zip")
    expect(page.get_by_test_id("toast-body")).to_contain_text("wanted a .zip that opens")
    page.locator("#train").click()
    expect(page.get_by_test_id("toast-body").last).to_contain_text("no clip to learn from")


def _pictured(page, request, name: str) -> None:
    """Pictures of the page for a person to look at, where TRIP_PICTURES names a folder."""
    import os

    if folder := os.environ.get("TRIP_PICTURES"):
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.screenshot(path=f"{folder}/{name}-{width}.png", full_page=True)
        page.set_viewport_size({"width": 1280, "height": 900})
