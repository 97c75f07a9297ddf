"""What is kept for a session is what Gradio keeps, and one session's changes are its own."""

import gradio as gr
import pytest
from gradio.blocks import BlocksConfig
from gradio.state_holder import SessionState

from trip.ui.security.page import Page
from trip.ui.security.visitors import VisitorRegistry


@pytest.fixture
def page(tmp_path) -> Page:
    with Page(VisitorRegistry(tmp_path), lambda path, visitor: False) as page:
        gr.State([1])
        gr.Textbox("a sea", label="Prompt")
        gr.Slider(0, 2, 1.0)
        gr.Image(visible=False)
    return page


def test_a_session_is_described_as_gradio_describes_it(page):
    plain = {key: BlocksConfig.config_for_block(key, [], block) for key, block in page.blocks.items()}
    for _ in range(2):
        assert SessionState(page).config_values == plain


def test_components_are_described_once_for_all_sessions(page, monkeypatch):
    SessionState(page)
    described = []
    monkeypatch.setattr(gr.Textbox, "get_config", lambda self: described.append(self) or {})
    SessionState(page)
    assert not described


def test_what_a_session_changes_is_its_own(page):
    (prompt,) = (key for key, block in page.blocks.items() if isinstance(block, gr.Textbox))
    one, other = SessionState(page), SessionState(page)
    one._update_value_in_config(prompt, "a fire")
    one[prompt] = gr.Textbox("a wood", label="Another", render=False)
    one._update_config(prompt)
    assert one.config_values[prompt]["props"]["label"] == "Another"
    for state in (other, SessionState(page)):
        assert state.config_values[prompt]["props"]["value"] == "a sea"
        assert state.config_values[prompt]["props"]["label"] == "Prompt"
