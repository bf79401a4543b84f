"""Detectors, segmenters, models that can be cut in two, stages of classifiers: sizes, taps, passes, mistakes."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from redistill import registry
from redistill.errors import RedistillError
from redistill.models import load
from redistill.models.bottleneck import for_layer1
from redistill.models.detectors import needs_values
from redistill.models.stages import stages, steps_of
from redistill.models.taps import tapped

META = torch.device("meta")
SMALL = (3, 64, 64)


def build(name: str, outputs: int, shape: tuple[int, int, int] = SMALL, /, **settings: Any) -> Any:
    """As the engine does: inputs by name, settings with their defaults."""
    given = {"num_outputs": outputs, "image_shape": shape}
    inputs = [given[parameter] for parameter in registry.signature("architecture", name).inputs]
    return registry.get("architecture", name)(*inputs, **registry.with_defaults("architecture", name, settings))


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# --- sizes -----------------------------------------------------------------------------------------------------------

# Exact counts for ten classes. The papers print 0.27, 0.46, 0.66, 0.85 and 1.7 million (He et al. 2016, table 6), 8.9,
# 36.5 and 11.0 million (Zagoruyko and Komodakis 2016, tables 2 and 4), 0.8 million (Huang et al. 2017, table 2).
EXACT = [
    ("cifar_resnet", {"depth": 8}, 75_290),
    ("cifar_resnet", {"depth": 20}, 269_722),
    ("cifar_resnet", {"depth": 32}, 464_154),
    ("cifar_resnet", {"depth": 44}, 658_586),
    ("cifar_resnet", {"depth": 56}, 853_018),
    ("cifar_resnet", {"depth": 110}, 1_727_962),
    ("wide_resnet", {"depth": 40, "width": 4}, 8_949_210),
    ("wide_resnet", {"depth": 28, "width": 10}, 36_479_194),
    ("wide_resnet", {"depth": 16, "width": 8}, 10_961_370),
    ("densenet_bc", {"depth": 100, "growth": 12}, 769_162),
]


@pytest.mark.parametrize(("name", "settings", "count"), EXACT)
def test_a_network_for_small_images_has_exactly_so_many_parameters(name, settings, count):
    with META:
        assert parameters(build(name, 10, (3, 32, 32), **settings)) == count


def published() -> Iterator[tuple[str, int, dict[str, Any], int]]:
    """Models as torchvision's weights have them, with the number of parameters that it states of each."""
    from torchvision.models import detection as boxes
    from torchvision.models import get_model_weights, list_models
    from torchvision.models import segmentation as masks

    for name in list_models(module=boxes):
        if name.startswith("keypoint"):
            continue
        frozen = name.endswith("rcnn_resnet50_fpn") or name.startswith(("fasterrcnn_mobilenet", "retinanet", "fcos"))
        count = next(iter(get_model_weights(name))).meta["num_params"]
        yield "detector", 90, {"name": name, "frozen_norms": frozen and not name.endswith("_v2")}, count
    for name in list_models(module=masks):
        count = next(iter(get_model_weights(name))).meta["num_params"]
        yield "segmenter", 21, {"name": name, "aux": not name.startswith("lraspp")}, count


@pytest.mark.parametrize(("name", "outputs", "settings", "count"), published())
def test_a_detector_or_segmenter_has_the_number_of_parameters_that_torchvision_states(name, outputs, settings, count):
    with META:
        model = build(name, outputs, **settings)
    assert parameters(model) == count
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


# --- detectors and segmenters ----------------------------------------------------------------------------------------

TAP = {"image": [torch.zeros(3, 48, 64, device=META), torch.zeros(3, 64, 40, device=META)]}


def at(model: nn.Module, tap: str, batch: dict[str, Any]) -> tuple[int, ...]:
    """The shape at a tap, as the engine looks at it."""
    with tapped(model.eval(), [tap], "student") as captured, torch.no_grad():
        load.said_of(model, batch, [tap])
    return tuple(captured[tap].shape)


def test_a_backbone_is_looked_at_without_values_though_its_detector_needs_them():
    with META:
        model = build("detector", 3, name="fasterrcnn_mobilenet_v3_large_fpn", options={"min_size": 64, "max_size": 96})
        assert needs_values(model)
        assert at(model, "backbone.body.16", TAP) == (2, 960, 3, 3)
        assert not needs_values(build("segmenter", 3, name="lraspp_mobilenet_v3_large"))
        assert not needs_values(build("cifar_resnet", 3, depth=8))


def pictures() -> dict[str, Any]:
    """Two images, one with a box and a crowd, one with nothing."""
    torch.manual_seed(0)
    none = {"boxes": torch.zeros(0, 4), "classes": torch.zeros(0, dtype=torch.long), "crowd": torch.zeros(0).bool()}
    some = {
        "boxes": torch.tensor([[4.0, 6.0, 40.0, 50.0], [0.0, 0.0, 60.0, 60.0]]),
        "classes": torch.tensor([2, 0]),
        "crowd": torch.tensor([False, True]),
    }
    return {"image": [torch.rand(3, 64, 64), torch.rand(3, 50, 60)], "targets": [some, none]}


TINY: list[tuple[str, dict[str, Any]]] = [
    ("ssdlite", {"backbone": "mobilenetv2_035", "extras": 1, "width": 64}),
    (
        "ssdlite",
        {
            "backbone": "resnet18",
            "library": "torchvision",
            "maps": ["layer2", "layer4"],
            "extras": 0,
            "sides": [32, 48],
        },
    ),
    ("detector", {"name": "fasterrcnn_mobilenet_v3_large_320_fpn", "options": {"min_size": 64, "max_size": 64}}),
    ("bottleneck_rcnn", {"backbone": "resnet18", "channels": 3, "options": {"min_size": 64, "max_size": 64}}),
]


@pytest.fixture
def as_in_a_run() -> Iterator[Callable[[nn.Module], Any]]:
    """Refuses operations whose results are not settled, and places a model as a run does."""
    torch.use_deterministic_algorithms(True)
    yield partial(load.placed, runtime={"device": "cpu", "portable": False})
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("name", "settings"), TINY)
def test_a_detector_learns_from_boxes_and_says_what_it_found(name, settings, as_in_a_run):
    torch.manual_seed(1)
    model, batch = as_in_a_run(build(name, 3, **settings)), pictures()
    losses = load.said_of(model.train(), batch)["losses"]
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert sum(p.grad is not None for p in model.parameters()) > 10
    with torch.no_grad():
        found = load.said_of(model.eval(), batch)["detections"]
    assert [sorted(each) for each in found] == [["boxes", "labels", "scores"]] * 2
    assert all(1 <= label <= 3 for each in found for label in each["labels"])  # 0 is the background


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("segmenter", {"name": "lraspp_mobilenet_v3_large"}),
        ("segmenter", {"name": "deeplabv3_mobilenet_v3_large", "aux": True}),
        ("lraspp", {"backbone": "mobilenetv2_035", "width": 16}),
        ("lraspp", {"backbone": "resnet18", "library": "torchvision", "maps": ["layer1", "layer3"]}),
    ],
)
def test_a_segmenter_gives_a_class_for_every_pixel(name, settings, as_in_a_run):
    torch.manual_seed(1)
    model = as_in_a_run(build(name, 4, **settings))
    logits = load.said_of(model, {"image": torch.rand(2, 3, 48, 64)})["logits"]
    assert logits.shape == (2, 4, 48, 64)
    logits.square().mean().backward()
    given = [p.grad is not None for name, p in model.named_parameters() if not name.startswith("aux")]
    assert all(given)


def test_a_small_detector_brings_images_to_its_sides():
    with META:
        for sides, expected in [(None, (4, 6)), ([32, 64], (2, 4))]:
            model = build("ssdlite", 3, (3, 64, 96), backbone="resnet18", sides=sides)
            assert at(model, "backbone.body.layer3", TAP)[2:] == expected


def test_a_seed_settles_a_detector():
    def drawn(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return build("ssdlite", 3, backbone="mobilenetv2_035", extras=1, width=32).state_dict()

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_frozen_norms_keep_scales_and_statistics():
    with META:
        plain = build("detector", 3, name="fasterrcnn_resnet50_fpn")
        frozen = build("detector", 3, name="fasterrcnn_resnet50_fpn", frozen_norms=True, norm_eps=0.0)
    counters = {name for name in plain.state_dict() if name.endswith("num_batches_tracked")}
    assert set(frozen.state_dict()) == set(plain.state_dict()) - counters
    assert "backbone.body.bn1.weight" not in dict(frozen.named_parameters())
    assert frozen.backbone.body.bn1.eps == 0.0


# --- models that can be cut in two -----------------------------------------------------------------------------------


def test_the_bottleneck_of_a_detector_has_the_published_layers():
    model = for_layer1(3, 256)
    encoder, decoder = ([m for m in part if isinstance(m, nn.Conv2d)] for part in (model.encoder, model.decoder))
    assert [(c.in_channels, c.out_channels) for c in encoder] == [(64, 64), (64, 256), (256, 64), (64, 3)]
    assert [(c.in_channels, c.out_channels) for c in decoder] == [(3, 64), (64, 128), (128, 256), (256, 256)]
    assert all((c.kernel_size, c.stride, c.bias) == ((2, 2), (1, 1), None) for c in (*encoder, *decoder))
    assert {c.padding for c in encoder} == {(1, 1)}
    assert {c.padding for c in decoder} == {(0, 0)}
    kinds = "".join({"Conv2d": "c", "BatchNorm2d": "n", "ReLU": "r"}[type(m).__name__] for m in model.encoder)
    assert kinds == "cncnrcnc"
    assert "".join(type(m).__name__[0] for m in model.decoder) == "BRCBCBRCBCBR"
    images = torch.rand(2, 64, 5, 9)
    assert model.encoder(images).shape == (2, 3, 9, 13)
    assert model(images).shape == (2, 256, 5, 9)


@pytest.mark.parametrize(("backbone", "channels"), [("resnet50", 256), ("resnet18", 64)])
def test_a_bottleneck_gives_what_the_layer_in_its_place_gives(backbone, channels):
    with META:
        model, plain = (build("bottleneck_rcnn", 90, backbone=backbone, channels=c) for c in (3, 0))
        for name, expected in [("layer1", channels), ("layer2", 2 * channels)]:
            assert at(model, f"backbone.body.{name}", TAP)[1] == expected
            assert at(model, f"backbone.body.{name}", TAP) == at(plain, f"backbone.body.{name}", TAP)
        assert at(model, "backbone.body.layer1.encoder", TAP)[1] == 3
    theirs = {name for name in plain.state_dict() if not name.startswith("backbone.body.layer1.")}
    assert theirs == {name for name in model.state_dict() if not name.startswith("backbone.body.layer1.")}


def test_the_detectors_of_the_study_have_so_many_parameters():
    with META:
        faster, masked = (build("bottleneck_rcnn", 90, masks=masks) for masks in (False, True))
        small = build("bottleneck_rcnn", 90, backbone="resnet18", channels=0)
        teacher = build("detector", 90, name="maskrcnn_resnet50_fpn", frozen_norms=True)
    assert [parameters(model) for model in (faster, masked, small)] == [42_119_452, 44_765_559, 28_730_006]
    shared = {name for name in teacher.state_dict() if not name.startswith("backbone.body.layer1.")}
    assert shared <= set(masked.state_dict())


CUT = [
    ("densenet169", 224, "features.transition2", (256, 14, 14), 29, ["features.transition3", "features.denseblock4"]),
    ("densenet201", 224, "features.transition2", (256, 14, 14), 29, ["features.transition3", "features.denseblock4"]),
    ("inception_v3", 299, "maxpool2", (192, 35, 35), 37, ["Mixed_5d", "Mixed_6e", "Mixed_7c"]),
    ("resnet152", 224, "layer2", (512, 28, 28), 29, ["layer3", "layer4"]),
]


@pytest.mark.parametrize(("name", "side", "place", "shape", "sent", "rest"), CUT)
def test_a_classifier_that_is_cut_gives_its_teachers_features(name, side, place, shape, sent, rest):
    image = {"image": torch.zeros(2, 3, side, side, device=META)}
    with META:
        model, teacher = build("bottleneck_classifier", 7, name=name), build("torchvision", 7, name=name)
        assert at(model, "bottleneck_layer", image) == at(teacher, place, image) == (2, *shape)
        assert at(model, "bottleneck_layer.encoder", image) == (2, 12, sent, sent)
        assert [at(model, tap, image) for tap in rest] == [at(teacher, tap, image) for tap in rest]
        assert load.said_of(model.eval(), image)["logits"].shape == (2, 7)
    own = {name for name in model.state_dict() if not name.startswith("bottleneck_layer.")}
    assert own <= set(teacher.state_dict())


# --- stages of a classifier ------------------------------------------------------------------------------------------

MAPS = [
    ("timm", "tf_efficientnet_lite0", ["blocks.2", "blocks.4", "blocks.6"], [40, 112, 320]),
    ("timm", "mobilenetv2_035", ["blocks.2", "blocks.4", "blocks.6"], [16, 32, 112]),
    ("timm", "mobilenetv3_small_050", ["blocks.1", "blocks.3", "blocks.5"], [16, 24, 288]),
    ("timm", "resnet18", ["layer2", "layer3", "layer4"], [128, 256, 512]),
    ("torchvision", "resnet18", ["layer2", "layer3", "layer4"], [128, 256, 512]),
    ("torchvision", "mobilenet_v2", ["features.6", "features.13", "features.18"], [32, 96, 1280]),
    ("torchvision", "densenet121", ["features.denseblock2", "features.denseblock3", "features.norm5"],
     [512, 1024, 1024]),
    ("torchvision", "regnet_y_400mf", ["trunk_output.block2", "trunk_output.block3", "trunk_output.block4"],
     [104, 208, 440]),
]  # fmt: skip
BY_STRIDE = {"a": 8, "b": 16, "c": 32}


@pytest.mark.parametrize(("library", "name", "maps", "channels"), MAPS)
def test_stages_end_where_the_next_makes_maps_smaller(library, name, maps, channels):
    with META:
        found = stages(library, name, SMALL, None, BY_STRIDE)
        assert list(found.wanted) == maps
        assert found.channels == channels
        given = found.eval()(torch.zeros(1, 3, 64, 64))
    assert [tuple(tensor.shape[1:]) for tensor in given.values()] == [
        (wide, side, side) for wide, side in zip(channels, (8, 4, 2), strict=True)
    ]


@pytest.mark.parametrize(("library", "name", "maps"), [case[:3] for case in (MAPS[1], MAPS[3], MAPS[4], MAPS[5])])
def test_stages_compute_what_their_classifier_computes_there(library, name, maps):
    torch.manual_seed(3)
    whole = build(library, 1, name=name).eval()
    torch.manual_seed(3)
    part = stages(library, name, SMALL, None, BY_STRIDE).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad(), tapped(whole, maps, "student") as captured:
        whole(images)
        found = part(images)
    assert all(torch.equal(captured[tap], given) for tap, given in zip(maps, found.values(), strict=True))
    assert set(part.state_dict()) < set(whole.state_dict())


def test_a_backbone_that_is_cut_short_has_nothing_after_its_last_map():
    with META:
        short = build("lraspp", 3, backbone="tf_efficientnet_lite0", maps=["blocks.2", "blocks.3"])
        whole = build("lraspp", 3, backbone="tf_efficientnet_lite0")
        image = {"image": torch.zeros(1, *SMALL)}
        assert at(short, "backbone.blocks.3", image) == (1, 80, 4, 4)
        assert at(whole, "classifier.high_classifier", image) == (1, 3, 8, 8)
    assert not any("blocks.4" in name for name in short.state_dict())
    assert parameters(short) < parameters(whole) == 730_206


def test_what_is_put_between_modules_ends_the_stages():
    """DenseNet has a ReLU of its own between its features and its head, the small ResNets have some everywhere."""
    assert steps_of("torchvision", "densenet121", SMALL)[-1].path == "features.norm5"
    with pytest.raises(RedistillError, match="`vit_tiny_patch16_224` is not made of stages"):
        steps_of("timm", "vit_tiny_patch16_224", SMALL)


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("detector", {"name": "fasterrcnn_resnet51_fpn"}, "no detector `.*51_fpn`; it has `fasterrcnn_resnet50_fpn`"),
        ("detector", {"name": "resnet18"}, "no detector `resnet18`"),
        ("detector", {"name": "keypointrcnn_resnet50_fpn"}, "finds key points, and no task has them"),
        ("detector", {"name": "ssd300_vgg16", "frozen_norms": True}, "has no batch norms that could be frozen"),
        (
            "detector",
            {"name": "fasterrcnn_resnet50_fpn", "options": {"min_sise": 3}},
            "has no setting `min_sise`; it has `min_size`",
        ),
        (
            "detector",
            {"name": "fasterrcnn_resnet50_fpn", "options": {"weights": "DEFAULT"}},
            "`weights` cannot be among the options",
        ),
        ("segmenter", {"name": "deeplabv3_resnet5"}, "no segmenter `.*`; it has `deeplabv3_resnet50`"),
        ("segmenter", {"name": "lraspp_mobilenet_v3_large", "aux": True}, "has one head: leave `aux` out"),
        ("bottleneck_rcnn", {"options": {"min_siz": 3}}, "FasterRCNN has no setting `min_siz`; it has `min_size`"),
        ("ssdlite", {"backbone": "resnet19"}, "timm has no model `resnet19`; it has `resnet"),
        ("ssdlite", {"backbone": "resnet18", "maps": ["layer5"]}, "has no map `layer5`; did you mean `layer4`"),
        ("ssdlite", {"backbone": "resnet18", "maps": ["layer4", "layer3"]}, "must follow one another: layer3, layer4"),
        (
            "ssdlite",
            {"backbone": "resnet18", "options": {"score_tresh": 1}},
            "SSD has no setting .*; it has `score_thresh`",
        ),
        ("ssdlite", {"backbone": "resnet18", "sides": [320]}, "`sides` are a height and a width in pixels, not .320."),
        ("lraspp", {"backbone": "resnet18", "maps": ["layer3"]}, "`maps` are two, .*; these are 1"),
        ("lraspp", {"backbone": "vit_tiny_patch16_224"}, "is not made of stages"),
        (
            "torchvision",
            {"name": "inception_v3", "options": {"transform_inputs": True}},
            "does not take these settings: .*transform_inputs",
        ),
        ("torchvision", {"name": "mobilenet_v2", "options": {"num_classes": 3}}, "`num_classes` cannot be among"),
        (
            "torchvision",
            {"name": "mobilenet_v3_small", "options": {"drop": 0.1}},
            "`mobilenet_v3_small` has no setting `drop`; it has .*dropout",
        ),
    ],
)
def test_a_mistake_is_told_in_words(name, settings, words):
    with META, pytest.raises(RedistillError, match=words):
        build(name, 3, **settings)
