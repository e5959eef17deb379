import networks
import pytest
import torch
from networks import wrapped
from torch import nn

from interpret_runs import memory, variants
from interpret_runs.objective import Objective
from interpret_runs.objectives import Logit
from interpret_runs.scoring import score

NONE_LEFT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes. Error code 12"),
]


class Little:
    """Work that runs out of memory above `most` numbers, and remembers what it did."""

    def __init__(self, most: int, error: BaseException) -> None:
        self.most = most
        self.error = error
        self.tried: list[int] = []
        self.done: list[range] = []

    def __call__(self, start: int, stop: int) -> None:
        self.tried.append(stop - start)
        if stop - start > self.most:
            raise self.error
        self.done.append(range(start, stop))


# --- pieces -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [0, 1, 2, 31, 32, 33, 100])
@pytest.mark.parametrize("at_once", [1, 3, 32])
def test_pieces_cover_everything_once_and_in_order(total, at_once):
    work = Little(at_once, AssertionError("a piece is too large"))
    variants.in_pieces(total, work, at_once)
    assert [number for piece in work.done for number in piece] == list(range(total))
    assert len(work.done) == -(-total // at_once)


@pytest.mark.parametrize("error", NONE_LEFT, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("most", [1, 5, 31])
def test_pieces_are_halved_until_they_fit_and_stay_so(error, most):
    work = Little(most, error)
    variants.in_pieces(100, work, 32)
    assert [number for piece in work.done for number in piece] == list(range(100))
    fits = {1: 1, 5: 4, 31: 16}[most]
    assert all(len(piece) == fits for piece in work.done[:-1])
    assert [size for size in work.tried if size > most] == [size for size in (32, 16, 8, 4, 2) if size > most]


def test_memory_that_runs_out_later_halves_from_there():
    work = Little(8, NONE_LEFT[0])

    def shrinking(start: int, stop: int) -> None:
        work.most = 8 if start < 50 else 3
        work(start, stop)

    variants.in_pieces(100, shrinking, 8)
    assert [number for piece in work.done for number in piece] == list(range(100))
    assert [len(piece) for piece in work.done] == [8] * 7 + [2] * 22


@pytest.mark.parametrize("error", NONE_LEFT, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("total", "tried"), [(9, [8, 4, 2, 1]), (1, [1])])
def test_one_that_does_not_fit_is_raised(error, total, tried):
    work = Little(0, error)
    with pytest.raises(type(error)):
        variants.in_pieces(total, work, 8)
    assert work.tried == tried and work.done == []


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), LookupError("no layer")])
def test_other_errors_are_raised_at_once(error):
    work = Little(0, error)
    with pytest.raises(type(error), match=str(error)):
        variants.in_pieces(9, work, 8)
    assert work.tried == [8]


def test_what_torch_raises_when_memory_runs_out_is_known():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50, dtype=torch.uint8)
    assert memory.ran_out(raised.value)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        *((error, True) for error in NONE_LEFT),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
    ids=repr,
)
def test_errors_of_memory_are_told_from_others(error, is_memory):
    assert memory.ran_out(error) is is_memory


# --- how many fit ---------------------------------------------------------------------------------------------------


def test_as_many_are_shown_as_fit_into_memory(model, images, monkeypatch):
    each = memory.bytes_per_image(model, {"3"}, (16, 12), variants.COPIES)
    for free, fits in ((0, 1), (each - 1, 1), (5 * each, 5), (2**40, variants.AT_ONCE)):
        monkeypatch.setattr(memory, "available", lambda _, free=free: free)
        assert variants.fitting(model, {"3"}, images) == fits


def test_pieces_on_a_cpu_stay_small(model, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda _: 2**40)
    each = memory.bytes_per_image(model, {"3"}, (512, 384), variants.COPIES)
    assert 1 < variants.ROOM_ON_CPU // each < variants.AT_ONCE
    assert variants.fitting(model, {"3"}, torch.empty(1, 3, 512, 384)) == variants.ROOM_ON_CPU // each
    assert variants.fitting(model, {"3"}, torch.empty(1, 3, 4096, 3072)) == 1


class DependsOnData(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * 2 if values.sum().item() > 0 else values


def test_a_network_that_cannot_be_traced_starts_with_the_most(images):
    for network in (nn.Sequential(DependsOnData()), networks.plain().double()):
        assert variants.fitting(network, {"0"}, images) == variants.AT_ONCE


# --- variants -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[1, 3, 32])
def at_once(request, monkeypatch) -> int:
    monkeypatch.setattr(variants, "AT_ONCE", request.param)
    size: int = request.param
    return size


@pytest.mark.parametrize("numbers", [None, [4, 1]])
def test_every_variant_of_every_image_is_asked_about_with_its_row(numbers, at_once):
    asked: list[tuple[int, int, float]] = []

    def take(places: torch.Tensor, number: torch.Tensor, answers: torch.Tensor) -> None:
        asked.extend(zip(places.tolist(), number.tolist(), answers.tolist(), strict=True))

    rows = torch.tensor([7, 5, 7])
    wanted = list(range(5)) if numbers is None else numbers
    variants.over_variants(
        len(wanted),
        rows,
        lambda places, number: (100 * places + 10 * number).double(),
        lambda made, their: made + their,
        take,
        at_once,
        None if numbers is None else torch.tensor(numbers),
    )
    expected = [(place, n, 100.0 * place + 10 * n + int(rows[place])) for place in range(3) for n in wanted]
    assert asked == expected


def brighter(images):
    """Variant n of an image has n tenths of its brightness."""
    return lambda places, numbers: images[places] * (numbers.to(images) / 10)[:, None, None, None]


def test_scores_of_variants_are_those_of_one_by_one(model, images, at_once):
    objective = Objective.stack([Logit(3), Logit(1), Logit(0)])
    rows = torch.tensor([2, 0, 1, 1])
    found = variants.scores_of(model, objective, images, rows, 7, brighter(images))
    assert found.shape == (4, 7) and found.dtype == torch.float64 and not found.requires_grad
    for place in range(4):
        for n in range(7):
            alone = score(model, objective, images[[place]] * (n / 10), rows[[place]]).detach()
            torch.testing.assert_close(found[place, [n]], alone, rtol=1e-9, atol=1e-12)


def test_memory_that_runs_out_does_not_change_scores(model, images, monkeypatch):
    rows = torch.zeros(4, dtype=torch.long)
    expected = variants.scores_of(model, Logit(2), images, rows, 7, brighter(images))
    sizes: list[int] = []
    real = variants.scores

    def little(model, objective, images, rows):
        sizes.append(len(images))
        if len(images) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, objective, images, rows)

    monkeypatch.setattr(variants, "scores", little)
    found = variants.scores_of(model, Logit(2), images, rows, 7, brighter(images))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert sizes == [28, 14, 7] + [3] * 9 + [1]


def test_no_image_has_no_scores(model):
    nothing = torch.zeros(0, 3, 16, 12, dtype=torch.float64)
    found = variants.scores_of(model, Logit(2), nothing, torch.zeros(0, dtype=torch.long), 7, brighter(nothing))
    assert found.shape == (0, 7)


def test_the_network_is_shown_no_more_than_fits(images, monkeypatch):
    network = networks.plain()
    seen: list[int] = []
    model = wrapped(network)
    each = memory.bytes_per_image(model, {"logits"}, (16, 12), variants.COPIES)
    monkeypatch.setattr(memory, "available", lambda _: 6 * each)
    network.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    variants.scores_of(model, Logit(2), images, torch.zeros(4, dtype=torch.long), 7, brighter(images))
    assert seen == [6, 6, 6, 6, 4]
