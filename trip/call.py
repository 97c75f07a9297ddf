"""The call that diffusers' users know: the one place that knows both their words and those of `AnimateSettings`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trip.model.text import encode_prompts
from trip.output import OUTPUT_TYPES, TripPipelineOutput, as_frames
from trip.settings import AnimateSettings
from trip.settings.base import shortened

STEP_TENSORS = ("z_t", "residual", "prior", "eps", "z_0")  # what a callback may look at, besides latents and embeddings

Photo = str | Path | Image.Image
ImageInput = Photo | np.ndarray | Tensor | Sequence[Photo | np.ndarray | Tensor]


@dataclass(frozen=True)
class Call:
    """A call, clip by clip.

    photos      for `trip.media.read_photo`, one for each clip
    settings    one for each clip; a seed is open where the noise does not come from one
    generators  of the noise of each clip, where they were given
    last_photos  where the clips arrive, one for each, or none
    """

    photos: list[Photo]
    settings: list[AnimateSettings]
    generators: list[torch.Generator] | None
    last_photos: list[Photo]


class TripCallMixin:
    """The conventional call of `TripPipeline`, and what a call and its callbacks are told by its attributes."""

    _callback_tensor_inputs = ["latents", "prompt_embeds", "negative_prompt_embeds", *STEP_TENSORS]

    @torch.no_grad()
    def __call__(
        self,
        image: ImageInput,
        prompt: str | list[str] | AnimateSettings | None = None,
        negative_prompt: str | list[str] | None = None,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_videos_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, Tensor, dict[str, Tensor]], dict[str, Tensor] | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        *,
        last_image: ImageInput | None = None,
        settings: AnimateSettings | None = None,
        **more: Any,
    ) -> TripPipelineOutput | tuple[list[list[Image.Image]] | np.ndarray | Tensor]:
        """Clips of photos, called as diffusers' pipelines are; what is given by name wins over `settings`.

        image                   path, PIL image, pixels h w 3 (uint8, or floats in [0, 1]), tensor 3 h w in [0, 1], or several of these
        prompt                  a text, or one for each clip; settings may stand in its place
        num_inference_steps     `num_steps` of the settings
        num_videos_per_prompt   clips of each photo and prompt, each with noise of its own
        generator               of the noise, one or one for each clip; `seed` of the settings does the same
        latents                 the noise itself   b c f h w
        prompt_embeds, negative_prompt_embeds  as `encode_prompt` gives them, in place of the texts
        output_type             pil, np, pt or latent: see `TripPipelineOutput`
        return_dict             off: a tuple, whose first part are the frames
        callback_on_step_end    called after each step with (pipeline, step, timestep, tensors). What it returns of latents and
                                embeddings goes on. Setting `pipeline.interrupt` ends the loop; what there is by then is given
        callback_on_step_end_tensor_inputs  which tensors it gets, out of `_callback_tensor_inputs`; those of `animate_batch` are among them
        last_image              a photo that the clip arrives at, in the same forms; one serves all clips
        more                    any other of `AnimateSettings`: motion, fps, seed, scheduler, loop, aspect, crop, ...
        Raises ValueError, in one line, for what cannot be used.
        """
        if isinstance(prompt, AnimateSettings):
            prompt, settings = None, prompt
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type must be {', '.join(OUTPUT_TYPES)}, not {output_type!r}")
        if prompt is not None and prompt_embeds is not None:
            raise ValueError("wanted prompt or prompt_embeds, got both; give one of them")
        names = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)  # diffusers' own callbacks say theirs
        check_callback(callback_on_step_end, names, self._callback_tensor_inputs)
        max_tokens = self.tokenizer and self.tokenizer.model_max_length
        embeds = {"prompt_embeds": prompt_embeds, "negative_prompt_embeds": negative_prompt_embeds}
        for name, one in embeds.items():
            check_embeds(name, one, max_tokens, self.unet.config.cross_attention_dim)
        call = translate_call(
            image,
            prompt,
            negative_prompt,
            embeds={name: len(one) for name, one in embeds.items() if one is not None},
            num_videos_per_prompt=num_videos_per_prompt,
            generator=generator,
            last_image=last_image,
            settings=settings,
            numbers=[("num_frames", num_frames), ("num_steps", num_inference_steps), ("guidance_scale", guidance_scale), *more.items()],
        )
        try:
            drawn = self._draw(call, callback_on_step_end, names, latents, prompt_embeds, negative_prompt_embeds)
            if output_type == "latent":
                output = TripPipelineOutput(drawn.z_0)
            else:
                video = self._video(drawn)
                output = TripPipelineOutput(as_frames(video, drawn.first.pixels, output_type), self._clips(drawn, video))
        finally:
            self.maybe_free_model_hooks()
        return output if return_dict else (output.frames,)

    def encode_prompt(
        self,
        prompt: str | list[str] | None,
        negative_prompt: str | list[str] | None = None,
        do_classifier_free_guidance: bool = True,
        num_videos_per_prompt: int = 1,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        device: torch.device | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Prompts as the call takes them, and what guidance leads away from, each b n+1 d: a vector a token, and after them the sentence's.

        prompt_embeds, negative_prompt_embeds  what is known already, and given back
        Raises ValueError where there is no text encoder.
        """
        prompts = [prompt] if isinstance(prompt, str) or prompt is None else prompt
        count = len(prompts) if prompt_embeds is None else len(prompt_embeds)
        negatives = [negative_prompt] if isinstance(negative_prompt, str) or negative_prompt is None else negative_prompt
        negatives = negatives * count if len(negatives) == 1 else negatives
        wanted = {"prompt": [] if prompt_embeds is not None else prompts}
        wanted["negative"] = negatives if do_classifier_free_guidance and negative_prompt_embeds is None else []
        texts = [text or "" for text in wanted["prompt"] + wanted["negative"]]
        if texts:
            if self.text_encoder is None or self.tokenizer is None:
                raise ValueError(
                    "wanted prompt_embeds and negative_prompt_embeds, as this pipeline has no text encoder, got texts; give both"
                )
            words, sentence = encode_prompts(texts, self.tokenizer, self.text_encoder, device or self._execution_device)
            known, unwanted = torch.cat([words, sentence.unsqueeze(1)], dim=1).split([len(one) for one in wanted.values()])
            prompt_embeds = known if len(known) else prompt_embeds
            negative_prompt_embeds = unwanted if len(unwanted) else negative_prompt_embeds
        if num_videos_per_prompt > 1:
            prompt_embeds = prompt_embeds.repeat_interleave(num_videos_per_prompt, dim=0)
            if negative_prompt_embeds is not None:
                negative_prompt_embeds = negative_prompt_embeds.repeat_interleave(num_videos_per_prompt, dim=0)
        return prompt_embeds, negative_prompt_embeds

    @property
    def guidance_scale(self) -> float:
        """Of the call that runs, or ran last; a callback may change `_guidance_scale`."""
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether the step is guided."""
        return self._guidance_scale > 1

    @property
    def num_timesteps(self) -> int:
        """Steps of the call that runs, or ran last."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether the loop is to end before its next step; a callback may set it."""
        return self._interrupt

    @interrupt.setter
    def interrupt(self, value: bool) -> None:
        """Ends the loop of the call that runs, or lets it go on."""
        self._interrupt = value


def translate_call(
    image: ImageInput,
    prompt: str | Sequence[str] | None,
    negative_prompt: str | Sequence[str] | None,
    *,
    embeds: dict[str, int],
    num_videos_per_prompt: int,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    last_image: ImageInput | None = None,
    settings: AnimateSettings | None,
    numbers: list[tuple[str, Any]],
) -> Call:
    """The call as photos and settings. What is given by name wins over the settings object.

    image           path, PIL image, pixels (h w 3, uint8, or floats in [0, 1]) or tensor (3 h w in [0, 1]), or several: a list, b h w 3,
                    b 3 h w. One serves all prompts
    embeds          how many prompts came as embeddings, of each kind
    numbers         what else was given by name, as `AnimateSettings` calls it
    Raises ValueError, in one line, where a value is of a wrong type, or counts do not fit each other.
    """
    if settings is not None and not isinstance(settings, AnimateSettings):
        raise ValueError(f"settings must be AnimateSettings, not {_kind(settings)}; give single values by their names")
    photos, lasts = photos_of(image), [] if last_image is None else photos_of(last_image)
    prompts, negatives = _texts("prompt", prompt), _texts("negative_prompt", negative_prompt)
    repeats = _positive_int("num_videos_per_prompt", num_videos_per_prompt)
    counts = {"image": len(photos), "prompt": len(prompts), "negative_prompt": len(negatives), **embeds, "last_image": max(len(lasts), 1)}
    count = max(counts.values())
    if wrong := {name: number for name, number in counts.items() if number not in (1, count)}:
        name, number = next(iter(wrong.items()))
        raise ValueError(f"{name} must be one, or as many as the clips, which are {count}, not {number}")

    given = {name: getattr(settings, name) for name in settings.model_fields_set} if settings else {}
    given |= {name: value for name, value in numbers if value is not None}
    if isinstance(given.get("guidance_scale"), (int, float)):
        given["guidance_scale"] = max(1.0, given["guidance_scale"])  # without guidance, whatever is below
    seed, one_by_one = given.pop("seed", None), []
    for index in range(count * repeats):
        text = {"prompt": prompts[index // repeats % len(prompts)], "negative_prompt": negatives[index // repeats % len(negatives)]}
        own = (seed + index) % 2**31 if index and isinstance(seed, int) else seed
        seeded = {} if generator is not None else {"seed": _seed() if seed is None else own}
        one_by_one.append(AnimateSettings.checked(**given | {k: v for k, v in text.items() if v is not None} | seeded))
    photos, lasts = (several * count if len(several) == 1 else several for several in (photos, lasts))
    photos, lasts = ([photo for photo in several for _ in range(repeats)] for several in (photos, lasts))
    return Call(photos, one_by_one, _generators(generator, count * repeats), lasts)


def photos_of(image: ImageInput) -> list[Photo]:
    """Photos as `trip.media.read_photo` takes them, out of any form that people have them in. Raises ValueError, in one line."""
    if isinstance(image, (str, Path, Image.Image)):
        return [image]
    if isinstance(image, (np.ndarray, Tensor)):
        pixels = _pixels(image) if isinstance(image, Tensor) else image
        channel = 0 if isinstance(image, Tensor) else 2
        several = pixels if pixels.ndim == 4 else pixels[None]
        return [_photo(np.moveaxis(one, channel, -1) if one.ndim == 3 else one) for one in several]
    if isinstance(image, Sequence) and image:
        return [photo for one in image for photo in photos_of(one)]
    raise ValueError(f"image must be a photo (path, PIL image, array or tensor) or a list of photos, not {_kind(image)}")


def _pixels(image: Tensor) -> np.ndarray:
    image = image.detach().cpu()
    return (image.float() if image.is_floating_point() else image).numpy()


def _photo(pixels: np.ndarray) -> Image.Image:
    """h w, or h w with 1, 3 or 4 channels; uint8, or floats in [0, 1] or [-1, 1]."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)) or 0 in pixels.shape:
        raise ValueError(f"image must be h w 3 as an array, 3 h w as a tensor, got {shape_of(pixels)}; turn its axes")
    if np.issubdtype(pixels.dtype, np.floating):
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -1.001 and high <= 1.001):  # also where it is not a number
            raise ValueError(f"image must be uint8, or floats from 0 to 1, got floats from {low:g} to {high:g}; divide by 255")
        pixels = ((pixels + 1) / 2 if low < 0 else pixels).clip(0, 1)
        pixels = (pixels * 255).round().astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ValueError(f"image must be uint8, or floats from 0 to 1, got {pixels.dtype}; convert it")
    return Image.fromarray(np.ascontiguousarray(pixels))


def check_embeds(name: str, embeds: Tensor | None, max_tokens: int | None, width: int) -> None:
    """ValueError, in one line, where embeddings are not what `TripPipeline.encode_prompt` gives."""
    if embeds is None:
        return
    if not isinstance(embeds, Tensor):
        raise ValueError(f"{name} must be a tensor, as encode_prompt gives it, not {_kind(embeds)}")
    shape = tuple(embeds.shape)
    if len(shape) != 3 or shape[2] != width or (shape[1] - 1) % (max_tokens or 1):
        wanted = f"{max_tokens or 'n'} vectors of width {width} and after them the whole sentence's"
        raise ValueError(f"{name} must be as encode_prompt gives it ({wanted}), got {shape_of(embeds)}")


def check_callback(callback: Callable | None, names: Sequence[str], known: Sequence[str]) -> None:
    """ValueError, in one line, where a callback cannot be called, or asks for tensors that there are not."""
    if callback is not None and not callable(callback):
        raise ValueError(f"callback_on_step_end must be a function of (pipeline, step, timestep, tensors), not {_kind(callback)}")
    if isinstance(names, str) or (unknown := [name for name in names if name not in known]):
        asked = names if isinstance(names, str) else unknown[0]
        raise ValueError(f"callback_on_step_end_tensor_inputs must be a list of {', '.join(known)}, not {shortened(asked)}")


def shape_of(value: Any) -> str:
    """A tensor's shape in words, and of what is none its type."""
    return " x ".join(map(str, value.shape)) if isinstance(value, (Tensor, np.ndarray)) else type(value).__name__


def _texts(name: str, value: str | Sequence[str] | None) -> list[str | None]:
    if value is None or isinstance(value, str):
        return [value]
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{name} must be a text or a list of texts, not {shortened(value)}")
    return list(value)


def _generators(generator: torch.Generator | Sequence[torch.Generator] | None, count: int) -> list[torch.Generator] | None:
    if generator is None:
        return None
    if isinstance(generator, torch.Generator):
        return [generator] * count  # the clips draw from it one after the other
    if not isinstance(generator, (list, tuple)) or not all(isinstance(one, torch.Generator) for one in generator):
        raise ValueError(f"generator must be a torch.Generator or a list of them, not {shortened(generator)}")
    if len(generator) != count:
        raise ValueError(f"generator must be one, or as many as the clips, which are {count}, not {len(generator)}")
    return list(generator)


def _seed() -> int:
    """Drawn from torch's own noise, so that `torch.manual_seed` before a call makes the same clip."""
    return int(torch.randint(2**31, ()))


def _positive_int(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number from 1, not {shortened(value)}")
    return value


def _kind(value: Any) -> str:
    return "an empty list" if value == [] else f"{type(value).__name__} ({shortened(value)})"
