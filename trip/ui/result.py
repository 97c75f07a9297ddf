"""The panel that a tab ends in: the clip in a loop, downloads, the seed, and the settings that made it."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from trip.settings import AnimateSettings
from trip.ui.studio import Result, Studio

FORMATS = {"MP4": ".mp4", "GIF": ".gif", "WebP": ".webp"}


@dataclass(frozen=True)
class ResultPanel:
    """The components of one panel."""

    video: gr.Video
    formats: gr.Radio
    download: gr.DownloadButton
    settings: gr.HTML
    again: gr.Button
    made: gr.State
    below: gr.Column

    @property
    def outputs(self) -> list[gr.blocks.Block]:
        """What `shown` gives values to, in that order."""
        return [self.video, self.formats, self.download, self.settings, self.made, self.below]


def build(studio: Studio) -> ResultPanel:
    """Lay out the panel; it stays folded until there is a clip."""
    video = gr.Video(label="Clip", autoplay=True, loop=True, interactive=False, buttons=[], elem_id="clip", elem_classes="trip-clip")
    with gr.Column(visible=False) as below:
        with gr.Row(equal_height=True):
            formats = gr.Radio(list(FORMATS), value="MP4", label="Download as", container=False, elem_id="formats", scale=2, min_width=200)
            download = gr.DownloadButton("Download", elem_id="download", size="md", scale=1, min_width=120)
        settings = gr.HTML(elem_id="settings")
        again = gr.Button("Use this seed again", size="sm", elem_id="again")
    made = gr.State(None)

    def converted(made: Result, name: str) -> gr.DownloadButton:
        try:
            return offered(studio.convert(made.path, FORMATS[name]), name)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    formats.input(converted, [made, formats], download, api_visibility="private", concurrency_limit=None)
    return ResultPanel(video, formats, download, settings, again, made, below)


def offered(path: Path, name: str) -> gr.DownloadButton:
    """The download button with a file of a format behind it."""
    return gr.DownloadButton(f"Download {name}", str(path))


def shown(result: Result) -> list[Any]:
    """Values for `ResultPanel.outputs`."""
    return [str(result.path), "MP4", offered(result.path, "MP4"), table(result.settings), result, gr.update(visible=True)]


def table(settings: dict[str, Any]) -> str:
    """HTML table of the settings that made a clip, the seed first."""
    rows = sorted(settings.items(), key=lambda row: row[0] != "seed")
    cells = "".join(f'<tr><th scope="row">{_text(_words(name))}</th><td>{_text(value)}</td></tr>' for name, value in rows)
    return f'<table class="trip-settings"><caption>Made with</caption><tbody>{cells}</tbody></table>'


def _words(name: str) -> str:
    field = AnimateSettings.model_fields.get(name)
    return field.title if field else name.replace("_", " ").capitalize()


def _text(value: Any) -> str:
    return "–" if value in (None, "") else html.escape(str(value))
