"""Batches of explained images, and the law that all metrics of them obey."""

from dataclasses import replace

import torch
from networks import wrapped
from torch import Tensor, nn

from interpret_runs import memory, variants
from interpret_runs.attribution import Attribution, gradients
from interpret_runs.metric import Explained, Metric
from interpret_runs.objective import Objective
from interpret_runs.objectives import Logit
from interpret_runs.scoring import activations, frozen
from interpret_runs.summary import OUTPUT


class Products(Attribution):
    """Image times gradient, summed over colours: exact for linear networks."""

    def maps(self, model, objective, images, rows):
        return (images * gradients(model, objective, images, rows)).sum(1)


class Edges(Attribution):
    """Differences between neighbours; asks no model."""

    def maps(self, model, objective, images, rows):
        grey = images.mean(1)
        return (grey - grey.roll(1, 2)).abs()


def linear() -> tuple[nn.Module, Tensor]:
    """A linear network behind a normalisation, and its weights on RGB, (5, 3, 16, 12)."""
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 5)), (16, 12))
    return model, (model.network[1].weight.detach() / 0.25).view(5, 3, 16, 12)


def explained(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    objective: Objective | None = None,
    method: Attribution | None = None,
    **more: Tensor,
) -> Explained:
    """A batch in which image i is row i; for logit 2 by default."""
    return Explained(
        model, objective or Logit(2), images, torch.arange(len(images)), maps, method or Products(), **more
    )


def one_by_one(metric: Metric, given: Explained) -> dict[str, Tensor]:
    """What the metric says of each image when it is alone."""
    found = []
    for index in range(len(given.images)):
        only = slice(index, index + 1)
        masks = None if given.masks is None else given.masks[only]
        known = None if given.known is None else given.known[only]
        alone = (given.images[only], given.rows[only], given.maps[only])
        found.append(metric(Explained(given.model, given.objective, *alone, given.method, masks, known)))
    return {name: torch.cat([values[name] for values in found]) for name in found[0]}


def batch_law(metric, model, objective, images, monkeypatch, masks=None) -> None:
    """Each image has the number that it has alone, however many variants are asked about at once."""
    maps = Products()(model, objective, images)
    given = explained(model, images, maps, objective, masks=masks)
    alone = one_by_one(metric, given)
    assert all(value.shape == (len(images),) and value.is_floating_point() for value in alone.values())
    assert any(value.unique().numel() > 1 for value in alone.values())
    with torch.no_grad(), frozen(model):
        seen = activations(model, objective, images, given.rows, {OUTPUT})
    for name, value in metric(replace(given, seen=seen)).items():
        torch.testing.assert_close(value, alone[name], rtol=1e-9, atol=1e-9, equal_nan=True)
    for at_once in (1, 3, 32):
        monkeypatch.setattr(variants, "AT_ONCE", at_once)
        together = metric(given)
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=1e-9, atol=1e-9, equal_nan=True)
    first = [True]
    monkeypatch.setattr(variants, "AT_ONCE", 32)
    fails_once(monkeypatch, first)
    for name, value in metric(given).items():
        torch.testing.assert_close(value, alone[name], rtol=1e-9, atol=1e-9, equal_nan=True)


def fails_once(monkeypatch, first: list[bool]) -> None:
    """Memory runs out in the first piece."""
    whole = variants.in_pieces

    def in_pieces(total, work, at_once):
        def short(start, stop):
            if first.pop() if first else False:
                raise torch.OutOfMemoryError("as if")
            work(start, stop)

        whole(total, short, at_once)

    monkeypatch.setattr(variants, "in_pieces", in_pieces)
    assert memory.ran_out(torch.OutOfMemoryError("as if"))
