"""Clips that a person brings: archives that cannot be trusted, what is seen in a clip, and what mends it."""

import json
import os
import random
import shutil
import stat
import zipfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from trip.data import uploads
from trip.data.clips import find_clips
from trip.data.intake import (
    MENDS,
    Bars,
    caption_from_name,
    clips_to_learn,
    find_bars,
    look_at,
    mark_duplicates,
    trim,
)
from trip.data.uploads import take_in, write_captions
from trip.jobs.handlers.draft import ClipsDraft
from trip.media import read_clip


def textured(seed: int, num_frames: int, height: int = 48, width: int = 64, speed: int = 2) -> np.ndarray:
    """A coarse random pattern that slides to the right: f h w 3."""
    rng = np.random.default_rng(seed)
    wide = np.kron(rng.integers(20, 236, (height // 8, width // 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    return np.stack([wide[:, speed * i : speed * i + width] for i in range(num_frames)])


def write(
    path: Path, frames: np.ndarray, *, codec: str = "libx264", pixels: str = "yuv420p", times: list[int] | None = None, **more
) -> Path:
    """A clip at 8 frames per second, or with frames at the times given, in 1/100 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(8), options={"crf": "10", **more.pop("options", {})})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, 100)
        for name, value in more.items():
            setattr(stream.codec_context, name, value)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = times[index] if times else round(12.5 * index), Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def has_encoder(name: str) -> bool:
    return name in av.codecs_available and av.Codec(name, "w") is not None


def refusal(call, *arguments, **more) -> str:
    with pytest.raises(ValueError) as caught:
        call(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("good") / "good.mp4", textured(0, 16))


# taken in


def archive(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return path


def test_clips_come_out_of_files_and_archives_flat(good, tmp_path):
    packed = archive(
        tmp_path / "clips.zip",
        ("a/good.mp4", good.read_bytes()),
        ("b/good.mp4", good.read_bytes()),
        ("b/good.txt", b"it slides"),
        ("__MACOSX/._good.mp4", b"x"),
        ("readme.md", b"x"),
    )
    taken = take_in([good, packed], tmp_path / "in")
    assert sorted(path.name for path in taken) == ["good-2.mp4", "good-3.mp4", "good.mp4"]
    assert (tmp_path / "in" / "good-3.txt").read_text() == "it slides" and len(list((tmp_path / "in").iterdir())) == 4


def captions_of(files, folder) -> dict[str, str]:
    take_in(files, folder)
    return {clip.path.name: clip.caption for clip in find_clips(folder, held_out=None)}


@pytest.mark.parametrize("order", [1, -1])
def test_words_stay_with_the_clip_that_they_lay_beside(good, tmp_path, order):
    content = good.read_bytes()
    members = [("a/x.mp4", content), ("b/x.mp4", content), ("b/x.txt", b"words of b"), ("c/x.txt", b"words of nothing")][::order]
    other = archive(tmp_path / "other.zip", ("x.mp4", content), ("x.txt", b"of the other"))
    captions = captions_of([archive(tmp_path / "clips.zip", *members), other], tmp_path / "in")
    assert captions == {("x.mp4", "x-2.mp4")[order < 0]: "", ("x-2.mp4", "x.mp4")[order < 0]: "words of b", "x-3.mp4": "of the other"}


@pytest.mark.parametrize(
    "table",
    [
        ("metadata.csv", "file_name,caption\na/x.mp4,A\nb/x.mp4,B\n"),
        ("clips.csv", "\ufefffile;text\n./a/x.mp4;A\n.\\b\\x.mp4;B\n"),
        ("captions.tsv", "Video\tCaption\na\\x.mp4\tA\nB/X.MP4\tB\n"),
        ("metadata.jsonl", '{"path": "C:\\\\clips\\\\a\\\\x.mp4", "text": "A"}\n{"path": "/home/me/b/x.mp4", "text": "B"}\n'),
        ("all.csv", "file,caption\na/x,A\nb/x,B\n"),
    ],
)
@pytest.mark.parametrize("top", ["", "set/"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_table_speaks_of_the_clips_of_its_archive(good, tmp_path, table, top, encoding):
    name, text = table
    content = good.read_bytes()
    members = [(f"{top}{name}", text.encode(encoding)), (f"{top}a/x.mp4", content), (f"{top}b/x.mp4", content)]
    assert captions_of([archive(tmp_path / "clips.zip", *members)], tmp_path / "in") == {"x.mp4": "A", "x-2.mp4": "B"}


def test_rows_that_speak_of_no_clip_are_told(good, tmp_path):
    content, told = good.read_bytes(), []
    rows = "file,caption\nx.mp4,A\ny.mp4,B\nx.mp4,too,many\n"
    take_in([archive(tmp_path / "clips.zip", ("metadata.csv", rows.encode()), ("x.mp4", content))], tmp_path / "in", told.append)
    assert "metadata.csv row 4: has 3 columns" in told[0] and "1 of 2 rows name no file that is here" in told[1] and "y.mp4" in told[1]
    none = archive(tmp_path / "none.zip", ("metadata.csv", b"file,caption\ny.mp4,B\n"), ("x.mp4", content))
    assert "metadata.csv row 2 speaks of 'y.mp4'" in refusal(take_in, [none], tmp_path / "again")
    other = archive(tmp_path / "other.zip", ("notes.csv", b"a,b\n1,2\n"), ("x.mp4", content))
    assert "notes.csv row 2: wanted a file and a caption, got the columns a, b" in refusal(take_in, [other], tmp_path / "once more")


@pytest.mark.parametrize(
    "words, encoding",
    [
        ("the flames leap", "utf-16"),
        ("the flames leap", "utf-16-le"),
        ("the flames leap", "utf-16-be"),
        ("les flammes s’élèvent", "cp1252"),
        ("les flammes s’élèvent", "utf-8"),
        ("les flammes s’élèvent", "utf-8-sig"),
        ("les flammes s’élèvent", "utf-32"),
    ],
)
def test_a_caption_is_read_in_the_encoding_that_it_was_written_in(good, tmp_path, words, encoding):
    shutil.copy(good, tmp_path / "good.mp4")
    (tmp_path / "good.txt").write_bytes(words.encode(encoding))
    assert [clip.caption for clip in find_clips(tmp_path, held_out=None)] == [words]


def test_a_caption_that_is_no_text_is_refused(good, tmp_path):
    shutil.copy(good, tmp_path / "good.mp4")
    (tmp_path / "good.txt").write_bytes(bytes(range(256)))
    assert "good.txt: wanted a caption as text" in refusal(find_clips, tmp_path, held_out=None)


def test_an_archive_packed_in_an_unusual_way_is_refused(good, tmp_path):
    packed = archive(tmp_path / "clips.zip", ("good.mp4", good.read_bytes()), method=zipfile.ZIP_LZMA)
    assert "packed in an unusual way; pack it again" in refusal(take_in, [packed], tmp_path / "in")


@pytest.mark.parametrize("name", ["../evil.mp4", "a/../../evil.mp4", "/etc/evil.mp4", "C:\\evil.mp4", "..\\evil.mp4"])
def test_an_archive_that_points_outside_is_refused(good, tmp_path, name):
    packed = archive(tmp_path / "clips.zip", (name, good.read_bytes()))
    assert "points outside" in refusal(take_in, [packed], tmp_path / "in")
    assert not list((tmp_path / "in").iterdir())


def test_a_link_in_an_archive_is_refused(tmp_path):
    link = zipfile.ZipInfo("link.mp4")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "holds a link" in refusal(take_in, [archive(tmp_path / "clips.zip", (link, b"/etc/passwd"))], tmp_path / "in")


def test_an_archive_that_swells_is_refused_before_it_is_unpacked(tmp_path):
    bomb = archive(tmp_path / "bomb.zip", ("zeros.mp4", b"\0" * 40_000_000))
    assert "unpack to 38 MB" in refusal(take_in, [bomb], tmp_path / "in")
    assert not list((tmp_path / "in").iterdir())


def test_an_archive_that_lies_about_its_size_is_stopped(tmp_path):
    packed = archive(tmp_path / "lies.zip", ("one.mp4", b"\1" * 100_000), method=zipfile.ZIP_STORED)
    content = bytearray(packed.read_bytes())
    at = content.rindex(b"PK\1\2") + 24  # uncompressed size in the central directory
    content[at : at + 4] = (10).to_bytes(4, "little")
    packed.write_bytes(content)
    assert "lies.zip" in refusal(take_in, [packed], tmp_path / "in")
    assert not list((tmp_path / "in").glob("*.mp4")) or (tmp_path / "in" / "one.mp4").stat().st_size <= 10


def test_too_many_files_broken_archives_and_other_kinds_are_refused(good, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_CLIPS", 1)
    many = archive(tmp_path / "many.zip", *((f"{i}.mp4", b"x") for i in range(3)))
    assert "at most 1 clips" in refusal(take_in, [many], tmp_path / "in")
    (tmp_path / "broken.zip").write_bytes(b"PK nothing")
    assert "does not" in refusal(take_in, [tmp_path / "broken.zip"], tmp_path / "in")
    (tmp_path / "model.pt").write_bytes(b"x")
    assert "wanted clips" in refusal(take_in, [tmp_path / "model.pt"], tmp_path / "in")
    assert "at least one clip" in refusal(take_in, [], tmp_path / "in")


@pytest.mark.parametrize("name, most", [("good.txt", 64), ("metadata.csv", 4096), ("metadata.jsonl", 4096)])
@pytest.mark.parametrize("packs", [True, False])
def test_captions_far_longer_than_captions_are_refused_before_they_are_read(good, tmp_path, name, most, packs):
    words = b"ab " * (most * 1024 // 3 + 1000)
    (tmp_path / name).write_bytes(words)
    pad = ("pad.bin", random.Random(0).randbytes(300_000))  # so that the archive's own ratio is not what refuses it
    files = [archive(tmp_path / "c.zip", (good.name, good.read_bytes()), (name, words), pad)] if packs else [good, tmp_path / name]
    assert f"{name}: wanted captions of at most {most} KB" in refusal(take_in, files, tmp_path / "in")
    assert not (tmp_path / "in" / name).exists() or not packs


def test_a_caption_that_is_not_an_uploads_is_bounded_too(good, tmp_path):
    clip = Path(shutil.copy(good, tmp_path / "good.mp4"))
    clip.with_suffix(".txt").write_bytes(b"ab " * 30_000)
    assert "good.txt: wanted a caption of at most 64 KB" in refusal(find_clips, tmp_path, held_out=None)
    clip.with_suffix(".txt").unlink()
    with (tmp_path / "metadata.csv").open("wb") as table:
        table.truncate(65 * 2**20)
    assert "wanted a table of at most 64 MB" in refusal(find_clips, tmp_path, held_out=None)


def test_a_list_of_captions_that_nests_without_end_is_one_line(good, tmp_path):
    shutil.copy(good, tmp_path / "good.mp4")
    (tmp_path / "metadata.jsonl").write_text("[" * 200_000)
    assert "metadata.jsonl line 1: wanted one JSON object" in refusal(find_clips, tmp_path, held_out=None)


def test_bounds_hold_over_all_uploads_together(good, tmp_path, monkeypatch):
    several = [archive(tmp_path / f"{i}.zip", (f"{i}.mp4", good.read_bytes())) for i in range(3)]
    monkeypatch.setattr(uploads, "MOST_CLIPS", 2)
    assert "wanted at most 2 clips, got 3" in refusal(take_in, several, tmp_path / "in")
    monkeypatch.setattr(uploads, "MOST_CLIPS", 9)
    monkeypatch.setattr(uploads, "MOST_BYTES", 2 * good.stat().st_size)
    assert "would unpack to" in refusal(take_in, several, tmp_path / "again")
    assert "MB of clips, got more" in refusal(take_in, [good, good, good], tmp_path / "once more")


def test_what_would_fill_the_disk_is_refused_before_it_is_unpacked(good, tmp_path, monkeypatch):
    packed = archive(tmp_path / "clips.zip", ("good.mp4", good.read_bytes()))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=200 * 2**20 + good.stat().st_size - 1))
    for upload in (packed, good):
        assert "the disk is almost full (" in refusal(take_in, [upload], tmp_path / "in")
        assert not list((tmp_path / "in").iterdir())


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_archive_is_one_line(good, tmp_path, method, seed):
    chance = random.Random(seed)
    content = bytearray(archive(tmp_path / "clips.zip", ("good.mp4", good.read_bytes()), method=method).read_bytes())
    for _ in range(20):
        content[chance.randrange(len(content))] = chance.randrange(256)
    (tmp_path / "clips.zip").write_bytes(content)
    try:
        take_in([tmp_path / "clips.zip"], tmp_path / "in")
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_disk_that_is_full_all_the_same_is_told_by_the_draft(good, tmp_path, monkeypatch):
    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uploads, "_copied", full)
    draft = ClipsDraft(tmp_path / "drafts" / "mine", 2)
    for upload in (good, archive(tmp_path / "clips.zip", ("good.mp4", good.read_bytes()))):
        assert "could not be stored (No space left on device); free some space" in refusal(draft.take_in, [str(upload)])
        assert not draft.folder.exists()


# looked at


def test_a_good_clip_is_called_good(good):
    look = look_at(good, min_frames=16)
    assert (look.verdict, look.usable, look.mends) == ("good", True, ())
    assert (look.codec, look.width, look.height, look.num_frames) == ("h264", 64, 48, 16)
    assert look.seconds == pytest.approx(2.0, abs=0.1) and look.strip.startswith(b"\xff\xd8")


def test_short_static_and_broken_clips_are_said(tmp_path):
    assert "2 frames, 16 are needed" in look_at(write(tmp_path / "short.mp4", textured(0, 2)), min_frames=16).verdict
    still = look_at(write(tmp_path / "still.mp4", textured(0, 16, speed=0)), min_frames=16)
    assert "nothing moves" in still.verdict
    (tmp_path / "broken.mp4").write_bytes(b"no clip at all")
    broken = look_at(tmp_path / "broken.mp4", min_frames=16)
    assert not broken.usable and "does not decode" in broken.verdict


def test_a_file_with_sound_alone_is_said(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    look = look_at(path, min_frames=16)
    assert not look.usable and "without pictures" in look.verdict


def test_cuts_are_found_and_split(tmp_path):
    path = write(tmp_path / "cut.mp4", np.concatenate([textured(seed, 16) for seed in (1, 2, 3)]))
    look = look_at(path, min_frames=16)
    assert look.cuts == pytest.approx((2.0, 4.0), abs=0.02) and look.mends == ("split",)
    path.with_suffix(".txt").write_text("it slides")
    parts = MENDS["split"](path, look)
    assert [part.name for part in parts] == ["cut-1.mp4", "cut-2.mp4", "cut-3.mp4"] and not path.exists()
    assert [len(read_clip(part).frames) for part in parts] == [16, 16, 16]
    assert all(look_at(part, min_frames=16).verdict == "good" and part.with_suffix(".txt").exists() for part in parts)


def test_lights_that_flash_are_no_cuts(tmp_path):
    frames = textured(1, 1).repeat(16, axis=0)
    frames[::2] //= 3
    assert look_at(write(tmp_path / "flash.mp4", frames), min_frames=16).cuts == ()


def test_black_bars_are_found_and_cropped(tmp_path):
    frames = np.pad(textured(1, 16), ((0, 0), (12, 12), (0, 0), (0, 0)))
    path = write(tmp_path / "bars.mp4", frames)
    look = look_at(path, min_frames=16)
    assert (look.bars.top, look.bars.bottom, look.mends) == (pytest.approx(12, abs=1), pytest.approx(12, abs=1), ("crop bars",))
    (cropped,) = MENDS["crop bars"](path, look)
    assert look_at(cropped, min_frames=16).verdict == "good"
    assert find_bars(np.zeros((8, 8))) == Bars(), "a black scene has no bars"


def test_a_clip_is_trimmed(tmp_path, good):
    path = Path(tmp_path / "long.mp4")
    path.write_bytes(good.read_bytes())
    assert "beginning before the end" in refusal(trim, path, 1.0, 0.5)
    (short,) = trim(path, 0.5, 1.5)
    assert len(read_clip(short).frames) == 8 and not path.exists()


def test_the_same_clip_in_another_size_and_quality_is_a_duplicate(good, tmp_path):
    frames = read_clip(good).frames
    twin = write(tmp_path / "twin.mp4", frames.repeat(2, axis=1).repeat(2, axis=2), options={"crf": "30"})
    other = write(tmp_path / "other.mp4", textured(5, 16))
    looks = mark_duplicates([look_at(path, min_frames=16) for path in (good, twin, other)])
    assert [look.verdict for look in looks] == ["good", "the same as good.mp4; drop one", "good"]


def test_uneven_frame_rate_is_a_note(tmp_path):
    times = [round(12.5 * i + (6 if i % 3 == 0 else 0)) for i in range(16)]
    look = look_at(write(tmp_path / "uneven.mp4", textured(0, 16), times=times), min_frames=16)
    assert look.usable and "frame rate varies" in look.verdict


def test_a_turned_phone_video_is_set_upright(tmp_path):
    path = write(tmp_path / "phone.mp4", textured(0, 16))
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # the matrix of a version-0 track header
    for place, value in enumerate((0, 1, 0, -1, 0, 0, 0, 0)):
        content[at + 4 * place : at + 4 * place + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    look = look_at(path, min_frames=16)
    assert (look.width, look.height) == (48, 64) and "set upright" in look.verdict and look.usable


@pytest.mark.parametrize("codec, pixels", [("libx265", "yuv420p10le"), ("libsvtav1", "yuv420p10le"), ("libx264", "yuv420p10le")])
def test_ten_bits_hevc_and_av1_decode(tmp_path, codec, pixels):
    assert has_encoder(codec), "the pinned PyAV brings it"
    with ThreadPoolExecutor(1) as aside:  # as root, SVT-AV1 gives its caller's thread, and all that this one starts, real-time priority
        path = aside.submit(write, tmp_path / "clip.mp4", textured(0, 16, 64, 96), codec=codec, pixels=pixels).result()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    look = look_at(path, min_frames=16)
    assert look.usable and "10 bits a colour" in look.verdict


def test_hdr_is_said(tmp_path):
    path = write(tmp_path / "hdr.mp4", textured(0, 16), codec="libx265", pixels="yuv420p10le", color_trc=16)
    assert "HDR (PQ)" in look_at(path, min_frames=16).verdict


# said and shared out


def test_captions_are_written_where_training_reads_them(good, tmp_path):
    (tmp_path / "a.mp4").write_bytes(good.read_bytes())
    write_captions(tmp_path, {"a.mp4": "it  slides"})
    assert json.loads((tmp_path / "metadata.jsonl").read_text()) == {"file": "a.mp4", "caption": "it slides"}
    (clip,) = [clip for side in (False, True) for clip in _found(tmp_path, side)]
    assert clip.caption == "it slides"


def _found(folder: Path, held_out: bool) -> list:
    try:
        return find_clips(folder, held_out=held_out)
    except ValueError:
        return []


def test_a_name_gives_words():
    assert caption_from_name(Path("red_flag-waving_02.mp4")) == "red flag waving"


@pytest.mark.parametrize("count, held", [(1, 0), (2, 0), (3, 1), (10, 2)])
def test_one_in_five_is_held_out_from_three_on(good, tmp_path, count, held):
    for number in range(count):
        (tmp_path / f"sliding_{number}.mp4").write_bytes(good.read_bytes())
    clips, held_out = clips_to_learn(tmp_path, None, min_frames=16)
    assert (len(clips), len(held_out)) == (count - held, held)
    assert {clip.caption for clip in clips} == {"sliding"}
    assert clips_to_learn(tmp_path, None, min_frames=16) == (clips, held_out)


def test_a_folder_without_clips_is_refused(tmp_path):
    assert "wanted clips" in refusal(clips_to_learn, tmp_path, None, min_frames=16)
