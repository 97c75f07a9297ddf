"""`python -m trip ablate`: the paper's variants trained side by side and judged: Tables 5 and 6 at a small scale, and Figure 8."""

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from trip.cli.data import check_counts
from trip.cli.progress import show_steps
from trip.cli.verbs import Verbs, named_settings
from trip.settings import AnimateSettings, changed
from trip.system.environment import ASSETS
from trip.system.files import atomic_write_text, check_run_folder

if TYPE_CHECKING:
    from trip.evaluation.ablation import Case, Scores
    from trip.evaluation.extractors import FeatureExtractor
    from trip.training.ablation import AblationRun, Cell

LARGEST_PHOTO = 640  # short side at which held-out photos are read, pixels


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    parser = verbs.add_parser("ablate", help="train the paper's variants side by side, and judge them: Tables 5 and 6, Figure 8")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photos that are set in motion; one in ten is held out, to judge by")
    parser.add_argument("--clips", type=Path, metavar="DIR", help="filmed clips with captions, to learn from too")
    parser.add_argument("--output", type=Path, metavar="RUN")
    parser.add_argument(
        "--base", type=Path, default=ASSETS / "embedded", metavar="FOLDER", help="whose autoencoder and text encoder are taken"
    )
    parser.add_argument("--preset", choices=["embedded", "tiny"], default="embedded", help="whose sizes")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each variant (default: 3)")
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="of each training (default: 300)")
    parser.add_argument("--start-steps", type=int, default=800, metavar="N", help="of the start that all share (default: 800)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="clips a step (default: 8)")
    parser.add_argument("--num-clips", type=int, default=1536, metavar="N", help="encoded clips to learn from (default: 1536)")
    parser.add_argument("--size", type=int, default=64, metavar="PIXELS", help="side of the frames (default: 64)")
    parser.add_argument("--num-photos", type=int, default=12, metavar="N", help="held-out photos to judge by, taken evenly (default: 12)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting, such as model.fusion.attend=time"
    )
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of networks that judge, beside the hub's cache")
    parser.add_argument("--dry-run", action="store_true", help="print what it takes, and train nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    check_counts(options, seeds=1, steps=1, start_steps=1, batch_size=1, num_clips=1, size=16, num_photos=1)
    from trip.evaluation.ablation import MOTIONS
    from trip.training.ablation import VARIANTS_OF_THE_PAPER, AblationRun, ablation_preset, plan
    from trip.training.folder import run_lock

    own = {name: getattr(options, name) for name in ("size", "steps", "start_steps", "batch_size", "num_clips")}
    preset, start = ablation_preset(options.preset, **own)
    preset = changed(preset, named_settings(options.set))
    if options.dry_run:
        judged = options.num_photos * len(MOTIONS)
        print(json.dumps(plan(preset, start, VARIANTS_OF_THE_PAPER, options.seeds, judged), indent=1))
        return
    for name in ("photos", "output"):
        if getattr(options, name) is None:
            raise ValueError(f"--{name}: wanted a folder, got none; name one, or ask for a --dry-run")
    check_run_folder(options.output)
    with run_lock(options.output):
        extractors = dict(_extractors(options))
        ablation = AblationRun(preset, start, options.output, options.photos, options.clips, base=options.base, num_seeds=options.seeds)
        show_steps(ablation.prepare())
        judging = _Judging(ablation, extractors, options)
        for number, cell in enumerate(ablation.cells):
            show_steps(ablation.train(cell))
            if not ablation.is_done(cell):
                raise ValueError(f"{options.output}: stopped before all was trained; give the same command again to go on")
            judging.animate(cell)
            if (number + 1) % len(VARIANTS_OF_THE_PAPER) == 0:  # all variants of a seed: what is known so far
                judging.write(ablation.cells[: number + 1])
    print((options.output / "tables.md").read_text())
    for name in ("tables.md", "tables.csv", "figure-8.png"):
        print(options.output / name)


def _extractors(options: argparse.Namespace) -> "Iterator[tuple[str, FeatureExtractor]]":
    """The networks that are here; of those that are not, a line says what is done without them."""
    from trip.evaluation.extractors import clip_extractor, i3d_extractor, imagenet_extractor
    from trip.first_frame.local_models import extractor_folder
    from trip.system.accelerator import device

    try:
        yield "fvd", i3d_extractor(extractor_folder("i3d", options.models), device())
    except ValueError as error:
        print(f"trip: FVD is not measured: {error}", file=sys.stderr)
    try:
        yield "consistency", clip_extractor(extractor_folder("clip", options.models), device())
    except ValueError:
        try:
            features = imagenet_extractor(device())
        except ValueError as error:
            print(f"trip: consistency is not measured: CLIP is not here, and {error}", file=sys.stderr)
            return
        print("trip: consistency is measured in ImageNet features, CLIP is not here; these figures are not the paper's", file=sys.stderr)
        yield "consistency", features


class _Judging:
    """Clips of every model, and what is written of them."""

    def __init__(self, ablation: "AblationRun", extractors: "dict[str, FeatureExtractor]", options: argparse.Namespace):
        from trip.data.photos import read_photos
        from trip.evaluation.ablation import FOLDERS, REAL, cases_of, true_clips
        from trip.evaluation.clips import evenly
        from trip.evaluation.i3d import LEAST_FRAMES

        self.ablation, self.options, self.model = ablation, options, ablation.preset.model
        if self.model.num_frames < LEAST_FRAMES and extractors.pop("fvd", None):
            print(f"trip: FVD is not measured: it wants {LEAST_FRAMES} frames, these clips have {self.model.num_frames}", file=sys.stderr)
        self.extractors, self.clips = extractors, options.output / "clips"
        held_out = read_photos(options.photos, held_out=True, short_side=LARGEST_PHOTO)
        self.cases: list[Case] = cases_of(evenly(held_out, options.num_photos))
        self.shape = {"size": self.model.frame_size, "num_frames": self.model.num_frames}
        self.true = true_clips(self.clips / FOLDERS[REAL], self.cases, **self.shape, fps=self.model.fps)
        self.scored: dict[str, Scores] = {}

    def animate(self, cell: "Cell") -> None:
        """Has a model make its clips."""
        from trip.evaluation.ablation import made_clips
        from trip.pipeline import TripPipeline

        pipe = TripPipeline.from_pretrained(self.ablation.model_of(cell))
        pipe.set_progress_bar_config(disable=True)

        def animate(asked: list) -> list[np.ndarray]:
            settings = [AnimateSettings.checked(prompt=one.prompt, seed=one.seed) for one in asked]
            return [clip.frames for clip in pipe.animate_batch([one.photo for one in asked], settings)]

        with tqdm(total=len(self.cases), unit="clip", desc=f"{cell.name}, clips") as bar:
            for done in made_clips(self.clips / cell.name, self.cases, self.true, animate, seed=cell.seed):
                bar.update(done - bar.n)

    def write(self, cells: "list[Cell]") -> None:
        """Measures what was not yet measured, and writes reports, tables and picture of these trainings."""
        from trip.evaluation.ablation import FOLDERS, REAL, ROUND_TRIP, STILL, changed_clips, figure_8, rows_of, tables
        from trip.evaluation.paper_tables import as_csv, markdown
        from trip.evaluation.scores import after_the_photo
        from trip.model.latents import round_trip

        anchors = {
            REAL: lambda frames: frames,
            STILL: lambda frames: np.repeat(frames[:1], len(frames), axis=0),
            ROUND_TRIP: after_the_photo(partial(round_trip, self.ablation.vae)),
        }
        for title, change in anchors.items():
            changed_clips(self.clips / FOLDERS[title], self.true, change)
            self._score(FOLDERS[title], title, "")
        for cell in cells:
            self._score(cell.name, f"{cell.variant}, seed {cell.seed}", cell.variant)
        variants = list(dict.fromkeys(cell.variant for cell in cells))
        scores = {title: [self.scored[FOLDERS[title]]] for title in anchors}
        scores |= {variant: [self.scored[cell.name] for cell in cells if cell.variant == variant] for variant in variants}
        losses = {v: [self.ablation.held_out_loss(cell) for cell in cells if cell.variant == v] for v in variants}
        found = list(tables(rows_of(scores, losses), self._lines(cells, variants)))
        for name, text in {"tables.md": markdown(found), "tables.csv": as_csv(found)}.items():
            atomic_write_text(self.options.output / name, text)
        first = {cell.variant: cell.name for cell in cells if cell.seed == 0}
        figure_8(self.clips, self.cases[0], first, self.options.output / "figure-8.png", **self.shape)

    def _score(self, folder: str, system: str, variant: str) -> None:
        from trip.evaluation.ablation import score

        if folder in self.scored:
            return
        reports = self.options.output / "reports"
        about = {"system": system, "variant": variant, "data": "photos set in motion"}
        self.scored[folder] = score(self.clips, folder, self.cases, self.true, self.extractors, reports / "features", **about)
        reports.mkdir(exist_ok=True)
        for metric, report in self.scored[folder].reports.items():
            atomic_write_text(reports / f"{metric}-{folder}.json", json.dumps(report, indent=1))

    def _lines(self, cells: "list[Cell]", variants: list[str]) -> list[str]:
        """What a reader must know of the figures."""
        from trip.training.ablation import cost_of

        preset, start, stage = self.ablation.preset, self.ablation.start, self.ablation.preset.recipe.denoiser
        costs = {variant: cost_of(preset, variant) for variant in variants}
        clips, seeds = stage.max_steps * stage.batch_size, len({cell.seed for cell in cells})
        takes = ", ".join(f"{v} {c.weights / 1e6:.2f} M and {c.training_flops * clips / 1e12:.1f}" for v, c in costs.items())
        photos = len({case.photo.name for case in self.cases})
        fusion = preset.model.fusion
        reports = self.scored[cells[0].name].reports
        return [
            f"{self.model.frame_size} × {self.model.frame_size}, {self.model.num_frames} frames; {len(self.cases)} clips of {photos} "
            f"held-out photos, {seeds} seed{'s' * (seeds != 1)}; 95 % intervals over both. No warp of the photo, nothing rendered; lam of "
            f"Eq. 9 from {fusion.lam_first} to {fusion.lam_last}; Eq. 11 attends over {fusion.attend}, keys and values are made of "
            f"{fusion.concatenate}, the query of {fusion.query}.",
            f"Each training: {stage.max_steps} steps of {stage.batch_size} clips of {stage.num_frames} frames, from one 3D-UNet that had "
            f"learnt {start.max_steps} such steps from words alone, without a photo. Weights and TFLOP of a training: {takes}.",
            *(reports[metric]["protocol_line"] for metric in sorted(reports)),
        ]
