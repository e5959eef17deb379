"""Maps as values: their algebra, parts, scales, sizes and labels."""

import math
import re
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from interpret_runs.attribution_map import SCALES, AttributionMap, read_map, resized

SHAPES = [(4, 6), (3, 4, 6)]


def made(label="a", shape=(3, 4, 6), seed=0):
    return AttributionMap(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), label)


MAPS = {name: made(name, seed=seed) for seed, name in enumerate(("saliency", "cam", "GradCam"))}


def close(one, other, **tolerance):
    torch.testing.assert_close(one.values, other.values, **(tolerance or {"rtol": 1e-12, "atol": 1e-12}))


def same(one, other):
    close(one, other, rtol=0, atol=0)


def test_the_algebra_keeps_the_raw_scale():
    a, b = MAPS["saliency"], MAPS["cam"]
    close((a + b) - b, a)
    close((a * b) / b, a)
    same(a * 1, a)
    same(a - b, -(b - a))
    same(sum([a, b]), a + b)
    assert torch.equal((a + b).values, a.values + b.values)
    same(abs(-a), abs(a))


def test_numbers_work_on_both_sides():
    a = MAPS["saliency"]
    for number in (3, -0.5, np.float32(2), np.float64(2), True):
        plain = float(number)
        assert torch.equal((number - a).values, plain - a.values)
        assert torch.equal((a - number).values, a.values - plain)
        assert torch.equal((number + a).values, (a + number).values)
        assert torch.equal((number * a).values, (a * number).values)
        assert torch.equal((number / a).values, plain / a.values)
        assert torch.equal((a / number).values, a.values / plain)


def test_operands_never_change():
    a, b = made(), made("b", seed=1)
    kept = a.values.clone(), b.values.clone()
    for result in (
        a + b,
        a - b,
        a * b,
        a / b,
        3 - a,
        a / 0,
        -a,
        abs(a),
        a.positive(),
        a.resized(9),
        a.normalised("max"),
    ):
        result.values.zero_()
    assert torch.equal(a.values, kept[0]) and torch.equal(b.values, kept[1])
    assert (a.label, b.label) == ("a", "b")


def test_a_quotient_is_zero_where_its_divisor_is():
    a = AttributionMap(torch.tensor([[0.0, 1.0, -2.0]]), "a")
    b = AttributionMap(torch.tensor([[0.0, 0.0, 4.0]]), "b")
    assert (a / b).values.tolist() == [[0, 0, -0.5]]
    assert (6 / b).values.tolist() == [[0, 0, 1.5]]
    assert (a / 0).values.tolist() == [[0, 0, 0]]


def test_precision_is_that_of_the_maps():
    single = AttributionMap(torch.ones(2, 2), "a")
    double = AttributionMap(torch.ones(2, 2, dtype=torch.float64), "b")
    for map_ in (single, double):
        made_of = (0.1 * map_, map_ / 0, 1 - map_, map_.resized(3), *(map_.normalised(by) for by in SCALES))
        assert {one.values.dtype for one in made_of} == {map_.values.dtype}
    assert (single + double).values.dtype == torch.float64
    assert (0.1 * double).values[0, 0] == 0.1


def test_a_map_is_its_positive_part_less_its_negative_one():
    for a in MAPS.values():
        same(a.positive() - a.negative(), a)
        same(a.positive() + a.negative(), abs(a))
        same((-a).positive(), a.negative())
        assert (a.positive().values >= 0).all() and (a.negative().values >= 0).all()


# --- scales -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_each_scale_is_what_its_name_says(shape):
    a = made(shape=shape)

    def over(values, how):
        return getattr(values.flatten(-2), how)(-1)

    by = {name: a.normalised(name).values for name in SCALES}
    ones, zeros = torch.ones(shape[:-2], dtype=torch.float64), torch.zeros(shape[:-2], dtype=torch.float64)
    torch.testing.assert_close(over(by["max"].abs(), "amax"), ones)
    torch.testing.assert_close(over(by["sum"].abs(), "sum"), ones)
    torch.testing.assert_close(over(by["range"], "amin"), zeros)
    torch.testing.assert_close(over(by["range"], "amax"), ones)
    expected = torch.linspace(0, 1, 25, dtype=torch.float64)[1:].expand(*shape[:-2], 24)
    torch.testing.assert_close(by["rank"].abs().flatten(-2).sort(-1).values, expected)


@pytest.mark.parametrize("by", SCALES)
def test_a_scale_is_monotone_and_knows_no_unit(by):
    a = made(shape=(4, 6))
    order = a.values.flatten().argsort()
    assert (a.normalised(by).values.flatten()[order].diff() > 0).all()
    for factor in (7.3, 1e-300, 1e300):
        close((factor * a).normalised(by), a.normalised(by))
    close(a.normalised(by).normalised(by), a.normalised(by))


@pytest.mark.parametrize("by", ["max", "sum", "rank"])
def test_signs_and_zeros_survive(by):
    a = AttributionMap(torch.tensor([[0.0, 2.0, -2.0, 5.0, -1.0, 0.0]]), "a")
    assert torch.equal(a.normalised(by).values.sign(), a.values.sign())
    same((-a).normalised(by), -a.normalised(by))


def test_equal_values_share_the_mean_of_their_ranks():
    ranks = AttributionMap(torch.tensor([[0.0, 2.0, -2.0, 5.0]]), "a").normalised("rank")
    assert ranks.values.tolist() == [[0, 2.5 / 4, -2.5 / 4, 1]]


@pytest.mark.parametrize("by", SCALES)
def test_a_map_of_zeros_stays_zero_and_others_of_its_batch_do_not_matter(by):
    a = made()
    a.values[1] = 0
    for place in range(3):
        alone = AttributionMap(a.values[place], "a").normalised(by).values
        assert torch.equal(a.normalised(by).values[place], alone)
    assert not a.normalised(by).values[1].any()


def test_a_constant_map_has_no_range():
    assert not AttributionMap(torch.full((2, 3), 4.0), "a").normalised("range").values.any()


# --- sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(2, 3), (9, 5), (8, 18), 7])
def test_resizing_commutes_with_sums_and_keeps_the_scale(size, interpolation):
    a, b = MAPS["saliency"], MAPS["cam"]
    close((a + 2 * b).resized(size, interpolation), a.resized(size, interpolation) + 2 * b.resized(size, interpolation))
    flat = AttributionMap(torch.full((4, 6), 0.3, dtype=torch.float64), "a").resized(size, interpolation)
    torch.testing.assert_close(flat.values, torch.full_like(flat.values, 0.3))
    assert flat.values.shape == ((size, size) if isinstance(size, int) else size)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_its_own_size_changes_nothing(interpolation):
    for a in MAPS.values():
        same(a.resized((4, 6), interpolation), a)


def test_nearest_repeats_pixels():
    a = made()
    repeated = a.values.repeat_interleave(3, 1).repeat_interleave(2, 2)
    assert torch.equal(a.resized((12, 12), "nearest").values, repeated)
    same(a.resized((12, 12), "nearest").resized((4, 6), "nearest"), a)


def test_bilinear_enlarges_as_torch_does():
    a = made()
    expected = functional.interpolate(a.values[None], (11, 15), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(a.resized((11, 15)).values, expected)


def test_bilinear_keeps_what_a_smaller_map_loses():
    """A pixel between the samples of a smaller map still counts."""
    for place in range(8):
        point = torch.zeros(1, 8)
        point[0, place] = 1
        assert resized(point, (1, 2), "bilinear").sum() > 0.1


# --- labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "label"),
    [
        (lambda a, b: a * b, "a * b"),
        (lambda a, b: (a + b) * b, "(a + b) * b"),
        (lambda a, b: a + b * b, "a + b * b"),
        (lambda a, b: a - (b - a), "a - (b - a)"),
        (lambda a, b: a - b - a, "a - b - a"),
        (lambda a, b: a / (b * a), "a / (b * a)"),
        (lambda a, b: 3 - a, "3 - a"),
        (lambda a, b: -(a + b), "-(a + b)"),
        (lambda a, b: abs(a - b), "abs(a - b)"),
        (lambda a, b: (-a).positive() * b, "(-a).positive() * b"),
        (lambda a, b: a.normalised("max") + b.resized(8), "a.normalised('max') + b.resized((8, 8), 'bilinear')"),
    ],
)
def test_a_label_says_how_the_map_was_made(expression, label):
    assert expression(made("a", (8, 8)), made("b", (8, 8))).label == label


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("GradCam(layer='features.12', relu=True)", "GradCam(layer='features.12', relu=True)"),
        ("integrated gradients", "(integrated gradients)"),
        ("run #3", "(run #3)"),
        ("outputs/a.npy", "(outputs/a.npy)"),
        ("x if y else z", "(x if y else z)"),
        ("a ** b", "(a ** b)"),
        ("not a", "(not a)"),
    ],
)
def test_any_text_is_a_label_and_is_bracketed_where_it_could_be_misread(name, inside):
    assert (-made(name)).label == f"-{inside}"


def grown(maps):
    numbers = st.sampled_from([0, 2, -3, 0.5, -1.25])
    both = st.tuples(maps, st.sampled_from("+-*/"), maps | numbers)
    return st.one_of(
        both,
        both.map(lambda three: three[::-1]),
        st.tuples(maps, st.sampled_from(["neg", "abs", "positive", "negative", "normalised"])),
    )


def evaluated(tree):
    if not isinstance(tree, tuple):
        return MAPS.get(tree, tree)
    if len(tree) == 2:
        inner = evaluated(tree[0])
        how = {"neg": lambda: -inner, "abs": lambda: abs(inner), "normalised": lambda: inner.normalised("rank")}
        return how[tree[1]]() if tree[1] in how else getattr(inner, tree[1])()
    left, right = evaluated(tree[0]), evaluated(tree[2])
    return {"+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right, "/": lambda: left / right}[
        tree[1]
    ]()


@given(st.recursive(st.sampled_from(sorted(MAPS)), grown, max_leaves=8))
def test_a_label_is_an_expression_that_makes_the_map_again(tree):
    try:
        found = evaluated(tree)
    except ValueError as error:  # 1e200 * 1e200
        assert "not finite" in str(error)
        return
    again = eval(found.label, {**MAPS, "abs": abs})
    assert torch.equal(again.values, found.values) and again.label == found.label


def test_sums_of_very_many_maps_have_a_label():
    a = AttributionMap(torch.ones(1, 1), "a")
    assert sum([a] * 300).label.count("a") == 300


def test_the_text_of_a_map_is_its_label():
    assert repr(made("cam")) == "AttributionMap(label='cam')"


# --- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_map_comes_back_with_its_label(dtype, tmp_path):
    a = AttributionMap(made().values.to(dtype), "grad_cam * (ü + 1)")
    a.write(tmp_path / "a.npz")
    again = read_map(tmp_path / "a.npz")
    assert again.label == a.label and again.values.dtype == dtype
    same(again, a)
    assert read_map(tmp_path / "a.npz", "other").label == "other"


def test_a_runs_map_is_labelled_by_the_call_that_reads_it(tmp_path):
    a = made(shape=(4, 6))
    np.save(tmp_path / "map.npy", a.values.numpy())
    same(read_map(tmp_path / "map.npy"), a)
    assert read_map(tmp_path / "map.npy").label == f"read_map({str(tmp_path / 'map.npy')!r})"
    assert read_map(str(tmp_path / "map.npy"), "cam").label == "cam"
    np.save(tmp_path / "map.npy", np.asfortranarray(a.values.numpy()[:, ::-1]).astype(">f8"))
    assert torch.equal(read_map(tmp_path / "map.npy").values, a.values.flip(1))


def test_files_that_hold_no_map(tmp_path):
    path = tmp_path / "map.npy"
    with pytest.raises(FileNotFoundError):
        read_map(path)
    np.save(path, np.array([{"an": "object"}]), allow_pickle=True)
    objects = path.read_bytes()
    for content in (b"", b"text", objects, objects[:20], b"PK\x03\x04 no archive"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"map.npy' holds no map; take an .npy file"):
            read_map(path)
    np.savez(tmp_path / "other.npz", weights=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="holds no map"):
        read_map(tmp_path / "other.npz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("values", "text")
    with pytest.raises(ValueError, match="holds no map"):
        read_map(path)
    for values, said in ((np.zeros(3), "shape"), (np.full((2, 2), math.nan), "not finite")):
        np.save(path, values)
        with pytest.raises(ValueError, match=said):
            read_map(path)
    for unfit in (np.zeros((2, 2), int), np.array([["a", "b"]]), np.zeros((2, 2), np.longdouble)):
        np.save(path, unfit)
        with pytest.raises((TypeError, ValueError)):
            read_map(path)
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        made().write(tmp_path / "a.npy")


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (1, 4, 6), (3, 4, 1)])
@pytest.mark.parametrize("sign", ["+", "-", "*", "/"])
def test_shapes_that_differ_are_not_combined(sign, shape):
    a, b = made(), made("other", shape)
    for left, right in ((a, b), (b, a)):
        with pytest.raises(ValueError, match=rf"'{left.label}' has shape .*'{right.label}' .*resized\(size\)"):
            eval(f"left {sign} right", {"left": left, "right": right})


@pytest.mark.parametrize("other", [torch.zeros(3, 4, 6), np.zeros((3, 4, 6)), "b", None, 1j])
def test_only_maps_and_numbers_are_combined_with_maps(other):
    for combine in (lambda a: a + other, lambda a: other + a, lambda a: a / other, lambda a: other - a):
        with pytest.raises(TypeError):
            combine(made())
    with pytest.raises(TypeError, match=rf"not with {type(other).__name__}; make it a map first"):
        made() + other


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_map_is_finite(value):
    values = torch.zeros(2, 3)
    values[1, 2] = value
    with pytest.raises(ValueError, match="'cam' holds 1 values that are not finite"):
        AttributionMap(values, "cam")
    with pytest.raises(ValueError, match="not finite"):
        made() + value
    huge = AttributionMap(torch.full((2, 2), 1e30), "huge")
    with pytest.raises(ValueError, match=re.escape("'huge * huge' holds 4 values that are not finite")):
        huge * huge


@pytest.mark.parametrize("shape", [(4,), (), (1, 1, 4, 4), (0, 4), (0, 4, 4)])
def test_what_has_another_shape_is_no_map(shape):
    with pytest.raises(ValueError, match=r"a map is \(H, W\)"):
        AttributionMap(torch.zeros(shape), "a")


def test_what_makes_no_map():
    with pytest.raises(TypeError, match="ndarray and str"):
        AttributionMap(np.zeros((2, 2)), "a")
    with pytest.raises(TypeError, match="Tensor and int"):
        AttributionMap(torch.zeros(2, 2), 3)
    for dtype in (torch.int64, torch.bool, torch.float16, torch.complex64):
        with pytest.raises(TypeError, match=f"'a' holds {dtype}; a map holds float32 or float64"):
            AttributionMap(torch.zeros(2, 2, dtype=dtype), "a")
    with pytest.raises(ValueError, match="label is empty"):
        AttributionMap(torch.zeros(2, 2), " ")
    with pytest.raises(ValueError, match="by is 'mean'; a map is normalised by max, sum, range or rank"):
        made().normalised("mean")
    with pytest.raises(ValueError, match="interpolation is 'cubic'; it must be bilinear or nearest"):
        made().resized(4, "cubic")
    with pytest.raises(ValueError, match="size"):
        made().resized(0)


def test_a_map_holds_no_graph():
    values = torch.rand(2, 2, requires_grad=True)
    assert not AttributionMap(2 * values, "a").values.requires_grad
    assert values.requires_grad


def test_maps_on_two_devices_are_not_combined():
    far = AttributionMap(torch.ones(4, 6), "far")
    object.__setattr__(far, "values", torch.ones(3, 4, 6, device="meta"))
    with pytest.raises(ValueError, match="'a' is on cpu and 'far' on meta"):
        made() + far
