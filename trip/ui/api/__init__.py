"""The endpoints for programs: typed, named, documented. Everything else on the page is private."""

from trip.ui.api import clips, finetune, pictures
from trip.ui.finetune_studio import FinetuneStudio
from trip.ui.studio import Studio


def publish(studio: Studio, finetunes: FinetuneStudio) -> None:
    """Adds all endpoints to the current `gr.Blocks`."""
    clips.publish(studio)
    pictures.publish(studio)
    finetune.publish(finetunes)
