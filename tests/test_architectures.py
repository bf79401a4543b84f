"""Architectures: sizes as published, shapes, seeds, and mistakes told in words."""

from typing import Any

import pytest
import torch
from torch import nn

from redistill import registry
from redistill.errors import RedistillError
from redistill.models.taps import tapped

RGB = (3, 32, 32)

# The figures of the papers for ten classes, in millions, with as many digits as they print.
PUBLISHED = [
    ("cifar_resnet", {"depth": 20}, "0.27"),
    ("cifar_resnet", {"depth": 32}, "0.46"),
    ("cifar_resnet", {"depth": 44}, "0.66"),
    ("cifar_resnet", {"depth": 56}, "0.85"),
    ("cifar_resnet", {"depth": 110}, "1.7"),
    ("wide_resnet", {"depth": 40, "width": 1}, "0.6"),
    ("wide_resnet", {"depth": 40, "width": 2}, "2.2"),
    ("wide_resnet", {"depth": 40, "width": 4}, "8.9"),
    ("wide_resnet", {"depth": 16, "width": 8}, "11.0"),
    ("wide_resnet", {"depth": 22, "width": 8}, "17.2"),
    ("wide_resnet", {"depth": 28, "width": 10}, "36.5"),
    ("densenet_bc", {}, "0.8"),
    ("densenet_bc", {"depth": 250, "growth": 24}, "15.3"),
    ("densenet_bc", {"depth": 190, "growth": 40}, "25.6"),
]

# The small models that methods are compared on, for 100 classes: those of the comparisons of Tian, Krishnan and Isola
# 2020 (arXiv:1910.10699), as models/resnet.py and models/wrn.py of HobbitLong/RepDistiller define them. Their ResNets
# have a 1 x 1 convolution and a norm in the two shortcuts that change the shape, where He et al. have zeros, as here.
OF_SHORTCUTS = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
COMPARED = [
    *(("cifar_resnet", {"depth": depth}, theirs - OF_SHORTCUTS)
      for depth, theirs in [(8, 83_892), (14, 181_108), (20, 278_324), (32, 472_756), (44, 667_188), (56, 861_620)]),
    ("wide_resnet", {"depth": 16, "width": 1}, 180_916),
    ("wide_resnet", {"depth": 16, "width": 2}, 703_284),
    ("wide_resnet", {"depth": 40, "width": 1}, 569_780),
    ("wide_resnet", {"depth": 40, "width": 2}, 2_255_156),
]  # fmt: skip

# The figures for 100 classes, in millions, of CIFAR-100/README.md of clovaai/overhaul-distillation (arXiv:1904.01866);
# the last digit is rounded in some and cut in others.
OVERHAUL = [
    ("cifar_resnet", {"depth": 56}, "0.86"),
    ("wide_resnet", {"depth": 16, "width": 2}, "0.70"),
    ("wide_resnet", {"depth": 16, "width": 4}, "2.77"),
    ("wide_resnet", {"depth": 28, "width": 2}, "1.47"),
    ("wide_resnet", {"depth": 28, "width": 4}, "5.87"),
]

# One small model of each architecture, and images that it takes.
SMALL: list[tuple[str, tuple[int, int, int], dict[str, Any]]] = [
    ("cnn", (1, 8, 8), {"channels": [4, 6, 8]}),
    ("cnn", (3, 9, 15), {"channels": [4, 6, 8, 8, 8, 8], "dropout": 0.5}),
    ("cifar_resnet", RGB, {"depth": 8}),
    ("cifar_resnet", (1, 4, 7), {"depth": 14}),
    ("wide_resnet", RGB, {"depth": 10, "width": 1}),
    ("wide_resnet", (1, 5, 6), {"depth": 16, "width": 2, "dropout": 0.3}),
    ("densenet_bc", RGB, {"depth": 10}),
    ("densenet_bc", (1, 4, 11), {"depth": 16, "growth": 4, "compression": 1.0, "dropout": 0.2}),
    ("torchvision", (3, 64, 64), {"name": "mobilenet_v3_small"}),
    ("timm", (1, 32, 32), {"name": "resnet10t"}),
    ("timm", RGB, {"name": "vit_tiny_patch16_224", "options": {"img_size": 32, "patch_size": 8, "depth": 2}}),
]


def build(name: str, shape: tuple[int, int, int], outputs: int = 10, /, **settings: Any) -> nn.Module:
    """As the engine does: inputs by name, settings with their defaults."""
    given = {"num_outputs": outputs, "image_shape": shape}
    inputs = [given[parameter] for parameter in registry.signature("architecture", name).inputs]
    settings = registry.with_defaults("architecture", name, settings)
    model: nn.Module = registry.get("architecture", name)(*inputs, **settings)
    return model


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "settings", "millions"), PUBLISHED)
def test_an_architecture_has_the_published_number_of_parameters(name, settings, millions):
    with torch.device("meta"):
        count = parameters(build(name, RGB, **settings)) / 1e6
    last_digit = 10.0 ** -len(millions.partition(".")[2])
    assert abs(count - float(millions)) <= 0.5 * last_digit


@pytest.mark.parametrize(("name", "settings", "count"), COMPARED)
def test_a_small_model_of_the_comparisons_has_their_number_of_parameters(name, settings, count):
    with torch.device("meta"):
        assert parameters(build(name, RGB, 100, **settings)) == count


@pytest.mark.parametrize(("name", "settings", "millions"), OVERHAUL)
def test_a_model_for_a_hundred_classes_has_the_published_number_of_parameters(name, settings, millions):
    with torch.device("meta"):
        assert abs(parameters(build(name, RGB, 100, **settings)) / 1e6 - float(millions)) < 0.01


@pytest.mark.parametrize(("name", "shape", "settings"), SMALL)
def test_an_architecture_gives_logits_and_gradients(name, shape, settings):
    torch.manual_seed(0)
    model = build(name, shape, 7, **settings)
    images = torch.randn(3, *shape)
    logits = model(images)
    assert logits.shape == (3, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize(("name", "shape", "settings"), SMALL)
def test_a_seed_settles_the_weights(name, shape, settings):
    def drawn(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return build(name, shape, **settings).state_dict()

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


META = [
    *SMALL,
    ("cifar_resnet", RGB, {"depth": 110}),
    ("wide_resnet", RGB, {"depth": 28, "width": 10}),
    ("densenet_bc", RGB, {}),
    *(("torchvision", (3, 224, 224), {"name": n}) for n in ("resnet50", "vit_b_16", "densenet121", "swin_t")),
    *(("torchvision", (3, 299, 299), {"name": n}) for n in ("googlenet", "inception_v3")),
    ("torchvision", (3, 224, 224), {"name": "regnet_y_400mf"}),
    *(("timm", (3, 224, 224), {"name": n}) for n in ("convnext_atto", "efficientnet_b0", "resnet18.a1_in1k")),
]


@pytest.mark.parametrize(("name", "shape", "settings"), META)
def test_an_architecture_is_built_without_memory(name, shape, settings):
    with torch.device("meta"):
        model = build(name, shape, 7, **settings)
        logits = model(torch.empty(2, *shape))
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "settings", "shapes"),
    [
        ("cifar_resnet", {"depth": 20}, [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)]),
        ("wide_resnet", {"depth": 16, "width": 2}, [(16, 32, 32), (32, 32, 32), (64, 16, 16), (128, 8, 8)]),
        ("densenet_bc", {}, [(24, 32, 32), (216, 32, 32), (300, 16, 16), (342, 8, 8)]),
    ],
)
def test_the_layers_can_be_tapped(name, settings, shapes):
    with torch.device("meta"):
        model = build(name, RGB, **settings)
        with tapped(model, paths := ["conv1", "layer1", "layer2", "layer3", "fc"], "student") as captured:
            model(torch.empty(2, *RGB))
    assert [tuple(captured[path].shape) for path in paths] == [*((2, *shape) for shape in shapes), (2, 10)]


def test_dropout_acts_in_training_only():
    for name, settings in [("wide_resnet", {"depth": 10, "width": 1}), ("densenet_bc", {"depth": 10})]:
        model, images = build(name, (1, 8, 8), **settings, dropout=0.5), torch.randn(4, 1, 8, 8)
        assert not torch.equal(model(images), model(images))
        model.eval()
        assert torch.equal(model(images), model(images))


@pytest.mark.parametrize(
    ("name", "shape", "settings", "words"),
    [
        ("cnn", (1, 7, 28), {"channels": [4] * 6}, "6 channels make 3 poolings, and 7 x 28 pixels .* 2 times only"),
        ("cifar_resnet", RGB, {"depth": 18}, r"6n \+ 2, such as .* it is 18"),
        ("cifar_resnet", RGB, {"depth": 2}, r"6n \+ 2"),
        ("cifar_resnet", (3, 3, 32), {"depth": 8}, "at least 4 pixels; these are 3 x 32"),
        ("wide_resnet", RGB, {"depth": 20, "width": 1}, r"6n \+ 4, such as .* it is 20"),
        ("wide_resnet", RGB, {"depth": 16, "width": 0}, "width must be at least 1"),
        ("wide_resnet", (1, 32, 2), {"depth": 16, "width": 1}, "at least 4 pixels"),
        ("densenet_bc", RGB, {"depth": 101}, r"6n \+ 4, such as .* it is 101"),
        ("densenet_bc", RGB, {"growth": 0}, "growth must be at least 1"),
        ("densenet_bc", RGB, {"compression": 0.0}, "compression must be above 0"),
        ("densenet_bc", (1, 3, 3), {}, "at least 4 pixels"),
        ("torchvision", RGB, {"name": "resnet19"}, "no classifier `resnet19`; it has `resnet"),
        ("torchvision", RGB, {"name": "fasterrcnn_resnet50_fpn"}, "no classifier"),
        ("torchvision", RGB, {"name": "???"}, "nothing like it"),
        ("timm", RGB, {"name": "resnet19"}, "no model `resnet19`; it has `resnet"),
        ("timm", RGB, {"name": "hf-hub:timm/resnet18.a1_in1k"}, "no model"),
        ("timm", RGB, {"name": "resnet18", "options": {"pretrained": True}}, "`pretrained` cannot be among"),
        ("timm", RGB, {"name": "resnet18", "options": {"widht": 2}}, "does not take these settings: .*widht"),
    ],
)
def test_a_mistake_is_told_in_words(name, shape, settings, words):
    with torch.device("meta"), pytest.raises(RedistillError, match=words):
        build(name, shape, **settings)
