"""Networks of zoos by reference: their ends, weights, decoders and errors."""

import pytest
import torch
from zoo import smp, timm, torchvision

from lean3d.errors import RunError
from lean3d.networks import Network, acs_network

SMALL = {"decoder_channels": [8, 8, 8, 8, 8]}


def scores(model, *size):
    with torch.no_grad():
        return model.eval()(torch.randn(size)).shape


@pytest.mark.parametrize("reference", ["timm:resnet10t", "torchvision:squeezenet1_1"])
@pytest.mark.parametrize("how", [None, "acs"])
def test_a_classifier_has_the_channels_and_classes_asked_for(reference, how):
    model = Network(reference, in_channels=1, num_classes=3, convert=how).build().model
    assert scores(model, 1, 1, *([32] if how else []), 64, 64) == (1, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "options"),
    [
        ("timm:resnet10t", SMALL),
        ("torchvision:shufflenet_v2_x0_5", {}),
        ("torchvision:lraspp_mobilenet_v3_large", {}),
        ("smp:Unet/resnet18", SMALL),
        ("smp:FPN/tu-resnet10t", {}),
    ],
)
def test_every_zoo_segments_volumes(reference, options):
    settings = dict(segment=True, in_channels=1, num_classes=3, convert="acs", options=options)
    model = Network(reference, **settings).build().model
    assert scores(model, 1, 1, 32, 32, 64) == (1, 3, 32, 32, 64)
    assert model.conversion.grade == "isotropic"


@pytest.mark.parametrize(
    ("reference", "more"),
    [
        pytest.param("torchvision:r3d_18", {}, marks=pytest.mark.slow),
        ("resnet3d_18", {"widths": (4, 6, 8, 10), "options": {"pool1": False}}),
        ("hara_resnet_18", {"widths": (4, 6, 8, 10), "options": {"medical": True}}),
        ("d_resnet_18", {"widths": (4, 6, 8, 10)}),
    ],
)
@pytest.mark.slow
def test_a_3d_classifier_segments_volumes_by_the_decoder_of_the_paper(reference, more, tmp_path):
    ends = dict(in_channels=1, num_classes=3)
    model = Network(reference, segment=True, **ends, **more).build().model
    assert scores(model, 1, 1, 12, 40, 48) == (1, 3, 12, 40, 48)
    # the file of the classifier fills the encoder
    whole = Network(reference, **ends, **more).build().model
    assert scores(whole, 1, 1, 12, 40, 48) == (1, 3)
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    weights = str(tmp_path / "whole.pth")
    built = Network(reference, segment=True, weights=weights, **ends, **more).build()
    assert {name.partition(".")[0] for name in built.fresh} == {"joins", "classifier"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0", "convnext_tiny", "vgg11_bn"])
def test_the_decoder_of_the_paper_fits_any_backbone(name):
    settings = dict(segment=True, in_channels=1, num_classes=3, convert="acs")
    model = Network(f"torchvision:{name}", **settings).build().model
    assert scores(model, 1, 1, 32, 64, 64) == (1, 3, 32, 64, 64)


def test_a_decoded_classifier_is_the_same_in_training_and_keeps_its_names():
    flat = torchvision.models.resnet18(weights=None)
    model = Network("torchvision:resnet18", segment=True, num_classes=2).build().model
    names = {f"encoder.{name}" for name in flat.state_dict() if not name.startswith("fc.")}
    assert names <= model.state_dict().keys()
    model.train()(torch.randn(2, 3, 64, 64)).sum().backward()
    assert model.encoder.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("reference", "make"),
    [
        ("timm:resnet10t", lambda: timm.create_model("resnet10t")),
        ("timm:convnext_atto", lambda: timm.create_model("convnext_atto")),
        ("torchvision:resnet18", lambda: torchvision.models.resnet18(weights=None)),
        ("smp:Unet/resnet18", lambda: torchvision.models.resnet18(weights=None)),
    ],
)
def test_a_2d_classifiers_file_fills_the_encoder(reference, make, tmp_path):
    flat = make()
    torch.save(flat.state_dict(), tmp_path / "flat.pth")
    settings = dict(segment=True, in_channels=1, num_classes=2)
    weights = str(tmp_path / "flat.pth")
    built = Network(reference, weights=weights, **settings).build()
    fresh = set(built.fresh)
    mine = {n: x for n, x in built.model.state_dict().items() if n.startswith("encoder.")}
    counts = {n for n in mine if n.endswith("num_batches_tracked")}
    # convnext's features end in norms that its classifier does not have
    assert len(mine.keys() & fresh) <= 2 * ("convnext" in reference)
    largest = max((x for n, x in flat.state_dict().items() if x.ndim == 4), key=torch.numel)
    assert any(torch.equal(largest, x) for x in mine.values())
    assert mine.keys() - fresh - counts


def test_a_segmenter_s_file_fills_a_whole_and_its_encoder_a_classifier(tmp_path):
    flat = smp.Unet("tu-resnet10t", encoder_weights=None, classes=4, **SMALL)
    torch.save(flat.state_dict(), tmp_path / "unet.pth")
    weights = str(tmp_path / "unet.pth")
    settings = dict(segment=True, options=SMALL, weights=weights)
    built = Network("timm:resnet10t", num_classes=4, **settings).build()
    assert built.fresh == ()
    few = Network("timm:resnet10t", num_classes=4, weights_part="encoder", **settings).build()
    assert {name.partition(".")[0] for name in few.fresh} == {"decoder", "segmentation_head"}
    classifier = Network("timm:resnet10t", num_classes=4, weights=weights).build()
    assert sorted(classifier.fresh) == ["fc.bias", "fc.weight"]


@pytest.mark.slow
@pytest.mark.parametrize("part", [None, "encoder"])
def test_named_weights_of_the_whole_deeplab_take_other_classes(monkeypatch, part):
    known = torchvision.models.get_model
    asked = []

    def without_network(name, weights=None, **settings):
        asked.append(weights)
        # what the published weights come with
        more = dict(num_classes=21, aux_loss=True) if weights is not None else {}
        model = known(name.replace("101", "50"), weights=None, **more | settings)
        if weights is not None:
            torch.nn.init.constant_(model.backbone.conv1.weight, 0.5)
            torch.nn.init.constant_(model.classifier[1].weight, 0.5)
        return model

    monkeypatch.setattr(torchvision.models, "get_model", without_network)
    name = "COCO_WITH_VOC_LABELS_V1"
    settings = dict(segment=True, num_classes=3, weights=name, weights_part=part)
    built = Network("acs:deeplabv3_resnet101", **settings).build()
    assert name in asked
    assert built.model.network.backbone.conv1.weight.eq(0.5).all()
    assert bool(built.model.network.classifier[1].weight.eq(0.5).all()) == (part is None)
    assert built.model.network.classifier[-1].out_channels == 3
    deep = acs_network("deeplabv3_resnet101", weights=name, num_classes=3, accept="unchecked")
    assert deep.classifier[-1].out_channels == 3


@pytest.mark.parametrize(
    ("reference", "more", "sentence"),
    [
        ("timm:resnet19", {}, "no network of timm called 'resnet19'; did you mean resnet18"),
        ("torchvision:densenet112", {}, "did you mean densenet"),
        ("smp:Une/resnet18", {}, "did you mean Unet"),
        ("smp:Unet/resnet17", {}, "no encoder of segmentation-models-pytorch"),
        ("smp:Unet/tu-resnet19", {}, "no network of timm called 'resnet19'"),
        ("timm:resnet18", {"weights": "a9_in1k"}, "timm has a1_in1k"),
        ("timm:resnet18", {"widths": (4, 4)}, "widths are arguments of lean3d's own models"),
        ("timm:resnet18", {"options": {"wdth": 4}}, "cannot build timm:resnet18: TypeError"),
        ("torchvision:resnet18", {"weights": "IMAGENET"}, "torchvision has IMAGENET1K_V1"),
        ("acs:fcn_vgg16", {"weights": "IMAGENET"}, "torchvision has IMAGENET1K_V1"),
        ("acs:fcn_vgg16", {"options": {"a": 1}}, "takes no options, got a"),
        ("smp:Unet/resnet18", {"weights": "imagnet"}, "resnet18 has imagenet, ssl, swsl"),
        ("torchvision:vit_b_16", {"segment": True}, "no features of several resolutions"),
    ],
)
def test_what_a_zoo_does_not_have_is_one_sentence(reference, more, sentence):
    with pytest.raises(RunError) as error:
        Network(reference, **more).build()
    assert sentence in str(error.value)
    assert len(str(error.value)) < 390
