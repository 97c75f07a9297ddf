"""The studio with the real pipeline: what it makes of a job, what it gives out again, and what it takes from files of others."""

import base64
import json
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_sound import loudness, tone
from trip.jobs.store import Job, State
from trip.media import Clip, fit_photo, read_clip, read_metadata, read_photo, write_clip
from trip.settings import AnimateSettings
from trip.ui.clip_files import FORMATS
from trip.ui.finetune_studio import FinetuneStudio
from trip.ui.studio import BEST_OF, FINAL_STEPS, Studio

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "examples" / "astronaut.jpg"
SHORT = AnimateSettings(num_steps=2, num_frames=4, prompt="the camera pans right", fps=5)


@pytest.fixture
def studio(tiny_model: Path, tmp_path: Path) -> Iterator[Studio]:
    studio = Studio(str(tiny_model), tmp_path / "outputs")
    yield studio
    studio.close()


def finished(studio: Studio, job: Job) -> Job:
    studio.worker.work_until(job.id)
    job = studio.store.get(job.id)
    assert job.state == State.DONE, job.error
    return job


def clip(studio: Studio, visitor: str = "me", **changes) -> Job:
    """A finished one."""
    return finished(studio, studio.animate(visitor, str(PHOTO), SHORT.model_copy(update=changes)))


# asking


def test_without_a_photo_nothing_is_asked(studio):
    with pytest.raises(ValueError, match="choose one first"):
        studio.animate("me", None, SHORT)
    assert studio.store.jobs() == []


def test_a_broken_photo_is_refused_in_one_line_and_nothing_is_left(studio, tmp_path):
    (tmp_path / "photo.jpg").write_text("a text")
    with pytest.raises(ValueError, match="photo.jpg"):
        studio.animate("me", str(tmp_path / "photo.jpg"), SHORT)
    assert list((studio.outputs / "jobs").iterdir()) == []


def test_a_clip_arrives_at_a_last_photo_and_so_does_every_other_seed_and_the_final(studio):
    last = ROOT / "examples" / "rocket.jpg"
    job = finished(studio, studio.draft("me", str(PHOTO), SHORT.model_copy(update={"num_steps": 4}), last_photo=str(last)))
    again = finished(studio, studio.finish_draft(job.id, "me"))
    other = finished(studio, studio.rerun(job.id, "me", seed=9))
    shown = fit_photo(read_photo(last), *read_clip(studio.clip_of(job)).frames.shape[1:3]).astype(int)
    for one in (job, again, other):
        with Image.open(studio.store.folder_of(one) / "last.png") as frame:
            assert np.array_equal(np.asarray(frame), shown), one
        assert one.result["settings"]["last_photo"] == job.result["settings"]["last_photo"]
    gone_on = studio.continue_clip(job.id, "me")
    assert studio.last_photo_of(gone_on) is None and studio.last_photo_of(other)
    with pytest.raises(ValueError, match="got both; choose one"):
        studio.animate("me", str(PHOTO), SHORT.model_copy(update={"loop": True}), last_photo=str(last))


def test_a_clip_keeps_the_sound_it_was_given_and_so_do_those_that_are_made_of_it(studio, tmp_path):
    job = clip(studio, seed=1)
    silent = studio.clip_of(job)
    studio.put_sound(job.id, "me", str(tone(tmp_path / "short.wav", 0.4)))
    first = studio.clip_of(job)
    assert len(loudness(first)) == 4 and studio.download(job.id, "me", "MP4") == first
    studio.put_sound(job.id, "me", str(tone(tmp_path / "long.wav", 30)))
    heard = studio.clip_of(job)
    assert heard != first and not first.exists()
    assert (read_clip(heard).frames == read_clip(silent).frames).all()

    gone_on = finished(studio, studio.continue_clip(job.id, "me"))
    loop = finished(studio, studio.rerun(job.id, "me", loop=True))
    for one in (job, gone_on, loop):
        seconds = one.result["num_frames"] / one.result["fps"]
        assert len(loudness(studio.clip_of(one))) == pytest.approx(10 * seconds, abs=1)
    assert gone_on.result["num_frames"] > 1.8 * job.result["num_frames"]
    further = finished(studio, studio.continue_clip(gone_on.id, "me"))
    assert len(loudness(studio.clip_of(further))) > len(loudness(studio.clip_of(gone_on)))

    studio.put_sound(gone_on.id, "me", None)
    assert studio.sound_of(gone_on) is None and studio.sound_of(further)
    assert studio.clip_of(gone_on).name == gone_on.result["clip"]
    assert [path.name for path in studio.store.folder_of(gone_on).glob("*sound*")] == []


def test_a_sound_of_somebody_else_or_of_none_changes_nothing(studio, tmp_path):
    job, broken = clip(studio), tmp_path / "broken.mp3"
    broken.write_text("no sound")
    with pytest.raises(ValueError, match="broken.mp3: wanted a sound"):
        studio.put_sound(job.id, "me", str(broken))
    with pytest.raises(ValueError, match="no such job of yours"):
        studio.put_sound(job.id, "you", str(tone(tmp_path / "tone.wav", 1)))
    assert studio.clip_of(job).name == job.result["clip"] and studio.sound_of(job) is None


def test_a_download_is_asked_for_where_the_page_may_and_a_model_is_named(studio):
    with pytest.raises(ValueError, match="this page downloads no models"):
        studio.fetch("me", "sdxl")
    studio.fetches = True
    for name in ("", None):
        with pytest.raises(ValueError, match="choose a model first"):
            studio.fetch("me", name)
    job = studio.fetch("me", "sdxl")
    assert (job.kind, job.settings) == ("fetch", {"name": "sdxl"})
    assert len(studio.store.jobs()) == 1


def test_best_of_has_seeds_of_its_own(studio):
    jobs = studio.best_of(clip(studio, seed=1).id, "me")
    assert [job.settings["seed"] for job in jobs] == [None] * BEST_OF
    assert len({1, *(finished(studio, job).result["seed"] for job in jobs[:2])}) == 3


def test_the_one_of_a_batch_that_is_kept_is_left_alone_and_what_was_to_come_is_not_made(studio):
    before = clip(studio, seed=1)
    jobs = studio.best_of(before.id, "me")
    with pytest.raises(ValueError, match="queued; wait until it is done"):
        studio.keep(jobs[1].id, "me")
    kept = finished(studio, jobs[1])  # the first is done by then, too
    assert studio.keep(kept.id, "me") == BEST_OF - 1
    assert {job.id for job in studio.store.jobs("me")} == {before.id, kept.id}
    assert studio.keep(before.id, "me") == 0


def test_best_of_is_fewer_where_no_more_may_wait(studio, monkeypatch):
    job, left = clip(studio), [2]
    rerun = studio.rerun

    def limited(*arguments, **more):
        left[0] -= 1
        if left[0] < 0:
            raise ValueError("too many are waiting already")
        return rerun(*arguments, **more)

    monkeypatch.setattr(studio, "rerun", limited)
    assert len(studio.best_of(job.id, "me")) == 2
    with pytest.raises(ValueError, match="waiting already"):
        studio.best_of(job.id, "me")


@pytest.mark.parametrize("name, kind", [("studio", Studio), ("finetunes", FinetuneStudio)])
def test_all_that_the_page_asks_for_is_there(studio, name, kind):
    asked = {word for path in (ROOT / "trip" / "ui").rglob("*.py") for word in re.findall(rf"\b{name}\.([a-z_]+)", path.read_text())}
    thing = studio if kind is Studio else kind(studio)
    assert len(asked) > 10 and [word for word in asked if not hasattr(thing, word)] == []


def test_a_draft_takes_a_share_of_the_steps_and_its_final_all_of_them_with_its_seed(studio):
    draft = finished(studio, studio.draft("me", str(PHOTO), SHORT.model_copy(update={"num_steps": 6})))
    final = finished(studio, studio.finish_draft(draft.id, "me"))
    assert (draft.result["settings"]["num_steps"], final.result["settings"]["num_steps"]) == (6 // FINAL_STEPS, 6)
    assert draft.result["seed"] == final.result["seed"]
    assert isinstance(final.result["draft_db"], float)
    another = studio.rerun(final.id, "me", seed=None, num_steps=2)  # not compared with the draft of another seed
    assert finished(studio, another).result["draft_db"] is None


def test_inside_of_a_running_clip_shows_what_was_said_so_far(studio):
    job, answer = studio.animate("me", str(PHOTO), SHORT.model_copy(update={"num_steps": 200})), []
    worker = threading.Thread(target=studio.worker.work_until, args=(job.id,))
    worker.start()
    while studio.store.get(job.id).state in (State.QUEUED, State.RUNNING) and (not answer or answer[-1] is None):
        try:
            answer.append(studio.inside(job.id, "me"))
        except ValueError:
            answer.append(None)
        time.sleep(0.02)
    assert studio.store.get(job.id).state == State.RUNNING
    studio.store.cancel(job.id, "me")
    worker.join()
    assert answer[0] is None and 0 < len(answer[-1].timesteps) < 200


def test_again_is_the_same_but_for_what_is_changed(studio):
    job = clip(studio, seed=1)
    same, other = finished(studio, studio.rerun(job.id, "me")), finished(studio, studio.rerun(job.id, "me", seed=None))
    frames, again = (read_clip(studio.clip_of(one)).frames for one in (job, same))
    assert np.array_equal(frames, again)
    assert other.result["seed"] != 1
    assert other.result["settings"]["prompt"] == "the camera pans right"


def test_continued_goes_on_from_the_last_frame_and_so_do_again_and_finished(studio):
    first = clip(studio, seed=1, aspect="16:9")
    second = finished(studio, studio.continue_clip(first.id, "me", "the clouds drift to the left"))
    each = first.result["num_frames"]
    assert second.result["num_frames"] == 2 * each - 1
    assert second.result["settings"]["prompt"] == "the clouds drift to the left"
    last, photo = (studio.store.folder_of(one) / name for one, name in ((first, "last.png"), (second, "first.png")))
    assert last.read_bytes() == photo.read_bytes()
    third = finished(studio, studio.continue_clip(second.id, "me"))
    assert third.result["num_frames"] == 3 * each - 2
    assert finished(studio, studio.rerun(second.id, "me", seed=None)).result["num_frames"] == 2 * each - 1
    final = finished(studio, studio.finish_draft(second.id, "me")).result
    assert final["num_frames"] == 2 * each - 1 and final["draft_db"] is not None


@pytest.mark.parametrize("ask", ["finish_draft", "continue_clip"])
def test_a_clip_that_is_not_done_cannot_be_gone_on_from(studio, ask):
    job = studio.animate("me", str(PHOTO), SHORT)
    with pytest.raises(ValueError, match="this clip is queued; wait until it is done"):
        getattr(studio, ask)(job.id, "me")


def test_other_visitors_get_nothing(studio):
    job = clip(studio)
    calls = [
        studio.rerun,
        studio.finish_draft,
        studio.continue_clip,
        studio.inside,
        lambda one, who: studio.delete(who, one),
        lambda one, who: studio.stop(who, one),
        studio.keep,
        lambda one, who: studio.download(one, who, "GIF"),
    ]
    for visitor in ("they", "", None):
        for call in (*calls, lambda one, who: studio.compare(one, one, who)):
            with pytest.raises(ValueError, match="no such job of yours"):
                call(job.id, visitor)
        with pytest.raises(ValueError, match="no clips of yours"):
            studio.download_all(visitor)


def test_compared_tells_similarity_and_the_figures_of_both(studio):
    one, other, longer = clip(studio, seed=1), clip(studio, seed=2), clip(studio, num_frames=6)
    answer = studio.compare(one.id, other.id, "me")
    assert 5 < answer["psnr_db"] < studio.compare(one.id, one.id, "me")["psnr_db"]
    assert [set(figures) for figures in answer["figures"]] == [{label for label, _, _ in one.result["figures"]}] * 2
    assert studio.compare(one.id, longer.id, "me")["psnr_db"] is None


def test_the_estimate_comes_from_the_clips_before(studio):
    assert studio.estimate(SHORT).seconds is None
    job = clip(studio)
    expected = studio.estimate(SHORT)
    assert 0 < round(expected.seconds, 2) <= job.result["seconds"]
    assert expected.num_bytes > 0 and expected.count == 1


# files


def test_a_clip_is_given_in_every_format_made_once(studio):
    job = clip(studio)
    for name, suffix in FORMATS.items():
        path = studio.download(job.id, "me", name)
        assert path.name.endswith(suffix) and path.parent == studio.store.folder_of(job)
        written = path.stat().st_mtime_ns
        assert studio.download(job.id, "me", name).stat().st_mtime_ns == written
    frames = read_clip(studio.clip_of(job)).frames
    assert len(read_clip(studio.download(job.id, "me", "There and back")).frames) == 2 * job.result["num_frames"] - 2
    with zipfile.ZipFile(studio.download(job.id, "me", "PNG frames")) as archive:
        assert len(archive.namelist()) == len(frames) + 1
    for name in ("GIF", "WebP"):
        assert "photo" not in (answer := read_metadata(studio.download(job.id, "me", name)))
        assert answer["seed"] == job.result["seed"]
    with pytest.raises(ValueError, match="choose MP4, GIF, WebP, PNG frames, There and back"):
        studio.download(job.id, "me", "AVI")


def test_the_zip_of_all_has_every_clip_of_the_visitor_and_no_other(studio):
    mine, theirs = [clip(studio), clip(studio)], clip(studio, "they")
    with zipfile.ZipFile(studio.download_all("me")) as archive:
        assert sorted(archive.namelist()) == sorted(f"{job.id}-{job.result['clip']}" for job in mine)
        assert archive.read(f"{mine[0].id}-{mine[0].result['clip']}") == studio.clip_of(mine[0]).read_bytes()
    assert theirs.id not in archive.namelist()


def test_what_is_deleted_is_gone_from_the_disk_also_out_of_the_zip(studio):
    old, new = clip(studio), clip(studio)
    archive = studio.download_all("me")
    assert studio.delete("me", old.id)
    assert not archive.exists()
    assert [job.id for job in studio.clips("me")] == [new.id]


def test_on_a_full_disk_what_is_deleted_makes_room_at_once(studio, monkeypatch):
    old, new = clip(studio), clip(studio)
    monkeypatch.setattr("trip.ui.studio.has_room", lambda folder, num_bytes: False)
    assert not studio.delete("me", old.id)
    assert [path.name for path in (studio.outputs / "jobs").iterdir()] == [new.id]
    with pytest.raises(ValueError, match="nothing to bring back"):
        studio.undo_delete("me")


def test_a_visitor_has_one_zip_at_a_time_and_none_that_the_disk_has_no_room_for(studio, monkeypatch):
    old = clip(studio)
    first = studio.download_all("me")
    new = clip(studio)
    assert studio.download_all("me") != first and not first.exists()
    asked = []
    monkeypatch.setattr("trip.ui.clip_files.check_room", lambda folder, num_bytes: asked.append(num_bytes))
    studio.download_all("me")
    assert asked == [sum(studio.clip_of(job).stat().st_size for job in (old, new))]


def test_a_clip_whose_file_is_gone_is_told_in_one_line(studio):
    job = clip(studio)
    studio.clip_of(job).unlink()
    with pytest.raises(ValueError) as refusal:
        studio.download(job.id, "me", "GIF")
    assert "\n" not in str(refusal.value)
    with zipfile.ZipFile(studio.download_all("me")) as archive:
        assert archive.namelist() == []


def test_inside_is_kept_with_the_clip(studio):
    assert studio.inside(clip(studio).id, "me").share.shape == (2, 4)


# restoring


def test_a_clip_made_here_fills_the_form_in_again(studio):
    job = clip(studio, seed=7, crop=(0.1, 0.2, 0.5, 0.5), negative_prompt="blur", loop=True)
    for name in ("MP4", "There and back"):
        settings, photo = studio.restore(str(studio.download(job.id, "me", name)))
        assert settings == studio.settings_of(job)
        assert (settings.seed, settings.crop, settings.loop) == (7, (0.1, 0.2, 0.5, 0.5), True)
        assert photo.size == (512, 512)
    settings, photo = studio.restore(str(studio.download(job.id, "me", "GIF")))
    assert settings == studio.settings_of(job) and photo is None


def test_what_the_frame_left_out_is_in_the_clip_unless_only_what_is_shown_is_kept(studio):
    cropped = SHORT.model_copy(update={"crop": (0.5, 0, 0.5, 0.5), "seed": 1})
    whole, shown = (finished(studio, studio.animate("me", str(PHOTO), cropped, only_shown=only)) for only in (False, True))
    assert studio.restore(str(studio.clip_of(whole)))[1].size == (512, 512)
    settings, photo = studio.restore(str(studio.clip_of(shown)))
    assert (photo.size, settings.crop) == ((256, 256), None)
    with Image.open(studio.photo_of(shown)) as kept, Image.open(PHOTO) as image:
        assert kept.size == (256, 256)
        assert np.array_equal(np.asarray(kept), np.asarray(image.convert("RGB").crop((256, 0, 512, 256))))
    frames = [read_clip(studio.clip_of(job)).frames[0].astype(int) for job in (whole, shown)]
    assert np.abs(frames[0] - frames[1]).mean() < 2  # the same part of the photo
    again = finished(studio, studio.rerun(shown.id, "me"))
    assert studio.restore(str(studio.clip_of(again)))[1].size == (256, 256)


def test_the_same_clip_comes_out_of_what_was_restored(studio):
    job = clip(studio)
    settings, _ = studio.restore(str(studio.clip_of(job)))
    again = finished(studio, studio.animate("me", str(PHOTO), settings))
    assert np.array_equal(*(read_clip(studio.clip_of(one)).frames for one in (job, again)))


def test_a_continued_clip_gives_its_last_part(studio):
    first = clip(studio, seed=1)
    second = finished(studio, studio.continue_clip(first.id, "me", "the clouds drift to the left"))
    settings, photo = studio.restore(str(studio.clip_of(second)))
    assert settings == studio.settings_of(second)
    with Image.open(studio.store.folder_of(first) / "last.png") as last:
        assert photo.size == last.size


@pytest.mark.parametrize("metadata", [{}, {"title": "holiday"}, {"parts": "[]"}], ids=str)
def test_a_clip_that_was_not_made_here_is_refused_in_one_line(studio, tmp_path, metadata):
    path = write_clip(Clip(np.zeros((2, 32, 32, 3), np.uint8), 8, metadata), tmp_path / "clip.mp4")
    with pytest.raises(ValueError, match="does not say how it was made"):
        studio.restore(str(path))


@pytest.mark.parametrize(
    "data", [b"", b"a text", b"\x89PNG\r\n\x1a\n" + bytes(50), PHOTO.read_bytes()], ids=["empty", "text", "png", "jpeg"]
)
def test_another_file_is_refused_in_one_line(studio, tmp_path, data):
    (tmp_path / "clip.mp4").write_bytes(data)
    with pytest.raises(ValueError) as refusal:
        studio.restore(str(tmp_path / "clip.mp4"))
    assert "\n" not in str(refusal.value)


BOMB = base64.b64encode(b"GIF89a\xff\xff\xff\xff" + bytes(100)).decode()  # 65535 x 65535
HOSTILE = [
    {"num_steps": 10**9},
    {"num_steps": "12; rm"},
    {"motion": "1e999"},
    {"seed": 10**300},
    {"prompt": "x" * 20_000},
    {"prompt": 5},
    {"aspect": "<script>alert(1)</script>"},
    {"scheduler": "__import__('os')"},
    {"crop": "0,0,9,9"},
    {"crop": "," * 10_000},
    {"loop": "perhaps"},
    {"prompt": "", "photo": "no base64!"},
    {"prompt": "", "photo": base64.b64encode(b"no photo").decode()},
    {"prompt": "", "photo": BOMB},
    {"parts": "{"},
    {"parts": "[1, 2]"},
    {"parts": '[{"num_steps": {"a": [1]}}]'},
    {"parts": '[{"motion": NaN}]'},
    {"parts": '[{"prompt": ' + "[" * 800 + "]" * 800 + "}]"},
    {"parts": "[" * 100_000},
]


@pytest.mark.parametrize("metadata", HOSTILE, ids=lambda metadata: str(metadata)[:40])
def test_hostile_metadata_is_one_short_line(studio, tmp_path, metadata):
    path = write_clip(Clip(np.zeros((2, 32, 32, 3), np.uint8), 8, metadata), tmp_path / "clip.mp4")
    with pytest.raises(ValueError) as refusal:
        studio.restore(str(path))
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 300


def test_markup_in_a_prompt_is_text_and_unknown_names_are_left_out(studio, tmp_path):
    metadata = {"prompt": "<img src=x onerror=alert(1)>", "model": "../../etc", "after": "another's job", "__class__": "x"}
    path = write_clip(Clip(np.zeros((2, 32, 32, 3), np.uint8), 8, metadata), tmp_path / "clip.mp4")
    assert studio.restore(str(path)) == (AnimateSettings(prompt="<img src=x onerror=alert(1)>"), None)


def test_metadata_too_large_to_be_ours_is_not_read(studio, tmp_path):
    import av

    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["comment"] = json.dumps({"prompt": "x" * 10**6})
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match="does not say how it was made"):
        studio.restore(str(path))


# the model


def test_a_checkpoint_that_is_not_there_is_told_in_words(tmp_path):
    studio = Studio(str(tmp_path / "nothing"), tmp_path / "outputs")
    studio.load()
    assert studio.card().startswith("No model: ")
    assert studio.defaults() == {}
    job = studio.animate("me", str(PHOTO), SHORT)
    studio.worker.work_until(job.id)
    assert studio.store.get(job.id).state == State.FAILED
    assert "nothing" in studio.store.get(job.id).error
    studio.close()


def test_a_second_studio_on_the_folder_is_refused(studio, tiny_model):
    with pytest.raises(ValueError, match="another app serves this folder"):
        Studio(str(tiny_model), studio.outputs)


def test_a_started_studio_makes_what_is_asked_and_a_closed_one_hands_it_on(tiny_model, tmp_path):
    studio = Studio(str(tiny_model), tmp_path)
    studio.start()
    long = studio.animate("me", str(PHOTO), SHORT.model_copy(update={"num_steps": 1000}))
    studio.close()
    again = Studio(str(tiny_model), tmp_path)
    assert again.store.get(long.id).state == State.QUEUED
    again.store.cancel(long.id)
    assert clip(again).state == State.DONE
    again.close()
