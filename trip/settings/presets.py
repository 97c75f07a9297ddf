"""Named models with the recipe that trains each."""

from typing import Any

from pydantic import Field, ValidationError

from trip.settings.base import Settings, shortened
from trip.settings.model import FusionSettings, ModelSettings, ScheduleSettings, TextSettings, UnetSettings, VaeSettings
from trip.settings.recipe import RecipeSettings, StageSettings


class Preset(Settings):
    """A model and the recipe that trains it."""

    model: ModelSettings
    recipe: RecipeSettings
    card: str = Field("", description="what the weights are, in a sentence for people")


PRESETS = {
    "paper": Preset(  # Sec. 4.1; sizes of ModelScopeT2V, on which the paper builds
        model=ModelSettings(fusion=FusionSettings(attend="time", concatenate="channels")),
        recipe=RecipeSettings(
            precision="bf16",
            denoiser=StageSettings(max_steps=200_000, batch_size=4, learning_rate=2e-6, fusion_learning_rate=2e-4),
        ),
    ),
    "embedded": Preset(  # what the project ships: small enough for a laptop without a GPU
        card="The embedded model (192 × 192 pixels), trained by this project on a CPU: the camera goes where told, scenes are weak.",
        model=ModelSettings(
            frame_size=192,
            fps=8.0,
            num_steps=6,
            guidance_scale=1.0,
            vae=VaeSettings(block_channels=(16, 48, 96, 128), layers_per_block=1, latent_channels=8, middle_attention=False, norm_groups=2),
            text=TextSettings(width=128, layers=2, heads=4, hidden_width=256, max_tokens=48, vocabulary=2048),
            unet=UnetSettings(
                block_channels=(48, 96, 192),
                layers_per_block=1,
                head_width=16,
                norm_groups=16,
                entry_heads=3,
                frame_embedding=True,
                photo_warp=True,
                warp_space="pixel",
                scene_frequencies=8,
                temporal_dropout=0.0,
            ),
            fusion=FusionSettings(width=64, heads=2, attend="space", skip=True, lam_first=0.5),
            schedule=ScheduleSettings(spacing="trailing", unet_predicts="v_prediction"),
        ),
        recipe=RecipeSettings(
            precision="bf16",
            text_drop=0.1,
            timestep_spread=1.0,
            loss_weight="v",
            num_cached_clips=4096,
            num_moments=16384,
            new_content=1.0,
            vae=StageSettings(
                max_steps=5400,
                batch_size=8,
                learning_rate=1e-3,
                weight_decay=0.0,
                warmup_steps=50,
                cooldown=0.1,
                ema_decay=0.995,
                save_every=50,
            ),
            decoder=StageSettings(
                max_steps=3000,
                batch_size=8,
                learning_rate=4e-4,
                weight_decay=0.0,
                warmup_steps=20,
                cooldown=0.4,
                ema_decay=0.995,
            ),
            text=StageSettings(max_steps=400, batch_size=64, learning_rate=1e-3, warmup_steps=50, cooldown=0.5, ema_decay=0.99),
            sentences=StageSettings(max_steps=3000, batch_size=128, learning_rate=5e-4, warmup_steps=50, cooldown=0.8, ema_decay=0.99),
            field=StageSettings(
                max_steps=4000,
                batch_size=32,
                learning_rate=1e-3,
                weight_decay=0.0,
                warmup_steps=50,
                cooldown=0.4,
                ema_decay=0.995,
                save_every=500,
            ),
            half_size=StageSettings(
                max_steps=800,
                batch_size=16,
                num_frames=8,
                learning_rate=8e-4,
                fusion_learning_rate=1e-3,
                warmup_steps=100,
                ema_decay=0.995,
            ),
            denoiser=StageSettings(
                max_steps=1800,
                batch_size=4,
                learning_rate=6e-4,
                fusion_learning_rate=1e-3,
                warmup_steps=20,
                cooldown=0.4,
                ema_decay=0.998,
            ),
        ),
    ),
    "tiny": Preset(  # for tests: the same classes, nothing to look at
        model=ModelSettings(
            frame_size=32,
            num_frames=4,
            fps=8.0,
            num_steps=2,
            guidance_scale=2.0,
            vae=VaeSettings(block_channels=(8, 8), layers_per_block=1, latent_channels=4, middle_attention=False, norm_groups=4),
            text=TextSettings(width=16, layers=1, heads=2, hidden_width=16, max_tokens=16, vocabulary=600),
            unet=UnetSettings(
                block_channels=(8, 16),
                layers_per_block=1,
                head_width=8,
                norm_groups=4,
                entry_heads=1,
                frame_embedding=True,
                photo_warp=True,
                warp_space="pixel",
            ),
            fusion=FusionSettings(width=16, heads=2, skip=True),
            schedule=ScheduleSettings(spacing="trailing", unet_predicts="v_prediction"),
        ),
        recipe=RecipeSettings(
            loss_weight="v",
            num_cached_clips=8,
            num_moments=8,
            vae=StageSettings(max_steps=3, batch_size=2, learning_rate=1e-3, save_every=2, sample_every=2),
            text=StageSettings(max_steps=3, batch_size=4, learning_rate=1e-3, save_every=2, sample_every=2),
            sentences=StageSettings(max_steps=3, batch_size=4, learning_rate=1e-3, save_every=2, sample_every=2),
            field=StageSettings(max_steps=2, batch_size=2, learning_rate=1e-3, save_every=2, sample_every=2),
            half_size=StageSettings(max_steps=2, batch_size=2, learning_rate=1e-3, save_every=2, sample_every=2),
            denoiser=StageSettings(max_steps=4, batch_size=2, learning_rate=1e-3, save_every=2, sample_every=2),
        ),
    ),
}


def changed(preset: Preset, values: dict[str, Any]) -> Preset:
    """A preset with some settings changed, each named by its path, such as `recipe.denoiser.batch_size`; ValueError in one line."""
    settings = preset.model_dump()
    for name, value in values.items():
        *parents, last = name.split(".")
        place = settings
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            choices = ", ".join(place) if isinstance(place, dict) else "model, recipe"
            raise ValueError(f"there is no setting {name!r}; choose from {choices}")
        place[last] = value
    try:
        return Preset.model_validate(settings)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}, got {shortened(problem['input'])}") from None
