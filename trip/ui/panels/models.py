"""The models by others, for first frames and for clips: a card each, whether it is here, and how to get it."""

import html
from typing import Any

import gradio as gr

from trip.first_frame.catalogue import Card, cards, size_of
from trip.first_frame.local_models import card_folder
from trip.jobs.store import Job
from trip.ui import page_state
from trip.ui.panels.layout import JobView
from trip.ui.panels.result import or_toast
from trip.ui.studio import Studio

WORDS = (
    "Text to video, Edit and the choice of another model for clips use models by others, which are not part of this app. Nothing is "
    "downloaded unless you ask for it: with `python -m trip models --fetch NAME`"
)
HERE = ", or here; clips wait meanwhile, and *Stop* keeps the files that are whole."
TASKS = {
    "paint": "From words",
    "refine": "After SDXL",
    "edit": "By an instruction",
    "control": "Over a control map",
    "annotate": "Control maps",
    "video": "Clips",
}


def build(studio: Studio, state: page_state.PageState) -> JobView:
    """Lay out the panel, folded; gives what a download ends in."""
    with gr.Accordion("Models by others", open=False, elem_id="models") as folded:
        gr.Markdown(WORDS + (HERE if studio.fetches else "."))
        with gr.Row(equal_height=True, visible=studio.fetches):
            wanted = gr.Dropdown([], label="Not here yet", elem_id="models-wanted", scale=3, min_width=200)
            fetch = gr.Button("Get it", size="sm", elem_id="models-fetch", scale=1, min_width=90)
        listed = gr.HTML(elem_id="models-list")

    def shown() -> list[Any]:
        lacking = [
            (f"{card.title}, about {size_of(card.about_bytes)}{'' if card.is_free else f', {card.licence}'}", name)
            for name, card in cards().items()
            if not card_folder(card, studio.models)
        ]
        return [cards_of(studio), gr.update(choices=lacking)]

    def ask(visitor: str, name: str | None) -> str:
        return or_toast(studio.fetch, visitor, name).id

    def fetched(studio: Studio, job: Job | None) -> list[Any]:
        return shown() if job and job.state.is_final else [gr.skip()] * 2

    folded.expand(shown, None, [listed, wanted], **page_state.QUICK)
    fetch.click(ask, [state.visitor, wanted], state.job, **page_state.QUICK)
    return JobView("fetch", [listed, wanted], fetched)


def cards_of(studio: Studio) -> str:
    """HTML of all cards, by what they are for."""
    parts = []
    for task, title in TASKS.items():
        rows = "".join(_card(studio, name, card) for name, card in cards(task).items())
        parts.append(f'<h2>{title}</h2><ul class="trip-models">{rows}</ul>')
    return "".join(parts)


def _card(studio: Studio, name: str, card: Card) -> str:
    here = card_folder(card, studio.models) is not None
    place = "on this machine" if here else f"not here, about {size_of(card.about_bytes)}"
    repo = html.escape(card.repo or "")
    source = f'<a href="{html.escape(card.source)}" target="_blank" rel="noopener">{repo}</a>' if repo else "embedded"
    facts = [
        f"<code>{name}</code>",
        html.escape(card.licence),
        source,
        *(html.escape(words) for words in (card.note, card.memory_words) if words),
    ]
    words = f"<b>{html.escape(card.title)}</b> <span>{place}</span><small>{' · '.join(facts)}</small>"
    return f'<li class="{"here" if here else "missing"}">{words}</li>'
