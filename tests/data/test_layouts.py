import json

import numpy as np
import pytest
from scans import blobs, noise, write

from lean3d.data import load_volume
from lean3d.data.layouts.registry import find_items, list_layouts
from lean3d.errors import DataError, RunError


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
    with pytest.raises(RunError, match="did you mean decathlon"):
        find_items(f"decatlon:{tmp_path}")
    with pytest.raises(DataError, match="does not exist"):
        find_items(f"nnunet:{tmp_path}/nowhere")


def test_every_layout_says_what_it_is():
    assert all(list_layouts().values())
