"""`python -m trip compare`: one photo, prompt and seed through several models, side by side on one clock, with figures and seconds."""

import argparse
import json
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from trip.cli.stages import write_rendered
from trip.cli.verbs import Verbs, add_settings, settings_in
from trip.settings import AnimateSettings
from trip.system.files import atomic_write_text, check_run_folder

if TYPE_CHECKING:
    from PIL import Image

HEIGHT = 320  # of each clip side by side, pixels
RATE = 24.0  # frames per second, there
OWN = "trip"  # the embedded model's name


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    parser = verbs.add_parser("compare", help="animate a photo with several models, side by side")
    parser.add_argument("photo", metavar="PHOTO")
    parser.add_argument(
        "--models",
        metavar="A,B,C",
        help=f"{OWN} (the embedded model), names of video models, folders; all that are here where none is given",
    )
    parser.add_argument("--models-folder", type=Path, metavar="DIR", help="folder of models by others, beside the hub's cache")
    add_settings(parser, AnimateSettings)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="clips, side-by-side.mp4, sheet.png and report.json")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it, with whatever models work; what is left out is said."""
    settings = settings_in(options, AnimateSettings)
    settings = settings.model_copy(update={"seed": secrets.randbelow(2**31) if settings.seed is None else settings.seed})
    names = _names(options)
    check_run_folder(options.output)
    from trip.evaluation.sheets import contact_sheet, on_one_clock, side_by_side
    from trip.media import Clip, read_clip, read_photo, write_clip

    photo = read_photo(options.photo)
    options.output.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    missing: list[str] = []
    for number, name in enumerate(names):
        path = options.output / f"{number + 1}-{Path(name).name.replace(':', '-')}.mp4"
        try:
            rows.append(_row(name, photo, settings, path, options.models_folder))
        except ValueError as error:
            missing.append(f"{name}: left out: {error}")
        atomic_write_text(options.output / "report.json", json.dumps({"rows": rows, "left_out": missing}, indent=1) + "\n")
    print(*(f"trip: {line}" for line in missing), sep="\n", end="\n" if missing else "", file=sys.stderr)
    if not rows:
        raise ValueError("no model made a clip; see above why")
    titles, clips = [row["model"] for row in rows], [read_clip(options.output / row["file"]) for row in rows]
    frames = on_one_clock([clip.frames for clip in clips], [clip.fps for clip in clips], RATE)
    metadata = {"prompt": settings.prompt, "seed": settings.seed}
    print(write_clip(Clip(side_by_side(frames, titles, HEIGHT), RATE, metadata), options.output / "side-by-side.mp4"))
    print(contact_sheet([clip.frames for clip in clips], titles, options.output / "sheet.png"))
    print(_table(rows))


def _names(options: argparse.Namespace) -> list[str]:
    if options.models is not None:
        names = [name.strip() for name in options.models.split(",") if name.strip()]
        if len({str(Path(name)) for name in names}) != len(names) or not names:
            raise ValueError(f"--models: wanted different names with commas between them, got {options.models!r}")
        return names
    from trip.backbones.local import video_models_here

    return [OWN, *(model.name for model in video_models_here(options.models_folder))]


def _row(name: str, photo: "Image.Image", settings: AnimateSettings, path: Path, models: Path | None) -> dict[str, Any]:
    """Makes one clip and measures it: of TRIP's the file that people get, of others' what they drew. Seconds are those of making it."""
    from trip.backbones.opening import acquire
    from trip.evaluation.clip_metrics import clip_metrics
    from trip.media import fit_photo, read_clip
    from trip.system.memory import is_out_of_memory

    with acquire(None if name == OWN else name, None, models) as pipe:
        settings, begun = pipe.resolve(settings), time.monotonic()
        try:
            with tqdm(total=settings.num_steps, desc=name, unit="step") as bar:
                clip = pipe.animate(photo, settings, callback_on_step_end=lambda *_: bar.update())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ValueError("there is not enough memory; see its card (python -m trip models) for what it takes") from error
    write_rendered(clip, settings, path)
    seconds, made = time.monotonic() - begun, read_clip(path)
    frames = clip.frames if clip.field is None else made.frames  # a rendering puts the photo itself into the first frame
    measured = clip_metrics(frames, fit_photo(photo, *frames.shape[1:3], settings.crop))
    return {
        "name": name,
        "file": path.name,
        "model": clip.metadata["model"],
        "prior": clip.metadata.get("prior", clip.metadata["fusion"]),
        "frames": len(clip.frames),
        "fps": clip.fps,
        "height": made.frames.shape[1],
        "width": made.frames.shape[2],
        "seconds": round(seconds, 1),
        "first_frame_db": round(measured.first_frame_db, 2),
        "photo_kept_db": round(measured.photo_kept_db, 2),
        "flicker": round(measured.flicker, 2),
        "motion_of_width": round(measured.motion.median / measured.width, 4),
        "seed": settings.seed,
        "notes": list(clip.notes),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| model | frames | size | seconds | first frame, dB | photo kept, dB | flicker, of 255 | motion, of the width |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['model']} | {row['frames']} at {row['fps']:g} | {row['width']} × {row['height']} | {row['seconds']:.1f} | "
        f"{row['first_frame_db']:.1f} | {row['photo_kept_db']:.1f} | {row['flicker']:.1f} | {100 * row['motion_of_width']:.1f} % |"
        for row in rows
    ]
    return "\n".join(lines)
