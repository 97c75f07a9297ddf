"""Memory: what is held, what there is, and the container's share of it."""

import mmap
from pathlib import Path

import psutil
import pytest
import torch

from trip.system import memory
from trip.system.memory import available_memory, is_out_of_memory, memory_in_use, memory_limit, peak_memory, reset_peak_memory, total_memory

CPU = torch.device("cpu")


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container's files, to be filled."""
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", [None, "max\n"])
def test_without_a_limit_all_of_the_machine_is_there(container, text):
    if text is not None:
        (container / "memory.max").write_text(text)
    assert memory_limit() is None
    assert total_memory() == psutil.virtual_memory().total


def test_a_container_has_what_its_limit_says(container):
    (container / "memory.max").write_text(f"{64 * 2**20}\n")
    (container / "memory.stat").write_text(f"anon {48 * 2**20}\nfile {2**30}\n")
    assert memory_limit() == total_memory() == 64 * 2**20
    assert available_memory(CPU) - psutil.Process().memory_info().rss == pytest.approx(16 * 2**20, abs=4 * 2**20)  # files can be dropped


def test_a_limit_beyond_the_machine_is_none(container):
    (container / "memory.max").write_text(str(2**60))
    assert total_memory() == psutil.virtual_memory().total


def test_the_peak_is_remembered_until_it_is_reset():
    held = mmap.mmap(-1, 256 * 2**20)
    held.write(bytes([1]) * 256 * 2**20)
    held.close()
    before = peak_memory(CPU)
    assert before - memory_in_use() > 200 * 2**20
    reset_peak_memory(CPU)
    assert before - peak_memory(CPU) > 200 * 2**20


def test_memory_in_use_grows_with_what_is_held():
    before = memory_in_use()
    held = mmap.mmap(-1, 64 * 2**20)  # of the system: what an allocator hands out it may have had all along
    held.write(bytes([1]) * 64 * 2**20)
    assert memory_in_use() - before > 50 * 2**20
    held.close()


@pytest.mark.parametrize("error, out", [(MemoryError(), True), (torch.OutOfMemoryError(), True), (RuntimeError("shapes differ"), False)])
def test_what_counts_as_out_of_memory(error, out):
    assert is_out_of_memory(error) is out


def test_memory_that_is_not_there_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60)
    assert is_out_of_memory(refused.value)
