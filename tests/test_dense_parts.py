"""What the recipes of the vision tables need: a schedule, averages that a GPU gives twice alike, a second head."""

import pytest
import torch
from picture_sets import coco_folder
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d, cross_entropy

from redistill import registry
from redistill.data.readers.coco import coco
from redistill.distill.fsp import largest, largest_by_windows
from redistill.distill.maps import averaged, averaged_by_products
from redistill.distill.second_head import second_head
from redistill.models.architectures.segmenter import segmenter


def test_poly_is_a_power_of_what_is_left():
    poly = registry.get("schedule", "poly")
    built = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.LambdaLR(built, lambda step: (1 - step / 30) ** 0.9)
    for step in range(30):
        assert poly(step, 30, power=0.9) == pytest.approx(built.param_groups[0]["lr"])
        built.step()
        theirs.step()
    warm = [poly(step, 12, power=2.0, warmup=0.25) for step in range(12)]
    assert warm[:4] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert warm[-1] == pytest.approx((1 / 9) ** 2)


@pytest.mark.parametrize(("sides", "size"), [((7, 7), (4, 4)), ((14, 9), (4, 2)), ((5, 8), (5, 1)), ((3, 3), (3, 3))])
def test_averages_by_products_are_those_of_adaptive_pooling_with_its_gradient(sides, size):
    maps = torch.randn(2, 3, *sides, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, *size, dtype=torch.float64)
    assert torch.allclose(averaged_by_products(maps, size), adaptive_avg_pool2d(maps, size))
    assert torch.allclose(averaged(maps, size), adaptive_avg_pool2d(maps, size))
    ours, theirs = (
        torch.autograd.grad((pool(maps, size) * weights).sum(), maps)[0]
        for pool in (averaged_by_products, adaptive_avg_pool2d)
    )
    assert torch.allclose(ours, theirs)


@pytest.mark.parametrize(("sides", "size"), [((7, 7), (4, 4)), ((14, 9), (4, 2)), ((8, 4), (4, 2)), ((3, 3), (3, 3))])
def test_the_largest_by_windows_are_those_of_adaptive_pooling_with_its_gradient(sides, size):
    maps = torch.randn(2, 3, *sides, dtype=torch.float64).relu().requires_grad_()  # where many are equal
    weights = torch.randn(2, 3, *size, dtype=torch.float64)
    ours, theirs = largest_by_windows(maps, size), adaptive_max_pool2d(maps, size)
    assert torch.equal(ours, theirs)
    assert torch.equal(largest(maps, size), theirs)
    given, wanted = (torch.autograd.grad((pooled * weights).sum(), maps)[0] for pooled in (ours, theirs))
    assert torch.allclose(given, wanted)


def test_the_second_head_learns_from_what_torchvision_says_of_it():
    model, images = segmenter(3, name="deeplabv3_resnet50", aux=True).eval(), torch.randn(1, 3, 32, 48)
    labels = torch.randint(-1, 3, (1, 32, 48))
    tapped = []
    model.aux_classifier.register_forward_hook(lambda _module, _given, said: tapped.append(said))
    with torch.no_grad():
        said = model(images)["aux"]
        ours = second_head([tapped[0], images], labels.flatten())
    assert ours.item() == pytest.approx(cross_entropy(said, labels, ignore_index=-1).item(), rel=1e-5)


def test_pixels_without_a_class_say_nothing_to_the_second_head():
    maps = [torch.randn(1, 3, 2, 2, requires_grad=True), torch.zeros(1, 1, 4, 4)]
    assert second_head(maps, torch.full((16,), -1)).item() == 0


def test_the_second_head_wants_a_map_of_the_images_size():
    head, image = torch.randn(1, 3, 2, 2), torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="two taps"):
        second_head([head], torch.zeros(16, dtype=torch.long))
    with pytest.raises(ValueError, match=r"16 labels are not those of 1 images of \(2, 2\)"):
        second_head([head, head], torch.zeros(16, dtype=torch.long))
    with pytest.raises(ValueError, match="16 labels"):
        second_head([head, image[..., :2]], torch.zeros(16, dtype=torch.long))


def test_images_with_a_box_of_any_category_are_trained_on_where_a_task_says_so(tmp_path):
    said = {"annotations": {"val": "annotations/val.json"}, "images": {"val": "val"}, "annotated_only": ["val"]}
    folder, labels = coco_folder(tmp_path), ["background", "cat", "dog"]
    found, _ = coco(folder, labels, "segmentation", others="leave_out", annotated_by="any_box", **said)
    assert [example["id"] for example in found["val"]] == ["0.png", "1.png", "2.png"]  # the kite's too
    detected, _ = coco(folder, labels[1:], "detection", others="leave_out", annotated_by="any_box", **said)
    assert [example["id"] for example in detected["val"]] == ["0.png", "1.png", "2.png"]
