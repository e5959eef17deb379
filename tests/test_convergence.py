import pytest
import torch

from interpret_runs.convergence import Convergence


def stretches(convergence, *means):
    """What is settled after each stretch of 4 steps with these mean scores."""
    told = []
    for mean in means:
        for offset in (-1.0, 1.0, -0.5, 0.5):
            convergence.add(torch.tensor(mean) + offset)
        told.append(convergence.settled().tolist())
    return told


def test_an_image_settles_after_two_quiet_stretches_in_a_row():
    told = stretches(Convergence(0.1), [10.0, 10.0], [10.5, 20.0], [10.6, 20.1], [10.7, 40.0], [10.7, 40.0])
    assert told == [[False, False], [False, False], [True, False], [True, False], [True, False]]


def test_a_score_that_falls_has_settled_and_one_that_rises_again_has_not():
    told = stretches(Convergence(0.01), [5.0], [4.0], [3.0], [6.0], [6.0])
    assert [one for (one,) in told] == [False, False, True, False, False]


def test_what_counts_below_zero_is_the_size_of_the_score():
    told = stretches(Convergence(0.1), [-10.0], [-9.5], [-9.2], [-5.0])
    assert [one for (one,) in told] == [False, False, True, False]


def test_a_stretch_has_scores():
    with pytest.raises(ValueError, match="no scores"):
        Convergence(0.1).settled()
