"""Networks of nnU-Net's checkpoints, read without nnU-Net; networks of lean3d for its plans."""

import json

import numpy as np
import pytest
import torch
import zoo  # noqa: F401
from own_networks import Pixels

from lean3d.errors import DataError, RunError
from lean3d.networks import Network
from lean3d.networks.nnunet import edit_plans, network

unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")


def architecture(dims, kind="PlainConvUNet"):
    plain = kind == "PlainConvUNet"
    blocks = "n_conv_per_stage" if plain else "n_blocks_per_stage"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": [4, 6, 8],
            "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
            "kernel_sizes": [[3] * dims] * 3,
            "strides": [[1] * dims, [2] * dims, [2] * dims],
            blocks: [1, 1, 1],
            "n_conv_per_stage_decoder": [1, 1],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def written(path, dims, planned=None, classes=3):
    """A checkpoint as nnUNetTrainer.save_checkpoint writes it."""
    planned = planned or architecture(dims)
    kind = getattr(unet, planned["network_class_name"].rpartition(".")[2])
    conv, norm = (getattr(torch.nn, f"{name}{dims}d") for name in ("Conv", "InstanceNorm"))
    layers = dict(conv_op=conv, norm_op=norm, nonlin=torch.nn.LeakyReLU)
    given = {**planned["arch_kwargs"], **layers}
    model = kind(input_channels=1, num_classes=classes, deep_supervision=True, **given)
    configurations = {
        "whole": {"architecture": planned, "patch_size": [8] * dims},
        "more": {"inherits_from": "whole"},
    }
    init = {"plans": {"configurations": configurations}, "configuration": "more", "fold": 0}
    torch.save(
        {
            "network_weights": model.state_dict(),
            "optimizer_state": {"state": {}, "param_groups": []},
            "logging": {"mean_fg_dice": [np.float32(0.5)]},
            "_best_ema": np.float64(0.5),
            "init_args": init,
            "trainer_name": "nnUNetTrainer",
        },
        path,
    )
    model.decoder.deep_supervision = False
    return model.eval()


@pytest.mark.parametrize("kind", ["PlainConvUNet", "ResidualEncoderUNet"])
def test_a_3d_checkpoint_is_its_network_with_its_weights(tmp_path, kind):
    path = tmp_path / "checkpoint_final.pth"
    own = written(path, 3, architecture(3, kind))
    model = Network(f"nnunet:{tmp_path}", weights="pretrained").build().model.eval()
    x = torch.randn(1, 1, 8, 8, 8)
    torch.testing.assert_close(model(x), own(x))


def test_a_2d_checkpoint_becomes_3d_and_takes_other_classes_and_channels(tmp_path):
    path = tmp_path / "best.pth"
    own = written(path, 2)
    same = Network(f"nnunet:{path}", weights="pretrained", convert="planar").build().model.eval()
    x = torch.randn(1, 1, 8, 8)
    expected = own(x)[:, :, None].expand(1, 3, 4, 8, 8)
    keep = dict(weights="pretrained", convert="planar", keep_depth="all")
    flat = Network(f"nnunet:{path}", **keep).build().model.eval()
    assert same.conversion.grade in ("isotropic", "planar")
    assert flat(x[:, :, None].expand(1, 1, 4, 8, 8)).shape == expected.shape
    other = dict(in_channels=2, num_classes=5, weights="pretrained", convert="acs")
    model = Network(f"nnunet:{path}", **other).build().model
    assert model(torch.randn(1, 2, 8, 8, 8)).shape == (1, 5, 8, 8, 8)


def test_the_weights_of_a_checkpoint_fill_a_network_built_by_hand(tmp_path):
    path = tmp_path / "final.pth"
    own = written(path, 2)
    network = Network(f"nnunet:{path}", weights=str(path)).build()
    assert not network.fresh
    x = torch.randn(1, 1, 8, 8)
    torch.testing.assert_close(network.model.eval()(x), own(x))


def test_an_encoder_that_is_a_part_of_the_decoder_too_is_not_said_to_start_afresh(tmp_path):
    path = tmp_path / "final.pth"
    own = written(path, 3, architecture(3, "ResidualEncoderUNet"))
    network = Network(f"nnunet:{path}", weights=str(path), weights_part="encoder").build()
    found, expected = network.model.state_dict(), own.state_dict()
    encoder = {name for name in expected if "encoder." in name}
    assert set(network.fresh) == expected.keys() - encoder
    assert all(torch.equal(found[name], expected[name]) for name in encoder)


def test_what_is_no_checkpoint_of_nnunet_is_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(Pixels().state_dict(), path)
    with pytest.raises(DataError, match="no checkpoint of nnU-Net v2"):
        Network(f"nnunet:{path}").build()
    planned = architecture(2)
    written(path, 2, planned | {"_kw_requires_import": []})
    found = torch.load(path, weights_only=False)
    place = found["init_args"]["plans"]["configurations"]["whole"]["architecture"]
    for name in ("os.system", "torch.nn.modules.module.warnings.warn"):
        place["network_class_name"] = name
        torch.save(found, path)
        with pytest.raises(DataError, match="which is no layer or network"):
            Network(f"nnunet:{path}").build()


def test_plans_name_a_network_of_lean3d(tmp_path):
    plans = tmp_path / "nnUNetPlans.json"
    whole = {"architecture": architecture(3), "patch_size": [20, 20, 20], "batch_size": 2}
    plans.write_text(
        json.dumps({"plans_name": "nnUNetPlans", "configurations": {"3d_fullres": whole}})
    )
    path = edit_plans(plans, "acs", "unet2d", convert="acs", widths=(4, 6), patch_size=(16, 16, 16))
    planned = json.loads(path.read_text())["configurations"]["3d_fullres"]
    assert (path.name, planned["patch_size"]) == ("acs.json", [16, 16, 16])
    assert planned["architecture"]["network_class_name"] == "lean3d.networks.nnunet.network"
    # as get_network_from_plans calls it
    arguments = planned["architecture"]["arch_kwargs"]
    model = network(input_channels=1, num_classes=2, deep_supervision=False, **arguments)
    model.decoder.deep_supervision = False
    assert not hasattr(model, "initialize")
    assert model(torch.randn(1, 1, 8, 8, 8)).shape == (1, 2, 8, 8, 8)
    with pytest.raises(RunError, match="nnUNetTrainerNoDeepSupervision"):
        network(1, 2, True, **arguments)


def test_plans_that_are_not_there_are_named(tmp_path):
    with pytest.raises(DataError, match="run nnUNetv2_plan first"):
        edit_plans(tmp_path / "nnUNetPlans.json", "acs", "unet2d")
    (tmp_path / "nnUNetPlans.json").write_text('{"configurations": {"2d": {}}}')
    with pytest.raises(DataError, match="no configuration '3d_fullres' of nnU-Net; it has 2d"):
        edit_plans(tmp_path / "nnUNetPlans.json", "acs", "unet2d")
