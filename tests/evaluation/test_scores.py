"""Reports: figures with motion and protocol beside them, anchors, groups, what was measured before; from clips made here."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.test_clip_sets import pictures
from trip.data.windows import Unfit
from trip.evaluation.clip_sets import ClipSet, Reading, open_set
from trip.evaluation.extractors import FeatureExtractor
from trip.evaluation.features import features_of, motion_of
from trip.evaluation.protocol import Protocol, differences, protocol_of
from trip.evaluation.scores import ScoreSettings, anchor_reports, consistency_report, distance_report

READING = Reading(num_frames=6, fps=4.0, size=48)
LOOKED_AT: list[int] = []


def colours(frames: np.ndarray) -> np.ndarray:
    LOOKED_AT.append(len(frames))
    return frames.reshape(len(frames), 4, 12, 4, 12, 3).mean(axis=(2, 4)).reshape(len(frames), -1).astype(np.float32)


OF_FRAMES = FeatureExtractor("colours", "0" * 16, "means of squares", colours)
OF_CLIPS = FeatureExtractor(
    "colours of clips", "1" * 16, "means of squares", lambda frames: colours(frames).mean(axis=0), is_of_frames=False
)


def moving(seed: int, speed: int = 3) -> np.ndarray:
    """A texture that moves to the right: 6 48 48 3."""
    rng = np.random.default_rng(seed)
    texture = np.kron(rng.integers(0, 256, (6, 20, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    return np.stack([texture[:, 40 - speed * index :][:, :48] for index in range(6)])


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> ClipSet:
    """Ten moving clips in two folders of pictures, and one that is too short."""
    import cv2

    root = tmp_path_factory.mktemp("run") / "real"
    for number in range(10):
        folder = root / ("sea" if number % 2 else "sky") / f"clip{number}"
        folder.mkdir(parents=True)
        for index, frame in enumerate(moving(number)):
            cv2.imwrite(str(folder / f"{index:03d}.png"), frame[..., ::-1])
    pictures(root / "sky" / "short", [9, 9])
    (root.parent / "run.json").write_text(json.dumps({"stride": 0.25}))
    return open_set(root, READING)


def test_motion_is_measured() -> None:
    way, moves = motion_of(moving(0, speed=3))
    assert way == pytest.approx(15 / 48, rel=0.25) and moves
    assert motion_of(np.repeat(moving(0)[:1], 6, axis=0)) == (0.0, False)


def test_a_set_is_at_no_distance_from_itself_and_the_report_says_all(real) -> None:
    report = distance_report(
        "fvd", OF_CLIPS, real, real, ScoreSettings(system="the same", data="here", first_frame="the photo", num_draws=20)
    )
    assert report["figures"]["fvd"]["value"] == pytest.approx(0, abs=1e-6) and report["figures"]["fvd"]["num_photos"] == 10
    assert report["motion"]["moves"]["value"] == 100 and report["motion"] == report["real_motion"]
    assert report["unfit"]["fake"]["counts"] == {"short": 1}
    told = report["protocol"]
    assert (told["num_real"], told["num_fake"], told["num_frames"], told["stride"], told["fake_stride"]) == (10, 10, 6, 0.25, 0.25)
    line = report["protocol_line"]
    assert line.startswith(f"[{report['hash']}] fvd in colours of clips 11111111 (means of squares); 10 real (")
    assert "6 frames 0.25 s apart; 48 × 48, centre square; frame 0 the photo; seed 0; torch 2." in line
    assert protocol_of(json.loads(json.dumps(report))).digest() == report["hash"]


def test_anchors_have_one_protocol_but_for_the_halves(real) -> None:
    brighter = ("brighter", lambda frames: np.minimum(frames, 205) + np.uint8(50))
    reports = {one["system"]: one for one in anchor_reports("fvd", OF_CLIPS, real, ScoreSettings(num_draws=10), brighter)}
    still, trip, halves = reports["still image"], reports["autoencoder's round trip"], reports["real against real, two halves"]
    assert still["hash"] == trip["hash"] != halves["hash"]
    assert still["figures"]["fvd"]["value"] > 0 and still["motion"]["moves"]["value"] == 0
    assert halves["protocol"]["num_real"] + halves["protocol"]["num_fake"] == 10
    assert "num real 10 and" in differences(protocol_of(still), protocol_of(halves))
    frames = next(frames for _, frames in real.windows() if not isinstance(frames, Unfit))
    changed = real.with_change("", lambda f: f, "")
    assert np.array_equal(next(iter(changed.windows()))[1], frames)
    consistent = {one["system"]: one for one in anchor_reports("consistency", OF_FRAMES, real, ScoreSettings())}
    assert consistent["still image"]["figures"]["f_consistency_all"]["value"] == pytest.approx(100)
    assert consistent["real clips"]["figures"]["f_consistency_all"]["value"] < 99.9
    assert consistent["real clips"]["motion"]["moves"]["value"] == 100  # a still image wins, and stands still


def test_groups_are_measured_by_themselves(real) -> None:
    fake = real.with_change("fake", lambda frames: frames[::-1] // 2, "darker")
    report = distance_report("fid", OF_FRAMES, real, fake, ScoreSettings(num_draws=10), by_group=True)
    alone = {name: report["groups"][name]["value"] for name in ("sea", "sky")}
    assert report["figures"]["fid"]["value"] == pytest.approx(np.mean(list(alone.values()))) and min(alone.values()) > 0
    assert report["protocol"]["averaged_over"] == ("sea", "sky")
    sky = replace(real, sources=tuple(source for source in real.sources if source.name.startswith("sky")))
    with pytest.raises(ValueError, match="wanted the same folders of clips in both, got 'sea', 'sky' and 'sky'"):
        distance_report("fid", OF_FRAMES, real, sky, ScoreSettings(), by_group=True)


def test_what_was_measured_is_read_back_until_files_change(real, tmp_path) -> None:
    first = features_of(real, OF_FRAMES, tmp_path)
    LOOKED_AT.clear()
    again = features_of(real, OF_FRAMES, tmp_path)
    assert not LOOKED_AT and again.names == first.names
    assert all(np.array_equal(getattr(again, name), getattr(first, name)) for name in ("values", "way", "moves"))
    assert set(again.moves) == {1} and 0 < again.way.min() < again.way.max() < 1
    assert [(one.name, one.reason, str(one)) for one in again.unfit] == [(one.name, one.reason, str(one)) for one in first.unfit]
    features_of(real.with_change("still", lambda frames: frames, "still"), OF_FRAMES, tmp_path)
    assert len(LOOKED_AT) == 10
    for kept in tmp_path.iterdir():
        kept.write_bytes(kept.read_bytes()[:100])  # half a file is measured again
    features_of(real, OF_FRAMES, tmp_path)
    assert len(LOOKED_AT) == 20


def test_too_few_clips_are_refused_with_the_reason(real) -> None:
    short = replace(real, sources=tuple(source for source in real.sources if source.name in ("sky/short", "sky/clip0")))
    with pytest.raises(ValueError, match="wanted at least 2 clips that can be read, got 1 .sky/short: 2 pictures, wanted at least 6"):
        consistency_report(OF_FRAMES, short, ScoreSettings())


def test_a_protocol_is_another_with_any_of_its_values() -> None:
    told = {"metric": "fvd", "network": "i3d 1", "input": "x", "data": "d", "num_real": 8, "num_fake": 8, "num_frames": 16, "stride": 0.25}
    told |= {"fake_stride": None, "size": 256, "crop": "centre square", "first_frame": "the photo"}
    one = Protocol(**told)
    others = [Protocol(**told | {name: 9 if isinstance(value, int) else "other"}) for name, value in told.items()]
    assert len({one.digest(), *(other.digest() for other in others)}) == 1 + len(others)
    assert "16 frames 0.25 s apart; judged clips' as they come" in one.line()
    with pytest.raises(ValueError, match="wanted a report with its protocol"):
        protocol_of({"hash": one.digest()})
    with pytest.raises(ValueError, match="measure it again"):
        protocol_of({"protocol": {**told, "averaged_over": [], "seed": 1, "versions": {}}, "hash": one.digest()})
