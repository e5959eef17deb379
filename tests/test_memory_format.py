"""Another order of the same numbers: nothing but the speed may change."""

import pytest
import torch
from networks import plain, state, wrapped
from torch import nn

from interpret_runs import memory_format
from interpret_runs.memory_format import CHANNELS_LAST, CONTIGUOUS, fastest, format_of, lay_out
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel
from interpret_runs.parameterisations import Fourier
from interpret_runs.schedule import Schedule
from interpret_runs.summary import OUTPUT, PIXELS
from interpret_runs.visualisation import visualise


class Viewed(nn.Module):
    """Takes contiguous tensors only, as many networks do whose head views its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4 * 12 * 12, 5)

    def forward(self, images):
        return self.head(self.second(self.first(images)).view(len(images), -1))


def takes(monkeypatch, **seconds: float) -> None:
    """Passes take so long in each format."""
    monkeypatch.setattr(memory_format, "_seconds", lambda model, *_: seconds[format_of(model)])


def test_a_network_keeps_its_numbers_in_any_format(model, images):
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = model(images)
    for name in (CHANNELS_LAST, CONTIGUOUS):
        lay_out(model, name)
        assert format_of(model) == name
        assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
        torch.testing.assert_close(model(images), before, rtol=1e-12, atol=1e-12)


def test_a_network_without_convolutions_is_contiguous(monkeypatch):
    network = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(768, 5)))
    takes(monkeypatch)
    assert fastest(network, [OUTPUT], (16, 16)) == CONTIGUOUS
    lay_out(network, CHANNELS_LAST)
    assert format_of(network) == CONTIGUOUS


@pytest.mark.parametrize(
    ("other", "found"), [(0.5, CHANNELS_LAST), (0.89, CHANNELS_LAST), (0.91, CONTIGUOUS), (2.0, CONTIGUOUS)]
)
def test_what_saves_a_tenth_of_the_time_is_taken(monkeypatch, model, other, found):
    takes(monkeypatch, contiguous=1.0, channels_last=other)
    assert fastest(model, ["2"], (16, 16)) == found


def test_the_measurement_leaves_the_model_as_it_was_found(model):
    before = state(model)
    assert fastest(model, ["2", OUTPUT], (16, 16)) in (CHANNELS_LAST, CONTIGUOUS)
    assert state(model) == before and format_of(model) == CONTIGUOUS


@pytest.mark.parametrize("layers", [[OUTPUT], ["first"]])
def test_a_network_that_refuses_the_other_format_anywhere_stays_contiguous(monkeypatch, layers):
    model = wrapped(Viewed())
    takes(monkeypatch, contiguous=1.0, channels_last=0.1)
    assert fastest(model, layers, (16, 16)) == CONTIGUOUS
    assert format_of(model) == CONTIGUOUS


def test_a_head_that_refuses_the_size_of_the_images_says_nothing_of_formats(monkeypatch):
    model = wrapped(Viewed())
    takes(monkeypatch, contiguous=1.0, channels_last=0.1)
    assert fastest(model, ["first"], (24, 24)) == CHANNELS_LAST


def test_an_objective_that_reads_no_layer_needs_no_measurement(monkeypatch, model):
    takes(monkeypatch)
    assert fastest(model, [PIXELS], (16, 16)) == CONTIGUOUS


def test_half_precision_is_measured_too():
    assert fastest(wrapped(plain()).float(), [OUTPUT], (16, 16), "bfloat16") in (CHANNELS_LAST, CONTIGUOUS)


def test_no_such_format_is_refused(model):
    with pytest.raises(ValueError, match="memory format 'rows' is none of contiguous, channels_last"):
        lay_out(model, "rows")


def test_images_are_the_same_but_for_rounding(model):
    found = {}
    for name in (CONTIGUOUS, CHANNELS_LAST):
        lay_out(model, name)
        objective = Objective.stack([Channel("2", channel) for channel in range(3)])
        made = Fourier(16, seeds=[0, 1, 2]).double()
        found[name] = visualise(model, objective, made, schedule=Schedule(8))
    one, other = found.values()
    torch.testing.assert_close(one.images, other.images, rtol=0, atol=1e-6)
    torch.testing.assert_close(one.scores, other.scores, rtol=1e-6, atol=0)
