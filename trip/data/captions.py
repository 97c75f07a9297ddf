"""Words for clips from a captioning model, where its weights are on this machine."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoProcessor, BlipForConditionalGeneration

from trip.media import MediaError, open_video

CAPTIONER, CAPTIONER_MB = "Salesforce/blip-image-captioning-base", 990
MOST_TOKENS = 40
MOST_FRAMES = 900  # that are decoded on the way to the middle


def describe_clips(paths: Sequence[Path], model: str = CAPTIONER) -> list[str]:
    """What the middle frame of each clip shows, one line each; how it moves is for the person to add.

    Raises ValueError, in one line, where the model is not on this machine; nothing is downloaded.
    """
    try:
        processor = AutoProcessor.from_pretrained(model, local_files_only=True)
        captioner = BlipForConditionalGeneration.from_pretrained(model, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"captions need {model} (about {CAPTIONER_MB} MB), which is not on this machine; run: hf download {model}, or write them"
        ) from error
    inputs = processor(images=[_middle_frame(path) for path in paths], return_tensors="pt")
    with torch.no_grad():
        tokens = captioner.eval().generate(**inputs, max_new_tokens=MOST_TOKENS)
    return [" ".join(text.split()) for text in processor.batch_decode(tokens, skip_special_tokens=True)]


def _middle_frame(path: Path) -> Image.Image:
    with open_video(path) as video:
        chosen = None
        for _, frame in islice(video.timed_frames(), min(video.num_frames // 2, MOST_FRAMES) + 1):
            chosen = frame
        if chosen is None:
            raise MediaError(f"{video.name}: wanted a video, got one without frames; choose another")
        return Image.fromarray(video.upright(chosen))
