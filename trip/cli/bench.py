"""`python -m trip bench`: seconds per step with the share of prior and fusion, or against diffusers' own 3D-UNet, or what each way to a
first frame costs.
"""

import argparse
import json
from pathlib import Path

from trip.cli.verbs import Verbs
from trip.settings import PRESETS


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    bench = verbs.add_parser("bench", help="time a step, and the share of prior and fusion in it; or the models that make first frames")
    bench.add_argument("--model", metavar="FOLDER_OR_ID")
    bench.add_argument("--repeats", type=int, default=10, metavar="N")
    bench.add_argument("--against", choices=["diffusers"], help="time the 3D-UNet turn by turn with diffusers' own, on the same weights")
    bench.add_argument("--preset", choices=list(PRESETS), default="embedded", help="whose sizes --against takes, with random weights")
    bench.add_argument(
        "--precision", choices=["float32", "bfloat16"], help="for --against; what is fast on this machine where none is given"
    )
    bench.add_argument("--num-frames", type=int, metavar="N", help="for --against; the preset's own number where none is given")
    bench.add_argument("--pictures", metavar="PHOTO", help="time every picture model that is here, a clip, and switches, on this photo")
    bench.add_argument("--models", type=Path, metavar="DIR", help="folder of picture models, beside the hub's cache")
    bench.add_argument("--num-steps", type=int, default=4, metavar="N", help="of each picture")
    bench.add_argument("--size", type=int, metavar="PIXELS", help="of each picture; what each model was made for where none is given")
    bench.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    print(json.dumps(_against(options) if options.against else _pictures(options) if options.pictures else _step(options), indent=1))


def _step(options: argparse.Namespace) -> dict:
    from trip.evaluation.speed import time_step
    from trip.model_cache import load_pipeline

    return time_step(load_pipeline(options.model), repeats=options.repeats)


def _pictures(options: argparse.Namespace) -> list[dict]:
    from trip.first_frame.speed import time_pictures
    from trip.media import read_photo

    return time_pictures(read_photo(options.pictures), options.models, options.num_steps, options.size, options.model)


def _against(options: argparse.Namespace) -> dict:
    """A pass of one clip; both classes hold the very same weights, so that the large preset is in memory once."""
    import torch
    from diffusers import UNet3DConditionModel

    from trip.evaluation.speed import time_in_turn
    from trip.model.build import unet_sizes
    from trip.model.unet import TripUNet
    from trip.system.accelerator import arithmetic, device, precision

    settings, on = PRESETS[options.preset].model, device()
    num_frames = settings.num_frames if options.num_frames is None else options.num_frames
    if num_frames < 1:
        raise ValueError(f"wanted at least 1 frame, got {num_frames}")
    sizes = unet_sizes(settings)
    with torch.device("meta"):
        theirs, ours = UNet3DConditionModel(**sizes).eval(), TripUNet(**sizes).eval()
    dtype = getattr(torch, options.precision) if options.precision else arithmetic(on) or precision(on)
    theirs.to(dtype).to_empty(device=on)
    generator = torch.Generator(on).manual_seed(0)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if weight.dim() > 1:
                weight.normal_(std=weight[0].numel() ** -0.5, generator=generator)
            else:
                weight.fill_(float(name.endswith("weight")))  # norms; biases are none
    ours.load_state_dict(theirs.state_dict(), assign=True)

    side = sizes["sample_size"]
    sample = torch.randn(1, sizes["in_channels"], num_frames + 1, side, side, device=on, generator=generator).to(dtype)
    words = torch.randn(1, settings.text.max_tokens, sizes["cross_attention_dim"], device=on, generator=generator).to(dtype)
    calls = [lambda unet=unet: unet(sample, 500, words).sample for unet in (ours, theirs)]
    with torch.no_grad():
        own, other = (call().float() for call in calls)
    return {
        "preset": options.preset,
        "num_parameters": sum(weight.numel() for weight in ours.parameters()),
        "precision": str(dtype).removeprefix("torch."),
        "num_frames": num_frames,
        "latent_size": side,
        "threads": torch.get_num_threads(),
        "relative_difference": float((own - other).norm() / other.norm()),
        **time_in_turn(*calls, on, repeats=options.repeats),
    }
