"""Optimisers of images: each element by itself, in one kernel where torch has one."""

from functools import partial

import pytest
import torch

from interpret_runs.optimisers import started

KINDS = [torch.optim.Adam, torch.optim.AdamW, partial(torch.optim.SGD, momentum=0.9)]


def stepped(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> torch.Tensor:
    for step in range(5):
        parameter.grad = torch.sin(parameter.detach() + step)
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("kind", KINDS)
def test_one_kernel_takes_the_steps_of_the_usual_one(kind):
    start = torch.linspace(-1, 1, 12, dtype=torch.float64)
    fused, usual = (start.clone().requires_grad_() for _ in range(2))
    made = started(partial(kind, lr=0.1), [fused])
    assert all(group["fused"] for group in made.param_groups)
    assert torch.allclose(stepped(made, fused), stepped(kind([usual], lr=0.1, fused=False), usual), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_apart_in_memory_takes_the_same_steps(kind):
    start = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)
    apart = torch.nn.Parameter(start.repeat_interleave(2, 1)[:, ::2])
    usual = start.clone().requires_grad_()
    found = stepped(started(partial(kind, lr=0.1), [apart]), apart)
    assert torch.allclose(found, stepped(kind([usual], lr=0.1, fused=False), usual), atol=1e-12)


@pytest.mark.parametrize("settings", [{"fused": False}, {"foreach": True}, {"differentiable": True}])
def test_what_was_chosen_stays(settings):
    made = started(partial(torch.optim.Adam, **settings), [torch.zeros(1, requires_grad=True)])
    assert not made.param_groups[0]["fused"]


def test_others_stay_as_they_are():
    made = started(torch.optim.NAdam, [torch.zeros(1, requires_grad=True)])
    assert "fused" not in made.param_groups[0]


def test_one_that_mixes_elements_is_refused():
    with pytest.raises(ValueError, match="LBFGS mixes the runs of a batch"):
        started(torch.optim.LBFGS, [torch.zeros(1, requires_grad=True)])
