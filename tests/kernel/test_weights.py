"""The weights registry: which file fills a network, how its number counts, stand-ins that never change."""

from __future__ import annotations

import hashlib
import io
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.weights_table import WEIGHTS

NAME = "vgg19"
DATA = b"not really a network"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> weights.Weight:
    """The registry with `DATA` as the published file of one entry."""
    entry = replace(weights.entry(NAME), sha256=hashlib.sha256(DATA).hexdigest(), url="https://example.org/file.pth")
    monkeypatch.setattr(weights, "WEIGHTS", [entry if w.name == NAME else w for w in WEIGHTS])
    return entry


def test_the_file_decides_the_state(published: weights.Weight, folder: Path) -> None:
    assert weights.resolve(NAME).state == "seeded" and weights.resolve(NAME).path is None
    folder.mkdir()
    (folder / published.file).write_bytes(DATA)
    found = weights.resolve(NAME)
    assert found.state == "canonical" and found.path == folder / published.file
    assert weights.resolve(NAME).identity == found.identity  # by the remembered hash
    assert weights.resolve(NAME, "seeded").state == "seeded"
    (folder / published.file).write_bytes(DATA + b"!")
    assert weights.resolve(NAME).state == "user" and weights.resolve(NAME).identity != found.identity


def test_files_only_refuses_the_stand_in_and_says_where_to_put_the_file(folder: Path) -> None:
    with pytest.raises(InputError, match=f"{folder}.*missing.*weights fetch {NAME}"):
        weights.resolve(NAME, "files")
    with pytest.raises(InputError, match="no weights called 'vgg91'"):
        weights.resolve("vgg91")


def test_stand_ins_depend_on_key_and_salt_alone() -> None:
    one, two = (torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)) for _ in range(2))
    weights.seeded_fill(one, salt="a/")
    weights.seeded_fill(two, salt="a/")
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    weights.seeded_fill(two, salt="b/")
    assert not torch.equal(one[0].weight, two[0].weight)
    assert (one[1].running_var > 0).all()
    wide = weights.seeded_array("k.weight", (400, 100), gain=2)
    assert wide.dtype == np.float32 and wide.std() == pytest.approx(0.2, rel=0.02)


def test_a_file_fills_the_network_and_one_that_does_not_fit_is_named(folder: Path) -> None:
    path = folder.parent / "net.safetensors"
    net = torch.nn.Linear(2, 3)
    save_file({"w": torch.ones(3, 2), "bias": torch.zeros(3)}, path)
    resolved = weights.Resolved(weights.entry(NAME), "user", path, "0")
    weights.load_into(net, resolved, adapt=lambda s: {"weight": s["w"], "bias": s["bias"]})
    assert (net.weight == 1).all()
    with pytest.raises(InputError, match="does not fit") as caught:
        weights.load_into(net, resolved)
    assert "\n" not in str(caught.value)


def test_unsafe_damaged_and_absent_files_are_refused(folder: Path) -> None:
    folder.mkdir()
    torch.save({"code": Path("x")}, folder / "unsafe.pth")
    (folder / "damaged.pth").write_bytes(b"PK\x03\x04")
    (folder / "damaged.safetensors").write_bytes(b"\x08")
    with pytest.raises(InputError, match="could run code"):
        weights.read_state_dict(folder / "unsafe.pth")
    for name in ("damaged.pth", "damaged.safetensors"):
        with pytest.raises(InputError, match="damaged"):
            weights.read_state_dict(folder / name)
    for name in ("absent.pth", "absent.safetensors"):
        with pytest.raises(InputError, match="no such checkpoint"):
            weights.read_state_dict(folder / name)


def test_added_files_are_known_by_hash_then_by_name(published: weights.Weight, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "any.bin").write_bytes(DATA)
    assert weights.add(tmp_path / "any.bin").state == "canonical"
    (tmp_path / published.file).write_bytes(b"mine")
    assert weights.add(tmp_path / published.file).state == "user"
    (tmp_path / "strange.bin").write_bytes(b"strange")
    with pytest.raises(InputError, match="none of the registry's files"):
        weights.add(tmp_path / "strange.bin")
    assert weights.add(tmp_path / "strange.bin", NAME).path == folder / published.file
    with pytest.raises(InputError, match="no such file"):
        weights.add(tmp_path / "absent.bin")


class _Answer(io.BytesIO):
    headers: dict[str, str] = {}  # noqa: RUF012


def test_downloads_are_checked_and_leave_nothing_half_done(
    published: weights.Weight, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: _Answer(DATA))
    assert weights.download(NAME).state == "canonical"
    (folder / published.file).unlink()
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: _Answer(DATA[:-1]))
    with pytest.raises(InputError, match="it was deleted"):
        weights.download(NAME)

    def offline(url: str, timeout: int) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(InputError, match=r"could not be downloaded.*weights add"):
        weights.download(NAME)
    assert not [p for p in folder.iterdir() if "sha256" not in p.name]


def test_every_entry_says_what_a_person_needs() -> None:
    assert len({w.name for w in WEIGHTS}) == len({w.file for w in WEIGHTS}) == len(WEIGHTS)
    for weight in WEIGHTS:
        assert weight.purpose and weight.origin and weight.licence, weight.name
        assert weight.sha256 is None or len(weight.sha256) == 64, weight.name
