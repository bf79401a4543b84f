"""Change the brightness, contrast, saturation and hue of an image."""

from typing import Annotated

from annotated_types import Ge, Le
from torchvision.transforms import v2


def colour_jitter(
    *,
    brightness: Annotated[float, Ge(0)] = 0.0,
    contrast: Annotated[float, Ge(0)] = 0.0,
    saturation: Annotated[float, Ge(0)] = 0.0,
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0,
) -> v2.Transform:
    """Each by a factor within 1 ± its setting; the hue by a shift within ± its setting."""
    return v2.ColorJitter(brightness, contrast, saturation, hue)
