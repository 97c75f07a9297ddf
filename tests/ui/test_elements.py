"""The browser elements, on a small page of their own in Chromium. Every wait has a limit: TIMEOUT, or a timer in the page."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from trip.media import Clip, write_clip
from trip.ui.elements import CHOSEN_ON_LOAD, HEAD, ComparedClip, chosen_box, clip_grid, compare, crop_box, crop_value, player

TIMEOUT = 10_000  # milliseconds
FPS, FRAMES = 8, 16
HOSTILE = """"><img src=x onerror="window.broken=1"> ${window.broken=1} {{label}} `'</trip-player><script>window.broken=1</script>"""


def grey(index: int) -> int:
    """Level of a frame of the rising clip."""
    return 16 + 14 * index


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Clips whose every frame has a grey of its own, and a photo twice as wide as high."""
    folder = tmp_path_factory.mktemp("elements")
    levels = np.array([grey(index) for index in range(FRAMES)], np.uint8)
    for name, values in {"rising": levels, "falling": levels[::-1], "short": levels[:8]}.items():
        write_clip(Clip(np.tile(values[:, None, None, None], (1, 96, 128, 3)), FPS, {}), folder / f"{name}.mp4")
    Image.fromarray(np.tile(np.linspace(40, 220, 400).astype(np.uint8)[None, :, None], (200, 1, 3))).save(folder / "photo.jpg")
    return folder


def _key(event: gr.EventData) -> str:
    return event._data["key"]


@pytest.fixture(scope="module")
def url(folder) -> Iterator[str]:
    def clip(name: str, label: str, frames: int = FRAMES) -> ComparedClip:
        return ComparedClip(folder / f"{name}.mp4", label, FPS, frames)

    with gr.Blocks(analytics_enabled=False) as page:
        one = gr.HTML(player(folder / "rising.mp4", FPS, FRAMES, HOSTILE), elem_id="one")
        gr.HTML(compare([clip("rising", "A"), clip("falling", HOSTILE)]), elem_id="two")
        gr.HTML(compare([clip("rising", "long"), clip("short", "short", 8)]), elem_id="uneven")
        to_come = [ComparedClip("", "To come", still=f"gradio_api/file={folder}/photo.jpg")] * 2
        both = [ComparedClip(folder / f"{name}.mp4", name, FPS, FRAMES, key=f"key of {name}") for name in ("rising", "falling")]
        grid = gr.HTML(clip_grid(to_come, "Clips", "Keep"), elem_id="grid", js_on_load=CHOSEN_ON_LOAD)
        gr.Button("One comes", elem_id="one-comes").click(lambda: clip_grid([both[0], to_come[0]], "Clips", "Keep"), None, grid)
        gr.Button("All come", elem_id="all-come").click(lambda: clip_grid(both, "Clips", "Keep"), None, grid)
        crop = crop_box(crop_value(folder / "photo.jpg"), label=HOSTILE, elem_id="crop")
        told = gr.Textbox(label="Told", elem_id="told")
        grid.click(_key, None, told)
        crop.input(lambda value: json.dumps(chosen_box(value)), crop, told, trigger_mode="always_last")
        gr.Button("Another clip", elem_id="another").click(lambda: player(folder / "falling.mp4", FPS, FRAMES, "new"), None, one)
        gr.Button("Another shape", elem_id="shape").click(lambda: crop_value(folder / "photo.jpg", 4, [0.2, 0.1, 0.4, 0.2]), None, crop)
        gr.Button("Ask", elem_id="ask").click(lambda value: json.dumps(chosen_box(value)), crop, told)
    _, url, _ = page.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, ssr_mode=False, head=HEAD, allowed_paths=[str(folder)]
    )
    yield url
    page.close()


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    context.set_default_timeout(TIMEOUT)
    yield context
    context.close()


@pytest.fixture
def page(context, url) -> Iterator[Page]:
    page, errors = context.new_page(), []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    expect(page.locator("#crop .frame")).to_be_visible(timeout=TIMEOUT)
    yield page
    page.close()
    assert not errors


def shows(element: Locator, *frames: int | None) -> None:
    """Waits until the clips stand still at these frames of the rising clip, by what is drawn."""
    element.page.wait_for_function(
        """([host, wanted]) => {
            const videos = [...host.shadowRoot.querySelectorAll("video")];
            const canvas = new OffscreenCanvas(1, 1).getContext("2d");
            const level = video => (canvas.drawImage(video, 0, 0, 1, 1), canvas.getImageData(0, 0, 1, 1).data[0]);
            return videos.every((video, index) => video.paused && !video.seeking && Math.abs(level(video) - wanted[index]) < 6);
        }""",
        arg=[element.element_handle(), [grey(frame) for frame in frames]],
        timeout=TIMEOUT,
    )


def playing(element: Locator) -> None:
    expect(element.get_by_role("button", name="Pause")).to_be_visible(timeout=TIMEOUT)
    element.page.wait_for_function("host => host.lead.video.currentTime > 0.2", arg=element.element_handle(), timeout=TIMEOUT)


def test_a_clip_plays_at_once_and_steps_to_the_exact_frame(page):
    clip = page.locator("#one trip-player")
    playing(clip)
    assert clip.locator("video").evaluate("video => [video.muted, video.loop]") == [True, True]
    slider = clip.get_by_role("slider", name="Frame")
    slider.focus()
    page.keyboard.press("Home")
    shows(clip, 0)
    for frame in range(1, FRAMES):
        page.keyboard.press("ArrowRight")
        shows(clip, frame)
    page.keyboard.press("ArrowRight")
    shows(clip, FRAMES - 1)
    expect(clip.locator("output")).to_have_text("frame 16 / 16")
    page.keyboard.press("ArrowLeft")
    shows(clip, FRAMES - 2)
    clip.get_by_role("button", name="Previous frame").click()
    shows(clip, FRAMES - 3)
    page.keyboard.press("End")
    shows(clip, FRAMES - 1)
    slider.fill("4")
    shows(clip, 4)
    expect(clip.locator("output")).to_have_text("frame 5 / 16")
    clip.get_by_role("button", name="Speed 1×").click()
    page.keyboard.press("Space")
    expect(clip.get_by_role("button", name="Pause")).to_be_visible()
    assert clip.locator("video").evaluate("video => video.playbackRate") == 0.5
    page.keyboard.press("Space")
    expect(clip.get_by_role("button", name="Play")).to_be_visible()
    clip.get_by_role("button", name="Full screen").click()
    page.wait_for_function("host => document.fullscreenElement === host", arg=clip.element_handle(), timeout=TIMEOUT)
    page.evaluate("document.exitFullscreen()")


def test_a_new_clip_takes_the_place_of_the_old_one(page):
    clip = page.locator("#one trip-player")
    playing(clip)
    page.locator("#another").click()
    expect(clip.locator("figcaption")).to_have_text("new")
    clip.get_by_role("slider", name="Frame").focus()
    page.keyboard.press("Home")
    shows(clip, FRAMES - 1)


def test_two_clips_stay_together(page):
    pair = page.locator("#two trip-compare")
    playing(pair)
    drift = pair.evaluate(
        """host => new Promise(resolve => {
            const [a, b] = host.tracks.map(track => track.video);
            const drifts = [], until = performance.now() + 3000;
            const look = () => {
                drifts.push(Math.abs(a.currentTime - b.currentTime));
                if (performance.now() < until) requestAnimationFrame(look); else resolve(Math.max(...drifts));
            };
            setTimeout(() => resolve(99), 6000);
            look();
        })"""
    )
    assert drift < 0.5 / FPS
    pair.get_by_role("button", name="Pause").click()
    frame = int(pair.locator("output").inner_text().split()[1]) - 1
    shows(pair, frame, FRAMES - 1 - frame)
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    shows(pair, 2, FRAMES - 3)
    pair.get_by_role("slider", name="Frame").fill("11")
    shows(pair, 11, 4)


def test_a_grid_fills_as_clips_come_keeps_them_together_and_tells_which_one_was_chosen(page):
    grid = page.locator("#grid trip-compare")
    expect(grid.locator("img")).to_have_count(2)
    page.keyboard.press("Space")  # there is nothing to play yet
    for name, count in (("#one-comes", 1), ("#all-come", 2)):
        page.locator(name).click()
        expect(grid.locator("video")).to_have_count(count)
        expect(grid.get_by_role("button", name="Keep")).to_have_count(count)
        playing(grid)
    grid.get_by_role("slider", name="Frame").fill("5")
    shows(grid, 5, FRAMES - 6)
    grid.get_by_role("button", name="Keep: falling").press("Space")
    expect(page.locator("#told textarea")).to_have_value("key of falling")


def test_a_shorter_clip_holds_its_last_frame(page):
    pair = page.locator("#uneven trip-compare")
    playing(pair)
    pair.get_by_role("slider", name="Frame").focus()
    page.keyboard.press("End")
    shows(pair, FRAMES - 1, 7)
    page.keyboard.press("Space")
    page.wait_for_function("host => host.lead.video.currentTime < 0.5", arg=pair.element_handle(), timeout=TIMEOUT)
    page.wait_for_function("host => host.tracks[1].video.currentTime > 0.2", arg=pair.element_handle(), timeout=TIMEOUT)


def test_a_wipe_shows_the_left_of_one_and_the_right_of_the_other(page):
    pair = page.locator("#two trip-compare")
    playing(pair)
    pair.get_by_role("slider", name="Frame").focus()
    page.keyboard.press("Home")
    shows(pair, 0, FRAMES - 1)
    pair.get_by_role("button", name="Wipe").click()
    stage = pair.locator(".stage video").last
    for share, act in ((0.5, lambda: None), (0.25, lambda: pair.get_by_role("slider", name="Border").fill("25")), (0.8, None)):
        box = stage.bounding_box()
        if act:
            act()
        else:
            page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 50)
            page.mouse.down()
            page.mouse.move(box["x"] + share * box["width"], box["y"] + 50, steps=3)
            page.mouse.up()
        row = np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("L")).astype(int)
        row = row[row.shape[0] // 2]
        border = round(share * len(row))
        assert abs(row[20 : border - 8] - grey(0)).max() < 8
        assert abs(row[border + 8 : -20] - grey(FRAMES - 1)).max() < 8
    shows(pair, 0, FRAMES - 1)


def told(page: Page) -> list[float]:
    value = page.locator("#told textarea").input_value()
    return json.loads(value) if value else []


def reaches(page: Page, *box: float) -> None:
    """Waits until Python was told this box, to a hundredth."""
    page.wait_for_function(
        """wanted => {
            const told = JSON.parse(document.querySelector("#told textarea").value || "[]");
            return told.length === 4 && told.every((side, index) => Math.abs(side - wanted[index]) < 0.01);
        }""",
        arg=list(box),
        timeout=TIMEOUT,
    )


def test_the_frame_starts_as_the_largest_in_the_middle(page):
    page.locator("#ask").click()
    reaches(page, 0.25, 0, 0.5, 1)


def test_the_frame_moves_by_keys_and_stays_inside(page):
    page.locator("#crop .frame").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    reaches(page, 0.3, 0, 0.5, 1)
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowDown")
    reaches(page, 0.5, 0, 0.5, 1)
    for _ in range(10):
        page.keyboard.press("-")
    reaches(page, 0.625, 0.25, 0.25, 0.5)
    for _ in range(3):
        page.keyboard.press("Shift+ArrowUp")
    reaches(page, 0.625, 0, 0.25, 0.5)
    for _ in range(12):
        page.keyboard.press("+")
    reaches(page, 0.5, 0, 0.5, 1)
    page.locator("#crop input[type=range]").fill("40")
    reaches(page, 0.65, 0.3, 0.2, 0.4)


def test_the_frame_moves_and_scales_by_dragging_and_stays_inside(page):
    page.locator("#crop .photo").scroll_into_view_if_needed()
    box = page.locator("#crop .photo").bounding_box()

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        for act, (x, y) in ((page.mouse.down, start), (page.mouse.up, end)):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
            act()

    drag((0.5, 0.5), (0.6, 0.7))
    reaches(page, 0.35, 0, 0.5, 1)
    drag((0.36, 0.02), (0.61, 0.52))
    reaches(page, 0.6, 0.5, 0.25, 0.5)
    drag((0.7, 0.7), (-0.3, -0.5))
    reaches(page, 0, 0, 0.25, 0.5)
    drag((0.245, 0.49), (1.4, 1.4))
    reaches(page, 0, 0, 0.5, 1)
    drag((0.005, 0.01), (0.9, 0.9))
    reaches(page, 0.45, 0.9, 0.05, 0.1)


def test_python_can_set_the_frame(page):
    page.locator("#shape").click()
    page.wait_for_function("host => host.box && host.box[0] > 0.199 && host.box[0] < 0.201", arg=page.locator("trip-crop").element_handle())
    page.locator("#ask").click()
    reaches(page, 0.2, 0.1, 0.4, 0.2)
    page.locator("#crop").get_by_role("button", name="Reset").click()
    reaches(page, 0, 0.25, 1, 0.5)


def test_hostile_labels_are_shown_as_text(page):
    expect(page.locator("#one figcaption")).to_have_text(HOSTILE)
    expect(page.locator("#two figcaption").last).to_have_text(HOSTILE)
    expect(page.locator("#crop .title")).to_have_text(HOSTILE)
    assert page.evaluate("window.broken") is None


def test_nothing_plays_by_itself_where_motion_is_to_be_reduced(page, url):
    page.emulate_media(reduced_motion="reduce")
    page.goto(url)
    shows(page.locator("#one trip-player"), 0)
    page.wait_for_timeout(300)
    shows(page.locator("#two trip-compare"), 0, FRAMES - 1)


def test_a_phone_has_room_and_targets_are_large(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for target in page.locator("trip-player button, trip-compare button, trip-crop button").all():
        if target.is_visible():
            box = target.bounding_box()
            assert min(box["width"], box["height"]) >= 44


@pytest.mark.parametrize(
    "box", [[0, 0, 1], [0, 0, 2, 1], [-0.1, 0, 1, 1], [0, 0, 0, 1], [0, 0, float("nan"), 1], ["0", 0, 1, 1], "abcd", [True, 0, 1, 1]]
)
def test_a_box_that_is_none_is_refused(box):
    with pytest.raises(ValueError, match="place the frame again"):
        chosen_box({"box": box})


def test_no_box_means_the_middle():
    assert chosen_box(None) is chosen_box("") is chosen_box({"photo": "x", "box": None}) is None
    assert chosen_box({"box": [0.5, 0, 0.5 + 1e-9, 1]}) == (0.5, 0.0, 0.5, 1)
