"""Does a clip move the way its prompt says, and how near does it come to the photo truly moved: over held-out photos.

Three clips stand side by side, all in one size: the network's own frames, the rendered clip, and a still image. Nothing here has made
a clip: flow is Farneback's, and the truly moved clip is drawn from the photo. The model comes in as a callable; this file sees frames.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from trip.data.motion import View
from trip.data.photos import Photo
from trip.data.prompts import CAMERA_MOTIONS
from trip.evaluation.bootstrap import Estimate, by_photo, interval, mean_over_photos, paired_difference, ratio_of_medians
from trip.evaluation.camera import EXPECTED_COMPONENTS, FLOW_SIDE, MotionComponents, follows_prompt, motion_components
from trip.evaluation.clips import ClipRequest, GeneratedClip, clip_request, photo_seed, true_clip
from trip.evaluation.scenes import SCENE_PROMPTS, SceneClassifier, changes, scene_classifier, scene_view, scenes_for, true_scene
from trip.evaluation.similarity import frame_psnr, frame_ssim, sharpness

Animate = Callable[[ClipRequest], GeneratedClip]
Progress = Callable[[float, str], None]  # share done, what was just measured

PROMPTS = {  # one plain wording a motion, at medium speed
    "pan_left": "the camera pans left",
    "pan_right": "the camera pans right",
    "tilt_up": "the camera tilts up",
    "tilt_down": "the camera tilts down",
    "zoom_in": "the camera zooms in",
    "zoom_out": "the camera zooms out",
    "roll_left": "the picture turns counterclockwise",
    "roll_right": "the picture turns clockwise",
    "parallax_left": "the camera trucks left",
    "parallax_right": "the camera trucks right",
    "still": "nothing moves",
}
PANS = ("pan_left", "pan_right")
SOURCES = ("network", "rendered", "still")  # whose frames: the model's as it drew them, the clip that people get, a still image
FIGURES = ("right", "psnr", "ssim", "sharpness")
WANTED = {  # of the clip that people get
    "goes_where_told": (">=", 0.98),
    "psnr_db": (">=", 26.0),
    "ssim": (">=", 0.88),
    "sharpness": (">=", 0.80),
    "still_lowest_psnr_db": (">=", 32.0),
    "still_to_pan_flow": ("<=", 0.25),
}


def evaluate_motion(
    animate: Animate,
    photos: Sequence[Photo],
    *,
    size: int,
    num_frames: int = 16,
    seed: int = 0,
    motions: Sequence[str] = (*CAMERA_MOTIONS, "still"),
    scene_photos: Sequence[Photo] = (),
    per_scene: int = 8,
    progress: Progress = lambda share, text: None,
) -> dict[str, object]:
    """Animates every photo with the prompt of every motion, and photos that suit a scene with the prompt of it; measures the clips.

    Gives a report that JSON can hold. Figures are means over photos, with an interval by bootstrap over photos.
    size          in which clips are judged, pixels: that of the rendered clip; the network's frames are enlarged to it
    num_frames    of the network's; the truly moved clip is drawn at their times
    scene_photos  photos that scenes are asked for on, each scene on at most `per_scene` of those that it suits
    Raises ValueError where motions are unknown, photos are missing or clips have another shape.
    """
    if unknown := [name for name in motions if name not in PROMPTS]:
        raise ValueError(f"unknown motions {', '.join(unknown)}; choose among {', '.join(PROMPTS)}")
    if not photos:
        raise ValueError("wanted photos to animate, got 0 photos; give at least one")
    cameras = [(photo, name) for photo in photos for name in motions]
    scenes = asked_scenes(scene_photos, per_scene)
    total = len(cameras) + len(scenes)
    clips, scene_clips = [], []
    for photo, name in cameras:
        rows = _camera_rows(animate, photo, name, size, num_frames, seed)
        clips += rows
        progress(len(clips) // len(rows) / total, f"{photo.name}, {name}: {'right' if rows[-2]['right'] else 'wrong'}")
    classifiers: dict[tuple[str, View], SceneClassifier] = {}  # scenes of one region share a view of a photo
    for done, (photo, name) in enumerate(scenes, start=len(cameras) + 1):
        rows = list(_scene_rows(animate, photo, name, classifiers, size, num_frames, seed))
        scene_clips += rows
        progress(done / total, f"{photo.name}, {name}: {rows[0]['nearest'] if rows else 'left out, nothing of it would show'}")
    return {
        "protocol": {"size": size, "num_frames": num_frames, "seed": seed, "flow": f"Farneback, short side {FLOW_SIDE}"},
        "num_photos": len(photos),
        **summary(clips, scene_clips, seed),
        "clips": clips,
        "scene_clips": scene_clips,
    }


def _camera_rows(animate: Animate, photo: Photo, name: str, size: int, num_frames: int, seed: int) -> list[dict[str, object]]:
    """Figures of each source of one clip; the still image last, before it the clip that people get."""
    times = np.arange(num_frames, dtype=np.float64)
    true, view = true_clip(photo, name, times, size=size, seed=seed)
    generated = animate(clip_request(photo, true[0], view, PROMPTS[name], seed)).sources(size, num_frames)
    rows = []
    for source, (frames, at) in {**generated, "still": (np.repeat(true[:1], num_frames, axis=0), times)}.items():
        beside = true if np.allclose(at, times) else true_clip(photo, name, at, size=size, seed=seed, view=view)[0]
        rows.append({"photo": photo.name, "motion": name, "source": source, **measure(name, frames, beside)})
    return rows


def asked_scenes(photos: Sequence[Photo], per_scene: int) -> list[tuple[Photo, str]]:
    """Which scene is asked for on which photo: at most so many photos a scene, from all along the list, photo by photo."""
    suited = {name: [index for index, photo in enumerate(photos) if name in scenes_for(photo)] for name in SCENE_PROMPTS}
    pairs = []
    for name, indices in suited.items():
        chosen = np.linspace(0, len(indices) - 1, min(per_scene, len(indices))).round().astype(int)
        pairs += [(indices[place], name) for place in chosen]
    return [(photos[index], name) for index, name in sorted(pairs, key=lambda pair: pair[0])]


def measure(name: str, clip: np.ndarray, true: np.ndarray) -> dict[str, bool | float]:
    """Figures of one clip; PSNR and SSIM are means over the frames after the photo.

    clip, true  f h w 3, uint8
    """
    is_still = not (clip != clip[:1]).any()
    components = MotionComponents(0, 0, 0, 0, 0) if is_still else motion_components(clip)
    photo = np.broadcast_to(true[:1], true[1:].shape)
    return {
        "right": follows_prompt(name, components),
        **components._asdict(),
        "way": components.median / clip.shape[2],  # frame widths
        "psnr": float(frame_psnr(clip[1:], true[1:]).mean()),
        "ssim": float(frame_ssim(clip[1:], true[1:]).mean()),
        "sharpness": sharpness(clip[-1]) / max(sharpness(true[-1]), 1e-6),
        "least_psnr_to_photo": float(frame_psnr(clip[1:], photo).min()),
    }


def _scene_rows(
    animate: Animate, photo: Photo, name: str, classifiers: dict, size: int, num_frames: int, seed: int
) -> Iterator[dict[str, object]]:
    """What each source of one scene clip shows, and a true clip of the scene; nothing where the scene would not show on the photo."""
    times, seeds = np.arange(num_frames, dtype=np.float32), photo_seed(photo, seed)
    view = scene_view(photo, name, seeds)
    if (photo.name, view) not in classifiers:
        classifiers[photo.name, view] = scene_classifier(photo, view, times, seeds)
    classifier = classifiers[photo.name, view]
    if name not in classifier.names:
        return
    true = true_scene(photo, name, view, times, size, (*seeds, len(SCENE_PROMPTS)))  # no draw that the judge has seen
    generated = animate(clip_request(photo, true[0], view, SCENE_PROMPTS[name], seed)).sources(size, num_frames)
    frames_of = {source: frames for source, (frames, _) in generated.items()}
    for source, frames in {**frames_of, "still": np.repeat(true[:1], num_frames, axis=0), "true": true}.items():
        found = {"photo": photo.name, "scene": name, "source": source, "chance": 1 / len(classifier.names)}
        yield {**found, "changes": changes(frames), **classifier.verdict(frames, name)}


def summary(clips: Sequence[dict], scene_clips: Sequence[dict], seed: int = 0) -> dict[str, object]:
    """Figures per motion and overall for each source, and the checks; what was not measured is None and does not pass.

    clips, scene_clips  one dict a clip and source, as in the report
    """
    of = {source: rows for source in SOURCES if (rows := [c for c in clips if c["source"] == source])}
    names = list(dict.fromkeys(c["motion"] for c in clips))
    overall = {source: _figures([c for c in rows if c["motion"] in EXPECTED_COMPONENTS], FIGURES, seed) for source, rows in of.items()}
    for source, rows in of.items():
        camera, still = ([c for c in group if c["motion"] in EXPECTED_COMPONENTS] for group in (rows, of["still"]))
        overall[source]["gain_db"] = paired_difference(camera, still, "psnr", seed)
    still = {source: _stillness(rows, seed) for source, rows in of.items()}
    best = "rendered" if "rendered" in of else "network"
    values = {
        "goes_where_told": overall[best]["right"]["value"],
        "psnr_db": overall[best]["psnr"]["value"],
        "ssim": overall[best]["ssim"]["value"],
        "sharpness": overall[best]["sharpness"]["value"],
        "still_lowest_psnr_db": still[best]["lowest_psnr"],
        "still_to_pan_flow": still[best]["still_to_pan_flow"]["value"],
    }
    return {
        "judged": best,
        "overall": overall,
        "per_motion": {
            name: {source: _figures([c for c in rows if c["motion"] == name], (*FIGURES, "way"), seed) for source, rows in of.items()}
            for name in names
        },
        "still": still,
        "scenes": scene_summary(scene_clips, seed),
        "checks": {name: _check(value, *WANTED[name]) for name, value in values.items()},
    }


def _figures(rows: Sequence[dict], keys: Iterable[str], seed: int) -> dict[str, Estimate]:
    return {key: mean_over_photos(rows, key, seed) for key in keys}


def _stillness(rows: Sequence[dict], seed: int) -> dict[str, object]:
    """How still "nothing moves" is: the lowest PSNR of a frame to the photo, and median flow against that of pans."""
    still = [c for c in rows if c["motion"] == "still"]
    displacement, pan_displacement = by_photo(still, "way"), by_photo((c for c in rows if c["motion"] in PANS), "way")
    both = np.array([(displacement[photo], pan_displacement[photo]) for photo in displacement if photo in pan_displacement]).reshape(-1, 2)
    return {
        "lowest_psnr": min((c["least_psnr_to_photo"] for c in still), default=None),
        "least_psnr": mean_over_photos(still, "least_psnr_to_photo", seed),
        "still_to_pan_flow": interval(both, ratio_of_medians, seed),  # no pan moved: nothing to be calmer than, and no value
    }


def scene_summary(rows: Sequence[dict], seed: int = 0) -> dict[str, object]:
    """Share of scene clips that are nearest to the scene asked for, by source; "true" is what true clips of other seeds reach.

    chance    of a verdict drawn among all candidates
    by_habit  share that the same verdicts would reach, dealt anew among the clips: above chance where one answer is given often
    """
    of = {source: found for source in (*SOURCES, "true") if (found := [r for r in rows if r["source"] == source])}
    names = [name for name in SCENE_PROMPTS if any(r["scene"] == name for r in rows)]
    per_scene = {
        name: {source: mean_over_photos((r for r in found if r["scene"] == name), "right", seed) for source, found in of.items()}
        for name in names
    }
    return {
        "num_clips": sum(r["source"] == "true" for r in rows),
        "chance": float(np.mean([r["chance"] for r in rows])) if rows else None,
        "right": {source: mean_over_photos(found, "right", seed) for source, found in of.items()},
        "by_habit": {source: _by_habit(found) for source, found in of.items()},
        "per_scene": per_scene,
        "taken_for": {source: _taken_for(found, names) for source, found in of.items()},
    }


def _by_habit(rows: Sequence[dict]) -> float:
    names = {r["scene"] for r in rows}
    return sum(sum(r["scene"] == n for r in rows) * sum(r["nearest"] == n for r in rows) for n in names) / len(rows) ** 2


def _taken_for(rows: Sequence[dict], names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Asked scene -> nearest one -> number of clips."""
    table: dict[str, dict[str, int]] = {name: {} for name in names}
    for row in rows:
        table[row["scene"]][row["nearest"]] = table[row["scene"]].get(row["nearest"], 0) + 1
    return table


def _check(value: float | None, sign: str, threshold: float) -> dict[str, object]:
    passes = {">=": lambda v: v >= threshold, "<=": lambda v: v <= threshold}[sign]
    return {"value": value, "wanted": sign, "threshold": threshold, "passed": value is not None and passes(value)}
