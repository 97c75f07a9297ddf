"""The photo moves as a motion would take it."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from trip.model.build import build_vae
from trip.model.latents import encode_video
from trip.model.warp import (
    CYCLES,
    GLOBAL_CHANNELS,
    MAX_AMPLITUDE,
    MAX_DISPLACEMENT,
    NOISE_SCALES,
    REFERENCE_FRAMES,
    SCALE_CHANNELS,
    SCENE_SIDE,
    MotionField,
    PhotoWarp,
    Waves,
    _scene_noise,
    encoded_after_moving,
    moved,
    places_of,
    scene_shape,
)
from trip.settings import PRESETS

REFERENCE = float(REFERENCE_FRAMES)


@pytest.fixture
def photo() -> torch.Tensor:
    return torch.randn(1, 4, 6, 10, generator=torch.Generator().manual_seed(0))


def field_with(camera: dict[tuple[int, int], float] | None = None, scene: dict[int, float] | None = None) -> MotionField:
    """A motion with these entries: (axis, factor of x, y or 1) -> value; channel of d_1, d_2 and rate -> value everywhere."""
    generator, ways = torch.zeros(1, 3, 3), torch.zeros(1, 5, 4, 4)
    for where, value in (camera or {}).items():
        generator[0][where] = value
    for channel, value in (scene or {}).items():
        ways[:, channel] = value
    return MotionField(generator, ways)


def frames_of(photo: torch.Tensor, field: MotionField, *times: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames f c h w, and the share with which they are seen f h w."""
    out = moved(photo, field, torch.tensor([times]))[0].movedim(0, 1)
    return out[:, :-1], out[:, -1]


@torch.no_grad()
def test_nothing_moves_at_first(photo):
    frames, seen = frames_of(photo, PhotoWarp(4, 8)(photo, torch.randn(1, 8)), 0, 7, 15)
    assert torch.allclose(frames, photo.expand(3, -1, -1, -1), atol=1e-5) and (seen > 0.98).all() and (seen[0] == 1).all()


@pytest.mark.parametrize("right, down", [(2, 0), (0, -1), (-3, 2)])
@pytest.mark.parametrize("part", ["camera", "scene"])
def test_a_pan_shows_the_place_beside_and_says_what_lies_outside(photo, right, down, part):
    height, width = photo.shape[2:]
    shift = [2 * right / min(height, width), 2 * down / min(height, width)]
    field = field_with(camera={(0, 2): shift[0], (1, 2): shift[1]}) if part == "camera" else field_with(scene=dict(enumerate(shift)))
    frames, seen = frames_of(photo, field, REFERENCE)
    y, x = torch.meshgrid(torch.arange(height) + down, torch.arange(width) + right, indexing="ij")
    wanted = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    assert torch.equal(seen[0].bool(), wanted)
    assert torch.allclose(frames[0][:, wanted], photo[0][:, y[wanted], x[wanted]], atol=1e-4)


def test_the_scene_moves_with_time_and_with_its_square(photo):
    one_cell = 2 / min(photo.shape[2:])
    steady, growing = (frames_of(photo, field_with(scene={channel: one_cell}), 0, REFERENCE, 2 * REFERENCE)[0] for channel in (0, 2))
    assert torch.allclose(steady[2, ..., :-2], photo[0, ..., 2:], atol=1e-4)
    assert torch.allclose(growing[1], steady[1], atol=1e-4)
    assert torch.allclose(growing[2, ..., :-4], photo[0, ..., 4:], atol=1e-4)


def test_the_clean_photo_is_not_moved(photo):
    frames, _ = frames_of(photo, field_with(camera={(0, 2): 1.0}), -1, 0)
    assert torch.allclose(frames, photo.expand(2, -1, -1, -1), atol=1e-5)


def test_a_steady_zoom_multiplies_and_a_roll_turns():
    """The flow of a generator: twice the time is twice the factor's exponent, twice the angle, and the way back is a minus."""
    zoom, roll = field_with(camera={(0, 0): 0.5, (1, 1): 0.5}), field_with(camera={(0, 1): -0.3, (1, 0): 0.3})
    places, times = places_of(5, 8, torch.device("cpu")), torch.tensor([[REFERENCE, 2 * REFERENCE]])
    for exponent, (grown, turned) in enumerate(zip(zoom.at(times, 5, 8)[0][0], roll.at(times, 5, 8)[0][0], strict=True), start=1):
        assert torch.allclose(grown, places * torch.tensor(0.5 * exponent).exp(), atol=1e-5)
        angle = torch.tensor(0.3 * exponent)
        matrix = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
        assert torch.allclose(turned, places @ matrix.T, atol=1e-5)


def test_the_scene_belongs_to_the_photo_and_travels_with_it():
    """A patch that moves by itself is found where the camera has taken it."""
    scene = torch.zeros(1, 5, 24, 24)
    scene[:, 0, :, 12:] = 0.25  # the right half of the photo
    field = MotionField(field_with(camera={(0, 2): 0.5}).camera, scene)
    places, _ = field.at(torch.tensor([[REFERENCE]]), 24, 24)
    own = places[0, 0, 12, :, 0] - places_of(24, 24, torch.device("cpu"))[12, :, 0] - 0.5
    assert torch.allclose(own[7:], torch.tensor(0.25), atol=1e-5) and torch.allclose(own[:5], torch.tensor(0.0), atol=1e-5)


def test_what_fades_from_view_says_so_by_its_rate(photo):
    _, seen = frames_of(photo, field_with(scene={4: 0.7}), 0, REFERENCE, 2 * REFERENCE)
    assert torch.allclose(seen, torch.exp(torch.tensor([0.0, -0.7, -1.4])).view(3, 1, 1).expand_as(seen))


def test_an_enlarged_field_is_the_same_motion():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 5, 4, 4, generator=generator), (24, 24), mode="bicubic").clamp(min=0)
    field = MotionField(field_with(camera={(0, 1): 0.2}).camera, smooth)
    times = torch.tensor([[5.0]])
    for coarse, fine in zip(field.at(times, 30, 40), field.enlarged(4).at(times, 30, 40), strict=True):
        assert torch.allclose(coarse, fine, atol=0.02)


def test_a_scene_that_does_not_move_leaves_the_camera_rigid(photo):
    scene = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(0)).abs()
    field = MotionField(torch.zeros(2, 3, 3), scene, moves=torch.tensor([-1.0, 1.0]))
    places, seen = field.at(torch.tensor([[REFERENCE]]).expand(2, 1), 6, 10)
    still = places_of(6, 10, torch.device("cpu"))
    assert torch.equal(places[0, 0], still) and (places[1, 0] != still).any()
    assert (seen < 1).all(), "what fades from view does so in any case"
    for index in range(2):
        alone = field.of(index).at(torch.tensor([[REFERENCE]]), 6, 10)
        assert torch.equal(alone[0][0], places[index]) and torch.equal(alone[1][0], seen[index])
        assert field.of(index).waves is None, "nothing is left to chance here"


@torch.no_grad()
def test_the_scene_is_found_on_a_grid_of_one_size():
    warp = PhotoWarp(4, 8)
    assert warp(torch.randn(1, 4, 32, 48), torch.randn(1, 8)).scene.shape[2:] == (SCENE_SIDE, 36)
    assert warp(torch.randn(2, 4, 12, 12), torch.randn(2, 8)).scene.shape[2:] == (SCENE_SIDE, SCENE_SIDE)


@torch.no_grad()
def test_a_sentence_that_was_never_learnt_throws_nothing_far_away():
    warp = PhotoWarp(4, 8)
    torch.nn.init.normal_(warp.scene[-1].weight, std=1.0)
    ways = warp(torch.randn(2, 4, 24, 24), 50 * torch.randn(2, 8)).scene[:, :4]
    assert ways.abs().max() <= MAX_DISPLACEMENT and (ways.abs() > 0.9 * MAX_DISPLACEMENT).any()
    torch.nn.init.normal_(warp.scene[-1].weight, std=1e-3)
    small = warp(torch.randn(2, 4, 24, 24), torch.randn(2, 8)).scene[:, :4]
    assert 0 < small.abs().max() < 0.1


def test_motion_is_learnt_from_the_true_places(photo):
    """A few steps find a shift."""
    torch.manual_seed(0)
    warp, sentence, time = PhotoWarp(4, 8), torch.ones(1, 8), torch.tensor([[REFERENCE]])
    true = places_of(6, 10, torch.device("cpu")) + torch.tensor([0.4, -0.2])
    optimizer = torch.optim.AdamW(warp.parameters(), lr=3e-3)
    errors = []
    for _ in range(60):
        error = (warp(photo, sentence).at(time, 6, 10)[0][0, 0] - true).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.1 * errors[0]


def test_waves_come_and_go_and_come_home(photo):
    """One frequency alone: a sine ends each cycle where it began, a cosine is farthest after half of one."""
    waves = torch.zeros(1, 8, 4, 4)
    waves[:, 0], waves[:, 7] = 0.2, 0.1  # x of the first sine, half a cycle; y of the second cosine, a whole cycle
    field = replace(field_with(), waves=waves)
    times = REFERENCE * torch.tensor([[0.0, 0.5, 1.0, 2.0]])
    way = field.at(times, 6, 10)[0][0] - places_of(6, 10, torch.device("cpu"))
    assert torch.allclose(way[:, 3, 5], torch.tensor([[0, 0], [0.2, -0.2], [0, 0], [0, 0]]), atol=1e-5)
    fine = field.enlarged(2).at(times, 6, 10)[0][0]
    assert torch.allclose(fine - places_of(6, 10, torch.device("cpu")), way, atol=1e-5)
    quiet = replace(field, moves=torch.tensor([-1.0]))
    assert torch.equal(quiet.at(times, 6, 10)[0], field_with().at(times, 6, 10)[0]) and quiet.largest_displacement == 0
    assert (
        torch.equal(field.of(0).at(times, 6, 10)[0][0], way + places_of(6, 10, torch.device("cpu"))) and field.largest_displacement == 0.2
    )


@pytest.mark.parametrize("channel", range(8))
def test_each_channel_of_the_waves_is_one_axis_of_one_sine_or_cosine(channel):
    """x and y of a_1, of b_1, of a_2, of b_2."""
    waves, places = torch.zeros(1, 8, 4, 4), places_of(6, 10, torch.device("cpu"))
    waves[:, channel] = 0.1
    time, wanted = 0.3, torch.zeros(2)
    phase = torch.tensor(2 * torch.pi * CYCLES * (1 + channel // 4) * time)
    wanted[channel % 2] = 0.1 * (phase.cos() - 1 if channel // 2 % 2 else phase.sin())
    way = replace(field_with(), waves=waves).at(torch.tensor([[time * REFERENCE]]), 6, 10)[0][0, 0] - places
    assert torch.allclose(way, wanted.expand_as(way), atol=1e-5)


@torch.no_grad()
def test_noise_decides_the_waves_and_nothing_else(photo):
    torch.manual_seed(0)
    warp, sentence = PhotoWarp(4, 8, frequencies=3), torch.randn(1, 8)
    noise = warp.draw_noise(*photo.shape[2:], [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)])
    assert torch.equal(noise[0], noise[1]) and not torch.equal(noise[0], noise[2])
    assert warp(photo, sentence, noise[:1]).waves.shape == (1, 12, 24, 40) and not warp(photo, sentence, noise[:1]).waves.any()
    torch.nn.init.normal_(warp.waves.pattern[-1].weight)
    fields = [warp(photo, sentence, one[None]) for one in noise]
    assert torch.equal(fields[0].waves, fields[1].waves) and not torch.allclose(fields[0].waves, fields[2].waves)
    assert torch.equal(fields[0].scene, fields[2].scene) and torch.equal(fields[0].camera, fields[2].camera)
    assert warp(photo, sentence).waves is None and fields[0].waves.abs().max() <= MAX_AMPLITUDE
    assert PhotoWarp(4, 8).draw_noise(6, 10, [torch.Generator()]) is None


@torch.no_grad()
def test_pixels_are_moved_and_then_encoded():
    """A pan by pixels that are no whole cell: the latents are those of the moved picture, not of latents between cells."""
    torch.manual_seed(0)
    vae, photo = build_vae(PRESETS["tiny"].model), torch.rand(1, 3, 32, 48) * 2 - 1  # 2 pixels a cell
    pan = field_with(camera={(0, 2): 2 * 3 / 32})
    out = encoded_after_moving(vae, photo, pan, torch.tensor([[-1.0, 0.0, REFERENCE]]))
    pictures = torch.stack([photo[0], photo[0], F.pad(photo, (0, 3, 0, 0), mode="replicate")[0, :, :, 3:]], dim=1)
    assert out.shape == (1, 5, 3, 16, 24)
    assert torch.allclose(out[:, :4], encode_video(vae, pictures[None]), atol=1e-3)
    assert (out[0, 4, :2] == 1).all() and (out[0, 4, 2, :, :22] == 1).all()  # three pixels of what is shown lie outside
    assert out[0, 4, 2, 0, 22:].tolist() == [0.5, 0.0]


@torch.no_grad()
def test_waves_see_a_sentence_by_how_far_it_is_from_the_usual_one():
    torch.manual_seed(0)
    waves, sentences = Waves(4, 8, 16, frequencies=2), 3 + 0.1 * torch.randn(50, 8)
    torch.nn.init.normal_(waves.pattern[-1].weight, std=0.1)
    seen, noise = torch.randn(1, 6, 6, 6), torch.randn(1, GLOBAL_CHANNELS + SCALE_CHANNELS * len(NOISE_SCALES), 6, 6)
    waves.set_sentence_statistics(sentences)
    assert torch.allclose(waves.sentence_mean, sentences.mean(dim=0)) and waves.sentence_spread.item() == pytest.approx(0.1, rel=0.1)
    learnt = waves(seen, sentences[:1], noise)
    usual = Waves(4, 8, 16, frequencies=2)  # to which sentences come as they are
    usual.load_state_dict(waves.state_dict() | {"sentence_mean": torch.zeros(8), "sentence_spread": torch.ones(())})
    assert torch.allclose(usual(seen, (sentences[:1] - sentences.mean(dim=0)) / waves.sentence_spread, noise), learnt, atol=1e-6)
    assert (usual(seen, sentences[:1], noise) - learnt).abs().max() > 1e-4


@torch.no_grad()
def test_waves_are_an_envelope_of_photo_and_sentence_times_a_pattern_of_noise_and_sentence():
    """The envelope has two values a frequency, x and y of sine and cosine alike; the pattern has all four."""
    torch.manual_seed(0)
    waves, sentence = Waves(4, 8, 16, frequencies=3), torch.randn(2, 8)
    torch.nn.init.normal_(waves.pattern[-1].weight, std=0.5)
    seen, noise = torch.randn(2, 6, 5, 7), torch.randn(2, GLOBAL_CHANNELS + SCALE_CHANNELS * len(NOISE_SCALES), 5, 7)
    scale, shift, scale_of_noise, shift_of_noise = waves.modulation(sentence).view(2, 64, 1, 1).split(16, dim=1)
    envelope = F.softplus(waves.envelope(waves.content(seen) * (1 + scale) + shift))
    pattern = waves.pattern(waves.noise(noise) * (1 + scale_of_noise) + shift_of_noise)
    got = waves(seen, sentence, noise)
    for channel in range(12):
        amplitude = envelope[:, 2 * (channel // 4) + channel % 2] * pattern[:, channel]
        assert torch.allclose(got[:, channel], MAX_AMPLITUDE * torch.tanh(amplitude / MAX_AMPLITUDE), atol=1e-6)


@torch.no_grad()
def test_a_photo_of_any_size_is_seen_as_its_reduction_to_the_scenes_grid():
    torch.manual_seed(0)
    warp, photo, sentence = PhotoWarp(4, 8), torch.randn(1, 4, 60, 90), torch.randn(1, 8)
    torch.nn.init.normal_(warp.scene[-1].weight, std=0.1)
    reduced = F.interpolate(photo, (SCENE_SIDE, 36), mode="bilinear", antialias=True)
    assert torch.allclose(warp(photo, sentence).scene, warp(reduced, sentence).scene, atol=1e-5)


def test_noise_of_a_scene_is_smooth_over_its_scales_and_alike_in_all_cells_for_some():
    noise = _scene_noise(24, 32, torch.Generator().manual_seed(0))
    assert noise.shape == (1, GLOBAL_CHANNELS + SCALE_CHANNELS * len(NOISE_SCALES), 24, 32)
    assert (noise[:, :GLOBAL_CHANNELS] == noise[:, :GLOBAL_CHANNELS, :1, :1]).all()
    many = torch.stack([_scene_noise(24, 32, torch.Generator().manual_seed(seed))[0] for seed in range(20)])
    step = [
        many[:, first : first + 2].diff(dim=3).square().mean().item() for first in range(GLOBAL_CHANNELS, many.shape[1], SCALE_CHANNELS)
    ]
    assert step[0] == pytest.approx(2, rel=0.1)  # neighbours know nothing of each other
    assert all(coarser < 0.45 * finer for finer, coarser in pairwise(step))


def test_a_scene_at_the_edge_between_moving_and_not_stays():
    scene = torch.full((1, 5, 4, 4), 0.3)
    field = MotionField(torch.zeros(1, 3, 3), scene, moves=torch.zeros(1))
    assert torch.equal(field.at(torch.tensor([[REFERENCE]]), 6, 10)[0][0, 0], places_of(6, 10, torch.device("cpu")))
    assert field.largest_displacement == 0


@torch.no_grad()
def test_what_the_warp_says_of_a_sentence_is_its_layers(photo):
    """Scale and shift by the sentence, on what photo and places give; half of the waves' layers see them alike."""
    torch.manual_seed(0)
    warp, sentence = PhotoWarp(4, 8), torch.randn(1, 8)
    for layer in (warp.scene[-1], warp.camera[-1]):
        torch.nn.init.normal_(layer.weight, std=0.1)
    photo = F.interpolate(photo, scene_shape(6, 10))  # of the size that it sees
    field = warp(photo, sentence)
    seen = torch.cat([photo, places_of(*photo.shape[2:], photo.device).permute(2, 0, 1)[None]], dim=1)
    scale, shift = warp.modulation(sentence).view(1, 128, 1, 1).split(64, dim=1)
    found = warp.scene(warp.content(seen) * (1 + scale) + shift)
    assert torch.allclose(field.scene[:, :4], MAX_DISPLACEMENT * torch.tanh(found[:, :4] / MAX_DISPLACEMENT), atol=1e-5)
    assert torch.allclose(field.scene[:, 4:], F.softplus(found[:, 4:]), atol=1e-5)
    assert torch.allclose(field.camera[0, :2].flatten(), warp.camera(sentence)[0], atol=1e-6) and not field.camera[0, 2].any()
