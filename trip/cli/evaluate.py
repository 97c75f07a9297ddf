"""`python -m trip evaluate`: measure a checkpoint. What takes clips of any system is in `generate` and `scores`."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from trip.cli import generate, scores
from trip.cli.data import check_counts
from trip.cli.progress import progress_bar
from trip.cli.verbs import Verbs
from trip.settings import AnimateSettings
from trip.system.files import atomic_write_text

LARGEST_PHOTO = 640  # short side at which photos are read, pixels
SIZES = range(128, 1081, 2)  # of a rendered clip, where the photo is as large
SHEET_FRAMES = 8


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    evaluate = verbs.add_parser("evaluate", help="measure a checkpoint")
    measures = evaluate.add_subparsers(required=True, metavar="motion | edits | generate | fvd | fid | consistency | anchors | vbench")
    motion = measures.add_parser("motion", help="does the optical flow go where the prompt says, on photos held out of training")
    motion.add_argument("--photos", type=Path, required=True, metavar="DIR")
    motion.add_argument(
        "--unseen", action="store_true", help="no model was trained on any of these photos: not one in ten, all may be taken"
    )
    motion.add_argument("--model", metavar="FOLDER_OR_ID")
    motion.add_argument(
        "--against", metavar="FOLDER_OR_ID", help="another checkpoint, or the report.json of one: which is better, motion by motion"
    )
    motion.add_argument("--output", type=Path, required=True, metavar="report.json")
    motion.add_argument("--num-photos", type=int, default=16, metavar="N", help="held-out photos, taken evenly (default: 16)")
    motion.add_argument(
        "--per-scene", type=int, default=8, metavar="N", help="photos that each scene is asked for on, at most (default: 8)"
    )
    motion.add_argument("--size", type=int, default=256, metavar="PIXELS", help="side of the frames that are judged (default: 256)")
    motion.add_argument("--surroundings", action="store_true", help="give the model the whole photo, and the crop that is its first frame")
    motion.add_argument("--num-steps", type=int, metavar="N")
    motion.add_argument("--guidance-scale", type=float, metavar="X")
    motion.add_argument("--scheduler", default="ddim", choices=["ddim", "dpm++", "unipc"])
    motion.add_argument("--sheet", type=Path, metavar="FILE.png", help="also draw some of the clips")
    motion.set_defaults(run=_motion)

    edits = measures.add_parser("edits", help="does an instruction editor do what it is told, on photos held out of training")
    edits.add_argument("--photos", type=Path, required=True, metavar="DIR")
    edits.add_argument("--model", metavar="FOLDER_OR_ID", help="InstructPix2Pix pipeline; the embedded one where none is given")
    edits.add_argument("--output", type=Path, required=True, metavar="report.json")
    edits.add_argument("--num-photos", type=int, metavar="N", help="only so many held-out photos, taken evenly")
    edits.add_argument("--size", type=int, default=128, metavar="PIXELS", help="side of the squares that are edited")
    edits.add_argument("--num-steps", type=int, default=2, metavar="N")
    edits.add_argument("--guidance-scale", type=float, default=1.0, metavar="X", help="text guidance; 1 is without")
    edits.add_argument("--image-guidance-scale", type=float, default=1.0, metavar="X", help="image guidance, where there is text guidance")
    edits.add_argument("--plain", action="store_true", help="measure the editor's own pixels, without the photo's detail given back")
    edits.add_argument("--sheet", type=Path, metavar="FILE.png", help="also draw some of the edits")
    edits.set_defaults(run=_edits)
    generate.add(measures)
    scores.add(measures)


def _motion(options: argparse.Namespace) -> None:
    from trip.data.photos import read_photos
    from trip.evaluation.clips import evenly
    from trip.evaluation.comparison import check_alike, compare, line
    from trip.evaluation.sheets import contact_sheet
    from trip.evaluation.tables import motion_tables
    from trip.media import check_target

    check_target(options.output, (".json",))
    if options.sheet:
        check_target(options.sheet, (".png",))
    for flag, least in (("num_photos", 1), ("per_scene", 0)):
        if getattr(options, flag) < least:
            raise ValueError(f"--{flag.replace('_', '-')} must be at least {least}, not {getattr(options, flag)}")
    if options.size not in SIZES:
        raise ValueError(f"--size must be an even number from {SIZES[0]} to {SIZES[-1]}, not {options.size}")
    against = _read_report(Path(options.against)) if options.against and Path(options.against).is_file() else None
    if against:
        check_alike({"protocol": {"size": options.size}, "surroundings": options.surroundings}, against)
    held_out = read_photos(options.photos, held_out=None if options.unseen else True, short_side=max(LARGEST_PHOTO, options.size))
    photos = evenly(held_out, options.num_photos)
    drawn: dict[str, np.ndarray] = {}  # the first clip of each prompt

    report = _measured(options, options.model, photos, held_out, drawn)
    if options.against:
        against = against or _measured(options, options.against, photos, held_out, {})
        report |= {"against": against, "comparison": compare(report, against)}
    atomic_write_text(options.output, json.dumps(report, indent=1))
    if options.sheet:
        contact_sheet(list(drawn.values()), list(drawn), options.sheet)
    print(motion_tables(report))
    if options.against:
        print(f"\n{report['model']} against {against['model']}, 95 % intervals over photos, each line by itself:")
        print("\n".join(line(compared) for compared in report["comparison"]))
    for name, check in report["checks"].items():
        print(f"{name}: {check}", file=sys.stderr)
    print(options.output)


def _measured(options: argparse.Namespace, model: str | None, photos: list, scene_photos: list, drawn: dict[str, np.ndarray]) -> dict:
    """The report of one checkpoint; the first clip of each prompt goes into `drawn`."""
    from trip.evaluation.clips import ClipRequest, GeneratedClip
    from trip.evaluation.motion import evaluate_motion
    from trip.model_cache import load_pipeline
    from trip.render import Rendering

    pipe = load_pipeline(model)
    asked_for = {name: getattr(options, name) for name in ("num_steps", "guidance_scale", "scheduler")}

    def animate(request: ClipRequest) -> GeneratedClip:
        crop = {"crop": request.crop} if options.surroundings else {}
        settings = AnimateSettings.checked(prompt=request.prompt, seed=request.seed, **asked_for, **crop)
        clip = pipe.animate(request.whole if crop else request.photo, settings)
        rendered = Rendering(clip, "photo")  # as large as what the model saw is, which is the size that is judged
        if request.prompt not in drawn:
            drawn[request.prompt] = np.stack([rendered[i] for i in np.linspace(0, len(rendered) - 1, SHEET_FRAMES).round().astype(int)])
        return GeneratedClip(clip.frames, rendered, rendered.at)

    with progress_bar() as progress:
        report = evaluate_motion(
            animate,
            photos,
            size=options.size,
            num_frames=pipe.config.num_frames,
            scene_photos=scene_photos,
            per_scene=options.per_scene,
            progress=progress,
        )
    return {"model": pipe.model_name, **asked_for, "surroundings": options.surroundings, **report}


def _read_report(path: Path) -> dict:
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError) as error:  # also where it is no text
        raise ValueError(f"{path}: wanted a report of this command, got a file that is no JSON; measure the checkpoint again") from error
    if not isinstance(report, dict) or not {"model", "protocol", "judged", "clips", "scene_clips"} <= set(report):
        raise ValueError(f"{path}: wanted a report of this command, got another JSON file; measure the checkpoint again")
    return report


def _edits(options: argparse.Namespace) -> None:
    from trip.data.edits import EDITS
    from trip.data.photos import read_photos
    from trip.evaluation.clips import evenly
    from trip.evaluation.edits import WORDINGS, evaluate_edits
    from trip.evaluation.sheets import contact_sheet
    from trip.first_frame.embedded import edit_all, open_editor, with_detail
    from trip.media import check_target

    check_target(options.output, (".json",))
    if options.sheet:
        check_target(options.sheet, (".png",))
    check_counts(options, size=16, num_photos=1, num_steps=1)
    pipe = open_editor(options.model)
    photos = read_photos(options.photos, held_out=True)
    photos = evenly(photos, options.num_photos)
    first = [sentences["unseen"][0] for sentences in WORDINGS.values()]
    rows = []

    def edit(photo: np.ndarray, instructions: list[str], seed: int) -> list[np.ndarray]:
        pictures = edit_all(
            pipe,
            photo,
            instructions,
            seed=seed,
            num_steps=options.num_steps,
            guidance_scale=options.guidance_scale,
            image_guidance_scale=options.image_guidance_scale,
        )
        if not options.plain:
            pictures = with_detail(pipe, pictures, photo)
        rows.append(np.stack([photo, *(pictures[instructions.index(words)] for words in first)]))
        return pictures

    with progress_bar() as progress:
        report = evaluate_edits(edit, photos, size=options.size, progress=progress)
    asked = {name: getattr(options, name) for name in ("num_steps", "guidance_scale", "image_guidance_scale", "plain", "size")}
    atomic_write_text(options.output, json.dumps({**asked, **report}, indent=1))
    if options.sheet:
        contact_sheet(rows, [", ".join(["photo", *EDITS])] * len(rows), options.sheet, columns=1 + len(EDITS))
    for name, check in report["checks"].items():
        print(f"{name}: {check}", file=sys.stderr)
    print(options.output)
