"""Any image classifier of timm, at random weights."""

from difflib import get_close_matches

from torch import nn

from redistill.errors import RedistillError

# What the task decides, what would bring weights from elsewhere, and what would give no logits.
_NOT_OPTIONS = (
    "num_classes", "in_chans", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir",
    "features_only",
)  # fmt: skip


def timm(num_outputs: int, image_shape: tuple[int, int, int], *, name: str, options: dict | None = None) -> nn.Module:
    """A classifier of timm by its name there, such as `resnet18`, without pretrained weights.

    Takes (B, C, H, W), gives (B, num_outputs). `options` go to the model, such as `{img_size: 32, patch_size: 4}` for a
    vision transformer, which else takes the sides it was published with.

    Raises:
        RedistillError: timm has no model of that name, or the model does not take the options.
    """
    from timm import create_model, is_model, list_models  # the library; this module is ...architectures.timm

    options = options or {}
    if not is_model(name):
        near = ", ".join(f"`{known}`" for known in get_close_matches(name, list_models())) or "nothing like it"
        raise RedistillError(f"timm has no model `{name}`; it has {near}")
    if refused := [f"`{key}`" for key in options if key in _NOT_OPTIONS]:
        raise RedistillError(f"timm: {', '.join(refused)} cannot be among the options of `{name}`")
    try:
        model: nn.Module = create_model(name, num_classes=num_outputs, in_chans=image_shape[0], **options)
    except TypeError as error:
        raise RedistillError(f"timm model `{name}` does not take these settings: {error}") from error
    return model
