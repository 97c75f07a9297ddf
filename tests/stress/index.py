"""What a cache of WebVid-10M's size costs to open, shuffle, resume and read, on an index made up for it.

python tests/stress/index.py [--clips 10700000] [--shard-size 1024]
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from trip.data.layouts import Entry, entries  # noqa: E402
from trip.data.shards import EncodedDataSet, Encoders, encode_shards  # noqa: E402

READ_SHARDS, READ_SIZE, LISTED, HEADERS = 16, 64, 50_000, 500
SHAPE, WORDS = (1, 4, 16, 32, 32), (77, 1024)  # of the paper's clips


def memory() -> float:
    """MiB that this process holds, files mapped into memory included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def synthetic(folder: Path, num_shards: int, shard_size: int) -> None:
    """An index without shards: their files are empty."""
    names = [f"clips-{number:07d}.safetensors" for number in range(num_shards)]
    for name in names:
        (folder / name).touch()
    (folder / "index.json").write_text(json.dumps(dict.fromkeys(names, shard_size)))
    (folder / "listing.json").write_text(json.dumps({"entries": num_shards * shard_size, "shards": num_shards}))
    (folder / "key.json").write_text(json.dumps({"num_frames": 16}))


def filled(folder: Path, num_shards: int, shard_size: int, shape: tuple[int, ...], words: tuple[int, int]) -> None:
    """Shards with random latents and text of a caption for each clip."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (1, 1, 1, 3), dtype=np.uint8)
    encoders = Encoders(
        window=lambda entry, window: (frames, np.arange(16.0)),
        latents=lambda video: torch.randn(shape),
        text=lambda captions: (torch.randn(len(captions), *words), torch.randn(len(captions), words[1])),
    )
    listed = (
        Entry(f"{i}.mp4", folder / f"{i}.mp4", (f"a clip of number {i}, with a caption as long as they are",), "train")
        for i in range(num_shards * shard_size)
    )
    list(encode_shards(folder, listed, encoders, key={"num_frames": 16}, shard_size=shard_size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_700_000)
    parser.add_argument("--shard-size", type=int, default=1024)
    options = parser.parse_args()
    told: dict[str, float] = {}
    with TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "index").mkdir()
        synthetic(folder / "index", options.clips // options.shard_size, options.shard_size)
        before = memory()
        opened: list[EncodedDataSet] = []
        told["open_s"] = seconds(lambda: opened.append(EncodedDataSet(folder / "index")))
        clips = opened[0]
        told["clips"] = len(clips)
        rng = np.random.default_rng(0)
        told["resume_anywhere_ms"] = 1000 * seconds(lambda: [clips.place(0, int(p)) for p in rng.integers(5 * len(clips), size=100)]) / 100
        told["next_clip_us"] = 1e6 * seconds(lambda: [clips.place(0, p) for p in range(50_000)]) / 50_000
        told["index_memory_mib"] = memory() - before

        (folder / "headers").mkdir()
        filled(folder / "headers", HEADERS, 1, (1, 4, 1, 1, 1), (1, 1))
        told["header_ms"] = 1000 * seconds(lambda: EncodedDataSet(folder / "headers")) / HEADERS

        (folder / "read").mkdir()
        filled(folder / "read", READ_SHARDS, READ_SIZE, SHAPE, WORDS)
        clips = EncodedDataSet(folder / "read")
        before = memory()
        told["read_clips_a_second"] = len(clips) / seconds(lambda: [clips.draw(0, p) for p in range(len(clips))])
        told["read_memory_mib"] = memory() - before

        (folder / "webvid").mkdir()
        with (folder / "webvid" / "results_10M_train.csv").open("w") as table:
            table.write("videoid,contentUrl,duration,page_dir,name\n")
            for i in range(LISTED):
                page = folder / "webvid" / "videos" / f"{i // 1000:06d}_{i // 1000:06d}"
                page.mkdir(parents=True, exist_ok=True)
                (page / f"{i}.mp4").touch()
                table.write(f"{i},https://example.org/{i}.mp4,PT00H00M15S,{i // 1000:06d}_{i // 1000:06d},a clip of number {i}\n")
        told["list_us_a_clip"] = 1e6 * seconds(lambda: sum(1 for _ in entries(folder / "webvid", "webvid", "train"))) / LISTED
    print(json.dumps({name: round(value, 3) for name, value in told.items()}, indent=1))


if __name__ == "__main__":
    main()
