"""Low-rank changes of the 3D-UNet (LoRA, Hu et al. 2021) and the fusion beside them: added, stored, read back, merged.

A file holds `unet.LAYER.lora_A.weight` and `unet.LAYER.lora_B.weight` of every changed layer, and whole what is small: the warp of the
photo under `unet.` and the fusion under `fusion.`. All of it is half precision; the metadata says what it belongs to. A file made for
other weights is refused, and so is one that is no safetensors.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import torch
from peft import LoraConfig, LoraModel
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trip.model.fusion import NoiseFusion
from trip.model.unet import TripUNet
from trip.system.files import check_header, replacing

LAYERS = {  # choice -> names of the 3D-UNet's layers
    "motion": r"(.*\.)?(temp_attentions|temp_convs|transformer_in|frame_time_embedding)\..*|.*attn2\.to_(k|v)",
    "attention": r"(.*\.)?(temp_attentions|attentions|transformer_in)\..*",
    "all": r".*",
}
WHOLE = (
    "warp",
    "photo_in",
)  # parts of the 3D-UNet, where it has them, that learn as they are: small, and dilated, which peft's LoRA is not
FORMAT = "trip-lora-1"
_ADAPTER = "trip"  # peft's name for ours
_KINDS = (nn.Linear, nn.Conv2d, nn.Conv3d)
_SAMPLED = 64  # values of a tensor that its fingerprint takes


@dataclass(frozen=True)
class LoraCard:
    """What a file of low-rank changes belongs to and comes from; all of it stands in the file's metadata.

    base, base_digest  name and fingerprint of the weights that it changes
    rank, layers       of the changes, and which of LAYERS have them
    data_digest        fingerprint of the clips that it was trained on
    num_steps          optimizer steps
    settings           as the person gave them
    figures            what was measured: loss on held-out clips before and after
    """

    base: str
    base_digest: str
    rank: Annotated[int, Field(ge=1, le=4096)]
    layers: str
    data_digest: str = ""
    num_steps: Annotated[int, Field(ge=0, le=10**9)] = 0
    settings: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


_CARD = TypeAdapter(LoraCard)


def checked_card(values: Any) -> LoraCard:
    """A card out of what a file says. Raises ValueError, in one line, where its values are of wrong kinds."""
    try:
        return _CARD.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{first['loc'][0] if first['loc'] else 'card'}: {first['msg']}") from error


def add_lora(unet: TripUNet, *, rank: int, layers: str) -> LoraModel:
    """Puts changes of a rank into the chosen layers, zero at first, in place; they and the parts in WHOLE are all that learns."""
    names = layers_of(unet, layers)
    unet.requires_grad_(False)
    adapted = LoraModel(unet, LoraConfig(r=rank, lora_alpha=rank, target_modules=names), _ADAPTER)
    for name in WHOLE:
        if hasattr(unet, name):
            getattr(unet, name).requires_grad_(True)
    return adapted


def layers_of(unet: TripUNet, layers: str) -> list[str]:
    """Names of the linear and convolutional layers that a choice of LAYERS means."""
    if layers not in LAYERS:
        raise ValueError(f"unknown layers {layers!r}; choose {', '.join(LAYERS)}")
    named = [(name, module) for name, module in unet.named_modules() if isinstance(module, _KINDS) and name.split(".")[0] not in WHOLE]
    return [name for name, _ in named if re.fullmatch(LAYERS[layers], name)]


def save_lora(path: Path, unet: TripUNet, fusion: NoiseFusion, card: LoraCard) -> None:
    """Writes the changes of a 3D-UNet that `add_lora` was called on, and the fusion."""
    tensors = {name: value.detach().half().cpu().contiguous() for name, value in _learnt(unet, fusion).items()}
    known = {name: json.dumps(value) for name, value in asdict(card).items()}
    with replacing(path) as partial:
        save_file(tensors, partial, metadata={"format": FORMAT, **known})


def lora_file(path: Path) -> Path:
    """The file that `path` means: itself, or the one in a run's folder. Raises ValueError where there is none."""
    if (path / "model" / "finetune.json").is_file():
        raise ValueError(f"{path}: this run trained every weight and has no LoRA; give --model {path / 'model'} instead")
    path = path / "lora.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path}: wanted a LoRA file or the folder of a fine-tune, found nothing there; check the path")
    return path


def read_card(path: Path) -> LoraCard:
    """What a file of changes belongs to. Raises ValueError, in one line, for any other file."""
    return _read(path)[0]


def merge_lora(path: Path, unet: TripUNet, fusion: NoiseFusion, *, base_digest: str) -> LoraCard:
    """Adds a file's changes to the weights, in place, and gives its card.

    Raises ValueError, in one line, where the file belongs to other weights, does not hold the rank it says, or is none of ours.
    """
    card, tensors = _read(path)
    if card.base_digest != base_digest:
        raise ValueError(f"{path.name}: made for the model {card.base!r} as it was then, not for this one; open that model or train again")
    ranks = {tensor.shape[:1].numel() for name, tensor in tensors.items() if name.endswith(".lora_A.weight")}
    if ranks != {card.rank}:  # before so many numbers are made room for
        raise ValueError(f"{path.name}: wanted changes of rank {card.rank} as it says, got {sorted(ranks) or 'none'}; train again")
    if broken := [name for name, tensor in tensors.items() if not torch.isfinite(tensor.float()).all()]:
        raise ValueError(f"{path.name}: its tensor {broken[0]} holds what is no number; copy or download it again")
    adapted = add_lora(unet, rank=card.rank, layers=card.layers)
    wanted = _learnt(unet, fusion)
    if wrong := sorted(name for name in wanted.keys() | tensors.keys() if _shape(wanted.get(name)) != _shape(tensors.get(name))):
        adapted.unload()
        raise ValueError(
            f"{path.name}: wanted changes of rank {card.rank} in {card.layers} layers as it says, got others ({wrong[0]}); train again"
        )
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(tensors[name])
    adapted.merge_and_unload()
    return card


def fingerprint(*modules: nn.Module) -> str:
    """Sixteen letters that tell weights apart, the same in float32 and bfloat16: some values of every tensor."""
    state = hashlib.sha256()
    for module in modules:
        for name, value in sorted(module.state_dict().items()):
            some = value.detach().flatten()[:: max(1, value.numel() // _SAMPLED)][:_SAMPLED]
            state.update(f"{name} {tuple(value.shape)}".encode())
            state.update(some.to(torch.bfloat16).cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:16]


def _learnt(unet: TripUNet, fusion: NoiseFusion) -> dict[str, Tensor]:
    """Everything that a file holds, by its name there; the tensors share memory with the modules."""
    own = {name: value for name, value in unet.state_dict().items() if ".lora_" in name or name.split(".")[0] in WHOLE}
    tensors = {f"unet.{name.replace(f'.{_ADAPTER}.', '.')}": value for name, value in own.items()}
    return tensors | {f"fusion.{name}": value for name, value in fusion.state_dict().items()}


def _shape(value: Tensor | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value.shape)


def _read(path: Path) -> tuple[LoraCard, dict[str, Tensor]]:
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (OSError, SafetensorError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(
            f"{path}: wanted a LoRA as safetensors, got something else ({reason}); give the file that finetune wrote"
        ) from error
    try:
        if metadata["format"] != FORMAT:
            raise KeyError(metadata["format"])
        return checked_card({one.name: json.loads(metadata[one.name]) for one in fields(LoraCard)}), tensors
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path.name}: wanted a LoRA of this project, got one without its card ({reason}); give one that finetune wrote"
        ) from error
