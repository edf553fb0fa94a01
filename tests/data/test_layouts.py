import json
import os
import shutil

import numpy as np
import pytest
from scans import blobs, noise, write

from lean3d.data import load_volume
from lean3d.data.layouts.registry import find_items, list_layouts
from lean3d.data.people_sets import load_people
from lean3d.data.video_sets import load_videos
from lean3d.errors import DataError


def decathlon(folder, labels=None, channels=2):
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for case in "ba":
        scan = np.stack([noise() + 10 * c for c in range(channels)], -1)
        write(folder / "imagesTr" / f"{case}.nii.gz", scan)
        write(folder / "labelsTr" / f"{case}.nii.gz", blobs())
    about = {
        "modality": {"0": "FLAIR", "1": "T1w"},
        "labels": labels or {"0": "background", "1": "edema", "2": "tumour"},
        "training": [
            {"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in "ab"
        ],
    }
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


def test_a_folder_of_the_decathlon_has_its_names(tmp_path):
    for data in (decathlon(tmp_path), f"decathlon:{tmp_path}"):
        found = find_items(data)
        assert [item.name for item in found.items] == ["a", "b"]
        assert found.class_names == ("background", "edema", "tumour")
        assert found.channel_names == ("FLAIR", "T1w")
    item = found.items[0]
    volume = load_volume(item.image, item.label, num_classes=3)
    assert volume.image.mean((1, 2, 3)).round().tolist() == [0, 10]


def test_names_of_nnunet_are_the_other_way_round(tmp_path):
    labels = {"background": 0, "tumour": 2, "edema": 1}
    found = find_items(f"nnunet:{decathlon(tmp_path, labels)}")
    assert found.class_names == ("background", "edema", "tumour")


def test_regions_of_nnunet_leave_classes_their_numbers(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    assert find_items(decathlon(tmp_path, labels)).class_names == ("background", "1", "core")


def test_a_class_without_a_number_of_its_own_is_refused(tmp_path):
    with pytest.raises(DataError, match="are 0, 2, not 0 to 1; number them without gaps"):
        find_items(decathlon(tmp_path, {"0": "background", "2": "tumour"}))


def test_a_list_of_cases_serves_folders_of_other_names(tmp_path):
    folder = decathlon(tmp_path)
    for name in ("images", "labels"):
        (folder / f"{name}Tr").rename(folder / f"my_{name}")
    about = json.loads(
        (folder / "dataset.json").read_text().replace("./", "./my_").replace("Tr/", "/")
    )
    (folder / "dataset.json").write_text(json.dumps(about))
    assert [item.name for item in find_items(folder).items] == ["a", "b"]
    (folder / "my_labels" / "b.nii.gz").unlink()
    with pytest.raises(DataError, match=r"names .*my_labels/b\.nii\.gz, which is not there"):
        find_items(folder)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_dataset_json_is_one_sentence(tmp_path, text):
    (decathlon(tmp_path) / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=r"dataset\.json"):
        find_items(tmp_path)


def test_an_unknown_layout_suggests_the_nearest(tmp_path):
    with pytest.raises(DataError, match="did you mean decathlon"):
        find_items(f"decatlon:{tmp_path}")
    with pytest.raises(DataError, match=r"there is no file or folder .*nowhere"):
        find_items(f"nnunet:{tmp_path}/nowhere")


@pytest.mark.parametrize("load", [find_items, load_videos, load_people])
@pytest.mark.parametrize("data", ["{}:", "folder: ", ""])
def test_no_folder_is_not_the_current_one(load, data):
    layout = {find_items: "lits", load_videos: "ucf101", load_people: "mars"}[load]
    with pytest.raises(DataError, match=r"names no folder|data are LAYOUT:DIR"):
        load(data.format(layout))


@pytest.mark.parametrize("load", [find_items, load_videos, load_people])
def test_a_path_that_exists_is_one_whatever_its_name(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout = {find_items: "lits", load_videos: "ucf101", load_people: "mars"}[load]
    (tmp_path / f"{layout}:x").mkdir()
    with pytest.raises(DataError, match=rf"{layout}:x"):
        load(f"{layout}:x")


def test_every_layout_says_what_it_is():
    assert all(list_layouts().values())


def table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")


def lidc(folder, num=5):
    (folder / "nodule").mkdir(parents=True)
    random = np.random.default_rng(0)
    names = [f"LIDC-IDRI-000{i}_0" for i in range(num)]
    for name in names:
        voxel = random.integers(0, 255, (20, 20, 20)).astype(np.uint8)
        np.savez(folder / "nodule" / f"{name}.npz", voxel=voxel, answer1=voxel > 200)
    split = [[f"{names[i]}.npz", f"{names[-1]}.npz" if i == 0 else ""] for i in range(num - 1)]
    table(folder / "train_test_split.csv", [["train", "test"], *split])
    levels = [[name, i + 1] for i, name in enumerate(names)]
    table(folder / "info" / "nodules.csv", [["index", "malignancy_mode"], *levels])
    return folder


def test_nodules_of_lidc_have_masks_splits_and_malignancy(tmp_path):
    found = find_items(f"lidc:{lidc(tmp_path)}")
    assert [item.split for item in found.items] == ["train"] * 4 + ["test"]
    assert [item.target for item in found.items] == [(0,), (0,), None, (1,), (1,)]
    assert found.target_names == ("benign", "malignant")
    volume = load_volume(found.items[0].image, found.items[0].label, num_classes=2)
    assert ((volume.image[0] > 200) == volume.label).all()
    (tmp_path / "nodule" / "LIDC-IDRI-0002_0.npz").unlink()
    with pytest.raises(DataError, match=r"names .*LIDC-IDRI-0002_0\.npz, which is not there"):
        find_items(f"lidc:{tmp_path}")


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_volumes_of_lits_are_found_in_their_batches(tmp_path):
    touch(tmp_path, "Batch 1/volume-2.nii", "Batch 2/volume-10.nii")
    touch(tmp_path, "Batch 1/segmentation-2.nii", "masks/segmentation-10.nii")
    found = find_items(f"lits:{tmp_path}")
    assert [item.name for item in found.items] == ["volume-2", "volume-10"]
    assert found.items[1].label.parent.name == "masks"
    assert found.class_names == ("background", "liver", "lesion")
    (tmp_path / "masks" / "segmentation-10.nii").unlink()
    with pytest.raises(DataError, match=r"volume-10\.nii has no segmentation-10"):
        find_items(f"lits:{tmp_path}")


def test_brains_of_ibsr_are_split_11_5_2(tmp_path):
    for number in range(1, 19):
        name = f"IBSR_{number:02}"
        endings = "ana", "ana_strip", "seg_ana", "segTRI_ana"
        touch(tmp_path, *(f"{name}/{name}_{ending}.nii.gz" for ending in endings))
    found = find_items(f"ibsr:{tmp_path}")
    assert [item.split for item in found.items] == ["train"] * 11 + ["test"] * 5 + ["val"] * 2
    first = found.items[0]
    assert (first.image.name, first.label.name) == (
        "IBSR_01_ana.nii.gz",
        "IBSR_01_segTRI_ana.nii.gz",
    )


@pytest.mark.parametrize(
    ("endings", "values"),
    [
        (("_t1", "_t1ce", "_t2", "_flair", "_seg"), (0, 1, 2, 4)),
        (("-t1n", "-t1c", "-t2w", "-t2f", "-seg"), (0, 1, 2, 3)),
    ],
)
def test_channels_of_brats_are_in_one_order(tmp_path, endings, values):
    touch(tmp_path, *(f"case1/case1{ending}.nii.gz" for ending in endings))
    found = find_items(f"brats:{tmp_path}")
    assert [path.name for path in found.items[0].image] == [
        f"case1{ending}.nii.gz" for ending in endings[:4]
    ]
    assert found.label_values == values
    (tmp_path / "case1" / f"case1{endings[2]}.nii.gz").unlink()
    with pytest.raises(DataError, match=f"case1 has no case1{endings[2]}"):
        find_items(f"brats:{tmp_path}")


@pytest.mark.parametrize("name", ["nodulemnist3d.npz", "nodulemnist3d_64.npz"])
def test_volumes_of_medmnist_have_their_splits_and_classes(tmp_path, name):
    random = np.random.default_rng(0)
    side, arrays = 64 if "64" in name else 28, {}
    for split, num in (("train", 3), ("val", 1), ("test", 2)):
        arrays[f"{split}_images"] = random.integers(0, 255, (num, *(side,) * 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(num).reshape(-1, 1) % 2
    np.savez_compressed(tmp_path / name, **arrays)
    for data in (tmp_path, tmp_path / name):
        found = find_items(f"medmnist:{data}")
        assert [item.split for item in found.items] == ["train"] * 3 + ["val"] + ["test"] * 2
        assert [item.target for item in found.items] == [(0,), (1,), (0,), (0,), (0,), (1,)]
        assert found.class_names == ("benign", "malignant")
    assert (found.items[2].read().image[0].numpy() == arrays["train_images"][2]).all()
    np.savez(tmp_path / "organmnist3d.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="give one file"):
        find_items(f"medmnist:{tmp_path}")
    with pytest.raises(DataError, match="has no array train_images"):
        find_items(f"medmnist:{tmp_path}/organmnist3d.npz")


def test_a_table_names_scans_and_classes(tmp_path):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).normal(size=(4, 5, 6)))
    rows = [["file", "label", "split"], ["b.npy", "sick", "train"], ["a.npy", "healthy", "test"]]
    table(tmp_path / "labels.csv", rows)
    found = find_items(f"csv:{tmp_path}")
    assert [(i.name, i.target, i.split) for i in found.items] == [
        ("a", (0,), "test"),
        ("b", (1,), "train"),
    ]
    assert found.class_names == ("healthy", "sick")
    table(tmp_path / "labels.csv", [["file", "x", "y"], ["b.npy", 1, 0], ["a.npy", 0, 4]])
    assert [item.target for item in find_items(f"csv:{tmp_path}").items] == [(0, 4), (1, 0)]
    # grades that do not count from 0 are names
    table(tmp_path / "labels.csv", [["file", "grade"], ["b.npy", "10"], ["a.npy", "02"]])
    found = find_items(f"csv:{tmp_path}")
    assert found.class_names == ("2", "10")
    assert [item.target for item in found.items] == [(0,), (1,)]
    # a folder for each patient, with files of one name
    for patient in "pq":
        (tmp_path / patient).mkdir()
        shutil.copy(tmp_path / "a.npy", tmp_path / patient / "t1.npy")
    table(tmp_path / "labels.csv", [["file", "x"], ["p/t1.npy", 1], ["q/t1.npy", 0], ["a.npy", 0]])
    found = find_items(f"csv:{tmp_path}")
    assert [(item.name, item.target) for item in found.items] == [
        ("a", (0,)),
        ("p_t1", (1,)),
        ("q_t1", (0,)),
    ]


BAD_TABLES = {
    "names c.npy, which is not there": [["file", "label"], ["c.npy", 1]],
    "has no column file; its header is scan, label": [["scan", "label"], ["a.npy", 1]],
    "has no column file; its header is file;label": [["file;label"], ["a.npy;1"]],
    "row 1 of .* has more values than its header": [["file", "label"], ["a.npy", 1, 2]],
    "has no column of classes": [["file"], ["a.npy"]],
    "has an empty class": [["file", "label"], ["a.npy", ""]],
    "names a.npy twice": [["file", "label"], ["a.npy", 1], ["a.npy", 0]],
    "split is train, val or test, got 'dev'": [["file", "label", "split"], ["a.npy", 1, "dev"]],
}


@pytest.mark.parametrize("sentence", BAD_TABLES)
def test_a_table_that_does_not_fit_is_refused(tmp_path, sentence):
    np.save(tmp_path / "a.npy", np.zeros((4, 5, 6)))
    table(tmp_path / "labels.csv", BAD_TABLES[sentence])
    with pytest.raises(DataError, match=sentence):
        find_items(f"csv:{tmp_path}")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(train_labels=np.zeros((2, 1), int)), "not one class number for each of 4 volumes"),
        (dict(train_labels=np.zeros((4, 3), int)), "not one class number"),
        (dict(train_labels=np.full((4, 1), -1)), "holds -1"),
        (dict(train_labels=np.full((4, 1), 0.5)), "of float64, not one class number"),
        (dict(val_images=np.zeros((4, 5, 5), np.uint8)), r"not \(N, D, H, W\)"),
        (dict(val_images=np.zeros((0, 5, 5, 5), np.uint8)), r"not \(N, D, H, W\)"),
        (dict(val_images=np.full((4, 5, 5, 5), np.nan)), "holds NaN or infinity"),
        (dict(val_images=np.full((4, 5, 5, 5), "x")), "holds <U1"),
    ],
)
def test_a_damaged_medmnist_is_refused(tmp_path, change, sentence):
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = np.ones((4, 5, 5, 5), np.uint8)
        arrays[f"{split}_labels"] = np.arange(4).reshape(-1, 1) % 2
    path = tmp_path / "nodulemnist3d.npz"
    np.savez(path, **arrays)
    assert len(find_items(f"medmnist:{path}").items) == 12
    # the file is read again where it has changed
    np.savez(path, **arrays | change)
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match=sentence):
        find_items(f"medmnist:{path}")
    path.write_text("no npz")
    with pytest.raises(DataError, match="is no npz"):
        find_items(f"medmnist:{path}")


def test_a_case_without_masks_is_not_left_out_in_silence(tmp_path):
    for case in ("s0", "s1"):
        touch(tmp_path / case, "ct.nii.gz", "segmentations/liver.nii.gz")
    assert len(find_items(f"masks:{tmp_path}").items) == 2
    shutil.rmtree(tmp_path / "s1" / "segmentations")
    with pytest.raises(DataError, match="case s1 has a scan and no segmentations"):
        find_items(f"masks:{tmp_path}")
    shutil.rmtree(tmp_path / "s1")
    (tmp_path / "s0" / "ct.nii.gz").unlink()
    with pytest.raises(DataError, match="s0 holds no scan; one is expected"):
        find_items(f"masks:{tmp_path}")
