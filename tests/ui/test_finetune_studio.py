"""What the Fine-tune tab calls, apart from the training itself: what goes to the hub, and what is said where it does not."""

import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from tests.training.test_finetune import write_moving_square
from trip.jobs.handlers import finetune
from trip.jobs.handlers.draft import Row
from trip.jobs.store import Job
from trip.jobs.visitor import Visitor
from trip.settings import FinetuneSettings
from trip.ui import finetune_studio as module
from trip.ui.finetune_studio import FinetuneStudio
from trip.ui.panels.training import _shown
from trip.ui.studio import Studio


@pytest.fixture
def finetunes(tmp_path: Path) -> Iterator[FinetuneStudio]:
    studio = Studio(None, tmp_path / "outputs")
    yield FinetuneStudio(studio)
    studio.close()


@pytest.fixture
def tuned(finetunes, tmp_path) -> Job:
    """A fine-tune that is done."""
    clips = tmp_path / "clips"
    (clips / "train").mkdir(parents=True)
    (clips / "train" / "metadata.jsonl").write_text('{"file": "a.mp4", "caption": "flames leap"}\n')
    finetunes.store.submit("me", "finetune", FinetuneSettings().model_dump(), clips=clips)
    job = finetunes.store.take()
    run = finetunes.run_of(job)
    run.mkdir()
    (run / "lora.safetensors").write_bytes(b"weights")
    finetunes.store.finish(job.id, {"file": "run/lora.safetensors", "samples": [], "num_steps": 200})
    return job


class Hub:
    """Stands in for huggingface_hub.HfApi: notes what it is asked, or refuses."""

    calls: list[tuple]
    refusal: Exception | None = None

    def __init__(self, token: str):
        type(self).calls = [("token", token)]

    def __getattr__(self, name: str):
        def call(*arguments, **more):
            if self.refusal:
                raise self.refusal
            self.calls.append((name, *arguments, more))

        return call


@pytest.fixture
def hub(monkeypatch) -> type[Hub]:
    monkeypatch.setattr(Hub, "refusal", None)
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    return Hub


def test_the_file_and_a_card_go_to_a_private_repository(finetunes, tuned, hub):
    finetunes.push(tuned.id, "me", "somebody/flames", "hf_mine")
    token, created, card, file = hub.calls
    assert token == ("token", "hf_mine")
    assert created == ("create_repo", "somebody/flames", {"private": True, "exist_ok": True})
    assert card[1]["path_in_repo"] == "README.md" and b"flames leap" in card[1]["path_or_fileobj"]
    assert file[1] == {
        "repo_id": "somebody/flames",
        "path_or_fileobj": finetunes.run_of(tuned) / "lora.safetensors",
        "path_in_repo": "lora.safetensors",
    }


def test_a_whole_model_goes_as_its_folder(finetunes, tuned, hub):
    (finetunes.run_of(tuned) / "lora.safetensors").unlink()
    (finetunes.run_of(tuned) / "lora.safetensors").mkdir()
    finetunes.push(tuned.id, "me", "somebody/flames", "hf_mine")
    assert hub.calls[-1] == (
        "upload_folder",
        {"repo_id": "somebody/flames", "folder_path": finetunes.run_of(tuned) / "lora.safetensors"},
    )


def _refused(status: int) -> HfHubHTTPError:
    return HfHubHTTPError("Forbidden:\nyou may not", response=httpx2.Response(status, request=httpx2.Request("POST", "https://hub")))


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (_refused(401), "the token was refused); take one that may write there"),
        (_refused(403), "the token was refused); take one that may write there"),
        (_refused(500), "Forbidden: you may not); check the name"),
        (httpx2.ConnectError("Name or service not known"), "the hub does not answer); check the network"),
        (OfflineModeIsEnabled("offline mode"), "the hub does not answer); check the network"),
        (HFValidationError("Repo id must not\nend so"), "Repo id must not end so); check the name"),
    ],
)
def test_what_the_hub_refuses_is_one_line(finetunes, tuned, hub, monkeypatch, refusal, said):
    monkeypatch.setattr(Hub, "refusal", refusal)
    with pytest.raises(ValueError) as caught:
        finetunes.push(tuned.id, "me", "somebody/flames", "hf_mine")
    assert str(caught.value) == f"could not upload to 'somebody/flames' ({said}"


@pytest.mark.parametrize(
    ("visitor", "repository", "token", "said"),
    [
        ("me", "somebody/flames", "", "needs a token"),
        ("me", "flames", "hf_mine", "owner/name"),
        ("you", "somebody/flames", "hf_mine", "no such job"),
    ],
)
def test_nothing_is_sent_without_name_token_and_a_fine_tune_of_ones_own(
    finetunes, tuned, hub, monkeypatch, visitor, repository, token, said
):
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_machine")
    hub.calls = []
    with pytest.raises(ValueError, match=said):
        finetunes.push(tuned.id, visitor, repository, token)
    assert not hub.calls


def exported(folder: Path):
    """In place of `ClipsDraft.export`: an empty folder of clips."""

    def export(*_) -> Path:
        (folder / "clips").mkdir()
        return folder / "clips"

    return export


def test_a_measurement_that_takes_too_long_is_ended(finetunes, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "command", lambda *_: ["sh", "-c", "sleep 60"])
    monkeypatch.setattr(module, "PLAN_SECONDS", 0.2)
    monkeypatch.setattr(module.ClipsDraft, "export", exported(tmp_path))
    monkeypatch.setattr(finetunes, "draft", lambda visitor: module.ClipsDraft(tmp_path, 16))
    with pytest.raises(ValueError, match="the measurement took more than .* take a lighter preset"):
        list(finetunes.plan("me", [], FinetuneSettings()))
    assert not list((finetunes.studio.outputs / "drafts").iterdir())
    assert finetunes.studio.worker.lease.acquire(blocking=False)


def test_a_measurement_that_memory_ended_is_told_and_leaves_the_accelerator_free(finetunes, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "command", lambda *_: ["sh", "-c", "kill -9 $$"])
    monkeypatch.setattr(module.ClipsDraft, "export", exported(tmp_path))
    monkeypatch.setattr(finetunes, "draft", lambda visitor: module.ClipsDraft(tmp_path, 16))
    rows: list[Row] = []
    with pytest.raises(ValueError, match="code -9, maybe for want of memory"):
        list(finetunes.plan("me", rows, FinetuneSettings()))
    assert finetunes.studio.worker.lease.acquire(blocking=False)


def test_a_plan_says_how_far_it_is_ends_when_it_is_stopped_and_the_accelerator_is_not_free_meanwhile(finetunes, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "command", lambda *_: ["sh", "-c", "printf 'Trying a step:  20%%|##' >&2; exec sleep 60"])
    monkeypatch.setattr(module.ClipsDraft, "export", exported(tmp_path))
    monkeypatch.setattr(finetunes, "draft", lambda visitor: module.ClipsDraft(tmp_path, 16))
    seen = []
    for part in finetunes.plan("me", [], FinetuneSettings()):
        seen.append(part)
        if part == (0.2, "Trying a step"):
            assert finetunes.accelerator_status() == "The accelerator is busy with a measurement"
            finetunes.stop_plan("you")
            finetunes.stop_plan("me")
    assert seen[-1] == (0.2, "Trying a step") and set(seen[:-1]) <= {(0.0, "Loading the model"), seen[-1]}
    assert finetunes.accelerator_status() == "The accelerator is free"


def test_a_fine_tune_that_is_next_is_not_told_that_the_accelerator_is_free(finetunes):
    job = finetunes.store.submit("me", "finetune", FinetuneSettings().model_dump())
    facts = _shown(finetunes, job)[3]
    with finetunes.studio.worker.lease:
        busy = _shown(finetunes, job)[3]
    finetunes.store.cancel(job.id, "me")
    assert facts == "" and "busy with a measurement" in busy


def test_where_a_gpu_is_lent_the_plan_is_measured_in_the_call(finetunes, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "on_spaces_gpu", lambda: True)
    monkeypatch.setattr(finetune, "plan_here", lambda model, clips, run, settings: {"clips": clips.name, "steps": settings.max_steps})
    monkeypatch.setattr(module.ClipsDraft, "export", exported(tmp_path))
    monkeypatch.setattr(finetunes, "draft", lambda visitor: module.ClipsDraft(tmp_path, 16))
    assert list(finetunes.plan("me", [], FinetuneSettings(max_steps=7))) == [{"clips": "clips", "steps": 7}]
    finetunes.studio.worker.lease.acquire(blocking=False)
    with pytest.raises(ValueError, match="measure the plan when that has ended"):
        list(finetunes.plan("me", [], FinetuneSettings()))


def test_calls_at_once_keep_their_clips_apart(finetunes, tmp_path):
    packed = {}
    for tag, phase in (("A", 0), ("B", 3)):
        write_moving_square(tmp_path / f"{tag}.mp4", phase, num_frames=24)
        with zipfile.ZipFile(tmp_path / f"{tag}.zip", "w") as archive:
            archive.write(tmp_path / f"{tag}.mp4", "clip.mp4")
            archive.writestr("clip.txt", f"caption {tag}")
        packed[tag] = str(tmp_path / f"{tag}.zip")
    me = Visitor("me", session="one session")
    with ThreadPoolExecutor(4) as pool:
        asked = [(tag, pool.submit(finetunes.start_now, me, [packed[tag]], FinetuneSettings())) for tag in "ABAB"]
        jobs = [(tag, call.result(60)) for tag, call in asked]
    for tag, job in jobs:
        assert finetunes.caption_of(job) == f"caption {tag}"
        clips = list((finetunes.store.folder_of(job) / "clips" / "train").glob("*.mp4"))
        assert [clip.read_bytes() for clip in clips] == [(tmp_path / f"{tag}.mp4").read_bytes()]
    assert list((finetunes.studio.outputs / "drafts").iterdir()) == []


def test_two_open_pages_of_a_visitor_have_clips_of_their_own(finetunes):
    pages = [finetunes.draft(Visitor("me", session=session)).folder for session in ("one", "other", "one")]
    assert pages[0] == pages[2] != pages[1]


def test_a_fine_tune_without_end_is_refused_in_one_line(finetunes, monkeypatch, tmp_path):
    monkeypatch.setattr(module.ClipsDraft, "export", exported(tmp_path))
    with pytest.raises(ValueError, match="wanted at most 20,000 steps"):
        finetunes.start("me", [], FinetuneSettings(max_steps=1_000_000))
    assert finetunes.store.jobs() == []


def test_the_caption_of_a_fine_tune_is_its_first_clips(finetunes, tuned):
    assert finetunes.caption_of(finetunes.store.get(tuned.id)) == "flames leap"
