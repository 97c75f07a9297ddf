"""The estimate: exact where the history is, none where there is no history, and never stopped by a broken file."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from trip.jobs.handlers.estimate import FIRST_LEASE, KEPT_TIMINGS, LEASE_MARGIN, LEAST_LEASE, Estimate, Timing, Timings
from trip.settings import AnimateSettings

PIXELS = 32 * 32  # of a frame
RATE = 1e-5  # seconds of a pass over a pixel
BYTES = 500  # of a pixel
SETTINGS = AnimateSettings(num_frames=16, num_steps=50)


def shape_of(settings: AnimateSettings) -> tuple[str, str, int, int]:
    return "tiny", "cpu", PIXELS * settings.num_frames, settings.num_steps


def timing(num_frames: int = 16, num_steps: int = 50, rate: float = RATE, **more) -> Timing:
    """A clip on a machine that takes `rate` for each pass over a pixel, and two passes more for what surrounds them."""
    pixels = PIXELS * num_frames
    return Timing(**{"model": "tiny", "device": "cpu", "pixels": pixels, "passes": num_steps, "num_bytes": BYTES * pixels,
                     "seconds": rate * pixels * (num_steps + 2)} | more)  # fmt: skip


@pytest.fixture
def timings(tmp_path: Path) -> Timings:
    return Timings(tmp_path / "timings.jsonl", shape_of)


def reopened(timings: Timings) -> Timings:
    return Timings(timings.path, shape_of)


def test_without_history_nothing_is_promised(timings):
    assert timings.estimate(SETTINGS) == Estimate(None, None, 0)


def test_other_models_and_devices_are_no_history(timings):
    timings.add(timing(model="other"))
    timings.add(timing(device="cuda"))
    assert timings.estimate(SETTINGS).count == 0


@pytest.mark.parametrize(("num_frames", "num_steps"), [(16, 50), (16, 12), (8, 50), (4, 2), (64, 1000)])
def test_a_machine_of_one_speed_is_told_exactly(timings, num_frames, num_steps):
    for frames, steps in ((16, 50), (8, 20), (4, 100)):
        timings.add(timing(frames, steps))
    expected = timings.estimate(AnimateSettings(num_frames=num_frames, num_steps=num_steps))
    assert expected.seconds == pytest.approx(timing(num_frames, num_steps).seconds)
    assert expected.count == 3


def test_the_clips_most_alike_count(timings):
    for _ in range(20):
        timings.add(timing(4, 2, rate=9 * RATE))  # short clips that are mostly overhead
    for _ in range(10):
        timings.add(timing())
    assert timings.estimate(SETTINGS).seconds == pytest.approx(timing().seconds)
    assert timings.estimate(SETTINGS).count == 10


def test_one_slow_clip_does_not_count(timings):
    for rate in (RATE, 50 * RATE, RATE):
        timings.add(timing(rate=rate))
    assert timings.estimate(SETTINGS).seconds == pytest.approx(timing().seconds)


def test_a_machine_that_became_slower_is_noticed(timings):
    for rate in [RATE] * 10 + [3 * RATE] * 10:
        timings.add(timing(rate=rate))
    assert timings.estimate(SETTINGS).seconds == pytest.approx(3 * timing().seconds)


def test_memory_is_that_of_the_smallest_clip_that_is_as_large_and_grows_with_the_pixels_beyond(timings):
    timings.add(timing(16))
    timings.add(timing(32))
    assert timings.estimate(SETTINGS).num_bytes == timing(16).num_bytes
    assert timings.estimate(AnimateSettings(num_frames=64, num_steps=50)).num_bytes == timing(64).num_bytes


def test_history_outlives_the_app(timings):
    timings.add(timing())
    assert reopened(timings).estimate(SETTINGS) == timings.estimate(SETTINGS)


@pytest.mark.parametrize("half", ['{"model": "ti', "null", "[]", '{"model": "tiny"}', "\x00\x00", "\udcff"])
def test_a_broken_line_is_left_out_and_spoils_no_other(timings, half):
    timings.add(timing())
    with timings.path.open("ab") as lines:
        lines.write(half.encode(errors="surrogateescape"))
    again = reopened(timings)
    again.add(timing(8))
    assert reopened(timings).estimate(SETTINGS).count == 2


def test_only_the_last_clips_are_kept(timings):
    for number in range(KEPT_TIMINGS + 20):
        timings.add(timing(num_steps=number + 1))
    assert len(reopened(timings)._known) == KEPT_TIMINGS
    assert len(timings.path.read_text().splitlines()) == KEPT_TIMINGS
    assert asdict(reopened(timings)._known[-1]) == asdict(timing(num_steps=KEPT_TIMINGS + 20))


def test_a_disk_that_cannot_be_written_costs_only_the_memory_of_it(tmp_path):
    timings = Timings(tmp_path / "gone" / "timings.jsonl", shape_of)
    timings.add(timing())
    assert timings.estimate(SETTINGS).count == 1


def test_a_lease_is_what_is_expected_and_a_margin(timings):
    assert timings.lease_seconds(SETTINGS) == FIRST_LEASE
    timings.add(replace(timing(), seconds=0.1))
    assert timings.lease_seconds(SETTINGS) == LEAST_LEASE
    slow = reopened(Timings(timings.path.with_name("slow.jsonl"), shape_of))
    slow.add(replace(timing(), seconds=100.0))
    assert slow.lease_seconds(SETTINGS) == round(LEASE_MARGIN * 100)
