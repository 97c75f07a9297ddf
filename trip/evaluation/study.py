"""A human study (Sec. 4.1 and Table 4): pairs of clips made from one photo and prompt, and three questions about each pair.

STUDY/study.json         what is compared, how pairs and sides are drawn, which clip is whose
STUDY/clips, photos      what the page shows, under names that say nothing
STUDY/raters/ID.json     a rater's pairs in their order with their sides, drawn from the study's seed
STUDY/raters/ID.jsonl    their answers, a line each, on disk before the next question is shown

A rater sees each of their pairs once and a tenth of them again, later and with sides swapped, and two attention pairs of which one clip is
spoilt. Two raters, and two tabs of one, can answer at once.
"""

import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from trip.data.windows import Unfit
from trip.evaluation.clip_sets import Reading, Source, open_set, run_metadata
from trip.media import Clip, MediaError, read_clip, read_photo, write_clip, write_picture
from trip.system.files import atomic_write_text

QUESTIONS = {
    "temporal_coherence": "In which clip do the frames hang together better, without flicker or jumps?",
    "motion_fidelity": "In which clip is the motion more natural, and more what the sentence says?",
    "visual_quality": "Which clip looks better?",
}
SIDES = ("left", "right")
NOT_SURE = "not sure"
REPEATED = 10  # one pair in so many is shown again
NUM_ATTENTION = 2
RATER_ID = re.compile(r"[\w-]{8,64}")
FRAME_RATE = 8.0  # of numbered pictures whose rate nobody told
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Pair:
    """One comparison.

    systems  whose clips they are, and `clips` the names of their files, in the same order
    """

    item: str
    prompt: str
    photo: str
    systems: tuple[str, str]
    clips: tuple[str, str]
    fps: tuple[float, float]
    frames: tuple[int, int]


@dataclass(frozen=True)
class Trial:
    """A pair as one rater sees it.

    pair  its place in the study, among the attention pairs where `kind` is attention
    left  which of its two clips is on the left: 0 or 1
    kind  first, repeat or attention
    """

    pair: int
    left: int
    kind: Literal["first", "repeat", "attention"] = "first"


@dataclass(frozen=True)
class StudySettings:
    """What a study is asked for; all of it is in study.json.

    systems        name -> folder
    num_pairs      comparisons of each two systems, one for each photo
    per_rater      pairs that one rater sees; none: all
    against_first  compare the first system with each of the others, as Table 4 does, and not the others with each other
    """

    systems: dict[str, str]
    mode: str = "forced"
    num_pairs: int = 256
    num_raters: int = 32
    per_rater: int | None = None
    against_first: bool = False
    seed: int = 0


class StudyFull(ValueError):
    """All raters that were wanted have begun."""


def named(folders: Sequence[Path]) -> dict[str, str]:
    """Systems by the names of their folders, with as much of the path as tells them apart. ValueError where two are the same."""
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < len(paths) or len(paths) < 2:
        raise ValueError(f"wanted two folders of clips or more, all different, got {', '.join(map(str, folders))}")
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return {name: str(path) for name, path in zip(names, paths, strict=True)}


def create(folder: Path, settings: StudySettings, progress: Progress = lambda share, text: None) -> list[str]:
    """Makes the folder of a study, and gives a line for each clip that was left out; what is there already is kept.

    Raises ValueError where there are too few clips of one name, or the folder holds a study that was asked for otherwise.
    """
    path = folder / "study.json"
    if path.is_file():
        known = asdict(Study(folder).settings)
        if other := [f"{name} {known.get(name)} and now {value}" for name, value in asdict(settings).items() if known.get(name) != value]:
            raise ValueError(f"{folder} holds a study with {', '.join(other)}; choose another --output, or ask for the same")
        return []
    sources = {system: _sources(Path(place)) for system, place in settings.systems.items()}
    both = sorted(set.intersection(*(set(of) for of in sources.values())))
    if not both:
        raise ValueError(f"wanted clips of the same names in {', '.join(settings.systems.values())}, found none; name them alike")
    for name in ("clips", "photos", "raters"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(settings.seed)
    items, left_out = [], []
    for name in (both[index] for index in rng.permutation(len(both))):
        try:
            items.append(_written(folder, name, {system: of[name] for system, of in sources.items()}))
        except (Unfit, MediaError) as error:
            left_out.append(f"{name}: left out, {error}")
        progress(min(len(items) / min(settings.num_pairs, len(both)), 1.0), name)
        if len(items) == settings.num_pairs:
            break
    if not items:
        raise ValueError(f"{folder}: wanted clips that can be read in every folder, got none of {len(both)} ({left_out[0]})")
    first, *others = settings.systems
    compared = [(first, other) for other in others] if settings.against_first else list(combinations(settings.systems, 2))
    pairs = [_pair(item, two) for item in items for two in compared]
    attention = [_spoilt(folder, items[index % len(items)], first, seed=index) for index in range(NUM_ATTENTION)]
    record = {"settings": asdict(settings), "pairs": [asdict(pair) for pair in pairs], "attention": [asdict(pair) for pair in attention]}
    atomic_write_text(path, json.dumps(record, indent=1))
    return left_out


def _sources(folder: Path) -> dict[str, Source]:
    return {source.name: source for source in open_set(folder, Reading(1, None)).sources}


def _written(folder: Path, name: str, sources: Mapping[str, Source]) -> dict[str, Any]:
    """Writes the clips of one name, all as long as the shortest so that length says nothing, and its photo. Raises Unfit, MediaError."""
    clips = {system: _clip(source) for system, source in sources.items()}
    seconds = min(len(clip.frames) / clip.fps for clip in clips.values())
    photo, written = secrets.token_hex(8), {}
    for system, clip in clips.items():
        frames = clip.frames[: max(round(seconds * clip.fps), 1)]
        written[system] = {"clip": secrets.token_hex(8), "fps": clip.fps, "frames": len(frames)}
        write_clip(Clip(frames, clip.fps), folder / "clips" / f"{written[system]['clip']}.mp4")
    write_picture(Image.fromarray(next(iter(clips.values())).frames[0]), folder / "photos" / f"{photo}.png")
    prompt = next(filter(None, (_prompt(name, source) for source in sources.values())), "")
    return {"item": name, "prompt": prompt, "photo": photo, "clips": written}


def _clip(source: Source) -> Clip:
    """A film as it is, or pictures at the rate that their run tells."""
    if not source.pictures:
        return read_clip(source.entry.path)
    stride = run_metadata(source.pictures[0].parents[len(Path(source.name).parts)]).get("stride")
    frames = [np.asarray(read_photo(path)) for path in source.pictures]
    if len({frame.shape for frame in frames}) > 1:
        raise Unfit(source.name, "broken", "its pictures differ in size")
    return Clip(np.stack(frames), 1 / stride if stride else FRAME_RATE)


def _prompt(name: str, source: Source) -> str:
    """The sentence that `evaluate generate` noted beside the clips, or the film's caption; empty where there is none."""
    if source.entry:
        return source.entry.captions[0] if source.entry.captions else ""
    path = source.pictures[0].parents[len(Path(name).parts) + 1] / "clips" / f"{name}.json"
    return str(_read(path).get("prompt", "")) if path.is_file() else ""


def _pair(item: Mapping[str, Any], systems: tuple[str, str]) -> Pair:
    clips = [item["clips"][system] for system in systems]
    of = {key: tuple(clip[name] for clip in clips) for key, name in (("clips", "clip"), ("fps", "fps"), ("frames", "frames"))}
    return Pair(item["item"], item["prompt"], item["photo"], systems, **of)


def _spoilt(folder: Path, item: Mapping[str, Any], system: str, seed: int) -> Pair:
    """A clip against itself with its frames out of order and under noise: whoever looks prefers the first by every question."""
    good, rng = item["clips"][system], np.random.default_rng(seed)
    frames = read_clip(folder / "clips" / f"{good['clip']}.mp4").frames
    noise = rng.normal(scale=60, size=frames.shape)
    frames = (frames[rng.permutation(len(frames))] + noise).clip(0, 255).astype(np.uint8)
    bad = {**good, "clip": secrets.token_hex(8)}
    write_clip(Clip(frames, good["fps"]), folder / "clips" / f"{bad['clip']}.mp4")
    return _pair({**item, "clips": {"whole": good, "spoilt": bad}}, ("whole", "spoilt"))


def trials_of(num_pairs: int, slot: int, *, seed: int, per_rater: int | None = None) -> list[Trial]:
    """What the rater who came as number `slot` sees, in order, sides drawn from the seed.

    per_rater  pairs for one rater, dealt so that each pair comes equally often; none: all
    """
    dealt = np.random.default_rng(seed).permutation(num_pairs)
    count = min(per_rater or num_pairs, num_pairs)
    own = dealt[(slot * count + np.arange(count)) % num_pairs]
    rng = np.random.default_rng([seed, slot])
    trials = [Trial(int(pair), int(rng.integers(2))) for pair in rng.permutation(own)]
    half = (len(trials) + 1) // 2
    again = [trials[index] for index in sorted(rng.choice(half, min(half, max(1, round(count / REPEATED))), replace=False))]
    for trial in again:  # in the second half, and not next to the first time where there is anything else
        earliest = min(max(half, trials.index(trial) + 2), len(trials))
        trials.insert(int(rng.integers(earliest, len(trials) + 1)), Trial(trial.pair, 1 - trial.left, "repeat"))
    first = int(rng.integers(2))
    for index in range(NUM_ATTENTION):  # the whole clip once on each side: who always takes one side fails
        trials.insert((index + 1) * len(trials) // (NUM_ATTENTION + 1), Trial(index, (first + index) % 2, "attention"))
    return trials


class Study:
    """A study's folder while raters answer. Raises ValueError where it is none."""

    def __init__(self, folder: Path):
        self.folder = folder
        record = _read(folder / "study.json")
        try:
            self.settings = StudySettings(**record["settings"])
            self.pairs, self.attention = ([_pair_of(one) for one in record[key]] for key in ("pairs", "attention"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder}: wanted the folder of a study, its study.json is of another kind; begin one anew") from error
        self._lock = threading.Lock()
        for path in self.raters():
            self._repair(path.with_suffix(".jsonl"))

    def raters(self) -> list[Path]:
        """The file of each rater, in the order in which they came."""
        return sorted((self.folder / "raters").glob("*.json"), key=lambda path: _read(path)["slot"])

    def knows(self, rater: str) -> bool:
        """Whether a rater of that id has begun."""
        return bool(RATER_ID.fullmatch(rater)) and self._path(rater).is_file()

    def join(self) -> str:
        """A new rater's id. Raises StudyFull."""
        with self._lock:
            slot = len(self.raters())
            if slot >= self.settings.num_raters:
                raise StudyFull(f"wanted {self.settings.num_raters} raters, and all have begun; whoever began can go on")
            rater = secrets.token_urlsafe(12)
            trials = trials_of(len(self.pairs), slot, seed=self.settings.seed, per_rater=self.settings.per_rater)
            atomic_write_text(self._path(rater), json.dumps({"slot": slot, "trials": [asdict(trial) for trial in trials]}))
            return rater

    def trials(self, rater: str) -> list[Trial]:
        """What a rater sees, in order."""
        return [Trial(**trial) for trial in _read(self._path(rater))["trials"]]

    def answers(self, rater: str) -> list[dict[str, Any]]:
        """A rater's answers, in order; a line that a kill cut in half is none."""
        path = self._path(rater).with_suffix(".jsonl")
        return list(_lines(path.read_text())) if path.is_file() else []

    def pair_of(self, trial: Trial) -> Pair:
        """The pair that a trial shows."""
        return (self.attention if trial.kind == "attention" else self.pairs)[trial.pair]

    def answer(self, rater: str, place: tuple[int, str], choice: str, seconds: float) -> bool:
        """Puts an answer on disk; False where it is not the answer to the question that is open, as from a second tab.

        place    number of the trial, and question
        choice   left, right, or where the study has that mode, not sure
        seconds  that the question was open
        """
        if choice not in SIDES and not (choice == NOT_SURE and self.settings.mode == "not-sure"):
            raise ValueError(f"wanted {' or '.join(SIDES)} as an answer, got {choice!r}")
        with self._lock:
            path, trials = self._path(rater).with_suffix(".jsonl"), self.trials(rater)
            done = path.read_bytes().count(b"\n") if path.is_file() else 0
            number, question = divmod(done, len(QUESTIONS))
            if number >= len(trials) or place != (number, list(QUESTIONS)[question]):
                return False
            trial = trials[number]
            pair = self.pair_of(trial)
            chosen = None if choice == NOT_SURE else pair.systems[trial.left if choice == "left" else 1 - trial.left]
            line = {
                "trial": number,
                "question": place[1],
                "kind": trial.kind,
                "pair": trial.pair,
                "left": pair.systems[trial.left],
                "right": pair.systems[1 - trial.left],
                "choice": choice,
                "chosen": chosen,
                "seconds": round(seconds, 2),
                "at": round(time.time(), 1),
            }
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
            return True

    def _path(self, rater: str) -> Path:
        return self.folder / "raters" / f"{rater}.json"

    @staticmethod
    def _repair(path: Path) -> None:
        """Drops a line that a kill cut in half, so that the next one does not go on in it."""
        if path.is_file() and (text := path.read_text()) and not text.endswith("\n"):
            atomic_write_text(path, text[: text.rfind("\n") + 1])


def _pair_of(record: dict[str, Any]) -> Pair:
    return Pair(**{name: tuple(value) if isinstance(value, list) else value for name, value in record.items()})


def _lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: wanted a file of a study, found none that reads; name the folder that --output named") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path}: wanted a file of a study, got another; name the folder that --output named")
    return record
