"""What a TRIP pipeline is besides sampling: its folder and its page on the hub, what its weights are, LoRA, and how memory is saved."""

import copy
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import accelerate
import torch
from diffusers import ConfigMixin, DiffusionPipeline, StableDiffusionMixin
from huggingface_hub import create_repo, hf_hub_download

from trip.checkpoint import CLASS_CODE, CLASS_FILE, model_card, only_variant
from trip.model.fusion import NoiseFusion
from trip.model.lora import LoraCard, fingerprint, merge_lora
from trip.model.unet import TripUNet

DEFAULTS = {"num_frames": 16, "fps": 4.0, "num_steps": 50, "guidance_scale": 9.0, "card": "", "lora": None}
LORA_FILE = "lora.safetensors"
HUB = ("commit_message", "private", "token", "create_pr", "subfolder")  # what an upload takes


class TripLoaderMixin(DiffusionPipeline, StableDiffusionMixin):
    """A pipeline that is opened, saved, uploaded and changed by a LoRA; `TripPipeline` samples with it."""

    _without_lora: tuple[TripUNet, NoiseFusion] | None = None

    def _remember(self, **values: Any) -> None:
        """Notes what the weights are and how they are used, also with the weights themselves."""
        self.register_to_config(**values)
        if self.unet is not None:
            self.unet.used_with = {name: self.config[name] for name in DEFAULTS}

    # files

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **more: Any) -> Self:
        """As in diffusers. Of a folder whose weights are all of one variant (such as fp16), that one; no code of a folder is run."""
        if more.get("variant") is None and Path(pretrained_model_name_or_path).is_dir():
            more["variant"] = only_variant(Path(pretrained_model_name_or_path, "unet"))
        return super().from_pretrained(pretrained_model_name_or_path, **more)

    @classmethod
    def _dict_from_json_file(cls, json_file: str | Path) -> dict[str, Any]:
        return super()._dict_from_json_file(json_file) | {"_class_name": cls.__name__}  # not the file beside it that names it too

    def to_json_string(self) -> str:
        """The index of the folder; it names our class by the file through which `DiffusionPipeline` finds it."""
        index = json.loads(super().to_json_string()) | {"_class_name": [Path(CLASS_FILE).stem, type(self).__name__]}
        return json.dumps(index, indent=2, sort_keys=True) + "\n"

    def save_pretrained(self, save_directory: str | Path, *, push_to_hub: bool = False, **more: Any) -> None:
        """As in diffusers, but what is written names no folder of this machine, and `DiffusionPipeline` opens it, too."""
        folder = Path(save_directory)
        hub = {"repo_id": folder.name} | {name: more.pop(name) for name in ("repo_id", *HUB) if name in more}
        parts = [part for part in (self, *self.components.values()) if isinstance(part, ConfigMixin)]
        kept = [part.config for part in parts]
        try:
            for part in parts:
                part.register_to_config(_name_or_path="")
            super().save_pretrained(str(folder), **more)
        finally:
            for part, config in zip(parts, kept, strict=True):
                part._internal_dict = config
        (folder / CLASS_FILE).write_text(CLASS_CODE)
        if push_to_hub:
            self._upload(folder, **hub)

    def push_to_hub(self, repo_id: str, **more: Any) -> str:
        """As in diffusers; the repository's page says what the weights are. Nothing is made there before all is written here."""
        hub = {name: more.pop(name) for name in HUB if name in more}
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, **more)
            return self._upload(Path(folder), repo_id, **hub)

    def _upload(self, folder: Path, repo_id: str, *, private: bool | None = None, token: str | None = None, **more: Any) -> str:
        repo_id = create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
        origin = Path(self.name_or_path or "memory") / "README.md"
        own = origin.read_text() if origin.is_file() and not self.lora else model_card(repo_id, self.weights_card)
        (folder / "README.md").write_text(own)
        return self._upload_folder(folder, repo_id, token=token, **more)

    # what it is

    @property
    def frame_size(self) -> int:
        """Height and width of a frame, pixels."""
        return self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def weights_card(self) -> str:
        """Which weights these are, in a sentence for people."""
        card = self.config.card or f"Weights from {self.model_name}; nobody wrote down what they are."
        return f"{card} With a LoRA on top, trained for {self.lora.num_steps:,} steps." if self.lora else card

    @property
    def model_name(self) -> str:
        """Hub id or folder name of the checkpoint, never a whole path."""
        name = self.name_or_path or "memory"
        return Path(name).name if Path(name).exists() else name

    @property
    def fingerprint(self) -> str:
        """Sixteen letters that tell these weights from others, whatever precision they were opened in."""
        return fingerprint(self.vae, self.unet, self.fusion)

    @property
    def lora(self) -> LoraCard | None:
        """What was added to the weights, where something was."""
        return LoraCard(**self.config.lora) if self.config.lora else None

    # LoRA

    def copied(self, dtype: torch.dtype | None = None) -> Self:
        """A pipeline with a 3D-UNet and a fusion of its own; the other parts are shared."""
        own = {name: copy.deepcopy(getattr(self, name)).type(dtype or getattr(self, name).dtype) for name in ("unet", "fusion")}
        pipe = type(self)(**{**self.components, **own}, **{name: self.config[name] for name in DEFAULTS})
        pipe.register_to_config(_name_or_path=self.name_or_path)
        pipe.set_progress_bar_config(disable=True)
        pipe.decode_chunk, pipe.arithmetic = self.decode_chunk, None if dtype else self.arithmetic
        return pipe

    def with_lora(self, path: Path) -> Self:
        """A pipeline with the changes that a fine-tune has written; this one stays as it is.

        Raises ValueError, in one line, where they were made for other weights, or the file is none of ours.
        """
        pipe = self.copied()
        pipe._remember(lora=asdict(merge_lora(path, pipe.unet, pipe.fusion, base_digest=self.fingerprint)))
        return pipe

    def load_lora_weights(self, pretrained_model_name_or_path: str | Path, *, weight_name: str = LORA_FILE) -> None:
        """Adds the changes that a fine-tune has written, in place: a file, a folder with a `weight_name` in it, or a hub id.

        Raises ValueError as `with_lora`, and the pipeline stays as it was.
        """
        path = Path(pretrained_model_name_or_path)
        if not path.exists() and str(path).count("/") == 1:
            path = Path(hf_hub_download(str(path), weight_name))
        if any(hasattr(part, "_hf_hook") for part in (self.unet, self.fusion)):
            raise ValueError("wanted a LoRA before offloading begins, got it after; call remove_all_hooks() first")
        pipe, before = self.with_lora(path / weight_name if path.is_dir() else path), (self.unet, self.fusion)
        self.unet, self.fusion = pipe.unet, pipe.fusion
        self._without_lora = before
        self._remember(lora=pipe.config.lora)

    def unload_lora_weights(self) -> None:
        """Takes away what `load_lora_weights` added. Raises ValueError where the changes are part of the weights."""
        if self._without_lora is None:
            raise ValueError("wanted a LoRA that load_lora_weights has added, found none to take away; open the base's weights instead")
        (self.unet, self.fusion), self._without_lora = self._without_lora, None
        self._remember(lora=self.unet.used_with["lora"])

    # memory

    def enable_sequential_cpu_offload(self, gpu_id: int | None = None, device: torch.device | str | None = None) -> None:
        """As in diffusers; on a CPU as well, so that it can be tried without an accelerator."""
        if device is None or torch.device(device).type != "cpu":
            return super().enable_sequential_cpu_offload(gpu_id, device)
        self.remove_all_hooks()
        for name, part in self.components.items():
            if (
                isinstance(part, torch.nn.Module) and name not in self._exclude_from_cpu_offload
            ):  # the base class would say cpu:0, which accelerate copies weights to as bare tensors
                accelerate.cpu_offload(part, torch.device("cpu"), offload_buffers=len(part._parameters) > 0)

    def enable_vae_slicing(self) -> None:
        """Decodes the frames of a chunk one by one."""
        self.vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        """Decodes a chunk of frames at once again."""
        self.vae.disable_slicing()

    def enable_vae_tiling(self) -> None:
        """Encodes and decodes large frames in parts."""
        self.vae.enable_tiling()

    def disable_vae_tiling(self) -> None:
        """Encodes and decodes frames whole again."""
        self.vae.disable_tiling()
