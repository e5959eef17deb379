"""Hand-made networks, each small enough to know by heart."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs.models import Preprocessing, VisionModel


def wrapped(network: nn.Module, size: tuple[int, int] = (16, 16), **settings) -> VisionModel:
    """The network as a model in float64 that normalises with mean 0.5 and standard deviation 0.25."""
    preprocessing = Preprocessing(size, min(size), (0.5,) * 3, (0.25,) * 3)
    return VisionModel(network, preprocessing, **settings).double().eval()


def bare(network: nn.Module, size: tuple[int, int] = (16, 16), **settings) -> VisionModel:
    """The network as a model in float64 that sees the pixels as they are."""
    return VisionModel(network, Preprocessing(size, min(size)), **settings).double().eval()


def plain(seed: int = 0) -> nn.Sequential:
    """Two convolutions, each with its ReLU, the mean over positions and a linear layer: 3 -> 6 -> 8 -> 5."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )


def without_bias(network: nn.Module) -> nn.Module:
    """The network with every bias set to zero."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return network


def hooks(model: nn.Module) -> int:
    """How many hooks a model carries."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def state(model: nn.Module) -> tuple[object, ...]:
    """What a method must leave as it found it."""
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad for parameter in model.parameters()],
        [tensor.sum().item() for tensor in model.state_dict().values()],
        [type(module) for module in model.modules()],
        hooks(model),
    )


class Counted(nn.Module):
    """Returns what it is given and counts how often."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, values: Tensor) -> Tensor:
        self.calls += 1
        return values


class Fails(nn.Module):
    """Refuses whatever it is given."""

    def forward(self, values: Tensor) -> Tensor:
        raise RuntimeError("this head refuses")


class InPlace(nn.Module):
    """A convolution whose output is changed in place: by a module, a function, a method or an operator."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(4, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        values = self.conv(images)
        if self.way == "module":
            values = self.relu(values)
        elif self.way == "function":
            functional.relu(values, inplace=True)
        elif self.way == "method":
            values.relu_()
        else:
            values += 10
        return self.head(values).mean((2, 3))


class Aliased(nn.Module):
    """Keeps a second name of what `identity` returns, and overwrites it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.identity = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        values = self.conv(images)
        kept = self.identity(values)
        values.relu_()
        return kept.mean((2, 3))


class Residual(nn.Module):
    """``inner(x) + x`` where `inner` works in place and the sum does too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        stem = self.stem(images)
        branch = self.second(self.relu(self.first(stem)))
        branch += stem
        return branch.relu_().mean((2, 3))


class Block(nn.Module):
    """Uses its one activation twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.act = nn.ReLU()
        self.second = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.act(self.second(self.act(self.first(images))))


class Reused(nn.Module):
    """One block whose activation runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.block(images))


class Pair(NamedTuple):
    size: int
    values: Tensor


class Several(nn.Module):
    """Returns its values inside a tuple, a list, a named tuple or a dict, with something else beside them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> object:
        values = self.conv(images)
        return {
            "tuple": (None, values),
            "list": [values, None],
            "named tuple": Pair(4, values),
            "dict": {"size": 4, "values": values},
            "string": "nothing",
        }[self.kind]


class Unpacks(nn.Module):
    """Reads the values out of what `Several` returned, by the type it returned them in."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.several = Several(kind)

    def forward(self, images: Tensor) -> Tensor:
        output = self.several(images)
        if self.kind == "named tuple":
            values = output.values
        elif self.kind == "dict":
            values = output["values"]
        else:
            values = next(value for value in output if isinstance(value, Tensor))
        return values.mean((2, 3))


class Tokens(nn.Module):
    """Patches of 4 x 4 pixels as tokens (B, T, C) behind `prefix` class tokens; logits from the patches' mean."""

    def __init__(self, prefix: int = 1, channels: int = 5) -> None:
        super().__init__()
        self.prefix = prefix
        self.patches = nn.Conv2d(3, channels, 4, stride=4)
        self.block = nn.Linear(channels, channels)
        self.head = nn.Linear(channels, 3)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        classes = patches.new_full((len(images), self.prefix, patches.shape[2]), 100.0)
        tokens = self.block(torch.cat([classes, patches], 1))
        return self.head(tokens[:, self.prefix :].mean(1))


class TransformerBlock(nn.Module):
    """Attention with one head and an MLP, each added to the tokens that it is given, (B, T, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.Linear(channels, 3 * channels)
        self.mixed = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.attention(tokens).chunk(3, 2)
        seen = (query @ key.mT / key.shape[2] ** 0.5).softmax(2) @ value
        tokens = tokens + self.mixed(seen)
        return tokens + self.mlp(tokens)


class ViT(nn.Module):
    """A vision transformer: patches of 4 x 4 pixels behind one class token, one block, logits from the class token."""

    def __init__(self, channels: int = 6, classes: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, channels, 4, stride=4)
        self.class_token = nn.Parameter(torch.full((1, 1, channels), 100.0))
        self.block = TransformerBlock(channels)
        self.head = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], 1)
        return self.head(self.block(tokens)[:, 0])


class ChannelsLast(nn.Module):
    """Patches of 4 x 4 pixels on a grid (B, H, W, C)."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, channels, 4, stride=4)
        self.block = nn.Linear(channels, channels)
        self.head = nn.Linear(channels, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.block(self.patches(images).permute(0, 2, 3, 1)).mean((1, 2)))


class Pixels(nn.Module):
    """Returns the pixels as a layer, `pixels`, and their mean colour as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.pixels(images).mean((2, 3))
