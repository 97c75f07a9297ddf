"""What a sentence alone decides about the motion is learnt from sentences, and the words stay near what they were."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from trip.data.motion import PLACES_SIDE, camera_at, draw
from trip.data.photos import Photo
from trip.data.prompts import MOTIONS, Motion, moves_scene
from trip.model.build import build_text_encoder
from trip.model.text import train_tokenizer
from trip.model.warp import PhotoWarp
from trip.settings import PRESETS, StageSettings
from trip.training.loop import step_generator, train
from trip.training.stages.sentences import SentenceStage
from trip.training.stages.text import draw_captions

PIXELS = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
PHOTOS = [Photo("a", PIXELS, "a red house", "building"), Photo("b", PIXELS, "a lake", "water")]
SETTINGS = StageSettings(max_steps=150, batch_size=32, learning_rate=1e-2, ema_decay=0.9, sample_every=1000, save_every=1000)


@pytest.fixture
def stage() -> SentenceStage:
    torch.manual_seed(0)
    captions = [caption for caption, _ in draw_captions(PHOTOS, 500, np.random.default_rng(0))]
    tiny = PRESETS["tiny"].model
    tokenizer = train_tokenizer(captions, vocabulary=600, max_tokens=24)
    text = tiny.text.model_copy(update={"max_tokens": 24})
    encoder = build_text_encoder(tiny.model_copy(update={"text": text}), len(tokenizer))
    return SentenceStage(encoder, PhotoWarp(4, text.width), tokenizer, PHOTOS, PHOTOS, SETTINGS, seed=0)


@pytest.mark.parametrize("name", [name for name, kind in MOTIONS.items() if kind.camera and "parallax" not in name])
def test_the_camera_of_the_sentence_is_the_clips(name):
    motions = (Motion(name, 1.6),)
    matrix, follows = camera_at(motions, 16.0)
    places = draw(PIXELS, motions, np.array([0.0, 16.0]), 32, np.random.default_rng(1)).places
    first, last = (np.concatenate([frame.reshape(-1, 2), np.ones((PLACES_SIDE**2, 1))], axis=1) for frame in places)
    assert follows and np.allclose(last[:, :2], first @ matrix.T, atol=1e-4)


def test_what_goes_another_way_than_the_camera_is_known():
    for name in MOTIONS:
        motions = (Motion("pan_left"), Motion(name))
        places = draw(PIXELS, motions, np.array([0.0, 5.0]), 32, np.random.default_rng(1)).places
        matrix, _ = camera_at(motions, 5.0)
        first = np.concatenate([places[0].reshape(-1, 2), np.ones((PLACES_SIDE**2, 1))], axis=1)
        if np.abs(places[1].reshape(-1, 2) - first @ matrix.T).max() > 1e-3:
            assert moves_scene(motions), name
    assert not moves_scene((Motion("zoom_in"), Motion("snow"))) and moves_scene((Motion("parallax_left"),))


def test_a_camera_that_leads_to_the_true_places_costs_nothing(stage):
    still = torch.zeros(2, 16)  # `camera` and `moves` begin at zero: nothing moves, and nobody knows
    distance, entropy, _ = stage._errors(still, torch.eye(3)[:2].expand(2, -1, -1), torch.zeros(2))
    assert distance.max() < 1e-4 and entropy.item() == pytest.approx(np.log(2))
    aside = torch.tensor([[[1.0, 0, 0.25], [0, 1, 0]], [[1.0, 0, 0], [0, 1, -9]]])
    distance, *_ = stage._errors(still, aside, torch.zeros(2))
    assert distance.tolist() == pytest.approx([0.25, 9], abs=1e-4)


def test_it_learns_and_says_how_far_the_words_went(stage, tmp_path):
    before, words = stage.evaluate(), deepcopy(stage.encoder)
    records = list(train(stage, SETTINGS, tmp_path, tmp_path / "metrics.jsonl", seed=0, accelerator=Accelerator(), evaluate=stage.evaluate))
    after = stage.evaluate()
    assert after["held_out_loss"] < 0.9 * before["held_out_loss"] and after["moves_read_right"] > before["moves_read_right"]
    tokens = stage.batch(99, 0, 1).tokens
    with torch.no_grad():
        changed = (stage.encoder(tokens).last_hidden_state - words(tokens).last_hidden_state).square().mean().item()
    _, figures = stage.loss(stage.model, stage.batch(99, 0, 1), step_generator(0, 0, 0))
    assert records[0]["changed"] == 0 and figures["changed"] == pytest.approx(changed, rel=1e-4) and changed > 0
