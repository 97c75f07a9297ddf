"""The page, as a person meets it in Chromium."""

import base64
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.test_sound import loudness, tone
from tests.ui.conftest import fill, until
from trip.media import read_clip, read_metadata

PHOTO = Path(__file__).parents[2] / "examples" / "chelsea.jpg"


EMPTY = "An example, made by the embedded model: “the camera travels left past the scene”"


def _run(page: Page, num_steps: int = 2) -> None:
    page.locator("#options > button").click()
    fill(page.locator("#num_steps input"), str(num_steps))
    page.locator("#run").click()


def test_an_uploaded_photo_becomes_a_playing_video(session, tmp_path):
    page = session.page
    session.let_move()
    page.set_input_files("#photo input[type=file]", PHOTO)
    page.locator("#prompt textarea").fill("the camera pans right")
    expect(page.locator("#crop img")).to_be_visible()
    _run(page)
    video = page.locator("#clip video")
    expect(video).to_be_visible()
    page.wait_for_function("document.querySelector('#clip trip-player').shadowRoot.querySelector('video').currentTime > 0.2")
    assert video.evaluate("video => [video.paused, video.loop]") == [False, True]
    expect(page.locator("#progress")).to_contain_text("Done")
    expect(page.locator("#facts")).to_contain_text("the camera pans right")
    expect(page.locator("#run")).to_be_enabled()
    clips = {name: _downloaded(page, name, tmp_path) for name in ("MP4", "GIF", "WebP")}
    measured, settings = page.locator("#facts summary").all_inner_texts()
    assert re.fullmatch(r"It moves by [\d.]+ % of the width and (keeps|loses) .*the photo.*", measured)
    seed = settings.split()[1]
    for name, path in clips.items():
        assert path.suffix == f".{name.lower()}"
        assert str(read_metadata(path)["seed"]) == seed
    assert len(read_clip(clips["MP4"]).frames) == 12
    page.locator("#drawn input").check()
    expect(page.locator("#clip trip-player")).to_have_attribute("frames", "4")
    page.locator("#drawn input").uncheck()
    expect(page.locator("#clip trip-player")).to_have_attribute("frames", "12")


def _downloaded(page: Page, name: str, folder: Path) -> Path:
    page.locator("#formats label", has_text=name).click()
    expect(page.locator("#download")).to_contain_text(f"Download {name}, ")
    with page.expect_download() as started:
        page.locator("#download").click()
    return Path(shutil.copy(started.value.path(), folder / started.value.suggested_filename))


def test_an_error_says_what_to_do_and_leaves_the_form_as_it_was(session):
    page = session.page
    page.locator("#prompt textarea").fill("the clouds drift to the left")
    _run(page)
    expect(page.get_by_test_id("toast-body")).to_contain_text("there is no photo yet: choose one first")
    expect(page.locator("#prompt textarea")).to_have_value("the clouds drift to the left")
    expect(page.locator("#run")).to_be_enabled()
    expect(page.locator("#stop")).to_be_hidden()


def test_more_photos_are_used_once(session):
    page = session.page
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#crop img")).to_be_visible()
    page.locator("#options > button").click()
    fill(page.locator("#num_steps input"), "1")
    page.set_input_files("#more-photos input[type=file]", [PHOTO, PHOTO.with_name("coffee.jpg")])
    expect(page.locator("#more-photos")).to_contain_text("coffee")
    page.locator("#run").click()
    expect(page.locator("#more-photos")).not_to_contain_text("coffee")
    expect(page.locator("#progress")).to_contain_text("2 of 2 done")
    expect(page.locator("#grid video")).to_have_count(2)
    page.locator("#grid").get_by_role("button", name="Open: coffee").click()
    expect(page.locator("#clip video")).to_be_visible()
    expect(page.locator("#grid")).to_be_hidden()
    page.locator("#together").click()
    expect(page.locator("#grid video")).to_have_count(2)
    expect(page.locator("#more-photos")).not_to_contain_text("coffee")


def test_another_model_makes_a_clip_and_all_that_are_here_are_compared(session):
    page = session.page
    page.set_input_files("#photo input[type=file]", PHOTO)
    fill(page.locator("#prompt textarea"), "a red house, which no weights of ours know")
    page.locator("#options > button").click()
    page.locator("#video-model input").click()
    page.get_by_role("option", name="Text2Video-Zero on Stable Diffusion 1.5, by others").click()
    expect(page.locator("#estimate")).to_contain_text(re.compile("Its first clip|Its clips"))
    fill(page.locator("#num_steps input"), "4")
    page.locator("#run").click()
    expect(page.locator("#clip video")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("alone does not see the photo")
    page.locator("#compare-models").click()
    expect(page.locator("#figure-table tbody tr")).to_have_count(2)
    expect(page.locator("#figure-table tbody")).to_contain_text("TRIP")
    expect(page.locator("#figure-clips video")).to_have_count(2)
    assert re.fullmatch(r"[\d.]+", page.locator("#figure-table tbody tr").first.locator("td").first.inner_text())


def test_of_several_clips_one_is_kept_and_one_stop_ends_all(session):
    page = session.page
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#crop img")).to_be_visible()
    _with_steps(page, 2)
    page.locator("#run").click()
    expect(page.locator("#clip video")).to_be_visible()
    page.locator("#best").click()
    expect(page.locator("#progress")).to_contain_text("4 of 4 done")
    session.reload()
    expect(page.locator("#grid video")).to_have_count(4)
    page.locator("#grid").get_by_role("button", name="Keep this one").nth(1).click()
    expect(page.locator("#clip video")).to_be_visible()
    expect(page.locator("#together")).to_be_hidden()
    page.locator("#history > button").click()
    expect(page.locator("#cards li")).to_have_count(2)
    page.locator("#undo").click()
    expect(page.locator("#grid video")).to_have_count(4)

    _with_steps(page, 1000)
    page.locator("#options > button").click()
    page.set_input_files("#more-photos input[type=file]", [PHOTO, PHOTO.with_name("coffee.jpg")])
    expect(page.locator("#more-photos")).to_contain_text("coffee")
    page.locator("#run").click()
    expect(page.locator("#progress")).to_contain_text(re.compile(r"0 of 2 done. Step \d+ of 1000"))
    page.locator("#stop", has_text="Stop all").click()
    expect(page.locator("#progress")).to_contain_text("0 of 2 done, 2 not made")


def test_a_number_left_empty_is_sent_as_nothing_also_before_the_app_has_answered(session):
    page, asked = session.page, []
    page.route("**/queue/join*", lambda route: asked.append(route.request.post_data_json))  # and never answered
    page.reload()
    page.locator("#run").click()
    button = page.evaluate("gradio_config.components.find(one => one.props.elem_id === 'run').id")

    def forms() -> list[list]:
        return [call["data"] for call in asked if call["trigger_id"] == button]

    until(page, forms)
    assert len(forms()) == 1 and 0 not in [value for value in forms()[0] if type(value) is int]
    session.errors.clear()  # the page complains of what was never answered


def test_a_run_outlives_a_reload_stop_ends_it_at_once_and_the_next_one_works(session, app):
    page = session.page
    page.set_input_files("#photo input[type=file]", PHOTO)
    _run(page, num_steps=1000)
    expect(page.locator("#progress img")).to_be_visible()
    page.wait_for_url(re.compile(r"\?job="))
    session.reload()
    expect(page.locator("#progress")).to_contain_text(re.compile(r"Step \d+ of 1000"))
    page.locator("#stop").click()
    expect(page.locator("#progress")).to_contain_text("Stopped")
    expect(page.locator("#run")).to_be_enabled()
    until(page, lambda: not list(app.outputs.glob("jobs/*/running")))
    page.set_input_files("#photo input[type=file]", PHOTO)
    _run(page)
    expect(page.locator("#clip video")).to_be_visible()


def test_a_click_on_an_example_fills_the_form_and_runs(session):
    page = session.page
    page.locator("#options > button").click()
    fill(page.locator("#num_steps input"), "2")
    card = page.locator("#examples button").nth(1)
    prompt = card.inner_text()
    card.click()
    expect(page.locator("#prompt textarea")).to_have_value(prompt)
    expect(page.locator("#clip video")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text(prompt)


def _frame(page: Page) -> str:
    return page.locator("#clip trip-player").evaluate("player => player.shadowRoot.textContent.match(/frame (\\d+)/)[1]")


def _drop(page: Page, place: str, file: Path, kind: str = "video/mp4") -> None:
    """A file is let go over a part of the page."""
    moved = page.evaluate_handle(
        """([data, name, type]) => {
            const moved = new DataTransfer();
            moved.items.add(new File([Uint8Array.from(atob(data), letter => letter.charCodeAt(0))], name, { type }));
            return moved;
        }""",
        [base64.b64encode(file.read_bytes()).decode(), file.name, kind],
    )
    page.dispatch_event(place, "drop", {"dataTransfer": moved})


def test_a_job_outlives_a_reload_and_its_clip_goes_on(session, tmp_path):
    """Run, reload at once, step by keyboard, continue, compare, and fill the form in from the file, let go anywhere."""
    page = session.page
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#crop img")).to_be_visible()
    page.locator("#crop .frame").press("-")
    place = page.locator("#crop .frame").get_attribute("style")
    page.locator("#prompt textarea").fill("the camera pans left")
    _run(page, num_steps=12)
    page.wait_for_url(re.compile(r"\?job="))
    session.reload()
    expect(page.locator("#clip video")).to_be_visible()
    expect(page.locator("#crop img")).to_be_visible()  # and so does the form
    expect(page.locator("#crop .frame")).to_have_attribute("style", place)
    expect(page.locator("#prompt textarea")).to_have_value("the camera pans left")
    page.locator("#options > button").click()
    expect(page.locator("#num_steps input")).to_have_value("12")
    page.locator("#options > button").click()

    page.locator("#clip trip-player").locator("button").first.focus()
    page.keyboard.press("Home")
    assert _frame(page) == "1"
    page.keyboard.press("ArrowRight")
    assert _frame(page) == "2"

    first = _downloaded(page, "MP4", tmp_path)
    page.locator("#next-prompt textarea").fill("the camera tilts up")
    page.locator("#continue").click()
    expect(page.locator("#facts")).to_contain_text("the camera tilts up")
    assert len(read_clip(_downloaded(page, "MP4", tmp_path)).frames) == 23

    page.locator("#history > button").click()
    for index in (0, 1):
        pick = page.locator("#cards").get_by_role("button", name="Compare").nth(index)
        pick.click()
        expect(pick).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#comparison video")).to_have_count(2)

    page.locator("#last-frame").click()
    expect(page.locator("#crop img")).to_have_attribute("src", re.compile(r"/last\.png$"))
    expect(page.locator("#crop output")).to_have_text("100 × 100 %")
    _drop(page, "#photo-box", first)
    expect(page.locator("#crop output")).to_have_text("95 × 95 %")
    expect(page.locator("#prompt textarea")).to_have_value("the camera pans left")
    page.locator("#options > button").click()
    expect(page.locator("#num_steps input")).to_have_value("12")
    expect(page.locator("#crop img")).to_be_visible()


def test_presets_fill_the_form_and_own_ones_are_kept_in_the_browser(session):
    page = session.page
    page.locator("#options > button").click()
    page.locator("#preset input").click()
    page.get_by_role("option", name="Fast: 2 steps").click()
    expect(page.locator("#num_steps input")).to_have_value("2")
    fill(page.locator("#num_steps input"), "7")
    page.locator("#num_steps input").press("Tab")
    fill(page.locator("#preset-name textarea, #preset-name input"), "seven <b>steps</b>")
    before = page.evaluate("localStorage.getItem('trip-presets')")
    page.locator("#preset-keep").click()
    expect(page.locator("#preset input")).to_have_value("seven <b>steps</b>")
    page.wait_for_function("before => localStorage.getItem('trip-presets') !== before", arg=before)
    session.reload()
    page.locator("#options > button").click()
    page.locator("#preset input").click()
    page.get_by_role("option", name="seven <b>steps</b>").click()
    expect(page.locator("#num_steps input")).to_have_value("7")


def test_a_waiting_job_can_be_removed(session):
    page = session.page
    page.set_input_files("#photo input[type=file]", PHOTO)
    _run(page, num_steps=1000)
    expect(page.locator("#progress")).to_contain_text(re.compile(r"Step \d+ of 1000"))
    page.locator("#prompt textarea").fill("the clouds drift to the right")
    page.locator("#run").click()
    waiting = page.locator(".trip-queue li", has_text="the clouds drift to the right")
    expect(waiting).to_be_visible()
    waiting.get_by_role("button", name="Pause").click()
    waiting.get_by_role("button", name="Go on").click()
    waiting.get_by_role("button", name="Remove").click()
    expect(waiting).to_have_count(0)
    expect(page.locator("#progress")).to_contain_text(re.compile("Cancelled|Step"))
    page.locator("#stop, .trip-queue button").first.click()
    expect(page.locator("#queue")).to_be_hidden()


CONTROLS = """() => {
    const all = (root) => [...root.querySelectorAll("*")].flatMap(one => [one, ...(one.shadowRoot ? all(one.shadowRoot) : [])]);
    const kinds = "button, input, textarea, select, summary, a[href], [role=tab], [role=slider], [tabindex='0']";
    const seen = all(document).filter(one => one.matches(kinds) && one.checkVisibility()).filter(one => {
        const { left, top, width, height } = one.getBoundingClientRect();
        return one.contains(one.getRootNode().elementFromPoint(left + width / 2, top + height / 2));
    });
    const counted = seen.filter(one => !(one.getRootNode().host ?? one).closest("#chips, #example, #examples"));
    return counted.map(one => one.ariaLabel || one.textContent.trim() || one.tagName);
}"""  # on the first screen, chips and examples aside


def test_the_first_screen_says_what_one_gets_shows_it_and_has_few_controls(session):
    page = session.page
    session.let_move()
    expect(page.locator("#heading")).to_have_text("Bring a photo, say what moves, get a clip")
    expect(page.locator("#progress")).to_have_text(EMPTY)
    video = page.locator("#result video")
    page.wait_for_function("document.querySelector('#example trip-player').shadowRoot.querySelector('video').currentTime > 0.1")
    assert page.evaluate(SHOWN, ["#photo", "#prompt", "#run", "#example", "#examples"]) == []
    controls = page.evaluate(CONTROLS)
    assert len(controls) <= 8, controls
    for picture in page.locator("#examples img").all():
        assert picture.evaluate("image => image.complete && image.naturalWidth") == 144
    video.click()
    assert video.evaluate("video => video.paused")
    page.keyboard.press("Space")
    expect(page.locator("#example").get_by_role("button", name="Pause")).to_be_focused()
    page.keyboard.press("Enter")
    assert video.evaluate("video => video.paused")
    expect(page.locator("#weights")).to_have_count(0)
    page.locator("#about > button").click()
    expect(page.locator("#weights")).to_have_text("Random weights, for tests.")


def test_the_example_gives_way_to_the_first_job(session):
    page = session.page
    expect(page.locator("#example")).to_be_visible()
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#crop img")).to_be_visible()
    _run(page)
    expect(page.locator("#clip video")).to_be_visible()
    expect(page.locator("#example")).to_be_hidden()


def test_examples_stand_still_where_motion_is_to_be_reduced(session):
    page = session.page
    expect(page.locator("#examples img").first).to_be_visible()
    shown = page.locator("#examples img").evaluate_all("images => images.map(image => image.currentSrc.split('.').pop())")
    assert shown == ["jpg"] * 6
    page.wait_for_timeout(500)
    assert page.locator("#example video").evaluate("video => video.paused")


SHOWN = """(names) => names.filter(name => {
    const box = document.querySelector(name).getBoundingClientRect(), middle = [box.left + box.width / 2, box.top + box.height / 2];
    const inside = box.height > 0 && box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth;
    return !(inside && document.querySelector(name).contains(document.elementFromPoint(...middle)));
})"""  # of parts of the page, those that are not whole on the screen, or are covered
COVERED = """() => {
    const result = document.getElementById("result"), { left, top, width, height } = result.getBoundingClientRect(), spots = [];
    for (let x = 0.05; x < 1; x += 0.05) for (let y = 0.05; y < 1; y += 0.05) spots.push([left + x * width, top + y * height]);
    const seen = spots.filter(([x, y]) => y < innerHeight).map(([x, y]) => document.elementFromPoint(x, y));
    return seen.filter(part => !result.contains(part)).map(part => part.outerHTML.slice(0, 200));
}"""  # what lies over the result
FIRST_SCREEN = ["#photo-box", "#prompt", "#run", "#result"]


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desktop", "phone"])
def test_photo_prompt_run_and_result_are_in_view_before_during_and_after_a_run(session, size):
    page = session.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    _settled(page)
    assert page.evaluate(SHOWN, FIRST_SCREEN) == []
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#crop img")).to_be_visible()
    page.locator("#prompt textarea").fill("the camera pans right")
    _with_steps(page, 1000)
    assert page.evaluate(SHOWN, FIRST_SCREEN) == []
    page.locator("#run").click()
    expect(page.locator("#progress img")).to_be_visible()
    _settled(page)
    assert page.evaluate(SHOWN, [*FIRST_SCREEN, "#progress [role=progressbar]", "#progress img", "#stop"]) == []
    page.locator("#stop").click()
    expect(page.locator("#progress")).to_contain_text("Stopped")
    _with_steps(page, 2)
    page.locator("#run").click()
    expect(page.locator("#clip video")).to_be_visible()
    _settled(page)
    assert page.evaluate(SHOWN, [*FIRST_SCREEN, "#clip"]) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for tab in ("Text to video", "Edit", "Fine-tune"):
        page.get_by_role("tab", name=tab, exact=True).click()
        _settled(page)
        assert page.evaluate(COVERED) == [], tab


def _with_steps(page: Page, num_steps: int) -> None:
    """Opens the options, sets the steps, closes them and goes back to the top."""
    page.locator("#options > button").click()
    fill(page.locator("#num_steps input"), str(num_steps))
    page.locator("#num_steps input").press("Tab")
    page.locator("#options > button").click()
    expect(page.locator("#num_steps")).to_be_hidden()
    page.evaluate("scrollTo(0, 0)")


def _settled(page: Page) -> None:
    """Waits until nothing scrolls and nothing changes its size any more."""
    page.evaluate(
        """() => new Promise(done => {
            let last = "", same = 0;
            const look = () => {
                const now = JSON.stringify([scrollY, document.querySelector("#result").getBoundingClientRect()]);
                [same, last] = [now === last ? same + 1 : 0, now];
                same > 20 ? done() : requestAnimationFrame(look);
            };
            look();
        })"""
    )


def test_the_photo_is_one_component_and_another_one_takes_its_place(session, tmp_path):
    page = session.page
    shown = page.locator("#crop img")
    expect(page.locator("#photo")).to_be_visible()
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(shown).to_be_visible()
    expect(page.locator("#photo")).to_be_hidden()
    first = shown.get_attribute("src")
    with page.expect_file_chooser() as chooser:
        page.locator("#crop").get_by_role("button", name="Another photo").click()
    chooser.value.set_files(PHOTO.with_name("coffee.jpg"))
    expect(shown).not_to_have_attribute("src", first)
    assert "coffee" in shown.get_attribute("src")
    _drop(page, "#prompt textarea", PHOTO.with_name("rocket.jpg"), "image/jpeg")
    expect(shown).to_have_attribute("src", re.compile("rocket"))
    assert shown.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [640, 427]


def test_examples_and_clips_of_the_history_come_into_view(session):
    page = session.page
    for index in (0, 1):
        page.locator("#options > button").click()
        fill(page.locator("#num_steps input"), "2")
        card = page.locator("#examples button").nth(index)
        prompt = card.inner_text()
        card.click()
        expect(page.locator("#clip trip-player")).to_have_attribute("label", re.compile(prompt))
        _settled(page)
        assert page.evaluate(SHOWN, ["#clip"]) == []
        page.locator("#options > button").click()
    page.locator("#history > button").click()
    cards = page.locator("#cards li")
    page.wait_for_function("document.querySelectorAll('#cards img')[1]?.currentSrc.endsWith('/last.png')")
    page.emulate_media(reduced_motion="no-preference")
    expect(cards.nth(1).locator("img")).to_have_js_property("naturalWidth", 144)
    assert cards.nth(1).locator("img").evaluate("image => image.currentSrc").endswith("/thumbnail.webp")
    cards.nth(1).get_by_role("button", name="Show").click()
    expect(page.locator("#clip trip-player")).to_have_attribute("label", re.compile("tilts up"))
    _settled(page)
    assert page.evaluate(SHOWN, ["#clip"]) == []


def test_the_history_is_searched_marked_deleted_from_and_what_was_deleted_brought_back(session):
    page = session.page
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#crop img")).to_be_visible()
    _with_steps(page, 1)
    for prompt in ("the camera pans left", "the clouds drift to the right"):
        page.locator("#prompt textarea").fill(prompt)
        page.locator("#run").click()
        expect(page.locator("#clip trip-player")).to_have_attribute("label", re.compile(f"^{prompt}"))
    page.locator("#history > button").click()
    cards, search = page.locator("#cards li"), page.locator("#history-text textarea, #history-text input")
    search.press_sequentially("pans")
    expect(cards).to_have_count(1)
    search.press_sequentially("ic")
    expect(page.locator("#cards")).to_have_text("No clip has “pansic” in its prompt.")
    search.fill("")
    expect(cards).to_have_count(2)

    star = cards.nth(1).get_by_role("button", name="Favourite")
    star.focus()
    words = cards.nth(1).locator("span")
    assert words.evaluate("words => words.scrollHeight <= words.clientHeight")  # whole
    page.keyboard.press("Enter")
    expect(star).to_have_attribute("aria-pressed", "true")

    page.locator("#delete").click()
    expect(cards).to_have_count(1)
    expect(page.locator("#clip trip-player")).to_have_attribute("label", re.compile("^the camera pans left"))
    page.locator("#delete").click()
    expect(page.locator("#cards")).to_have_text("Your clips will be here.")
    expect(page.locator("#example")).to_be_visible()
    expect(page.locator("#delete")).to_be_disabled()
    page.locator("#undo").click()
    expect(page.locator("#clip trip-player")).to_have_attribute("label", re.compile("^the camera pans left"))
    expect(cards.get_by_role("button", name="Favourite")).to_have_attribute("aria-pressed", "true")


def test_chips_write_the_prompt_and_are_read_off_it(session):
    page = session.page
    prompt, chips = page.locator("#prompt textarea"), page.locator("#chips")
    chips.get_by_text("Pan left").click()
    expect(prompt).to_have_value("the camera pans left")
    chips.get_by_text("slowly").click()
    expect(prompt).to_have_value("the camera pans left slowly")
    chips.get_by_text("Clouds right").click()
    expect(prompt).to_have_value("the camera pans left slowly and the clouds drift slowly to the right")
    chips.get_by_text("Pan right").click()
    expect(prompt).to_have_value("the camera pans right slowly and the clouds drift slowly to the right")
    expect(chips.locator("label.selected")).to_have_text(["Pan right", "Clouds right", "slowly"])
    prompt.fill("a cat, the camera pans left")
    expect(chips.locator("label.selected")).to_have_text(["Pan left"])
    assert "Zoom in" not in chips.inner_text()  # these weights do not know the word


def test_a_prompt_without_a_known_word_asks_first_and_an_empty_one_takes_a_gentle_motion_and_says_so(session):
    page = session.page
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#crop img")).to_be_visible()
    _with_steps(page, 2)
    prompt, said = page.locator("#prompt textarea"), page.locator("#said")
    prompt.fill("a dog barks")
    page.locator("#run").click()
    expect(said).to_contain_text("know no word of this")
    expect(page.locator("#progress")).to_have_text(EMPTY)  # nothing was asked for
    page.locator("#run").click()
    expect(page.locator("#clip trip-player")).to_have_attribute("label", re.compile("^a dog barks, seed"))
    expect(said).to_be_hidden()

    prompt.fill("the cloudz")
    page.locator("#run").click()
    expect(said.get_by_role("button")).to_have_text(["Clouds left", "Clouds right"])
    said.get_by_text("Clouds right").click()
    expect(prompt).to_have_value("the cloudz, the clouds drift to the right")
    expect(said).to_be_hidden()

    prompt.fill("")
    page.locator("#run").click()
    expect(said).to_contain_text("this was taken: “the camera pans left slowly”")
    expect(prompt).to_have_value("the camera pans left slowly")
    expect(page.locator("#clip trip-player")).to_have_attribute("label", re.compile("^the camera pans left slowly, seed"))


def test_photo_chip_and_run_are_enough_by_keyboard_alone(session):
    page = session.page
    session.let_move()

    def tab_to(place: str) -> None:
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("place => document.activeElement.matches(place)", place):
                return
        raise AssertionError(f"the Tab key does not come to {place}")

    expect(page.locator("#chips")).to_be_visible()
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))  # before the key: the browser may answer it sooner
    tab_to("#photo button")
    page.keyboard.press("Enter")
    until(page, lambda: choosers)
    choosers[0].set_files(PHOTO)
    expect(page.locator("#crop img")).to_be_visible()
    tab_to("#chips input")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.locator("#prompt textarea")).to_have_value("the camera pans right")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "run"
    page.keyboard.press("Enter")
    expect(page.locator("#clip trip-player")).to_have_attribute("label", re.compile("^the camera pans right, seed"))
    page.wait_for_function("document.querySelector('#clip trip-player').shadowRoot.querySelector('video').currentTime > 0.1")


def test_a_clip_is_as_wide_as_its_photo_unless_another_aspect_is_chosen_and_restored_so(session, tmp_path):
    page = session.page
    told = page.locator("#crop trip-crop output")
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(told).to_have_text("100 × 100 %")
    _run(page)
    expect(page.locator("#clip video")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("photo")
    clip = _downloaded(page, "MP4", tmp_path)
    assert read_metadata(clip)["aspect"] == "photo"
    page.locator("#aspect input").click()
    page.get_by_role("option", name="1:1").click()
    expect(told).to_have_text("67 × 100 %")
    _drop(page, "#photo-box", clip)
    expect(page.locator("#aspect input")).to_have_value("as my photo")
    expect(told).to_have_text("100 × 100 %")


def test_a_length_can_be_given_in_seconds_or_in_frames(session):
    page = session.page
    page.locator("#options > button").click()
    seconds, frames, fps = (page.locator(f"#{name} input") for name in ("seconds", "num_frames", "fps"))
    expect(seconds).to_have_attribute("placeholder", re.compile(r"^[\d.]+$"))
    fill(fps, "4")
    fill(seconds, "3")
    expect(frames).to_have_value("12")
    frames.fill("10")
    expect(seconds).to_have_value("2.5")
    fps.fill("5")
    expect(seconds).to_have_value("2")
    seconds.fill("999")
    expect(frames).to_have_value("128")


ELSEWHERE = """() => {
    Object.assign(window, { isAway: true, rings: 0 });
    Object.defineProperty(document, "hidden", { get: () => isAway });
    window.AudioContext = class extends AudioContext { constructor() { super(); rings++; } };
}"""  # as if somebody looked at another tab


def test_a_clip_that_is_done_is_told_says_its_time_alone_and_the_next_estimate_rests_on_it(session):
    page = session.page
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#crop img")).to_be_visible()
    _with_steps(page, 2)
    estimate = page.locator("#estimate p")

    def rests_on() -> int:
        return int(re.search(r"going by (\d+)", estimate.get_attribute("title"))[1])

    expect(estimate).to_have_attribute("title", re.compile("going by"))
    before = rests_on()
    page.locator("#options > button").click()
    page.locator("#sound input").check()
    page.evaluate(ELSEWHERE)
    page.locator("#run").click()
    expect(page.locator("#clip video")).to_be_visible()
    expect(page).to_have_title("✓ Your clip is done – Animate · TRIP: photo to clip")
    assert page.evaluate("rings") == 1
    page.evaluate("isAway = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page).to_have_title("Animate · TRIP: photo to clip")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#copy-link").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    expect(page.locator("#progress")).to_have_text(re.compile(r"^\s*Done in \d+ s\s*$"))
    until(page, lambda: rests_on() >= min(before + 1, 10))


def test_every_control_has_a_name_and_a_phone_shows_them_without_sideways_scrolling(session):
    page = session.page
    page.locator("#options > button").click()
    expect(page.locator("#seed input")).to_be_visible()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, textarea, select, button")]
            .filter(box => box.offsetParent && !(box.ariaLabel || box.title || box.textContent.trim() || (box.labels && box.labels.length)))
            .map(box => box.outerHTML)"""
    )
    assert nameless == []
    for width, height in ((390, 844), (768, 1024)):
        page.set_viewport_size({"width": width, "height": height})
        expect(page.locator("#run")).to_be_visible()
        expect(page.get_by_role("tab")).to_have_text(["Animate", "Text to video", "Edit", "Fine-tune"])
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_clip_is_heard_with_a_sound_that_a_person_adds(session, tmp_path):
    page = session.page
    page.set_input_files("#photo input[type=file]", PHOTO)
    page.locator("#prompt textarea").fill("the camera pans right")
    expect(page.locator("#crop img")).to_be_visible()
    _run(page)
    player, sound = page.locator("#clip trip-player"), page.locator("#clip").get_by_role("button", name="Sound")
    expect(player).to_be_visible()
    expect(page.locator("#add-sound")).to_have_text("Add sound")
    expect(sound).to_have_count(0)
    page.set_input_files("input[type=file]:has(~ #add-sound)", tone(tmp_path / "tone.wav", 9))
    expect(sound).to_have_attribute("aria-pressed", "false")
    sound.click()
    expect(sound).to_have_attribute("aria-pressed", "true")
    assert player.locator("video").evaluate("(video) => !video.muted")
    assert len(loudness(_downloaded(page, "MP4", tmp_path))) > 3

    (tmp_path / "words.mp3").write_text("no sound")
    page.set_input_files("input[type=file]:has(~ #add-sound)", tmp_path / "words.mp3")
    expect(page.locator(".toast-body")).to_contain_text("wanted a sound, got")
    expect(sound).to_be_visible()
    page.locator("#remove-sound").click()
    expect(sound).to_have_count(0)
    expect(page.locator("#remove-sound")).to_be_hidden()
    expect(page.locator("#add-sound")).to_have_text("Add sound")
    assert session.errors == [] and session.outside == []
