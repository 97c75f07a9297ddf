"""Files that are no photo, as a person meets them in Chromium."""

from pathlib import Path

from playwright.sync_api import expect

PHOTO = Path(__file__).parents[2] / "examples" / "chelsea.jpg"


def test_a_broken_file_is_refused_as_soon_as_it_is_there_and_the_others_stay(session, tmp_path):
    page = session.page
    toast = page.get_by_test_id("toast-body")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no photo")
    page.set_input_files("#photo input[type=file]", broken)
    expect(toast).to_contain_text("broken.jpg: wanted a whole photo")
    expect(page.locator("#photo").get_by_role("button", name="Drop an image file")).to_be_visible()
    page.get_by_test_id("toast-close").click()

    page.locator("#options > button").click()
    page.set_input_files("#more-photos input[type=file]", [broken, PHOTO])
    expect(toast).to_contain_text("broken.jpg: wanted a whole photo")
    expect(page.locator("#more-photos")).to_contain_text("chelsea")
    expect(page.locator("#more-photos")).not_to_contain_text("broken")
