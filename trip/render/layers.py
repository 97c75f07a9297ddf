"""What the generated frames show beside the photo that moves: the scene's finer motion, broad changes of light, and what is new."""

from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from trip.media import FlowFinder, agreement, blurred, carried
from trip.output import AnimatedClip
from trip.render.motion import ClipMotion, View, step, to_pixels
from trip.render.plate import Plate, framed, light

# Each pair: nothing below the first, all above the second.
LIGHT_SEEN = (5.0, 14.0)  # grey levels that a place changes by in a clip: less is noise
GONE = {"at rest": (0.04, 0.10), "moving": (0.06, 0.25)}  # of 1: where the field says that so much of the photo goes in a clip, the
# frames may show something new; where nothing moves, as under snow and rain, nothing can be taken for new that has just gone astray
NEW_SEEN = {"at rest": (2.0, 6.0), "moving": (3.0, 10.0)}  # grey levels of difference: less is noise
NEW_HIDES = (25.0, 60.0)  # grey levels of difference: what is so new hides the photo
TRUSTED = (0.2, 0.6)  # of the places around one, whose flow is believed

CONSISTENT = 1.0  # pixels: flow there and back that ends so near is believed
FLOW_BLUR, CORRECTION_BLUR = 1 / 16, 1 / 40  # of the short side: of flow alone, and of its corrections of the field
NEIGHBOURHOOD, MASK_BLUR, WIDER = 2.0, 3.0, 9  # pixels of the network's frames
STEADY = 0.8  # frames that everything is blurred over in time
NOTHING = 0.5  # grey levels


@dataclass(frozen=True)
class Layers:
    """Layers of every frame of the network, on its grid; of a loop, once more those of the photo. None: there is nothing of that kind.

    times   in reference frames                               k
    shade   what the plate is multiplied with                 k h w 3, float16
    added   what is added, grey levels                        k h w 3, float16
    hides   where the photo is not seen any more, in [0, 1]   k h w, float16
    bends   what the field does not know of the motion        k h w 2, float32, on the grid of `ClipMotion`
    """

    times: np.ndarray
    shade: np.ndarray | None = None
    added: np.ndarray | None = None
    hides: np.ndarray | None = None
    bends: np.ndarray | None = None

    @classmethod
    def found(cls, clip: AnimatedClip, motion: ClipMotion, drawn: Plate) -> Self:
        """Those of a clip.

        drawn  the photo as the autoencoder gives it, so that what that loses is taken for nothing new
        """
        moving, arrived = motion.moving(clip.times), clip.arrived(np.arange(len(clip.frames)))[:, None, None]
        bends = _corrections(clip, motion, drawn, moving, 1 - arrived)
        views = [motion.view(float(time)).bent(bend) for time, bend in zip(clip.times, _each(bends, clip.times), strict=True)]
        expected = np.stack([drawn.seen(view, motion.shape) for view in views])
        if clip.last_photo is not None:
            share = arrived[..., None]
            expected = ((1 - share) * expected + share * clip.decoded_last).round().astype(np.uint8)
        inside = np.stack([drawn.is_photo(view, motion.shape) for view in views])
        if motion.field is None:
            gone = np.stack([1 - agreement(*one)[0] for one in zip(clip.frames, expected, inside.astype(np.float32), strict=True)])
        else:
            gone = np.stack([motion.gone(float(time), float(clip.times.max())) for time in clip.times])
        gone = gone * (1 - arrived)
        lights = _lights(clip.frames, expected, inside)
        lost = None if motion.field is None else _lost(clip, drawn, views, motion.shape)
        torn = np.stack([motion.torn(float(time)) for time in clip.times]) * (1 - arrived) if motion.bends else None
        shade, added, hides = _shading(clip.frames, expected, lights, gone, lost, torn, moving)
        if np.abs(128 * (shade - 1)).max() < NOTHING and np.abs(added).max() < NOTHING:
            shade = added = hides = None
        elif clip.last_photo is not None:
            shade[-1], added[-1], hides[-1] = 1, 0, 0
        layers = [None if layer is None else layer.astype(np.float16) for layer in (shade, added, hides)]
        if clip.loop:
            layers, bends = (
                [None if layer is None else np.concatenate([layer, layer[:1]]) for layer in part] for part in (layers, [bends])
            )
            return cls(np.append(clip.times, 0.0), *layers, *bends)
        return cls(clip.times, *layers, bends)

    def shading(self, index: float, time: float, motion: ClipMotion) -> tuple[np.ndarray, np.ndarray] | None:
        """Shade and what is added at any moment, each h w 3, float32; index in frames of the network."""
        if self.shade is None:
            return None
        return tuple(self._at(layer, index, time, motion) for layer in (self.shade, self.added))

    def hidden(self, index: float, time: float, motion: ClipMotion) -> np.ndarray | float:
        """Where the photo is not seen: h w."""
        return 0.0 if self.hides is None else self._at(self.hides, index, time, motion)

    def bend(self, index: float, time: float, motion: ClipMotion) -> np.ndarray | None:
        """Correction of the places."""
        return None if self.bends is None else self._at(self.bends, index, time, motion)

    def _at(self, layers: np.ndarray, index: float, time: float, motion: ClipMotion) -> np.ndarray:
        """The two around a moment are carried there along the camera's motion, and blended: nothing is seen twice."""
        before = int(np.clip(np.floor(index), 0, len(layers) - 1))
        after = min(before + 1, len(layers) - 1)
        one, other = (_carried(layers[key], motion, self.times[key], time) for key in (before, after))
        return cv2.addWeighted(one, 1 - (index - before), other, index - before, 0)


def _carried(layer: np.ndarray, motion: ClipMotion, was: float, time: float) -> np.ndarray:
    inner = to_pixels(layer.shape[:2], motion.half)
    matrix = inner @ np.linalg.inv(motion.affine(was)) @ motion.affine(time) @ np.linalg.inv(inner)
    layer = layer.astype(np.float32)
    if np.abs(matrix - np.eye(3)).max() < 1e-6:
        return layer
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(layer, matrix[:2], layer.shape[1::-1], flags=how, borderMode=cv2.BORDER_REPLICATE)


def _each(layers: np.ndarray | None, like: np.ndarray) -> list:
    return [None] * len(like) if layers is None else list(layers)


def _lights(frames: np.ndarray, expected: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset of each frame's light, f h w 3: only where a place becomes clearly darker or brighter at some time of the clip."""
    size = frames.shape[2:0:-1]
    gain, offset = (_steadied(np.stack(part)) for part in zip(*map(light, frames, expected, inside), strict=True))
    small = gain.shape[2:0:-1]
    was = np.stack([blurred(cv2.resize(one, small, interpolation=cv2.INTER_AREA).astype(np.float32), min(small) / 16) for one in expected])
    change = np.abs((gain - 1) * was + offset).mean(axis=3).max(axis=0)
    seen = step(blurred(change, min(small) / 16), LIGHT_SEEN)[..., None]
    gain, offset = 1 + seen * (gain - 1), seen * offset
    return tuple(np.stack([cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in part]) for part in (gain, offset))


def _shading(
    frames: np.ndarray,
    expected: np.ndarray,
    lights: tuple[np.ndarray, np.ndarray],
    gone: np.ndarray,
    lost: np.ndarray | None,
    torn: np.ndarray | None,
    moving: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shade, what is added, and where the photo is hidden, so that `shade * photo + added` is

        lit photo                                   where frames and photo agree
        lit photo, and the difference to the frame  where the field says that the photo is gone in part: the photo's detail stays
        the frame                                   where they have nothing in common, or the photo is torn

    frames, expected  f h w 3, uint8
    lights            gain and offset, each f h w 3
    gone              what share of the photo is said to be gone   f h w
    lost              differences that are the autoencoder's own, grey levels, f h w; none: `gone` is all that is known
    torn              where the photo cannot be taken as the motion says, in [0, 1], f h w; none: nowhere
    moving            from 0, a clip at rest, to 1
    """
    gain, offset = lights
    lit = gain * expected + offset
    difference = frames - lit
    if lost is None:
        new = hides = _smooth(gone)
    else:
        error = np.stack([blurred(np.abs(one).mean(axis=2), NEIGHBOURHOOD) for one in difference]) - lost
        new = step(gone, _between(GONE, moving)) * step(error, _between(NEW_SEEN, moving))
        new, hides = _smooth(new, wider=WIDER), _smooth(new * step(error, NEW_HIDES))
    if torn is not None:
        new, hides = (np.maximum(mask, _smooth(torn)) for mask in (new, hides))
    new, hides = new[..., None], hides[..., None]
    shade, added = (1 - hides) * gain, (1 - hides) * offset + new * difference + hides * lit
    shade[0], added[0], hides[0] = 1, 0, 0
    return shade, added, hides[..., 0]


def _lost(clip: AnimatedClip, drawn: Plate, views: list[View], shape: tuple[int, int]) -> np.ndarray:
    """What the autoencoder loses of the photo around each place of each frame, grey levels: f h w."""
    lost = np.abs(clip.frames[0].astype(np.float32) - clip.decoded_photo).mean(axis=2)
    lost = blurred(lost, 2 * NEIGHBOURHOOD).round().clip(0, 255).astype(np.uint8)
    plate = replace(drawn, pixels=framed(lost, drawn.layout))
    return np.stack([plate.seen(view, shape) for view in views]).astype(np.float32)


def _smooth(masks: np.ndarray, wider: int = 1) -> np.ndarray:
    """Masks without hard borders, in space and time: f h w; made wider by some pixels first."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wider, wider))
    masks = np.stack([blurred(cv2.dilate(one, kernel), MASK_BLUR) for one in masks.astype(np.float32)])
    return np.maximum(masks, _steadied(masks)).clip(0, 1)


def _corrections(clip: AnimatedClip, motion: ClipMotion, drawn: Plate, moving: float, photo: np.ndarray) -> np.ndarray | None:
    """What the frames show of the scene's motion and the field does not know, as bends: f h w 2; none where nothing but the camera moves.

    Optical flow from the frame to what is expected of it, where flow there and back agree and the field says that the photo may not be
    seen as it says. Without a field, flow is all there is.

    photo  the share that the photo has in each frame; the rest is the last photo's   f 1 1
    """
    if motion.field is not None and not motion.bends:
        return None
    short, (height, width) = min(motion.shape), motion.grid
    there, back = FlowFinder(*motion.shape), FlowFinder(*motion.shape)
    gone_range = _between(GONE, moving)
    displacements = np.zeros((len(clip.frames), *motion.shape, 2), np.float32)
    for displacement, frame, time in zip(displacements[1:], clip.frames[1:], clip.times[1:].tolist(), strict=True):
        gone = step(motion.gone(time, float(clip.times.max())), gone_range)
        if motion.field is not None and not gone.any():
            continue
        expected = drawn.seen(motion.view(time), motion.shape)
        found = there.flow(frame, expected)
        if motion.field is None:
            displacement[:] = blurred(found, FLOW_BLUR * short)
            continue
        there.found = None
        back.found = None
        returned, inside = carried(back.flow(expected, frame), found)
        trust = np.exp(-np.square(found + returned).sum(axis=2) / (2 * CONSISTENT**2)) * inside * gone
        around = blurred(trust.astype(np.float32), CORRECTION_BLUR * short)[..., None]
        mean = blurred(found * trust[..., None].astype(np.float32), CORRECTION_BLUR * short) / np.maximum(around, 0.05)
        displacement[:] = mean * step(around, TRUSTED)
    if not displacements.any():
        return None
    displacements = _steadied(displacements) * photo[..., None]
    displacements[0] = 0
    to_places = (2 * motion.half / np.array(motion.shape[::-1])).astype(np.float32)
    displacements = np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in displacements]) * to_places
    if motion.field is None:
        return displacements
    results = np.empty_like(displacements)
    for result, displacement, time in zip(results, displacements, clip.times.tolist(), strict=True):
        view = motion.view(time)  # a place of the frame shows what the one beside it did
        beside = displacement * np.diag(to_pixels(motion.grid, motion.half))[:2]
        at = (np.indices(motion.grid)[::-1].transpose(1, 2, 0) + beside).astype(np.float32)
        bend = cv2.remap(view.bend, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        result[:] = displacement @ view.affine[:2, :2].T + bend - view.bend
    return results


def _between(pairs: dict[str, tuple[float, float]], moving: float) -> tuple[float, float]:
    low, high = ((1 - moving) * rest + moving * other for rest, other in zip(pairs["at rest"], pairs["moving"], strict=True))
    return low, high


def _steadied(values: np.ndarray) -> np.ndarray:
    """Blurred over frames, f …; a steady change stays as it is, up to both ends."""
    beyond = min(3, len(values) - 1)
    before, after = 2 * values[:1] - values[beyond:0:-1], 2 * values[-1:] - values[-2 : -2 - beyond : -1]
    return gaussian_filter1d(np.concatenate([before, values, after]), STEADY, axis=0)[beyond : beyond + len(values)]
