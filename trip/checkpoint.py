"""The checkpoint folder: is it safe to open, which of its weight files are meant, and what it says of itself on the hub."""

import re
from pathlib import Path
from typing import Any

from trip.system.files import check_header

PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
CLASS_FILE = "pipeline.py"  # by which `DiffusionPipeline.from_pretrained(..., trust_remote_code=True)` finds our class
CLASS_CODE = '''"""The class that `DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)` takes, of the package `trip`."""

from trip.pipeline import TripPipeline  # noqa: F401
'''
_WEIGHTS = re.compile(r"(?:diffusion_pytorch_)?model(?:\.(?P<variant>[^.]+?))?(?:-\d{5}-of-\d{5})?\.safetensors")


def check_checkpoint(folder: Path) -> None:
    """ValueError, in one line, where a folder is not a pipeline that is safe to open."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: wanted a checkpoint folder or a hub id, found nothing there; check the path")
    if not (folder / "model_index.json").is_file():
        raise ValueError(
            f"{folder}: wanted a pipeline folder with a model_index.json, found none; give the folder that save_pretrained wrote"
        )
    pickles = sorted(path.name for path in folder.rglob("*") if path.suffix.lower() in PICKLES)
    if pickles:
        raise ValueError(f"{folder}: wanted safetensors only, found {pickles[0]}, which can run code when opened; convert it first")
    for path in folder.rglob("*.safetensors"):
        check_header(path)


def only_variant(part: Path) -> str | None:
    """The variant (such as fp16) that the weights in a part's folder have in their names, where they have that one alone."""
    found = {match["variant"] for path in part.glob("*.safetensors") if (match := _WEIGHTS.fullmatch(path.name))}
    return next(iter(found)) if len(found) == 1 else None


def weights_of(folder: Path, part: str) -> dict[str, Any]:
    """How a part of a pipeline folder is opened, as keywords of its class's `from_pretrained`."""
    return {"subfolder": part, "use_safetensors": True, "variant": only_variant(folder / part)}


def model_card(name: str, weights: str, lora: str = "") -> str:
    """The page of a repository, as markdown.

    name     of the repository
    weights  what the weights are, in a sentence
    lora     what was added to them, where something was
    """
    return (
        "---\nlibrary_name: diffusers\npipeline_tag: image-to-video\ntags: [image-to-video, trip]\n---\n\n"
        f"# {name.split('/')[-1]}\n\n{' '.join(f'{weights} {lora}'.split())}\n\n"
        "A checkpoint of TRIP (Temporal Residual Learning with Image Noise Prior, CVPR 2024); the package `trip` opens it:\n\n"
        "```python\nfrom trip import TripPipeline\nfrom diffusers.utils import export_to_video\n\n"
        f'pipe = TripPipeline.from_pretrained("{name}")\n'
        'video = pipe("photo.jpg", prompt="the camera pans right").frames[0]\n'
        'export_to_video(video, "clip.mp4", fps=pipe.config.fps)\n```\n'
    )
