"""Which video models by others are on this machine: of the catalogue, in the models folder or the hub's cache, or a folder that a person
names.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from trip.backbones.kinds import KINDS, Kind, class_of
from trip.first_frame.catalogue import CARDS, Card, cards
from trip.first_frame.local_models import (
    MissingModel,
    card_folder,
    find_model,
    folder_name,
    folders_of,
    index_of,
    is_available,
    is_safe_name,
)

logger = logging.getLogger(__name__)

BASE = "+"  # between the names of a motion adapter and of its base


@dataclass(frozen=True)
class VideoModel:
    """A video model that is on this machine.

    name        as it was asked for
    title       for people
    class_name  of diffusers' pipeline
    kind        how that is called
    folder      of its files
    adapter     folder of a motion adapter, where `folder` is that of its base
    memory      as its card has it; none where it has no card
    """

    name: str
    title: str
    class_name: str
    kind: Kind
    folder: Path
    adapter: Path | None = None
    memory: tuple[float, float, float] | None = None


def find_video_model(name: str, models: Path | None, *, anywhere: bool = False) -> VideoModel | None:
    """The video model of that name, by others; none where it is none of the kinds that are known, as a TRIP checkpoint is.

    name      of the catalogue, a folder in the models folder, a hub id in the hub's cache; `animatediff+NAME` has another base
    anywhere  also a path to a folder; for the person at the machine, not for visitors of the page
    Raises MissingModel where it is of the catalogue and not here, and ValueError, in one line, where its base is not.
    """
    own, _, base = name.partition(BASE)
    if own in cards("video"):
        return _of_catalogue(own, base, name, models, anywhere)
    folders = [Path(name)] if anywhere and name else []
    if is_safe_name(name):
        folders += [models / folder_name(name)] if models else []
        folders += folders_of(Card(name, "video", name, 0, "not known here"), None) if "/" in name else []
    for folder in folders:
        if class_name := class_of(folder):
            title = folder.resolve().name if folder == Path(name) else name
            return VideoModel(name, title, class_name, KINDS[class_name], folder.absolute())
    return None


def _of_catalogue(own: str, base: str, name: str, models: Path | None, anywhere: bool) -> VideoModel:
    card = CARDS[own]
    if BASE in name and not (base and card.needs):
        raise ValueError(
            f"{name}: wanted {'the name of a base after' if card.needs else 'no base, thus nothing from'} {BASE} on, got {name!r}"
        )
    if not is_available(own, models) and not (base and card_folder(card, models)):
        raise MissingModel(own, models)
    kind = replace(KINDS[card.pipeline], num_steps=card.num_steps, guidance_scale=card.guidance_scale)
    if card.shape:
        kind = replace(kind, shape=card.shape, is_square=False, num_frames=card.num_frames)
    folder = card_folder(card, models)
    if not card.files:
        if _is_other(folder, card.pipeline):
            raise ValueError(f"{name}: wanted a folder of {card.pipeline}, found another kind in {folder.name}; copy or fetch it again")
        return VideoModel(name, card.title, card.pipeline, kind, folder, memory=card.memory)
    under = find_model(base or card.needs[0], models, "paint", anywhere=anywhere)
    if under.card.family != "sd":
        raise ValueError(f"{name}: wanted a base of Stable Diffusion 1.x's family, got {under.name}; choose another")
    title = f"{card.title.split(' on ')[0]} on {under.card.title}"
    return VideoModel(name, title, card.pipeline, kind, under.folder, folder, card.memory)


def video_models_here(models: Path | None) -> list[VideoModel]:
    """Those of the catalogue that are on this machine, and the folders of such kinds in the models folder."""
    names = [name for name in cards("video") if is_available(name, models)]
    folders = sorted(models.iterdir()) if models and models.is_dir() else []
    names += [folder.name for folder in folders if folder.is_dir() and folder.name not in CARDS and BASE not in folder.name]
    found: dict[tuple[Path, Path | None, str], VideoModel] = {}
    for name in names:
        try:
            model = find_video_model(name, models)
        except ValueError as error:  # one that is broken leaves the others
            logger.warning("%s", error)
            continue
        if model:
            found.setdefault((model.folder, model.adapter, model.class_name), model)
    return list(found.values())


def _is_other(folder: Path, class_name: str) -> bool:
    """Whether a folder holds another kind of pipeline than that class opens; Text2Video-Zero works on Stable Diffusion's own."""
    found = (index_of(folder) or {}).get("_class_name")
    base = {"TextToVideoZeroPipeline": "StableDiffusionPipeline"}.get(class_name, class_name)
    return found != base and class_of(folder) != class_name
