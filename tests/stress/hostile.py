"""Hostile files by a seed, read by many threads at once: every one is read or refused in one line, and memory stays under a bound.

python tests/stress/hostile.py [--files 200] [--threads 16] [--seed 0] [--most-gib 2.5]

Photos, clips, archives with captions, LoRA files and packed checkpoints: whole ones, bombs, and ones with bytes changed, cut off or put
in. Exit code 1 and a line for each that was answered otherwise.
"""

import argparse
import io
import json
import random
import struct
import sys
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

sys.path.insert(0, str(Path(__file__).parents[2]))

from trip.jobs.handlers.draft import ClipsDraft  # noqa: E402
from trip.media import Clip, read_clip, read_metadata, read_photo, write_clip  # noqa: E402
from trip.model.lora import FORMAT, read_card  # noqa: E402
from trip.model_cache import _open  # noqa: E402

SLOWEST = 120  # seconds that one file may take, with everybody else's at the same time


def photo(chance: random.Random) -> tuple[str, bytes]:
    """A photo of any kind and size up to 64 megapixels, most of one colour, so that its file is small."""
    kind, save_all = chance.choice(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]), chance.random() < 0.3
    side = chance.choice([15, 16, 200, 2000, 4000] if kind in ("TIFF", "BMP") else [16, 200, 2000, 8000])
    mode = {"PNG": ["RGBA", "L", "P", "I;16"], "WEBP": ["RGB", "RGBA"], "TIFF": ["CMYK", "F", "LAB"]}.get(kind, ["RGB", "L"])
    image, data = Image.new(chance.choice(mode), (side, chance.choice([side, max(16, side // 9)]))), io.BytesIO()
    more = {"save_all": True, "append_images": [image] * 3} if save_all and kind in ("GIF", "WEBP", "PNG") and side < 3000 else {}
    image.save(data, kind, **more, **({"lossless": True} if kind == "WEBP" else {}))
    return f"photo.{kind.lower()}", data.getvalue()


def png_bomb(chance: random.Random) -> tuple[str, bytes]:
    """A header that says far too much, or a profile or text that swells."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = chance.choice([64, 16384, 100_000, 2**31 - 1])
    kind = chance.choice([b"iCCP", b"zTXt", b"tEXt"])
    swells = b"x\0\0" + zlib.compress(bytes(50_000_000), 9) if kind != b"tEXt" else b"a\0" + bytes(1000)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, chance.choice([0, 2, 6]), 0, 0, 0))
    body = chunk(kind, swells) + chunk(b"IDAT", zlib.compress(bytes(20_000))) + chunk(b"IEND", b"")
    return "bomb.png", b"\x89PNG\r\n\x1a\n" + head + body


def film(chance: random.Random, folder: Path) -> bytes:
    """A clip of one of several codecs and sizes up to 8K."""
    suffix, codec = chance.choice([("mp4", "libx264"), ("mkv", "mjpeg"), ("avi", "mjpeg"), ("mkv", "ffv1")])
    width, height = chance.choice([(64, 64), (640, 360), (16384, 64), (4096, 2160), (8192, 4320)])
    path = folder / f"{chance.random()}.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options={"preset": "ultrafast"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(2 if width * height > 10**6 else 40):
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 5 * index % 256, np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode(None))
    return path.read_bytes()


def clip(chance: random.Random, folder: Path) -> tuple[str, bytes]:
    """A film, or a small clip with metadata inside."""
    if chance.random() < 0.7:
        return f"clip.{chance.choice(['mp4', 'mkv', 'avi', 'gif'])}", film(chance, folder)
    suffix = chance.choice(["mp4", "gif", "webp"])
    frames = np.random.default_rng(chance.randrange(99)).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    made = Clip(frames, 8.0, {"prompt": "x" * chance.choice([1, 10_000]), "photo": "A" * chance.choice([0, 1000])})
    return f"clip.{suffix}", write_clip(made, folder / f"{chance.random()}.{suffix}").read_bytes()


def archive(chance: random.Random, folder: Path) -> tuple[str, bytes]:
    """Clips with captions, some of them far too long, some members with names that lead elsewhere."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", chance.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])) as packed:
        packed.writestr(chance.choice(["a.mp4", "../a.mp4", "/a.mp4", "x/a.mkv"]), film(chance, folder))
        packed.writestr("pad.bin", chance.randbytes(100_000))
        packed.writestr("a.txt", b"ab " * chance.choice([3, 10**6, 10**7]))
        rows = [b"[" * 10**5, b'{"file": "a.mp4", "caption": 7}', b'{"file": "a.mp4", "caption": "x"}']
        packed.writestr("metadata.jsonl", chance.choice(rows))
    return "clips.zip", data.getvalue()


def weights(chance: random.Random) -> tuple[str, bytes]:
    """A LoRA file with a card that may say anything."""
    odd = [1, -1, 10**9, "x", None, [], {}, 1.5, "embedded", "[" * 50_000]
    card = {name: json.dumps(chance.choice(odd)) for name in ("base", "base_digest", "rank", "layers", "num_steps", "settings", "figures")}
    card |= {"format": chance.choice([FORMAT, "x"]), "data_digest": '""', "settings": chance.choice(["{}", "[" * 50_000])}
    return "lora.safetensors", save({"unet.x.lora_A.weight": torch.zeros(4, 4)}, metadata=card)


def checkpoint(chance: random.Random) -> tuple[str, bytes]:
    """A packed tiny model; one of its files is spoilt, missing, a pickle or a table of far too many layers."""
    model, data = _tiny(), io.BytesIO()
    names = sorted(model)
    victim, how = chance.choice(names), chance.choice(["spoilt", "missing", "pickle", "whole", "large"])
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in names:
            content = model[name]
            if how == "large" and name == "unet/config.json":
                content = json.dumps(json.loads(content) | {"block_out_channels": [10**9] * 4}).encode()
            if name == victim:
                content = {"spoilt": spoilt(content, chance), "missing": None}.get(how, content)
            if content is not None:
                packed.writestr(name, content)
        if how == "pickle":
            packed.writestr("unet/weights.bin", b"cos\nsystem\n(S'touch broken-in'\ntR.")
    return "checkpoint.zip", data.getvalue()


@cache
def _tiny() -> dict[str, bytes]:
    """Files of a tiny random checkpoint by their names."""
    from app_process import tiny_model

    with TemporaryDirectory() as place:
        folder = tiny_model(Path(place) / "model")
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def spoilt(data: bytes, chance: random.Random) -> bytes:
    """As it is, cut off, or with bytes changed or put in."""
    how = chance.random()
    if how < 0.35:
        return data
    if how < 0.5:
        return data[: chance.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(chance.choice([1, 8, 64])):
        changed[chance.randrange(min(len(changed), chance.choice([64, 4096, 2**30])))] = chance.randrange(256)
    at = chance.randrange(len(changed))
    return bytes(changed[:at] + chance.randbytes(chance.choice([0, 0, 7, 300])) + changed[at:])


def read(path: Path) -> None:
    """As the app would: everything that takes such a file."""
    if path.suffix == ".safetensors":
        read_card(path)
        return
    if path.stem == "checkpoint":
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                packed.extractall(path.with_suffix(""))
        path.with_suffix("").mkdir(exist_ok=True)
        _open(str(path.with_suffix("")))
        return
    if path.suffix == ".zip" or path.stem == "clip":
        draft = ClipsDraft(path.parent / "drafts" / "mine", 2)
        draft.mend_all(draft.take_in([str(path)]))
        return
    for reader in (read_photo, read_metadata, read_clip):
        try:
            reader(path)
        except ValueError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000, error


def resident() -> float:
    """GiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**30


def answered(path: Path) -> tuple[str, str, float]:
    """How a file was answered, in a word and in words, and the seconds that it took."""
    begun = time.monotonic()
    try:
        read(path)
        answer = ("read", "")
    except ValueError as error:
        is_line = "\n" not in str(error) and len(str(error)) < 1000
        answer = ("refused", str(error)) if is_line else ("not one line", str(error)[:300])
    except BaseException as error:  # noqa: BLE001  what is looked for
        answer = ("broke", f"{type(error).__name__}: {error}"[:300])
    return *answer, time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, kind, usual in (("files", int, 200), ("threads", int, 16), ("seed", int, 0), ("most-gib", float, 2.5)):
        parser.add_argument(f"--{name}", type=kind, default=usual)
    options = parser.parse_args()
    av.logging.set_level(None)
    with TemporaryDirectory() as place:
        paths = [made_file(Path(place), options.seed, number) for number in range(options.files)]
        base, top, answers, is_over = resident(), [0.0], [], threading.Event()
        watch = threading.Thread(target=lambda: [top.append(max(top.pop(), resident())) for _ in iter(lambda: is_over.wait(0.01), True)])
        watch.start()
        with ThreadPoolExecutor(options.threads) as pool:
            answers = list(pool.map(answered, paths))
        is_over.set()
        watch.join()
    wrong = []
    for path, (word, said, seconds) in zip(paths, answers, strict=True):
        wrong += [f"{path.name} of {path.parent.name}: {word}: {said}"] if word not in ("read", "refused") else []
        wrong += [f"{path.name} of {path.parent.name}: took {seconds:.0f} s"] if seconds > SLOWEST else []
    wrong += [f"memory rose by {top[0] - base:.2f} GiB"] if top[0] - base > options.most_gib else []
    longest = round(max(seconds for _, _, seconds in answers), 1)
    told = Counter(word for word, _, _ in answers)
    print(json.dumps({"answers": told, "gib_more": round(top[0] - base, 2), "longest_seconds": longest}), *wrong, sep="\n")
    sys.exit(bool(wrong))


def made_file(place: Path, seed: int, number: int) -> Path:
    """One of the files of a seed, in a folder of its own."""
    chance, folder = random.Random(f"{seed} {number}"), place / str(number)
    folder.mkdir()
    makers: list[Callable[..., Any]] = [
        lambda c: photo(c),
        png_bomb,
        lambda c: clip(c, folder),
        lambda c: archive(c, folder),
        weights,
        checkpoint,
    ]
    name, data = chance.choice(makers)(chance)
    for left in folder.iterdir():
        left.unlink()
    (folder / name).write_bytes(data if name == "checkpoint.zip" else spoilt(data, chance))
    return folder / name


if __name__ == "__main__":
    main()
