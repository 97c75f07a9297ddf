"""The models that make first frames: what each is for, where it comes from, how large it is and under which licence."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trip.system.environment import ASSETS

MB, GB = 10**6, 10**9
Task = Literal["paint", "refine", "edit", "control", "annotate"]


@dataclass(frozen=True)
class Card:
    """One model, or a file of one.

    repo            hub id; of the embedded models, none
    about_bytes     size of the download, as the hub lists it; of what is fetched, not of the whole repository
    licence         as its page on the hub says
    family          which U-Net it is made for or has: "sd" (Stable Diffusion 1.x) or "sdxl"
    size            pixels of a side that it was made for
    files           the files that are wanted, where it is not a whole pipeline
    needs           names of the cards without which it does nothing
    annotator       which maps a ControlNet reads, or an annotator makes
    gives_detail_back  whether an edit gets the photo's own detail, which a small autoencoder loses
    folder          where an embedded model lies
    note            what a person should know
    """

    title: str
    task: Task
    repo: str | None
    about_bytes: int
    licence: str
    family: Literal["sd", "sdxl", ""] = ""
    size: int = 512
    num_steps: int = 30
    guidance_scale: float = 7.5
    image_guidance: float = 1.5
    files: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    annotator: str = ""
    gives_detail_back: bool = False
    folder: Path | None = None
    note: str = ""

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return f"https://huggingface.co/{self.repo}" if self.repo else "this repository"


RAIL_PP, RAIL_M = "CreativeML Open RAIL++-M", "CreativeML Open RAIL-M"
SDXL = {"family": "sdxl", "size": 1024, "guidance_scale": 5.0}
FAST = {"guidance_scale": 1.0, "family": "sdxl"}


def _lightning(steps: int) -> Card:
    return Card(
        f"SDXL-Lightning, {steps} steps", "paint", "ByteDance/SDXL-Lightning", 5140 * MB, RAIL_PP,
        files=(f"sdxl_lightning_{steps}step_unet.safetensors",), needs=("sdxl",), size=1024, num_steps=steps, **FAST,
        note="A U-Net in place of SDXL's own",
    )  # fmt: skip


def _sd_control(annotator: str, repo: str) -> Card:
    return Card(
        f"ControlNet ({annotator}) for Stable Diffusion 1.5", "control", f"lllyasviel/{repo}", 723 * MB, "OpenRAIL",
        family="sd", needs=("sd15",), annotator=annotator,
    )  # fmt: skip


def _sdxl_control(annotator: str, repo: str, licence: str) -> Card:
    return Card(
        f"ControlNet ({annotator}) for SDXL", "control", repo, 2500 * MB, licence, needs=("sdxl",), annotator=annotator, **SDXL
    )  # fmt: skip


def _annotator(name: str, title: str, about_bytes: int, *files: str, note: str = "") -> Card:
    licence = 'its page on the hub says "other"'
    return Card(title, "annotate", "lllyasviel/Annotators", about_bytes, licence, files=files, annotator=name, note=note)


CARDS: dict[str, Card] = {
    # from words
    "sdxl": Card("Stable Diffusion XL 1.0", "paint", "stabilityai/stable-diffusion-xl-base-1.0", 6940 * MB, RAIL_PP, **SDXL),
    "sdxl-refiner": Card(
        "SDXL refiner 1.0", "refine", "stabilityai/stable-diffusion-xl-refiner-1.0", 6080 * MB, RAIL_PP, needs=("sdxl",), **SDXL
    ),
    "sdxl-turbo": Card(
        "SDXL-Turbo", "paint", "stabilityai/sdxl-turbo", 6940 * MB, "Stability AI non-commercial community licence",
        size=512, num_steps=2, **FAST, note="1 to 4 steps; not for commercial use without a licence of Stability AI",
    ),
    "sdxl-lightning-2": _lightning(2),
    "sdxl-lightning-4": _lightning(4),
    "sdxl-lightning-8": _lightning(8),
    "sd15": Card(
        "Stable Diffusion 1.5", "paint", "stable-diffusion-v1-5/stable-diffusion-v1-5", 2130 * MB, RAIL_M, family="sd",
        note="the base of the smaller ControlNets; fetched without its safety checker",
    ),
    # by an instruction
    "ip2p": Card(
        "InstructPix2Pix", "edit", "timbrooks/instruct-pix2pix", 2130 * MB, "MIT", family="sd", num_steps=50,
        note="fetched without its safety checker",
    ),
    "ip2p-xl": Card(
        "InstructPix2Pix for SDXL", "edit", "diffusers/sdxl-instructpix2pix-768", 12_300 * MB, RAIL_PP,
        family="sdxl", size=768, num_steps=50, guidance_scale=3.0,
    ),
    "editor": Card(
        "Embedded editor", "edit", None, 0, "Apache-2.0", family="sd", size=128, folder=ASSETS / "editor",
        num_steps=2, guidance_scale=1.0, image_guidance=1.0, gives_detail_back=True,
        note="trained by this project at 128 × 128 pixels: light, weather, season, style; the photo's own detail is given back",
    ),
    # over a map
    "control-sd15-canny": _sd_control("canny", "control_v11p_sd15_canny"),
    "control-sd15-hed": _sd_control("hed", "control_v11p_sd15_softedge"),
    "control-sd15-lineart": _sd_control("lineart", "control_v11p_sd15_lineart"),
    "control-sd15-depth": _sd_control("depth", "control_v11f1p_sd15_depth"),
    "control-sd15-normal": _sd_control("normal", "control_v11p_sd15_normalbae"),
    "control-sd15-pose": _sd_control("pose", "control_v11p_sd15_openpose"),
    "control-sd15-mlsd": _sd_control("mlsd", "control_v11p_sd15_mlsd"),
    "control-sd15-scribble": _sd_control("scribble", "control_v11p_sd15_scribble"),
    "control-sd15-segment": _sd_control("segment", "control_v11p_sd15_seg"),
    "control-sdxl-canny": _sdxl_control("canny", "diffusers/controlnet-canny-sdxl-1.0", RAIL_PP),
    "control-sdxl-depth": _sdxl_control("depth", "diffusers/controlnet-depth-sdxl-1.0", RAIL_PP),
    "control-sdxl-pose": _sdxl_control("pose", "xinsir/controlnet-openpose-sdxl-1.0", "Apache-2.0"),
    "control-sdxl-scribble": _sdxl_control("scribble", "xinsir/controlnet-scribble-sdxl-1.0", "Apache-2.0"),
    # maps out of photos; canny needs nothing
    "annotator-hed": _annotator("hed", "Soft edges (HED), scribbles", 29 * MB, "ControlNetHED.pth"),
    "annotator-lineart": _annotator("lineart", "Line drawing", 34 * MB, "sk_model.pth", "sk_model2.pth"),
    "annotator-normal": _annotator("normal", "Surface normals (BAE)", 291 * MB, "scannet.pt"),
    "annotator-pose": _annotator(
        "pose", "Body pose (OpenPose)", 510 * MB, "body_pose_model.pth", "hand_pose_model.pth", "facenet.pth",
        note="OpenPose is for non-commercial use only",
    ),
    "annotator-mlsd": _annotator("mlsd", "Straight lines (M-LSD)", 6 * MB, "mlsd_large_512_fp32.pth"),
    "annotator-depth": Card(
        "Depth Anything V2, small", "annotate", "depth-anything/Depth-Anything-V2-Small-hf", 99 * MB, "Apache-2.0",
        files=("config.json", "preprocessor_config.json", "model.safetensors"), annotator="depth",
    ),
    "annotator-segment": Card(
        "UperNet, ADE20K classes", "annotate", "openmmlab/upernet-convnext-tiny", 241 * MB, "MIT",
        files=("config.json", "preprocessor_config.json", "model.safetensors"), annotator="segment",
    ),
}  # fmt: skip


def cards(task: Task | None = None) -> dict[str, Card]:
    """The cards of a task, or all; an embedded model is among them where its folder is there."""
    return {name: card for name, card in CARDS.items() if task in (None, card.task) and (card.repo or _is_there(card))}


def _is_there(card: Card) -> bool:
    return card.folder is not None and (card.folder / "model_index.json").is_file()


def size_of(num_bytes: int) -> str:
    """6940000000 -> '6.9 GB'."""
    return f"{num_bytes / GB:.1f} GB" if num_bytes >= GB else f"{num_bytes / MB:.0f} MB"
