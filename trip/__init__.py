"""TRIP: image-to-video diffusion by temporal residual learning with an image noise prior (CVPR 2024).

Every video tensor of the package is laid out `b c f h w`, which is what the 3D-UNet takes.
Pixels are float in [-1, 1] inside and uint8 at the edges; latents are scaled in `trip.model.latents` alone.
Frame 0 of a clip is the given photo.

Importing the package does no work: the classes below are loaded on first use.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {  # public name -> module
    "TripPipeline": "trip.pipeline",
    "TripUNet": "trip.model.unet",
    "NoiseFusion": "trip.model.fusion",
    "VARIANTS": "trip.settings",
    "PRESETS": "trip.settings",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'trip' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
