"""Models are downloaded from the hub here, and nowhere else, and only when a person asks for it; `archive` has what is not there.

A connection that breaks is taken up again by the hub's client; after a stop, the next call goes on with the files that were not whole.
"""

import errno
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx2
import tqdm
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from trip.first_frame.archive import ProgressCallback, fetch_archive
from trip.first_frame.catalogue import CARDS, JUDGES, Card, Task, size_of
from trip.first_frame.local_models import INDEX, card_folder, default_folder, folder_name, index_of, is_safe_name, parts_of

SMALL = (".json", ".txt", ".model")  # files beside the weights
SPARE_BYTES = 500 * 2**20  # left free on the disk


def fetch(name: str, models: Path | None, on_progress: ProgressCallback, task: Task = "paint") -> list[Path]:
    """Gets a card of the catalogue with all that it needs, or a hub id, and gives their folders. What is here is not fetched again.

    models       folder to put it in; none: the hub's cache
    on_progress  called with how far a download is; may raise to stop it
    task         what a hub id that is in no catalogue is for
    Raises ValueError, in one line.
    """
    known = CARDS | JUDGES
    if name in known:
        wanted = [known[other] for other in (*known[name].needs, name)]
    elif is_safe_name(name) and "/" in name:
        wanted = [Card(name, task, name, 0, "not known here")]
    else:
        raise ValueError(f"there is no model {name!r}; choose from {', '.join(known)}, or give a hub id owner/name")
    return [card_folder(card, models) or _download(card, models, on_progress) for card in wanted]


def _download(card: Card, models: Path | None, on_progress: ProgressCallback) -> Path:
    if card.archive:
        name = next(name for name, other in JUDGES.items() if other == card)
        return fetch_archive(card, models / name if models else default_folder(name), on_progress)
    if not card.repo:
        raise ValueError(f"{card.title} is part of this repository, and its folder {card.folder} is not there; get the repository again")
    if constants.is_offline_mode():
        raise ValueError(f"{card.repo} cannot be fetched: HF_HUB_OFFLINE is set; unset it and try again")
    target = {"local_dir": models / folder_name(card.repo)} if models else {}
    try:
        sizes = {file.rfilename: file.size or 0 for file in HfApi().model_info(card.repo, files_metadata=True).siblings}
        files = _files_to_download(card, sizes, target)
        total = sum(sizes[file] for file in files)
        _check_space(total, models or Path(constants.HF_HUB_CACHE), card)
        counter, path = _Counter(total, on_progress), ""
        for file in files:
            path = hf_hub_download(card.repo, file, tqdm_class=counter.bar(), **target)
            counter.finished(sizes[file])
    except (OSError, httpx2.HTTPError, HFValidationError, LocalEntryNotFoundError, EntryNotFoundError) as error:
        raise ValueError(_reason(card.repo, error)) from error
    folder = card_folder(card, models)
    if folder is None:
        raise ValueError(
            f"{card.repo}: everything was fetched to {Path(path).parent}, and yet it is not whole; is it a model to {card.task} with?"
        )
    return folder


def _files_to_download(card: Card, sizes: dict[str, int], target: dict[str, Any]) -> list[str]:
    """The files of a repository that a card asks for: half precision where there is, safetensors alone."""
    if card.files:
        return list(card.files)
    if card.task == "control":
        return ["config.json", *_weights(card, "", sizes)]
    index = index_of(Path(hf_hub_download(card.repo, INDEX, **target)).parent) or {}
    files = [INDEX]
    for part, has_weights in parts_of(index, card.task):
        files += [file for file in sizes if file.startswith(f"{part}/") and file.endswith(SMALL) and ".index." not in file]
        files += _weights(card, f"{part}/", sizes) if has_weights else []
    return files


def _weights(card: Card, prefix: str, sizes: Iterable[str]) -> list[str]:
    """Weights of a part: its fp16 variant where there is one."""
    names = [file.removeprefix(prefix) for file in sizes if file.startswith(prefix)]
    names = [name for name in names if "/" not in name and name.startswith(("diffusion_pytorch_model", "model"))]
    names = [name for name in names if name.endswith(".safetensors") or ".safetensors.index" in name]
    half = [name for name in names if ".fp16" in name]
    chosen = half or [name for name in names if "non_ema" not in name]
    if not chosen:
        raise ValueError(
            f"{card.repo}: wanted weights as safetensors in {prefix or 'it'}, found none; pickles can run code and are not fetched"
        )
    return [prefix + name for name in chosen]


def _check_space(num_bytes: int, folder: Path, card: Card) -> None:
    while not folder.exists():
        folder = folder.parent
    if (free := shutil.disk_usage(folder).free) < num_bytes + SPARE_BYTES:
        raise ValueError(
            f"{card.repo} takes {size_of(num_bytes)}, and {folder} has {size_of(free)} free; free some space or choose another --models"
        )


class _Counter:
    """Adds up the bytes of all files, and tells them on at most twice a second."""

    def __init__(self, total: int, on_progress: ProgressCallback):
        self.total, self.on_progress = total, on_progress
        self.before = self.current = 0
        self.begun = self.notified = time.monotonic()
        self.fresh = 0  # bytes that came now; what an earlier attempt left is not speed

    def bar(self) -> type:
        """What the hub takes for a progress bar."""
        counter = self
        counter.current = 0

        class Bar(tqdm.tqdm):
            """Draws nothing, and counts."""

            def __init__(self, *args: Any, **more: Any):
                more.pop("name", None)
                super().__init__(*args, **more | {"disable": True})
                counter.current = max(counter.current, more.get("initial", 0) or 0)

            def update(self, n: float | None = 1) -> None:
                """Counts n bytes."""
                counter.add(int(n or 0))

        return Bar

    def add(self, num_bytes: int) -> None:
        """Bytes of the file under way."""
        self.current += num_bytes
        self.fresh += num_bytes
        if time.monotonic() - self.notified > 0.5:
            self._notify()

    def finished(self, size: int) -> None:
        """A file is here."""
        self.before, self.current = self.before + size, 0
        self._notify()

    def _notify(self) -> None:
        self.notified = time.monotonic()
        self.on_progress(min(self.before + self.current, self.total), self.total, self.fresh / max(self.notified - self.begun, 1e-3))


def _reason(repo: str, error: Exception) -> str:
    """One line for what a download can run into."""
    page = f"https://huggingface.co/{repo}"
    if isinstance(error, GatedRepoError):
        return f"{repo} is gated: accept its terms at {page}, log in with `hf auth login`, and fetch it again"
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return f"{repo}: there is no such model on the hub, or it is private; check the spelling"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo} cannot be fetched: HF_HUB_OFFLINE is set; unset it and try again"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{repo}: the disk is full; free some space and fetch it again; the files that are whole are kept"
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return f"{repo}: a file that is wanted is not there any more ({_short(error)}); choose another model"
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return f"{repo}: the hub answered {error.response.status_code}; try again later; the files that are whole are kept"
    if isinstance(error, PermissionError):
        return f"{error.filename}: cannot be written; choose another --models"
    return f"{repo}: the download broke off ({_short(error)}); fetch it again; the files that are whole are kept"


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:150]
