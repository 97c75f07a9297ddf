"""Which video models by others are on this machine: of the catalogue, in the models folder or the hub's cache, or a folder that a person
names.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from trip.backbones.kinds import KINDS, Kind, class_of
from trip.first_frame.catalogue import CARDS, Card, cards
from trip.first_frame.local_models import MissingModel, card_folder, find_model, folders_of, is_available, is_safe_name

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
    """

    name: str
    title: str
    class_name: str
    kind: Kind
    folder: Path
    adapter: Path | None = None


def find_video_model(name: str, models: Path | None, *, anywhere: bool = False) -> VideoModel | None:
    """The video model of that name, by others; none where it is none of the kinds that are known, as a TRIP checkpoint is.

    name      of the catalogue, a folder in the models folder, a hub id in the hub's cache; `animatediff+NAME` has another base
    anywhere  also a path to a folder; for the person at the machine, not for visitors of the page
    Raises MissingModel where it is of the catalogue and not here, and ValueError, in one line, where its base is not.
    """
    own, _, base = name.partition(BASE)
    if own in cards("video"):
        return _of_catalogue(own, base, name, models, anywhere)
    unknown = Card(name, "video", name if is_safe_name(name) and "/" in name else None, 0, "not known here")
    folders = [Path(name)] if anywhere else []
    folders += folders_of(unknown, models) if is_safe_name(name) else []
    for folder in folders:
        if class_name := class_of(folder):
            return VideoModel(name, folder.name if folder == Path(name) else name, class_name, KINDS[class_name], folder)
    return None


def _of_catalogue(own: str, base: str, name: str, models: Path | None, anywhere: bool) -> VideoModel:
    card = CARDS[own]
    if base and not card.needs:
        raise ValueError(f"{name}: {own} has no base to choose; leave {BASE}{base} off")
    if not is_available(own, models) and not (base and card_folder(card, models)):
        raise MissingModel(own, models)
    kind = replace(KINDS[card.pipeline], num_steps=card.num_steps, guidance_scale=card.guidance_scale)
    if card.shape:
        kind = replace(kind, shape=card.shape, is_square=False, num_frames=card.num_frames)
    folder = card_folder(card, models)
    if not card.files:
        return VideoModel(name, card.title, card.pipeline, kind, folder)
    under = find_model(base or card.needs[0], models, "paint", anywhere=anywhere)
    if under.card.family != "sd":
        raise ValueError(f"{name}: wanted a base of Stable Diffusion 1.x's family, got {under.name}; choose another")
    title = f"{card.title.split(' on ')[0]} on {under.card.title}"
    return VideoModel(name, title, card.pipeline, kind, under.folder, folder)


def video_models_here(models: Path | None) -> list[VideoModel]:
    """Those of the catalogue that are on this machine, and the folders of such kinds in the models folder."""
    found = {name: find_video_model(name, models) for name in cards("video") if is_available(name, models)}
    taken = {model.folder for model in found.values() if model.adapter is None}
    for folder in sorted(models.iterdir()) if models and models.is_dir() else []:
        is_other = folder.is_dir() and folder not in taken and folder.name not in CARDS and is_safe_name(folder.name)
        if is_other and (model := find_video_model(folder.name, models)):
            found[folder.name] = model
    return list(found.values())
