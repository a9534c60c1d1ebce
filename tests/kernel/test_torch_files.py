"""Checkpoints as authors publish them: tensors beside objects of packages that are not installed here."""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import foreign, foreign_lightning, lightning
from torch import nn

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.weights_check import check_weight

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def tensors() -> dict[str, torch.Tensor]:
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "float": base,
        "view": base[1:3, ::2],
        "transposed": base.T,
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "double": base.double(),
        "long": torch.arange(5),
        "bool": torch.tensor([True, False, True]),
        "complex": torch.complex(base, -base),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(torch.ones(2, 2)),
    }


def assert_same(state: dict[str, Any], expected: dict[str, torch.Tensor]) -> None:
    for key, tensor in expected.items():
        assert state[key].dtype == tensor.dtype and state[key].shape == tensor.shape, key
        assert torch.equal(state[key], tensor.detach()), key


@FORMATS
def test_a_lightning_checkpoint_is_read_without_its_configuration(
    tmp_path: Path, zipped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "diffspeaker_hubert_biwi.ckpt"
    with foreign_lightning() as hyperparameters:
        torch.save(lightning(tensors()) | hyperparameters, path, _use_new_zipfile_serialization=zipped)
    content: Any = weights.read_state_dict(path)
    assert_same(content["state_dict"], tensors())
    assert content["epoch"] == 500 and content["callbacks"] and not content["hyper_parameters"]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and len(said) < 300
    assert said.startswith("diffspeaker_hubert_biwi.ckpt: read without its objects, of which no code was run: ")
    assert "omegaconf.dictconfig.DictConfig" in said
    weights.read_state_dict(path)
    assert not capsys.readouterr().err  # said once
    assert not {"omegaconf", "alm", "pytorch_lightning"} & set(sys.modules)


@FORMATS
@pytest.mark.parametrize("kind", ["numpy scalars", "optimizer", "numpy arrays", "types"])
def test_other_objects_beside_tensors(
    tmp_path: Path, zipped: bool, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = nn.Linear(2, 3)
    adam = torch.optim.Adam(model.parameters())
    model(torch.ones(2)).sum().backward()
    adam.step()
    beside = {
        "numpy scalars": {"epoch": np.int64(7), "best": np.float32(0.5), "flag": np.bool_(True), "text": np.str_("a")},
        "optimizer": {"optimizer": adam, "epoch": 7},
        "numpy arrays": {"mean": np.arange(6.0).reshape(2, 3), "objects": np.array([{}, None]), "epoch": 7},
        "types": {"dtype": torch.float16, "device": torch.device("cpu"), "path": Path("a"), "set": {1, 2}, "epoch": 7},
    }[kind]
    torch.save({**beside, "state_dict": model.state_dict()}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    content: Any = weights.read_state_dict(tmp_path / "a.pth")
    assert_same(content["state_dict"], model.state_dict())
    assert content["epoch"] == 7
    if kind == "numpy arrays":
        assert torch.equal(content["mean"], torch.arange(6.0, dtype=torch.float64).reshape(2, 3))
    if kind == "numpy scalars":
        assert content["best"] == 0.5 and content["flag"] is True
    said = capsys.readouterr().err
    assert ("torch.optim.adam.Adam" in said) == (kind == "optimizer")
    check_weight(tmp_path / "a.pth", "a.pth")


@FORMATS
def test_a_whole_pickled_module_gives_its_tensors(tmp_path: Path, zipped: bool) -> None:
    """`torch.save(model)`, of a class that does not exist here."""
    with foreign(authors__net=("Net",)) as names:
        inner = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        model = names["authors.net.Net"]()
        model.__dict__.update(nn.Module().__dict__)
        model._modules = {"layers": inner}
        torch.save(model, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    own = nn.ModuleDict({"layers": nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))})
    resolved = weights.Resolved(weights.entry("syncnet"), "user", tmp_path / "a.pth", "0" * 64)
    weights.load_into(own, resolved)
    for key, tensor in inner.state_dict().items():
        assert torch.equal(own.state_dict()[f"layers.{key}"], tensor)


def test_shared_tensors_share_memory_and_old_dictionaries_are_read(tmp_path: Path) -> None:
    shared = torch.ones(1000)
    torch.save({"p": Path("x"), "a": OrderedDict(x=shared), "b": OrderedDict(x=shared[:10])}, tmp_path / "a.pth")
    content: Any = weights.read_state_dict(tmp_path / "a.pth")
    assert content["a"]["x"].data_ptr() == content["b"]["x"].data_ptr()


@FORMATS
def test_sparse_tensors_beside_objects_are_refused(tmp_path: Path, zipped: bool) -> None:
    content = {"p": Path("x"), "a": torch.eye(3).to_sparse(), "b": torch.eye(3)}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"a\.pth: holds sparse, quantised or other special tensors"):
        weights.read_state_dict(tmp_path / "a.pth")


@FORMATS
def test_damage_at_any_byte_is_one_line(tmp_path: Path, zipped: bool) -> None:
    torch.save({"p": Path("x"), "w": torch.ones(3)}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "a.pth").read_bytes()
    cuts = [whole[:n] for n in range(0, len(whole), 97)]
    flips = [whole[:n] + bytes([whole[n] ^ 0xFF]) + whole[n + 1 :] for n in range(0, len(whole), 11)]
    refused = 0
    for data in cuts + flips:
        (tmp_path / "b.pth").write_bytes(data)
        try:
            weights.read_state_dict(tmp_path / "b.pth")
        except InputError as error:
            refused += 1
            assert "\n" not in str(error) and "b.pth" in str(error)
    assert refused >= len(cuts)
