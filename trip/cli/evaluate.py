"""`python -m trip evaluate`: measure a checkpoint."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from trip.cli.verbs import Verbs
from trip.settings import AnimateSettings


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    evaluate = verbs.add_parser("evaluate", help="measure a checkpoint")
    measures = evaluate.add_subparsers(required=True, metavar="motion | edits | maps")
    motion = measures.add_parser("motion", help="does the optical flow go where the prompt says, on photos held out of training")
    motion.add_argument("--photos", type=Path, required=True, metavar="DIR")
    motion.add_argument("--model", metavar="FOLDER_OR_ID")
    motion.add_argument("--output", type=Path, required=True, metavar="report.json")
    motion.add_argument("--num-photos", type=int, metavar="N", help="only the first so many held-out photos")
    motion.add_argument("--num-steps", type=int, metavar="N")
    motion.add_argument("--guidance-scale", type=float, metavar="X")
    motion.add_argument("--scheduler", default="ddim", choices=["ddim", "dpm++", "unipc"])
    motion.add_argument("--least-gain", type=float, default=2.0, metavar="DB", help="wanted gain over a still clip, dB")
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

    maps = measures.add_parser("maps", help="does a painter follow canny maps and heed its words, on photos held out of training")
    maps.add_argument("--photos", type=Path, required=True, metavar="DIR")
    maps.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="pipeline with a folder controlnet in it")
    maps.add_argument("--output", type=Path, required=True, metavar="report.json")
    maps.add_argument("--num-photos", type=int, default=24, metavar="N", help="held-out photos, taken evenly")
    maps.add_argument("--size", type=int, default=128, metavar="PIXELS", help="side of the squares that are painted")
    maps.add_argument("--num-steps", type=int, default=8, metavar="N")
    maps.add_argument("--guidance-scale", type=float, default=2.0, metavar="X", help="text guidance; 1 is without")
    maps.add_argument("--sheet", type=Path, metavar="FILE.png", help="also draw maps, photos and pictures: by the caption, then by styles")
    maps.set_defaults(run=_maps)


def _motion(options: argparse.Namespace) -> None:
    from trip.data.photos import read_photos
    from trip.evaluation.motion import evaluate_motion
    from trip.evaluation.sheets import contact_sheet
    from trip.media.clip import check_target
    from trip.runtime import load_pipeline

    check_target(options.output, (".json",))
    if options.sheet:
        check_target(options.sheet, (".png",))
    pipe = load_pipeline(options.model)
    photos = read_photos(options.photos, held_out=True)[: options.num_photos]

    drawn: dict[str, np.ndarray] = {}  # the first clip of each prompt

    def animate(pixels: np.ndarray, prompt: str, seed: int) -> np.ndarray:
        settings = AnimateSettings.checked(
            prompt=prompt, seed=seed, num_steps=options.num_steps, guidance_scale=options.guidance_scale, scheduler=options.scheduler
        )
        frames = pipe(pixels, settings).frames
        drawn.setdefault(prompt, frames)
        return frames

    with tqdm(total=1.0, bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:

        def progress(done: float, text: str) -> None:
            bar.set_description(text)
            bar.update(done - bar.n)

        report = evaluate_motion(
            animate, photos, size=pipe.frame_size, num_frames=pipe.config.num_frames, least_gain_db=options.least_gain, progress=progress
        )
    options.output.write_text(json.dumps({"model": pipe.model_name, "scheduler": options.scheduler, **report}, indent=1))
    if options.sheet:
        contact_sheet(list(drawn.values()), list(drawn), options.sheet)
    for name, check in report["checks"].items():
        print(f"{name}: {check}", file=sys.stderr)
    print(options.output)


def _edits(options: argparse.Namespace) -> None:
    from trip.data.edits import EDITS
    from trip.data.photos import read_photos
    from trip.evaluation.edits import WORDINGS, evaluate_edits
    from trip.evaluation.sheets import contact_sheet
    from trip.first_frame.embedded import edit_all, open_editor, with_detail
    from trip.media.clip import check_target

    check_target(options.output, (".json",))
    if options.sheet:
        check_target(options.sheet, (".png",))
    pipe = open_editor(options.model)
    photos = read_photos(options.photos, held_out=True)
    if options.num_photos:
        photos = _evenly(photos, options.num_photos)
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

    with tqdm(total=1.0, bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:

        def progress(done: float, text: str) -> None:
            bar.set_description(text)
            bar.update(done - bar.n)

        report = evaluate_edits(edit, photos, size=options.size, progress=progress)
    asked = {name: getattr(options, name) for name in ("num_steps", "guidance_scale", "image_guidance_scale", "plain", "size")}
    options.output.write_text(json.dumps({**asked, **report}, indent=1))
    if options.sheet:
        contact_sheet(rows, [", ".join(["photo", *EDITS])] * len(rows), options.sheet, columns=1 + len(EDITS))
    for name, check in report["checks"].items():
        print(f"{name}: {check}", file=sys.stderr)
    print(options.output)


def _maps(options: argparse.Namespace) -> None:
    from trip.data.photos import read_photos
    from trip.data.titles import STYLES
    from trip.evaluation.edits import centre_square
    from trip.evaluation.maps import evaluate_maps
    from trip.evaluation.sheets import contact_sheet
    from trip.first_frame.embedded import open_painter, paint_all
    from trip.media.clip import check_target

    check_target(options.output, (".json",))
    if options.sheet:
        check_target(options.sheet, (".png",))
    pipe = open_painter(options.model)
    photos = _evenly(read_photos(options.photos, held_out=True), options.num_photos)
    rows: list[np.ndarray] = []

    def paint(found: np.ndarray, prompts: list[str], seed: int) -> list[np.ndarray]:
        pictures = paint_all(pipe, found, prompts, seed=seed, num_steps=options.num_steps, guidance_scale=options.guidance_scale)
        square = centre_square(photos[len(rows)].pixels, options.size)
        rows.append(np.stack([np.repeat(found[..., None], 3, axis=2), square, pictures[0], *pictures[2:]]))
        return pictures

    with tqdm(total=1.0, bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:

        def progress(done: float, text: str) -> None:
            bar.set_description(text)
            bar.update(done - bar.n)

        report = evaluate_maps(paint, photos, size=options.size, progress=progress)
    asked = {name: getattr(options, name) for name in ("num_steps", "guidance_scale", "size")}
    options.output.write_text(json.dumps({**asked, **report}, indent=1))
    if options.sheet:
        labels = [", ".join(["map", "photo", photo.caption, *STYLES]) for photo in photos]
        contact_sheet(rows, labels, options.sheet, columns=3 + len(STYLES))
    for name, check in report["checks"].items():
        print(f"{name}: {check}", file=sys.stderr)
    print(options.output)


def _evenly(photos: list[Any], count: int) -> list[Any]:
    """So many of them, from the first to the last."""
    return [photos[i] for i in np.linspace(0, len(photos) - 1, min(count, len(photos))).round().astype(int)]
