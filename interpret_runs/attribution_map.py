"""Maps as values: sums, products and parts of attributions, each with a label that says how it was made."""

from __future__ import annotations

import ast
import operator
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from numbers import Integral, Real
from pathlib import Path
from typing import TypeAlias, Union

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from interpret_runs import resampling
from interpret_runs.display import Displayed, Panel
from interpret_runs.size import Size, height_and_width

INTERPOLATIONS = ("bilinear", "nearest")
SCALES = ("max", "sum", "range", "rank")
SUM, PRODUCT, MINUS, ATOM = 1, 2, 3, 4  # how tightly they bind in Python; 0 is text that is no such expression

Operand: TypeAlias = Union["AttributionMap", float]


@dataclass(frozen=True, eq=False)
class AttributionMap(Displayed):
    """A map, or one for each image of a batch, as a value: operators make new maps and keep the raw scale.

    ``+ - * /`` take maps of the same shape and numbers, on either side, value by value; nothing is broadcast or
    resized unasked. A quotient is 0 where its divisor is 0. ``-a`` and ``abs(a)`` work too. What a map is made of
    stands in its label, as a Python expression: with ``grad_cam`` and ``guided`` the labels of two maps,
    ``3 * (grad_cam + guided)`` that of the map which it makes of them. In a notebook a map shows itself with its colour
    bar, the maps of a batch on one scale.

    Args:
        values: float32 or float64, (H, W) or (B, H, W), all finite.
        label: what the map is or was made from.

    Raises:
        TypeError: values or a label of another type; an operand that is neither a map nor a number.
        ValueError: another shape, no values, values that are not finite, an empty label; maps of different shapes or
            devices combined.
    """

    values: Tensor = field(repr=False)
    label: str

    __array_ufunc__ = None  # else numpy makes of `array - map` an array of one map for each number

    def __post_init__(self) -> None:
        if not isinstance(self.label, str) or not isinstance(self.values, Tensor):
            raise TypeError(
                f"a map is made of a tensor and a text, not of {type(self.values).__name__} and "
                f"{type(self.label).__name__}: AttributionMap(torch.as_tensor(values), 'saliency')"
            )
        if not self.label.strip():
            raise ValueError("label is empty; it must say what the map is, e.g. 'saliency'")
        shape = tuple(self.values.shape)
        if len(shape) not in (2, 3) or not self.values.numel():
            raise ValueError(f"{self.label!r} has shape {shape}; a map is (H, W), or (B, H, W) for a batch")
        if self.values.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{self.label!r} holds {self.values.dtype}; a map holds float32 or float64: values.float()")
        if not self.values.isfinite().all():
            raise ValueError(f"{self.label!r} holds {int((~self.values.isfinite()).sum())} values that are not finite")
        object.__setattr__(self, "values", self.values.detach())

    def __add__(self, other: Operand) -> AttributionMap:
        return _combined(self, "+", other)

    def __radd__(self, other: Operand) -> AttributionMap:
        return _combined(other, "+", self)

    def __sub__(self, other: Operand) -> AttributionMap:
        return _combined(self, "-", other)

    def __rsub__(self, other: Operand) -> AttributionMap:
        return _combined(other, "-", self)

    def __mul__(self, other: Operand) -> AttributionMap:
        return _combined(self, "*", other)

    def __rmul__(self, other: Operand) -> AttributionMap:
        return _combined(other, "*", self)

    def __truediv__(self, other: Operand) -> AttributionMap:
        return _combined(self, "/", other)

    def __rtruediv__(self, other: Operand) -> AttributionMap:
        return _combined(other, "/", self)

    def __neg__(self) -> AttributionMap:
        return AttributionMap(-self.values, f"-{_bracketed(self.label, MINUS)}")

    def __abs__(self) -> AttributionMap:
        return AttributionMap(self.values.abs(), f"abs({self.label})")

    def positive(self) -> AttributionMap:
        """``max(a, 0)``, what speaks for the objective: ``a = a.positive() - a.negative()``."""
        return AttributionMap(self.values.clamp(min=0), self._called("positive()"))

    def negative(self) -> AttributionMap:
        """``max(-a, 0)``, what speaks against the objective, as magnitudes."""
        return AttributionMap((-self.values).clamp(min=0), self._called("negative()"))

    def normalised(self, by: str) -> AttributionMap:
        """The map in units of its own, each of a batch apart; the same for every positive multiple of the map.

        ``max``: ``a / max|a|``, from -1 to 1. ``sum``: ``a / sum|a|``, magnitudes that sum to 1. ``rank``:
        ``sign(a) r / n`` with r the rank of a's magnitude among the map's n, from 1, the mean of their ranks for equal
        ones. These keep signs and zeros. ``range``: ``(a - min) / (max - min)``, from 0 to 1, which does not, and is
        0 for maps of one value. Maps of zeros stay zeros.

        Raises:
            ValueError: another name.
        """
        if by not in SCALES:
            raise ValueError(f"by is {by!r}; a map is normalised by {', '.join(SCALES[:-1])} or {SCALES[-1]}")
        values = self.values.flatten(-2)
        values = _quotient(values, values.abs().amax(-1, keepdim=True))  # first, so that no sum overflows
        if by == "sum":
            values = _quotient(values, values.abs().sum(-1, keepdim=True))
        elif by == "range":
            lowest, highest = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
            values = _quotient(values - lowest, highest - lowest)
        elif by == "rank":
            values = values.sign() * _ranks(values.abs())
        return AttributionMap(values.view_as(self.values), self._called(f"normalised({by!r})"))

    def resized(self, size: Size, interpolation: str = "bilinear") -> AttributionMap:
        """The map in another resolution; see `resized`."""
        size = height_and_width(size)
        return AttributionMap(
            resized(self.values, size, interpolation), self._called(f"resized({size}, {interpolation!r})")
        )

    def write(self, path: str | Path) -> None:
        """Write values and label to an ``.npz`` file, which `read_map` reads.

        Raises:
            ValueError: a path with another ending.
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise ValueError(f"path is {str(path)!r}; a map with its label is written to a file that ends in .npz")
        raw = BytesIO()
        np.savez(raw, values=self.values.cpu().numpy(), label=self.label)
        path.write_bytes(raw.getvalue())

    def panels(self) -> list[Panel]:
        from interpret_runs.heat_maps import shared_limit  # which imports this module
        from interpret_runs.rendering import Rendering

        maps = self.values.reshape(-1, *self.values.shape[-2:])
        rendering = Rendering(limit=shared_limit(maps) or None)
        return [Panel(rendering.heat_map(one), str(place) if len(maps) > 1 else "") for place, one in enumerate(maps)]

    def _called(self, call: str) -> str:
        return f"{_bracketed(self.label, ATOM)}.{call}"


def read_map(path: str | Path, label: str | None = None) -> AttributionMap:
    """The map in an ``.npy`` file, as runs write it, or in what `AttributionMap.write` wrote.

    Args:
        path: the file.
        label: by default the one in the file or, as ``.npy`` files hold none, ``read_map('PATH')``.

    Raises:
        OSError: no such file, or one that cannot be read.
        ValueError, TypeError: a file that holds no map.
    """
    path = Path(path)
    try:
        found = np.load(BytesIO(path.read_bytes()))
        known, values = f"read_map({str(path)!r})", found
        if not isinstance(found, np.ndarray):
            known, values = str(found["label"]), found["values"]
    except (ValueError, LookupError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ValueError(f"{str(path)!r} holds no map; take an .npy file or what AttributionMap.write wrote") from error
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    return AttributionMap(torch.from_numpy(native), known if label is None else label)


def resized(values: Tensor, size: Size, interpolation: str) -> Tensor:
    """Maps (H, W) or (B, H, W) in another resolution, a linear function of the map; values keep their scale.

    Args:
        values: the maps.
        size: pixels of the new side, or (height, width).
        interpolation: ``nearest``, where whole multiples repeat each pixel, or ``bilinear``, where smaller maps average
            what they lose (antialiasing). Pixels are squares: corners of the maps coincide, not outer centres.

    Raises:
        ValueError: another interpolation, or no size.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation is {interpolation!r}; it must be {' or '.join(INTERPOLATIONS)}")
    size = height_and_width(size)
    stacked = values.reshape(1, -1, *values.shape[-2:])
    if interpolation == "bilinear":
        made = resampling.resized(stacked, size)
    else:
        made = functional.interpolate(stacked, size, mode="nearest-exact")
    return made.reshape(*values.shape[:-2], *size)


def _combined(left: Operand, sign: str, right: Operand) -> AttributionMap:
    left_values, left_label = _values_and_label(left)
    right_values, right_label = _values_and_label(right)
    if isinstance(left_values, Tensor) and isinstance(right_values, Tensor):
        if left_values.shape != right_values.shape:
            raise ValueError(
                f"{left_label!r} has shape {tuple(left_values.shape)} and {right_label!r} {tuple(right_values.shape)}; "
                "maps that are combined have one shape: resize one with .resized(size)"
            )
        if left_values.device != right_values.device:
            raise ValueError(
                f"{left_label!r} is on {left_values.device} and {right_label!r} on {right_values.device}; "
                "maps that are combined are on one device"
            )
    operation, binding = OPERATIONS[sign]
    label = f"{_bracketed(left_label, binding)} {sign} {_bracketed(right_label, binding + 1)}"
    return AttributionMap(operation(left_values, right_values), label)


def _values_and_label(operand: Operand) -> tuple[Tensor | float, str]:
    if isinstance(operand, AttributionMap):
        return operand.values, operand.label
    if isinstance(operand, Real):
        number = int(operand) if isinstance(operand, Integral) else float(operand)
        return number, repr(number)
    raise TypeError(
        f"a map is combined with a map or a number, not with {type(operand).__name__}; "
        "make it a map first: AttributionMap(torch.as_tensor(values), 'label')"
    )


def _quotient(left: Tensor | float, right: Tensor | float) -> Tensor:
    if isinstance(right, Tensor):
        return (left / right).masked_fill(right == 0, 0)
    assert isinstance(left, Tensor)
    return left / right if right else torch.zeros_like(left)


OPERATIONS: dict[str, tuple[Callable[..., Tensor], int]] = {
    "+": (operator.add, SUM),
    "-": (operator.sub, SUM),
    "*": (operator.mul, PRODUCT),
    "/": (_quotient, PRODUCT),
}


def _ranks(magnitudes: Tensor) -> Tensor:
    """Ranks along the last axis as parts of its length, in (0, 1]; equal values share the mean of their ranks."""
    ordered = magnitudes.sort(-1).values
    below = torch.searchsorted(ordered, magnitudes)
    upto = torch.searchsorted(ordered, magnitudes, right=True)
    return (below + upto + 1).to(magnitudes.dtype) / (2 * magnitudes.shape[-1])


def _bracketed(label: str, least: int) -> str:
    """The label as an operand that has to bind at least so tightly."""
    return label if _binding(label) >= least else f"({label})"


def _binding(label: str) -> int:
    try:
        node = ast.parse(label, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0
    if "#" in label:  # a comment would hide what follows
        return 0
    if isinstance(node, ast.BinOp):
        return {ast.Add: SUM, ast.Sub: SUM, ast.Mult: PRODUCT, ast.Div: PRODUCT}.get(type(node.op), 0)
    if isinstance(node, ast.UnaryOp):
        return MINUS if isinstance(node.op, ast.USub) else 0
    return ATOM if isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.Subscript | ast.Constant) else 0
