"""First frames through the running app: the endpoints for programs, and the tabs as a person meets them in Chromium."""

import re
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Page, expect

from tests.ui.conftest import fill
from tests.ui.test_browser import PHOTO
from trip.media import read_clip, read_metadata
from trip.settings import PaintSettings
from trip.ui.panels.models import cards_of
from trip.ui.panels.pictures import model_control
from trip.ui.studio import Studio

PAINTERS = (*["here$"] * 4, *["5.1 GB to get$"] * 2)
QUICK = {"num_steps": 2, "size": 64, "seed": 3}


@pytest.fixture(scope="module")
def client(app) -> Client:
    return Client(app.url, verbose=False)


# programs


def test_words_become_a_picture_and_a_clip(client):
    clip, picture, info = client.predict("a red house", motion_prompt="the camera pans right", api_name="/text_to_video", **QUICK)
    assert len(read_clip(clip).frames) == 12 and read_metadata(clip)["prompt"] == "the camera pans right"
    assert Image.open(picture).size == (64, 64)
    assert (info["picture"]["seed"], info["picture"]["picture_model"], info["clip"]["prompt"]) == (3, "sdxl", "the camera pans right")


def test_a_photo_is_edited_and_animated(client):
    clip, picture, info = client.predict(handle_file(PHOTO), "make it winter", api_name="/edit_and_animate", **QUICK)
    assert len(read_clip(clip).frames) == 12 and Image.open(picture).width > Image.open(picture).height
    assert info["notes"] == [] and info["picture"]["image_guidance"] == 1.5


def test_a_control_map_needs_no_model(client):
    found, notes = client.predict(handle_file(PHOTO), "canny", size=64, api_name="/control_map")
    assert set(np.unique(np.asarray(Image.open(found)))) == {0, 255} and notes == []


@pytest.mark.parametrize(
    "endpoint, arguments, said",
    [
        ("/text_to_video", {"prompt": "x", "picture_model": "sdxl-lightning-8"}, "--fetch sdxl-lightning-8"),
        ("/text_to_video", {"prompt": "x", "picture_model": "../../etc"}, "there is no model"),
        ("/text_to_video", {"prompt": "x", "guidance_scale": 99}, "Guidance must be a number from 1 to 30"),
        ("/edit_and_animate", {"image": handle_file(PHOTO), "instruction": " "}, "there is no instruction yet"),
        ("/control_map", {"image": handle_file(PHOTO), "annotator": "x-ray"}, "Annotator must be canny"),
        ("/control_map", {"image": handle_file(PHOTO), "annotator": "pose"}, "--fetch annotator-pose"),
    ],
)
def test_what_cannot_be_made_is_told_in_one_line(client, endpoint, arguments, said):
    with pytest.raises(AppError) as refused:
        client.predict(api_name=endpoint, **arguments)
    assert said in str(refused.value) and "\n" not in str(refused.value)


# people


def _small(page: Page, prefix: str) -> None:
    """Two steps at 64 pixels."""
    page.locator(f"#{prefix}-advanced > button").click()
    fill(page.locator(f"#{prefix}-num_steps input"), "2")
    fill(page.locator(f"#{prefix}-size input"), "64")


def test_words_become_pictures_to_choose_from_and_one_a_clip(session):
    page = session.page
    page.get_by_role("tab", name="Text to video").click()
    paint, get, lacks = (page.locator(name) for name in ("#paint", "#paint-get", "#paint-lacks"))
    page.locator("#paint-model input").click()
    expect(page.get_by_role("option")).to_have_text([re.compile(what) for what in PAINTERS])
    page.get_by_role("option", name="SDXL-Lightning, 2 steps").click()
    expect(lacks).to_have_text("SDXL-Lightning, 2 steps: not on this machine yet, about 5.1 GB; get it first")
    expect(paint).to_be_disabled()
    get.click()
    expect(page.locator("#progress .trip-failed")).to_contain_text("HF_HUB_OFFLINE is set")
    _choose(page, "#paint-model", "Stable Diffusion XL 1.0")
    expect(get).to_be_hidden()
    expect(paint).to_be_enabled()
    fill(page.locator("#paint-prompt textarea"), "a red house under a blue sky")
    _small(page, "paint")
    page.locator("#paint").click()
    expect(page.locator("#paint-pictures img")).to_have_count(2)
    expect(page.locator("#paint-picture img")).to_be_visible()
    before = page.locator("#paint-picture img").get_attribute("src")
    page.locator("#paint-pictures button.thumbnail-item").nth(1).click()
    page.wait_for_function("before => document.querySelector('#paint-picture img').src !== before", arg=before)
    page.locator("#paint-keep").click()
    expect(page.locator("#paint-seed input")).not_to_have_value("")
    page.locator("#paint-animate").click()
    expect(page.locator("#clip video")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("a red house under a blue sky")
    # where the box is ticked, it goes on to the clip by itself
    fill(page.locator("#paint-prompt textarea"), "a house by the sea")
    page.locator("#paint-at-once input").check()
    page.locator("#paint").click()
    expect(page.locator("#facts")).to_contain_text("a house by the sea")
    page.locator("#models > button").click()
    expect(page.locator("#models-list")).to_contain_text("not here, about 5.1 GB")
    expect(page.locator("#models-list li.here").first).to_contain_text("on this machine")


def test_a_photo_its_edit_and_its_drawing_move_side_by_side(session):
    page = session.page
    page.get_by_role("tab", name="Text to video").click()
    page.set_input_files("#paint-picture input[type=file]", PHOTO)
    expect(page.locator("#paint-picture img")).to_be_visible()
    page.locator("#paint-send").click()
    expect(page.locator("#edit-photo img")).to_be_visible()
    expect(page).to_have_title("Edit · TRIP: photo to clip")
    _choose(page, "#edit-model", "Embedded editor")
    words, toast = page.locator("#edit-instruction textarea, #edit-instruction input"), page.get_by_test_id("toast-body")
    fill(words, "add a dog")
    page.locator("button#edit").click()
    expect(toast).to_contain_text("the embedded editor cannot do 'add a dog'")
    page.get_by_role("tab", name="Animate").click()
    expect(toast).to_have_count(0)  # what went wrong stays on its own tab
    page.get_by_role("tab", name="Edit").click()
    page.locator("#edit-chips").get_by_text("Winter").click()
    expect(words).to_have_value("make it winter")
    _choose(page, "#edit-model", "InstructPix2Pix · here")
    _small(page, "edit")
    page.locator("button#edit").click()
    expect(page.locator("#before-after")).to_be_visible()
    # a model that is not here is told before and after it is asked for, and the page goes on
    page.get_by_role("tab", name="Over a control map").click()
    _choose(page, "#control-annotator", "pose")
    expect(page.locator("#control-lacks")).to_contain_text("not on this machine yet, about 723 MB; get it first")
    page.locator("#control-map-make").click()
    failed = page.locator("#progress .trip-failed")
    expect(failed).to_contain_text("--fetch annotator-pose")
    page.get_by_role("tab", name="Animate").click()
    expect(failed).to_be_hidden()
    page.get_by_role("tab", name="Edit").click()
    expect(failed).to_be_visible()
    page.get_by_role("tab", name="Over a control map").click()
    _choose(page, "#control-annotator", "canny")
    expect(page.locator("#control-lacks")).to_be_hidden()
    # the map is shown before it is drawn over
    page.locator("#control-map-make").click()
    expect(page.locator("#progress")).to_contain_text("Done")
    fill(page.locator("#control-prompt textarea, #control-prompt input"), "a tiger")
    _small(page, "control")
    before = page.locator("#edit-picture img").get_attribute("src")
    page.locator("button#control").click()
    expect(page.locator("#edit-picture img")).not_to_have_attribute("src", before)
    fill(page.locator("#edit-motion textarea, #edit-motion input"), "the camera zooms in")
    page.locator("#figure9").click()
    clips = page.locator("#figure-clips video")
    expect(clips).to_have_count(3)
    expect(page.locator("#figure-missing")).to_be_hidden()
    assert not session.errors
    session.reload()
    expect(clips).to_have_count(3)
    expect(page.locator("#figure-clips")).to_contain_text("edit: make it winter")


def _choose(page: Page, dropdown: str, option: str) -> None:
    page.locator(f"{dropdown} input").click()
    page.get_by_role("option", name=option).click()


def test_every_model_has_a_card_with_licence_size_and_source(tmp_path: Path):
    studio = Studio(None, tmp_path, models=tmp_path)
    shown = cards_of(studio)
    studio.close()
    assert shown.count("<li") == shown.count("not here, about") + shown.count("on this machine") > 25
    assert "InstructPix2Pix" in shown and "MIT" in shown and 'href="https://huggingface.co/timbrooks/instruct-pix2pix"' in shown


def test_the_smallest_model_to_get_comes_first_with_all_that_it_needs(tmp_path: Path):
    studio = Studio(None, tmp_path, models=tmp_path)
    with gr.Blocks():
        box, _ = model_control(studio, PaintSettings, "paint")
    studio.close()
    sizes = [label.partition(" · ")[2] for label, _ in box.choices]
    assert sizes == ["2.1 GB to get", "6.9 GB to get", "6.9 GB to get", *["12.1 GB to get"] * 3] and box.value == "sd15"
