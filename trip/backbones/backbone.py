"""A video model by others with `TripPipeline`'s `animate`: its own pipeline is called, held by the image noise prior where wanted."""

import secrets
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, DPMSolverMultistepScheduler, PNDMScheduler, SchedulerMixin
from PIL import Image
from torch import Tensor
from transformers import CLIPTokenizer

import trip
from trip.backbones.kinds import Kind
from trip.data.motion import REFERENCE_FRAMES, photo_in_motion
from trip.data.prompts import camera_told, pace
from trip.media import Box, fit_photo, fitted_part, frame_shape, read_photo
from trip.model.latents import colours_of, fit_colours, to_uint8
from trip.model.text import truncation_note
from trip.output import AnimatedClip
from trip.pipeline import Interrupted
from trip.prior import LAYOUTS, SHARES, ImagePrior, each_step, encode_clip, encode_photo, noise_level, step_index
from trip.sampler import SAMPLERS, begins_in_noise
from trip.settings import AnimateSettings
from trip.system.memory import is_out_of_memory

DEFAULT_SAMPLER = "ddim"  # of the settings; here it stands for the one that the model was made for
BUCKET = 127  # Stable Video Diffusion's own number for the usual motion
EXCHANGED = (DDIMScheduler, PNDMScheduler, DPMSolverMultistepScheduler)  # samplers on a schedule that SAMPLERS can sample as well


class Backbone:
    """A pipeline of a class in `KINDS`. What it gives is its own frames, the first one too; nothing of the photo is pasted in.

    The settings mean what they mean for `TripPipeline`, but for these. `fusion`: linear, the prior holds the clip by Eq. 9 (`SHARES`, by
    `motion`: still below 0.5, free above 1.5); none, the model alone; trained, which nothing here is, whichever the model is meant for: a
    text-to-video model is held, since nothing else tells it the photo, and one that takes the photo is left alone. `scheduler`: ddim
    stands for the model's own. `size`: auto is the model's.

    name  what people call it
    """

    def __init__(self, pipe: DiffusionPipeline, kind: Kind, name: str):
        self.pipe, self.kind, self.model_name = pipe, kind, name
        self.interrupt = False
        self._own_scheduler, self._colours = pipe.scheduler, None

    @property
    def components(self) -> dict[str, Any]:
        """The parts of its pipeline."""
        return self.pipe.components

    def resolve(self, settings: AnimateSettings) -> AnimateSettings:
        """The settings with everything filled in that was left open; a missing seed is drawn. ValueError for what cannot be."""
        own = {name: getattr(self.kind, name) for name in ("num_frames", "fps", "num_steps", "guidance_scale")}
        own["seed"] = secrets.randbelow(2**31)
        settings = settings.model_copy(update={name: value for name, value in own.items() if getattr(settings, name) is None})
        if settings.size == "auto":
            settings = settings.model_copy(update={"size": "model"})
        self._check(settings)
        return settings

    def _check(self, settings: AnimateSettings) -> None:
        kind, name = self.kind, self.model_name
        if settings.num_frames > kind.most_frames or (settings.num_frames - 1) % kind.stride:
            rule = f", a multiple of {kind.stride} and one more" if kind.stride > 1 else ""
            raise ValueError(
                f"Frames: {name} makes at most {kind.most_frames}{rule}, not {settings.num_frames}; leave it empty for its own"
            )
        if settings.loop:
            raise ValueError(f"Close the loop: {name} cannot come back to its photo; leave it off, or choose TRIP's own model")
        if settings.fusion == "linear" and not self.can_be_held:
            raise ValueError(f"Fusion: the prior cannot hold {name}; choose trained or none")
        if settings.scheduler != DEFAULT_SAMPLER and not isinstance(self._own_scheduler, EXCHANGED):
            raise ValueError(f"Sampler: {name} samples with its own alone; choose ddim, which stands for that")
        if settings.num_steps < kind.least_steps:
            raise ValueError(f"Steps: {name} needs at least {kind.least_steps}, not {settings.num_steps}; take more")
        if self._is_zero and settings.guidance_scale <= 1:
            raise ValueError(f"Guidance: {name} cannot go without; choose more than 1")

    @property
    def _is_zero(self) -> bool:
        """Text2Video-Zero: the one class that works on the first frame and on the others in turn."""
        return self.kind.word("num_frames") == "video_length"

    @property
    def can_be_held(self) -> bool:
        """Whether the prior can hold it."""
        return type(self.pipe).__name__ in LAYOUTS

    @property
    def frame_size(self) -> int:
        """Side of the square that has as many pixels as the frames it was made for."""
        return round((self.native_shape[0] * self.native_shape[1]) ** 0.5)

    @property
    def native_shape(self) -> tuple[int, int]:
        """Height and width that it was made for, pixels."""
        side = self.pipe.unet.config.sample_size if self.kind.is_square else None
        return (side * 2 ** (len(self.pipe.vae.config.block_out_channels) - 1),) * 2 if isinstance(side, int) else self.kind.shape

    def frame_shape(self, aspect: str, photo: tuple[int, int] | None = None, crop: Box | None = None) -> tuple[int, int]:
        """Height and width of a frame, pixels: as many in all as it was made for, in the aspect asked for."""
        if self.kind.is_fixed:
            return self.native_shape
        unit = self.kind.multiple
        height, width = (max(unit, round(side / unit) * unit) for side in frame_shape(aspect, self.frame_size, photo, crop))
        return height, width

    @torch.no_grad()
    def animate(
        self,
        image: Any,
        settings: AnimateSettings | None = None,
        last_image: Any = None,
        *,
        callback_on_step_end: Callable[[Any, int, int, dict[str, Tensor]], Any] | None = None,
    ) -> AnimatedClip:
        """The clip of a photo: path, PIL image or pixels h w 3.

        callback_on_step_end  called with (this, step, timestep, tensors); of tensors there is `z_0`, the clean clip that the step implies
                              (b c f h w), where the prior holds it. Setting `interrupt` ends the clip before the next step
        Raises Interrupted, and ValueError, in one line, for what cannot be used.
        """
        if last_image is not None:
            raise ValueError(f"{self.model_name} cannot arrive at a last photo; leave it out, or choose TRIP's own model")
        settings = self.resolve(settings or AnimateSettings())
        photo = Image.fromarray(image) if isinstance(image, np.ndarray) else read_photo(image)
        height, width = self.frame_shape(settings.aspect, photo.size, settings.crop)
        pixels = fit_photo(photo, height, width, settings.crop)
        prior = self._prior(pixels, settings)
        self.interrupt, done = False, 0

        def at_step(scheduler: SchedulerMixin, timestep: Tensor | float, prediction: Tensor, z_t: Tensor) -> Tensor:
            nonlocal done
            if self.interrupt:
                raise Interrupted(f"stopped after {done} of {settings.num_steps} steps")
            held = prediction if prior is None else prior.held_step(scheduler, timestep, prediction, z_t)
            step = min(max(step_index(scheduler, timestep), done - 1), settings.num_steps - 1)
            done = step + 1
            if callback_on_step_end:
                seen = {} if prior is None else {"z_0": prior.clean(held, z_t, noise_level(scheduler, timestep))}
                callback_on_step_end(self, step, int(timestep), seen)
            return held

        try:
            self._choose_sampler(settings)
            with each_step(self.pipe.scheduler, at_step), torch.random.fork_rng():
                torch.manual_seed(settings.seed)  # of what a pipeline draws past its generator, as I2VGen-XL does
                made = self._made(self._call(pixels, settings))
        finally:
            self.pipe.scheduler = self._own_scheduler
            self.pipe.maybe_free_model_hooks()
        return self._clip(self._frames_of(made), photo, settings, prior)

    def _made(self, call: dict[str, Any]) -> Any:
        """What its pipeline gives; what that raises over settings or files becomes one line."""
        try:
            return self.pipe(**call)
        except (LookupError, AttributeError, TypeError, AssertionError, ArithmeticError, RuntimeError, ValueError) as error:
            if isinstance(error, Interrupted) or is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{self.model_name} cannot make this clip ({type(error).__name__}: {reason}); choose other settings"
            ) from error

    def _choose_sampler(self, settings: AnimateSettings) -> None:
        """The one that was asked for, in its pipeline; ValueError, in one line, where so many steps would not begin in noise."""
        if settings.scheduler != DEFAULT_SAMPLER:
            self.pipe.scheduler = SAMPLERS[settings.scheduler].from_config(self._own_scheduler.config)
        scheduler, whole = self.pipe.scheduler, self.pipe.scheduler.config.num_train_timesteps
        if isinstance(scheduler, (*EXCHANGED, *SAMPLERS.values())) and isinstance(self._own_scheduler, EXCHANGED):
            scheduler.set_timesteps(settings.num_steps)
            first = int(scheduler.timesteps.max())
            if not begins_in_noise(scheduler, settings.num_steps):
                raise ValueError(
                    f"Steps: {type(scheduler).__name__} would begin {settings.num_steps} steps at {first} of {whole}; take fewer"
                )

    # the call

    def _call(self, pixels: np.ndarray, settings: AnimateSettings) -> dict[str, Any]:
        """What the pipeline is called with."""
        asked: dict[str, Any] = {
            "prompt": settings.prompt,
            "negative_prompt": settings.negative_prompt,
            "num_frames": settings.num_frames,
            "guidance_scale": settings.guidance_scale,
            "fps": round(settings.fps),
        }
        call = {self.kind.word(name): value for name, value in asked.items() if self.kind.word(name)}
        if self.kind.sees_photo:
            call["image"] = Image.fromarray(pixels)
        if not self.kind.reads_prompt:
            call["motion_bucket_id"] = round(BUCKET * settings.motion)
        if self.kind.chunk:
            call["decode_chunk_size"] = self.kind.chunk
        if self._is_zero:  # the last steps but three are all frames', and the three before them give the motion; its own 44 and 47 of 50
            last = max(1, settings.num_steps - 3)
            call |= {"t1": last, "t0": max(0, last - 3)}
        call |= {"height": pixels.shape[0], "width": pixels.shape[1], "num_inference_steps": settings.num_steps, "output_type": "np"}
        return call | {"generator": torch.Generator().manual_seed(settings.seed)}

    def _prior(self, pixels: np.ndarray, settings: AnimateSettings) -> ImagePrior | None:
        """What holds the clip; none where the model goes alone.

        Where the sentence tells a camera motion, the prior points at the photo as that would show it.
        """
        held = settings.fusion == "linear" or settings.fusion == "trained" and not self.kind.sees_photo
        if not (held and self.can_be_held):
            self._colours = None
            return None
        photo = _tensor(pixels[None])
        told = camera_told(settings.prompt)
        if told:
            times = np.linspace(0, REFERENCE_FRAMES * settings.motion, settings.num_frames)
            z = encode_clip(self.pipe.vae, _tensor(photo_in_motion(pixels, told, times)), self.pipe._execution_device)
        else:
            z = encode_photo(self.pipe.vae, photo[:, :, 0], settings.num_frames, self.pipe._execution_device)
        self._colours = fit_colours(z[:, :, :1], photo)
        shares = SHARES["still" if settings.motion < 0.5 else "free" if settings.motion > 1.5 else "usual"]
        feedback = not self.kind.sees_photo  # the first frame of those is given, and what they predict there means nothing
        return ImagePrior(z, shares, feedback, LAYOUTS[type(self.pipe).__name__])

    def _frames_of(self, made: Any) -> np.ndarray:
        """f h w 3, uint8."""
        frames = np.asarray(made.images if self._is_zero else made.frames[0], dtype=np.float32)
        if not np.isfinite(frames).all():
            raise ValueError(f"{self.model_name} gave what is no number: its weights are broken, or too large for their precision")
        return (frames.clip(0, 1) * 255).round().astype(np.uint8)

    def _clip(self, frames: np.ndarray, photo: Image.Image, settings: AnimateSettings, prior: ImagePrior | None) -> AnimatedClip:
        packages = ("torch", "diffusers", "transformers")
        used = settings.model_dump() | {"prior": "none" if prior is None else "holds the clip", "num_frames": len(frames)}
        used["crop"] = used["crop"] and ", ".join(f"{share:g}" for share in used["crop"])
        used |= {"model": self.model_name, "version_trip": trip.__version__, **{f"version_{name}": version(name) for name in packages}}
        return AnimatedClip(
            frames=frames,
            fps=settings.fps,
            metadata=used,
            photo=photo,
            part=fitted_part(photo.size, *frames.shape[1:3], settings.crop),
            decoded_photo=frames[0],
            times=np.linspace(0, REFERENCE_FRAMES * settings.motion, len(frames), dtype=np.float32),
            notes=self.notes(settings, held=prior is not None),
        )

    def notes(self, settings: AnimateSettings, *, held: bool) -> tuple[str, ...]:
        """What a person should know, a line each."""
        tokenizer = getattr(self.pipe, "tokenizer", None)
        prompts = ("Prompt", settings.prompt), ("Negative prompt", settings.negative_prompt)
        unread = [truncation_note(*both, tokenizer) for both in prompts] if isinstance(tokenizer, CLIPTokenizer) else []
        if not self.kind.reads_prompt:
            unread = [f"{self.model_name} reads no sentence: the photo and the motion's strength decide"] if settings.prompt else []
        if not held and not self.kind.sees_photo:
            unread.append(f"{self.model_name} alone does not see the photo: it draws what the sentence says")
        if not held and self.kind.reads_prompt and settings.motion != 1:
            unread.append(f"Motion changes nothing in {self.model_name} where the prior does not hold it")
        if held and (told := camera_told(settings.prompt)):
            unread.append(f"The prior goes with the camera: {pace(told[0].speed)} {told[0].name.replace('_', ' ')}")
        return tuple(filter(None, unread))

    # while it works

    def preview(self, z_0: Tensor | None, num_frames: int = 8) -> np.ndarray | None:
        """Some frames as they look by now, blurred: f h w 3, uint8; none where nothing is known of the latents."""
        if z_0 is None or self._colours is None:
            return None
        chosen = torch.linspace(0, z_0.shape[2] - 1, min(num_frames, z_0.shape[2])).round().long()
        return to_uint8(colours_of(z_0[:1, :, chosen], self._colours))[0]


def _tensor(frames: np.ndarray) -> Tensor:
    """f h w 3, uint8 -> 1 3 f h w in [-1, 1]."""
    return torch.from_numpy(frames).permute(3, 0, 1, 2).unsqueeze(0).float() / 127.5 - 1
