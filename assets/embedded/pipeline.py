"""The class that `DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)` takes, of the package `trip`."""

from trip.pipeline import TripPipeline  # noqa: F401
