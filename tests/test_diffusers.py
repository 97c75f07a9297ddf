"""What diffusers' users expect of a pipeline: the claims that its own tests make of every video pipeline, in our words.

`tests/test_diffusers_files.py` has those on files, the hub and LoRA.
"""

import inspect

import accelerate
import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
)
from diffusers.callbacks import SDCFGCutoffCallback
from diffusers.utils import export_to_video
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.conftest import make_pipeline, quiet
from trip.media import Clip, read_clip, write_clip
from trip.model.denoiser import Denoiser
from trip.model.fusion import NoiseFusion
from trip.model.latents import decode_video, encode_video
from trip.pipeline import TripPipeline
from trip.settings import PRESETS, AnimateSettings

TINY = PRESETS["tiny"].model
TOLD = TINY.model_copy(update={"unet": TINY.unet.model_copy(update={"added_conditions": ("fps", "strength")})})  # every option at once
CALL = {"prompt": "the camera pans right", "num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "np"}


def fresh() -> TripPipeline:
    return quiet(make_pipeline(TOLD))


@pytest.fixture(scope="module")
def pipe() -> TripPipeline:
    return fresh()


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def most_different(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).max())


# the call


def test_the_call_has_the_names_that_people_know():
    known = inspect.signature(TripPipeline.__call__).parameters
    wanted = [
        "image",
        "prompt",
        "negative_prompt",
        "num_frames",
        "num_inference_steps",
        "guidance_scale",
        "num_videos_per_prompt",
        "generator",
        "latents",
        "prompt_embeds",
        "negative_prompt_embeds",
        "output_type",
        "return_dict",
        "callback_on_step_end",
        "callback_on_step_end_tensor_inputs",
    ]
    assert set(wanted) <= set(known)
    assert not [name for name in wanted[1:] if known[name].default is inspect.Parameter.empty]


def test_the_usual_call_gives_a_list_of_clips_of_pictures(pipe, photo):
    call = {"image": photo, "prompt": "the camera pans right", "negative_prompt": "blur", "generator": seeded()}
    out = pipe(**call, num_inference_steps=2, guidance_scale=3.0, num_frames=3)
    assert isinstance(out.frames, list) and [len(clip) for clip in out.frames] == [3]
    assert all(isinstance(frame, Image.Image) and frame.size == (32, 32) for frame in out.frames[0])
    settings = AnimateSettings(prompt="the camera pans right", negative_prompt="blur", seed=3, num_steps=2, guidance_scale=3, num_frames=3)
    clip = pipe.animate(photo, settings)
    assert np.array_equal(np.stack([np.asarray(frame) for frame in out.frames[0]]), clip.frames)
    assert out[0] is out.frames and np.array_equal(out.clips[0].frames, clip.frames)
    assert {**clip.metadata, "seed": None} == out.clips[0].metadata


def test_a_name_wins_over_the_settings_object(pipe, photo):
    settings = AnimateSettings(prompt="the clouds drift", num_steps=3, seed=8, motion=0.5)
    for out in (pipe(photo, settings, num_inference_steps=2), pipe(photo, settings=settings, num_inference_steps=2, num_frames=None)):
        metadata = out.clips[0].metadata
        assert [metadata[name] for name in ("prompt", "num_steps", "seed", "motion")] == ["the clouds drift", 2, 8, 0.5]
    assert pipe(photo, "waves", settings=settings, motion=2, num_steps=1).clips[0].metadata["motion"] == 2


def test_all_output_types_show_the_same(pipe, photo):
    outs = {
        kind: pipe(photo, **CALL | {"output_type": kind}, generator=seeded(), num_frames=3)[0] for kind in ("np", "pt", "pil", "latent")
    }
    assert outs["np"].shape == (1, 3, 32, 32, 3) and outs["np"].dtype == np.float32 and outs["np"].min() >= 0 and outs["np"].max() <= 1
    assert outs["pt"].shape == (1, 3, 3, 32, 32) and outs["latent"].shape == (1, 4, 3, 16, 16)
    assert np.array_equal(outs["pt"].permute(0, 1, 3, 4, 2).numpy(), outs["np"])
    assert np.array_equal(np.stack(outs["pil"][0]), (outs["np"][0] * 255).round())
    drawn = decode_video(pipe.vae, outs["latent"]).permute(0, 2, 3, 4, 1) / 2 + 0.5
    assert most_different(drawn[:, 1:], outs["np"][:, 1:]) < 1e-5


def test_tuples_hold_the_frames_alone(pipe, photo):
    frames = pipe(photo, **CALL, generator=seeded()).frames
    told = pipe(photo, **CALL, generator=seeded(), return_dict=False)
    assert isinstance(told, tuple) and len(told) == 1 and np.array_equal(told[0], frames)


def test_export_to_video_writes_our_pixels(pipe, photo, tmp_path):
    pictures = pipe(photo, **CALL | {"output_type": "pil"}, generator=seeded()).frames[0]
    floats, clip = (pipe(photo, **CALL, generator=seeded()).frames[0], pipe(photo, **CALL, generator=seeded()).clips[0])
    assert np.array_equal(np.stack(pictures), clip.frames)
    assert np.array_equal((floats[0] * 255).astype(np.uint8), clip.frames[0])  # as the exporter rounds: downwards
    write_clip(Clip(clip.frames, 8), tmp_path / "ours.mp4")
    ours = read_clip(tmp_path / "ours.mp4").frames.astype(int)
    for frames in (pictures, floats):
        export_to_video(frames, str(tmp_path / "theirs.mp4"), fps=8)
        theirs = read_clip(tmp_path / "theirs.mp4").frames
        assert theirs.shape == ours.shape and np.abs(theirs - ours).mean() < 20  # another codec; a negative is about 100 away


def test_photos_may_come_in_any_form(pipe, photo):
    square = photo.crop((0, 0, 32, 32))
    pixels = np.array(square)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    forms = [square, pixels, pixels / 255, pixels.astype(np.float32) / 255, tensor, tensor.half().float(), tensor * 2 - 1, [square]]
    forms += [pixels[None], tensor[None], [tensor], torch.from_numpy(pixels).permute(2, 0, 1)]
    frames = [pipe(form, **CALL, generator=seeded()).frames for form in forms]
    assert all(most_different(one, frames[0]) < 1e-2 for one in frames)
    assert np.array_equal(frames[0], frames[1]) and np.array_equal(frames[0], frames[4])


# batches, noise


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_a_batch_is_its_single_clips(pipe, photo, guidance_scale):
    call = CALL | {"guidance_scale": guidance_scale}
    photos, prompts = [photo, photo.rotate(180), photo], ["the camera pans right", "", "very long " * 60]
    together = pipe(photos, **call | {"prompt": prompts}, generator=[seeded(i) for i in range(3)]).frames
    for index, (one, prompt) in enumerate(zip(photos, prompts, strict=True)):
        alone = pipe(one, **call | {"prompt": prompt}, generator=seeded(index)).frames
        assert most_different(together[index], alone[0]) < 1e-4


def test_what_a_clip_is_told_of_its_rate_is_its_own_in_a_batch(pipe, photo):
    settings = [AnimateSettings(seed=1, num_steps=2, fps=fps) for fps in (4, 30)]
    together = pipe.animate_batch([photo, photo], settings)
    alone = [pipe.animate(photo, one) for one in settings]
    assert all(most_different(one.frames, other.frames) <= 1 for one, other in zip(together, alone, strict=True))
    assert not np.array_equal(alone[0].frames, alone[1].frames)


def test_one_photo_serves_many_prompts_and_one_prompt_many_photos(pipe, photo):
    assert len(pipe(photo, **CALL | {"prompt": ["a", "b", "c"]}).frames) == 3
    assert len(pipe([photo, photo.rotate(90)], **CALL).frames) == 2
    assert pipe([photo, photo], **CALL | {"prompt": ["a", "b"]}, num_videos_per_prompt=2).frames.shape[0] == 4


def test_clips_of_one_prompt_have_noise_of_their_own(pipe, photo):
    frames = pipe(photo, **CALL, num_videos_per_prompt=2, generator=seeded()).frames
    assert most_different(frames[0], pipe(photo, **CALL, generator=seeded()).frames[0]) < 1e-4
    assert most_different(frames[0], frames[1]) > 0.05
    clips = pipe(photo, **CALL, num_videos_per_prompt=2, seed=5).clips
    assert [clip.metadata["seed"] for clip in clips] == [5, 6]
    assert most_different(clips[1].frames, pipe(photo, **CALL, seed=6).clips[0].frames) <= 1


def test_torchs_own_seed_counts_where_none_is_given(pipe, photo):
    frames = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        frames.append(pipe(photo, **CALL).frames)
    assert np.array_equal(frames[0], frames[1]) and not np.array_equal(frames[0], frames[2])


def test_latents_are_the_noise(pipe, photo):
    noise = torch.randn((4, TINY.num_frames, 16, 16), generator=seeded())
    given = pipe(photo, **CALL, latents=noise[None])
    assert np.array_equal(given.frames, pipe(photo, **CALL, generator=seeded()).frames) and given.clips[0].metadata["seed"] is None


# texts


def test_embeddings_stand_for_texts(pipe, photo):
    embeds, negative = pipe.encode_prompt(CALL["prompt"], "blur")
    wanted = pipe(photo, **CALL, negative_prompt="blur", generator=seeded()).frames
    call = CALL | {"prompt": None, "prompt_embeds": embeds, "negative_prompt_embeds": negative}
    assert most_different(pipe(photo, **call, generator=seeded()).frames, wanted) < 1e-4
    wordless = TripPipeline(**{**pipe.components, "text_encoder": None, "tokenizer": None})
    wordless.set_progress_bar_config(disable=True)
    assert most_different(wordless(photo, **call, generator=seeded()).frames, wanted) < 1e-4
    assert len(wordless(photo, **call, num_videos_per_prompt=2).frames) == 2
    with pytest.raises(ValueError, match="no text encoder, got texts; give both$"):
        wordless(photo, **CALL)


def test_encode_prompt_works_without_the_other_parts(pipe):
    alone = TripPipeline(**dict.fromkeys(pipe.components) | {"text_encoder": pipe.text_encoder, "tokenizer": pipe.tokenizer})
    for ours, whole in zip(alone.encode_prompt(["a", "b"], num_videos_per_prompt=2), pipe.encode_prompt(["a", "a", "b", "b"]), strict=True):
        assert torch.allclose(ours, whole, atol=1e-5) and len(ours) == 4
    assert alone.encode_prompt("a", do_classifier_free_guidance=False)[1] is None


# callbacks


def test_callbacks_get_what_they_ask_for(pipe, photo):
    steps = []

    def look(caller, step, t, tensors):
        steps.append((step, int(t), set(tensors)))
        return tensors

    for names in (["latents"], pipe._callback_tensor_inputs):
        steps.clear()
        pipe(photo, **CALL, callback_on_step_end=look, callback_on_step_end_tensor_inputs=names)
        assert [(step, asked) for step, _, asked in steps] == [(0, set(names)), (1, set(names))] and pipe.num_timesteps == 2


def test_a_callback_may_return_other_latents(pipe, photo):
    def nothing_left(caller, step, t, tensors):
        return {"latents": tensors["latents"] * (step < 1)}

    assert pipe(photo, **CALL | {"output_type": "latent"}, callback_on_step_end=nothing_left).frames.abs().sum() == 0


def test_a_callback_may_return_other_embeddings(pipe, photo):
    other = pipe.encode_prompt("the clouds drift to the left")[0]

    def said(caller, step, t, tensors):
        return {"prompt_embeds": other}

    call = CALL | {"callback_on_step_end_tensor_inputs": ["prompt_embeds"], "generator": seeded()}
    plain = pipe(photo, **call).frames
    call["generator"] = seeded()
    assert most_different(pipe(photo, **call, callback_on_step_end=said).frames, plain) > 1e-3


def test_a_callback_may_change_the_guidance(pipe, photo):
    def more(caller, step, t, tensors):
        caller._guidance_scale += 1.0
        return tensors

    def on(caller, step, t, tensors):
        caller._guidance_scale = 3.0

    pipe(photo, **CALL, callback_on_step_end=more)
    assert pipe.guidance_scale == CALL["guidance_scale"] + pipe.num_timesteps and pipe.do_classifier_free_guidance
    unguided = CALL | {"guidance_scale": 1.0}
    switched = pipe(photo, **unguided, generator=seeded(), callback_on_step_end=on).frames
    assert most_different(switched, pipe(photo, **unguided, generator=seeded()).frames) > 1e-3
    cut = SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=0)
    assert pipe(photo, **CALL, callback_on_step_end=cut).frames.shape == (1, 4, 32, 32, 3) and not pipe.do_classifier_free_guidance


@pytest.mark.parametrize("name", ["_interrupt", "interrupt"])
def test_an_interrupted_call_gives_what_there_is(pipe, photo, name):
    steps = []

    def stop(caller, step, t, tensors):
        steps.append(tensors["latents"])
        setattr(caller, name, step == 1)
        return tensors

    out = pipe(photo, **CALL | {"num_inference_steps": 9, "output_type": "latent"}, callback_on_step_end=stop).frames
    assert len(steps) == 2 and torch.equal(out, steps[-1]) and pipe.interrupt
    assert pipe(photo, **CALL).frames.shape[1] == TINY.num_frames and not pipe.interrupt


# wrong values, in one line


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"image": 5}, "image must be a photo .* not int"),
        ({"image": []}, "image must be a photo .* not an empty list"),
        ({"image": [[None]]}, "image must be a photo"),
        ({"image": np.zeros((3, 32, 32), np.uint8)}, "image must be h w 3 as an array.* got 3 x 32 x 32|got 32 x 32"),
        ({"image": np.full((32, 32, 3), 200.0)}, "floats from 200 to 200; divide by 255"),
        ({"image": np.full((32, 32, 3), np.nan)}, "got floats from nan"),
        ({"image": np.zeros((32, 32, 3), np.int64)}, "got int64"),
        ({"prompt": 5}, "prompt must be a text or a list of texts, not 5"),
        ({"prompt": ["a", 5]}, "prompt must be a text or a list of texts"),
        ({"negative_prompt": ["a", "b", "c"], "prompt": ["a", "b"]}, "prompt must be one, or as many as the clips, which are 3, not 2"),
        ({"num_inference_steps": "many"}, "Steps must be a whole number from 1 to 1,000, not many"),
        ({"num_frames": 1}, "Frames must be a whole number from 2 to 128, not 1"),
        ({"guidance_scale": "high"}, "Guidance must be a number"),
        ({"num_videos_per_prompt": 0}, "num_videos_per_prompt must be a whole number from 1, not 0"),
        ({"generator": 5}, "generator must be a torch.Generator or a list of them, not 5"),
        ({"generator": [seeded(), seeded()]}, "generator must be one, or as many as the clips, which are 1, not 2"),
        ({"latents": torch.zeros(1, 4, 9, 16, 16)}, "latents must be a tensor of 1 x 4 x 4 x 16 x 16, got 1 x 4 x 9 x 16 x 16"),
        ({"latents": 5}, "latents must be a tensor of 1 x 4 x 4 x 16 x 16, got int"),
        ({"prompt": None, "prompt_embeds": 5}, "prompt_embeds must be a tensor, as encode_prompt gives it, not int"),
        ({"prompt": None, "prompt_embeds": torch.zeros(1, 77, 5)}, "prompt_embeds must be as encode_prompt gives it .* got 1 x 77 x 5"),
        ({"prompt_embeds": torch.zeros(1, 2, 3)}, "wanted prompt or prompt_embeds, got both"),
        (
            {"negative_prompt_embeds": torch.zeros(3, TOLD.text.max_tokens + 1, TOLD.text.width), "prompt": ["a", "b"]},
            "prompt must be one, or",
        ),
        ({"seed": "a"}, "Seed must be a whole number from 0"),
        ({"seed": -1}, "Seed must be a whole number from 0"),
        ({"output_type": "gif"}, "output_type must be pil, np, pt, latent, not 'gif'"),
        ({"callback_on_step_end": 5}, "callback_on_step_end must be a function"),
        ({"callback_on_step_end_tensor_inputs": ["z"]}, "callback_on_step_end_tensor_inputs must be a list of latents, .* not z"),
        ({"callback_on_step_end": lambda *_: 5}, "callback_on_step_end must return a dict of tensors or nothing, not int"),
        ({"callback_on_step_end": lambda *_: {"latents": torch.zeros(1)}}, "callback_on_step_end must return latents of .* got 1$"),
        ({"settings": {"prompt": "a"}}, "settings must be AnimateSettings, not dict"),
        ({"height": 512}, "there is no setting 'height'; choose from .* aspect"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_value_gets_one_line(pipe, photo, wrong, words):
    with pytest.raises(ValueError, match=words) as caught:
        pipe(**{"image": photo, **CALL, **wrong})
    assert "\n" not in str(caught.value)


# schedulers


@pytest.fixture(scope="module")
def holding(pipe) -> TripPipeline:
    """A pipeline that believes the prior alone, so that every step of a right sampler predicts the photo."""
    fusion = NoiseFusion(kind="linear", channels=4, num_frames=4, lam_first=1, lam_last=1, motion_variance=0)
    made = TripPipeline(**{**pipe.components, "fusion": fusion})
    made.set_progress_bar_config(disable=True)
    return made


OTHERS = [
    (EulerDiscreteScheduler, {}),
    (EulerDiscreteScheduler, {"timestep_spacing": "linspace"}),
    (EulerAncestralDiscreteScheduler, {}),
    (HeunDiscreteScheduler, {}),
    (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    (PNDMScheduler, {"skip_prk_steps": True}),
    (DDPMScheduler, {}),
    (LCMScheduler, {}),
]


@pytest.mark.parametrize("kind, more", OTHERS, ids=lambda value: getattr(value, "__name__", ""))
def test_another_scheduler_is_used(holding, photo, kind, more):
    own, seen = holding.scheduler, []
    z_first = encode_video(holding.vae, torch.from_numpy(holding(photo, **CALL).clips[0].frames[:1]).permute(3, 0, 1, 2)[None] / 127.5 - 1)
    try:
        holding.scheduler = kind.from_config(own.config, **more)
        call = CALL | {"num_inference_steps": 5, "callback_on_step_end_tensor_inputs": ["z_t", "z_0"]}
        clips = [
            holding(photo, **call, seed=2, callback_on_step_end=lambda pipe, step, t, tensors: seen.append(tensors)).clips[0]
            for _ in range(2)
        ]
        assert clips[0].metadata["scheduler"] == kind.__name__ and np.array_equal(clips[0].frames, clips[1].frames)
        assert len(seen) == 2 * holding.num_timesteps
        assert all(torch.allclose(tensors["z_0"], z_first.expand_as(tensors["z_0"]), atol=2e-2) for tensors in seen)
        assert seen[0]["z_t"].std().item() == pytest.approx(1, abs=0.05), "the noise that the first step expects"
        assert holding(photo, **CALL, scheduler="unipc").clips[0].metadata["scheduler"] == "unipc"
    finally:
        holding.scheduler = own


def test_another_spacing_of_the_same_scheduler_is_used(pipe, photo):
    own, visited = pipe.scheduler, []
    try:
        for spacing in ("leading", "trailing"):
            pipe.scheduler = DDIMScheduler.from_config(own.config, timestep_spacing=spacing)
            pipe(photo, **CALL, callback_on_step_end=lambda pipe, step, t, tensors: visited.append(int(t)))
    finally:
        pipe.scheduler = own
    assert visited[2:] == [999, 499] and visited[:2] != visited[2:]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda config: FlowMatchEulerDiscreteScheduler(), "got FlowMatchEulerDiscreteScheduler, which works another way"),
        (
            lambda config: EulerDiscreteScheduler.from_config(config, prediction_type="v_prediction"),
            "EulerDiscreteScheduler for v_prediction",
        ),
        (lambda config: DDIMScheduler.from_config(config, rescale_betas_zero_snr=True), "rescaled to no signal at all"),
    ],
)
def test_a_scheduler_that_cannot_serve_is_refused_in_words(pipe, photo, make, words):
    own = pipe.scheduler
    try:
        pipe.scheduler = make(own.config)
        with pytest.raises(ValueError, match=f"^wanted a scheduler of noise .*{words}"):
            pipe(photo, **CALL)
    finally:
        pipe.scheduler = own


# memory


def offloaded(pipe: TripPipeline, how: str) -> None:
    cpu = torch.device("cpu")
    if how == "model":
        pipe.enable_model_cpu_offload(device="cpu")
    elif how == "group":
        pipe.enable_group_offload(onload_device=cpu, offload_device=cpu, offload_type="leaf_level")
    else:
        pipe.enable_sequential_cpu_offload(device="cpu")


@pytest.mark.parametrize("how", ["model", "sequential", "group"])
@pytest.mark.parametrize("variant", ["trip", "trip-w", "trip-minus"])
def test_offloaded_parts_make_the_same_clip_again_and_again(photo, how, variant):
    pipe = make_pipeline(TOLD.model_copy(update={"variant": variant}))
    pipe.set_progress_bar_config(disable=True)
    wanted = pipe(photo, **CALL, generator=seeded()).frames
    offloaded(pipe, how)
    for _ in range(2):
        assert most_different(pipe(photo, **CALL, generator=seeded()).frames, wanted) < 1e-4
    modules = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module) and list(part.parameters())]
    if how == "sequential":
        assert {part.device.type for part in modules} == {"meta"} and pipe._execution_device.type == "cpu"
    if how == "model":
        assert all(isinstance(part._hf_hook, accelerate.hooks.CpuOffload) for part in modules)


def test_the_autoencoder_makes_room_for_the_text_encoder_and_for_the_steps(photo, monkeypatch):
    pipe, order = fresh(), []
    offloaded(pipe, "model")
    monkeypatch.setattr(accelerate.hooks.UserCpuOffloadHook, "offload", lambda hook: order.append(hook.model))
    for name in ("text_encoder", "unet"):
        getattr(pipe, name).register_forward_pre_hook(lambda *_, name=name: order.append(name))
    pipe(photo, **CALL)
    texts, first_step = order.index("text_encoder"), order.index("unet")
    assert pipe.vae in order[:texts] and pipe.vae in order[texts:first_step]  # it encodes the moved photo in between


def test_offloading_to_an_accelerator_mixes_no_devices(monkeypatch):
    """Tensors without values on a device that is not here: every operation still checks that its arguments are on one device."""

    def moved(module, fn, recurse=True):  # as torch does it, but for parameters without values
        for one in module.modules():
            one._parameters |= {k: v if v is None else torch.nn.Parameter(fn(v), requires_grad=False) for k, v in one._parameters.items()}
            one._buffers |= {k: v if v is None else fn(v) for k, v in one._buffers.items()}
        return module

    monkeypatch.setattr(torch.nn.Module, "_apply", moved)
    pipe = fresh()
    settings = pipe.resolve(AnimateSettings())
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        pipe.to("cpu")
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                moved(part, torch.empty_like)
        pipe.enable_model_cpu_offload(device="cuda")
        on = pipe._execution_device
        assert on.type == "cuda" and pipe.unet.device.type == "cpu"
        first = pipe._encoded([Image.new("RGB", (32, 32))], (32, 32), [None])
        pipe._offload(pipe.vae)
        assert pipe.vae.device.type == "cpu"
        embeds = torch.empty(1, pipe.tokenizer.model_max_length + 1, pipe.unet.config.cross_attention_dim, device=on)
        condition = pipe._condition(first, [settings], torch.arange(4, device=on) * 1.0, embeds, embeds)
        z_t, t, alpha_bar = torch.empty(2, 4, 4, 16, 16, device=on), torch.full((2,), 500, device=on), torch.full((2,), 0.5, device=on)
        for _ in range(2):
            eps = Denoiser(pipe.unet, pipe.fusion)(z_t, t, alpha_bar, condition).eps
            assert {pipe.unet.device.type, pipe.fusion.device.type} == {"cuda"}  # both stay from step to step
        assert decode_video(pipe.vae, eps[:1], device=on).device.type == "cuda"
        assert pipe.unet.device.type == "cpu"


def test_attention_in_slices_and_whole_again(photo):
    pipe = fresh()
    wanted, processors = pipe(photo, **CALL, generator=seeded()).frames, {type(one) for one in pipe.unet.attn_processors.values()}
    for size in (1, 2, "auto", "max"):
        pipe.enable_attention_slicing(size)
        assert {type(one) for one in pipe.unet.attn_processors.values()} != processors
        assert most_different(pipe(photo, **CALL, generator=seeded()).frames, wanted) < 1e-3
    pipe.disable_attention_slicing()
    assert {type(one) for one in pipe.unet.attn_processors.values()} == processors
    assert np.array_equal(pipe(photo, **CALL, generator=seeded()).frames, wanted)
    pipe.unet.set_default_attn_processor()
    assert {type(one) for one in pipe.unet.attn_processors.values()} == processors


def test_the_autoencoder_in_slices_and_tiles(photo):
    pipe = fresh()
    wanted = pipe([photo, photo], **CALL, generator=seeded()).frames
    pipe.enable_vae_slicing()
    assert pipe.vae.use_slicing and most_different(pipe([photo, photo], **CALL, generator=seeded()).frames, wanted) < 1e-2
    pipe.disable_vae_slicing()
    pipe.enable_vae_tiling()
    assert pipe.vae.use_tiling and most_different(pipe([photo, photo], **CALL, generator=seeded()).frames, wanted) < 0.5
    pipe.disable_vae_tiling()
    assert not pipe.vae.use_slicing and not pipe.vae.use_tiling
    assert np.array_equal(pipe([photo, photo], **CALL, generator=seeded()).frames, wanted)


def test_fused_projections_and_freeu_come_and_go(photo):
    pipe = fresh()
    wanted = pipe(photo, **CALL, generator=seeded()).frames
    pipe.fuse_qkv_projections()
    assert most_different(pipe(photo, **CALL, generator=seeded()).frames, wanted) < 1e-2
    pipe.unfuse_qkv_projections()
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    assert most_different(pipe(photo, **CALL, generator=seeded()).frames, wanted) > 1e-3
    pipe.disable_freeu()
    assert most_different(pipe(photo, **CALL, generator=seeded()).frames, wanted) < 1e-4


@pytest.mark.parametrize("variant", ["trip", "trip-w"])
def test_weights_in_eight_bits(photo, variant):
    pipe = make_pipeline(TOLD.model_copy(update={"variant": variant}))
    pipe.set_progress_bar_config(disable=True)
    pipe.to(dtype=torch.bfloat16)
    assert {part.dtype for part in pipe.components.values() if isinstance(part, torch.nn.Module)} == {torch.bfloat16}
    wanted = pipe(photo, **CALL, generator=seeded()).frames
    for part in (pipe.unet, pipe.fusion):
        part.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    assert pipe.unet.conv_in.weight.dtype == torch.float8_e4m3fn
    assert np.abs(pipe(photo, **CALL, generator=seeded()).frames - wanted).mean() < 0.05
