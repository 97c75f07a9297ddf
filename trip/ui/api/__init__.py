"""The endpoints for programs: typed, named, documented. Everything else on the page is private."""

from trip.ui.api import clips, finetune, pictures
from trip.ui.studio import Studio
from trip.ui.workshop import Workshop


def publish(studio: Studio, workshop: Workshop) -> None:
    """Adds all endpoints to the current `gr.Blocks`."""
    clips.publish(studio)
    pictures.publish(studio)
    finetune.publish(workshop)
