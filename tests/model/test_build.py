"""From settings to models: every variant runs, and the paper's sizes are the paper's."""

import pytest
import torch
from diffusers import UNet3DConditionModel

from trip.diffusion import add_noise, betas, noise_from_v
from trip.model.build import build_fusion, build_scheduler, build_text_encoder, build_unet, build_vae, variant_of
from trip.model.conditioning import attach, detach, frame_times
from trip.model.denoiser import Condition, Denoiser
from trip.settings import PRESETS, VARIANTS, ModelSettings

TINY = PRESETS["tiny"].model
ALPHA_BAR = torch.tensor([0.9, 0.1])
TIMESTEP = torch.tensor([100, 600])


def build(settings: ModelSettings) -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(build_unet(settings), build_fusion(settings)).eval()


def clip_and_condition(num_frames: int = 4, size: int = 16) -> tuple[torch.Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)
    z_0, eps = torch.randn(2, 2, 4, num_frames, size, size, generator=generator)
    condition = Condition(
        z_first=z_0[:, :, :1],
        words=torch.randn(2, 16, 16, generator=generator),
        sentence=torch.randn(2, 16, generator=generator),
        times=torch.arange(float(num_frames)).expand(2, -1),
    )
    return add_noise(z_0, eps, ALPHA_BAR), condition


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("num_frames, size", [(4, 16), (3, 7)])
def test_every_variant_gives_noise_for_every_frame(name, num_frames, size):
    denoiser = build(TINY.model_copy(update={"variant": name}))
    z_t, condition = clip_and_condition(num_frames, size)
    with torch.no_grad():
        fused, residual, _ = denoiser(z_t, TIMESTEP, ALPHA_BAR, condition)
    assert fused.shape == residual.shape == z_t.shape
    assert fused.dtype == residual.dtype == torch.float32
    assert fused.isfinite().all()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_what_its_row_says(name):
    denoiser = build(TINY.model_copy(update={"variant": name}))
    assert (denoiser.unet.config.first_frame, denoiser.fusion.config.kind) == VARIANTS[name][:2]


def test_the_papers_linear_fusion_is_eq_9_and_ours_knows_the_noise_level():
    model = PRESETS["embedded"].model
    times, alpha_bar = torch.arange(16.0)[None], torch.tensor([0.9999])
    papers, ours = (build(model.model_copy(update={"variant": name})).fusion.share(alpha_bar, times) for name in ("trip-w", "trip-w-snr"))
    first, last = model.fusion.lam_first, model.fusion.lam_last
    assert torch.allclose(papers.flatten(), torch.linspace(first, last, 16)) and ours.max() < 0.001


def test_without_a_shortcut_the_noise_is_the_residual_paths():
    z_t, condition = clip_and_condition()
    with torch.no_grad():
        fused, residual, _ = build(TINY.model_copy(update={"variant": "trip-minus"}))(z_t, TIMESTEP, ALPHA_BAR, condition)
    assert torch.equal(fused, residual)


@torch.no_grad()
def test_a_v_prediction_becomes_noise_before_the_fusion():
    denoiser = build(TINY)
    z_t, condition = clip_and_condition()
    residual = denoiser(z_t, TIMESTEP, ALPHA_BAR, condition).residual
    output = denoiser.unet(
        attach(z_t, condition.z_first, "head"),
        TIMESTEP,
        condition.words,
        frame_times=frame_times(condition.times, "head"),
        sentence=condition.sentence,
    ).sample
    assert denoiser.unet.config.predicts == "v_prediction"
    assert torch.allclose(residual, noise_from_v(detach(output, "head"), z_t, ALPHA_BAR), atol=1e-6)


def test_two_learning_rates_reach_every_weight_once():
    denoiser = build(TINY)
    groups = denoiser.param_groups(2e-6, 2e-4)
    assert [group["lr"] for group in groups] == [2e-6, 2e-4]
    assert [len(group["params"]) for group in groups] == [len(list(part.parameters())) for part in (denoiser.unet, denoiser.fusion)]
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in denoiser.parameters()}


def test_a_fusion_without_weights_has_no_group():
    assert [group["lr"] for group in build(TINY.model_copy(update={"variant": "trip-w"})).param_groups(1e-3, 1e-2)] == [1e-3]


def test_every_weight_of_the_full_method_learns():
    denoiser = build(TINY).train()
    z_t, condition = clip_and_condition()
    optimizer = torch.optim.SGD(denoiser.parameters(), lr=0.1)
    for _ in range(6):  # weights behind a layer that starts at zero get their first gradient once it has moved
        optimizer.zero_grad()
        said = denoiser(z_t, TIMESTEP, ALPHA_BAR, condition)
        (said.eps.square().mean() + said.field.moves.exp().mean()).backward()
        optimizer.step()
    without = [name for name, p in denoiser.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@pytest.fixture(scope="module")
def paper_unet() -> torch.nn.Module:
    with torch.device("meta"):
        return build_unet(PRESETS["paper"].model)


def test_the_papers_unet_has_1411_million_parameters(paper_unet):
    assert round(sum(p.numel() for p in paper_unet.parameters()) / 1e6) == 1411


def test_the_papers_unet_has_the_keys_and_shapes_of_the_public_weights(paper_unet):
    """The base class with the sizes that ModelScopeT2V publishes: cross attention 1024 wide, heads of 64."""
    with torch.device("meta"):
        public = UNet3DConditionModel(sample_size=32, cross_attention_dim=1024, attention_head_dim=64)
    shapes = {name: tuple(weight.shape) for name, weight in paper_unet.state_dict().items()}
    assert shapes == {name: tuple(weight.shape) for name, weight in public.state_dict().items()}


def test_the_papers_other_parts_have_their_sizes():
    settings = PRESETS["paper"].model
    with torch.device("meta"):
        vae, text_encoder, fusion = build_vae(settings), build_text_encoder(settings), build_fusion(settings)
    millions = {name: round(sum(p.numel() for p in part.parameters()) / 1e6) for name, part in (("vae", vae), ("text", text_encoder))}
    assert millions == {"vae": 84, "text": 340}  # Stable Diffusion 2.1's autoencoder; OpenCLIP-H's text encoder, 23 of its layers
    form = {"kind": "attention", "skip": False, "attend": "time", "concatenate": "channels", "query": "residual"}
    assert {name: fusion.config[name] for name in form} == form


def test_the_papers_schedule_and_sampler():
    scheduler = build_scheduler(PRESETS["paper"].model)
    assert torch.allclose(scheduler.betas, betas("linear", 1e-4, 2e-2, 1000))
    scheduler.set_timesteps(50)
    assert len(scheduler.timesteps) == 50 and scheduler.timesteps[[0, -1]].tolist() == [981, 1]


def test_a_trailing_schedule_starts_at_pure_noise():
    scheduler = build_scheduler(TINY)
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == [999, 749, 499, 249]


def test_scaled_linear_schedule_is_ours_and_the_schedulers_alike():
    schedule = TINY.schedule.model_copy(update={"kind": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012})
    scheduler = build_scheduler(TINY.model_copy(update={"schedule": schedule}))
    assert torch.allclose(scheduler.betas, betas("scaled_linear", 0.00085, 0.012, 1000))


def test_unknown_variant_is_named_with_the_choices():
    with pytest.raises(ValueError) as caught:
        variant_of("trip-x")
    assert str(caught.value) == "unknown variant 'trip-x'; choose trip, trip-c, trip-te, trip-minus, trip-w, trip-w-snr"
