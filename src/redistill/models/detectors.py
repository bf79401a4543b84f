"""What detectors have in common: norms that keep their statistics, and a pass that depends on values."""

from torch import nn

from redistill.errors import RedistillError


def needs_values(model: nn.Module) -> bool:
    """Whether a whole pass of a model depends on the values of its tensors, so that the meta device cannot make it.

    A detector drops boxes by their scores, and matches others to what is there. Its `transform`, in eval mode, and its
    `backbone` are passed through without values, so what is tapped in the backbone can be looked at.
    """
    return hasattr(model, "transform") and hasattr(model, "backbone")


def finds_masks(model: nn.Module) -> bool:
    """Whether a model is a detector that learns the mask of each object too, as Mask R-CNN does."""
    heads = getattr(model, "roi_heads", None)
    return heads is not None and getattr(heads, "mask_head", None) is not None


def freeze_norms(module: nn.Module, eps: float) -> None:
    """Put norms that keep the statistics and the scales that they start with in the place of batch norms, as
    torchvision has them in detectors that start from weights.

    Raises:
        RedistillError: there is no batch norm.
    """
    from torchvision.ops import FrozenBatchNorm2d

    replaced = 0
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, FrozenBatchNorm2d(child.num_features, eps=eps))
                replaced += 1
    if not replaced:
        raise RedistillError("`frozen_norms`: the backbone has no batch norms that could be frozen; leave it out")
