from dataclasses import dataclass

import networks
import pytest
import torch
from networks import bare, hooks
from torch import nn

from interpret_runs.comparisons import ActivationDifference
from interpret_runs.dataset_examples import survey
from interpret_runs.images import File, Folder, ImageSet, Picture, Shapes, to_pil
from interpret_runs.models import Preprocessing
from interpret_runs.objective import Objective
from interpret_runs.objectives import Channel, Direction, Layer, LocalGroup, Logit, Neuron
from interpret_runs.penalties import TotalVariation, Transparency
from interpret_runs.scoring import score

UNITS = [
    Channel("0", 4),
    Channel("2", 1),
    Logit(2),
    Channel("0", 0),
    Channel("2", 1),
    Neuron("2", 3, 0, 5),
    Neuron("0", 3),
    Layer("2"),
    Direction("0", (1, -1, 0, 0, 0, 2)),
    TotalVariation(),
    Channel("2", 5) - 0.1 * TotalVariation(),
    -Channel("0", 4),
    ActivationDifference("2", Shapes(3)),
]


@dataclass(frozen=True)
class Noise(ImageSet):
    """Random pixels, the same for the same seed."""

    seed: int
    readable: bool = True

    def __call__(self, preprocessing: Preprocessing) -> Picture:
        if not self.readable:
            raise ValueError(f"noise {self.seed} is damaged")
        pixels = torch.rand(3, *preprocessing.size, generator=torch.Generator().manual_seed(self.seed))
        return Picture(pixels, f"noise {self.seed}")

    def items(self):
        return [self]

    def size(self):
        return (16, 16)


DATA = [Noise(seed) for seed in range(11)]


def all_scores(model, objective, dataset=DATA):
    images = torch.stack([one(model.preprocessing).pixels for one in dataset]).to(model.mean)
    rows = torch.zeros(len(images), dtype=torch.long)
    with torch.no_grad():
        return score(model, objective.resolve(model.summary), images, rows)


# --- which images -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_examples_are_the_ends_of_all_scores_in_order(model, batch_size):
    found = survey(model, UNITS, DATA, 3, batch_size)
    for unit, objective in enumerate(UNITS):
        scores = all_scores(model, objective)
        for end, order in (
            (found.strongest, scores.argsort(descending=True)),
            (found.weakest, scores.argsort()),
        ):
            assert torch.equal(end.images[:, unit], order[:3])
            torch.testing.assert_close(end.scores[:, unit].double(), scores[order[:3]], rtol=1e-6, atol=1e-6)


def test_all_scores_are_kept_when_asked_for(model):
    assert survey(model, UNITS, DATA, 1).scores is None
    kept = survey(model, UNITS, DATA, 1, 4, keep_scores=True).scores
    assert kept.shape == (11, len(UNITS)) and kept.dtype == torch.float32
    expected = torch.stack([all_scores(model, objective) for objective in UNITS], 1)
    torch.testing.assert_close(kept, expected.float())


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_of_equal_scores_the_first_in_the_set_wins(model, batch_size):
    found = survey(model, UNITS, [Noise(0)] * 8, 3, batch_size)
    for end in (found.strongest, found.weakest):
        assert torch.equal(end.images, torch.arange(3)[:, None].expand(-1, len(UNITS)))


def test_a_set_smaller_than_k_leaves_gaps(model):
    found = survey(model, UNITS, DATA[:2], 5)
    for end in (found.strongest, found.weakest):
        assert (end.images[2:] == -1).all() and end.scores[2:].isnan().all() and (end.places[2:] == -1).all()
        assert (end.images[:2] >= 0).all() and end.scores[:2].isfinite().all()


@dataclass(frozen=True)
class Picky(Objective):
    """The mean of the pixels; nothing, NaN, for an image with its first pixel above one half."""

    @property
    def layers(self):
        return frozenset({"image"})

    def __call__(self, activations):
        images = activations["image"]
        return images.flatten(1).mean(1).masked_fill(images[:, 0, 0, 0] > 0.5, torch.nan)


def test_scores_that_are_not_numbers_are_left_out(model):
    scores = all_scores(model, Picky())
    known = [place for place, value in enumerate(scores.tolist()) if value == value]
    assert 0 < len(known) < len(DATA)
    found = survey(model, [Picky(), Logit(0)], DATA, len(DATA), 4)
    for end in (found.strongest, found.weakest):
        assert sorted(end.images[:, 0].tolist()) == sorted([*known, *[-1] * (len(DATA) - len(known))])
        assert end.scores[: len(known), 0].isfinite().all() and end.scores[len(known) :, 0].isnan().all()
        assert sorted(end.images[:, 1].tolist()) == list(range(len(DATA)))


def test_images_that_cannot_be_read_are_skipped_and_named(model):
    broken = [Noise(seed, readable=seed not in (0, 4, 5)) for seed in range(11)]
    found = survey(model, UNITS, broken, 8, 3, keep_scores=True)
    readable = [1, 2, 3, 6, 7, 8, 9, 10]
    assert [name for name, _ in found.skipped] == [repr(broken[place]) for place in (0, 4, 5)]
    assert found.skipped[1][1] == "noise 4 is damaged"
    assert all(sorted(column) == readable for column in found.strongest.images.T.tolist())
    assert found.scores[[0, 4, 5]].isnan().all() and found.scores[readable].isfinite().all()


def test_a_damaged_file_in_a_folder_is_skipped(model, tmp_path):
    for name, value in [("a.png", 0.2), ("c.png", 0.8)]:
        to_pil(torch.full((3, 16, 16), value)).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"no image")
    items = Folder(str(tmp_path)).items()
    found = survey(model, [TotalVariation()], items, 2)
    assert found.strongest.images[:, 0].tolist() == [0, 2]
    assert [name for name, _ in found.skipped] == [repr(File(str(tmp_path / "b.png")))]


# --- where in them ----------------------------------------------------------------------------------------------


def test_a_channels_place_is_its_highest_or_lowest_position(model):
    found = survey(model, [Channel("0", 4), Channel("2", 1)], DATA, 4, 3)
    for unit, (layer, channel) in enumerate([("0", 4), ("2", 1)]):
        for end, extreme in ((found.strongest, torch.amax), (found.weakest, torch.amin)):
            for image, (row, column) in zip(end.images[:, unit], end.places[:, unit].tolist(), strict=True):
                pixels = DATA[image](model.preprocessing).pixels[None].double()
                there = score(model, Neuron(layer, channel, row, column), pixels)
                grid = model.network[: int(layer) + 1](model.normalise(pixels))[0, channel]
                assert there == extreme(grid, (0, 1))


def test_a_unit_with_a_position_has_that_place(model):
    found = survey(model, [Neuron("2", 3, 0, 5), Neuron("2", 3), LocalGroup("2", 3, row=2)], DATA, 2)
    for end in (found.strongest, found.weakest):
        assert end.places.tolist() == [[[0, 5], [4, 4], [2, 4]]] * 2
    assert found.layers == ("2", "2", "2")


def test_what_has_no_channel_has_no_place(model):
    units = [Logit(1), Layer("2"), TotalVariation(), Channel("0", 1) + Channel("2", 1)]
    found = survey(model, units, DATA, 2)
    assert found.layers == (None,) * 4
    assert (found.strongest.places == -1).all() and (found.weakest.places == -1).all()


def test_no_position_stands_out_where_several_are_equal(model):
    """A rectified channel is 0 nearly everywhere; the first such position would be a corner."""
    found = survey(model, [Channel("1", channel) for channel in range(6)], DATA, 2)
    assert (found.weakest.places == -1).all()
    assert (found.strongest.places >= 0).all()


def test_images_of_a_set_are_opaque(model):
    found = survey(model, [Logit(0) + Transparency(), Logit(0)], DATA, 3, keep_scores=True)
    torch.testing.assert_close(found.scores[:, 0], found.scores[:, 1])


@pytest.mark.parametrize("network", [networks.Tokens(), networks.ChannelsLast()])
def test_places_lie_on_the_grid_of_tokens(network):
    model = bare(network)
    found = survey(model, [Channel("block", 2), Neuron("block", 2, 1, 3)], DATA, 3)
    torch.testing.assert_close(
        found.strongest.scores[:, 0].double(), all_scores(model, Channel("block", 2)).topk(3).values, rtol=0, atol=1e-6
    )
    assert (found.strongest.places[:, 0] < 4).all() and (found.strongest.places[:, 0] >= 0).all()
    assert (found.strongest.places[:, 1] == torch.tensor([1, 3])).all()


# --- at what cost -----------------------------------------------------------------------------------------------


def test_one_pass_serves_all_units_and_stops_at_the_last_layer_needed():
    early, late = networks.Counted(), networks.Counted()
    model = bare(nn.Sequential(early, *networks.plain()[:4], late, *networks.plain()[4:]))
    units = [Channel("1", channel) for channel in range(6)] + [Neuron("3", 2), Layer("2")]
    survey(model, units, DATA, 2)  # what is found out once
    early.calls = late.calls = 0
    survey(model, units, DATA, 2, 4)
    assert (early.calls, late.calls) == (3, 0)


def test_a_picture_to_compare_with_is_seen_once():
    counted = networks.Counted()
    model = bare(nn.Sequential(counted, *networks.plain()))
    units = [ActivationDifference("1", Shapes(3)), ActivationDifference("3", Shapes(3))]
    survey(model, units, DATA, 2)
    counted.calls = 0
    survey(model, units, DATA, 2, 4)
    assert counted.calls == 1 + 3


def test_images_are_read_only_a_little_ahead(model):
    read = []

    @dataclass(frozen=True)
    class Noted(Noise):
        def __call__(self, preprocessing):
            read.append(self.seed)
            return super().__call__(preprocessing)

    ahead = []
    model = bare(networks.plain())

    def note(_module, args):
        done = sum(len(images) for (images,) in ahead_of)
        ahead.append(len(read) - done)
        ahead_of.append(args)

    ahead_of = []
    model.summary  # noqa: B018  # runs the network
    survey(model, [Logit(0)], DATA[:1], 1)
    read.clear()
    handle = model.network.register_forward_pre_hook(note)
    survey(model, [Logit(0)], [Noted(seed) for seed in range(60)], 1, 2)
    handle.remove()
    assert len(ahead) == 30 and sorted(read) == list(range(60))
    assert max(ahead) <= 2 + 2 * 2 + 1


def test_progress_goes_from_0_to_1(model):
    parts = []
    survey(model, [Logit(0)], DATA, 1, 4, parts.append)
    assert parts == [4 / 11, 8 / 11, 1]


def test_the_model_is_left_as_it_was(model):
    model.train()
    survey(model, UNITS, DATA, 1)
    assert hooks(model) == 0
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_model_is_left_as_it_was_when_reading_fails(model):
    class Fails(Noise):
        def __call__(self, preprocessing):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        survey(model, UNITS, [*DATA, Fails(1)], 1, 4)
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("units", "dataset", "settings", "message"),
    [
        ([], DATA, {}, "no unit"),
        (UNITS, [], {}, "no image"),
        (UNITS, [Noise(1, readable=False)] * 3, {}, "none of the 3 images can be read; the first: noise 1 is damaged"),
        (UNITS, DATA, {"k": 0}, "k is 0"),
        (UNITS, DATA, {"batch_size": 0}, "batch_size is 0"),
        ([Logit("top1")], DATA, {}, "top1"),
    ],
)
def test_mistakes_say_what_is_wrong(model, units, dataset, settings, message):
    with pytest.raises(ValueError, match=message):
        survey(model, units, dataset, **{"k": 2, **settings})


def test_a_unit_that_the_network_does_not_have_is_refused(model):
    with pytest.raises(LookupError, match="channel 99"):
        survey(model, [Channel("0", 99)], DATA, 1)


def test_where_memory_runs_out_fewer_images_are_seen_at_once(model, monkeypatch):
    whole = survey(model, [Channel("2", 1)], DATA, 3, batch_size=8)
    through = type(model).forward

    def forward(self, images):
        if len(images) > 3:
            raise torch.OutOfMemoryError("no room")
        return through(self, images)

    monkeypatch.setattr(type(model), "forward", forward)
    parts = survey(model, [Channel("2", 1)], DATA, 3, batch_size=8)
    torch.testing.assert_close(parts.strongest.scores, whole.strongest.scores)
    assert torch.equal(parts.strongest.images, whole.strongest.images)
