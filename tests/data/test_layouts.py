"""Data sets as they lie on disk become streams of entries: files, captions, splits, spans."""

import json

import pytest

from trip.data.layouts import LAYOUTS, entries, layout_of, splits_of
from trip.data.photos import is_held_out
from trip.data.windows import Unfit, read_at_rate


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def of(folder, split=None, layout="auto"):
    return list(entries(folder, layout, split))


def test_webvid_names_files_by_page_and_id(folder):
    touch(folder, "videos/000001_000050/21179416.mp4", "videos/33.mp4")
    rows = "21179416,https://x/1.mp4,PT00H00M11S,000001_000050,Aerial shot   winter forest\n33,https://x/2.mp4,PT1M,000051_000100,\n"
    (folder / "results_10M_train.csv").write_text("videoid,contentUrl,duration,page_dir,name\n" + rows)
    (folder / "results_10M_val.csv").write_text("videoid,contentUrl,duration,page_dir,name\n7,u,PT1M,p,gone\n")
    assert layout_of(folder) == "webvid"
    first, second = of(folder, "train")
    assert first.name == "000001_000050/21179416.mp4" and first.path.is_file() and first.captions == ("Aerial shot winter forest",)
    assert second.path == folder / "videos/33.mp4" and second.captions == ()
    (held_out,) = of(folder, "validation")
    assert held_out.captions == ("gone",) and not held_out.path.exists()


def test_msrvtt_has_many_captions_and_its_own_splits(folder):
    videos = [{"video_id": f"video{i}", "split": split} for i, split in enumerate(("train", "validate", "test"))]
    sentences = [{"video_id": f"video{i}", "caption": f"caption {j}", "sen_id": j} for i in range(3) for j in range(20)]
    (folder / "train_val_videodatainfo.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    touch(folder, "TrainValVideo/video0.mp4", "TrainValVideo/video1.mp4", "TestVideo/video2.mp4")
    assert layout_of(folder) == "msrvtt"
    assert [(entry.name, entry.split) for entry in of(folder)] == [
        ("video0.mp4", "train"),
        ("video1.mp4", "validation"),
        ("video2.mp4", "test"),
    ]
    assert all(len(entry.captions) == 20 and entry.path.is_file() for entry in of(folder))


def test_dtdb_takes_the_category_as_prompt(folder):
    touch(folder, "BY_APPEARANCE_FINAL/TRAIN/Water_Fall/a.mp4", "BY_APPEARANCE_FINAL/TEST/Clouds/b.avi")
    assert layout_of(folder) == "dtdb"
    assert {(entry.captions, entry.split) for entry in of(folder)} == {(("water fall",), "train"), (("clouds",), "test")}


def test_what_the_paper_evaluates_on_alone_gives_its_test_split_by_itself():
    assert [splits_of(layout) for layout in ("msrvtt", "dtdb")] == [("test",)] * 2
    assert [splits_of(layout) for layout in ("webvid", "table", "folder")] == [("train", "validation")] * 3


PAPER = ["fires", "clouds", "vegetation", "waterfall"]  # Sec. 4.1


def test_the_papers_categories_of_dtdb_can_be_chosen_however_they_are_spelt(folder):
    names = ("Fire", "Clouds", "Vegetation", "Water_Falls", "Waving_Flag", "Fireworks", "Cloud_of_smoke")
    touch(folder, *(f"{split}/{name}/{split}.mp4" for name in names for split in ("TRAIN", "TEST")))
    chosen = list(entries(folder, split="test", categories=PAPER))
    assert [entry.name for entry in chosen] == [f"TEST/{name}/TEST.mp4" for name in sorted(names[:4])]
    assert len(of(folder, "test")) == 7


def test_a_category_that_is_not_there_is_one_line_with_those_that_are(folder):
    touch(folder, "TRAIN/Fire/a.mp4", "TEST/Clouds/b.mp4")
    with pytest.raises(ValueError, match="unknown category 'smoke'; choose .*'Clouds', 'Fire'"):
        entries(folder, categories=["fire", "smoke"])
    with pytest.raises(ValueError, match="--category: wanted the layout dtdb, which has some, got folder; leave it out"):
        entries(folder, "folder", categories=["fire"])


def test_tables_of_openvid_and_panda(folder):
    (folder / "OpenVid.csv").write_text('video,caption,fps,seconds\nx_1.mp4,"a cat, asleep",30,4\n')
    touch(folder, "video/x_1.mp4")
    assert layout_of(folder) == "table"
    assert of(folder)[0].captions == ("a cat, asleep",) and of(folder)[0].path.is_file()
    (folder / "OpenVid.csv").unlink()
    spans, captions = "[['0:00:01.5', '0:00:05.0'], ['0:01:00.0', '0:01:04.5']]", "['a dog runs', 'it stops']"
    (folder / "panda70m_training.csv").write_text(f'videoID,url,timestamp,caption\nabc,u,"{spans}","{captions}"\n')
    first, second = of(folder, "train")
    assert (first.name, first.begin, first.end, first.captions) == ("abc.mp4", 1.5, 5.0, ("a dog runs",))
    assert (second.begin, second.end) == (60.0, 64.5)


@pytest.mark.parametrize(
    "stamps, captions, spans",
    [
        ("[['0:00:00','0:00:01']]", "plain words", [(0, 1, "plain words")]),
        ("[[0.5, 2], [2, 3.25]]", "['a', 'b']", [(0.5, 2, "a"), (2, 3.25, "b")]),
        ("[['0:00:00','0:00:01'], ['0:00:02','0:00:03']]", "one for all", [(0, 1, "one for all"), (2, 3, "one for all")]),
    ],
)
def test_panda_rows_may_have_plain_captions_and_numbers(folder, stamps, captions, spans):
    (folder / "panda.csv").write_text(f'videoID,caption,timestamp\nabc,"{captions}","{stamps}"\n')
    assert [(entry.begin, entry.end, *entry.captions) for entry in of(folder)] == spans


@pytest.mark.parametrize(
    "row",
    [
        'b,"[\'a\'","[[0, 1]]"',
        'b,"[\'a\']","[[0, 1"',
        'b,"[\'a\']","[[0, 1], [1, 2]]"',
        'b,a,"[[3, 1]]"',
        'b,a,"[5]"',
        ",a,",
        'b,a,"[[0, 1]]",more',
        "[" * 3000 + ",a,[",
    ],
)
def test_a_bad_row_is_counted_and_costs_nothing_but_itself(folder, row):
    touch(folder, "a.mp4", "b.mp4")
    (folder / "panda.csv").write_text(f"videoID,caption,timestamp\na,first,\n{row}\na,last,\n")
    first, bad, last = of(folder)
    assert (first.captions, last.captions) == (("first",), ("last",)) and not first.fault
    assert bad.name == "panda.csv row 3" and bad.fault and not bad.captions
    with pytest.raises(Unfit) as caught:
        read_at_rate(bad, num_frames=2, fps=1, size=8, rng=None)
    assert caught.value.reason == "listed"


@pytest.mark.parametrize(
    "text", ['{"video_id": 1, "caption": 2}', '[{"video_id": "a", "caption": "b"}]', '{"video_id": "caption"', '{"a": 1}']
)
def test_a_stray_json_is_no_data_set(folder, text):
    touch(folder, "a.mp4")
    (folder / "notes.json").write_text(text)
    assert layout_of(folder) == "folder" and [entry.name for entry in of(folder)] == ["a.mp4"]


def test_tables_with_back_slashes_and_whole_paths_find_their_files(folder):
    touch(folder, "videos/a.mp4", "deep/b.mp4", "videos/c.mp4")
    rows = "videos\\a.mp4,A\nC:\\data\\deep\\b.mp4,B\n/home/me/c.mp4,C\n"
    (folder / "table.csv").write_text(f"path,caption\n{rows}")
    assert [entry.path.is_file() for entry in of(folder)] == [True, False, True]


def test_folders_take_captions_from_beside_and_the_split_from_names(folder):
    names = [f"deep/clip{i}.mp4" for i in range(30)]
    touch(folder, *names)
    (folder / "deep/clip3.txt").write_text("a fire\n")
    assert layout_of(folder) == "folder"
    for entry in of(folder):
        assert entry.split == ("validation" if is_held_out(entry.path.name) else "train")
        assert entry.captions == (("a fire",) if entry.name == "deep/clip3.mp4" else ())
    assert len(of(folder)) == 30 and [entry.name for entry in of(folder)] == sorted(names)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_folder_has_no_entries(folder, layout):
    assert of(folder, layout=layout) == []


@pytest.mark.parametrize("words", [("nowhere", "auto", None), (".", "lmdb", None), (".", "auto", "half")])
def test_what_is_no_data_set_is_one_line(folder, words):
    with pytest.raises(ValueError, match="wanted|choose") as caught:
        entries(folder / words[0], *words[1:])
    assert "\n" not in str(caught.value)
