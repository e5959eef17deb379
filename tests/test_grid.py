"""From override lines to grid points."""

import re
from itertools import product
from typing import Any

import pytest
from command_line import hydra
from omegaconf import OmegaConf

from interpret_runs.runner.compose import Composer
from interpret_runs.runner.grid import per_experiment, points


@pytest.fixture(scope="module")
def loader():
    with hydra() as (loader, _):
        yield loader


@pytest.fixture
def grid(loader):
    """The points of a sweep, each a mapping of keys to values."""

    def expand(*arguments: str, params: Any = None, grids: Any = (), zips: Any = ()) -> list[dict[str, Any]]:
        found = points(list(arguments), params, list(grids), loader, zips)
        return [{setting.key: setting.value for setting in point} for point in found]

    return expand


def test_without_a_sweep_there_is_one_point(grid):
    assert grid() == [{}]
    assert grid("seed=3") == [{"seed": 3}]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("seed=1,2", [1, 2]),
        ("seed=choice(3)", [3]),
        ("seed=range(0,4)", [0, 1, 2, 3]),
        ("seed=range(0,10,4)", [0, 4, 8]),
        ("seed=range(3,0,-1)", [3, 2, 1]),
        ("optimizer.lr=range(0,0.5,0.25)", [0.0, 0.25]),
        ("seed=sort(3,1,2)", [1, 2, 3]),
        ("objective.target=Egyptian cat,lynx", ["Egyptian cat", "lynx"]),
        ("objective.target='a, b',\"it's\"", ["a, b", "it's"]),
        ("objective.channel=all,3", ["all", 3]),
        ("parameterisation.size=[8,16],[16,8]", [[8, 16], [16, 8]]),
        ("objective={channel: 1},{channel: 2}", [{"channel": 1}, {"channel": 2}]),
        ("seed=1,1.0,true,null", [1, 1.0, True, None]),
        ("layer=glob(*)", ["early", "late", "logits", "middle"]),
        ("layer=glob(*,exclude=lo*)", ["early", "late", "middle"]),
        ("layer=glob([e*,l*])", ["early", "late", "logits"]),
        ("layer=glob([e*,l*],exclude=[*te,*ts])", ["early"]),
        ("seed=sort(3,1,2,reverse=true)", [3, 2, 1]),
        ("layer=sort(late,early)", ["early", "late"]),
        ("seed=sort(range(3,0,-1))", [1, 2, 3]),
        ("seed=tag(few,choice(1,2))", [1, 2]),
        ("seed=tag(a,b,range(0,2))", [0, 1]),
        ("seed=int(choice(1.7,2.2))", [1, 2]),
        ("seed=int(3.9)", [3]),
        ("seed=str(choice(0,1))", ["0", "1"]),
        ("seed=float(range(0,2))", [0.0, 1.0]),
        ("seed=bool(choice(0,1))", [False, True]),
        ("seed=int('4'),5", [4, 5]),
        ("seed=1e-3,inf,-2", [0.001, float("inf"), -2]),
        ("objective.layer=${layer.path},image", ["${layer.path}", "image"]),
    ],
)
def test_a_sweep_has_the_values_that_hydra_gives_it(grid, line, values):
    key = line.partition("=")[0]
    assert repr([point[key] for point in grid(line)]) == repr(values)


@pytest.mark.parametrize("line", ["objective.target='a, b','c'", "objective.target=a\\,b,c", "name='it\\'s',x"])
def test_text_and_value_of_a_setting_are_one(loader, line):
    """What Hydra composes from the text is the value that is set directly."""
    # `name` cannot be swept, but it can be asked for by its text.
    from interpret_runs.runner.compose import Setting, parse

    for setting in Setting.each(parse([line], loader)[0]):
        (again,) = Setting.each(parse([setting.text], loader)[0])
        assert (again.key, again.value) == (setting.key, setting.value)


def test_a_shuffled_sweep_keeps_text_and_value_together(loader):
    from interpret_runs.runner.compose import Setting, parse

    settings = Setting.each(parse(["seed=shuffle(range(0,64))"], loader)[0])
    assert [setting.text for setting in settings] == [f"seed={setting.value}" for setting in settings]
    assert {setting.value for setting in settings} == set(range(64))


@pytest.mark.parametrize("line", ["seed=shuffle(1,2,3)", "seed=shuffle(choice(1,2,3))", "seed=shuffle(range(1,4))"])
def test_a_shuffle_changes_the_order_alone(grid, line):
    assert sorted(point["seed"] for point in grid(line)) == [1, 2, 3]


def test_keys_multiply(grid):
    found = grid("seed=1,2", "objective.channel=range(0,3)", "layer=early")
    assert [(point["seed"], point["objective.channel"]) for point in found] == list(product((1, 2), (0, 1, 2)))
    assert {point["layer"] for point in found} == {"early"}


def test_params_and_the_command_line_multiply(grid):
    found = grid("seed=1,2", params={"objective.channel": "range(0,3)", "layer": ["early", "late"], "task.steps": 4})
    assert len(found) == 2 * 3 * 2
    assert {point["task.steps"] for point in found} == {4}


def test_grids_are_a_union_each_times_the_rest(grid):
    grids = [{"layer": ["early", "late"], "objective.channel": 1}, {"parameterisation": "fourier,pixel"}]
    found = grid("seed=1,2", params={"task.steps": "8,16"}, grids=grids)
    assert len(found) == (2 + 2) * 2 * 2
    assert all(("layer" in point) != ("parameterisation" in point) for point in found)


def test_the_command_line_replaces_a_key_of_params_and_grids(grid):
    grids = [{"seed": "range(0,9)", "objective.channel": [1, 2]}, {"seed": 7}]
    found = grid("seed=5", params={"task.steps": [8, 16]}, grids=grids)
    assert [point["seed"] for point in found] == [5] * 6
    assert len(grid("task.steps=3", params={"task.steps": [8, 16]})) == 1


def test_paired_keys_advance_together_and_multiply_with_the_rest(grid):
    zips = [{"objective.channel": [1, 2, 3], "seed": "range(4,7)"}, {"parameterisation": "fourier,pixel"}]
    found = grid("layer=early,late", params={"task.steps": [8, 16]}, grids=[{"optimizer": ["adam", "sgd"]}], zips=zips)
    assert len(found) == len({repr(point) for point in found}) == 3 * 2 * 2 * 2 * 2
    assert {(point["objective.channel"], point["seed"]) for point in found} == {(1, 4), (2, 5), (3, 6)}


def test_a_grid_may_have_pairs_of_its_own(grid):
    grids = [{"zip": [{"seed": [1, 2], "layer": "early,late"}], "task.steps": [3, 4]}, {"seed": 9}]
    found = [(point["seed"], point.get("layer"), point.get("task.steps")) for point in grid(grids=grids)]
    assert sorted(found, key=repr) == [
        (1, "early", 3),
        (1, "early", 4),
        (2, "late", 3),
        (2, "late", 4),
        (9, None, None),
    ]


def test_the_command_line_replaces_a_paired_key(grid):
    zips = [{"objective.channel": [1, 2], "seed": [4, 5]}]
    assert grid("seed=9", zips=zips) == [{"objective.channel": 1, "seed": 9}, {"objective.channel": 2, "seed": 9}]
    assert grid("seed=9", "objective.channel=7,8", zips=zips) == [
        {"seed": 9, "objective.channel": 7},
        {"seed": 9, "objective.channel": 8},
    ]


@pytest.mark.parametrize(
    ("zips", "says"),
    [
        ([{"seed": [1, 2], "objective.channel": [1, 2, 3]}], "seed has 2, objective.channel has 3"),
        ([{"seed": 1, "objective.channel": "range(0,3)"}], "seed has 1, objective.channel has 3"),
        ([{"seed": [], "layer": []}], "seed has no values"),
        ([{}], "sweep.zip holds {}; name the keys"),
        (["seed"], "sweep.zip holds 'seed'; it is a list of maps"),
        ({"seed": 1}, "sweep.zip holds {'seed': 1}; it is a list of maps"),
        ([{"name": ["a", "b"], "seed": [1, 2]}], "name cannot be swept"),
        ([{"seed": [1, 2], "outputs": ["a", "b"]}], "outputs cannot be swept"),
        ([{"seed": [1, 2]}, {"seed": [3, 4]}], "seed is in sweep.zip and in another place"),
        ([{"task.steps": [1, 2]}], "task.steps is in sweep.zip and in another place"),
        ([{"layer": ["early", "late"]}], "layer is in sweep.zip and in another place"),
    ],
)
def test_pairs_that_are_wrong_say_so(grid, zips, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        grid(params={"task.steps": 8}, grids=[{"layer": "early"}], zips=zips)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("sweep.zip=[{objective.channel: [1,2], seed: [4,5]}]", [(1, 4), (2, 5)]),
        ("sweep.zip=[{objective.channel: 'range(1,3)', seed: '4,5'}]", [(1, 4), (2, 5)]),
        (
            "sweep.zip=[{+objective@objective.terms.a: [channel,l2], layer: [early,late]}]",
            [("channel", "early"), ("l2", "late")],
        ),
        (
            "sweep.zip=[{parameterisation: [fourier,pixel], optimizer.lr: [0.1,1e-3]}]",
            [("fourier", 0.1), ("pixel", 0.001)],
        ),
        (
            "sweep.zip=[{layer.path: [features.3,features/6], objective.target: [Egyptian cat,'a, b']}]",
            [("features.3", "Egyptian cat"), ("features/6", "a, b")],
        ),
    ],
)
def test_pairs_are_written_on_the_command_line(line, values):
    with hydra(line) as (loader, master):
        zips = OmegaConf.to_container(master.sweep.zip)
        found = points([line], None, [], loader, zips)
        assert [tuple(one.value for one in point if one.key != "sweep.zip") for point in found] == values


def test_arguments_are_split_by_experiment_and_by_nothing_else(loader):
    lines = ["seed=1,2", "+experiment=quickstart,distill", "layer=late"]
    assert per_experiment(lines, loader) == [
        ["seed=1,2", "+experiment=quickstart", "layer=late"],
        ["seed=1,2", "+experiment=distill", "layer=late"],
    ]
    assert per_experiment(["+experiment=glob(known*)"], loader) == [
        ["+experiment=known_truth"],
        ["+experiment=known_truth_fast"],
    ]
    for one in (["seed=1,2", "+experiment=quickstart"], ["seed=1,2"], []):
        assert per_experiment(one, loader) == [one]


@pytest.mark.parametrize(
    "value",
    ["a,b", "it's", "x=y", "striped disc", "true", "{a: b}", "[c", "back\\slash", " lead", 'q"q', "", "(", "$a"],
)
def test_text_in_a_list_of_a_grid_is_one_value_as_it_stands(grid, value):
    assert [point["objective.target"] for point in grid(grids=[{"objective.target": [value, 3]}])] == [value, 3]


def test_numbers_in_grids_keep_their_type(grid):
    values = [1, 1.0, 1e-05, True, None, [1, 2.5], {"a": [None]}]
    assert repr([point["seed"] for point in grid(grids=[{"seed": values}])]) == repr(values)


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "outputs",
        "sweep.rerun",
        "sweep.dry_run",
        "compute.device",
        "compute.batch_size",
        "figure.most",
        "hydra.run.dir",
        "hydra/launcher",
        "batch.plan",
        "++name",
    ],
)
def test_what_is_not_identity_cannot_be_swept(grid, key):
    bare = key.lstrip("+")
    with pytest.raises(ValueError, match=f"^{bare} cannot be swept"):
        grid(f"{key}=a,b")
    assert len(grid(f"{key}=a")) == 1


@pytest.mark.parametrize("where", ["params", "grids"])
def test_nor_by_params_or_grids(grid, where):
    value: Any = {"name": ["a", "b"]}
    with pytest.raises(ValueError, match="name cannot be swept"):
        grid(**{where: value if where == "params" else [value]})


def test_precision_is_identity_and_can_be_swept(grid):
    assert len(grid("compute.precision=float32,bfloat16")) == 2


@pytest.mark.parametrize("line", ["seed=range(0,0)", "seed=range(3,1)", "layer=glob(nothing*)"])
def test_a_sweep_without_values_says_so(grid, line):
    with pytest.raises(ValueError, match="has no values"):
        grid(line)


@pytest.mark.parametrize("grids", [[{"seed": []}], [{"seed": "range(0,0)"}]])
def test_a_grid_without_values_says_so(grid, grids):
    with pytest.raises(ValueError, match="seed.* has no values"):
        grid(grids=grids)


def test_an_interval_cannot_be_enumerated(grid):
    with pytest.raises(ValueError, match="interval"):
        grid("seed=interval(0,1)")


def test_a_grid_that_is_no_map_says_so(grid):
    with pytest.raises(ValueError, match="sweep.grids holds 'seed'; it is a list of maps"):
        grid(grids=["seed"])


def test_grid_points_compose(loader):
    """The experiment's grids as Hydra reads them."""
    with hydra("+experiment=quickstart", "seed=1,2") as (loader, master):
        grids = [dict(grid) for grid in master.sweep.grids]
        composer = Composer(loader, master)
        composed = [
            composer.compose(point) for point in points(["+experiment=quickstart", "seed=1,2"], {}, grids, loader)
        ]
    assert len(composed) == 2 * (2 * 2 * 4 + 2 * 4 + 3 * 4)
    assert {choices["task"] for _, choices in composed} == {"visualise", "attribute"}
    assert {config["seed"] for config, _ in composed} == {1, 2}
