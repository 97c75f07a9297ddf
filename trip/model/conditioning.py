"""Where the photo's latent joins the noised clip (Sec. 3.2 and Table 5)."""

import torch
from torch import Tensor


def attach(z_t: Tensor, z_first: Tensor, where: str) -> Tensor:
    """What the 3D-UNet takes: `head` and `tail` give b c f+1 h w, `channel` gives b 2c f h w.

    z_t      noised clip             b c f h w
    z_first  clean photo latent      b c 1 h w
    """
    if where == "head":
        return torch.cat([z_first, z_t], dim=2)
    if where == "tail":
        return torch.cat([z_t, z_first], dim=2)
    if where == "channel":
        return torch.cat([z_t, z_first.expand_as(z_t)], dim=1)
    raise ValueError(f"unknown first-frame condition {where!r}; choose head, tail or channel")


def detach(output: Tensor, where: str) -> Tensor:
    """The noised frames' share of the 3D-UNet's output: the extra frame is dropped."""
    return {"head": output[:, :, 1:], "tail": output[:, :, :-1], "channel": output}[where]


def frame_times(times: Tensor, where: str) -> Tensor:
    """Times of all frames that the 3D-UNet sees, b f or b f+1; the clean photo stands one frame before the clip.

    times  time of each frame since the photo, in reference frames  b f
    """
    photo = torch.full_like(times[:, :1], -1.0)
    return {"head": torch.cat([photo, times], dim=1), "tail": torch.cat([times, photo], dim=1), "channel": times}[where]


def photo_of(sample: Tensor, where: str) -> Tensor:
    """The photo's clean latent, b c h w, out of what `attach` made."""
    return {"head": sample[:, :, 0], "tail": sample[:, :, -1], "channel": sample[:, sample.shape[1] // 2 :, 0]}[where]
