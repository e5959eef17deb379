import pickle

import networks
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from interpret_runs.checkpoint import load_state, read_state


@pytest.fixture
def saved() -> dict[str, torch.Tensor]:
    return networks.plain(seed=7).state_dict()


def same(network, state):
    return all(torch.equal(tensor, state[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".ckpt"])
def test_a_state_dict_comes_back(tmp_path, saved, suffix):
    file = tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        save_file(saved, file)
    else:
        torch.save(saved, file)
    network = networks.plain()
    load_state(network, str(file))
    assert same(network, saved)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_a_state_dict_may_lie_inside_a_checkpoint(tmp_path, saved, key):
    torch.save({key: saved, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "net.pth")
    network = networks.plain()
    load_state(network, str(tmp_path / "net.pth"))
    assert same(network, saved)


def test_the_prefix_of_data_parallel_training_is_taken_off(tmp_path, saved):
    torch.save({"state_dict": {f"module.{key}": tensor for key, tensor in saved.items()}}, tmp_path / "net.pth")
    network = networks.plain()
    load_state(network, str(tmp_path / "net.pth"))
    assert same(network, saved)


def test_a_network_with_a_part_called_module_keeps_its_names(tmp_path):
    network = nn.Sequential()
    network.add_module("module", nn.Linear(2, 2))
    torch.save(network.state_dict(), tmp_path / "net.pth")
    load_state(network, str(tmp_path / "net.pth"))


def test_counters_of_batch_norm_may_be_missing(tmp_path):
    network = nn.BatchNorm2d(2)
    state = {key: tensor + 1 for key, tensor in network.state_dict().items() if key != "num_batches_tracked"}
    save_file(state, tmp_path / "net.safetensors")
    load_state(network, str(tmp_path / "net.safetensors"))
    assert torch.equal(network.weight, state["weight"])


def refused(network, file, state):
    torch.save(state, file)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_state(network, str(file))
    assert same(network, before), "a refused file changes nothing"
    return str(error.value)


def test_the_first_mismatch_of_another_network_is_named(tmp_path, saved):
    file = tmp_path / "net.pth"
    saved["2.weight"], saved["6.weight"] = torch.zeros(8, 6, 5, 5), torch.zeros(1)
    message = refused(networks.plain(), file, saved)
    assert f"{file} is not of this network: '2.weight' is [8, 6, 5, 5], not [8, 6, 3, 3]" in message


def test_a_missing_tensor_is_named_with_the_closest(tmp_path, saved):
    saved["head.weight"] = saved.pop("6.weight")
    assert "it lacks '6.weight'; closest: 2.weight, 0.weight, head.weight" in refused(
        networks.plain(), tmp_path / "net.pth", saved
    )


def test_an_extra_tensor_is_named(tmp_path, saved):
    saved["7.weight"] = torch.zeros(1)
    assert "it has '7.weight', which the network lacks" in refused(networks.plain(), tmp_path / "net.pth", saved)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"a": 1}}])
def test_a_file_without_a_state_dict_says_so(tmp_path, content):
    assert "holds no state dict" in refused(networks.plain(), tmp_path / "net.pth", content)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights file .*absent.pth"):
        read_state(str(tmp_path / "absent.pth"))
    with pytest.raises(FileNotFoundError):
        read_state(str(tmp_path))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin", ""])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>\n", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_text_in_place_of_weights_is_one_clear_line(tmp_path, suffix, content):
    file = tmp_path / f"net{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"net.* cannot be read as weights: .+") as error:
        read_state(str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_half_a_file_is_one_clear_line(tmp_path, saved, suffix):
    file = tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        save_file(saved, file)
    else:
        torch.save(saved, file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be read as weights") as error:
        read_state(str(file))
    assert "\n" not in str(error.value)


class Runs:
    def __reduce__(self):
        return exec, ("raise SystemExit('code from a weights file ran')",)


def test_a_weights_file_runs_no_code(tmp_path):
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Runs(), protocol=2))
    torch.save(Runs(), tmp_path / "zipped.pth")
    torch.save(networks.plain(), tmp_path / "module.pth")
    for name in ("plain", "zipped", "module"):
        with pytest.raises(ValueError, match="cannot be read as weights"):
            read_state(str(tmp_path / f"{name}.pth"))


def test_a_whole_network_is_no_state_dict(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"cannot be read as weights: it holds more than tensors; save net.state_dict"):
        read_state(str(tmp_path / "net.pth"))
