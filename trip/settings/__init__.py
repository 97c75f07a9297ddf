"""Everything a person can set, once: the command line, the page, the API, stored files and presets all read these."""

from trip.settings.animate import AnimateSettings
from trip.settings.base import Request
from trip.settings.editor import EDITORS, EditorSettings
from trip.settings.finetune import FINETUNE_PRESETS, FinetuneSettings
from trip.settings.model import VARIANTS, ModelSettings, Variant
from trip.settings.painter import PAINTERS, PainterSettings
from trip.settings.picture_model import PictureModelSettings
from trip.settings.pictures import Annotator, ControlSettings, EditSettings, PaintSettings, PictureSettings
from trip.settings.presets import PRESETS, Preset, changed
from trip.settings.recipe import RecipeSettings, StageSettings

__all__ = [
    "EDITORS",
    "FINETUNE_PRESETS",
    "PAINTERS",
    "PRESETS",
    "VARIANTS",
    "AnimateSettings",
    "Annotator",
    "ControlSettings",
    "EditSettings",
    "EditorSettings",
    "FinetuneSettings",
    "ModelSettings",
    "PaintSettings",
    "PainterSettings",
    "PictureModelSettings",
    "PictureSettings",
    "Preset",
    "RecipeSettings",
    "Request",
    "StageSettings",
    "Variant",
    "changed",
]
