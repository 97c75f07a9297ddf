"""Encoded data sets: made once by any number of processes, seen whole in every epoch, resumed anywhere."""

import json

import numpy as np
import pytest
import torch

from trip.data import shards
from trip.data.layouts import Entry
from trip.data.shards import EncodedDataSet, Encoders, encode_shards, unfit_in
from trip.data.windows import Unfit

KEY = {"vae": "abc", "num_frames": 4}


@pytest.fixture(autouse=True)
def two_mixed_shards(monkeypatch):
    monkeypatch.setattr(shards, "MIXED_SHARDS", 2)


def entries(count=23, captions=("one", "two")):
    return [Entry(f"{i:02}.mp4", shards.Path(f"{i:02}.mp4"), (*captions, f"of {i}"), "train") for i in range(count)]


def window(entry, number):
    if int(entry.name[:2]) % 7 == 3:
        raise Unfit(entry.name, "short", "1 s")
    return np.full((4, 2, 2, 3), int(entry.name[:2]) + 100 * number, np.uint8), np.arange(4.0)


def text(captions):
    numbers = torch.tensor([float(len(caption)) for caption in captions])
    return numbers.view(-1, 1, 1).expand(-1, 3, 5), numbers.view(-1, 1).expand(-1, 5)


def encoders(with_text=True, seen=None):
    def latents(video):
        if seen is not None:
            seen.append(1)
        return video

    return Encoders(window, latents, text if with_text else None)


def fill(folder, listed=None, *, key=KEY, with_text=True, seen=None, **more):
    return list(encode_shards(folder, entries() if listed is None else listed, encoders(with_text, seen), key=key, shard_size=5, **more))


def number_of(clip):
    return round((clip.latents[0, 0, 0, 0].item() + 1) * 127.5)


def test_clips_come_back_with_times_captions_and_text(tmp_path):
    done = fill(tmp_path)
    assert done[-1] == {"shards": 5, "clips": 20, "short": 3}
    clips = EncodedDataSet(tmp_path)
    assert len(clips) == 20 and clips.num_frames == 4
    for position in range(20):
        clip = clips.draw(0, position)
        assert clip.caption in ("one", "two", f"of {number_of(clip)}")
        assert clip.words[0, 0] == clip.sentence[0] == len(clip.caption) and clip.times.tolist() == [0, 1, 2, 3]
    assert clips.unsaid[0].shape == (3, 5) and clips.unsaid[1].tolist() == [0] * 5
    assert {clips.draw(seed, 0).caption[:3] for seed in range(30)} == {"one", "two", "of "}


def test_without_text_there_is_none(tmp_path):
    fill(tmp_path, with_text=False)
    clips = EncodedDataSet(tmp_path)
    assert clips.unsaid is None and clips.draw(0, 0).words is None


def test_an_entry_can_give_several_windows(tmp_path):
    fill(tmp_path, windows=2)
    clips = EncodedDataSet(tmp_path)
    assert len(clips) == 40 and len({number_of(clips.draw(0, position)) for position in range(40)}) == 40


def test_every_epoch_sees_each_clip_once_in_another_order(tmp_path):
    fill(tmp_path)
    clips = EncodedDataSet(tmp_path)
    epochs = [[number_of(clips.draw(0, position)) for position in range(start, start + 20)] for start in (0, 20, 40)]
    assert all(sorted(epoch) == sorted(epochs[0]) and len(set(epoch)) == 20 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [number_of(clips.draw(1, position)) for position in range(20)] not in epochs


def test_the_clip_at_a_position_does_not_depend_on_what_was_read_before(tmp_path):
    fill(tmp_path)
    row = [number_of(EncodedDataSet(tmp_path).draw(0, position)) for position in range(60)]
    clips = EncodedDataSet(tmp_path)
    for position in np.random.default_rng(0).permutation(60):
        assert number_of(clips.draw(0, int(position))) == row[position]


def test_few_shards_are_open_at_a_time(tmp_path):
    fill(tmp_path, entries(60))
    clips = EncodedDataSet(tmp_path)
    for position in range(150):
        clips.draw(0, position)
        assert len(clips._open) <= 4


def test_parts_make_what_one_process_makes(tmp_path):
    fill(tmp_path / "one")
    for part in (1, 0, 2):
        fill(tmp_path / "parts", part=part, num_parts=3)
    one, parts = EncodedDataSet(tmp_path / "one"), EncodedDataSet(tmp_path / "parts")
    assert one.digest == parts.digest
    assert [number_of(one.draw(0, p)) for p in range(20)] == [number_of(parts.draw(0, p)) for p in range(20)]


def test_what_is_there_is_not_made_again_unless_its_entries_changed(tmp_path):
    fill(tmp_path)
    seen = []
    fill(tmp_path, seen=seen)
    assert not seen
    changed = entries()
    changed[6] = Entry("06.mp4", changed[6].path, ("another caption",), "train")
    before = EncodedDataSet(tmp_path).digest
    fill(tmp_path, changed, seen=seen)
    assert len(seen) == 5 and EncodedDataSet(tmp_path).digest != before  # as many clips, one shard new
    fill(tmp_path, entries(12), seen=[])
    assert len(EncodedDataSet(tmp_path)) == 10


def test_a_killed_encoding_goes_on(tmp_path):
    running = encode_shards(tmp_path, entries(), encoders(), key=KEY, shard_size=5)
    next(running)
    running.close()
    (tmp_path / "clips-0000001.safetensors.host-1.partial").write_bytes(b"half of a shard")
    assert fill(tmp_path)[-1]["clips"] == 20
    assert len(EncodedDataSet(tmp_path)) == 20


def test_an_unfinished_encoding_is_told(tmp_path, caplog):
    fill(tmp_path, part=0, num_parts=2)
    assert len(EncodedDataSet(tmp_path)) < 20 and "3 of 5 shards" in caplog.text


@pytest.mark.parametrize("other", [{"vae": "xyz"}, {"num_frames": 8}])
def test_a_changed_setting_is_refused(tmp_path, other):
    fill(tmp_path)
    with pytest.raises(ValueError, match="delete the folder") as caught:
        fill(tmp_path, key=KEY | other)
    assert "\n" not in str(caught.value)


def test_unfit_entries_stay_named(tmp_path):
    fill(tmp_path)
    assert unfit_in(tmp_path / "clips-0000000.safetensors") == [{"name": "03.mp4", "reason": "short", "why": "03.mp4: 1 s"}]


def test_nothing_to_encode_and_nothing_encoded_are_one_line(tmp_path):
    with pytest.raises(ValueError, match="lists no clips"):
        fill(tmp_path, [])
    with pytest.raises(ValueError, match="run python -m trip encode first"):
        EncodedDataSet(tmp_path)


def test_the_digest_changes_with_what_is_said_of_as_many_clips(tmp_path):
    fill(tmp_path)
    before = EncodedDataSet(tmp_path)
    assert EncodedDataSet(tmp_path).digest == before.digest
    counts = {name: count for name, count in before.counts.items()}
    (tmp_path / "index.json").write_text(json.dumps(counts))  # as an older version wrote it
    assert EncodedDataSet(tmp_path).digest == before.digest
    fill(tmp_path, entries(captions=("three", "four")))
    after = EncodedDataSet(tmp_path)
    assert after.counts == before.counts and after.digest != before.digest


def test_the_index_follows_the_shards(tmp_path):
    fill(tmp_path)
    EncodedDataSet(tmp_path)
    assert sum(count for count, _ in json.loads((tmp_path / "index.json").read_text()).values()) == 20
    (tmp_path / "clips-0000004.safetensors").unlink()
    assert len(EncodedDataSet(tmp_path)) == 20 - 3
