"""Places on devices, and how many runs go into a batch there."""

import pytest

from interpret_runs.runner import plan, slots
from interpret_runs.runner.plan import AUTO_BATCH, AUTO_BATCH_GPU, auto_batch
from interpret_runs.runner.slots import Slot, gpus, named, workers_of


def test_each_device_has_its_slots_and_devices_come_first():
    found = slots.slots(["cuda:0", "cuda:1"], 2)
    assert [slot.name for slot in found] == ["cuda:0#0", "cuda:1#0", "cuda:0#1", "cuda:1#1"]
    assert {slot.threads for slot in found} == {None}


def test_several_slots_share_the_cores_of_the_cpu(monkeypatch):
    monkeypatch.setattr(slots, "cores", lambda: 9)
    assert [slot.threads for slot in slots.slots(["cpu"], 4)] == [2, 2, 2, 2]
    assert [slot.threads for slot in slots.slots(["cpu"], 100)] == [1] * 100
    assert slots.slots(["cpu"], 1) == [Slot("cpu")]


def test_one_device_has_one_name():
    assert named("cuda") == ["cuda"]
    assert named(["cuda:0", "cuda:1"]) == ["cuda:0", "cuda:1"]
    for wrong in (["cuda", "cuda:0"], [], ["auto", "cpu"], ["cpu", "cpu"]):
        with pytest.raises(ValueError, match="it is auto, a device, or a list of different devices"):
            named(wrong)


@pytest.mark.parametrize("wrong", [-1, True, "two", 1.5, None])
def test_workers_are_a_number(wrong):
    with pytest.raises(ValueError, match="compute.per_device is"):
        workers_of(wrong)


@pytest.mark.parametrize(("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("0,1", 2), ("GPU-a,GPU-b,GPU-c", 3)])
def test_the_gpus_that_may_be_seen_are_counted(visible, count, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == count


@pytest.mark.parametrize(
    ("device", "found", "size"),
    [
        ("cpu", 2, AUTO_BATCH),
        ("auto", 0, AUTO_BATCH),
        ("auto", 1, AUTO_BATCH_GPU),
        ("cuda:1", 0, AUTO_BATCH_GPU),
        (["cuda:0", "cuda:1"], 2, AUTO_BATCH_GPU),
    ],
)
def test_a_gpu_takes_larger_batches(device, found, size, monkeypatch):
    monkeypatch.setattr(plan, "gpus", lambda: found)
    assert auto_batch(device) == size
