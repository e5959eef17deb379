"""Problems of known truth: right maps are best, maps of nothing are at chance, and networks are trained once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from interpret_runs import trained
from interpret_runs.cams import GradCam, HiResCam, LayerCam
from interpret_runs.difull import Difull
from interpret_runs.gradient_maps import InputXGradient, Saliency
from interpret_runs.localisation import cells_of
from interpret_runs.occlusion import Occlusion
from interpret_runs.plain_maps import Random, Sobel
from interpret_runs.problem import Problem, Question
from interpret_runs.scene_problems import GridPg, Planted, Randomisation, SceneProblem, Shapes
from interpret_runs.scenes import MARKERS, SHAPES, scenes
from interpret_runs.scoring import score
from interpret_runs.tetrominoes import NOISES, SCENARIOS, STRENGTH, _blur, tetrominoes
from interpret_runs.training import accuracy, probabilities, train
from interpret_runs.tris import Tris

SMALL = {"samples": 2, "confidence": 0.0, "images": 1000, "epochs": 5}
SCENE_PROBLEMS = [GridPg(**SMALL), Shapes(**SMALL, steps=2), Planted(**SMALL), Randomisation(**SMALL)]
TRIS = Tris(samples=3, scenarios=("linear", "rigid"), noises=("correlated",), images=500, epochs=4)
PROBLEMS: list[Problem] = [Difull(samples=4), *SCENE_PROBLEMS, TRIS]


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Networks of this module are trained once, and no better than they need be."""
    folder = tmp_path_factory.mktemp("kept")
    with trained.kept_in(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "ATTEMPTS", 1)
        yield folder


def measured(problem: Problem, question: Question, maps: torch.Tensor) -> dict[str, torch.Tensor]:
    return problem.measure(question, maps, Sobel())


# --- images -----------------------------------------------------------------------------------------------------


def test_the_same_scenes_come_of_the_same_seed_and_split_alone():
    first, again = scenes(8, 3, "train"), scenes(8, 3, "train")
    assert torch.equal(first.images, again.images)
    for other in (scenes(8, 4, "train"), scenes(8, 3, "test")):
        assert not torch.equal(first.images, other.images)


def test_shape_and_marker_are_apart_and_tell_nothing_of_each_other():
    found = scenes(1600, 0, "train")
    assert found.images.min() >= 0 and found.images.max() <= 1
    assert not (found.masks["shape"] & found.masks["marker"]).any()
    pairs = torch.bincount(4 * found.labels["shape"] + found.labels["marker"], minlength=len(SHAPES) * len(MARKERS))
    assert pairs.min() > 60 and pairs.max() < 140  # 100 expected


def test_masks_hold_the_pixels_that_differ_from_what_is_around_them():
    found = scenes(200, 0, "test")
    for mask in found.masks.values():
        area = mask.flatten(1).sum(1)
        assert area.min() > 8
        inside = (found.images * mask[:, None]).sum((2, 3)) / area[:, None]
        spread = ((found.images - inside[:, :, None, None]) * mask[:, None]).abs().sum((2, 3)) / area[:, None]
        outside = (found.images * ~mask[:, None]).sum((2, 3)) / (mask[0].numel() - area[:, None])
        assert spread.mean() < 0.06 < (inside - outside).abs().mean()


def test_bars_point_where_their_names_say():
    found = scenes(400, 1, "test")
    line = torch.arange(32.0)
    for kind, name in enumerate(MARKERS):
        mask = found.masks["marker"][found.labels["marker"] == kind].float()
        area = mask.sum((1, 2))
        y, x = ((mask * line[:, None]).sum((1, 2)) / area, (mask * line).sum((1, 2)) / area)
        down, across = line[:, None] - y[:, None, None], line - x[:, None, None]
        tilt = (mask * down * across).sum((1, 2)) / area
        flat = (mask * (across**2 - down**2)).sum((1, 2)) / area
        signs = {"horizontal": flat, "vertical": -flat, "falling": tilt, "rising": -tilt}
        assert (signs[name] > 0.5).all()


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("noise", NOISES)
def test_tetrominoes_are_grey_and_keep_to_the_range(scenario, noise):
    images, labels, truth = tetrominoes(400, scenario, noise, 0)
    assert images.shape == (400, 3, 8, 8) and torch.equal(images[:, 0], images[:, 2])
    assert images.min() >= 0 and images.max() <= 1
    assert (images - 0.5).abs().max().item() == pytest.approx(0.5)  # the largest value of all is at an end
    assert labels.bincount().tolist() == [200, 200]
    assert (truth.flatten(1).sum(1) == (4 if scenario == "rigid" else 8)).all()
    again = tetrominoes(400, scenario, noise, 0)[0]
    assert torch.equal(images, again) and not torch.equal(images, tetrominoes(400, scenario, noise, 1)[0])


def test_signals_are_on_the_pixels_that_matter_and_of_the_strength_set():
    for scenario in ("linear", "rigid"):
        images, labels, truth = tetrominoes(4000, scenario, "white", 0)
        values = 2 * images[:, 0] - 1
        on, off = (values * truth).sum() / truth.sum(), (values * ~truth).sum() / (~truth).sum()
        share = STRENGTH[scenario]["white"]
        wanted = share * 0.5 / ((1 - share) / 8)  # of the noise's standard deviation; four pixels of energy 1
        wanted = wanted if scenario == "rigid" else wanted / 2  # one of two tetrominoes
        assert ((on - off) / values[~truth].std()).item() == pytest.approx(wanted, rel=0.05)
        assert off.abs() < 0.01


def test_xor_is_told_by_the_product_of_signs_alone():
    images, labels, truth = tetrominoes(4000, "xor", "white", 0)
    values = 2 * images[:, 0] - 1
    first, second = (
        values[:, rows][:, :, columns].sum((1, 2))
        for rows, columns in (
            (slice(1, 4), slice(1, 3)),
            (slice(4, 7), slice(5, 7)),
        )
    )
    for label, sign in ((0, 1), (1, -1)):
        mine = labels == label
        assert sign * (first[mine] * second[mine]).mean() > 0.05
        assert values[mine].mean(0).abs().max() < 0.05


def test_multiplicative_signals_change_no_mean_and_damp_the_noise():
    images, labels, _ = tetrominoes(4000, "multiplicative", "white", 0)
    values = 2 * images[:, 0] - 1
    assert values.mean(0).abs().max() < 0.03
    damped = values[labels == 0].std(0) / values[labels == 1].std(0)
    assert damped[1, 1].item() == pytest.approx(0.3, rel=0.1) and damped[4, 5].item() == pytest.approx(1 / 0.3, rel=0.1)


def test_noise_is_smoothed_as_by_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    field = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    blur = _blur()
    wanted = ndimage.gaussian_filter(field.numpy().astype(np.float64), 3)
    np.testing.assert_allclose((blur @ field @ blur.T).numpy(), wanted, atol=1e-5)


# --- networks ---------------------------------------------------------------------------------------------------


def two_clouds() -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(64) % 2
    images = torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return (images + labels[:, None, None, None]) / 2, labels


def small() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))


def test_training_learns_and_depends_on_its_arguments_alone():
    images, labels = two_clouds()
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(5)
        model = small()
        train(model, images, labels, 300, seed)
        assert not model.training and accuracy(model, images, labels) > 0.95
        found.append(model[1].weight.detach())
    assert torch.equal(found[0], found[1])
    assert probabilities(model, images).sum(1).allclose(torch.ones(64))


class Counted:
    """Trains nothing, but changes the weights and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, model: nn.Module) -> float:
        self.calls += 1
        with torch.no_grad():
            model[1].weight.add_(1)
        return 0.75


def test_a_network_that_is_kept_is_not_trained_again(tmp_path):
    fit = Counted()
    with trained.kept_in(tmp_path):
        first = trained.network({"seed": 0, "of": "test"}, small, fit)
        again = trained.network({"seed": 0, "of": "test"}, small, fit)
    assert fit.calls == 1
    assert torch.equal(first.network[1].weight, again.network[1].weight)
    assert (again.seconds, again.accuracy, again.digest) == (first.seconds, 0.75, first.digest)
    assert [file.name for file in (tmp_path / "networks").iterdir()] == [f"{first.digest}.safetensors"]


def test_networks_differ_by_seed_and_settings(tmp_path):
    fit = Counted()
    with trained.kept_in(tmp_path):
        found = [trained.network(key, small, fit) for key in ({"seed": 0}, {"seed": 1}, {"seed": 0, "epochs": 2})]
    assert fit.calls == 3 and len({one.digest for one in found}) == 3
    assert not torch.equal(found[0].network[1].weight, found[1].network[1].weight)
    assert torch.equal(found[0].network[1].weight, found[2].network[1].weight)  # the same start


@pytest.mark.parametrize(
    ("accuracies", "best"), [([0.9], 0), ([0.5, 0.75], 1), ([0.5, 0.6, 0.4], 1), ([0.5, 0.4, 0.3], 0)]
)
def test_a_network_that_does_not_learn_begins_anew_and_the_best_is_kept(accuracies, best, tmp_path, monkeypatch):
    monkeypatch.setattr(trained, "ATTEMPTS", 3)
    starts: list[list[torch.Tensor]] = []

    def learn() -> trained.Trained:
        left, seen = list(accuracies), []

        def fit(model: nn.Module) -> float:
            seen.append(model[1].weight.detach().clone())
            return left.pop(0)

        with trained.kept_in(tmp_path / str(len(starts))):
            found = trained.network({"seed": 3}, small, fit, least=0.75)
        assert not left
        starts.append(seen)
        return found

    first, again = learn(), learn()
    assert all(torch.equal(one, other) for one, other in zip(*starts, strict=True))  # told by the seed alone
    assert len({float(start.sum()) for start in starts[0]}) == len(accuracies)
    with trained.kept_in(tmp_path / "0"):
        kept = trained.network({"seed": 3}, small, Counted(), least=0.75)
    for found in (first, again, kept):
        assert torch.equal(found.network[1].weight, starts[0][best])
        assert (found.accuracy, found.least, found.learned) == (accuracies[best], 0.75, accuracies[best] >= 0.75)


def test_half_way_is_between_chance_and_all():
    assert (trained.half_way(2), trained.half_way(4)) == (0.75, 0.625)


def test_another_version_of_the_code_trains_anew(tmp_path, monkeypatch):
    fit = Counted()
    with trained.kept_in(tmp_path):
        trained.network({"seed": 0}, small, fit)
        monkeypatch.setattr(trained, "VERSION", -1)
        trained.network({"seed": 0}, small, fit)
    assert fit.calls == 2


@pytest.mark.parametrize("damage", ["text", "another network", "no metadata"])
def test_a_file_that_is_damaged_is_made_anew(tmp_path, damage):
    from safetensors.torch import save_file

    fit = Counted()
    with trained.kept_in(tmp_path):
        first = trained.network({"seed": 0}, small, fit)
        (file,) = (tmp_path / "networks").iterdir()
        if damage == "text":
            file.write_text("no network")
        else:
            weights = nn.Linear(2, 2).state_dict() if damage == "another network" else first.network.state_dict()
            save_file(dict(weights), file)
        again = trained.network({"seed": 0}, small, fit)
    assert fit.calls == 2 and torch.equal(first.network[1].weight, again.network[1].weight)


def test_without_a_folder_each_is_trained_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    token = trained._folder.set(None)
    try:
        fit = Counted()
        for _ in range(2):
            trained.network({"seed": 0}, small, fit)
    finally:
        trained._folder.reset(token)
    assert fit.calls == 2 and not list(tmp_path.iterdir())


def test_a_training_that_fails_leaves_nothing_and_the_callers_random_numbers_stay(tmp_path):
    def fails(_: nn.Module) -> float:
        raise RuntimeError("no training")

    before = torch.get_rng_state()
    with trained.kept_in(tmp_path), pytest.raises(RuntimeError, match="no training"):
        trained.network({"seed": 0}, small, fails)
    assert not list(tmp_path.iterdir()) and torch.equal(before, torch.get_rng_state())
    assert trained.folder() != tmp_path


# --- problems ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: type(problem).__name__)
def test_questions_fit_their_networks_and_are_the_same_again(problem):
    first, again, other = problem.questions(0), problem.questions(0), problem.questions(1)
    assert sum(len(question.images) for question in first) >= problem.samples
    for question, same, third in zip(first, again, other, strict=True):
        assert torch.equal(question.images, same.images) and torch.equal(question.truth, same.truth)
        assert question.objective == same.objective and question.model.digest == same.model.digest
        assert question.model.digest != third.model.digest
        assert question.images.min() >= 0 and question.images.max() <= 1
        assert len(question.truth) == len(question.images)
        assert score(question.model, question.objective, question.images).shape == (len(question.images),)
        names = [layer.path for layer in question.model.summary.layers]
        assert [layer.path for layer in problem.blank().summary.layers] == names
        assert problem.blank().summary.layer("late").path == question.model.summary.layer("late").path


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: type(problem).__name__)
def test_measures_are_one_number_an_image_under_names_that_are_announced(problem):
    for question in problem.questions(0):
        found = measured(problem, question, Sobel()(question.model, question.objective, question.images))
        assert found and problem.chance(question).keys() <= found.keys()
        for name, values in found.items():
            assert values.shape == (len(question.images),)
            assert any(name.startswith(start) for start in problem.higher)


@pytest.mark.parametrize("problem", [Difull(samples=4), *SCENE_PROBLEMS[:3], TRIS], ids=lambda one: type(one).__name__)
def test_a_map_of_one_value_is_at_chance(problem):
    for question in problem.questions(0):
        found = measured(problem, question, torch.ones_like(question.images[:, 0]))
        for name, chance in problem.chance(question).items():
            if name == "pointing_game":  # points at nothing
                assert found[name].isnan().all() and 0 < chance < 1
            else:
                assert found[name].mean().item() == pytest.approx(chance, rel=1e-5)


def test_methods_that_must_be_exact_are_exact_on_difull_and_grad_cam_is_not():
    problem = Difull(samples=8)
    shares: dict[str, list[torch.Tensor]] = {}
    methods = [
        Saliency(),
        InputXGradient("mean"),
        HiResCam("mosaic"),
        LayerCam("mosaic"),
        Occlusion(8, 8, "mean"),
        GradCam("mosaic"),
        Random(),
    ]
    for question in problem.questions(0):
        for method in methods:
            maps = method(question.model, question.objective, question.images)
            shares.setdefault(type(method).__name__, []).append(measured(problem, question, maps)["cell_mass"])
    means = {name: torch.cat(values).mean().item() for name, values in shares.items()}
    for name in ("Saliency", "InputXGradient", "HiResCam", "LayerCam", "Occlusion"):
        assert means[name] == pytest.approx(1, abs=5e-5), name
    assert means["GradCam"] < 0.5 and means["Random"] == pytest.approx(0.25, abs=0.02)


def test_the_asked_cell_of_a_mosaic_shows_the_class_that_is_explained():
    problem = GridPg(**SMALL | {"samples": 4, "confidence": 0.3})
    (question,) = problem.questions(0)
    assert sorted(question.truth.tolist()) == [0, 1, 2, 3]
    said = probabilities(question.model, cells_of(question.images)).view(4, 4, -1)
    for number, (cell, label) in enumerate(zip(question.truth.tolist(), question.objective.target, strict=True)):
        assert said[number, cell].argmax() == label and said[number, cell].max() >= 0.3
        assert sorted(said[number].argmax(1).tolist()) == [0, 1, 2, 3]  # each class once
    maps = torch.zeros_like(question.images[:, 0])
    maps[torch.arange(4), question.truth // 2 * 32 + 5, question.truth % 2 * 32 + 5] = 1
    assert (measured(problem, question, maps)["cell_mass"] == 1).all()


def test_a_map_of_the_shape_is_best_on_shapes():
    problem = SCENE_PROBLEMS[1]
    (question,) = problem.questions(0)
    found = measured(problem, question, question.truth.float())
    for name in ("pointing_game", "relevance_mass", "relevance_rank"):
        assert (found[name] == 1).all()
    worst = measured(problem, question, (~question.truth).float())
    assert (worst["relevance_mass"] == 0).all() and (worst["pointing_game"] == 0).all()


def test_the_object_counts_with_the_margin_around_it():
    exact, wide = (Shapes(**SMALL, margin=margin).questions(0)[0].truth for margin in (0, 2))
    assert (wide & exact == exact).all() and wide.sum() > 1.3 * exact.sum()


def test_the_planted_cause_is_another_object_for_either_network_on_the_same_scenes():
    problem = Planted(**SMALL | {"margin": 0})
    by_shape, by_marker = problem.questions(0)
    assert by_shape.trained.digest != by_marker.trained.digest
    for question in (by_shape, by_marker):
        name = f"causal_share_{question.name}"
        for place, share in ((0, 1), (1, 0)):
            maps = 2 * question.truth[:, place].float() - 1  # what speaks against counts for nothing
            assert (measured(problem, question, maps)[name] == share).all()
    assert by_marker.truth[:, 0].sum() < by_shape.truth[:, 0].sum()


def test_the_scene_problems_share_one_network():
    digests = {problem.questions(0)[0].trained.digest for problem in SCENE_PROBLEMS}
    assert len(digests) == 1


def test_a_map_that_ignores_the_network_is_unchanged_by_randomisation():
    problem = SCENE_PROBLEMS[3]
    (question,) = problem.questions(0)
    for method, unchanged in ((Sobel(), True), (Saliency(), False)):
        maps = method(question.model, question.objective, question.images)
        found = problem.measure(question, maps, method)
        assert set(found) == {"randomisation_ssim", "randomisation_rank"}
        for values in found.values():
            assert bool((values > 0.999).all()) == unchanged


@pytest.mark.parametrize("seed", [2, 5])
def test_networks_learn_rigid_patterns_in_correlated_noise(seed):
    """On grey values as they come, of a tenth of a standard deviation, these seeds stayed at chance."""
    problem = Tris(samples=4, scenarios=("rigid",), noises=("correlated",), images=8000)
    (question,) = problem.questions(seed)
    assert question.trained is not None and question.trained.learned
    assert question.trained.accuracy > 0.95


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("noise", NOISES)
def test_networks_of_tetrominoes_see_values_of_unit_deviation(scenario, noise):
    model = Tris().blank()
    images, _, _ = tetrominoes(1000, scenario, noise, 0)
    assert 0.8 < float(images.std()) / model.preprocessing.std[0] < 1.25


def test_precision_goes_by_magnitude():
    for question in TRIS.questions(0):
        for sign in (1, -1):
            found = measured(TRIS, question, sign * question.truth.float())
            assert (found[f"precision_{question.name}"] == 1).all()


def test_only_images_that_are_classified_rightly_and_surely_are_explained():
    problem = Shapes(**SMALL | {"confidence": 0.4, "samples": 3})
    (question,) = problem.questions(0)
    said = probabilities(question.model, question.images)
    labels = torch.tensor(question.objective.target)
    assert torch.equal(said.argmax(1), labels) and (said.amax(1) >= 0.4).all()


@pytest.mark.parametrize(
    ("kind", "settings", "text"),
    [
        (Difull, {"samples": 0}, "problem.samples is 0; it must be a whole number from 1 on"),
        (Shapes, {"samples": True}, "problem.samples is True"),
        (Shapes, {"epochs": 1.5}, "problem.epochs is 1.5"),
        (Shapes, {"margin": -1}, "problem.margin is -1; it must be a whole number from 0 on"),
        (Planted, {"margin": "1"}, "problem.margin is '1'"),
        (Shapes, {"steps": 0}, "problem.steps is 0"),
        (GridPg, {"confidence": 1}, "problem.confidence is 1; it must be a number from 0 up to 1"),
        (Tris, {"scenarios": ["cubic"]}, r"problem.scenarios is \['cubic'\]; it must be some of linear, "),
        (Tris, {"noises": []}, r"problem.noises is \[\]"),
        (Tris, {"images": 0}, "problem.images is 0"),
    ],
)
def test_settings_that_make_no_problem_are_refused(kind, settings, text):
    with pytest.raises(ValueError, match=text):
        kind(**settings)


@pytest.mark.parametrize("kind", [Shapes, GridPg])
def test_too_few_sure_images_are_an_error_that_says_what_to_do(kind: type[SceneProblem]):
    problem = kind(**SMALL | {"confidence": 0.9999999})
    with pytest.raises(ValueError, match=r"(lower|raise) problem\."):
        problem.questions(0)


def test_a_network_that_learned_nothing_is_an_error_that_says_what_to_do(monkeypatch):
    def wrong(_: nn.Module, images: torch.Tensor) -> torch.Tensor:
        return torch.eye(2)[1 - torch.arange(len(images)) % 2]  # classes take turns

    monkeypatch.setattr("interpret_runs.tris.probabilities", wrong)
    with pytest.raises(ValueError, match="problem.scenarios=xor is right about .* raise problem.epochs"):
        Tris(samples=2, scenarios=("xor",), noises=("white",), images=64, epochs=1).questions(0)
