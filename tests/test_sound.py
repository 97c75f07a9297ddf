"""A clip's sound: which files have one, how long it is, and that the pictures stay as they were."""

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from trip.media import Clip, MediaError, check_sound, read_clip, sound, with_sound, write_clip, write_sound
from trip.media.sound import RATE

SECONDS = 2.0  # of the clip


def tone(path: Path, seconds: float, rate: int = 44_100, channels: int = 1) -> Path:
    """A .wav of 440 Hz at half of the full scale."""
    wave_form = np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat((wave_form * 16384).astype("<i2"), channels).tobytes())
    return path


def loudness(path: Path) -> np.ndarray:
    """Root mean square of every tenth of a second of a file's first channel, without what the coder fills its last block up with."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.layout.name) == ("aac", RATE, "stereo")
        seconds = float(stream.duration * stream.time_base)
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])[: round(seconds * RATE)]
    tenths = samples[: len(samples) // 4800 * 4800].reshape(-1, 4800)
    return np.sqrt(np.square(tenths).mean(1))


@pytest.fixture
def clip(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (24, 48, 64, 3), dtype=np.uint8)
    return write_clip(Clip(noise, 24 / SECONDS, {"prompt": "café"}), tmp_path / "clip.mp4")


@pytest.mark.parametrize("rate, channels", [(44_100, 1), (8_000, 2), (96_000, 2)])
def test_a_sound_of_any_rate_is_kept_as_it_sounds(tmp_path, rate, channels):
    loud = loudness(write_sound(tone(tmp_path / "tone.wav", 1.5, rate, channels), tmp_path / "kept.m4a"))
    assert len(loud) == 15 and loud[1:-1].std() < 0.01
    expected = 0.5 / np.sqrt(2) / (np.sqrt(2) if channels == 1 else 1)  # one channel's power goes to two
    np.testing.assert_allclose(loud[1:-1].mean(), expected, rtol=0.03)


def test_no_more_is_kept_than_a_clip_may_need(tmp_path, monkeypatch):
    monkeypatch.setattr(sound, "MOST_SECONDS", 3)
    assert len(loudness(write_sound(tone(tmp_path / "long.wav", 4), tmp_path / "kept.m4a"))) == 30


def test_a_longer_sound_is_cut_to_the_clip_and_dies_away(tmp_path, clip):
    loud = loudness(with_sound(clip, tone(tmp_path / "tone.wav", 5), tmp_path / "heard.mp4"))
    assert len(loud) == 10 * SECONDS
    np.testing.assert_allclose(loud[1:15], 0.25, rtol=0.03)
    assert np.all(np.diff(loud[14:]) < 0) and loud[-1] < 0.05


def test_after_a_shorter_sound_a_clip_is_silent_and_as_long_as_before(tmp_path, clip):
    heard = with_sound(clip, tone(tmp_path / "tone.wav", 1), tmp_path / "heard.mp4")
    loud = loudness(heard)
    assert len(loud) == 10
    np.testing.assert_allclose(loud[1:-1], 0.25, rtol=0.03)
    with av.open(str(heard)) as container:
        assert container.duration / 1e6 == SECONDS


def test_pictures_and_what_made_them_stay_to_the_last_bit(tmp_path, clip):
    before, after = read_clip(clip), read_clip(with_sound(clip, tone(tmp_path / "tone.wav", 1), tmp_path / "heard.mp4"))
    assert (before.frames == after.frames).all() and (before.fps, before.metadata) == (after.fps, after.metadata)


def test_a_clip_takes_the_sound_in_place_and_another_one_later(tmp_path, clip):
    with_sound(clip, tone(tmp_path / "tone.wav", 1), clip)
    with_sound(clip, tone(tmp_path / "tone.wav", 2), clip)
    assert len(loudness(clip)) == 20
    with av.open(str(clip)) as container:
        assert len(container.streams) == 2


def test_what_breaks_off_is_heard_as_far_as_it_goes(tmp_path, clip):
    whole = tone(tmp_path / "tone.wav", 2)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(whole.read_bytes()[: 44 + 88_200])
    assert len(loudness(write_sound(broken, tmp_path / "kept.m4a"))) == 10
    assert len(loudness(with_sound(clip, write_sound(broken, tmp_path / "kept.m4a"), tmp_path / "heard.mp4"))) == 10


@pytest.mark.parametrize("content, told", [(b"", "an empty file"), (b"no sound at all" * 99, "does not open"), (None, "without any")])
def test_a_file_without_a_sound_is_told_and_nothing_is_written(tmp_path, clip, content, told):
    file = clip if content is None else tmp_path / "words.mp3"
    if content is not None:
        file.write_bytes(content)
    for refuse in (
        check_sound,
        lambda path: write_sound(path, tmp_path / "kept.m4a"),
        lambda path: with_sound(clip, path, tmp_path / "heard.mp4"),
    ):
        with pytest.raises(MediaError, match=f"{file.name}: wanted a sound, got .*{told}"):
            refuse(file)
    assert {path.name for path in tmp_path.iterdir()} <= {"clip.mp4", "words.mp3"}
