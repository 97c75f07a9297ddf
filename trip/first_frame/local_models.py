"""Which models are on this machine, whole: in the models folder, in the hub's cache, or as a folder that a person names."""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from trip.data.instructions import told_edits
from trip.first_frame.catalogue import CARDS, JUDGES, Card, Task, cards, size_of
from trip.settings import ControlSettings, EditSettings, PaintSettings, PictureSettings

SEES_PHOTO = {"feature_extractor", "image_encoder"}  # parts through which some video models see it
UNUSED = {"safety_checker", *SEES_PHOTO}  # parts of pipelines that no picture asks for
WITHOUT_WEIGHTS = ("Scheduler", "Tokenizer", "TokenizerFast", "Processor", "Extractor")
INDEX = "model_index.json"
EXTRAS = {"lora": "loras", "embedding": "embeddings"}  # setting -> folder in the models folder
DEFAULTS = {PaintSettings: "sdxl", EditSettings: "ip2p", ControlSettings: "sd15"}  # what is taken where it is here and nobody names another
EMBEDDED_EDITOR, MISSED = "editor", {"cartoon"}  # its name, and the edits that none of its pictures comes near to: see its card


@dataclass(frozen=True)
class Model:
    """A model that is on this machine: what it is, and the folder of its files."""

    name: str
    card: Card
    folder: Path


class MissingModel(ValueError):
    """A model of the catalogue that is not here, or not all of it; the message has the command that gets it.

    name   of the card to fetch
    words  the same for people at the page, who have a button for it
    """

    def __init__(self, name: str, models: Path | None):
        super().__init__(download_hint(name, models))
        missing = missing_cards(name, models)
        self.name = name
        self.words = f"{_titles(missing)}: not on this machine yet, about {size_of(_num_bytes(missing))}; get it first"


def card_folder(card: Card, models: Path | None) -> Path | None:
    """The folder in which all files of a card are; none where some are missing."""
    return next((folder for folder in folders_of(card, models) if not missing_parts(folder, card)), None)


def is_available(name: str, models: Path | None) -> bool:
    """Whether a card of the catalogue can be used: all its files are here, and of a lone U-Net the rest of the model as well."""
    wanted = (*CARDS[name].needs, name) if CARDS[name].task in ("paint", "video") else (name,)
    return all(card_folder(CARDS[one], models) for one in wanted)


def default_model(schema: type[PictureSettings], models: Path | None) -> str:
    """The model that is taken where nobody names one: FIRST, or else the first of the list that is here; FIRST where none is."""
    names = (DEFAULTS[schema], *cards(task_of(schema)))
    return next((name for name in names if is_available(name, models)), DEFAULTS[schema])


def task_of(schema: type[PictureSettings]) -> Task:
    """What the model of such settings is for."""
    return "edit" if schema is EditSettings else "paint"


def find_model(name: str, models: Path | None, task: Task, *, anywhere: bool = False) -> Model:
    """The model of that name: of the catalogue, in the models folder, or in the hub's cache under its hub id.

    anywhere  also a path to a folder; for the person at the machine, not for visitors of the page
    Raises ValueError, in one line, where there is none, or not all of it.
    """
    known = cards(task)
    if name in known:
        if is_available(name, models):
            return Model(name, known[name], card_folder(known[name], models))
        raise MissingModel(name, models)
    if name in CARDS:
        raise ValueError(f"{name} is no model to {task} with; choose from {', '.join(known)}")
    card = replace(_unknown_card(task), title=name, repo=name if is_safe_name(name) and "/" in name else None)
    folders = [Path(name)] if anywhere and Path(name).is_dir() else list(folders_of(card, models)) if is_safe_name(name) else []
    if folder := next((folder for folder in folders if folder.is_dir()), None):
        if missing := missing_parts(folder, card):
            raise ValueError(f"{name}: wanted a whole model to {task} with, but it lacks {', '.join(missing)}; copy or fetch it again")
        return Model(name, replace(card, family=family_of(folder), **_native_size(folder)), folder)
    wanted = f"one of {', '.join(known) or 'none yet'}, or a folder or hub id that is on this machine"
    hint = f"; if it is on the hub, get it with: python -m trip models --fetch {name} --task {task}" if card.repo else "; check the name"
    raise ValueError(f"there is no model {name!r} here: wanted {wanted}{hint}")


def resolve_models(settings: PictureSettings, models: Path | None, *, anywhere: bool = False) -> tuple[Model, Model | None]:
    """What settings ask for: the model, and where one is needed, the ControlNet or the refiner that works with it.

    anywhere  as in `find_model`
    Raises ValueError, in one line, with what is missing.
    """
    name, task = settings.picture_model or default_model(type(settings), models), task_of(type(settings))
    if isinstance(settings, ControlSettings):
        return _with_controlnet(name, settings, models, anywhere)
    model = find_model(name, models, task, anywhere=anywhere)
    if isinstance(settings, EditSettings):
        _check_instruction(settings.instruction, model)
        return model, None
    if not settings.refine:
        return model, None
    refiner = find_model("sdxl-refiner", models, "refine")
    if model.card.family != refiner.card.family:
        raise ValueError(f"Refine works on pictures of SDXL, and {model.name} is another kind; leave it off")
    return model, refiner


def _check_instruction(instruction: str, model: Model) -> None:
    """ValueError where the embedded editor is asked for what it never learnt, or learnt in vain."""
    if model.name == EMBEDDED_EDITOR and instruction.strip() and not set(told_edits(instruction)) - MISSED:
        asked = textwrap.shorten(instruction, 60, placeholder=" …")
        raise ValueError(
            f"the embedded editor cannot do {asked!r}: it changes light, weather, season and tone, and adds or removes no thing; "
            f"ask for one of these, or get {CARDS['ip2p'].title}"
        )


def _with_controlnet(base: str, settings: ControlSettings, models: Path | None, anywhere: bool) -> tuple[Model, Model]:
    """A base model and the ControlNet that the settings name; where they name none, the catalogue's for this base and annotator."""
    name = settings.controlnet
    both = _controlnets(CARDS[base].family).get(settings.annotator) if base in CARDS and not name else None
    if both and base in CARDS[both].needs and card_folder(CARDS[base], models) is None:
        raise MissingModel(both, models)  # one command for base and ControlNet
    model = find_model(base, models, "paint", anywhere=anywhere)
    if not name:
        suited = _controlnets(model.card.family)
        if settings.annotator not in suited:
            choice = ", ".join(sorted(suited))
            raise ValueError(f"there is no ControlNet for {settings.annotator} on {base_title(model)} in the list; choose from {choice}")
        name = suited[settings.annotator]
        if card_folder(CARDS[name], models) is None:
            raise MissingModel(name, models)
    return model, find_model(name, models, "control", anywhere=anywhere)


def extractor_folder(name: str, models: Path | None) -> Path:
    """The folder of a network that judges clips; ValueError, in one line, with the command that gets it, where it is not here."""
    if folder := card_folder(JUDGES[name], models):
        return folder
    raise ValueError(download_hint(name, models))


def _controlnets(family: str) -> dict[str, str]:
    """Annotator -> the catalogue's ControlNet that reads its maps, for a kind of base model."""
    return {card.annotator: name for name, card in CARDS.items() if card.task == "control" and card.family == family}


def base_title(model: Model) -> str:
    """What a ControlNet has to be made for, to work with a model."""
    return "SDXL" if model.card.family == "sdxl" else "Stable Diffusion 1.5"


def download_hint(name: str, models: Path | None) -> str:
    """What of a card is missing, and the command that gets it."""
    missing = missing_cards(name, models)
    sizes = size_of(_num_bytes(missing))
    begun = "; what is whole of it is kept" if any(_is_partial(card, models) for card in missing) else ""
    option = f" --models {models}" if models else ""
    return f"{_titles(missing)}: not on this machine; get it (about {sizes}) with: python -m trip models --fetch {name}{option}{begun}"


def missing_cards(name: str, models: Path | None) -> list[Card]:
    """Of a card and of those that it needs, the ones that are not here."""
    known = CARDS | JUDGES
    return [known[other] for other in (*known[name].needs, name) if card_folder(known[other], models) is None]


def num_bytes_to_get(name: str, models: Path | None) -> int:
    """Size of what is missing for a card."""
    return _num_bytes(missing_cards(name, models))


def _num_bytes(missing: list[Card]) -> int:
    return sum(card.about_bytes for card in missing)


def _titles(missing: list[Card]) -> str:
    return " and ".join(card.title for card in missing)


def missing_parts(folder: Path, card: Card) -> list[str]:
    """What a folder lacks of a card's files, in words; weights count where they are safetensors, unless the card names others."""
    if card.files:
        return [name for name in card.files if not (folder / name).is_file()]
    if card.task == "control":
        return [] if (folder / "config.json").is_file() and _has_weights(folder) else ["config.json and weights as safetensors"]
    if (index := index_of(folder)) is None:
        return [INDEX]
    return [
        f"{part} (wanted as safetensors)" if needs_weights else part
        for part, needs_weights in parts_of(index, card.task)
        if not (folder / part).is_dir() or (needs_weights and not _has_weights(folder / part))
    ]


def extras(kind: str, models: Path | None) -> list[str]:
    """The files of a kind of EXTRAS that are in the models folder."""
    return sorted(file.name for file in (models / EXTRAS[kind]).glob("*.safetensors")) if models else []


def index_of(folder: Path) -> dict | None:
    """What model_index.json says; none where there is none that can be read."""
    try:
        index = json.loads((folder / INDEX).read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return index if isinstance(index, dict) else None


def parts_of(index: dict, task: Task = "paint") -> Iterator[tuple[str, bool]]:
    """The parts of a pipeline that are used for a task, and whether each has weights."""
    unused = UNUSED - SEES_PHOTO if task == "video" else UNUSED
    for part, value in index.items():
        if not part.startswith("_") and isinstance(value, list) and len(value) == 2 and value[0] is not None and part not in unused:
            yield part, not str(value[1]).endswith(WITHOUT_WEIGHTS)


def family_of(folder: Path) -> str:
    """Which U-Net a pipeline has, or a ControlNet was made for: "sd" or "sdxl"; by what it is conditioned on."""
    names = (folder / "unet" / "config.json", folder / "config.json")
    config = next((json.loads(name.read_text()) for name in names if name.is_file()), {})
    return "sdxl" if config.get("addition_embed_type") == "text_time" else "sd"


def _native_size(folder: Path) -> dict[str, int]:
    """Pixels of a side that a pipeline was made for, by its own configuration."""
    try:
        unet = json.loads((folder / "unet" / "config.json").read_text())
        vae = json.loads((folder / "vae" / "config.json").read_text())
        return {"size": unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _unknown_card(task: Task) -> Card:
    """What is assumed of a model that is in no catalogue."""
    return Card("", task, None, 0, "not known here")


def is_safe_name(name: str) -> bool:
    """Whether a name is no path out of the models folder: one word, or owner/name."""
    return name.count("/") <= 1 and all(part and not part.startswith(".") and "\\" not in part for part in name.split("/"))


def folders_of(card: Card, models: Path | None) -> Iterator[Path]:
    """Where a card's files may be."""
    if card.folder:
        yield card.folder
    elif models:
        names = [name for name, other in (CARDS | JUDGES).items() if other == card or _is_same_pipeline(other, card)] or [card.title]
        yield from (models / name for name in (*names, *((folder_name(card.repo), card.repo.split("/")[1]) if card.repo else ())))
    if card.archive:
        yield from (default_folder(name) for name, other in JUDGES.items() if other == card)
    if card.repo:
        first = card.files[0] if card.files else "config.json" if card.task == "control" else INDEX
        try:
            cached = try_to_load_from_cache(card.repo, first)
        except HFValidationError:
            return
        if isinstance(cached, str):
            yield Path(cached).parent


def _is_same_pipeline(card: Card, other: Card) -> bool:
    return card.repo is not None and card.repo == other.repo and not card.files and not other.files


def default_folder(name: str) -> Path:
    """Where weights that are not from the hub lie where no folder of models is given: beside the hub's cache."""
    return Path(constants.HF_HUB_CACHE).parent / "trip" / name


def folder_name(repo: str) -> str:
    """Name of a hub id's folder in the models folder: owner--name."""
    return repo.replace("/", "--")


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def _is_partial(card: Card, models: Path | None) -> bool:
    return any(folder.is_dir() for folder in folders_of(card, models))
