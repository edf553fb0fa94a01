"""What is refused, what is said, and what stays as it was."""

import copy
import pickle

import pytest
import torch
from peers import WIDTHS, HaraResNet, trained
from safetensors.torch import save_file
from torch import nn

import lean3d
from lean3d.checkpoints import Preprocessing, load_checkpoint
from lean3d.errors import DataError, LeanError


def csn(name="ir_csn_50", num_classes=7, **more):
    return lean3d.create_model(name, widths=WIDTHS, num_classes=num_classes, **more)


@pytest.fixture
def file(tmp_path):
    """ir-CSN-50 of seven classes, as VMZ stores it."""
    torch.save(trained(csn()).state_dict(), tmp_path / "vmz.pth")
    return tmp_path / "vmz.pth"


def refusal(model, path, **more):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(LeanError) as caught:
        load_checkpoint(model, path, **more)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    return str(caught.value)


def test_the_report_stays_with_the_model(file):
    model = csn()
    loaded = load_checkpoint(model, file)
    assert copy.deepcopy(model).checkpoint == pickle.loads(pickle.dumps(loaded)) == loaded
    assert "VMZ (pt) or ig65m-pytorch (format vmz)" in str(loaded)
    assert "batch norm epsilon 0.001" in str(loaded)
    assert "frames 32; step 2; short side 256; crop 224" in str(loaded)
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm3d)} == {1e-3}


def test_safetensors_are_read(file, tmp_path):
    save_file(torch.load(file, weights_only=True), tmp_path / "vmz.safetensors")
    assert load_checkpoint(csn(), tmp_path / "vmz.safetensors").format == "vmz"


def test_values_get_the_precision_of_the_model(file):
    model = csn().half()
    load_checkpoint(model, file)
    assert model.fc.weight.dtype == torch.float16


def test_another_number_of_classes_is_refused_with_both_numbers(file):
    assert "it tells 7 classes apart and the model 27; build it with num_classes=7, or pass " in (
        refusal(csn(num_classes=27), file)
    )


def test_a_new_head_is_kept_and_listed_on_request(file):
    model = csn(num_classes=27)
    head = model.fc.weight.clone()
    loaded = load_checkpoint(model, file, new_head=True)
    assert loaded.not_loaded == ("fc.weight", "fc.bias")
    assert torch.equal(model.fc.weight, head)
    assert "not loaded: fc.weight, fc.bias" in str(loaded)
    assert loaded.num_classes == 7


def test_a_model_without_a_head_leaves_that_of_the_file_unused(file):
    model = csn()
    model.fc = nn.Identity()
    assert load_checkpoint(model, file).unused == ("fc.weight", "fc.bias")


@pytest.mark.parametrize("name", ["ip_csn_50", "ir_csn_101", "resnet3d_50", "r2plus1d_18"])
def test_another_network_is_refused_with_the_one_to_build(file, name):
    sentence = refusal(csn(name), file)
    assert 'build it with create_model("ir_csn_50", num_classes=7)' in sentence
    assert "does not fit VideoResNet: " in sentence


def test_a_network_without_the_pool_is_refused_though_every_key_fits(file):
    sentence = refusal(csn(pool1=False), file)
    assert "with a pool of 1x3x3 behind the stem and the model has no pool" in sentence
    load_checkpoint(csn(pool1=False), file, format="lean3d")


def test_medicalnet_is_refused_by_a_stem_of_another_stride(tmp_path):
    torch.save(HaraResNet(1, medical=True).state_dict(), tmp_path / "medical.pth")
    model = csn("hara_resnet_18", in_channels=1)
    sentence = refusal(model, tmp_path / "medical.pth")
    assert "whose stem has stride (2, 2, 2) and the model's has (1, 2, 2)" in sentence
    assert 'create_model("hara_resnet_18", in_channels=1, num_classes=7, medical=True)' in sentence


def test_a_network_of_the_peers_names_with_another_stem_is_refused(tmp_path):
    # what timm_3d calls its ResNets' parameters is what 3D-ResNets-PyTorch does
    model = HaraResNet(3, medical=True)
    torch.save(model.state_dict(), tmp_path / "other.pth")
    sentence = refusal(model, tmp_path / "other.pth")
    assert "whose stem has stride (1, 2, 2) and the model's has (2, 2, 2)" in sentence
    assert "pass format='lean3d' or 'timm_3d' if one of those wrote it" in sentence


def test_weights_trained_in_pytorch_keep_the_epsilon_of_the_model(file):
    tensors = torch.load(file, weights_only=True)
    tensors = {k: v + 5 if k.endswith("num_batches_tracked") else v for k, v in tensors.items()}
    torch.save(tensors, file)
    model = csn()
    assert load_checkpoint(model, file).format == "lean3d"
    assert model.stem[1].eps == 1e-5


def test_weights_of_the_models_own_names_load_into_any_model(tmp_path):
    nets = [nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)) for _ in range(2)]
    torch.save(
        {"model": {f"module.{k}": v for k, v in nets[0].state_dict().items()}}, tmp_path / "x"
    )
    assert load_checkpoint(nets[1], tmp_path / "x").format == "lean3d"
    assert torch.equal(nets[0][0].weight, nets[1][0].weight)
    other = nn.Sequential(nn.Linear(3, 5))
    assert "0.weight has shape (4, 3) in the file and (5, 3)" in refusal(other, tmp_path / "x")


OWN = "d_resnet_18", "p3d_63", "resnet3d_26", "kth_regular", "densenet3d"


@pytest.mark.parametrize("name", OWN)
def test_a_network_that_nobody_published_is_read_by_its_own_names(tmp_path, name):
    model = lean3d.create_model(name, num_classes=3)
    torch.save(model.state_dict(), tmp_path / "own.pt")
    loaded = load_checkpoint(model, tmp_path / "own.pt")
    assert (loaded.format, loaded.not_loaded, loaded.eps) == ("lean3d", (), None)


def test_an_unknown_format_suggests_the_nearest(file):
    assert "no format called 'mmaction'; did you mean mmaction2?" in (
        refusal(csn(), file, format="mmaction")
    )


def test_a_kernel_flat_along_another_axis_is_refused(tmp_path):
    torch.save({"0.weight": torch.ones(2, 1, 3, 1, 3), "0.bias": torch.ones(2)}, tmp_path / "flat")
    model = nn.Sequential(lean3d.ops.PlanarConv3d(1, 2, 3, axis=0))
    assert "0.weight has shape (2, 1, 3, 1, 3) in the file" in refusal(model, tmp_path / "flat")
    model = nn.Sequential(lean3d.ops.PlanarConv3d(1, 2, 3, axis=1))
    assert load_checkpoint(model, tmp_path / "flat").not_loaded == ()


DAMAGE = {
    "truncated": (lambda data: data[: len(data) // 2], "the file is damaged"),
    "cut to the head": (lambda data: data[:10], "the file is damaged"),
    "empty": (lambda data: b"", "the file is damaged"),
    "text": (lambda data: b"<html>404</html>", "the file is damaged, or is no checkpoint"),
    "other pickle": (lambda data: pickle.dumps({"blobs": {}}), "write its arrays as tensors once"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_one_sentence(file, kind):
    damage, sentence = DAMAGE[kind]
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=sentence) as caught:
        load_checkpoint(csn(), file)
    assert "weights_only" not in str(caught.value)


def test_a_damaged_safetensors_file_is_one_sentence(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(DataError, match=r"cannot read .*x\.safetensors"):
        load_checkpoint(csn(), tmp_path / "x.safetensors")


class Harm:
    def __reduce__(self):
        return (pytest.fail, ("code in the file ran",))


def legacy(value, path):
    torch.save(value, path, _use_new_zipfile_serialization=False)


def pickled(value, path):
    path.write_bytes(pickle.dumps(value))


@pytest.mark.parametrize("write", [torch.save, legacy, pickled])
def test_code_in_a_file_does_not_run(tmp_path, write):
    write({"state_dict": {"fc.weight": torch.ones(1)}, "optimizer": Harm()}, tmp_path / "x.pth")
    with pytest.raises(DataError, match="cannot read"):
        load_checkpoint(csn(), tmp_path / "x.pth")


def test_a_missing_file_and_one_without_tensors_are_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*nowhere\.pth"):
        load_checkpoint(csn(), tmp_path / "nowhere.pth")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(DataError, match="no tensors by name; a state_dict was expected"):
        load_checkpoint(csn(), tmp_path / "list.pth")


@pytest.mark.parametrize("white", [1, 255])
def test_clips_are_normalised_as_the_network_was_trained(white):
    clip = torch.randint(0, 256, (2, 3, 4, 5, 6), dtype=torch.uint8)
    given = Preprocessing((0.1, 0.2, 0.3), (1.0, 2.0, 4.0), white=white)
    expected = (clip[:, 2].float() * white / 255 - 0.3) / 4
    torch.testing.assert_close(given.normalise(clip)[:, 2], expected)


def test_volumes_normalised_each_by_itself_have_no_mean():
    with pytest.raises(ValueError, match="no mean and std of their own: voxels above 0"):
        Preprocessing(None, None, note="voxels above 0").normalise(torch.ones(1, 1, 2, 2, 2))


@pytest.mark.parametrize("change", ["bias of 9 classes", "no bias"])
def test_a_head_that_the_file_fills_in_part_is_left_whole(file, tmp_path, change):
    tensors = torch.load(file, weights_only=True)
    bias = next(name for name in tensors if name.endswith("fc.bias") or name == "last_out_L7_b")
    tensors.pop(bias)
    if change != "no bias":
        tensors[bias] = torch.zeros(9)
    torch.save(tensors, tmp_path / "part.pth")
    model = csn()
    before = {name: value.clone() for name, value in model.fc.state_dict().items()}
    loaded = load_checkpoint(model, tmp_path / "part.pth", new_head=True)
    assert set(loaded.not_loaded) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, before[name]) for name, value in model.fc.state_dict().items())


def test_a_network_without_sizes_is_refused(file):
    with pytest.raises(LeanError, match="the LazyConv3d has weights without sizes"):
        load_checkpoint(nn.LazyConv3d(2, 3), file)
