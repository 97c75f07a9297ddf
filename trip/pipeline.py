"""`TripPipeline`: a photo and a prompt in, a clip out. The sampling loop is `_sample`, on one screen."""

import hashlib
import inspect
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, SchedulerMixin
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

import trip
from trip.call import STEP_TENSORS, Call, TripCallMixin, photos_of, shape_of
from trip.diffusion import arrival_share, image_noise_prior, linear_fusion, loop_share, predict_z_0
from trip.loading import DEFAULTS, TripLoaderMixin
from trip.media import Box, fit_photo, fitted_part, frame_shape, read_photo
from trip.model.conditioning import frame_times
from trip.model.denoiser import Condition, Denoiser
from trip.model.fusion import NoiseFusion
from trip.model.latents import colours_of, decode_video, encode_video, fit_colours, to_uint8
from trip.model.text import CLOSED_VOCABULARY, reads_whole, truncation_note
from trip.model.unet import TripUNet
from trip.model.warp import MotionField, encoded_after_moving
from trip.output import AnimatedClip
from trip.sampler import SAMPLERS, SoFar, check_scheduler, check_timesteps, signal_share
from trip.settings import AnimateSettings


class Interrupted(RuntimeError):
    """The clip was stopped before it was done.

    so_far  where it stood, for `animate_batch` to go on from
    """

    def __init__(self, words: str, so_far: SoFar | None = None):
        super().__init__(words)
        self.so_far = so_far


@dataclass(frozen=True)
class _Photos:
    """Photos of a batch.

    whole   as they came
    pixels  as the model sees them   b h w 3, uint8
    z       clean latents            b c 1 h w
    """

    whole: list[Image.Image]
    pixels: np.ndarray
    z: Tensor


@dataclass(frozen=True)
class _Drawn:
    """What sampling gives, before it is decoded.

    z_0    clean clips   b c f h w
    times  told, and `field` the motion of each photo, as in `AnimatedClip`; so_far: where it was interrupted
    first  the photos
    last   those that the clips arrive at; none where they do not
    """

    z_0: Tensor
    times: Tensor
    field: MotionField | None
    so_far: SoFar | None
    first: _Photos
    last: _Photos | None
    settings: list[AnimateSettings]


class TripPipeline(TripCallMixin, TripLoaderMixin):
    """Animates photos. The loop: noise of every frame by both paths, guidance after fusion, one sampler step.

    `pipe(image, prompt, ...)` is the call that diffusers' users know; `animate` and `animate_batch` take settings objects and give clips
    with all that `trip.render` needs.

    num_frames, fps, num_steps, guidance_scale  what is used where nothing else is asked for
    card                                        what these weights are, in a sentence for people
    lora                                        the `LoraCard` of what was added to the weights, as a dict
    What is left open is what the 3D-UNet was last used with: `TripPipeline(**pipe.components)` goes on as `pipe` was.
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"  # the fusion is called at every step: it stays where it works

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: TripUNet,
        fusion: NoiseFusion,
        scheduler: DDIMScheduler,
        num_frames: int | None = None,
        fps: float | None = None,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        card: str | None = None,
        lora: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, fusion=fusion, scheduler=scheduler)
        given = {"num_frames": num_frames, "fps": fps, "num_steps": num_steps, "guidance_scale": guidance_scale, "card": card, "lora": lora}
        self._remember(**DEFAULTS | getattr(unet, "used_with", {}) | {name: value for name, value in given.items() if value is not None})
        if fusion is not None and not any(True for _ in fusion.parameters()):
            self._exclude_from_cpu_offload = ["fusion"]  # accelerate's hooks want weights
        self._interrupt, self._guidance_scale, self._num_timesteps = False, self.config.guidance_scale, 0
        self.decode_chunk = 8  # frames at a time; fewer take less memory
        self.arithmetic: torch.dtype | None = None  # what steps and decoding compute in, where not in the weights' own precision

    # calls

    def resolve(self, settings: AnimateSettings) -> AnimateSettings:
        """The settings with everything filled in that was left open; a missing seed is drawn."""
        own = {name: self.config[name] for name in ("num_frames", "fps", "num_steps", "guidance_scale")}
        own["seed"] = secrets.randbelow(2**31)
        return settings.model_copy(update={name: value for name, value in own.items() if getattr(settings, name) is None})

    @property
    def spells_other_words(self) -> bool:
        """Whether the text encoder learnt the words of some captions alone, and not a language as CLIP's did."""
        return self.tokenizer is not None and len(self.tokenizer) < CLOSED_VOCABULARY

    def reads_whole(self, word: str) -> bool:
        """Whether a word means something to the text encoder; none does where texts come as embeddings."""
        return self.tokenizer is not None and (not self.spells_other_words or reads_whole(word, self.tokenizer))

    def truncation_notes(self, settings: AnimateSettings) -> tuple[str, ...]:
        """A line for each prompt that is longer than the text encoder reads, with the words that it leaves out."""
        if self.tokenizer is None:  # texts come as embeddings
            return ()
        prompts = ("Prompt", settings.prompt), ("Negative prompt", settings.negative_prompt)
        return tuple(filter(None, (truncation_note(title, prompt, self.tokenizer) for title, prompt in prompts)))

    def animate(
        self,
        image: str | Path | Image.Image | np.ndarray,
        settings: AnimateSettings | None = None,
        last_image: str | Path | Image.Image | np.ndarray | None = None,
        **more: Any,
    ) -> AnimatedClip:
        """One photo's clip; see `animate_batch`, also for what else it takes; `last_image` is the photo that the clip arrives at."""
        lasts = None if last_image is None else [last_image]
        return self.animate_batch([image], [settings or AnimateSettings()], last_images=lasts, **more)[0]

    @torch.no_grad()
    def animate_batch(
        self,
        images: Sequence[str | Path | Image.Image | np.ndarray],
        settings: Sequence[AnimateSettings],
        *,
        last_images: Sequence[str | Path | Image.Image | np.ndarray] | None = None,
        callback_on_step_end: Callable[[Any, int, int, dict[str, Tensor]], Any] | None = None,
        so_far: SoFar | None = None,
    ) -> list[AnimatedClip]:
        """Clips of several photos at once, each the same as it would be alone.

        images                paths, PIL images or pixels h w 3, uint8
        last_images           photos that the clips arrive at, one for each; none: they go where the motion takes them
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
        if last_images is not None and len(last_images) != len(images):
            raise ValueError(f"wanted one last photo for each photo, got {len(last_images)} for {len(images)}")
        photos, lasts = ([photos_of(image)[0] for image in several] for several in (images, last_images or ()))
        call = Call(photos, [self.resolve(one) for one in settings], None, lasts)

        def after_step(pipe: "TripPipeline", step: int, t: Tensor, tensors: dict[str, Tensor]) -> None:
            callback_on_step_end(pipe, step, int(t), tensors)

        try:
            drawn = self._draw(call, callback_on_step_end and after_step, STEP_TENSORS, so_far=so_far)
            if drawn.so_far:
                raise Interrupted(f"stopped after {drawn.so_far.step} of {self.num_timesteps} steps", drawn.so_far)
            return self._clips(drawn, self._video(drawn))
        finally:
            self.maybe_free_model_hooks()

    # sampling

    def _draw(
        self,
        call: Call,
        callback: Callable | None,
        names: Sequence[str],
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        so_far: SoFar | None = None,
    ) -> _Drawn:
        """Photos and texts to latents, and the loop; noise and embeddings may be given in place of seeds and texts."""
        settings = [self.resolve(one) for one in call.settings]
        s, device, count = settings[0], self._execution_device, len(settings)
        self._check_alike(settings)
        self._check_fusion(s)
        if call.last_photos:
            s.check_arrival()
        read = {id(photo): read_photo(photo) for photo in {id(photo): photo for photo in call.photos + call.last_photos}.values()}
        whole, lasts = ([read[id(photo)] for photo in photos] for photos in (call.photos, call.last_photos))
        shape, *others = {self.frame_shape(s.aspect, image.size, one.crop) for image, one in zip(whole, settings, strict=True)}
        if others:
            raise ValueError(
                f"wanted photos of one shape for a batch as wide as they are, got {1 + len(others)}; name an aspect or make several"
            )
        first = self._encoded(whole, shape, [one.crop for one in settings])
        last = self._encoded(lasts, shape, [None] * count) if lasts else None
        self._offload(self.vae)
        self._colours = fit_colours(first.z[:1], _video_of(first.pixels[:1]))

        self._interrupt, self._guidance_scale = False, s.guidance_scale
        texts = [one.prompt for one in settings], [one.negative_prompt for one in settings]
        known = (_one_each(embeds, count, device) for embeds in (prompt_embeds, negative_prompt_embeds))
        embeds = self.encode_prompt(*texts, self.do_classifier_free_guidance, 1, *known, device)

        # noise is drawn on the CPU, clip by clip: a seed means the same on every device and in every batch
        generators = call.generators or [torch.Generator().manual_seed(one.seed) for one in settings]
        shape = (count, first.z.shape[1], s.num_frames, *first.z.shape[3:])
        if latents is None:
            noise = torch.stack([torch.randn(shape[1:], generator=one, device=one.device).to(device) for one in generators])
        elif isinstance(latents, Tensor) and latents.shape == shape:
            noise = latents.to(device, torch.float32)
        else:
            raise ValueError(f"latents must be a tensor of {' x '.join(map(str, shape))}, got {shape_of(latents)}")
        scene_noise = self.unet.scene_noise(*shape[3:], generators)
        if call.generators or latents is not None:  # no seed makes this clip again
            settings = [one.model_copy(update={"seed": None}) for one in settings]
        return _Drawn(
            *self._sample(first, last, settings, noise, scene_noise, generators, *embeds, callback, names, so_far), first, last, settings
        )

    def _encoded(self, images: list[Image.Image], shape: tuple[int, int], crops: list[Box | None]) -> _Photos:
        pixels = np.stack([fit_photo(image, *shape, crop) for image, crop in zip(images, crops, strict=True)])
        return _Photos(images, pixels, encode_video(self.vae, _video_of(pixels), device=self._execution_device))

    def _sample(
        self,
        first: _Photos,
        last: _Photos | None,
        settings: list[AnimateSettings],
        noise: Tensor,
        scene_noise: Tensor | None,
        generators: list[torch.Generator],
        prompt_embeds: Tensor,
        negative_prompt_embeds: Tensor | None,
        callback: Callable | None,
        names: Sequence[str],
        so_far: SoFar | None,
    ) -> tuple[Tensor, Tensor, MotionField | None, SoFar | None]:
        """The reverse process: clean clips b c f h w, times f, motion of the photos, what is left.

        noise b c f h w; scene_noise: see `TripUNet.scene_noise`
        """
        s, z_first, device = settings[0], first.z, first.z.device
        denoiser = Denoiser(self.unet, self.fusion)
        scheduler = self._scheduler_for(s)
        scheduler.set_timesteps(s.num_steps, device=device)
        check_timesteps(scheduler, s.num_steps)
        self._num_timesteps = len(scheduler.timesteps)
        chance = {"generator": generators} if "generator" in inspect.signature(scheduler.step).parameters else {}
        fusion = None if s.fusion == "trained" else s.fusion
        knows_time, knows_strength = self.unet.config.frame_embedding, "strength" in self.unet.config.added_conditions
        times = torch.arange(s.num_frames, device=device) * (s.motion if knows_time else 1.0)
        if s.loop and knows_time:  # what is told comes home too
            times = times * (1 - loop_share(s.num_frames).to(device))
        arrives = loop_share(s.num_frames) if s.loop else arrival_share(torch.linspace(0, 1, s.num_frames))
        there = z_first if s.loop else last and last.z  # where the clip ends

        latents, condition, done = noise * scheduler.init_noise_sigma, None, so_far.step if so_far else 0
        latents = so_far.remind(scheduler, latents) if so_far else latents
        for step, t in enumerate(self.progress_bar(scheduler.timesteps[done:]), done):
            if self.interrupt:
                break
            guided = self.do_classifier_free_guidance
            if condition is None:
                if guided and negative_prompt_embeds is None:  # a callback has switched guidance on
                    texts = [one.negative_prompt for one in settings]
                    negative_prompt_embeds = self.encode_prompt(None, texts, True, 1, prompt_embeds)[1]
                condition = self._condition(first, settings, times, prompt_embeds, negative_prompt_embeds if guided else None, scene_noise)
            repeats, z_t, alpha_bar = 1 + guided, scheduler.scale_model_input(latents, t), signal_share(scheduler, t)
            timestep, alpha_bar = t.expand(repeats * len(z_t)), alpha_bar.expand(repeats * len(z_t))

            with self._in_arithmetic():
                eps, residual, _ = denoiser(z_t.repeat(repeats, 1, 1, 1, 1), timestep, alpha_bar, condition, fusion)
            alpha_bar = alpha_bar[: len(z_t)]
            if guided:
                eps, residual = (_guided(both, self.guidance_scale) for both in (eps, residual))
            prior = image_noise_prior(z_t, z_first, alpha_bar)
            if not (knows_time or knows_strength) and s.motion != 1:  # not told: hold to the still image, or lead away from it
                eps = prior + s.motion * (eps - prior)
            if there is not None:  # its prior takes over
                eps = linear_fusion(image_noise_prior(z_t, there, alpha_bar), eps, arrives.to(device).view(1, 1, -1, 1, 1))
            latents, done = scheduler.step(eps, t, latents, **chance, return_dict=False)[0], step + 1

            if callback:
                tensors = {"latents": latents, "prompt_embeds": prompt_embeds, "negative_prompt_embeds": negative_prompt_embeds}
                tensors |= {"z_t": z_t, "residual": residual, "prior": prior, "eps": eps}
                if "z_0" in names:
                    tensors["z_0"] = predict_z_0(z_t, eps, alpha_bar)
                returned = callback(self, step, t, {name: tensors[name] for name in names})
                latents, *embeds = _taken(returned, tensors)
                if guided != self.do_classifier_free_guidance or embeds[0] is not prompt_embeds or embeds[1] is not negative_prompt_embeds:
                    (prompt_embeds, negative_prompt_embeds), condition = embeds, None
        field = condition.field if condition else self.unet.motion_field(z_first[:, :, 0], prompt_embeds[:, -1], scene_noise)
        left = SoFar.of(done, latents, scheduler) if done < self.num_timesteps else None
        return latents, times.float(), field, left

    def _condition(
        self,
        first: _Photos,
        settings: list[AnimateSettings],
        times: Tensor,
        prompt_embeds: Tensor,
        negative_prompt_embeds: Tensor | None,
        scene_noise: Tensor | None = None,
    ) -> Condition:
        """What the clips are made from, and below them, where there is guidance, what it leads away from."""
        embeds = prompt_embeds if negative_prompt_embeds is None else torch.cat([prompt_embeds, negative_prompt_embeds])
        words, sentence, repeats, device = embeds[:, :-1], embeds[:, -1], len(embeds) // len(first.z), first.z.device
        z_photo = first.z.repeat(repeats, 1, 1, 1, 1)
        added = {"fps": [one.fps for one in settings], "strength": [one.motion for one in settings]}
        added = {name: torch.tensor(repeats * values, dtype=torch.float32, device=device) for name, values in added.items()}
        times = times.expand(len(embeds), -1)
        field = self.unet.motion_field(
            z_photo[:, :, 0], sentence, scene_noise if scene_noise is None else scene_noise.repeat(repeats, 1, 1, 1)
        )
        moved_photo = None
        if self.unet.moves_pixels:
            seen_at = frame_times(times, self.unet.config.first_frame)
            pixels = _video_of(first.pixels)[:, :, 0].to(device).repeat(repeats, 1, 1, 1)
            with self._in_arithmetic():
                moved_photo = encoded_after_moving(self.vae, pixels, field, seen_at, device)
            self._offload(self.vae)
        return Condition(z_photo, words, sentence, times, added_conditions=added, field=field, moved_photo=moved_photo)

    def _in_arithmetic(self) -> AbstractContextManager:
        return torch.autocast(self._execution_device.type, self.arithmetic) if self.arithmetic else nullcontext()

    def _offload(self, part: nn.Module) -> None:
        """Where models are offloaded, this one waits beside the others from here on; it would stay, and so would the next one beside it."""
        for hook in getattr(self, "_all_hooks", ()):
            if hook.model is part:
                hook.offload()

    def _scheduler_for(self, settings: AnimateSettings) -> SchedulerMixin:
        """The sampler that was asked for by name, or else the pipeline's own; a fresh one, on the checkpoint's schedule."""
        kind = SAMPLERS[settings.scheduler] if self._is_named(settings) else type(self.scheduler)
        scheduler = kind.from_config(self.scheduler.config)
        check_scheduler(scheduler)
        return scheduler

    def _is_named(self, settings: AnimateSettings) -> bool:
        """Whether the settings say the sampler; a pipeline whose scheduler was exchanged uses that one where nobody names another."""
        return isinstance(self.scheduler, DDIMScheduler) or "scheduler" in settings.model_fields_set

    # pixels

    def decode(self, z_0: Tensor) -> np.ndarray:
        """Pixels of clean latents: b c f h w -> b f h w 3, uint8."""
        return to_uint8(self._decoded(z_0))

    def _decoded(self, z_0: Tensor) -> Tensor:
        with self._in_arithmetic():
            return decode_video(self.vae, z_0, self.decode_chunk, self._execution_device)

    def preview(self, z_0: Tensor, num_frames: int = 8) -> np.ndarray:
        """Some frames of the first clip that is being made, blurred: its colours alone, in no time: f h/2 w/2 3, uint8."""
        chosen = torch.linspace(0, z_0.shape[2] - 1, min(num_frames, z_0.shape[2])).round().long()
        return to_uint8(colours_of(z_0[:1, :, chosen], self._colours))[0]

    def frame_shape(self, aspect: str, photo: tuple[int, int] | None = None, crop: Box | None = None) -> tuple[int, int]:
        """Height and width of a frame, pixels: as `media.frame_shape` has it for the square that the model was made for."""
        return frame_shape(aspect, self.frame_size, photo, crop)

    def _video(self, drawn: _Drawn) -> Tensor:
        """b 3 f h w in [-1, 1]; frame 0 is the photo, and the last one that where the clip arrives."""
        video = self._decoded(drawn.z_0)
        for index, photos in ((0, drawn.first), (-1, drawn.last)):
            if photos:
                video[:, :, index] = _video_of(photos.pixels)[:, :, 0].to(video)
        return video

    def _clips(self, drawn: _Drawn, video: Tensor) -> list[AnimatedClip]:
        frames, decoded, last = to_uint8(video), self.decode(drawn.first.z)[:, 0], drawn.last
        decoded_last = last and self.decode(last.z)[:, 0]
        return [
            AnimatedClip(
                frames=frames[index],
                fps=one.fps,
                metadata=self._metadata(one) | ({"last_photo": _digest(last.whole[index])} if last else {}),
                photo=image,
                part=fitted_part(image.size, *frames.shape[2:4], one.crop),
                decoded_photo=decoded[index],
                times=drawn.times.cpu().numpy(),
                field=drawn.field and drawn.field.of(index).to("cpu"),
                loop=one.loop,
                notes=self.truncation_notes(one),
                last_photo=last and last.whole[index],
                decoded_last=last and decoded_last[index],
            )
            for index, (image, one) in enumerate(zip(drawn.first.whole, drawn.settings, strict=True))
        ]

    def _metadata(self, settings: AnimateSettings) -> dict[str, Any]:
        packages = ("torch", "diffusers", "transformers")
        versions = {"version_trip": trip.__version__, **{f"version_{name}": version(name) for name in packages}}
        used = settings.model_dump()
        used["crop"] = used["crop"] and ", ".join(f"{share:g}" for share in used["crop"])  # plain, as every file format keeps it
        if not self._is_named(settings):
            used["scheduler"] = type(self.scheduler).__name__
        lora = {"lora": f"{self.lora.data_digest}, {self.lora.num_steps} steps"} if self.lora else {}
        return {**used, "model": self.model_name, **lora, **versions}

    # checks

    @staticmethod
    def _check_alike(settings: list[AnimateSettings]) -> None:
        names = ("num_frames", "num_steps", "scheduler", "guidance_scale", "motion", "aspect", "loop", "fusion")
        if (count := len({tuple(getattr(one, name) for name in names) for one in settings})) != 1:
            raise ValueError(
                f"wanted one set of frames, steps, sampler, guidance, motion, aspect, loop and fusion for a batch, got {count}; "
                "make several batches"
            )

    def _check_fusion(self, settings: AnimateSettings) -> None:
        if settings.fusion not in ("trained", *self.fusion.kinds):
            raise ValueError(
                f"Fusion must be trained or {' or '.join(self.fusion.kinds)} with this checkpoint, not {settings.fusion}: "
                f"it was trained with {self.fusion.config.kind} fusion; choose one of these"
            )


def _video_of(pixels: np.ndarray) -> Tensor:
    """Pictures as clips of one frame: b h w 3, uint8 -> b 3 1 h w in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).unsqueeze(2).float() / 127.5 - 1


def _digest(photo: Image.Image) -> str:
    """What tells a photo from others."""
    return f"{photo.width} x {photo.height}, {hashlib.sha256(photo.tobytes()).hexdigest()[:12]}"


def _one_each(embeds: Tensor | None, count: int, device: torch.device) -> Tensor | None:
    """Embeddings on the device, one for each of `count` clips: those that are fewer serve several clips in a row."""
    return None if embeds is None else embeds.to(device).repeat_interleave(count // len(embeds), dim=0)


def _taken(returned: dict[str, Tensor] | None, tensors: dict[str, Tensor | None]) -> list[Tensor | None]:
    """Latents and both embeddings as a callback leaves them."""
    if returned is not None and not isinstance(returned, dict):
        raise ValueError(f"callback_on_step_end must return a dict of tensors or nothing, not {type(returned).__name__}")
    taken = [(returned or {}).get(name, tensors[name]) for name in ("latents", "prompt_embeds", "negative_prompt_embeds")]
    if shape_of(taken[0]) != shape_of(tensors["latents"]):
        raise ValueError(f"callback_on_step_end must return latents of {shape_of(tensors['latents'])}, got {shape_of(taken[0])}")
    return taken


def _guided(noise: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance; the batch's second half is what it leads away from."""
    wanted, unwanted = noise.chunk(2)
    return unwanted + scale * (wanted - unwanted)
