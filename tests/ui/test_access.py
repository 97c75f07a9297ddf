"""The page for people who use the keyboard, a screen reader, a dark screen or weak eyes."""

import re
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.ui.conftest import BrowserSession, fill

PHOTO = Path(__file__).parents[2] / "examples" / "chelsea.jpg"
TABS = ("Animate", "Text to video", "Edit", "Over a control map", "Fine-tune")
OPEN = "document.querySelectorAll('button.label-wrap:not(.open)').forEach(panel => panel.checkVisibility() && panel.click())"
STOP = """() => {
    let one = document.activeElement;
    while (one.shadowRoot?.activeElement) one = one.shadowRoot.activeElement;
    const box = one.closest("#chips label") ?? one, { left, top, right, bottom } = box.getBoundingClientRect();
    const styles = [box, one.parentElement].map(getComputedStyle);
    const rings = styles.filter(({ outlineStyle, opacity }) => outlineStyle !== "none" && opacity > 0);
    const made = document.activeElement.closest("#made"), up = made ? made.scrollTop - made.getBoundingClientRect().top : scrollY;
    const name = one.ariaLabel || one.id || one.textContent.trim() || one.tagName;
    return { name, left, right, top: top + up, bottom: bottom + up, rings: rings.length, isEnd: one === document.body };
}"""  # what has the focus, where on the page or in its column, and how many outlines show it


def _run(session: BrowserSession) -> None:
    page = session.page
    page.set_input_files("#photo input[type=file]", PHOTO)
    expect(page.locator("#crop img")).to_be_visible()
    page.locator("#options > button").click()
    fill(page.locator("#num_steps input"), "2")
    page.locator("#run").click()
    expect(page.locator("#clip video")).to_be_visible()


def _findings(page: Page, **options: list[str]) -> list[tuple[str, str]]:
    """What axe-core calls serious or critical of what is shown."""
    found = Axe().run(page, options=options).response["violations"]
    return [(rule["id"], part["html"]) for rule in found if rule["impact"] in ("serious", "critical") for part in rule["nodes"]]


def test_no_tab_and_no_panel_has_a_serious_finding_of_axe_in_light_and_in_the_dark_that_one_button_gives(session):
    page = session.page
    _run(session)
    page.evaluate(OPEN)
    expect(page.locator("#share img")).to_have_count(2)
    shade = page.locator("#shade")
    for scheme, other, rules in (("light", "Dark", {}), ("dark", "Light", {"runOnly": ["color-contrast"]})):
        expect(shade).to_have_text(other)
        for tab in TABS:
            page.get_by_role("tab", name=tab, exact=True).click()
            page.evaluate(OPEN)
            assert _findings(page, **rules) == [], f"{tab}, {scheme}"
        shade.click()
    expect(shade).to_have_text("Dark")
    shade.click()
    expect(shade).to_have_text("Light")
    session.reload()
    expect(shade).to_have_text("Light")
    expect(page.locator("body")).to_have_class(re.compile("dark"))


def test_the_tab_key_goes_as_the_eye_does_shows_where_it_is_and_leaves_no_list_open(session):
    page = session.page
    _run(session)
    page.locator("h1").click()
    stops = []
    while len(stops) < 200:
        page.keyboard.press("Tab")
        stop = page.evaluate(STOP)
        if stop["isEnd"]:
            break
        assert page.locator("[role=combobox][aria-expanded=true]:not(:focus)").count() == 0
        stops.append(stop)
    assert len(stops) > 30
    assert [stop["name"] for stop in stops if not stop["rings"]] == []
    pairs = list(zip(stops, stops[1:], strict=False))
    assert [(one["name"], other["name"]) for one, other in pairs if other["bottom"] <= one["top"] and other["left"] < one["right"]] == []


def test_inside_trip_is_legible_on_a_phone_and_in_the_dark(session):
    page = session.page
    _run(session)
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#shade").click()
    page.locator("#inside > button").click()
    share, paths = page.locator("#share figure"), page.locator("#paths figure")
    expect(share.locator("img")).to_have_count(2)
    expect(paths.locator("img")).to_have_count(3)
    widths = page.evaluate("[...document.querySelectorAll('#share figure > img, #paths img')].map((picture) => picture.clientWidth)")
    assert min(widths) > 250 and page.evaluate("document.documentElement.scrollWidth") <= 390
    numbers = share.locator(".frames span, .steps span").all()
    assert [number.inner_text() for number in numbers] == ["0", "1", "2", "3", "1", "2"]
    boxes = [number.bounding_box() for number in numbers]
    picture = share.locator("> img").bounding_box()
    for box in boxes:
        assert box["height"] >= 12 and not _overlap(box, picture)
        assert not any(_overlap(box, other) for other in boxes if other is not box)

    page.locator("#inside-step label").first.click()
    expect(paths.locator("figcaption")).to_contain_text("at step 1 of 2")


def _overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether two boxes have more than an edge in common."""
    return all(
        min(one[at] + one[long], other[at] + other[long]) - max(one[at], other[at]) > 1 for at, long in (("x", "width"), ("y", "height"))
    )
