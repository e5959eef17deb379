"""What a network wants done to photographs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """How photographs become what a network was trained on.

    The short side is resized to `resize` pixels (`interpolation` is bilinear or bicubic), the centre
    cropped to `size` (height, width), then RGB in [0, 1] is normalised with `mean` and `std`.
    """

    size: tuple[int, int]
    resize: int
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    interpolation: str = "bilinear"
