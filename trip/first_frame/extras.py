"""LoRA and textual inversion: added to a pipeline for one job, and taken off again. Safetensors only."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusers import DiffusionPipeline
from safetensors import SafetensorError
from safetensors.torch import load_file

from trip.first_frame.whereabouts import EXTRAS, extras
from trip.settings import PictureSettings
from trip.system.files import check_header


@contextmanager
def added(pipe: DiffusionPipeline, settings: PictureSettings, models: Path | None, *, anywhere: bool = False) -> Iterator[None]:
    """The pipeline with the LoRA and the embedding that the settings name, for as long as the context lasts.

    anywhere  a name may also be a path; for the person at the machine, not for visitors of the page
    Raises ValueError, in one line.
    """
    lora, embedding = (_file(kind, getattr(settings, kind), models, anywhere) for kind in EXTRAS)
    try:
        if lora:
            _told(lora, lambda: _add_lora(pipe, lora, settings.lora_weight))
        if embedding:
            _told(embedding, lambda: _add_embedding(pipe, embedding))
        yield
    finally:
        if lora:
            pipe.unload_lora_weights()
        if embedding:
            _remove_embedding(pipe, embedding)


def _file(kind: str, name: str, models: Path | None, anywhere: bool) -> Path | None:
    """The safetensors file of that name; none where no name is given."""
    if not name:
        return None
    inside = models / EXTRAS[kind] / Path(name).name if models and Path(name).name == name else None
    path = inside if inside and inside.is_file() else Path(name) if anywhere else None
    if path is None or not path.is_file():
        there = ", ".join(extras(kind, models)) or "none yet"
        raise ValueError(f"there is no file {Path(name).name!r} among the {EXTRAS[kind]} of the models folder; there are: {there}")
    with path.open("rb") as file:
        head = file.read(9)
    if path.suffix != ".safetensors" or head[8:] != b"{":
        raise ValueError(f"{path.name}: wanted a safetensors file, got another kind; a pickle can run code when opened: convert it first")
    check_header(path)
    return path


def _told(path: Path, add: Callable[[], None]) -> None:
    try:
        add()
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:150]
        raise ValueError(f"{path.name} does not fit this model ({type(error).__name__}: {reason}); choose another") from error


def _add_lora(pipe: DiffusionPipeline, path: Path, weight: float) -> None:
    pipe.load_lora_weights(load_file(path), adapter_name="added")
    if not pipe.get_active_adapters():
        raise ValueError("nothing in it belongs to this model")
    pipe.set_adapters(["added"], [weight])


def _encoders(pipe: DiffusionPipeline) -> dict[str, tuple]:
    """Keys of an embedding file -> the tokenizer and the text encoder that it is for."""
    both = {"clip_l": (pipe.tokenizer, pipe.text_encoder)}
    if getattr(pipe, "tokenizer_2", None) is not None:
        both["clip_g"] = (pipe.tokenizer_2, pipe.text_encoder_2)
    return both


def _add_embedding(pipe: DiffusionPipeline, path: Path) -> None:
    weights = load_file(path)
    encoders = _encoders(pipe) if "clip_l" in weights else {next(iter(weights)): (pipe.tokenizer, pipe.text_encoder)}
    for key, (tokenizer, text_encoder) in encoders.items():
        pipe.load_textual_inversion({path.stem: weights[key]}, token=path.stem, tokenizer=tokenizer, text_encoder=text_encoder)


def _remove_embedding(pipe: DiffusionPipeline, path: Path) -> None:
    """Takes off the words `name`, `name_1`, … that an embedding of one or more vectors has added."""
    ours = re.compile(rf"{re.escape(path.stem)}(_\d+)?")
    for tokenizer, text_encoder in _encoders(pipe).values():
        if words := [word for word in tokenizer.get_added_vocab() if ours.fullmatch(word)]:
            pipe.unload_textual_inversion(words, tokenizer=tokenizer, text_encoder=text_encoder)
