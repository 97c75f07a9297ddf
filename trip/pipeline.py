"""`TripPipeline`: a photo and a prompt in, a clip out. The sampling loop is `_sample`, on one screen."""

import copy
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import AutoencoderKL, ConfigMixin, DDIMScheduler, DiffusionPipeline
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

import trip
from trip.diffusion import homecoming, image_noise_prior, linear_fusion, predict_z_0
from trip.files import check_header
from trip.media import Box, fit_photo, fitted_part, read_photo
from trip.model.denoiser import Condition, Denoiser
from trip.model.fusion import NoiseFusion
from trip.model.latents import colours_of, decode_video, encode_video, fit_colours
from trip.model.lora import LoraCard, fingerprint, merge_lora
from trip.model.text import encode_prompts, unread_note
from trip.model.unet import TripUNet
from trip.model.warp import MotionField
from trip.sampler import SAMPLERS, SoFar
from trip.settings import AnimateSettings

PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}


class Interrupted(RuntimeError):
    """The clip was stopped before it was done.

    so_far  where it stood, for `animate_batch` to go on from
    """

    def __init__(self, words: str, so_far: SoFar | None = None):
        super().__init__(words)
        self.so_far = so_far


@dataclass(frozen=True)
class TripOutput:
    """A clip as the network drew it, and what `trip.render` makes pixels to keep of.

    frames         f h w 3, uint8; frame 0 is the photo as the model saw it
    metadata       settings as they were used, seed, model and versions
    photo          the whole photo, RGB and upright, not cropped
    part           left, top, right and bottom of what the model saw of it, pixels
    decoded_photo  what the autoencoder makes of frame 0   h w 3, uint8
    times          of the frames, as the network was told them, in reference frames; they rise, and fall again where the clip
                   comes home   f, float32
    field          the motion of the photo, on the CPU; none where the 3D-UNet finds none
    loop           whether the frame after the last one is the photo again
    notes          what a person should know, a line each: what of the prompts was not read
    """

    frames: np.ndarray
    fps: float
    metadata: dict[str, Any]
    photo: Image.Image
    part: Box
    decoded_photo: np.ndarray
    times: np.ndarray
    field: MotionField | None = None
    loop: bool = False
    notes: tuple[str, ...] = ()


class TripPipeline(DiffusionPipeline):
    """Animates photos. The loop: noise of every frame by both paths, guidance after fusion, one sampler step.

    num_frames, fps, num_steps, guidance_scale  what is used where the settings leave it open
    card                                        what these weights are, in a sentence for people
    """

    model_cpu_offload_seq = "text_encoder->unet->fusion->vae"

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: TripUNet,
        fusion: NoiseFusion,
        scheduler: DDIMScheduler,
        num_frames: int = 16,
        fps: float = 4.0,
        num_steps: int = 50,
        guidance_scale: float = 9.0,
        card: str = "",
    ):
        super().__init__()
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, fusion=fusion, scheduler=scheduler)
        self.register_to_config(num_frames=num_frames, fps=fps, num_steps=num_steps, guidance_scale=guidance_scale, card=card)
        self.interrupt = False
        self.decode_chunk = 8  # frames at a time; fewer take less memory
        self.lora: LoraCard | None = None  # what was added to the weights

    def save_pretrained(self, save_directory: str | Path, **more: Any) -> None:
        """As in diffusers, but what is written names no folder of this machine."""
        name = self.name_or_path
        for part in (self, *self.components.values()):
            if isinstance(part, ConfigMixin):
                part.register_to_config(_name_or_path="")
        super().save_pretrained(save_directory, **more)
        self.register_to_config(_name_or_path=name)

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

    def copied(self, dtype: torch.dtype | None = None) -> Self:
        """A pipeline with a 3D-UNet and a fusion of its own; the other parts are shared."""
        own = {name: copy.deepcopy(getattr(self, name)).type(dtype or getattr(self, name).dtype) for name in ("unet", "fusion")}
        config = {name: self.config[name] for name in ("num_frames", "fps", "num_steps", "guidance_scale", "card")}
        made = type(self)(**{**self.components, **own}, **config)
        made.register_to_config(_name_or_path=self.name_or_path)
        made.set_progress_bar_config(disable=True)
        return made

    def with_lora(self, path: Path) -> Self:
        """A pipeline with the changes that a fine-tune has written; this one stays as it is.

        Raises ValueError, in one line, where they were made for other weights, or the file is none of ours.
        """
        made = self.copied()
        made.lora = merge_lora(path, made.unet, made.fusion, base_digest=self.fingerprint)
        return made

    def resolve(self, settings: AnimateSettings) -> AnimateSettings:
        """The settings with everything filled in that was left open; a missing seed is drawn."""
        own = {name: self.config[name] for name in ("num_frames", "fps", "num_steps", "guidance_scale")}
        own["seed"] = secrets.randbelow(2**31)
        return settings.model_copy(update={name: value for name, value in own.items() if getattr(settings, name) is None})

    def left_unread(self, settings: AnimateSettings) -> tuple[str, ...]:
        """A line for each prompt that is longer than the text encoder reads, with the words that it leaves out."""
        prompts = ("Prompt", settings.prompt), ("Negative prompt", settings.negative_prompt)
        return tuple(filter(None, (unread_note(title, prompt, self.tokenizer) for title, prompt in prompts)))

    def __call__(
        self,
        image: str | Image.Image | np.ndarray,
        settings: AnimateSettings | None = None,
        **more: Any,
    ) -> TripOutput:
        """One photo's clip; see `animate_batch`, also for what else it takes."""
        return self.animate_batch([image], [settings or AnimateSettings()], **more)[0]

    @torch.no_grad()
    def animate_batch(
        self,
        images: Sequence[str | Image.Image | np.ndarray],
        settings: Sequence[AnimateSettings],
        *,
        callback_on_step_end: Callable[[Any, int, int, dict[str, Tensor]], Any] | None = None,
        so_far: SoFar | None = None,
    ) -> list[TripOutput]:
        """Clips of several photos at once, each the same as it would be alone.

        images                paths, PIL images or pixels h w 3, uint8
        settings              one for each; all with the same frames, steps, sampler and guidance
        callback_on_step_end  called with (pipeline, step, timestep, tensors), the tensors b c f h w: `z_t` the noised clip; `residual`,
                              `prior` and `eps` the noise by either path and fused; `z_0` the clean clip that `eps` implies.
                              Setting `pipeline.interrupt` ends the loop before the next step
        so_far                where the same clips were interrupted: they go on from there, and come out as if they had not been.
                              Their seeds must be given
        Raises Interrupted, and ValueError where the settings of a batch differ in what they must share, or `so_far` is of other clips.
        """
        if len(images) != len(settings):
            raise ValueError(f"wanted one settings for each photo, got {len(images)} photos and {len(settings)} settings")
        self.interrupt = False
        settings = [self.resolve(s) for s in settings]
        shared = {(s.num_frames, s.num_steps, s.scheduler, s.guidance_scale, s.motion, s.aspect, s.loop, s.fusion) for s in settings}
        if len(shared) != 1:
            raise ValueError(
                f"wanted one set of frames, steps, sampler, guidance, motion, aspect, loop and fusion for a batch, got {len(shared)}; "
                "make several batches"
            )
        self._check_fusion(settings[0])
        whole = [read_photo(Image.fromarray(image) if isinstance(image, np.ndarray) else image) for image in images]
        shape = self.frame_shape(settings[0].aspect)
        photos = np.stack([fit_photo(image, *shape, one.crop) for image, one in zip(whole, settings, strict=True)])
        photo = torch.from_numpy(photos).permute(0, 3, 1, 2).unsqueeze(2).float() / 127.5 - 1
        z_first = encode_video(self.vae, photo)
        self._colours = fit_colours(z_first[:1], photo[:1])
        z_0, times, field = self._sample(z_first, settings, callback_on_step_end, so_far)

        frames, decoded = self.decode(z_0), self.decode(z_first)[:, 0]
        frames[:, 0] = photos
        return [
            TripOutput(
                frames=frames[index],
                fps=one.fps,
                metadata=self._metadata(one),
                photo=image,
                part=fitted_part(image.size, *shape, one.crop),
                decoded_photo=decoded[index],
                times=times.cpu().numpy(),
                field=field and field.of(index).to("cpu"),
                loop=one.loop,
                notes=self.left_unread(one),
            )
            for index, (image, one) in enumerate(zip(whole, settings, strict=True))
        ]

    def _sample(
        self, z_first: Tensor, settings: list[AnimateSettings], callback: Callable | None, so_far: SoFar | None
    ) -> tuple[Tensor, Tensor, MotionField | None]:
        """The reverse process from pure noise: z_first b c 1 h w -> clean clips b c f h w, times told f, the motion of each photo."""
        s, device = settings[0], z_first.device
        denoiser = Denoiser(self.unet, self.fusion)
        scheduler = SAMPLERS[s.scheduler].from_config(self.scheduler.config)
        scheduler.set_timesteps(s.num_steps, device=device)
        guided = s.guidance_scale > 1
        fusion = None if s.fusion == "trained" else s.fusion

        # text: prompts, and below them what guidance leads away from
        prompts = [one.prompt for one in settings] + ([one.negative_prompt for one in settings] if guided else [])
        words, sentence = encode_prompts(prompts, self.tokenizer, self.text_encoder)
        repeats = 2 if guided else 1
        told_time, told_strength = self.unet.config.frame_embedding, "strength" in self.unet.config.told
        times = torch.arange(s.num_frames, device=device) * (s.motion if told_time else 1.0)
        if s.loop and told_time:  # what is told comes home too
            times = times * (1 - homecoming(s.num_frames).to(device))
        told = {name: torch.full((len(prompts),), value, device=device) for name, value in (("fps", s.fps), ("strength", s.motion))}
        z_photo = z_first.repeat(repeats, 1, 1, 1, 1)
        field = self.unet.motion_field(z_photo[:, :, 0], sentence)
        condition = Condition(z_photo, words, sentence, times.expand(len(prompts), -1), told=told, field=field)

        # noise is drawn on the CPU, clip by clip: a seed means the same on every device and in every batch
        shape = (z_first.shape[1], s.num_frames, *z_first.shape[3:])
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(one.seed)) for one in settings]
        z_t = torch.stack(noise).to(device) * scheduler.init_noise_sigma

        first = so_far.step if so_far else 0
        z_t = so_far.remind(scheduler, z_t) if so_far else z_t
        for step, t in enumerate(self.progress_bar(scheduler.timesteps[first:]), first):
            if self.interrupt:
                raise Interrupted(f"stopped after {step} of {s.num_steps} steps", SoFar.of(step, z_t, scheduler))
            timestep = t.expand(len(prompts))
            alpha_bar = self.scheduler.alphas_cumprod.to(device)[timestep.long()]

            eps, residual, _ = denoiser(z_t.repeat(repeats, 1, 1, 1, 1), timestep, alpha_bar, condition, fusion)
            alpha_bar = alpha_bar[: len(z_t)]
            if guided:
                eps, residual = (_guided(noise, s.guidance_scale) for noise in (eps, residual))
            prior = image_noise_prior(z_t, z_first, alpha_bar)
            if not (told_time or told_strength) and s.motion != 1:  # not told: hold to the still image, or lead away from it
                eps = prior + s.motion * (eps - prior)
            if s.loop:
                eps = linear_fusion(prior, eps, homecoming(s.num_frames).to(device).view(1, 1, -1, 1, 1))

            if callback:
                z_0 = predict_z_0(z_t, eps, alpha_bar)
                callback(self, step, int(t), {"z_t": z_t, "residual": residual, "prior": prior, "eps": eps, "z_0": z_0})
            z_t = scheduler.step(eps, t, z_t, return_dict=False)[0]
        return z_t, times.float(), field

    def decode(self, z_0: Tensor) -> np.ndarray:
        """Pixels of clean latents: b c f h w -> b f h w 3, uint8."""
        return _to_uint8(decode_video(self.vae, z_0, self.decode_chunk))

    def preview(self, z_0: Tensor, num_frames: int = 8) -> np.ndarray:
        """Some frames of the first clip that is being made, blurred: its colours alone, in no time: f h/2 w/2 3, uint8."""
        chosen = torch.linspace(0, z_0.shape[2] - 1, min(num_frames, z_0.shape[2])).round().long()
        return _to_uint8(colours_of(z_0[:1, :, chosen], self._colours))[0]

    def frame_shape(self, aspect: str) -> tuple[int, int]:
        """Height and width of a frame, pixels, whole 16s: as many pixels as the square the model was made for, within a few per cent."""
        across, down = map(int, aspect.split(":"))
        stretch = (across / down) ** 0.5
        return tuple(max(16, round(self.frame_size * side / 16) * 16) for side in (1 / stretch, stretch))

    def _check_fusion(self, settings: AnimateSettings) -> None:
        if settings.fusion not in ("trained", *self.fusion.kinds):
            raise ValueError(
                f"Fusion must be trained or {' or '.join(self.fusion.kinds)} with this checkpoint, not {settings.fusion}: "
                f"it was trained with {self.fusion.config.kind} fusion; choose one of these"
            )

    def _metadata(self, settings: AnimateSettings) -> dict[str, Any]:
        packages = ("torch", "diffusers", "transformers")
        versions = {"version_trip": trip.__version__, **{f"version_{name}": version(name) for name in packages}}
        used = settings.model_dump()
        used["crop"] = used["crop"] and ", ".join(f"{share:g}" for share in used["crop"])  # plain, as every file format keeps it
        lora = {"lora": f"{self.lora.data_digest}, {self.lora.num_steps} steps"} if self.lora else {}
        return {**used, "model": self.model_name, **lora, **versions}


def _guided(noise: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance; the batch's second half is what it leads away from."""
    wanted, unwanted = noise.chunk(2)
    return unwanted + scale * (wanted - unwanted)


def _to_uint8(video: Tensor) -> np.ndarray:
    """b 3 f h w in [-1, 1] -> b f h w 3."""
    return ((video + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).cpu().numpy()


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
