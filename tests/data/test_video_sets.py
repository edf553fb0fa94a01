"""Each published layout, on a small made copy; its videos are empty, only the lists are read."""

import json
from collections import Counter
from pathlib import Path

import pytest

from lean3d.data.listing import Recording, hold_out, interleaved
from lean3d.data.video_sets import list_video_sets, load_videos
from lean3d.errors import DataError


def tree(root, **files):
    """Write files by name; an empty text is a video."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def found(listing, part):
    """The class and the name of every recording."""
    return [(listing.classes[r.label], r.path.name) for r in listing.parts[part]]


def test_every_layout_has_a_test_here_and_a_line_in_the_docs():
    here = Path(__file__)
    docs = (here.parents[2] / "docs" / "video_data.md").read_text()
    for name in list_video_sets():
        used = f'"{name}:' in here.read_text()
        assert used or name in ("folder", "kinetics600", "kinetics700")
        assert f"`{name}" in docs


UCF = {
    "ucfTrainTestlist/classInd.txt": "1 Archery\n2 Bowling\n",
    "ucfTrainTestlist/trainlist01.txt": "Archery/v_Archery_g08_c01.avi 1\n"
    "Bowling/v_Bowling_g09_c01.avi 2\nBowling/v_Bowling_g09_c02.avi 2\n",
    "ucfTrainTestlist/testlist01.txt": "Archery/v_Archery_g01_c01.avi\n",
    "ucfTrainTestlist/trainlist02.txt": "Archery/v_Archery_g01_c01.avi 1\n"
    "Bowling/v_Bowling_g09_c01.avi 2\n",
    "ucfTrainTestlist/testlist02.txt": "Archery/v_Archery_g08_c01.avi\n",
    "UCF-101/Archery/v_Archery_g08_c01.avi": "",
    "UCF-101/Archery/v_Archery_g01_c01.avi": "",
    "UCF-101/Bowling/v_Bowling_g09_c01.avi": "",
}


def test_ucf101(tmp_path):
    tree(tmp_path, **UCF)
    one = load_videos(f"ucf101:{tmp_path}")
    assert one.classes == ("Archery", "Bowling")
    assert found(one, "train") == [
        ("Archery", "v_Archery_g08_c01.avi"),
        ("Bowling", "v_Bowling_g09_c01.avi"),
    ]
    assert found(one, "test") == [("Archery", "v_Archery_g01_c01.avi")]
    assert one.left_out == ("1 video(s) of train are listed and absent, such as v_Bowling_g09_c02",)
    two = load_videos(f"ucf101:{tmp_path}", split=2)
    assert found(two, "test") == [("Archery", "v_Archery_g08_c01.avi")]


def test_hmdb51(tmp_path):
    lists = "testTrainMulti_7030_splits"
    tree(
        tmp_path,
        **{
            f"{lists}/catch_test_split1.txt": "a.avi 1 \nb (2).avi 2 \nc.avi 0 \n",
            f"{lists}/wave_test_split1.txt": "d.avi 1 \ne.avi 2 \n",
            **{f"catch/{name}.avi": "" for name in ("a", "b (2)", "c")},
            **{f"wave/{name}.avi": "" for name in "de"},
        },
    )
    listing = load_videos(f"hmdb51:{tmp_path}")
    assert found(listing, "train") == [("catch", "a.avi"), ("wave", "d.avi")]
    assert found(listing, "test") == [("catch", "b (2).avi"), ("wave", "e.avi")]


def test_kinetics400(tmp_path):
    head = "label,youtube_id,time_start,time_end,split\n"
    tree(
        tmp_path,
        **{
            "annotations/train.csv": f"{head}abseiling,---QUuC4vJs,84,94,train\n"
            'zumba,aaaaaaaaaa1,3,13,train\n"washing, hands",gone0000000,0,10,train\n'
            "zumba,whole000000,5,15,train\n",
            "annotations/val.csv": f"{head}zumba,bbbbbbbbbb1,0,10,val\n",
            "annotations/test.csv": "youtube_id,time_start,time_end\ncccccccccc1,0,10\n",
            "train/abseiling/---QUuC4vJs_000084_000094.mp4": "",
            "train/zumba/aaaaaaaaaa1_000003_000013.mp4": "",
            "train/whole000000.webm": "",
            "val/bbbbbbbbbb1.mkv": "",
        },
    )
    with pytest.raises(DataError, match=r"'washing, hands' has no video to train on \(1 video"):
        load_videos(f"kinetics400:{tmp_path}")
    tree(tmp_path, **{"train/gone0000000.mp4": ""})
    listing = load_videos(f"kinetics400:{tmp_path}")
    assert listing.classes == ("abseiling", "washing, hands", "zumba")
    assert sorted(listing.parts) == ["train", "val"]
    spans = {r.path.name: r.seconds for r in listing.parts["train"]}
    assert spans["---QUuC4vJs_000084_000094.mp4"] is None
    assert spans["whole000000.webm"] == (5, 15)


def test_something_something_v1_and_jester_are_frames(tmp_path):
    for name, stem in (("ssv1", "something-something-v1"), ("jester", "jester-v1")):
        root = tmp_path / name
        tree(
            root,
            **{
                f"{stem}-labels.csv": "Swiping Left\nOpening [something]\n",
                f"{stem}-train.csv": "7;Opening [something]\n8;Swiping Left\n9;Swiping Left\n",
                f"{stem}-validation.csv": "10;Swiping Left\n",
                **{f"frames/{n}/00001.jpg": "" for n in (7, 8, 10)},
            },
        )
    for listing in (load_videos(f"ssv1:{tmp_path}/ssv1"), load_videos(f"jester:{tmp_path}/jester")):
        assert listing.classes == ("Swiping Left", "Opening [something]")
        assert found(listing, "train") == [("Opening [something]", "7"), ("Swiping Left", "8")]
        assert found(listing, "val") == [("Swiping Left", "10")]
        assert "1 video(s) of train are listed and absent, such as 9" in listing.left_out


def test_something_something_v2(tmp_path):
    entries = [
        {"id": "74225", "label": "spinning cube", "template": "Spinning [something]"},
        {"id": "3", "label": "x", "template": "Putting [something] onto [something]"},
    ]
    tree(
        tmp_path,
        **{
            "labels/labels.json": json.dumps(
                {"Putting something onto something": "1", "Spinning something": "0"}
            ),
            "labels/train.json": json.dumps(entries),
            "labels/validation.json": json.dumps(entries[:1]),
            "20bn-something-something-v2/74225.webm": "",
            "20bn-something-something-v2/3.webm": "",
        },
    )
    listing = load_videos(f"ssv2:{tmp_path}")
    assert listing.classes == ("Spinning something", "Putting something onto something")
    assert [(r.label, r.path.name) for r in listing.parts["train"]] == [
        (0, "74225.webm"),
        (1, "3.webm"),
    ]


def test_activitynet(tmp_path):
    def one(subset, *segments):
        return {
            "subset": subset,
            "annotations": [{"label": name, "segment": [a, b]} for name, a, b in segments],
        }

    database = {
        "abc": one("training", ("Surfing", 1.5, 4), ("Archery", 5, 9)),
        "def": one("validation", ("Archery", 0, 3)),
        "gone": one("validation", ("Archery", 0, 3)),
        "hidden": one("testing"),
    }
    tree(
        tmp_path,
        **{
            "activity_net.v1-3.min.json": json.dumps({"database": database}),
            "v_abc.mp4": "",
            "videos/def.mkv": "",
        },
    )
    listing = load_videos(f"activitynet:{tmp_path}")
    assert listing.classes == ("Archery", "Surfing")
    assert [(r.label, r.seconds) for r in listing.parts["train"]] == [(1, (1.5, 4)), (0, (5, 9))]
    assert found(listing, "val") == [("Archery", "def.mkv")]
    assert "1 video(s) of val are listed and absent, such as gone" in listing.left_out


def test_kth(tmp_path):
    classes = "boxing", "handclapping", "handwaving", "jogging", "running", "walking"
    tree(
        tmp_path,
        **{f"{name}/person11_{name}_d1_uncomp.avi": "" for name in classes},
        **{"boxing/person01_boxing_d1_uncomp.avi": "", "boxing/person22_boxing_d4_uncomp.avi": ""},
        **{"00sequences.txt": "text\nperson11_boxing_d1\t\tframes\t1-95, 96-185\n"},
    )
    listing = load_videos(f"kth:{tmp_path}")
    assert listing.classes == classes
    assert [r.frames for r in listing.parts["train"] if r.label == 0] == [(0, 95), (95, 185)]
    assert len(listing.parts["train"]) == 7
    assert found(listing, "val") == [("boxing", "person01_boxing_d1_uncomp.avi")]
    assert found(listing, "test") == [("boxing", "person22_boxing_d4_uncomp.avi")]


def test_sports1m(tmp_path):
    watch = "http://www.youtube.com/watch?v="
    tree(
        tmp_path,
        **{
            "labels.txt": "aggressive inline skating\narchery\ncurling\n",
            "train_partition.txt": f"{watch}-0yI46R-IFA 0,2\n{watch}abcdefghijk 1\n",
            "test_partition.txt": f"{watch}lmnopqrstuv 1\n",
            "videos/-0yI46R-IFA.mp4": "",
            "videos/abcdefghijk.mp4": "",
        },
    )
    listing = load_videos(f"sports1m:{tmp_path}")
    assert [r.labels for r in listing.parts["train"]] == [(0, 2), (1,)]
    assert listing.parts["test"] == []
    tree(tmp_path, **{"train_partition.txt": f"{watch}abcdefghijk 7\n"})
    with pytest.raises(DataError, match="no class 7"):
        load_videos(f"sports1m:{tmp_path}")


@pytest.mark.parametrize("head", ["", "path,label,start,end\n"])
def test_a_table_of_paths_and_labels(tmp_path, head):
    rows = "a.mp4,10\nb.mp4,9,1.5,4\nin/c.mp4,9,2,\ngone.mp4,10\n"
    tree(tmp_path, **{"list.csv": head + rows, "a.mp4": "", "b.mp4": "", "in/c.mp4": ""})
    listing = load_videos(f"csv:{tmp_path}/list.csv")
    assert listing.classes == ("9", "10")
    spans = [(r.path.name, r.label, r.seconds) for r in listing.parts["all"]]
    assert spans == [("a.mp4", 1, None), ("b.mp4", 0, (1.5, 4)), ("c.mp4", 0, (2, None))]
    assert "gone.mp4" in listing.left_out[0]


def test_a_folder_of_tables_has_parts_and_may_list_its_classes(tmp_path):
    tree(
        tmp_path,
        **{
            "train.csv": "a.mp4,wave\nb.mp4,bow\n",
            "val.csv": "c.mp4,bow\n",
            "classes.txt": "wave\nbow\n",
            **{f"{name}.mp4": "" for name in "abc"},
        },
    )
    listing = load_videos(f"csv:{tmp_path}")
    assert listing.classes == ("wave", "bow")
    assert found(listing, "val") == [("bow", "c.mp4")]
    tree(tmp_path, **{"val.csv": "c.mp4,nod\n"})
    with pytest.raises(DataError, match=r"classes\.txt has no class 'nod'"):
        load_videos(f"csv:{tmp_path}")


def test_lists_may_have_spaces_quotes_tabs_and_windows_line_ends(tmp_path):
    names = "Bow Down", "Moving, up"
    files = {
        "ucf/classInd.txt": "1 Bow Down\n2 Moving, up\n",
        "ucf/trainlist01.txt": "Bow Down/v_Bow Down_g2.avi 1\nMoving, up/v_Moving, up.avi 2\n",
        "ucf/testlist01.txt": "Bow Down/v_Bow Down_g1.avi\n",
        "hmdb/Bow Down_test_split1.txt": "a 1.avi\t1 \n",
        "hmdb/Moving, up_test_split1.txt": "b.avi\t1\nc.avi\t2\n",
        "jester/jester-v1-labels.csv": '"Bow Down"\n"Moving, up"\n',
        "jester/jester-v1-train.csv": '"7";"Bow Down"\n8;Moving, up\n',
        "jester/jester-v1-validation.csv": "7;Bow Down\n",
        "csv/classes.txt": '"Bow Down"\n"Moving, up"\n',
        "csv/train.csv": '"Path","Label","Part"\na.mp4,Bow Down,Train\nb.mp4,"Moving, up",TRAIN\n',
    }
    videos = ("ucf", "v_Bow Down_g2.AVI"), ("ucf", "v_Moving, up.avi"), ("hmdb", "a 1.avi")
    videos += ("hmdb", "b.avi"), ("jester/7", "00001.jpg"), ("jester/8", "00001.JPG")
    videos += ("csv", "a.mp4"), ("csv", "b.mp4")
    tree(tmp_path, **{f"{folder}/{name}": "" for folder, name in videos})
    for path, text in files.items():
        lines = text.replace("\n", "\r\n\r\n").encode()
        (tmp_path / path).write_bytes(b"\xef\xbb\xbf\r\n" + lines)
    for name, folder in (("ucf101", "ucf"), ("hmdb51", "hmdb"), ("jester",) * 2, ("csv",) * 2):
        listing = load_videos(f"{name}:{tmp_path / folder}")
        assert listing.classes == names
        assert [label for label, _ in found(listing, "train")] == list(names)


def test_a_folder_per_class_counts_what_it_leaves_out(tmp_path):
    tree(
        tmp_path,
        **{
            "wave/0.mp4": "",
            "wave/g2/1.MOV": "",
            "wave/._0.mp4": "",
            "wave/.ipynb_checkpoints/x": "",
        },
        **{"bow/0.m4v": "", "bow/notes.txt": "", "bow/frames/1.png": "", "bow/@eaDir/0.m4v": ""},
        **{".ipynb_checkpoints/x.mp4": "", "__MACOSX/wave/0.mp4": "", "notes.txt": ""},
    )
    listing = load_videos(str(tmp_path))
    assert listing.classes == ("bow", "wave")
    assert found(listing, "all") == [
        ("bow", "0.m4v"),
        ("bow", "frames"),
        ("wave", "0.mp4"),
        ("wave", "1.MOV"),
    ]
    (said,) = listing.left_out
    assert said.endswith("are no videos and left out: 1 .txt")


def test_a_folder_may_have_a_folder_for_each_part(tmp_path):
    names = "train/wave/a", "train/bow/b", "validation/wave/c", "test/bow/d"
    tree(tmp_path, **{f"{name}.mp4": "" for name in names})
    listing = load_videos(str(tmp_path))
    assert {part: found(listing, part) for part in listing.parts} == {
        "train": [("bow", "b.mp4"), ("wave", "a.mp4")],
        "val": [("wave", "c.mp4")],
        "test": [("bow", "d.mp4")],
    }


def test_data_that_cannot_be_learnt_from_are_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"no file or folder .*nowhere"):
        load_videos(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="did you mean ucf101"):
        load_videos(f"ucf11:{tmp_path}")
    with pytest.raises(DataError, match=r"no classInd\.txt in"):
        load_videos(f"ucf101:{tmp_path}")
    with pytest.raises(DataError, match="3 split"):
        load_videos(f"ucf101:{tmp_path}", split=4)
    (tmp_path / "wave").mkdir()
    with pytest.raises(DataError, match=r"1 class\(es\); two or more"):
        load_videos(str(tmp_path))
    tree(tmp_path, **{"bow/a.mp4": ""})
    with pytest.raises(DataError, match="class 'wave' has no video to train on"):
        load_videos(str(tmp_path))
    tree(tmp_path / "ucf", **UCF)
    tree(tmp_path / "ucf", **{"ucfTrainTestlist/classInd.txt": "1 Archery\n3 Curling\n"})
    with pytest.raises(DataError, match=r"classInd\.txt has no class 'Bowling'"):
        load_videos(f"ucf101:{tmp_path}/ucf")


VIDEOS = {f"{stem}.mp4": "" for stem in ("v_x1", "v_x2", "aaaaaaaaaa1", "aaaaaaaaaa2")}
SEGMENT = '{"subset": "training", "annotations": [{"segment": %s, "label": %s}]}'
DATABASE = '{"database": {"x1": %s, "x2": %s}}'
GOOD = SEGMENT % ("[0, 1]", '"b"')
MALFORMED = {
    "kinetics without labels": (
        "kinetics400",
        {"train.csv": "youtube_id,time_start\naaaaaaaaaa1,0\n"},
        "train.csv has no column 'label'",
    ),
    "kinetics without names": (
        "kinetics400",
        {"train.csv": "label,id\na,aaaaaaaaaa1\n"},
        "train.csv has no column 'youtube_id'",
    ),
    "kinetics, cut short": (
        "kinetics400",
        {"train.csv": "label,youtube_id\na,aaaaaaaaaa1\nb\n"},
        "class 'b' has no video",
    ),
    "kinetics, a header alone": (
        "kinetics400",
        {"train.csv": "label,youtube_id\n"},
        "train.csv lists no video",
    ),
    "kinetics, no time": (
        "kinetics400",
        {"train.csv": "label,youtube_id,time_start,time_end\na,aaaaaaaaaa1,nan,3\n"},
        "a time of aaaaaaaaaa1 is a number of seconds, got 'nan'",
    ),
    "a table of other columns": ("csv", {"train.csv": "label,file\na,1.mp4\n"}, "no column 'path'"),
    "a row without a label": (
        "csv",
        {"train.csv": "v_x1.mp4,a\nv_x2.mp4,b\naaaaaaaaaa1.mp4,\n"},
        "train.csv: row 3, 'aaaaaaaaaa1.mp4', has no label; rows are path,label",
    ),
    "a table with semicolons": (
        "csv",
        {"train.csv": "v_x1.mp4;a\nv_x2.mp4;b\n"},
        "row 1, 'v_x1.mp4;a', has no label; .* with commas",
    ),
    "a table with endless times": (
        "csv",
        {"train.csv": "v_x1.mp4,a,0,inf\nv_x2.mp4,b\n"},
        "a time of v_x1.mp4 is a number",
    ),
    "ssv2, entries by name": (
        "ssv2",
        {
            "labels.json": '{"a": "0", "b": "1"}',
            "train.json": '{"1": "a"}',
            "validation.json": "[]",
        },
        "train.json holds a list of videos, got a dict",
    ),
    "ssv2, no template": (
        "ssv2",
        {"labels.json": '{"a": "0", "b": "1"}', "train.json": '[{"id": "1", "label": "a"}]'},
        "train.json has an entry without template",
    ),
    "ssv2, no numbers": ("ssv2", {"labels.json": '{"a": [0]}'}, "gives class 'a' no number"),
    "activitynet, a video that is a list": (
        "activitynet",
        {"activity_net.json": DATABASE % ("[]", GOOD)},
        "an entry without annotations",
    ),
    "activitynet, a label that is none": (
        "activitynet",
        {"activity_net.json": DATABASE % (GOOD, SEGMENT % ("[0, 1]", "7"))},
        "an entry without label",
    ),
    "activitynet, one time": (
        "activitynet",
        {"activity_net.json": DATABASE % (GOOD, SEGMENT % ("[0]", '"a"'))},
        "a segment of 'a' is two times",
    ),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_list_files_of_another_form_are_one_sentence(tmp_path, kind):
    name, files, said = MALFORMED[kind]
    tree(tmp_path, **VIDEOS, **files)
    with pytest.raises(DataError, match=said) as raised:
        load_videos(f"{name}:{tmp_path}")
    assert "\n" not in str(raised.value)


def recordings(tmp_path, *names):
    return [Recording(tmp_path / name, (number,)) for name, number in names]


def test_a_share_of_every_class_is_held_out_and_no_video_is_in_both_parts(tmp_path):
    every = recordings(tmp_path, *[(f"{c}{n}", c) for c in range(3) for n in range(10)])
    kept, held = hold_out(every, 0.3, seed=0)
    assert sorted(map(repr, kept + held)) == sorted(map(repr, every))
    assert [sum(r.label == c for r in held) for c in range(3)] == [3, 3, 3]
    assert hold_out(every, 0.3, seed=0) == (kept, held)
    assert len({repr(hold_out(every, 0.3, seed)[1]) for seed in range(5)}) > 1


def test_recordings_of_one_group_are_never_in_both_parts(tmp_path):
    names = [
        (f"v_{c}_g{g:02}_c{n:02}.avi", c) for c in range(2) for g in range(5) for n in range(4)
    ]
    every = recordings(tmp_path, *names)
    kept, held = hold_out(every, 0.2, seed=0, group_by=r"_g(\d+)_")
    groups = [{r.path.name.split("_")[2] for r in part} for part in (kept, held)]
    assert groups[0].isdisjoint(groups[1])
    assert {r.label for r in held} == {0, 1}


def test_groups_that_cannot_be_are_one_sentence(tmp_path):
    every = recordings(tmp_path, ("a_g1", 0), ("b_g1", 0))
    with pytest.raises(DataError, match="has one group of videos"):
        hold_out(every, 0.5, 0, group_by="_g1")
    with pytest.raises(DataError, match="is no regular expression"):
        hold_out(every, 0.5, 0, group_by="(")
    with pytest.raises(DataError, match=r"finds nothing in .*a_g1"):
        hold_out(every, 0.5, 0, group_by="_x")
    with pytest.raises(DataError, match="has one video"):
        hold_out(every[:1], 0.5, 0)


def test_any_videos_in_a_row_have_every_class_by_its_share():
    sorted_by_class = [
        Recording(Path(f"{label}_{k}.avi"), (label,))
        for label, num in enumerate((40, 20, 20))
        for k in range(num)
    ]
    order = interleaved(sorted_by_class, seed=0)
    assert sorted(map(repr, order)) == sorted(map(repr, sorted_by_class))
    for first in range(0, 80, 8):
        found = Counter(recording.label for recording in order[first : first + 8])
        assert all(abs(found[label] - share) <= 1 for label, share in enumerate((4, 2, 2)))
    assert order == interleaved(sorted_by_class, seed=0) != interleaved(sorted_by_class, seed=1)
    # of one class they are not in the order of the list either: groups of UCF101 lie together
    first = [r.path.name for r in order if r.label == 0][:5]
    assert first != [f"0_{k}.avi" for k in range(5)]
