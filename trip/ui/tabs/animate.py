"""The Animate tab: a photo and a sentence become a clip."""

import html
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from trip.jobs import batch
from trip.jobs.handlers.animate import VIDEO_MODEL
from trip.jobs.store import Job
from trip.media import read_photo
from trip.settings import AnimateSettings
from trip.ui import chips, elements, page_state
from trip.ui.form import PAGE_DEFAULTS, control, refuse_broken, uploaded
from trip.ui.page_state import RAW
from trip.ui.panels import examples, presets
from trip.ui.panels.result import or_toast
from trip.ui.studio import LARGEST_PHOTO, Studio

NO_LORA = ("none: the model as it is", "")  # of the fine-tunes to choose from
OWN_MODEL = ("TRIP", "")  # of the models to choose from
BY_OTHERS = "Others draw at their own size and pace; the motion slider says how much TRIP's prior holds those that see no photo"
CHOOSE_CLIP = "() => document.querySelector('input[type=file]:has(~ #restore-file)').click()"
CROPPED = "Otherwise the rest of the photo is used where the camera goes there, and the whole photo is inside the MP4"


@dataclass(frozen=True)
class Form:
    """The controls of the tab; `settings` has those of `AnimateSettings` by name, the crop as the frame over the photo."""

    photo: gr.Image
    seconds: gr.Number
    chips: gr.CheckboxGroup
    said: gr.HTML
    settings: dict[str, Component]
    placed: gr.JSON  # where the frame over a photo that is filled in was, for the next look at it
    randomize: gr.Checkbox
    run: gr.Button
    draft: gr.Button
    estimate: gr.HTML
    examples: gr.HTML
    restore: gr.UploadButton
    more_photos: gr.File
    last_photo: gr.Image
    lora: gr.Dropdown
    video_model: gr.Dropdown
    only_shown: gr.Checkbox

    @property
    def inputs(self) -> set[Component]:
        """What a job is asked with."""
        return {self.photo, self.randomize, *self.settings.values()}


def build(studio: Studio, state: page_state.PageState, made: gr.HTML) -> Form:
    """Lay out the tab inside the current `gr.Blocks` and wire it; `made` changes with every clip that is done."""
    form = _form(studio)
    _wire_form(studio, form, made)
    _wire_asking(studio, state, form)
    return form


def _form(studio: Studio) -> Form:
    with gr.Column(elem_id="photo-box"):  # the frame takes the place of what the photo came in by
        photo = gr.Image(label="Photo", type="filepath", image_mode=None, sources=["upload"], elem_id="photo", buttons=[])
        settings: dict[str, Component] = {"crop": elements.crop_box(elem_id="crop", picker="#photo input[type=file]")}
        placed = gr.JSON(visible=False)
    words = AnimateSettings.model_fields["prompt"].description
    settings["prompt"] = control("prompt", lines=2, max_lines=6, info=None, placeholder=words)
    chosen = gr.CheckboxGroup(
        chips.choices(tuple(chips.CHIPS)), label="What moves", show_label=False, container=False, elem_id="chips", elem_classes="trip-chips"
    )
    said = gr.HTML(visible=False, elem_id="said")
    lora = gr.Dropdown([NO_LORA], value="", visible=False, label="Fine-tune", info="Made in the Fine-tune tab", elem_id="lora")
    with gr.Row(elem_id="asking"):
        run = gr.Button("Run", variant="primary", elem_id="run")
        estimate = gr.HTML(elem_id="estimate")
    tried = examples.build()
    models = models_of(studio)
    with gr.Accordion("Options", open=False, elem_id="options"):
        video_model = gr.Dropdown(
            models, value=studio.first_choice, visible=len(models) > 1, label="Model", info=BY_OTHERS, elem_id="video-model"
        )
        settings["motion"] = control("motion")
        with gr.Row():
            settings["num_frames"] = control("num_frames", min_width=120)
            seconds = gr.Number(label="Seconds", info="The same length in seconds", minimum=0, step=0.5, min_width=120, elem_id="seconds")
        with gr.Row():
            settings["aspect"] = control("aspect", min_width=120, value=PAGE_DEFAULTS["aspect"])
            settings["size"] = control("size", min_width=120)
        settings["loop"] = control("loop")
        only_shown = gr.Checkbox(False, label="Keep only what is shown", info=CROPPED, elem_id="only-shown")
        settings["negative_prompt"] = control("negative_prompt")
        with gr.Row():
            settings |= {name: control(name, min_width=120) for name in ("num_steps", "guidance_scale")}
        settings["scheduler"] = control("scheduler")
        with gr.Row():
            settings |= {name: control(name, min_width=120) for name in ("fps", "frame_rate")}
        settings["fusion"] = control("fusion")
        settings["seed"] = control("seed")
        randomize = gr.Checkbox(True, label="A new seed for every clip", elem_id="randomize")
        more_photos = gr.File(
            label="More photos; as many lines of prompt give each its own", file_count="multiple", file_types=["image"], height=120,
            elem_id="more-photos",
        )  # fmt: skip
        last_photo = gr.Image(
            label="Last photo, where the clip arrives", type="filepath", image_mode=None, sources=["upload"], height=160, buttons=[],
            elem_id="last-photo",
        )  # fmt: skip
        sound = gr.Checkbox(False, label="A sound when a clip is done", elem_id="sound")
        sound.input(None, sound, None, js="(on) => { tripSound(on); return []; }")
        gr.on(None, None, None, sound, js="() => tripSound()")
        presets.build(settings)
        with gr.Row():
            draft = gr.Button("Draft", size="sm", elem_id="draft", min_width=90)
            gr.Button("Fill in from a clip made here", size="sm", elem_id="restore").click(None, js=CHOOSE_CLIP)
    # outside the options, which are not in the page before they are opened: clips are dropped anywhere
    restore = gr.UploadButton(file_types=["video"], visible="hidden", elem_id="restore-file")
    asking = (run, draft, estimate, tried, restore, more_photos, last_photo, lora, video_model, only_shown)
    return Form(photo, seconds, chosen, said, settings, placed, randomize, *asking)


def read_settings(form: Form, values: dict[Component, Any]) -> AnimateSettings:
    """The form's settings, checked; ValueError, in one line."""
    raw = {name: values[box] for name, box in form.settings.items()}
    raw["crop"] = elements.chosen_box(raw["crop"])
    if values[form.randomize]:
        raw["seed"] = None
    return AnimateSettings.checked(**raw)


def prompts_of(prompt: str, num_photos: int) -> list[str]:
    """The prompt of each of several photos: a line each where there are as many, or else all of it for every one."""
    lines = [line.strip() for line in prompt.splitlines() if line.strip()]
    return lines if len(lines) == num_photos > 1 else [prompt] * num_photos


def lasting(num_frames: Any, fps: Any, defaults: dict[str, float]) -> float | None:
    """Seconds that so many frames last at a rate; none where the number of frames is left to the model, or is none."""
    fps = fps or defaults.get("fps")
    return round(num_frames / fps, 2) if _is_positive(num_frames) and _is_positive(fps) else None


def frames_for(seconds: Any, fps: Any, defaults: dict[str, float]) -> int | None:
    """Frames that last so many seconds, as near as the model's range allows; none where the length is left to the model, or is none."""
    fps, (low, high) = fps or defaults.get("fps"), AnimateSettings.bounds("num_frames")
    return min(max(round(seconds * fps), low), high) if _is_positive(seconds) and _is_positive(fps) else None


def _is_positive(number: Any) -> bool:
    return isinstance(number, int | float) and 0 < number < 1e6


def models_of(studio: Studio) -> list[tuple[str, str]]:
    """Title and name of the models that a clip can be made with, TRIP's own first."""
    return [OWN_MODEL, *((f"{model.title}, by others", model.name) for model in studio.video_models())]


def _time_by_others(studio: Studio, name: Any) -> str:
    """HTML of how long a clip by another model takes."""
    seconds = studio.timings.seconds_by(studio.video_model(name).title)
    return f"<p>{'Its first clip will show how long they take here' if seconds is None else f'Its clips took {seconds:.0f} s'}</p>"


def _wire_form(studio: Studio, form: Form, made: gr.HTML) -> None:
    """The frame over the photo follows photo and aspect, the estimate follows the settings, and a clip fills the form in again."""

    def place_crop(photo: Any, aspect: str, placed: Any) -> list[Any]:
        """The frame over a photo; where a form was filled in, as it was placed there."""
        box = or_toast(elements.chosen_box, placed)
        if aspect not in AnimateSettings.kind_of("aspect").__args__ or aspect == "photo":
            return [elements.crop_value(photo, None, box), None]
        across, down = map(int, aspect.split(":"))
        return [elements.crop_value(photo, across / down, box), None]

    def show_estimate(values: dict[Component, Any]) -> str:
        try:
            if values[form.video_model]:
                return _time_by_others(studio, values[form.video_model])
            expected = studio.estimate(read_settings(form, values))
        except ValueError as error:
            return f"<p>{html.escape(str(error))}</p>"
        if expected.seconds is None:
            return "<p>The first clip will show how long they take here</p>"
        memory = f", {expected.num_bytes / 2**30:.1f} GB" if expected.num_bytes else ""
        clips = "1 clip" if expected.count == 1 else f"{expected.count} clips"
        return f'<p title="going by {clips} made on this machine">About {expected.seconds:.0f} s{memory}</p>'

    def restore(path: str) -> list[Any]:
        settings, photo = or_toast(studio.restore, path)
        filled = settings.model_dump()
        box, filled["crop"] = filled["crop"], gr.update()
        return [photo, False, box, *(filled[name] for name in form.settings)]

    def look_at(files: Any) -> Any:
        """The photos among more files; the others are told."""
        sound = []
        for file in files or []:
            try:
                read_photo(uploaded(file), LARGEST_PHOTO)
                sound.append(uploaded(file))
            except ValueError as error:
                gr.Warning(html.escape(str(error)))
        return gr.skip() if len(sound) == len(files or []) else sound or None

    for single in (form.photo, form.last_photo):
        refuse_broken(single)
    form.more_photos.upload(look_at, form.more_photos, form.more_photos, **RAW)
    crop = form.settings["crop"]
    placing = [form.photo.change, form.settings["aspect"].input]
    gr.on(placing, place_crop, [form.photo, form.settings["aspect"], form.placed], [crop, form.placed], **RAW)
    changing = [form.settings[name].change for name in ("num_frames", "num_steps", "guidance_scale", "aspect", "size")]
    estimated = form.inputs | {form.video_model}
    gr.on([*changing, form.video_model.change, made.change], show_estimate, estimated, form.estimate, **RAW)
    form.restore.upload(restore, form.restore, [form.photo, form.randomize, form.placed, *form.settings.values()], **page_state.QUICK)

    def show_defaults() -> list[Any]:
        """An empty number means what the model was made for: say how much that is, once the model is loaded."""
        defaults = studio.defaults()
        if {"num_frames", "fps"} <= set(defaults):
            defaults["seconds"] = defaults["num_frames"] / defaults["fps"]
        return [gr.update(placeholder=f"{defaults[name]:g}") if name in defaults else gr.skip() for name in automatic]

    def show_seconds(num_frames: Any, fps: Any) -> Any:
        return lasting(num_frames, fps, studio.defaults())

    def follow_seconds(seconds: Any, fps: Any) -> Any:
        return frames_for(seconds, fps, studio.defaults())

    frames, fps = form.settings["num_frames"], form.settings["fps"]
    gr.on([frames.change, fps.change], show_seconds, [frames, fps], form.seconds, **RAW)
    form.seconds.input(follow_seconds, [form.seconds, fps], frames, **RAW, trigger_mode="always_last")

    def show_chips() -> Any:
        offered = chips.choices(studio.words()[0])
        return gr.update(choices=offered, visible=bool(offered))

    def follow_prompt(prompt: str) -> list[str]:
        return chips.chosen(prompt or "")

    def follow_chips(names: list[str], prompt: str) -> tuple[str, Any]:
        known = [name for name in names or [] if name in chips.CHIPS or name in chips.PACES]
        return chips.pressed(prompt or "", known), gr.update(visible=False)

    prompt = form.settings["prompt"]
    prompt.change(follow_prompt, prompt, form.chips, **RAW, trigger_mode="always_last")
    prompt.input(lambda: gr.update(visible=False), None, form.said, **RAW, trigger_mode="always_last")
    form.chips.input(follow_chips, [form.chips, prompt], [prompt, form.said], **RAW, trigger_mode="always_last")

    automatic = {name: box for name, box in [*form.settings.items(), ("seconds", form.seconds)] if isinstance(box, gr.Number)}
    opened = gr.on(None, show_defaults, None, list(automatic.values()), **page_state.QUICK)
    opened.then(show_estimate, estimated, form.estimate, **RAW)
    opened.then(show_chips, None, form.chips, **page_state.QUICK)


def _wire_asking(studio: Studio, state: page_state.PageState, form: Form) -> None:
    """What asks for jobs: Run, Enter in the prompt, an example, and Draft, which takes few steps."""
    box = form.settings["prompt"]

    def heed_prompt(values: dict[Component, Any]) -> tuple[str, str, bool]:
        """The prompt to take, a line about it, and whether to wait for other words, which is asked once."""
        prompt, (known, is_closed) = str(values[box] or "").strip(), studio.words()
        if not prompt and (gentle := chips.gentle(known)):
            return gentle, chips.taken(gentle), False
        is_other = values[form.lora] or values[form.video_model]  # which know other words
        is_strange = prompt and known and is_closed and not is_other and not chips.is_told(prompt, known)
        if is_strange and prompt != values[asked_about]:
            return prompt, chips.offer(prompt, known), True
        return prompt, "", False

    def run_clip(values: dict[Component, Any], ask: Callable[..., Job] = studio.animate, heeds: bool = True) -> list[Any]:
        """The job's id or the batch's name, no more photos and no last one, so that the next run is of the photo alone, and what became
        of the prompt.

        Of several photos those that cannot be taken are named, and the others are made.
        """
        prompt, line, waits = heed_prompt(values) if heeds else (values[box], "", False)
        said = gr.update(value=line, visible=bool(line))
        if waits:
            return [gr.skip(), gr.skip(), gr.skip(), gr.skip(), said, prompt]
        words = gr.skip() if values[box] else prompt
        values = {**values, box: values[box] or prompt}
        visitor, settings = values[state.visitor], or_toast(read_settings, form, values)
        photos = values[form.more_photos] or [values[form.photo]]
        more = {name: values[box] for name, box in (("lora", form.lora), (VIDEO_MODEL, form.video_model)) if values[box]}
        more |= {"only_shown": values[form.only_shown] is True, "last_photo": or_toast(uploaded, values[form.last_photo])}
        jobs, refused, name = [], [], batch.new_batch()
        for photo, prompt in zip(photos, prompts_of(settings.prompt, len(photos)), strict=True):
            try:
                path = uploaded(photo)
                joined = {batch.BATCH: {"name": name, "label": Path(path or "").stem}} if len(photos) > 1 else {}
                jobs.append(ask(visitor, path, settings.model_copy(update={"prompt": prompt}), **more, **joined))
            except ValueError as error:
                refused.append(str(error))
        if not jobs:
            raise gr.Error(refused[0], print_exception=False)
        for why, count in Counter(refused).items():
            gr.Warning(why if count == 1 else f"{count} photos: {why}")
        return [jobs[0].id if len(jobs) == 1 else name, None, None, words, said, ""]

    def run_example(values: dict[Component, Any]) -> list[Any]:
        return run_clip(values, heeds=False)

    def run_draft(values: dict[Component, Any]) -> list[Any]:
        return run_clip(values, studio.draft)

    asked_about = gr.State("")  # a prompt that told no motion
    inputs = form.inputs | {state.visitor, form.more_photos, form.last_photo, form.lora, form.video_model, form.only_shown, asked_about}
    outputs = [state.job, form.more_photos, form.last_photo, box, form.said, asked_about]
    triggers = [form.run.click, box.submit]
    page_state.follow_job(studio, state, gr.on(triggers, run_clip, inputs, outputs, **RAW))
    page_state.follow_job(studio, state, form.draft.click(run_draft, inputs, outputs, **RAW))
    filled = [form.photo, box, form.settings["motion"]]
    tried = form.examples.click(examples.chosen, None, filled, **page_state.QUICK)
    page_state.follow_job(studio, state, tried.success(run_example, inputs, outputs, **RAW))
