"""The page of a human study: photo and sentence, two clips on one clock, a question, two buttons. `build(study)` lays it out.

A rater's place is what is on disk: a page that is opened again, also after the app was, shows the question that is open.
"""

import html
import time
from functools import partial
from typing import Any
from urllib.parse import quote

import gradio as gr

from trip.evaluation.study import NOT_SURE, QUESTIONS, SIDES, Pair, Study, StudyFull, Trial
from trip.system.environment import ASSETS
from trip.ui.elements import HEAD, ComparedClip, compare
from trip.ui.page_state import QUICK, SECRET

MINUTES_A_PAIR = 0.5  # three questions and a loop or two
# Buttons open once the clips have run to their end; keys choose while no other control has them. Both end in Gradio's own buttons, and the
# app knows what is open.
_KEYS = """
<script>
document.addEventListener("looped", ({ target }) => {
  const seen = document.querySelector("#study-seen");
  if (!seen) return;
  seen.dataset.trial = target.closest("[data-trial]")?.dataset.trial ?? "";
  seen.click();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  const inPlayer = event.composedPath().some((node) => node.localName === "trip-compare");
  const keys = { 1: "left", 2: "right", 3: "not-sure", ...(inPlayer ? {} : { ArrowLeft: "left", ArrowRight: "right" }) };
  const chosen = document.querySelector(`#study-${keys[event.key]}`);
  if (chosen && !chosen.disabled) { event.preventDefault(); chosen.click(); }
});
</script>
"""
_WHICH = "(rater) => [rater, document.querySelector('#study-seen').dataset.trial]"
_IN_ADDRESS = "(rater) => { if (rater) history.replaceState(null, '', '?rater=' + encodeURIComponent(rater)); return rater; }"
LAUNCH = {
    "theme": gr.themes.Default(primary_hue="teal", neutral_hue="slate", font=("ui-sans-serif", "system-ui", "sans-serif")),
    "css_paths": ASSETS / "study.css",
    "head": HEAD + _KEYS,
    "footer_links": [],
    "ssr_mode": False,
    "enable_monitoring": False,
}


def launch_options(study: Study) -> dict[str, Any]:
    """What `launch` needs: of the study's folder clips and photos alone are served."""
    served = [str((study.folder / name).absolute()) for name in ("clips", "photos")]
    return LAUNCH | {"allowed_paths": served, "blocked_paths": [str((study.folder / "raters").absolute())]}


class OpenQuestions:
    """Raters and the question that is open for each.

    opened  rater -> (number of the trial, question) and when it was shown, where the clips have run to their end
    """

    def __init__(self, study: Study):
        self.study = study
        self.opened: dict[str, tuple[tuple[int, str], float]] = {}

    def place(self, rater: str) -> tuple[int, str] | None:
        """Number of the trial and the question that is open; none where all is answered."""
        number, question = divmod(len(self.study.answers(rater)), len(QUESTIONS))
        return (number, list(QUESTIONS)[question]) if number < len(self.study.trials(rater)) else None

    def seen(self, rater: str, trial: str) -> bool:
        """Notes that the clips of a trial have run to their end; whether the open question, if it is about them, can be answered now."""
        place = self.place(rater) if self.study.knows(rater) else None
        if place is None or trial != str(place[0]):  # clips that were about to go
            return False
        if self.opened.get(rater, (None, 0))[0] != place:
            self.opened[rater] = (place, time.monotonic())
        return True

    def answer(self, rater: str, choice: str) -> bool:
        """Keeps an answer to the open question; whether the next one is about the same clips, which need not run again."""
        place, since = self.opened.pop(rater, (None, 0.0))
        if place is None or not self.study.answer(rater, place, choice, time.monotonic() - since):
            return False
        after = self.place(rater)
        if after and after[0] == place[0]:
            self.opened[rater] = (after, time.monotonic())
            return True
        return False


def build(study: Study) -> gr.Blocks:
    """The whole page, not yet served."""
    questions = OpenQuestions(study)
    with gr.Blocks(title="Which clip is better?", analytics_enabled=False) as page:
        rater = gr.BrowserState("", storage_key=f"trip-study-{study.folder.resolve().name}", secret=SECRET)
        with gr.Column(visible=False) as intro:
            gr.Markdown(_welcome(study))
            begin = gr.Button("Begin", variant="primary", elem_id="study-begin")
        with gr.Column(visible=False) as trial:
            progress = gr.Markdown(elem_id="study-progress")
            given = gr.HTML(elem_id="study-given")
            clips = gr.HTML(elem_id="study-clips")
            question = gr.Markdown(elem_id="study-question")
            with gr.Row():
                buttons = [gr.Button(words, elem_id=f"study-{side}", interactive=False) for side, words in _choices(study)]
            gr.Markdown(_hint(study), elem_id="study-hint")
            seen, which = gr.Button("Seen", elem_id="study-seen", visible="hidden"), gr.Textbox(visible="hidden")
        with gr.Column(visible=False) as end:
            gr.Markdown("## Thank you\nAll questions are answered, and all answers are kept. You can close this page.", elem_id="study-end")
        view = [intro, trial, end, progress, given, clips, question, *buttons]

        def show(known: str, *, same_clips: bool = False) -> list[Any]:
            place = questions.place(known) if study.knows(known) else None
            shown = [gr.Column(visible=one) for one in (not study.knows(known), place is not None, study.knows(known) and place is None)]
            if place is None:
                return shown + [gr.skip()] * (len(view) - len(shown))
            of = study.trials(known)[place[0]]
            pair, number = study.pair_of(of), list(QUESTIONS).index(place[1])
            head = f"Pair {place[0] + 1} of {len(study.trials(known))}, question {number + 1} of {len(QUESTIONS)}"
            still = [gr.skip()] * 2 if same_clips else [_given(study, pair), _clips(study, pair, of, place[0])]
            return [*shown, head, *still, f"### {QUESTIONS[place[1]]}", *(gr.Button(interactive=same_clips) for _ in buttons)]

        def open_page(kept: str, request: gr.Request) -> list[Any]:
            known = next((one for one in (request.query_params.get("rater"), kept) if isinstance(one, str) and study.knows(one)), "")
            questions.opened.pop(known, None)
            return [known, *show(known)]

        def join(kept: str) -> list[Any]:
            try:
                known = kept if isinstance(kept, str) and study.knows(kept) else study.join()
            except StudyFull as error:
                raise gr.Error(str(error), print_exception=False) from None
            return [known, *show(known)]

        def loop_ended(known: str, number: str) -> list[Any]:
            return [gr.Button(interactive=True) if questions.seen(known, number) else gr.skip() for _ in buttons]

        def answer(choice: str, known: str) -> list[Any]:
            return show(known, same_clips=questions.answer(known, choice))

        page.load(open_page, rater, [rater, *view], **QUICK).then(None, rater, None, js=_IN_ADDRESS)
        begin.click(join, rater, [rater, *view], **QUICK).success(None, rater, None, js=_IN_ADDRESS)
        seen.click(loop_ended, [rater, which], buttons, js=_WHICH, **QUICK)
        for button, (side, _) in zip(buttons, _choices(study), strict=True):
            button.click(partial(answer, side.replace("-", " ")), rater, view, **QUICK)
    return page


def _choices(study: Study) -> list[tuple[str, str]]:
    """Element and words of each button."""
    more = [("not-sure", "Not sure")] if study.settings.mode == "not-sure" else []
    return [*((side, f"{side.capitalize()} clip") for side in SIDES), *more]


def _welcome(study: Study) -> str:
    count = min(study.settings.per_rater or len(study.pairs), len(study.pairs))
    choose = f'"{NOT_SURE}"' if study.settings.mode == "not-sure" else "the likelier one"
    minutes = max(2, round(count * MINUTES_A_PAIR))
    return (
        "# Which clip is better?\n"
        f"You will see about {count} pairs of clips. Both clips of a pair were made from the same photo and sentence. Watch both, then "
        f"answer three short questions about them. If you cannot tell, choose {choose}. It takes about {minutes} minutes.\n\n"
        "You can close this page at any time: every answer is kept, and the same browser, or the address that this page will have, goes on "
        "where you left. Nothing is kept about you but the answers and when they were given."
    )


def _hint(study: Study) -> str:
    unsure = ", 3: not sure" if study.settings.mode == "not-sure" else ""
    return f"The buttons open once both clips have played. Keys: ← or 1: left, → or 2: right{unsure}."


def _given(study: Study, pair: Pair) -> str:
    """Photo and sentence; both are texts from elsewhere."""
    photo = quote(str((study.folder / "photos" / f"{pair.photo}.png").absolute()))
    words = f"<p>{html.escape(pair.prompt)}</p>" if pair.prompt else ""
    return f'<img src="gradio_api/file={photo}" alt="The photo">{words}'


def _clips(study: Study, pair: Pair, trial: Trial, number: int) -> str:
    clips = [
        ComparedClip((study.folder / "clips" / f"{pair.clips[i]}.mp4").absolute(), side.capitalize(), pair.fps[i], pair.frames[i])
        for side, i in zip(SIDES, (trial.left, 1 - trial.left), strict=True)
    ]
    return f'<div data-trial="{number}">{compare(clips, "Two clips", wipe=False)}</div>'
