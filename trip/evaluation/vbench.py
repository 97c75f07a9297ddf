"""Clips in the folders that VBench-I2V's `custom_input` mode reads: videos and pictures of the same names. Its package is not needed here;
it wants an environment of its own.
"""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from trip.data.windows import Unfit
from trip.evaluation.clip_sets import ClipSet, Reading, open_set
from trip.media import Clip, write_clip, write_picture

DIMENSIONS = ("i2v_subject", "i2v_background", "subject_consistency", "background_consistency", "motion_smoothness", "dynamic_degree")


def export(folder: Path, output: Path, metadata: dict[str, Any]) -> Iterator[str]:
    """Writes OUTPUT/videos/NAME.mp4, at the clips' own rate, and OUTPUT/images/NAME.png, and yields the names.

    metadata  of the run that the clips are from, as `generate` wrote it
    Raises ValueError where the folder is none of a run.
    """
    if not {"num_frames", "stride", "size", "crop"} <= set(metadata):
        raise ValueError(f"{folder}: wanted a folder of clips of `evaluate generate`, with run.json beside it, found none; generate first")
    clips: ClipSet = open_set(folder, Reading(metadata["num_frames"], None, metadata["size"], metadata["crop"]))
    for name in ("videos", "images"):
        (output / name).mkdir(parents=True, exist_ok=True)
    for source, frames in clips.windows():
        if isinstance(frames, Unfit):
            continue
        name = source.name.replace("/", "--")
        write_clip(Clip(frames, 1 / metadata["stride"]), output / "videos" / f"{name}.mp4")
        write_picture(Image.fromarray(frames[0]), output / "images" / f"{name}.png")
        yield name


def suggested_command(output: Path) -> str:
    """What to run where VBench is installed."""
    words = ["python", "evaluate_i2v.py", "--videos_path", str(output / "videos"), "--custom_image_folder", str(output / "images")]
    words += ["--dimension", *DIMENSIONS, "--ratio", "1-1", "--mode", "custom_input"]
    return shlex.join(words)
