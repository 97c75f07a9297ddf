"""What turns a photo into a control map: Canny by OpenCV, which needs no weights, and detectors by controlnet-aux and transformers."""

import contextlib
import io
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from trip.data.edges import canny_edges

Read = Callable[[Image.Image, int], Image.Image]  # photo, pixels of its shorter side to look at -> map


class Detector:
    """A detector with its networks, moved about like a pipeline."""

    def __init__(self, components: dict[str, nn.Module], read: Read, to: Callable[[Any], Any]):
        self.components, self.read, self._to = components, read, to

    def to(self, device: torch.device | str) -> "Detector":
        """Moves the networks."""
        self._to(device)
        return self


@dataclass(frozen=True)
class Annotator:
    """A kind of control map.

    finds  what it looks for, in words
    card   whose weights it needs, in the catalogue
    open   opens the detector in a folder; none where there is nothing to open
    """

    title: str
    finds: str
    card: str = ""
    open: Callable[[Path], Detector] | None = None


def canny(photo: Image.Image, low: int, high: int) -> Image.Image:
    """White edges on black (Canny 1986), with its two thresholds."""
    return Image.fromarray(canny_edges(np.asarray(photo.convert("RGB")), low, high)).convert("RGB")


def open_detector(annotator: str, folder: Path) -> Detector:
    """The detector whose weights are in a folder; ValueError, in one line, where it does not open.

    The weights by lllyasviel/Annotators are pickles, for which there are no safetensors: torch reads nothing but tensors out of
    them (`weights_only`, its default), and refuses the rest.
    """
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # both packages have much to say
            warnings.simplefilter("ignore")
            return ANNOTATORS[annotator].open(folder)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{folder}: wanted weights of {annotator}, found a pickle that would run code; fetch them again") from error
    except (ImportError, OSError, KeyError, AttributeError, TypeError, RuntimeError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:150]
        raise ValueError(
            f"{annotator} does not open ({type(error).__name__}: {reason}); fetch its weights again or choose canny"
        ) from error


def _aux() -> ModuleType:
    import controlnet_aux  # takes seconds, and breaks with other versions of timm: imported where it is used

    return controlnet_aux


def _hed(folder: Path, *, scribble: bool = False) -> Detector:
    hed = _aux().HEDdetector.from_pretrained(str(folder))
    return Detector({"hed": hed.netNetwork}, lambda photo, side: hed(photo, side, side, scribble=scribble), hed.to)


def _scribble(folder: Path) -> Detector:
    return _hed(folder, scribble=True)


def _lineart(folder: Path) -> Detector:
    lineart = _aux().LineartDetector.from_pretrained(str(folder))
    parts = {"fine": lineart.model, "coarse": lineart.model_coarse}
    return Detector(parts, lambda photo, side: lineart(photo, detect_resolution=side, image_resolution=side), lineart.to)


def _normal(folder: Path) -> Detector:
    normal = _aux().NormalBaeDetector.from_pretrained(str(folder))
    return Detector({"normal": normal.model}, lambda photo, side: normal(photo, side, side), normal.to)


def _mlsd(folder: Path) -> Detector:
    mlsd = _aux().MLSDdetector.from_pretrained(str(folder))
    return Detector({"mlsd": mlsd.model}, lambda photo, side: mlsd(photo, detect_resolution=side, image_resolution=side), mlsd.to)


def _pose(folder: Path) -> Detector:
    pose = _aux().OpenposeDetector.from_pretrained(str(folder))
    parts = {"body": pose.body_estimation.model, "hand": pose.hand_estimation.model, "face": pose.face_estimation.model}

    def read(photo: Image.Image, side: int) -> Image.Image:
        return pose(photo, detect_resolution=side, image_resolution=side, include_hand=True, include_face=True)

    return Detector(parts, read, pose.to)


def _depth(folder: Path) -> Detector:
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    model = AutoModelForDepthEstimation.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()

    @torch.no_grad()
    def read(photo: Image.Image, side: int) -> Image.Image:
        depth = model(**processor(photo, return_tensors="pt").to(model.device)).predicted_depth[0].float().cpu()
        near = (depth - depth.min()) / (depth.max() - depth.min()).clamp(min=1e-6)  # white is near
        return Image.fromarray((near * 255).round().byte().numpy()).convert("RGB")

    return Detector({"depth": model}, read, model.to)


def _segment(folder: Path) -> Detector:
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    model = AutoModelForSemanticSegmentation.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()
    palette = np.array(_aux().util.ade_palette(), np.uint8)  # what the ControlNets for segments were trained with

    @torch.no_grad()
    def read(photo: Image.Image, side: int) -> Image.Image:
        classes = model(**processor(photo, return_tensors="pt").to(model.device)).logits[0].argmax(0).cpu().numpy()
        return Image.fromarray(palette[classes % len(palette)])

    return Detector({"segment": model}, read, model.to)


ANNOTATORS: dict[str, Annotator] = {
    "canny": Annotator("Canny edges", "edges"),
    "hed": Annotator("Soft edges", "edges", "annotator-hed", _hed),
    "lineart": Annotator("Line drawing", "lines", "annotator-lineart", _lineart),
    "depth": Annotator("Depth", "depth", "annotator-depth", _depth),
    "normal": Annotator("Surface normals", "surfaces", "annotator-normal", _normal),
    "pose": Annotator("Body pose", "people", "annotator-pose", _pose),
    "mlsd": Annotator("Straight lines", "straight lines", "annotator-mlsd", _mlsd),
    "scribble": Annotator("Scribble", "edges", "annotator-hed", _scribble),
    "segment": Annotator("Segments", "objects", "annotator-segment", _segment),
}
