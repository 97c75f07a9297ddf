"""Fusion of prior and residual: what each kind gives, and what its attention can reach."""

import inspect
import math

import pytest
import torch
from torch.nn import functional

from trip.diffusion import add_noise, image_noise_prior, linear_fusion, noise_from_v, predict_z_0, prior_share, v_from_noise
from trip.model.fusion import AdaptiveNorm, NoiseFusion
from trip.settings import PRESETS

ALPHA_BAR = torch.tensor([0.95, 0.05])
TIMESTEP = torch.tensor([50, 700])
TIMES = torch.arange(5.0).expand(2, -1)
SMALL = {"width": 16, "heads": 2, "channels": 4, "num_frames": 5}


def random_fusion(**options) -> NoiseFusion:
    """A small fusion without a weight that is zero."""
    torch.manual_seed(0)
    fusion = NoiseFusion(**SMALL, **options)
    for parameter in fusion.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return fusion.eval()


@pytest.fixture(scope="module")
def noises() -> dict[str, torch.Tensor]:
    """A noised clip of 2 samples, 5 frames, 4 x 6 places, its first frame, and some residual noise."""
    z_0, eps, residual = torch.randn(3, 2, 4, 5, 4, 6, generator=torch.Generator().manual_seed(3))
    return {"z_t": add_noise(z_0, eps, ALPHA_BAR), "z_first": z_0[:, :, :1], "residual": residual}


@torch.no_grad()
def fuse(fusion: NoiseFusion, noises: dict[str, torch.Tensor], **changed) -> torch.Tensor:
    n = noises | changed
    t, alpha_bar = n.get("timestep", TIMESTEP), n.get("alpha_bar", ALPHA_BAR)
    return fusion(n["z_t"], n["z_first"], n["residual"], t, alpha_bar, TIMES, n.get("kind"))


def blend(noises: dict[str, torch.Tensor], fusion: NoiseFusion) -> torch.Tensor:
    c = fusion.config
    lam = prior_share(ALPHA_BAR, TIMES, num_frames=5, lam_first=c.lam_first, lam_last=c.lam_last, motion_variance=c.motion_variance)
    return linear_fusion(image_noise_prior(noises["z_t"], noises["z_first"], ALPHA_BAR), noises["residual"], lam)


def test_none_gives_the_residual(noises):
    assert torch.equal(fuse(NoiseFusion(kind="none"), noises), noises["residual"])


def test_linear_is_equation_nine(noises):
    fusion = NoiseFusion(kind="linear", num_frames=5, lam_first=0.8, lam_last=0.3, motion_variance=0.2)
    assert torch.allclose(fuse(fusion, noises), blend(noises, fusion))
    assert not list(fusion.parameters())


@pytest.mark.parametrize("attend", ["space", "time"])
def test_skip_starts_at_the_linear_blend(noises, attend):
    fusion = NoiseFusion(**SMALL, attend=attend, skip=True)
    assert torch.allclose(fuse(fusion, noises), blend(noises, fusion), atol=1e-6)


@pytest.mark.parametrize("attend", ["space", "time"])
@pytest.mark.parametrize("query", ["residual", "both"])
@pytest.mark.parametrize("concatenate", ["channels", "tokens"])
def test_without_skip_it_starts_as_the_residual(noises, attend, concatenate, query):
    """Whatever the prior says: a warm start begins with what its 3D-UNet says."""
    fusion = NoiseFusion(**SMALL | {"width": 32}, attend=attend, concatenate=concatenate, query=query, depth=2)
    error = fuse(fusion, noises) - noises["residual"]
    assert error.square().mean() < 0.01 * noises["residual"].square().mean()


def test_on_v_it_starts_exact_in_the_clean_clip_where_there_is_hardly_any_signal(noises):
    """An error of the noise is 1 / alpha_bar times as large in the clean clip; one of v is not larger there."""
    alpha_bar = torch.tensor([0.95, 1e-4])
    z_t = add_noise(noises["z_first"].expand(-1, -1, 5, -1, -1), noises["residual"].flip(0), alpha_bar)
    residual = noise_from_v(noises["residual"], z_t, alpha_bar)  # as a 3D-UNet that predicts v gives it
    clean, errors = predict_z_0(z_t, residual, alpha_bar), {}
    for predicts in ("epsilon", "v_prediction"):
        fusion = NoiseFusion(**SMALL | {"width": 32}, concatenate="channels", predicts=predicts)
        fused = fuse(fusion, noises, z_t=z_t, residual=residual, alpha_bar=alpha_bar)
        errors[predicts] = (predict_z_0(z_t, fused, alpha_bar) - clean)[1].square().mean().item()
    assert errors["v_prediction"] < 0.02 < 5 < errors["epsilon"]


@torch.no_grad()
def test_on_v_the_attention_sees_what_both_noises_mean(noises):
    """The same weights on noises that are v already, without a clip around them, give the v of what is fused."""
    fusion, alpha_bar = random_fusion(predicts="v_prediction"), ALPHA_BAR
    prior = image_noise_prior(noises["z_t"], noises["z_first"], alpha_bar)
    as_v = [v_from_noise(noise, noises["z_t"], alpha_bar) for noise in (prior, noises["residual"])]
    wanted = noise_from_v(fusion._attend(*as_v, TIMESTEP, alpha_bar), noises["z_t"], alpha_bar)
    assert torch.allclose(fuse(fusion, noises), wanted) and not torch.allclose(wanted, fuse(random_fusion(), noises), atol=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fusion_without_skip_opens_in_any_precision(noises, tmp_path, dtype):
    random_fusion().save_pretrained(tmp_path)
    opened = NoiseFusion.from_pretrained(tmp_path, torch_dtype=dtype)
    assert opened.dtype == dtype and torch.allclose(
        fuse(opened, noises), fuse(random_fusion(), noises), atol=1e-6 if dtype.itemsize == 4 else 0.1
    )


def test_without_skip_the_attention_alone_speaks(noises):
    """The paper's form: shares of a blend that it does not have change nothing."""
    fusion = random_fusion(lam_first=0.9)
    assert torch.equal(fuse(fusion, noises), fuse(random_fusion(lam_first=0.1), noises))
    assert not torch.allclose(fuse(fusion, noises), blend(noises, fusion), atol=0.1)


@pytest.mark.parametrize("query", ["residual", "both"])
@pytest.mark.parametrize("concatenate", ["channels", "tokens"])
@torch.no_grad()
def test_query_keys_and_values_are_what_the_form_says(noises, concatenate, query):
    """Equation 11 on one frame, step by step."""
    fusion = random_fusion(concatenate=concatenate, query=query)
    a = ALPHA_BAR[1]
    prior = (1 - a).sqrt() * image_noise_prior(noises["z_t"], noises["z_first"], ALPHA_BAR)
    prior, residual = (noise[1, :, 2].flatten(1).T[None] for noise in (prior, noises["residual"]))  # 1 places channels
    both = torch.cat([prior, residual], dim=2)
    x = fusion.residual_in(residual) if query == "residual" else fusion.both_in(both)
    context = (
        fusion.both_in(both) if concatenate == "channels" else torch.cat([fusion.prior_in(prior), fusion.residual_in(residual)], dim=1)
    )
    time = fusion.time_embedding(fusion.time_features(TIMESTEP[1:]))
    out = fusion.out(fusion.out_norm(fusion.blocks[0](x, context, time)))
    assert torch.allclose(fuse(fusion, noises)[1, :, 2].flatten(1).T, out[0], atol=1e-5)


@pytest.mark.parametrize(
    "concatenate, query, entries",
    [
        ("tokens", "residual", {"prior_in", "residual_in"}),
        ("tokens", "both", {"prior_in", "residual_in", "both_in"}),
        ("channels", "residual", {"residual_in", "both_in"}),
        ("channels", "both", {"both_in"}),
    ],
)
def test_a_form_has_the_weights_that_it_uses_and_no_other(noises, concatenate, query, entries):
    fusion = random_fusion(concatenate=concatenate, query=query)
    assert {name for name, _ in fusion.named_children() if name.endswith("_in")} == entries
    n = noises
    fusion(n["z_t"], n["z_first"], n["residual"], TIMESTEP, ALPHA_BAR, TIMES).square().sum().backward()
    assert all(parameter.grad.any() for parameter in fusion.parameters())


def test_a_norm_starts_as_a_layer_norm_at_every_time_step_and_has_the_modulation_alone():
    norm, x, time = AdaptiveNorm(16, 8), torch.randn(2, 5, 16), torch.randn(2, 8)
    assert torch.allclose(norm(x, time), functional.layer_norm(x, (16,)), atol=1e-6)
    assert {name for name, _ in norm.named_parameters()} == {"modulation.weight", "modulation.bias"}


def test_time_features_are_those_that_stored_weights_were_trained_on():
    """Cosines first, then sines, of frequencies from 1 down to 10,000 to the power of -(n - 1) / n."""
    t, n = 700.0, 8
    angles = torch.tensor([t * math.exp(-math.log(10_000) * i / n) for i in range(n)])
    features = NoiseFusion(**SMALL).time_features(torch.tensor([t]))[0]
    assert torch.allclose(features, torch.cat([angles.cos(), angles.sin()]), atol=1e-3)


def test_noises_enter_with_a_quarter_of_the_constants_variance():
    fusion = NoiseFusion(**SMALL | {"width": 256})
    tokens = fusion.residual_in(torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)))
    assert fusion.residual_in.bias.square().mean().item() == pytest.approx(1.0, abs=1e-3)
    assert tokens.square().mean().item() == pytest.approx(1.25, abs=0.05)


def test_defaults_are_the_settings():
    defaults = {name: parameter.default for name, parameter in inspect.signature(NoiseFusion).parameters.items()}
    settings = type(PRESETS["paper"].model.fusion)()
    assert {name: defaults[name] for name in type(settings).model_fields} == settings.model_dump()


@pytest.mark.parametrize("kind", ["none", "linear"])
def test_a_fusion_without_parameters_still_has_a_precision(kind):
    assert NoiseFusion(kind=kind).to(torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("attend", ["space", "time"])
@pytest.mark.parametrize("depth", [1, 2])
def test_shape_is_the_clips(noises, attend, skip, depth):
    fused = fuse(random_fusion(attend=attend, skip=skip, depth=depth), noises)
    assert fused.shape == noises["z_t"].shape and fused.dtype == torch.float32


def changed_places(fusion: NoiseFusion, noises: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """Where the output of the first sample follows one place of its third frame: f h w."""
    other = noises[name].clone()
    other[0, :, 2, 1, 3] += 1
    change = (fuse(fusion, noises, **{name: other}) - fuse(fusion, noises)).abs().amax(dim=1) > 1e-6
    assert not change[1].any(), "samples of a batch mix"
    return change[0]


@pytest.mark.parametrize("name", ["residual", "z_t"])
def test_attention_over_space_sees_its_own_frame_whole(noises, name):
    change = changed_places(random_fusion(attend="space"), noises, name)
    assert change[2].all() and change.sum() == change[2].sum()


@pytest.mark.parametrize("name", ["residual", "z_t"])
def test_attention_over_time_sees_its_own_place_in_all_frames(noises, name):
    change = changed_places(random_fusion(attend="time"), noises, name)
    assert change[:, 1, 3].all() and change.sum() == 5


@pytest.mark.parametrize("attend", ["space", "time"])
def test_attention_follows_the_time_step_of_each_sample(noises, attend):
    fusion = random_fusion(attend=attend)
    other = fuse(fusion, noises, timestep=torch.tensor([50, 20])) - fuse(fusion, noises)
    assert not other[0].any() and other[1].abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["none", "linear", "attention"])
def test_half_residual_gives_float32(noises, kind):
    fused = fuse(random_fusion(kind=kind), noises, residual=noises["residual"].bfloat16())
    assert fused.dtype == torch.float32 and fused.isfinite().all()


def test_prior_near_the_end_stays_bounded_inside(noises):
    """sqrt(SNR) is 100 at alpha_bar 0.9999: the attention gets the bounded prior, so the clean clip stays near."""
    assert fuse(random_fusion(skip=True), noises, alpha_bar=torch.full((2,), 0.9999)).abs().max() < 20


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kind": "sum"}, "unknown fusion 'sum'; choose none, linear or attention"),
        ({"width": 8}, "wanted a fusion of at least 10 features for 4 channels, got 8"),
        ({"attend": "depth"}, "unknown axis of attention 'depth'; choose space or time"),
        ({"concatenate": "sum"}, "unknown form 'sum', 'residual'; choose channels or tokens, and residual or both"),
        ({"query": "prior"}, "unknown form 'tokens', 'prior'; choose channels or tokens, and residual or both"),
        ({"predicts": "sample"}, "unknown prediction 'sample'; choose epsilon or v_prediction"),
        (
            {"predicts": "v_prediction", "skip": True},
            "wanted epsilon for a fusion with skip, which adds to a blend of noises, got v_prediction; choose one of them",
        ),
    ],
)
def test_unknown_choice_is_named_with_the_choices(options, message):
    with pytest.raises(ValueError) as caught:
        NoiseFusion(**options)
    assert str(caught.value) == message


def test_saved_fusion_is_the_same(noises, tmp_path):
    fusion = random_fusion(attend="time", skip=True)
    fusion.save_pretrained(tmp_path)
    assert torch.equal(fuse(NoiseFusion.from_pretrained(tmp_path), noises), fuse(fusion, noises))


def test_weights_can_do_what_they_are_built_on(noises):
    built_on_the_blend, paper = random_fusion(skip=True), random_fusion()
    assert built_on_the_blend.kinds == ("attention", "linear", "none") and paper.kinds == ("attention", "none")
    assert NoiseFusion(kind="linear").kinds == ("linear", "none") and NoiseFusion(kind="none").kinds == ("none",)
    assert torch.equal(fuse(paper, noises, kind="none"), noises["residual"])
    assert torch.allclose(fuse(built_on_the_blend, noises, kind="linear"), blend(noises, built_on_the_blend))
    with pytest.raises(AssertionError, match="linear"):
        fuse(paper, noises, kind="linear")
