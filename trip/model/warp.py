"""The photo as each frame would show it, if all that happened were motion: a look-up of its latent at displaced places."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

REFERENCE_FRAMES = 16  # a frame's time is told to the network as a share of so many frames


class PhotoWarp(nn.Module):
    """Latents of the photo, moved as sentence and photo suggest, for each frame's time.

    Place p of the frame at time s shows the photo at `p + s d_1(p) + s^2 d_2(p)`. Each d is an affine map of p that follows
    the sentence (a camera move is one) plus a field that follows the sentence and the photo around p (the scene). All are zero
    at first, and are learnt from the denoising loss alone. Coordinates run from -1 to 1 over the short side, so what is learnt holds
    at any size and shape.
    """

    def __init__(self, channels: int, sentence_width: int, width: int = 64):
        super().__init__()
        self.camera = nn.Sequential(nn.Linear(sentence_width, width), nn.SiLU(), nn.Linear(width, 12))
        self.content = nn.Conv2d(channels + 2, width, 3, padding=1)
        self.told = nn.Linear(sentence_width, 2 * width)
        self.scene = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=2, dilation=2),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=4, dilation=4),
            nn.SiLU(),
            nn.Conv2d(width, 4, 3, padding=1),
        )
        for last in (self.camera[-1], self.scene[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, photo: Tensor, sentence: Tensor, times: Tensor) -> Tensor:
        """Moved latents, and in the last channel whether the place lies inside the photo: (b f) c+1 h w.

        photo     clean latent of the photo            b c h w
        sentence  the prompt as one vector             b d
        times     time of each frame in reference frames; the clean photo's own negative time counts as 0   b f
        """
        (b, f), (h, w) = times.shape, photo.shape[2:]
        places = _places(h, w, photo.device)  # h w 2
        first, second = self._ways(photo, sentence.to(photo.dtype), places)  # b h w 2
        time = (times.float().clamp(min=0) / REFERENCE_FRAMES).view(b, f, 1, 1, 1)
        looked_at = places + time * first.unsqueeze(1) + time.square() * second.unsqueeze(1)  # b f h w 2
        looked_at = looked_at.flatten(0, 1) / _half_sides(h, w, photo.device)
        source = photo.float().repeat_interleave(f, dim=0)
        moved = F.grid_sample(source, looked_at, padding_mode="border", align_corners=False)
        inside = (looked_at.abs() <= 1).all(dim=3).to(moved.dtype).unsqueeze(1)
        return torch.cat([moved, inside], dim=1)

    def _ways(self, photo: Tensor, sentence: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """d_1 and d_2 at every place, each b h w 2, float32."""
        b, _, h, w = photo.shape
        affine = self.camera(sentence).float().view(b, 2, 2, 3)
        coordinates = places.permute(2, 0, 1).to(photo.dtype).expand(b, -1, -1, -1)
        scale, shift = self.told(sentence).view(b, -1, 1, 1).chunk(2, dim=1)
        hidden = self.content(torch.cat([photo, coordinates], dim=1)) * (1 + scale) + shift
        scene = self.scene(hidden).float().view(b, 2, 2, h, w)
        homogeneous = torch.cat([places, torch.ones_like(places[..., :1])], dim=2)  # h w 3
        ways = torch.einsum("boxc,hwc->bohwx", affine, homogeneous) + scene.permute(0, 1, 3, 4, 2)
        return ways[:, 0], ways[:, 1]


def _places(height: int, width: int, device: torch.device) -> Tensor:
    """Centres of the cells of a feature map, as (x, y) from the middle, in halves of the short side: h w 2."""
    y = (torch.arange(height, device=device) + 0.5) * 2 / height - 1
    x = (torch.arange(width, device=device) + 0.5) * 2 / width - 1
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2) * _half_sides(height, width, device)


def _half_sides(height: int, width: int, device: torch.device) -> Tensor:
    """Half of width and of height, in halves of the short side: 2."""
    return torch.tensor([width, height], device=device) / min(height, width)
