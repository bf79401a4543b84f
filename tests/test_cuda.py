"""On a GPU: every loss, family of models and auxiliary module computes there what it computes on CPUs, settled.

Skipped where there is no GPU; `make gpu` runs these tests and those of test_gpu_pipeline.py alone. A run's settings of
torch hold: an operation that has no deterministic form on GPUs fails the test that meets it.
"""

import copy
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as `redistill.environment` sets it

import pytest
import torch
from method_proofs import Case, _given, learning
from test_families import FAMILIES, TASK, batch, config_of
from test_vision_models import TINY, build, pictures
from torch import Tensor, nn

from redistill import registry
from redistill.models import load, text
from redistill.models.dropout import Dropout

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here"),
]
METHODS = sorted(file.stem for file in Path(__file__).parent.glob("methods_*.py"))
CASES: list[Case] = [case for family in METHODS for case in import_module(family).CASES]
CPU, GPU = ({"device": device, "portable": False} for device in ("cpu", "cuda"))


@pytest.fixture(autouse=True)
def as_in_a_run() -> Iterator[None]:
    """Operations that are not settled are refused; float32 is float32, in convolutions too."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    torch.set_deterministic_debug_mode("error")
    yield
    torch.set_deterministic_debug_mode("default")
    torch.backends.cudnn.allow_tf32 = before


def on(value: Any, device: str) -> Any:
    """Tensors and modules, in whatever they are, on a device."""
    if isinstance(value, dict):
        return {name: on(one, device) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [on(one, device) for one in value]
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).to(device)
    return value.detach().to(device) if isinstance(value, Tensor) else value


def alike(here: Any, there: Any, **limits: float) -> None:
    """What a GPU gave is what the CPU gave, in the same places."""
    for mine, theirs in zip(here, there, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert theirs.is_cuda
            torch.testing.assert_close(theirs.cpu(), mine, **limits)


# --- losses ----------------------------------------------------------------------------------------------------------


def computed(case: Case, inputs: dict[str, Any]) -> tuple[list[Tensor | None], list[Tensor]]:
    """Value and gradients of a method, of the student's tensors and of what it learns; and what it then remembers."""
    own = inputs.get("own", nn.Module())
    learnt = [*learning(inputs), *own.parameters()]
    known = registry.signature("loss", case.method).called_with
    settings = {name: value for name, value in case.settings.items() if name in known}
    given = [inputs["own"] if name == "own" else _given(inputs, name) for name in case.asked]
    value = case.function(*given, **settings)
    gradients = torch.autograd.grad(value, [t for t in learnt if t.requires_grad], allow_unused=True)
    return [value.detach(), *gradients], list(own.buffers())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_method_says_the_same_on_a_gpu(case: Case, dtype: torch.dtype) -> None:
    limits = {"rtol": 1e-6, "atol": 1e-8} if dtype == torch.float64 else {"rtol": 2e-3, "atol": 2e-4}
    for B in (1, 4):
        inputs = case.inputs(B, dtype=dtype)
        there = on(inputs, "cuda")
        (mine, kept), (theirs, kept_there) = computed(case, inputs), computed(case, there)
        alike(mine, theirs, **limits)
        alike(kept, kept_there, **limits)


# --- models ----------------------------------------------------------------------------------------------------------

CIFAR = (3, 32, 32)
IMAGES: list[tuple[str, tuple[int, int, int], dict[str, Any]]] = [
    ("cnn", (1, 8, 8), {"channels": [4, 6], "hidden": 8, "dropout": 0.2}),
    ("cifar_resnet", CIFAR, {"depth": 20}),
    ("wide_resnet", CIFAR, {"depth": 16, "width": 2, "dropout": 0.3}),
    ("densenet_bc", CIFAR, {"depth": 22, "growth": 6}),
    ("torchvision", (3, 64, 64), {"name": "resnet18"}),
    ("torchvision", (3, 64, 64), {"name": "mobilenet_v2"}),
    ("torchvision", (3, 64, 64), {"name": "densenet121"}),
    ("timm", (3, 64, 64), {"name": "tf_efficientnet_lite0"}),
    ("timm", (3, 64, 64), {"name": "mobilenetv3_small_050"}),
    ("timm", (3, 224, 224), {"name": "vit_tiny_patch16_224"}),
    ("bottleneck_classifier", (3, 64, 64), {"name": "resnet152"}),
    ("segmenter", (3, 48, 64), {"name": "lraspp_mobilenet_v3_large"}),
    ("segmenter", (3, 48, 64), {"name": "deeplabv3_mobilenet_v3_large", "aux": True}),
    ("lraspp", (3, 48, 64), {"backbone": "mobilenetv2_035", "width": 16}),
]


def without_chance(model: nn.Module) -> nn.Module:
    """A model whose dropout drops nothing: masks of a GPU are not those of the CPU."""
    for module in model.modules():
        if isinstance(module, nn.Dropout | Dropout):
            module.p = 0.0
    return model


def passed(model: nn.Module, given: dict[str, Any]) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Logits, and gradients of all that learns."""
    logits = load.said_of(model, given)["logits"]
    weights = torch.linspace(-1, 1, logits.numel(), dtype=torch.float64).to(logits).view_as(logits)
    (logits * weights).sum().backward()
    return [logits.detach()], [parameter.grad for parameter in model.parameters()]


def near(here: list[Tensor | None], there: list[Tensor | None], share: float = 1e-5) -> None:
    """Of each tensor, the difference is this share of its length. Some operations have float32's weights on GPUs."""
    for mine, theirs in zip(here, there, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            assert theirs.is_cuda
            assert (theirs.cpu() - mine).norm() <= share * mine.norm() + 1e-6


def same_each_time(model: nn.Module, given: dict[str, Any]) -> None:
    """To the bit, logits and gradients of some passes of a model on a GPU, in float32 and in mixed precision."""
    for dtype in (torch.float32, torch.bfloat16):
        passes = []
        for _ in range(4):
            model.zero_grad(set_to_none=True)
            with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
                passes.append([tensor for found in passed(model, given) for tensor in found if tensor is not None])
        for other in passes[1:]:
            assert all(torch.equal(first, again) for first, again in zip(passes[0], other, strict=True))


def placed(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A model as a run has it, on the CPU and on a GPU."""
    return load.placed(copy.deepcopy(model), CPU), load.placed(copy.deepcopy(model), GPU)


@pytest.mark.parametrize(("name", "shape", "settings"), IMAGES, ids=lambda said: str(said))
def test_a_model_of_images_computes_the_same_on_a_gpu(
    name: str, shape: tuple[int, int, int], settings: dict[str, Any]
) -> None:
    torch.manual_seed(1)
    here, there = placed(without_chance(build(name, 5, shape, **settings)).double())
    images = torch.rand(4, *shape, dtype=torch.float64)
    mine, theirs = passed(here.train(), {"image": images}), passed(there.train(), {"image": images.cuda()})
    near(mine[0], theirs[0])
    near(mine[1], theirs[1])
    single = there.float().eval()(images.float().cuda())
    expected = here.double().eval()(images)
    first, wanted = (said["out"] if isinstance(said, dict) else said for said in (single, expected))
    error = (first.cpu().double() - wanted).norm() / wanted.norm()
    assert error < 1e-4
    same_each_time(there.train(), {"image": torch.rand(32, *shape).cuda()})


def test_a_student_whose_classifier_is_its_teachers_computes_the_same_on_a_gpu() -> None:
    """SimKD's: maps are brought to the smaller of two sizes, which torch has no settled gradient of there."""
    task = {"type": "classification", "input": "image", "labels": list("abcde"), "image_shape": [3, 32, 32]}
    for like in ([8, 8, 8], [8, 3, 3]):
        settings = {"body": {"method": "cifar_resnet", "depth": 8}, "last": "layer3", "like": like}
        torch.manual_seed(1)
        model = registry.get("architecture", "reused_classifier")(
            task, **registry.with_defaults("architecture", "reused_classifier", settings)
        )
        here, there = placed(model.double())
        images = torch.rand(4, 3, 32, 32, dtype=torch.float64)
        mine, theirs = passed(here.train(), {"image": images}), passed(there.train(), {"image": images.cuda()})
        near(mine[0], theirs[0])
        near(mine[1], theirs[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_model_computes_the_same_on_a_gpu(family: str) -> None:
    torch.manual_seed(3)
    here, there = placed(without_chance(text.from_config(config_of(family), TASK)))
    mine, theirs = passed(here.eval(), batch(family)), passed(there.eval(), on(batch(family), "cuda"))
    alike(mine[0], theirs[0], rtol=1e-3, atol=1e-5)
    alike(mine[1], theirs[1], rtol=1e-2, atol=1e-4)
    same_each_time(there, on(batch(family), "cuda"))


@pytest.mark.parametrize("name_settings", TINY, ids=lambda said: said[0])
def test_a_detector_learns_on_a_gpu_twice_the_same_and_finds_the_same(name_settings: Any) -> None:
    """Its losses count regions that it draws, from a generator of the GPU's: they are near the CPU's, not the same."""
    name, settings = name_settings
    torch.manual_seed(1)
    here, there = placed(build(name, 3, **settings))
    given = on(pictures(), "cuda")
    twice = []
    for _ in range(2):
        torch.manual_seed(2)
        there.zero_grad(set_to_none=True)
        losses = load.said_of(there.train(), given)["losses"]
        sum(losses.values()).backward()
        twice.append([*losses.values(), *(p.grad for p in there.parameters())])
    for first, second in zip(*twice, strict=True):
        assert (first is None) == (second is None)
        assert first is None or (torch.equal(first, second) and first.isfinite().all())
    expected = load.said_of(here.train(), pictures())["losses"]
    for what, loss in zip(expected.values(), twice[0], strict=False):
        assert loss.item() == pytest.approx(what.item(), rel=0.3, abs=0.3)
    with torch.no_grad():
        there.load_state_dict(here.state_dict())
        mine = load.said_of(here.eval(), pictures())["detections"]
        theirs = load.said_of(there.eval(), given)["detections"]
    for one, other in zip(mine, theirs, strict=True):
        assert abs(len(one["scores"]) - len(other["scores"])) <= max(2, len(one["scores"]) // 20)
        near = min(len(one["scores"]), len(other["scores"]), 5)
        torch.testing.assert_close(other["scores"][:near].cpu(), one["scores"][:near], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "taken", "like"),
    [("conv", (4, 8, 8), (6, 4, 4)), ("linear", (4,), (6,)), ("mlp", (4,), (6,)), ("paraphraser", (4, 8, 8), None)],
)
def test_an_auxiliary_module_computes_the_same_on_a_gpu(name: str, taken: tuple[int, ...], like: Any) -> None:
    torch.manual_seed(1)
    module = registry.get("module", name)(taken, like, **registry.with_defaults("module", name, {})).double()
    given = torch.randn(3, *taken, dtype=torch.float64)
    found = []
    for device in ("cpu", "cuda"):
        one = copy.deepcopy(module).to(device)
        output = one(given.to(device))
        output.square().sum().backward()
        found.append([output.detach(), *(p.grad for p in one.parameters())])
    alike(*found, rtol=1e-6, atol=1e-8)
