from collections.abc import Iterator
from pathlib import Path

import networks
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from interpret_runs.models import VisionModel, load

torch.set_num_threads(1)  # the networks are tiny, and threads that wait for each other cost more than they gain
SQUEEZENET = Path(__file__).parents[2] / "shared/weights/squeezenet1_0-imagenet.safetensors"


@pytest.fixture
def model() -> VisionModel:
    """Two convolutions and a linear head in float64, for 16 x 16 pixels; see `networks.plain`."""
    return networks.wrapped(networks.plain())


@pytest.fixture
def images() -> Tensor:
    """Four random images of 16 x 12 pixels in float64."""
    return torch.rand(4, 3, 16, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="session")
def squeezenet() -> VisionModel:
    """SqueezeNet with real ImageNet weights."""
    if not SQUEEZENET.is_file():
        pytest.skip(f"needs real ImageNet weights: {SQUEEZENET}")
    return load("squeezenet1_0", str(SQUEEZENET))


def photograph(name: str) -> Tensor:
    """A photograph of scikit-image prepared as for ImageNet, (1, 3, 224, 224): short side 256, centre 224."""
    data = pytest.importorskip("skimage.data")
    image = torch.from_numpy(getattr(data, name)()).permute(2, 0, 1)[None].float() / 255
    scale = 256 / min(image.shape[2:])
    height, width = (round(scale * side) for side in image.shape[2:])
    image = functional.interpolate(image, size=[height, width], mode="bilinear", antialias=True).clamp(0, 1)
    top, left = (height - 224) // 2, (width - 224) // 2
    return image[:, :, top : top + 224, left : left + 224]


@pytest.fixture(scope="session")
def cat() -> Tensor:
    """Chelsea the cat."""
    return photograph("chelsea")


@pytest.fixture(scope="session")
def coffee() -> Tensor:
    """A cup of coffee."""
    return photograph("coffee")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Facts kept between commands are kept for this session only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERPRET_RUNS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
