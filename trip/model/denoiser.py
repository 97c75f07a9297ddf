"""The denoiser: photo and noised clip in, noise of every frame out, by the residual path and the shortcut path."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, NamedTuple

from torch import Tensor, nn

from trip.diffusion import alphas_bar, matched_timestep, noise_from_v
from trip.model.conditioning import attach, detach, frame_times
from trip.model.fusion import NoiseFusion
from trip.model.unet import TripUNet
from trip.model.warp import MotionField


@dataclass(frozen=True)
class Condition:
    """What a clip is made from.

    z_first           clean latent of the photo                         b c 1 h w
    words             the prompt, a vector a token                      b n d
    sentence          the prompt, one vector                            b d
    times             time of each frame since the photo, in reference frames (1 = the checkpoint's own frame distance)  b f
    z_shown           what the 3D-UNet is shown of the photo, where that is not z_first   b c 1 h w
    added_conditions  numbers for the 3D-UNet's option of that name: fps, strength; NaN where unknown   each b
    field             the motion of the photo, where it is known already: it is the same at every noise level
    moved_photo       what `encoded_after_moving` gave for all frames that the 3D-UNet sees, b c+1 f' h w, where it `moves_pixels`; or, in
                      training, where the motion is still learnt, what gives it for a motion and the times of those frames
    """

    z_first: Tensor
    words: Tensor
    sentence: Tensor
    times: Tensor
    z_shown: Tensor | None = None
    added_conditions: dict[str, Tensor] = dataclass_field(default_factory=dict)
    field: MotionField | None = None
    moved_photo: Tensor | Callable[[MotionField, Tensor], Tensor] | None = None


class Prediction(NamedTuple):
    """What the denoiser says of a noised clip.

    eps       fused noise                       b c f h w, float32
    residual  the residual path's own noise     b c f h w, float32
    field     the motion of the photo, where the 3D-UNet has the option `photo_warp`
    """

    eps: Tensor
    residual: Tensor
    field: MotionField | None


class Denoiser(nn.Module):
    """3D-UNet and fusion as one module, as the optimizer and the sampler see them."""

    def __init__(self, unet: TripUNet, fusion: NoiseFusion):
        super().__init__()
        self.unet = unet
        self.fusion = fusion

    def forward(self, z_t: Tensor, timestep: Tensor, alpha_bar: Tensor, condition: Condition, fusion: str | None = None) -> Prediction:
        """The noise of every frame by both paths.

        z_t        noised clip             b c f h w
        timestep   for the networks        b
        alpha_bar  share of signal left    b
        fusion     one of the fusion's `kinds`; none: the one that was trained
        """
        where = self.unet.config.first_frame
        shown = condition.z_first if condition.z_shown is None else condition.z_shown
        field = condition.field or self.unet.motion_field(shown[:, :, 0], condition.sentence)
        seen_at, moved_photo = frame_times(condition.times, where), condition.moved_photo
        if callable(moved_photo):
            moved_photo = moved_photo(field, seen_at)
        learnt_on = self.unet.config.base_schedule
        output = self.unet(
            attach(z_t, shown, where).to(self.unet.dtype),
            matched_timestep(alpha_bar, alphas_bar(*learnt_on).to(alpha_bar.device)) if learnt_on else timestep,
            condition.words.to(self.unet.dtype),
            frame_times=seen_at,
            sentence=condition.sentence,
            added_conditions=condition.added_conditions,
            field=field,
            moved_photo=moved_photo,
        ).sample
        residual = detach(output, where).float()
        if self.unet.config.predicts == "v_prediction":
            residual = noise_from_v(residual, z_t, alpha_bar)  # float32 under autocast too, as nothing in it is cast
        eps = self.fusion(z_t, condition.z_first, residual, timestep, alpha_bar, condition.times, fusion)
        return Prediction(eps, residual, field)

    def param_groups(self, learning_rate: float, fusion_learning_rate: float) -> list[dict[str, Any]]:
        """The paper's two learning rates: one for the 3D-UNet, one for the fusion."""
        groups = [
            {"params": list(self.unet.parameters()), "lr": learning_rate},
            {"params": list(self.fusion.parameters()), "lr": fusion_learning_rate},
        ]
        return [group for group in groups if group["params"]]
