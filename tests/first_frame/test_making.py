"""From settings to pictures with the real pipeline classes: what is made, in what shape, and that a seed makes it again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trip.first_frame.drawing import Step
from trip.first_frame.making import Made, Makery
from trip.model_cache import Shelf
from trip.pipeline import Interrupted
from trip.settings import ControlSettings, EditSettings, PaintSettings

QUICK = {"size": 64, "num_steps": 2, "seed": 3}


@pytest.fixture
def make(models: Path, shelf: Shelf) -> Callable[..., Made]:
    """Makes pictures and says nothing."""
    return Makery(models, lambda step: None, anywhere=True).make


def painted(make: Callable[..., Made], **settings) -> Made:
    return make(PaintSettings.checked(**{"prompt": "a red house"} | QUICK | settings))


def pixels(made: Made, index: int = 0) -> np.ndarray:
    return np.asarray(made.pictures.pictures[index].image).astype(int)


@pytest.mark.parametrize("name", ["sdxl", "sdxl-turbo", "sdxl-lightning-4", "sd15"])
def test_each_painter_paints(make, name):
    made = painted(make, picture_model=name)
    assert made.pictures.pictures[0].image.size == (64, 64) and made.pictures.notes == []
    assert set(made.seconds) == {"open", "paint"}


def test_what_is_left_open_is_as_the_model_was_made_for(make):
    turbo, lightning = (painted(make, picture_model=name, num_steps=None).settings for name in ("sdxl-turbo", "sdxl-lightning-4"))
    assert (turbo.num_steps, turbo.guidance_scale) == (2, 1)
    assert (lightning.num_steps, lightning.guidance_scale) == (4, 1)


def test_lightning_has_its_own_unet_and_sampler(make, shelf):
    painted(make, picture_model="sdxl-lightning-4")
    painted(make, picture_model="sdxl")
    fast, base = (shelf._opened[key].model for key in shelf)
    assert fast.scheduler.config.timestep_spacing == "trailing" != base.scheduler.config.timestep_spacing
    assert not np.allclose(fast.unet.conv_in.weight.detach(), base.unet.conv_in.weight.detach())


def test_every_candidate_can_be_painted_again_alone(make):
    both = painted(make, num_pictures=2)
    assert [picture.seed for picture in both.pictures.pictures] == [3, 4]
    assert np.array_equal(pixels(both, 1), pixels(painted(make, seed=4)))
    assert not np.array_equal(pixels(both, 0), pixels(both, 1))


def test_a_seed_that_is_left_open_is_drawn_and_told(make):
    one, other = (painted(make, seed=None).settings.seed for _ in range(2))
    assert one != other


def test_an_aspect_keeps_the_number_of_pixels(make):
    width, height = painted(make, aspect="16:9").pictures.pictures[0].image.size
    assert width / height == pytest.approx(16 / 9, rel=0.1) and width * height == pytest.approx(64 * 64, rel=0.1)


def test_the_refiner_finishes_the_picture(make):
    told = []
    makery = Makery(make.__self__.models, told.append)
    made = makery.make(PaintSettings.checked(prompt="a red house", refine=True, **QUICK | {"num_steps": 5}))
    assert set(made.seconds) == {"open", "paint", "refine"}
    assert not np.array_equal(pixels(made), pixels(painted(make, num_steps=5)))
    assert [step.fraction for step in told] == sorted(step.fraction for step in told) and told[-1].fraction == 1


@pytest.mark.parametrize(
    "settings, said", [({"num_steps": 3}, "at least 5 steps"), ({"picture_model": "sd15", "num_steps": 5}, "another kind")]
)
def test_refining_what_cannot_be_refined_is_refused(make, settings, said):
    with pytest.raises(ValueError, match=said):
        painted(make, refine=True, **settings)


@pytest.mark.parametrize("name", ["ip2p", "ip2p-xl"])
def test_each_editor_edits_in_the_shape_of_the_photo(make, landscape, name):
    made = make(EditSettings.checked(instruction="make it winter", picture_model=name, **QUICK), landscape)
    width, height = made.pictures.pictures[0].image.size
    assert width / height == pytest.approx(1.5, rel=0.1)
    assert made.settings.image_guidance == 1.5


def test_image_guidance_counts(make, landscape):
    weak, strong = (make(EditSettings.checked(instruction="winter", image_guidance=g, **QUICK), landscape) for g in (1, 5))
    assert not np.array_equal(pixels(weak), pixels(strong))


@pytest.mark.parametrize("base", ["sd15", "sdxl"])
def test_a_control_map_counts_on_either_base(make, landscape, base):
    settings = ControlSettings.checked(prompt="a tiger", picture_model=base, **QUICK)
    made = make(settings, landscape)
    off = make(settings.model_copy(update={"strength": 0.0}), landscape)
    assert made.pictures.map.size == made.pictures.pictures[0].image.size == (80, 56)
    assert np.asarray(made.pictures.map).max() > 200
    assert not np.array_equal(pixels(made), pixels(off))


def test_a_map_of_another_shape_is_stretched_and_told(make, landscape):
    made = make(ControlSettings.checked(prompt="a tiger", **QUICK), landscape, Image.new("RGB", (60, 60), "white").convert("RGB"))
    assert made.pictures.map.size == (80, 56)
    assert any("60 × 60" in note and "stretched" in note for note in made.pictures.notes)


def test_a_photo_that_is_a_map_already_is_used_as_it_is(make, landscape):
    made = make(ControlSettings.checked(prompt="a tiger", is_map=True, **QUICK), landscape)
    expected = np.asarray(landscape.resize((80, 56), Image.Resampling.BILINEAR))
    assert np.array_equal(np.asarray(made.pictures.map), expected) and made.pictures.notes == []


def test_a_photo_in_which_nothing_is_found_is_told_and_its_map_given(make):
    made = make(ControlSettings.checked(prompt="a tiger", **QUICK), Image.new("RGB", (64, 64), "grey"))
    assert made.pictures.notes == [
        "Canny edges: no edges were found, the map is empty; lower its thresholds or choose another annotator or photo"
    ]
    assert not np.asarray(made.pictures.map).any() and made.pictures.pictures


@pytest.mark.parametrize(
    "settings",
    [
        PaintSettings.checked(prompt="a red house " * 60, negative_prompt="blur " * 90, **QUICK),
        EditSettings.checked(instruction="make it winter " * 60, **QUICK),
        ControlSettings.checked(prompt="a red house " * 60, **QUICK),
    ],
    ids=lambda settings: type(settings).__name__,
)
def test_words_that_the_encoder_does_not_read_are_told(make, landscape, settings):
    notes = make(settings, landscape).pictures.notes
    assert len(notes) == (2 if settings.negative_prompt else 1)
    assert all("not read: “" in note and "75 tokens" in note and len(note) < 400 for note in notes)


def test_no_words_are_missed_in_a_prompt_that_fits(make):
    assert painted(make, prompt="a red house under a blue sky").pictures.notes == []


@pytest.mark.parametrize("name", ["sdxl", "ip2p-xl"])
def test_a_picture_is_stopped_within_one_step_and_the_next_is_sound(models, shelf, landscape, name):
    """The SDXL editor has another kind of callback than the others."""
    steps: list[Step] = []

    def tell(step: Step) -> None:
        if "step" in step.words:
            steps.append(step)
            raise Interrupted("enough")

    kind = EditSettings if "ip2p" in name else PaintSettings
    words = {"instruction" if "ip2p" in name else "prompt": "a red house"}
    settings = kind.checked(picture_model=name, **words, **QUICK)
    with pytest.raises(Interrupted):
        Makery(models, tell).make(settings.model_copy(update={"num_steps": 200}), landscape)
    assert len(steps) == 1 and steps[0].preview.ndim == 3
    again = [Makery(models, lambda step: None).make(settings, landscape) for _ in range(2)]
    assert np.array_equal(pixels(again[0]), pixels(again[1]))


@pytest.mark.parametrize("kind", [EditSettings, ControlSettings])
def test_without_a_photo_nothing_is_made(make, kind):
    with pytest.raises(ValueError, match="there is no photo yet"):
        make(kind.checked(**QUICK))


def test_an_edit_needs_an_instruction(make, landscape):
    with pytest.raises(ValueError, match="no instruction yet"):
        make(EditSettings.checked(instruction="  ", **QUICK), landscape)


@pytest.mark.parametrize(
    "schema, settings, said",
    [
        (PaintSettings, {"guidance_scale": 31}, "Guidance must be a number from 1 to 30"),
        (PaintSettings, {"num_pictures": 100}, "Pictures must be a whole number from 1 to 8"),
        (EditSettings, {"image_guidance": 0.5}, "Image guidance must be a number from 1 to 5"),
        (ControlSettings, {"annotator": "x-ray"}, "Annotator must be canny or hed"),
        (ControlSettings, {"start": 0.6, "end": 0.5}, "End must be above Start"),
        (ControlSettings, {"low": 200, "high": 100}, "Canny, high must be above Canny, low"),
        (ControlSettings, {"strength": "nan"}, "Strength"),
    ],
)
def test_settings_out_of_range_are_refused(schema, settings, said):
    with pytest.raises(ValueError, match=said):
        schema.checked(**settings)
