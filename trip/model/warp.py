"""How the photo moves in a clip: for each place of a frame the place of the photo that it shows, and whether it still shows it.

What photo and sentence decide is one motion. What they leave to chance, how the waves of water, leaves and flames run, is drawn from noise,
as amplitudes over a few frequencies at each place (Li et al., "Generative Image Dynamics", CVPR 2024, draw such with a diffusion model;
here one pass of a small network does, trained by the energy score, see `trip/training/stages/field.py`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from trip.model.latents import encode_video

REFERENCE_FRAMES = 16  # a frame's time is told to the network as a share of so many frames
MAX_DISPLACEMENT = 1.0  # halves of the short side that the scene carries a place in REFERENCE_FRAMES, whatever photo and sentence are
MAX_AMPLITUDE = 0.2  # halves of the short side: amplitude of one frequency
CYCLES = 0.5  # of the lowest frequency, in REFERENCE_FRAMES; the others are its multiples
NOISE_SCALES, SCALE_CHANNELS, GLOBAL_CHANNELS = (1, 2, 4, 8), 2, 4  # noise that is smooth over so many cells, and noise for all cells alike
SCENE_SIDE = 24  # cells of the short side on which the scene's motion is found, whatever the size of the frames
DILATIONS = (1, 2, 4, 8)
PIXEL_FINENESS = 4  # the scene's grid is made so many times finer before pixels are moved


@dataclass(frozen=True)
class MotionField:
    """The motion of a clip, at any time and any size. Coordinates run from -1 to 1 over the frame's short side.

    At time s (1 is REFERENCE_FRAMES after the photo) place p of the frame shows the photo at

        q + s d_1(q) + s^2 d_2(q) + sum_k (a_k(q) sin(w_k s) + b_k(q) (cos(w_k s) - 1)),    w_k = 2 pi CYCLES k

    where `q = expm(s G) p`. G is what the camera does: a steady pan, zoom or roll is exactly such a flow, and `-s` undoes it. The
    displacements d and the waves a, b are the scene's, and belong to places of the photo. Such a place is still seen with a share of
    `exp(-s r(q))`.

    camera  G, its last row zero                      b 3 3, float32
    scene   d_1, d_2 (x, y each) and the rate r >= 0  b 5 h w, float32; the grid covers the frame
    moves   whether the scene moves by itself at all, where > 0; none: it may   b, float32
    waves   a_1, b_1, a_2, b_2 ... (x, y each); none: nothing is left to chance   b 4k h w, float32
    """

    camera: Tensor
    scene: Tensor
    moves: Tensor | None = None
    waves: Tensor | None = None

    def at(self, times: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Places of the photo that a frame shows, b f h w 2, and with what share it shows them, b f h w.

        times  since the photo, in reference frames; negative ones, as the clean photo has, count as 0   b f
        """
        b, f = times.shape
        time = (times.float().clamp(min=0) / REFERENCE_FRAMES).view(b, f, 1, 1)
        places = places_of(height, width, self.scene.device)  # h w 2
        flow = torch.matrix_exp(time * self.camera.unsqueeze(1))  # b f 3 3
        turned = (flow[:, :, None, None, :2, :2] * places.unsqueeze(2)).sum(dim=-1)  # no matrix product: exact under autocast, too
        q = turned + flow[:, :, None, None, :2, 2]
        in_photo = (q / half_sides(height, width, q.device)).flatten(0, 1)
        sampled = F.grid_sample(self._gated().repeat_interleave(f, dim=0), in_photo, padding_mode="border", align_corners=False)
        first, second, rate, waves = sampled.unflatten(0, (b, f)).movedim(2, -1).split([2, 2, 1, sampled.shape[1] - 5], dim=-1)
        time = time.unsqueeze(-1)
        places = q + time * first + time.square() * second
        if self.waves is not None:
            phase = 2 * math.pi * CYCLES * time * torch.arange(1, waves.shape[-1] // 4 + 1, device=q.device)  # b f 1 1 k
            swing = torch.stack([phase.sin(), phase.cos() - 1], dim=-1).flatten(4)
            places = places + (waves.unflatten(-1, (-1, 2)) * swing.unsqueeze(-1)).sum(dim=-2)
        return places, torch.exp(-time * rate).squeeze(-1)

    def enlarged(self, factor: int) -> Self:
        """The same motion on a finer grid, smooth between the cells of this one."""

        def finer(part: Tensor) -> Tensor:
            return F.interpolate(part, scale_factor=factor, mode="bicubic", align_corners=False)

        scene = finer(self.scene)
        scene = torch.cat([scene[:, :4], scene[:, 4:].clamp(min=0)], dim=1)
        return replace(self, scene=scene, waves=None if self.waves is None else finer(self.waves))

    def of(self, index: int) -> Self:
        """That of one clip of the batch; a scene that does not move has neither displacements nor waves."""
        gated = self._gated()[index : index + 1]
        return MotionField(self.camera[index : index + 1], gated[:, :5], waves=None if self.waves is None else gated[:, 5:])

    @property
    def largest_displacement(self) -> Tensor:
        """The farthest that anything but the camera takes a place, in about REFERENCE_FRAMES, halves of the short side: one number."""
        gated = self._gated()
        return torch.cat([gated[:, :4], gated[:, 5:]], dim=1).abs().max()

    def _gated(self) -> Tensor:
        """Scene and waves, b 5+4k h w, without displacements where the scene does not move."""
        displacements, rate = self.scene.split([4, 1], dim=1)
        waves = displacements[:, :0] if self.waves is None else self.waves
        if self.moves is not None:
            moves = (self.moves > 0).view(-1, 1, 1, 1)
            displacements, waves = displacements * moves, waves * moves
        return torch.cat([displacements, rate, waves], dim=1)

    def to(self, device: torch.device | str) -> Self:
        """On another device."""
        return MotionField(*(part if part is None else part.to(device) for part in (self.camera, self.scene, self.moves, self.waves)))


def moved(photo: Tensor, field: MotionField, times: Tensor) -> Tensor:
    """The photo where the motion takes it, and in the last channel the share with which it is seen: b c+1 f h w.

    photo  its clean latent, or its pixels        b c h w
    times  as in `MotionField.at`                 b f
    """
    h, w = photo.shape[2:]
    places, visibility = field.at(times, h, w)
    looked_at = (places / half_sides(h, w, photo.device)).flatten(0, 1)
    source = photo.float().repeat_interleave(times.shape[1], dim=0)
    sampled = F.grid_sample(source, looked_at, padding_mode="border", align_corners=False)
    inside = (looked_at.abs() <= 1).all(dim=3).to(sampled.dtype)
    shown = torch.cat([sampled, (inside * visibility.flatten(0, 1)).unsqueeze(1)], dim=1)
    return shown.unflatten(0, times.shape).movedim(1, 2)


@torch.no_grad()
def encoded_after_moving(
    vae: AutoencoderKL, photo: Tensor, field: MotionField, times: Tensor, device: torch.device | None = None
) -> Tensor:
    """As `moved` gives it for the photo's latent, but its pixels are moved, and latents are made of them then: b c+1 f h w.

    photo   its pixels, in [-1, 1]             b 3 H W
    field   or what tells places at any time and size as a field does
    device  where the autoencoder works, where that is not where its weights are
    """
    pixels, visibility = moved(photo, field.enlarged(PIXEL_FINENESS), times).split([3, 1], dim=1)
    latents = encode_video(vae, pixels, device=device).to(photo.device)
    share = F.avg_pool2d(visibility.squeeze(1), pixels.shape[-1] // latents.shape[-1])
    return torch.cat([latents, share.unsqueeze(1)], dim=1)


class PhotoWarp(nn.Module):
    """The motion that a sentence asks of a photo: a camera move that follows the sentence alone, and a field that follows the photo too.

    Nothing moves at first. By the sentence the module also says whether the scene moves at all, so that camera moves are rigid.

    frequencies  of the waves that are drawn from noise; 0: there are none
    """

    def __init__(self, channels: int, sentence_width: int, width: int = 64, frequencies: int = 0):
        super().__init__()
        self.camera = nn.Sequential(nn.Linear(sentence_width, width), nn.SiLU(), nn.Linear(width, 6))
        self.moves = nn.Sequential(nn.Linear(sentence_width, width), nn.SiLU(), nn.Linear(width, 1))
        self.content = nn.Conv2d(channels + 2, width, 3, padding=1)
        self.modulation = nn.Linear(sentence_width, 2 * width)
        self.scene = _dilated(width, 5)
        for last in (self.camera[-1], self.moves[-1], self.scene[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        nn.init.constant_(self.scene[-1].bias[4:], -4.0)  # almost all of the photo stays in view
        self.waves = Waves(channels, sentence_width, width, frequencies) if frequencies else None

    def forward(self, photo: Tensor, sentence: Tensor, noise: Tensor | None = None) -> MotionField:
        """The motion of each clip.

        photo     clean latent of the photo                                          b c h w
        sentence  the prompt as one vector                                           b d
        noise     what `draw_noise` gave for each clip; none: without the waves      b n h' w'
        """
        return self.draws(photo, sentence, noise if noise is None else noise.unsqueeze(1))[0]

    def draws(self, photo: Tensor, sentence: Tensor, noise: Tensor | None) -> list[MotionField]:
        """The motions that several draws of the noise give, b k n h' w': they differ in their waves. Without noise one, without waves."""
        b, dtype = len(photo), self.content.weight.dtype
        sentence = sentence.to(dtype)
        size = scene_shape(*photo.shape[2:])
        if size != photo.shape[2:]:  # in float32: CPUs cannot do it in less
            photo = F.interpolate(photo.float(), size, mode="bilinear", antialias=True, align_corners=False)
        coordinates = places_of(*size, photo.device).permute(2, 0, 1).to(dtype).expand(b, -1, -1, -1)
        seen = torch.cat([photo.to(dtype), coordinates], dim=1)
        scale, shift = self.modulation(sentence).view(b, -1, 1, 1).chunk(2, dim=1)
        scene = self.scene(self.content(seen) * (1 + scale) + shift).float()
        scene = torch.cat([_bounded(scene[:, :4], MAX_DISPLACEMENT), F.softplus(scene[:, 4:])], dim=1)
        field = MotionField(generator_of(self.camera(sentence)), scene, self.moves(sentence).float().squeeze(1))
        if self.waves is None or noise is None:
            return [field]
        return [replace(field, waves=self.waves(seen, sentence, one.to(seen))) for one in noise.unbind(dim=1)]

    def draw_noise(self, height: int, width: int, generators: Iterable[torch.Generator]) -> Tensor | None:
        """What chance decides about the scenes of clips with latents of this size, b n h' w'; none where nothing is left to it."""
        if self.waves is None:
            return None
        return torch.cat([_scene_noise(*scene_shape(height, width), one) for one in generators])


class Waves(nn.Module):
    """Amplitudes of the waves at each place, as photo and sentence have them move: an envelope, which says where and how far, times a
    pattern that is drawn from noise. None at first.
    """

    def __init__(self, channels: int, sentence_width: int, width: int, frequencies: int):
        super().__init__()
        num_noise = GLOBAL_CHANNELS + SCALE_CHANNELS * len(NOISE_SCALES)
        self.register_buffer("sentence_mean", torch.zeros(sentence_width))
        self.register_buffer("sentence_spread", torch.ones(()))
        self.modulation = nn.Linear(sentence_width, 4 * width)
        self.content = nn.Conv2d(channels + 2, width, 3, padding=1)
        self.envelope = _dilated(width, 2 * frequencies)
        nn.init.constant_(self.envelope[-1].bias, -4.0)
        self.noise = nn.Conv2d(num_noise, width, 3, padding=1)
        self.pattern = nn.Sequential(
            nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 4 * frequencies, 3, padding=1)
        )
        nn.init.zeros_(self.pattern[-1].weight)
        nn.init.zeros_(self.pattern[-1].bias)

    def forward(self, seen: Tensor, sentence: Tensor, noise: Tensor) -> Tensor:
        """Photo and places, b c h w, and what `draw_noise` gave, b n h w -> b 4k h w, float32, as in `MotionField`."""
        modulation = self.modulation((sentence - self.sentence_mean) / self.sentence_spread).view(len(seen), 4, -1, 1, 1).unbind(dim=1)
        envelope = F.softplus(self.envelope(self.content(seen) * (1 + modulation[0]) + modulation[1]).float())  # x and y of each frequency
        pattern = self.pattern(self.noise(noise) * (1 + modulation[2]) + modulation[3]).float()
        envelope, pattern = envelope.unflatten(1, (-1, 1, 2)), pattern.unflatten(1, (-1, 2, 2))
        return _bounded((envelope * pattern).flatten(1, 3), MAX_AMPLITUDE)

    def set_sentence_statistics(self, sentences: Tensor) -> None:
        """Takes the mean of many sentences, n d, as zero, and their spread as one: what they share is most of each, and says nothing."""
        self.sentence_mean.copy_(sentences.mean(dim=0))
        self.sentence_spread.copy_((sentences - self.sentence_mean).square().mean().sqrt().clamp(min=1e-3))


def _scene_noise(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Noise of one clip, the same everywhere and smooth over NOISE_SCALES cells: 1 n h w."""
    same = torch.randn(1, GLOBAL_CHANNELS, 1, 1, generator=generator, device=generator.device)
    parts = [same.expand(-1, -1, height, width)]
    for scale in NOISE_SCALES:
        coarse = torch.randn(1, SCALE_CHANNELS, -(-height // scale), -(-width // scale), generator=generator, device=generator.device)
        parts.append(F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False))
    return torch.cat(parts, dim=1)


def _dilated(width: int, outputs: int) -> nn.Sequential:
    """Layers that see ever farther."""
    layers = (layer for d in DILATIONS for layer in (nn.SiLU(), nn.Conv2d(width, width, 3, padding=d, dilation=d)))
    return nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(width, outputs, 3, padding=1))


def _bounded(values: Tensor, most: float) -> Tensor:
    return most * torch.tanh(values / most)


def scene_shape(height: int, width: int) -> tuple[int, int]:
    """Cells on which the scene's motion is found, for latents of this size."""
    shrink = SCENE_SIDE / min(height, width)
    return max(round(height * shrink), 1), max(round(width * shrink), 1)


def generator_of(rows: Tensor) -> Tensor:
    """What `PhotoWarp.camera` gives, b 6, as the camera of a `MotionField`, b 3 3, float32."""
    return F.pad(rows.float().view(-1, 2, 3), (0, 0, 0, 1))


def places_of(height: int, width: int, device: torch.device) -> Tensor:
    """Centres of the cells of a feature map, as (x, y) from the middle, in halves of the short side: h w 2."""
    y = (torch.arange(height, device=device) + 0.5) * 2 / height - 1
    x = (torch.arange(width, device=device) + 0.5) * 2 / width - 1
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2) * half_sides(height, width, device)


def half_sides(height: int, width: int, device: torch.device) -> Tensor:
    """Half of width and of height, in halves of the short side: 2."""
    return torch.tensor([width, height], device=device) / min(height, width)
