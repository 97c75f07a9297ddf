"""Clips that a person brings: looked at once, judged in words, fixed, captioned and shared out.

What is looked at is small grey pictures of every frame.
"""

import re
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice, takewhile
from pathlib import Path

import av
import cv2
import numpy as np

from trip.data.clips import ClipFile, find_clips
from trip.data.uploads import free_path
from trip.media import Budget, MediaError, open_video, oriented, write_frames

MOST_FRAMES = 1800  # that are looked at: a minute at 30 per second
SIDE = 32  # of the grey pictures that frames are compared by
STRIP_FRAMES, STRIP_HEIGHT = 6, 72  # of a thumbnail strip
STRIP_WIDTH = 4 * STRIP_HEIGHT  # of one of its frames, at most
HELD_OUT_SHARE = 5  # one in so many clips is held out, where nobody says which
FIXED_SIDE, FIXED_LONG_SIDE = 512, 2048  # sides of what is written again, pixels at most

# Bounds, measured on 124 filmed clips and on cuts made between them (grey values 0 … 255, means over a picture)
CUT_DIFFERENCE, CUT_CORRELATION, CUT_JUMP = 30, 0.45, 2.5  # least difference, most correlation, times the usual difference
STATIC_DIFFERENCE = 1.5  # from the first frame, at most: a still camera on an empty room has 0.7
SAME_DIFFERENCE = 2.5  # of two clips: one scene at two moments has at least 3.6
BAR_BRIGHTNESS, BAR_SHARE = 24, 0.02  # brightest of a bar, its least share of the side
UNEVEN = 0.25  # share by which a frame may come early or late in an even rate
HDR_TRANSFERS = {16: "HDR (PQ)", 18: "HDR (HLG)"}  # of ITU-T H.273


@dataclass(frozen=True)
class Bars:
    """Black rows and columns at the edges, pixels of the upright picture."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


@dataclass(frozen=True)
class ClipInspection:
    """What looking at a clip once has shown.

    width, height  upright, pixels
    cuts           seconds at which another scene begins
    notes          what is unusual and does no harm, in words
    faults         what should be fixed, or why it cannot be used, in words
    usable         whether anything can be learnt from it as it is
    greys          small grey pictures of all frames   f 32 32
    strip          thumbnails side by side as JPEG
    """

    name: str
    codec: str = ""
    width: int = 0
    height: int = 0
    num_frames: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    cuts: tuple[float, ...] = ()
    bars: Bars = Bars()
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    usable: bool = False
    greys: np.ndarray | None = None
    strip: bytes = b""

    @property
    def verdict(self) -> str:
        """The judgement as a sentence."""
        judged = "; ".join(self.faults) if self.faults else "good"
        return f"{judged} ({'; '.join(self.notes)})" if self.notes else judged

    @property
    def fixes(self) -> tuple[str, ...]:
        """Names of FIXES that would help."""
        if not self.usable:
            return ()
        return tuple(name for name, helps in (("split", bool(self.cuts)), ("crop bars", self.bars != Bars())) if helps)


# looked at


def inspect_clip(path: Path, *, min_frames: int, budget: Budget | None = None) -> ClipInspection:
    """Decodes a clip once and says what it holds; a broken one too gives a look, with the reason as its fault.

    budget  what may be decoded, shared by several clips where they are given the same
    """
    try:
        with open_video(path, budget) as video:
            coder = video.stream.codec_context
            inspection = ClipInspection(path.name, codec=coder.name, fps=video.fps)
            times, greys, thumbnails, brightest = [], [], [], None
            every = max(1, min(video.num_frames or MOST_FRAMES, MOST_FRAMES) // STRIP_FRAMES)
            turned, notes = False, _unusual(video.stream)
            for seconds, frame in video.timed_frames():
                turned = round(frame.rotation / 90) % 4 != 0
                grey = oriented(frame.reformat(width=SIDE, height=SIDE, format="gray").to_ndarray(), frame)
                greys.append(grey.astype(np.float32))
                times.append(seconds)
                if (len(greys) - 1) % every == 0 or brightest is None:
                    pixels = video.upright(frame)
                    bright = pixels.max(axis=2)
                    brightest = bright if brightest is None else np.maximum(brightest, bright)
                    thumbnails.append(_thumbnail(pixels))
                    if len(thumbnails) == 2 * STRIP_FRAMES:  # there are more frames than its header says
                        thumbnails, every = thumbnails[::2], 2 * every
                if len(greys) == MOST_FRAMES:
                    notes.append(f"only its first {MOST_FRAMES} frames were looked at")
                    break
    except MediaError as error:
        return ClipInspection(path.name, faults=(str(error).removeprefix(f"{path.name}: "),))
    if not greys:
        return ClipInspection(path.name, codec=inspection.codec, faults=("it has no frames that decode; choose another",))
    if turned:
        notes.append("filmed turned or mirrored, set upright")
    if uneven(times):
        notes.append("its frame rate varies; frames are taken by their times")
    inspection = replace(
        inspection,
        width=brightest.shape[1],
        height=brightest.shape[0],
        num_frames=len(greys),
        seconds=times[-1] + 1 / inspection.fps,
        greys=np.stack(greys),
        cuts=find_cuts(np.stack(greys), times),
        bars=find_bars(brightest),
        notes=tuple(notes),
        strip=_jpeg(np.hstack(thumbnails[:STRIP_FRAMES])),
    )
    return _with_verdict(inspection, min_frames)


def _unusual(stream: av.VideoStream) -> list[str]:
    coder, notes = stream.codec_context, []
    depth = max((part.bits for part in coder.format.components), default=8) if coder.format else 8
    if depth > 8:
        notes.append(f"{depth} bits a colour, reduced to 8")
    if hdr := HDR_TRANSFERS.get(int(coder.color_trc)):
        notes.append(f"{hdr}: its colours will look flat, since they are not mapped")
    return notes


def _with_verdict(inspection: ClipInspection, min_frames: int) -> ClipInspection:
    faults = []
    if inspection.num_frames < min_frames:
        faults.append(f"too short: {inspection.num_frames} frames, {min_frames} are needed; choose a longer one")
    if inspection.cuts:
        count = len(inspection.cuts)
        faults.append(f"{count} cut{'s' * (count > 1)} to another scene, at {_listed(inspection.cuts)} s; split it there")
    if inspection.bars != Bars():
        bars = [f"{size} px {side}" for side, size in vars(inspection.bars).items() if size]
        faults.append(f"black bars ({', '.join(bars)}); crop them")
    if np.abs(inspection.greys - inspection.greys[0]).mean(axis=(1, 2)).max() < STATIC_DIFFERENCE:
        faults.append("nothing moves in it; drop it")
    return replace(inspection, faults=tuple(faults), usable=inspection.num_frames >= min_frames)


def _listed(seconds: Sequence[float]) -> str:
    return ", ".join(f"{moment:.1f}" for moment in seconds[:5]) + (" …" if len(seconds) > 5 else "")


def uneven(times: Sequence[float]) -> bool:
    """Whether the frames of a clip do not come at one rate."""
    steps = np.diff(times)
    return len(steps) > 1 and bool(np.abs(steps - np.median(steps)).max() > UNEVEN * np.median(steps))


def find_cuts(greys: np.ndarray, times: Sequence[float]) -> tuple[float, ...]:
    """Seconds at which a frame has next to nothing of the one before it: greys f 32 32."""
    if len(greys) < 2:
        return ()
    difference = np.abs(np.diff(greys, axis=0)).mean(axis=(1, 2))
    centred = (greys - greys.mean(axis=(1, 2), keepdims=True)).reshape(len(greys), -1)
    norms = np.linalg.norm(centred, axis=1)
    correlation = (centred[1:] * centred[:-1]).sum(axis=1) / np.maximum(norms[1:] * norms[:-1], 1)
    least = max(CUT_DIFFERENCE, CUT_JUMP * float(np.median(difference)))
    return tuple(float(times[i + 1]) for i in np.flatnonzero((difference > least) & (correlation < CUT_CORRELATION)))


def find_bars(brightest: np.ndarray) -> Bars:
    """Edges that stay black: the brightest values over time, h w."""
    if np.percentile(brightest, 99) <= BAR_BRIGHTNESS:
        return Bars()
    sizes = []
    for axis in (1, 0):
        lit = np.flatnonzero(np.percentile(brightest, 99, axis=axis) > BAR_BRIGHTNESS)
        side = brightest.shape[1 - axis]
        sizes += [int(size) if size >= BAR_SHARE * side else 0 for size in (lit[0], side - 1 - lit[-1])]
    return Bars(*sizes)


def mark_duplicates(inspections: Sequence[ClipInspection]) -> list[ClipInspection]:
    """The looks; whoever shows the same as an earlier one has that as a fault."""
    marked, kept = [], []
    for inspection in inspections:
        twin = next((other.name for other in kept if _same(inspection, other)), None) if inspection.usable else None
        if twin:
            inspection = replace(inspection, faults=(*inspection.faults, f"the same as {twin}; drop one"))
        elif inspection.usable:
            kept.append(inspection)
        marked.append(inspection)
    return marked


def _same(one: ClipInspection, other: ClipInspection) -> bool:
    greys = [inspection.greys[np.linspace(0, len(inspection.greys) - 1, 8).round().astype(int)] for inspection in (one, other)]
    return bool(np.abs(greys[0] - greys[1]).mean() < SAME_DIFFERENCE)


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    width = min(STRIP_WIDTH, max(1, round(pixels.shape[1] * STRIP_HEIGHT / pixels.shape[0])))
    return cv2.resize(pixels, (width, STRIP_HEIGHT), interpolation=cv2.INTER_AREA)


def _jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


# fixed


def split(path: Path, inspection: ClipInspection) -> list[Path]:
    """The scenes of a clip as files of their own, in its place."""
    bounds = [0.0, *inspection.cuts, float("inf")]
    return _rewritten(path, [(start, end, Bars()) for start, end in zip(bounds, bounds[1:], strict=False)])


def crop_bars(path: Path, inspection: ClipInspection) -> list[Path]:
    """The clip without its black edges, in its place."""
    return _rewritten(path, [(0.0, float("inf"), inspection.bars)])


def trim(path: Path, start: float, end: float) -> list[Path]:
    """The clip from one second to another, in its place. Raises ValueError where nothing would be left."""
    if not 0 <= start < end:
        raise ValueError(f"{path.name}: wanted a beginning before the end, got {start:g} to {end:g} s; correct them")
    return _rewritten(path, [(start, end, Bars())])


FIXES: dict[str, Callable[[Path, ClipInspection], list[Path]]] = {"split": split, "crop bars": crop_bars}


def _rewritten(path: Path, parts: list[tuple[float, float, Bars]]) -> list[Path]:
    """Writes parts of a clip beside it and drops it; a caption's file is copied to each."""
    written = []
    for number, (start, end, bars) in enumerate(parts, start=1):
        target = free_path(path.with_name(f"{path.stem}-{number if len(parts) > 1 else 'mended'}.mp4"))
        written.append(_part_written(path, target, start, end, bars))
        if (words := path.with_suffix(".txt")).is_file():
            shutil.copyfile(words, target.with_suffix(".txt"))
    path.unlink()
    return written


def _part_written(path: Path, target: Path, start: float, end: float, bars: Bars) -> Path:
    """Writes what a clip shows from one second to another, frame by frame: all of them at once would not fit into memory."""
    with open_video(path) as video:
        fps = float(Fraction(video.rate_between(start, end)).limit_denominator(1001))
    with open_video(path) as video:
        timed = takewhile(lambda one: one[0] < end - 1e-6, islice(video.timed_frames(start), MOST_FRAMES))
        frames = (_fitted(video.upright(frame), bars) for _, frame in timed)
        if (first := next(frames, None)) is None:
            raise ValueError(f"{path.name}: there are no frames from {start:g} to {end:g} s; choose other seconds")
        return write_frames(chain([first], frames), fps, target)


def _fitted(pixels: np.ndarray, bars: Bars) -> np.ndarray:
    """A frame without its bars, no larger than training looks at."""
    height, width = pixels.shape[:2]
    pixels = pixels[bars.top : height - bars.bottom, bars.left : width - bars.right]
    scale = min(FIXED_SIDE / min(pixels.shape[:2]), FIXED_LONG_SIDE / max(pixels.shape[:2]))
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else pixels


# said and shared out


def clips_to_learn(folder: Path, held_out: Path | None, *, min_frames: int) -> tuple[list[ClipFile], list[ClipFile]]:
    """Training and held-out clips of two folders, or of one, of which one in HELD_OUT_SHARE is held out, from three clips on.

    Clips without a caption get the words of their file's name. Raises ValueError where a folder has no clip that decodes.
    """
    clips = _all_clips(folder, min_frames)
    if held_out:
        return clips, _all_clips(held_out, min_frames)
    count = max(1, len(clips) // HELD_OUT_SHARE) if len(clips) > 2 else 0
    clips.sort(key=lambda clip: zlib.crc32(clip.path.name.encode()))  # in an order that says nothing
    return clips[count:], clips[:count]


def _all_clips(folder: Path, min_frames: int) -> list[ClipFile]:
    found = find_clips(folder, held_out=None, min_frames=min_frames)
    return [clip if clip.caption else replace(clip, caption=caption_from_name(clip.path)) for clip in found]


def caption_from_name(path: Path) -> str:
    """Words of a file's name, without its numbers: red_flag-waving_02.mp4 -> red flag waving."""
    return " ".join(re.sub(r"[\W_]+|\d+", " ", path.stem).split())
