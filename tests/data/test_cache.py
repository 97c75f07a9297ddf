"""Encoded clips are made once, in an order that the seed alone decides, and never mixed with others."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from trip.data import cache
from trip.data.cache import LatentCache, Sample, data_digest, digest, draw_moments, draw_sample, encode_cache
from trip.data.clips import ClipFile
from trip.data.photos import Photo

KEY = {"vae": "abc", "size": 8}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(cache, "SHARD_SIZE", 3)


def draw(rng: np.random.Generator) -> Sample:
    return Sample(rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8), np.arange(4), f"clip {rng.integers(1000)}")


def fill(folder, *, num_clips=7, seed=0, key=KEY, encode=lambda video: video):
    return list(encode_cache(folder, draw, encode, num_clips=num_clips, seed=seed, key=key))


def test_clips_come_back_with_their_times_and_captions(tmp_path):
    assert fill(tmp_path) == [(3, 7), (6, 7), (7, 7)]
    clips = LatentCache(tmp_path)
    assert len(clips) == 7 and clips.latents.shape == (7, 3, 4, 8, 8) and clips.latents.dtype == torch.float16
    assert torch.equal(clips.times, torch.arange(4.0).expand(7, -1))
    wanted = draw(np.random.default_rng([0, 5]))
    assert clips.captions[5] == wanted.caption
    assert torch.allclose(clips.latents[5].permute(1, 2, 3, 0).float(), torch.from_numpy(wanted.frames) / 127.5 - 1, atol=1e-3)


def test_a_cache_that_was_left_half_way_goes_on(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fill(whole)
    next(encode_cache(broken, draw, lambda video: video, num_clips=7, seed=0, key=KEY))
    (broken / "clips-0000003.partial").write_bytes(b"half of a shard")
    encoded = []
    fill(broken, encode=lambda video: encoded.append(1) or video)
    assert len(encoded) == 4  # the first shard is not made again
    assert torch.equal(LatentCache(broken).latents, LatentCache(whole).latents)
    assert LatentCache(broken).captions == LatentCache(whole).captions


@pytest.mark.parametrize("other", [{"vae": "xyz", "size": 8}, {"vae": "abc", "size": 16}, {"vae": "abc"}])
def test_a_cache_of_another_key_is_refused(tmp_path, other):
    fill(tmp_path)
    with pytest.raises(ValueError) as caught:
        fill(tmp_path, key=other)
    message = str(caught.value)
    assert tmp_path.name in message and "abc" in message and "\n" not in message
    assert len(LatentCache(tmp_path)) == 7


def test_a_cache_knows_what_it_was_made_of(tmp_path):
    fill(tmp_path)  # by a version that did not name its data
    fill(tmp_path, key={**KEY, "data": "one"})
    with pytest.raises(ValueError, match="delete the folder"):
        fill(tmp_path, key={**KEY, "data": "another"})


def test_the_digest_of_data_changes_with_pixels_and_words_and_with_nothing_else(tmp_path):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    (tmp_path / "a.mp4").write_bytes(b"film")
    photo, clip = Photo("a.jpg", pixels, "a thing", "sea"), ClipFile(tmp_path / "a.mp4", "it moves")
    first = data_digest([photo], [clip])
    assert data_digest([replace(photo, pixels=pixels.copy())], [replace(clip)]) == first
    others = [
        data_digest([replace(photo, caption="another")], [clip]),
        data_digest([replace(photo, pixels=pixels[::-1])], [clip]),
        data_digest([photo, photo], [clip]),
        data_digest([photo], [replace(clip, caption="it stands")]),
        data_digest([photo], []),
    ]
    (tmp_path / "a.mp4").write_bytes(b"FILM")
    assert len({first, *others, data_digest([photo], [clip])}) == 7


def test_an_empty_cache_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"wanted encoded clips, found none; encode some first$"):
        LatentCache(tmp_path)


def test_digest_follows_names_and_values():
    weights = {"a": torch.ones(3), "b": torch.zeros(2)}
    assert digest(weights) == digest(dict(reversed(weights.items())))
    assert len({digest(weights), digest(weights | {"b": torch.tensor([0.0, 1e-6])}), digest({"a": torch.ones(3)})}) == 3


def test_a_cache_knows_which_clips_sway(tmp_path):
    samples = iter([replace(draw(np.random.default_rng(number)), sways=number == 1) for number in range(3)])
    list(encode_cache(tmp_path, lambda rng: next(samples), lambda video: video, num_clips=3, seed=0, key=KEY))
    assert [clip.sways for clip in LatentCache(tmp_path).first(3)] == [False, True, False]


@pytest.mark.parametrize(("swaying", "wanted"), [(1.0, {True}), (0.0, {True, False})])
def test_moments_show_what_sways_as_often_as_asked(swaying, wanted):
    """Of a photo of the sea and one of a wall: walls never sway."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    photos = [Photo("a.jpg", pixels, "a bay", "sea"), Photo("b.jpg", pixels, "a wall", "other")]
    samples = [draw_moments(photos, [], size=32, rng=rng, swaying=swaying) for _ in range(12)]
    samples += [draw_sample(photos, [], num_frames=3, size=32, rng=rng, swaying=swaying) for _ in range(12)]
    assert {sample.sways for sample in samples[:12]} == {sample.sways for sample in samples[12:]} == wanted
    for sample in samples:
        said = any(word in sample.caption for word in ("wave", "water", "ripple", "sea", "surf", "swell"))
        assert said or not sample.sways, sample.caption


def test_a_cache_knows_the_motion_of_every_clip_or_of_none(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_motion_tensor", lambda motion: torch.zeros(4, 4, 2, 2))

    drawn = []

    def first_alone(rng: np.random.Generator) -> Sample:
        drawn.append(replace(draw(rng), motion=None if drawn else object()))
        return drawn[-1]

    with pytest.raises(ValueError, match="wanted the motion of every clip of a cache or of none, got it of 1 of 3"):
        list(encode_cache(tmp_path, first_alone, lambda video: video, num_clips=3, seed=0, key=KEY))


def test_first_frames_are_kept_where_asked_and_used_where_all_shards_have_them(tmp_path):
    list(encode_cache(tmp_path, draw, lambda video: video, num_clips=3, seed=0, key=KEY, keeps_photo=True))
    clips = LatentCache(tmp_path)
    assert torch.equal(clips.clip(1).photo, torch.from_numpy(draw(np.random.default_rng([0, 1])).frames[0]))
    fill(tmp_path)  # further shards, without
    assert LatentCache(tmp_path).clip(1).photo is None
