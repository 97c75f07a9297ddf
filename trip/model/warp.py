"""How the photo moves in a clip: for each place of a frame the place of the photo that it shows, and whether it still shows it."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

REFERENCE_FRAMES = 16  # a frame's time is told to the network as a share of so many frames
MOST_WAY = 1.0  # halves of the short side that the scene carries a place in REFERENCE_FRAMES, whatever photo and sentence are
SCENE_SIDE = 24  # cells of the short side on which the scene's motion is found, whatever the size of the frames
DILATIONS = (1, 2, 4, 8)


@dataclass(frozen=True)
class MotionField:
    """The motion of a clip, at any time and any size. Coordinates run from -1 to 1 over the frame's short side.

    At time s (1 is REFERENCE_FRAMES after the photo) place p of the frame shows the photo at `q + s d_1(q) + s^2 d_2(q)`, where
    `q = expm(s G) p`. G is what the camera does: a steady pan, zoom or roll is exactly such a flow, and `-s` undoes it. The ways d are
    the scene's, and belong to places of the photo. Such a place is still seen with a share of `exp(-s r(q))`.

    camera  G, its last row zero                      b 3 3, float32
    scene   d_1, d_2 (x, y each) and the rate r >= 0  b 5 h w, float32; the grid covers the frame
    moves   whether the scene moves by itself at all, where > 0; none: it may   b, float32
    """

    camera: Tensor
    scene: Tensor
    moves: Tensor | None = None

    def at(self, times: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Places of the photo that a frame shows, b f h w 2, and with what share it shows them, b f h w.

        times  since the photo, in reference frames; negative ones, as the clean photo has, count as 0   b f
        """
        b, f = times.shape
        time = (times.float().clamp(min=0) / REFERENCE_FRAMES).view(b, f, 1, 1)
        places = places_of(height, width, self.scene.device)  # h w 2
        flow = torch.matrix_exp(time * self.camera.unsqueeze(1))  # b f 3 3
        with torch.autocast(places.device.type, enabled=False):  # places to a fraction of a pixel
            q = torch.einsum("bfoi,hwi->bfhwo", flow[:, :, :2, :2], places) + flow[:, :, None, None, :2, 2]
        in_photo = (q / half_sides(height, width, q.device)).flatten(0, 1)
        ways = F.grid_sample(self._heeded().repeat_interleave(f, dim=0), in_photo, padding_mode="border", align_corners=False)
        first, second, rate = ways.unflatten(0, (b, f)).movedim(2, -1).split([2, 2, 1], dim=-1)
        time = time.unsqueeze(-1)
        return q + time * first + time.square() * second, torch.exp(-time * rate).squeeze(-1)

    def enlarged(self, factor: int) -> Self:
        """The same motion on a finer grid, smooth between the cells of this one."""
        finer = F.interpolate(self.scene, scale_factor=factor, mode="bicubic", align_corners=False)
        return replace(self, scene=torch.cat([finer[:, :4], finer[:, 4:].clamp(min=0)], dim=1))

    def of(self, index: int) -> Self:
        """That of one clip of the batch; a scene that does not move has no ways."""
        return MotionField(self.camera[index : index + 1], self._heeded()[index : index + 1])

    def _heeded(self) -> Tensor:
        """The scene, without ways where it does not move."""
        if self.moves is None:
            return self.scene
        return torch.cat([self.scene[:, :4] * (self.moves > 0).view(-1, 1, 1, 1), self.scene[:, 4:]], dim=1)

    def to(self, device: torch.device | str) -> Self:
        """On another device."""
        return MotionField(self.camera.to(device), self.scene.to(device), self.moves if self.moves is None else self.moves.to(device))


def moved(photo: Tensor, field: MotionField, times: Tensor) -> Tensor:
    """Latents of the photo where the motion takes them, and in the last channel the share with which they are seen: (b f) c+1 h w.

    photo  clean latent of the photo              b c h w
    times  as in `MotionField.at`                 b f
    """
    h, w = photo.shape[2:]
    places, shown = field.at(times, h, w)
    looked_at = (places / half_sides(h, w, photo.device)).flatten(0, 1)
    source = photo.float().repeat_interleave(times.shape[1], dim=0)
    latents = F.grid_sample(source, looked_at, padding_mode="border", align_corners=False)
    inside = (looked_at.abs() <= 1).all(dim=3).to(latents.dtype)
    return torch.cat([latents, (inside * shown.flatten(0, 1)).unsqueeze(1)], dim=1)


class PhotoWarp(nn.Module):
    """The motion that a sentence asks of a photo: a camera move that follows the sentence alone, and a field that follows the photo too.

    Nothing moves at first. By the sentence the module also says whether the scene moves at all, so that camera moves are rigid.
    """

    def __init__(self, channels: int, sentence_width: int, width: int = 64):
        super().__init__()
        self.camera = nn.Sequential(nn.Linear(sentence_width, width), nn.SiLU(), nn.Linear(width, 6))
        self.moves = nn.Sequential(nn.Linear(sentence_width, width), nn.SiLU(), nn.Linear(width, 1))
        self.content = nn.Conv2d(channels + 2, width, 3, padding=1)
        self.told = nn.Linear(sentence_width, 2 * width)
        self.scene = nn.Sequential(
            *(layer for d in DILATIONS for layer in (nn.SiLU(), nn.Conv2d(width, width, 3, padding=d, dilation=d))),
            nn.SiLU(),
            nn.Conv2d(width, 5, 3, padding=1),
        )
        for last in (self.camera[-1], self.moves[-1], self.scene[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        nn.init.constant_(self.scene[-1].bias[4:], -4.0)  # almost all of the photo stays in view

    def forward(self, photo: Tensor, sentence: Tensor) -> MotionField:
        """The motion of each clip.

        photo     clean latent of the photo   b c h w
        sentence  the prompt as one vector    b d
        """
        (b, _, h, w), dtype = photo.shape, self.content.weight.dtype
        sentence = sentence.to(dtype)
        camera = generator_of(self.camera(sentence))
        shrink = SCENE_SIDE / min(h, w)
        size = (max(round(h * shrink), 1), max(round(w * shrink), 1))
        if size != (h, w):  # in float32: CPUs cannot do it in less
            photo = F.interpolate(photo.float(), size, mode="bilinear", antialias=True, align_corners=False)
        photo = photo.to(dtype)
        coordinates = places_of(*size, photo.device).permute(2, 0, 1).to(dtype).expand(b, -1, -1, -1)
        scale, shift = self.told(sentence).view(b, -1, 1, 1).chunk(2, dim=1)
        hidden = self.content(torch.cat([photo, coordinates], dim=1)) * (1 + scale) + shift
        scene = self.scene(hidden).float()
        moves = self.moves(sentence).float().squeeze(1)
        return MotionField(camera, torch.cat([MOST_WAY * torch.tanh(scene[:, :4] / MOST_WAY), F.softplus(scene[:, 4:])], dim=1), moves)


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
