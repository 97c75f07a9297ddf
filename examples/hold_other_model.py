"""A photo animated by a text-to-video model of others, held by TRIP's image noise prior: no training.

    python examples/hold_other_model.py PHOTO "the waves roll in" --model FOLDER_OR_HUB_ID --output clip.mp4

The model is a pipeline of diffusers of a class in `trip.prior.LAYOUTS`, such as AnimateDiff, ModelScope's or Wan.
"""

import argparse

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import export_to_video

from trip.media import fit_photo, read_photo
from trip.prior import LAYOUTS, SHARES, ImagePrior, encode_photo, held_by

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photo")
parser.add_argument("prompt")
parser.add_argument("--model", required=True)
parser.add_argument("--motion", choices=list(SHARES), default="usual", help="how much the photo holds the clip")
parser.add_argument("--size", type=int, default=512, help="pixels of a side")
parser.add_argument("--num-frames", type=int, default=16)
parser.add_argument("--num-steps", type=int, default=25)
parser.add_argument("--fps", type=int, default=8)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--output", default="clip.mp4")
options = parser.parse_args()

device = "cuda" if torch.cuda.is_available() else "cpu"
pipe = DiffusionPipeline.from_pretrained(options.model, torch_dtype=torch.float16 if device == "cuda" else torch.float32).to(device)
if type(pipe).__name__ not in LAYOUTS:
    parser.error(f"wanted a pipeline of {', '.join(LAYOUTS)}, got {type(pipe).__name__}; choose another --model")
pixels = fit_photo(read_photo(options.photo), options.size, options.size)
photo = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
prior = ImagePrior(encode_photo(pipe.vae, photo, options.num_frames), SHARES[options.motion], layout=LAYOUTS[type(pipe).__name__])
with held_by(pipe.scheduler, prior):
    made = pipe(
        prompt=options.prompt, height=options.size, width=options.size, num_frames=options.num_frames,
        num_inference_steps=options.num_steps, output_type="np", generator=torch.Generator().manual_seed(options.seed),
    )  # fmt: skip
export_to_video(list(np.asarray(made.frames[0])), options.output, fps=options.fps)
print(options.output)
