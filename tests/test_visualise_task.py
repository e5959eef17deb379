"""What ``task=visualise`` makes of its settings: images, files, and numbers in the record and in the index."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from batches import array, batch, done, file, one, pixels
from command_line import PROJECT, QUICK, planned, the_run
from PIL import Image

from interpret_runs import metrics
from interpret_runs.comparisons import Interpolation
from interpret_runs.images import File, Folder
from interpret_runs.models import Preprocessing, load
from interpret_runs.objectives import Channel, Logit
from interpret_runs.parameterisations import Cppn, Fourier
from interpret_runs.runner.index import build as index_of
from interpret_runs.runner.store import Store
from interpret_runs.runner.tasks import visualised
from interpret_runs.scoring import score

EARLY = (*QUICK, "layer=early")
PLAIN = (*EARLY, "transform=none")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "some")


def options(group: str) -> list[str]:
    """What there is to choose in a group."""
    return sorted(path.stem for path in (PROJECT / "conf" / group).glob("*.yaml"))


def chain(*names: str) -> tuple[str, ...]:
    """A chain of transforms."""
    parts = (f"+transform@transform.parts.{key}={name}" for key, name in zip("abc", names, strict=False))
    return "transform=chain", *parts


def total(*names: str) -> tuple[str, ...]:
    """A sum of objectives."""
    terms = (f"+objective@objective.terms.{key}={name}" for key, name in zip("abc", names, strict=False))
    return "objective=sum", *terms


# --- one run, or a batch ------------------------------------------------------------------------------------------

CHANNELS = "objective.channel=1,2"
PICTURES = "images.item=0,1"
BATCHES = [
    *[(f"transform={name}", CHANNELS) for name in ("crops", "lucid", "standard", "v2")],
    (*chain("crops", "noise"), "transform.parts.a.views=2", CHANNELS),
    (*chain("colour_jitter", "crops", "standard"), "transform.size=20", "transform.parts.b.views=2", "seed=0,1"),
    *[(f"parameterisation={name}", "seed=0,1") for name in options("parameterisation") if name != "image"],
    ("parameterisation=image", PICTURES),
    ("parameterisation=image", "parameterisation.space=pixel", "parameterisation.std=0.1", PICTURES, "task.attempts=2"),
    *[(f"objective={name}", PICTURES) for name in ("activation_difference", "caricature", "inversion", "style")],
    ("objective=caricature", "parameterisation=image", "parameterisation.std=0.2", PICTURES),
    ("objective=interpolation", "objective.first.channel=1,2", "parameterisation.images=3"),
    ("objective=product", "objective.left.channel=7,9", "objective.right.channel=2"),
    ("objective=negative", "objective.of.channel=1,2"),
    ("objective=deep_dream", "objective.paths=[early,features.2]", "seed=0,1"),
    ("objective=neuron_direction", f"objective.direction={[1.0] * 64},{[-1.0] * 64}"),
    ("objective=contrast", "objective.target=0,1", "objective.against=2"),
    (*total("channel", "diversity", "alignment"), "parameterisation.images=3", "objective.terms.a.channel=1,2"),
    (*total("channel", "blur"), "objective.weights.b=[-1,-0.1]", "objective.terms.a.channel=1,2"),
    ("task.attempts=3", CHANNELS),
    ("task.tile=8", CHANNELS),
    ("task.importance=true", "task.raw=true", "task.animation=gif", "task.frames=2", CHANNELS),
    ("parameterisation=cppn", "task.render_size=[20,12]", CHANNELS),
    ("parameterisation.size=[16,24]", "parameterisation.images=2", CHANNELS),
    ("compute.precision=bfloat16", CHANNELS),
    ("optimizer=sgd", "lr_scheduler=cosine", CHANNELS),
    ("optimizer=nadam", "lr_scheduler=warmup", CHANNELS),
]  # fmt: skip


@pytest.mark.parametrize("overrides", BATCHES, ids=" ".join)
def test_a_run_alone_is_the_run_in_a_batch(store, tmp_path, overrides):
    quick = [line for line in EARLY if line.partition("=")[0] not in {one.partition("=")[0] for one in overrides}]
    runs = planned(*quick, *overrides)
    together = batch(store, runs)
    assert [record["run_id"] for record in together] == [run.id for run in runs]
    assert together[0]["score"] != together[1]["score"]
    assert all(record["batch"] == [run.id for run in runs] for record in together)
    elsewhere = Store(tmp_path, "alone")
    (alone,) = batch(elsewhere, runs[1:])
    assert alone["run_id"] == together[1]["run_id"]
    assert alone["score"] == pytest.approx(together[1]["score"], rel=0.15, abs=1e-4)
    assert alone["metrics"]["robust_score"] == pytest.approx(together[1]["metrics"]["robust_score"], rel=0.15, abs=1e-4)
    assert alone["metrics"].keys() == together[1]["metrics"].keys()
    assert alone["artefacts"].keys() == together[1]["artefacts"].keys()
    difference = pixels(elsewhere, alone).astype(float) - pixels(store, together[1])
    assert abs(difference).mean() < 8, "of 255 levels"


# --- attempts -----------------------------------------------------------------------------------------------------


def attempts(record):
    return [float(score) for score in record["metrics"]["attempt_scores"].strip("[]").split(",")]


def test_the_first_attempt_is_the_run_without_attempts(store):
    plain, two, four = (one(store, *EARLY, "parameterisation.std=1", f"task.attempts={count}") for count in (1, 2, 4))
    assert "attempt_scores" not in plain["metrics"]
    assert attempts(four)[0] == pytest.approx(plain["metrics"]["robust_score"], abs=1e-3)
    assert attempts(four)[:2] == pytest.approx(attempts(two), abs=1e-3)
    nearest = min(abs(a - b) for a, b in itertools.combinations(attempts(four), 2))
    assert nearest > 2e-3, "each has a seed of its own"


def test_without_attempts_a_run_starts_at_its_own_seed(store):
    record = one(store, *EARLY, "parameterisation.std=1", "optimizer.lr=0", "seed=7", "task.raw=true")
    start = Fourier(16, std=1, seeds=(7,))().detach().numpy()
    np.testing.assert_allclose(array(store, record, "raw"), start, atol=1e-6)


def test_the_best_attempt_under_fresh_transforms_is_kept(store):
    records = done(store, *EARLY, "task.attempts=4", "objective.channel=range(0,6)")
    plain = done(store, *EARLY, "objective.channel=range(0,6)")
    for record, first in zip(records, plain, strict=True):
        best, scores = record["metrics"]["best_attempt"], attempts(record)
        assert scores[best] == max(scores) == pytest.approx(record["metrics"]["robust_score"], abs=1e-4)
        same = abs(pixels(store, record).astype(int) - pixels(store, first)).max() <= 8
        assert same == (best == 0)
    assert len({record["metrics"]["best_attempt"] for record in records}) > 1


def test_each_attempt_has_all_images_of_a_run(store):
    record = one(store, *EARLY, "task.attempts=3", "parameterisation.images=2")
    assert len(attempts(record)) == 3 and pixels(store, record).shape == (16, 32, 3)


# --- early stop ---------------------------------------------------------------------------------------------------

STOPPING = ("parameterisation.size=16", "layer=early", "transform=none", "task.animation=gif")


def test_runs_that_have_converged_stop_and_others_go_on(store, tmp_path):
    settings = ("task.stop=0.2", "task.steps=96", "task.snapshots=[16,96]", "task.frames=6")
    runs = planned(*STOPPING, *settings, "objective.channel=range(0,6)")
    records = batch(store, runs)
    steps = [record["steps"] for record in records]
    assert min(steps) < max(steps), "the channels of this test are to settle at different steps"
    for record in records:
        taken = record["steps"]
        assert taken % 16 == 0 and record["metrics"]["steps_taken"] == taken
        assert record["history"]["step"][-1] == taken
        assert ("snapshot-0096" in record["artefacts"]) == (taken == 96)
    place = steps.index(min(steps))
    elsewhere = Store(tmp_path, "alone")
    (alone,) = batch(elsewhere, [runs[place]])
    assert alone["steps"] == steps[place]
    assert alone["artefacts"].keys() == records[place]["artefacts"].keys()
    assert frames_of(file(elsewhere, alone, "animation")) == frames_of(file(store, records[place], "animation"))


def frames_of(path: Path) -> int:
    with Image.open(path) as animation:
        return animation.n_frames


def test_an_animation_of_a_run_that_stops_before_its_first_frame_shows_its_end(store):
    record = one(store, *STOPPING, "task.stop=0.99", "task.frames=2", "task.steps=128")
    assert record["steps"] == 48 and frames_of(file(store, record, "animation")) == 1


def test_without_stop_every_run_takes_all_steps(store):
    record = one(store, *EARLY)
    assert record["steps"] == record["metrics"]["steps_taken"] == 2


# --- files --------------------------------------------------------------------------------------------------------


def test_an_animation_ends_with_the_image(store):
    record = one(store, *EARLY, "task.animation=gif", "task.frames=2", "optimizer.lr=1", "parameterisation.images=2")
    with Image.open(file(store, record, "animation")) as animation:
        assert animation.n_frames == 2 and animation.size == (32, 16)
        animation.seek(1)
        shown = np.asarray(animation.convert("RGB")).astype(int)
    assert abs(shown - pixels(store, record)).mean() < 16, "of 255 levels, with a palette"


def test_a_film_is_what_ffmpeg_makes_of_the_frames(store, tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").write_text('#!/bin/sh\nfor last; do :; done\ncat > "$last"\n')
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    record = one(store, *EARLY, "task.animation=mp4", "task.frames=2")
    path = file(store, record, "animation")
    assert path.name == "animation.mp4"
    last = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 16, 16, 3)[-1]
    assert (last == pixels(store, record)).all()


def test_importance_is_the_opacity_of_a_copy(store):
    record = one(store, *EARLY, "task.importance=true", "task.raw=true", "parameterisation.images=2")
    shown = pixels(store, record, "alpha")
    assert shown.shape == (16, 32, 4)
    assert (shown[..., :3] == pixels(store, record)).all()
    assert shown[..., 3].max() == 255 and len(np.unique(shown[..., 3])) > 8
    importance = array(store, record, "importance")
    assert importance.shape == (2, 16, 16) and importance.min() >= 0
    for number, values in enumerate(importance):
        opacity = shown[:, 16 * number : 16 * (number + 1), 3].flatten()
        assert (np.diff(opacity[values.flatten().argsort()].astype(int)) >= 0).all(), "more important is more opaque"


@pytest.mark.parametrize(("parameterisation", "channels"), [("fourier", 3), ("rgba", 4)])
def test_raw_numbers_are_the_image_before_rounding(store, parameterisation, channels):
    record = one(store, *EARLY, f"parameterisation={parameterisation}", "task.raw=true", "parameterisation.images=2")
    raw = array(store, record, "raw")
    assert raw.shape == (2, channels, 16, 16) and raw.dtype == np.float32
    side_by_side = np.concatenate(list(raw), 2).transpose(1, 2, 0) * 255
    assert abs(side_by_side - pixels(store, record)).max() <= 0.501


def test_an_image_without_a_size_can_be_rendered_at_another(store):
    cppn = (*EARLY, "parameterisation=cppn", "optimizer.lr=1")
    same = one(store, *cppn, "task.render_size=16", "task.attempts=2")
    assert (pixels(store, same, "rendered") == pixels(store, same)).all()
    other = one(store, *cppn, "task.render_size=[24,40]", "parameterisation.images=2")
    assert pixels(store, other, "rendered").shape == (24, 80, 3)
    assert pixels(store, other).shape == (16, 32, 3)


def test_an_image_is_rendered_once(store, monkeypatch):
    made = []
    through = Cppn.render
    monkeypatch.setattr(Cppn, "render", lambda self, size, image: made.append(image) or through(self, size, image))
    settings = ("task.steps=4", "task.snapshots=[1,2]", "task.animation=gif", "parameterisation.images=2")
    one(store, *EARLY, "parameterisation=cppn", "task.render_size=24", *settings)
    assert sorted(made) == [0, 1]


def test_of_a_tiled_image_fresh_looks_see_what_the_network_saw(store, monkeypatch):
    """Windows of the image, not the image shrunk to a window."""
    seen = []
    through = metrics.robustness
    monkeypatch.setattr(metrics, "robustness", lambda *given: seen.append(given[2]) or through(*given))
    record = one(store, *PLAIN, "parameterisation.size=[16,48]", "task.tile=16")
    assert {tuple(part.shape[2:]) for part in seen} == {(16, 16)} and len(seen) >= 3
    assert record["status"] == "ok"


def test_a_head_that_asserts_an_images_size_loses_no_run(store, monkeypatch):
    shown = type(load("shapes")).forward

    def forward(self, images):
        output = shown(self, images)
        assert images.shape[2] == 64, "wrong size"
        return output

    monkeypatch.setattr(type(load("shapes")), "forward", forward)
    record = one(store, *PLAIN)
    assert record["status"] == "ok" and "predicted" not in record["metrics"]


@pytest.mark.parametrize(
    ("objective", "target"),
    [
        (Logit(3), 3),
        (Logit(3) + 0.1 * Channel("2", 1), 3),
        (Channel("2", 1) - 0.1 * Logit(4), None),
        (Interpolation(Logit(3), Logit(7)), None),
        (Interpolation(Logit(3), Logit(3)), 3),
    ],
    ids=repr,
)
def test_a_run_has_a_target_where_all_its_images_have_one(objective, target):
    assert visualised._target(objective) == target


def test_what_is_transparent_is_so_in_the_file(store):
    transparent = (*EARLY, "parameterisation=rgba", "optimizer.lr=1", "task.snapshots=[2]")
    record = one(store, *transparent)
    shown = pixels(store, record).astype(float)
    assert shown.shape == (16, 16, 4) and shown[..., 3].std() > 1
    over_grey = (shown[..., :3] * shown[..., 3:] + 127.5 * (255 - shown[..., 3:])) / 255
    assert abs(over_grey - pixels(store, record, "snapshot-0002")).max() <= 2


def test_a_channel_times_transparency_leaves_out_what_it_does_not_need(store):
    settings = ("layer=early", "transform=none", "parameterisation=rgba", "parameterisation.size=16", "task.steps=24")
    plain = one(store, *settings)
    clear = one(store, *settings, "objective=product", "objective@objective.right=transparency")
    assert clear["unit"] == "channel 5 x transparency"
    assert pixels(store, clear)[..., 3].mean() < pixels(store, plain)[..., 3].mean() - 10
    assert clear["score"] > 0 and clear["metrics"]["robust_score"] > 0


def test_snapshots_are_of_the_attempt_that_is_kept(store):
    records = done(store, *EARLY, "task.attempts=3", "task.snapshots=[1,2]", "objective.channel=range(0,4)")
    assert any(record["metrics"]["best_attempt"] for record in records)
    for record in records:
        assert (pixels(store, record, "snapshot-0002") == pixels(store, record)).all()
        assert (pixels(store, record, "snapshot-0001") != pixels(store, record)).any()


@pytest.mark.parametrize("parameterisation", options("parameterisation"))
def test_images_need_not_be_square(store, parameterisation):
    settings = ("layer=early", "task.steps=1", "parameterisation.size=[17,24]", "parameterisation.images=2")
    record = one(store, *settings, f"parameterisation={parameterisation}")
    assert pixels(store, record).shape[:2] == (17, 48)


# --- numbers ------------------------------------------------------------------------------------------------------


def test_numbers_beside_each_image_are_in_the_index(store):
    (record, _) = done(store, *QUICK, "objective=logit", "objective.target=3,5")
    table = index_of(store).set_index("run_id")
    assert table.loc[record["run_id"], "robust_score"] == record["metrics"]["robust_score"]
    for name in ("robust_std", "total_variation", "spectrum_distance", "jpeg_bytes_per_pixel", "image_std"):
        assert (table[name] > 0).all(), name
    assert table.target_rank.between(1, 12).all() and table.robust_top1.between(0, 1).all()
    assert (table.target_probability <= table.predicted_probability + 1e-6).all()
    for _, row in table.iterrows():
        target = row["objective.target"]
        assert (row.target_rank == 1) == (row.predicted_class == target)
    assert (table.steps_taken == 2).all()


def test_a_hidden_unit_has_no_target(store):
    numbers = one(store, *EARLY)["metrics"]
    assert "predicted" in numbers and not {"target_rank", "target_probability", "robust_top1"} & numbers.keys()


def test_a_class_that_is_well_shown_ranks_first(store):
    settings = ("objective=logit", "objective.target=3", "task.steps=32", "parameterisation.size=32")
    numbers = one(store, *settings)["metrics"]
    assert numbers["target_rank"] == 1 and numbers["robust_top1"] > 0.5
    assert numbers["target_probability"] == numbers["predicted_probability"]


def test_a_negative_unit_may_score_below_0_and_live(store):
    """Only what is to be excited is dead where it is not."""
    start = (*PLAIN, "parameterisation=image", "optimizer.lr=0.001", "layer.path=features.4")
    channels = done(store, *start, "objective.channel=range(0,4)")
    assert all(record["metrics"]["image_std"] > 0.02 for record in channels)
    assert {record["metrics"]["alive"] for record in channels} == {True, False}
    assert all(record["metrics"]["alive"] == (record["score"] > 0) for record in channels)
    negatives = done(store, *start, "objective=negative", "objective.of.channel=range(0,4)")
    assert any(record["score"] < 0 for record in negatives)
    assert all(record["metrics"]["alive"] for record in negatives)


@pytest.fixture
def folder(tmp_path):
    """Five pictures of noise, of different contrast."""
    made = tmp_path / "pictures"
    made.mkdir()
    draw = np.random.default_rng(0)
    for number in range(5):
        levels = 127 + (25 * number + 20) * draw.standard_normal((70, 90, 3))
        Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(made / f"{number}.png")
    return made


def test_the_percentile_is_the_share_of_pictures_that_score_less(store, folder):
    (folder / "damaged.png").write_text("no image")
    data = ("task.data=${images}", "images=folder", f"images.path={folder}", "images.item=all")
    records = done(store, *EARLY, "task.attempts=2", "objective.channel=range(0,6)", *data)
    model = load("shapes")
    items = [item for item in Folder(str(folder)).items() if "damaged" not in item.path]
    pictures = torch.stack([item(model.preprocessing).pixels for item in items])
    for channel, record in enumerate(records):
        with torch.no_grad():
            scores = score(model, Channel(record["config"]["objective"]["layer"], channel), pictures)
        below = (scores < record["score"]).double().mean() + (scores == record["score"]).double().mean() / 2
        assert record["metrics"]["percentile"] == pytest.approx(100 * float(below))
    assert len({record["metrics"]["percentile"] for record in records}) > 1
    assert all(len(record["digests"]["task.data"]) == 16 for record in records)


# --- pictures -----------------------------------------------------------------------------------------------------


def test_each_run_of_a_batch_starts_at_its_own_picture(store, folder):
    start = (*PLAIN, "parameterisation=image", "optimizer.lr=0", "images=folder", f"images.path={folder}")
    records = done(store, *start, "images.item=all", "task.attempts=2", "parameterisation.images=2")
    assert len({record["run_id"] for record in records}) == 5
    for number, record in enumerate(records):
        picture = File(str(folder / f"{number}.png"))(Preprocessing((16, 16), 16)).pixels
        shown = pixels(store, record).astype(int)
        assert abs(shown[:, :16] - 255 * picture.permute(1, 2, 0).numpy()).max() <= 2
        assert (shown[:, :16] == shown[:, 16:]).all(), "all images of a run start equal"


def test_a_mask_says_what_may_change(store, tmp_path):
    mask = np.zeros((16, 16), np.uint8)
    mask[:, 8:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    start = (*EARLY, "parameterisation=image", f"parameterisation.mask={tmp_path / 'mask.png'}")
    still, moved = (one(store, *start, f"optimizer.lr={rate}") for rate in (0, 1))
    changed = (pixels(store, still) != pixels(store, moved)).any(2)
    assert not changed[:, :8].any() and changed[:, 8:].mean() > 0.5


def test_a_caricature_is_named_by_its_picture(store, folder):
    source = ("objective=caricature", "images=folder", f"images.path={folder}")
    assert the_run(*source, "images.item=3.png").unit == "caricature 3.png"
    first, second = done(store, *EARLY, *source, "images.item=0,1")
    assert first["unit"] != second["unit"]
    assert first["digests"]["objective.source"] != second["digests"]["objective.source"]
    assert (pixels(store, first) != pixels(store, second)).any()


# --- several images a run -----------------------------------------------------------------------------------------


def test_images_of_a_run_grow_apart_where_diversity_is_asked_for(store):
    run = (*total("channel", "diversity"), "layer=early", "transform=none", "parameterisation.size=16",
           "parameterisation.images=3", "task.steps=16", "task.raw=true")  # fmt: skip
    records = done(store, *run, "objective.weights.b=0"), done(store, *run, "objective.weights.b=20")
    alike, apart = (array(store, record, "raw") for (record,) in records)
    assert spread(apart) > spread(alike)


def test_images_that_share_a_part_are_more_alike(store):
    settings = (*EARLY, "parameterisation=shared", "parameterisation.images=4", "task.raw=true")
    records = [one(store, *settings, f"parameterisation.share={share}") for share in (0, 0.7, 1)]
    apart, alike, same = (spread(array(store, record, "raw")) for record in records)
    assert apart > alike > same == 0


def spread(images: np.ndarray) -> float:
    """Mean difference between the images of a run."""
    return float(np.mean([abs(a - b).mean() for a, b in itertools.combinations(images, 2)]))


def test_the_ends_of_an_interpolation_are_its_objectives(store):
    settings = (*PLAIN, "task.steps=24", "task.raw=true", "parameterisation.images=3", "objective=interpolation")
    record = one(store, *settings, "objective.first.channel=1", "objective.last.channel=2")
    assert record["unit"] == "channel 1 to channel 2"
    images, model = torch.from_numpy(array(store, record, "raw")), load("shapes")
    layer = record["config"]["objective"]["first"]["layer"]
    with torch.no_grad():
        first, last = (score(model, Channel(layer, channel), images).numpy() for channel in (1, 2))
    assert first[0] > first[2] and last[2] > last[0]


# --- optimisers, schedules, precision -----------------------------------------------------------------------------


def test_every_optimizer_climbs(store):
    settings = ("layer=early", "transform=none", "parameterisation.size=16")
    start = one(store, *settings, "optimizer.lr=0", "task.steps=1")["score"]
    for option in options("optimizer"):
        assert one(store, *settings, f"optimizer={option}", "task.steps=16")["score"] > start, option


def test_a_rate_of_0_changes_nothing_more(store):
    stopped = ("lr_scheduler=step", "lr_scheduler.step_size=1", "lr_scheduler.gamma=0", "task.snapshots=[1]")
    record = one(store, *PLAIN, *stopped)
    assert (pixels(store, record) == pixels(store, record, "snapshot-0001")).all()
    constant = one(store, *PLAIN, "task.snapshots=[1]")
    assert (pixels(store, constant) != pixels(store, constant, "snapshot-0001")).any()


def test_half_precision_serves_every_output(store):
    settings = (*EARLY, "compute.precision=bfloat16", "task.attempts=2", "task.importance=true", "task.raw=true")
    record = one(store, *settings, "parameterisation.images=2", "task.animation=gif", "task.frames=2")
    assert set(record["artefacts"]) == {"image", "alpha", "raw", "importance", "animation"}
    assert array(store, record, "raw").dtype == np.float32


def test_a_size_that_a_transform_changes_is_no_other_spelling_of_none(store):
    """Closing a config may drop a size only where it says nothing."""
    cropped = ("transform=v2", "transform.transforms=[{_target_: torchvision.transforms.v2.RandomCrop, size: 12}]")
    own, brought = (the_run(*EARLY, *cropped, f"transform.size={size}") for size in ("null", 16))
    assert own.id != brought.id and brought.config["transform"]["size"] == [16, 16]
    parts = (*chain("noise", "noise"), "transform.parts.a.size=32", "transform.parts.b.size=16")
    assert the_run(*EARLY, *parts).config["transform"]["parts"]["b"]["size"] == [16, 16]
    assert the_run(*EARLY, "transform.size=16").id == the_run(*EARLY).id
