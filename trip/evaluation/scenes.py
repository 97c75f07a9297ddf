"""Is the scene of a clip the one that was asked for: which of all scenes on the same photo its change over the clip is nearest to.

Where the waves, flakes and wisps of a true clip are is drawn anew for each, so no clip can be compared with a true one pixel by pixel.
A clip becomes a signature instead: where it changes, how much, which way things go, what happens to the light, how fine the change is.
Each scene is known by several true draws in the very view of the clip; the nearest one, in their own spread, is what the clip shows.
"Nothing" is a candidate too, so that a still image is right nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from trip.data.motion import View, draw
from trip.data.photos import Photo
from trip.data.prompts import MOTIONS, Motion
from trip.evaluation.camera import judged_flow, resized

SCENE_PROMPTS = {  # one plain wording a scene, at medium speed
    "clouds_left": "the clouds drift to the left",
    "clouds_right": "the clouds drift to the right",
    "water_ripples": "the water ripples",
    "waves": "the waves roll in",
    "flames": "the flames flicker",
    "smoke": "smoke rises",
    "leaves": "the leaves sway",
    "snow": "snow falls",
    "rain": "rain falls",
    "light": "the light fades",
}
NOTHING = "nothing"

SIDE = 128  # frames are looked at in this size, pixels
NUM_DRAWS = 4  # true clips by which a scene is known in a view
CELLS = 4  # a side of the grid that says where a clip changes
LEAST_CHANGE = 1.0  # grey levels, root mean square: a scene that changes a photo less has nothing to move in it
SPREADS = 0.05  # in units of the signature: no figure is trusted to be more exact than that
FARTHEST = 3.0  # spreads; what a model gets wrong altogether shall not drown all else


def signature(frames: np.ndarray) -> np.ndarray:
    """What changes in a clip and how, whatever pattern it was drawn with; each number in a unit in which 1 is much.

    The first frame is left out: it is the photo itself, and what an autoencoder loses of it is no change.
    frames  f h w 3, uint8; f at least 4
    """
    small = resized(frames[1:], SIDE, SIDE)
    grey = np.stack([cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 0.7) for frame in small])
    change = grey - grey[0]
    amount = np.sqrt(np.square(change[1:]).mean())
    return np.concatenate(
        [_place(change), _light(small, change), _pace(grey, amount), _way(small, change), _fineness(np.diff(grey, axis=0))]
    )


def _place(change: np.ndarray) -> np.ndarray:
    """Where: shares of a grid's cells in the change, as roots."""
    energy = cv2.resize(np.square(change[1:]).mean(axis=0), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return 2 * np.sqrt(energy / (energy.sum() + CELLS**2 * 1e-2)).ravel()


def _light(frames: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Brighter or darker: each colour over the clip, and the share of what changes that gets brighter."""
    colours = frames[-1].mean(axis=(0, 1)) - frames[0].mean(axis=(0, 1))
    brighter = np.maximum(change, 0).mean() / (np.abs(change).mean() + 0.1)
    return np.concatenate([np.arcsinh(colours / 3), [2 * brighter]])


def _pace(grey: np.ndarray, amount: float) -> np.ndarray:
    """How much, from beginning to end and between neighbours; what comes and goes against what stays."""
    step = np.sqrt(np.square(np.diff(grey, axis=0)).mean())
    half = np.sqrt(np.square(grey[len(grey) // 2] - grey[0]).mean())
    return np.log(np.array([amount + 0.3, step + 0.3, (half + 0.3) / (amount + 0.3)]))


def _way(frames: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Which way things go, where it changes: mean and size of the flow between neighbours, and how much it has one direction."""
    weight = np.square(change[1:]).mean(axis=0) + 1e-3
    weight = (weight / weight.sum())[..., None]
    flows = np.stack([judged_flow(a, b) for a, b in zip(frames[:-1:2], frames[1::2], strict=False)])  # every second says enough
    mean = (flows.mean(axis=0) * weight).sum(axis=(0, 1))
    size = (np.linalg.norm(flows, axis=-1).mean(axis=0)[..., None] * weight).sum()
    return np.concatenate([np.arcsinh(mean / 0.2), mean / (size + 0.05), [np.log(size + 0.05)]])


def _fineness(steps: np.ndarray) -> np.ndarray:
    """The spectrum of the differences between neighbours: shares of four octaves, and of upright against level structure."""
    power = np.square(np.abs(np.fft.rfft2(steps - steps.mean(axis=(1, 2), keepdims=True)))).mean(axis=0)
    down, across = np.abs(np.fft.fftfreq(SIDE))[:, None], np.fft.rfftfreq(SIDE)[None]
    radius = np.hypot(down, across)
    edges = (0, 1 / 32, 1 / 16, 1 / 8, 1)
    shares = np.array([power[(radius > low) & (radius <= high)].sum() for low, high in zip(edges[:-1], edges[1:], strict=True)])
    floor = 1e-2 * SIDE**4 / 100  # of a change of a tenth of a grey level
    upright = np.log(((power * across**2).sum() + floor / 100) / ((power * down**2).sum() + floor / 100))
    return np.concatenate([np.log((shares + floor) / (shares.sum() + 4 * floor)) / 2, [upright]])


@dataclass(frozen=True)
class SceneClassifier:
    """What each scene looks like in one view of a photo.

    names   candidates; NOTHING is the last
    means   of their signatures                                        n k
    spread  of the signatures of one candidate about their mean        k
    """

    names: tuple[str, ...]
    means: np.ndarray
    spread: np.ndarray

    def distances(self, frames: np.ndarray) -> dict[str, float]:
        """How far a clip is from each candidate: root mean square over the signature, in spreads."""
        apart = np.minimum(np.abs(signature(frames) - self.means) / self.spread, FARTHEST)
        return dict(zip(self.names, np.sqrt(np.square(apart).mean(axis=1)).tolist(), strict=True))

    def verdict(self, frames: np.ndarray, asked: str) -> dict[str, object]:
        """Whether the asked scene is the nearest, which one is, and the margin: log of the nearest other's distance over its own."""
        distance = self.distances(frames)
        others = min(value for name, value in distance.items() if name != asked)
        nearest = min(distance, key=distance.__getitem__)
        return {"right": nearest == asked, "nearest": nearest, "margin": float(np.log((others + 1e-3) / (distance[asked] + 1e-3)))}


def scene_classifier(photo: Photo, view: View, times: np.ndarray, seed: Sequence[int]) -> SceneClassifier:
    """Draws every scene NUM_DRAWS times in a view of a photo; those that change next to nothing there are no candidates.

    times  of the frames, reference frames   f
    """
    names, drawn = [], []
    for number, name in enumerate(SCENE_PROMPTS):
        clips = [true_scene(photo, name, view, times, SIDE, (*seed, number, k)) for k in range(NUM_DRAWS)]
        if changes(clips[0]):
            names.append(name)
            drawn.append([signature(clip) for clip in clips])
    still = np.repeat(true_scene(photo, "still", view, times[:1], SIDE, seed), len(times), axis=0)
    signatures = np.array(drawn).reshape(len(names), NUM_DRAWS, len(signature(still)))
    spread = np.sqrt(signatures.var(axis=1, ddof=1).mean(axis=0)) if names else 0
    means = np.concatenate([signatures.mean(axis=1).reshape(len(names), len(signature(still))), signature(still)[None]])
    return SceneClassifier((*names, NOTHING), means, spread + SPREADS)


def scene_view(photo: Photo, name: str, seed: Sequence[int]) -> View:
    """A view of a photo with much of what the scene moves, in sizes from that in which clips are looked at upwards."""
    return draw(photo.pixels, (Motion(name, 1.0),), np.zeros(1), SIDE, np.random.default_rng(seed)).view


def true_scene(photo: Photo, name: str, view: View, times: np.ndarray, size: int, seed: Sequence[int]) -> np.ndarray:
    """A scene really drawn in a view of a photo; the seed decides its pattern: f size size 3, uint8."""
    return draw(photo.pixels, (Motion(name, 1.0),), times, size, np.random.default_rng(seed), view).frames


def changes(clip: np.ndarray) -> bool:
    """Whether a clip shows more than its first frame."""
    return float(np.sqrt(np.square(clip[1:].astype(np.float32) - clip[0]).mean())) >= LEAST_CHANGE


def scenes_for(photo: Photo) -> list[str]:
    """Scenes that suit what a photo shows; all where nobody wrote down what that is."""
    return [name for name in SCENE_PROMPTS if not photo.kind or photo.kind in MOTIONS[name].suits]
