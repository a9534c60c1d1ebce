"""Checkpoints from anywhere: objects in them run nothing, import nothing and change nothing, in either format."""

from __future__ import annotations

import copyreg
import encodings.cp437  # noqa: F401, zipfile imports it for the first archive, which must not count as the attack's
import pickle
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.inert import Builder, Placeholder
from dawn_bench.readers import read_torch
from dawn_bench.state_dicts import fit, has_tensors
from dawn_bench.torch_files import read_tensors
from dawn_bench.weights_check import check_weight


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


STORAGE = b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + number(4) + b"tQ"


def tensor(
    *, storage: bytes = STORAGE, first: int = 0, shape: tuple[int, ...] = (4,), strides: tuple[int, ...] = (1,)
) -> bytes:
    sizes, steps = (b"(" + b"".join(number(n) for n in part) + b"t" for part in (shape, strides))
    call = name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + number(first) + sizes + steps
    return call + b"\x89" + name("collections", "OrderedDict") + b")RtR"


def checkpoint(path: Path, value: bytes, *, numbers: bytes = struct.pack("<4f", 1, 2, 3, 4)) -> Path:
    """A zip archive whose pickle is {"w": a tensor, "p": a path, "x": value}; the path makes PyTorch refuse it."""
    foreign = name("pathlib", "PosixPath") + b")R"
    content = b"\x80\x04}(" + text("w") + tensor() + text("p") + foreign + text("x") + value + b"u."
    with ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", content)
        archive.writestr("a/byteorder", "little")
        archive.writestr("a/data/0", numbers)
        archive.writestr("a/version", "3\n")
    return path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hostile.ckpt"


def test_the_hand_written_checkpoint_is_good_but_for_the_attack(path: Path) -> None:
    content: Any = weights.read_state_dict(checkpoint(path, tensor(first=1, shape=(2,), strides=(2,))))
    assert content["w"].tolist() == [1, 2, 3, 4] and content["x"].tolist() == [2, 4]
    assert set(content) == {"w", "x"}


TOUCH = b"(" + text("touch exploded") + b"t"
#: Ways to call or change what a name stands for.
WAYS: dict[str, Callable[[str, str], bytes]] = {
    "call": lambda m, a: name(m, a) + TOUCH + b"R",
    "new": lambda m, a: name(m, a) + TOUCH + b"\x81",
    "new with names": lambda m, a: name(m, a) + TOUCH + b"}\x92",
    "instance": lambda m, a: b"(" + text("touch exploded") + f"i{m}\n{a}\n".encode(),
    "object": lambda m, a: b"(" + name(m, a) + text("touch exploded") + b"o",
    "state": lambda m, a: name(m, a) + b"}" + text("exploded") + b"\x88sb",
    "state of an instance": lambda m, a: name(m, a) + b")\x81}" + text("__class__") + name(m, a) + b"sb",
    "slots": lambda m, a: name(m, a) + b")\x81N}" + text("exploded") + b"\x88s\x86b",
    "item": lambda m, a: name(m, a) + text("exploded") + b"\x88s",
    "items": lambda m, a: name(m, a) + b"(" + text("exploded") + b"\x88u",
    "append": lambda m, a: name(m, a) + b"]" + text("touch exploded") + b"aa",
    "appends": lambda m, a: name(m, a) + b"(" + text("touch exploded") + b"e",
    "add": lambda m, a: name(m, a) + b"(" + text("touch exploded") + b"\x90",
    "constructor": lambda m, a: name("copyreg", "_reconstructor") + b"(" + name(m, a) * 2 + b"NtR",
    "ordered": lambda m, a: name("collections", "OrderedDict") + b"(" + name(m, a) + TOUCH + b"R" + b"tR",
    "default": lambda m, a: name("collections", "defaultdict") + b"(" + name(m, a) + b"tR" + text("k") + b"Ns",
}
NAMES = (
    "os system", "posix system", "builtins eval", "builtins exec", "builtins getattr", "builtins __import__",
    "subprocess Popen", "torch load", "torch.storage _load_from_bytes", "torch.hub load", "torch.jit load",
    "torch._utils _rebuild_device_tensor_from_numpy", "pathlib Path", "functools partial", "antigravity fly",
    "dawn_bench.inert Placeholder", "dawn_bench.readers read_torch", "numpy fromfile", "numpy.testing _private",
    "torch FloatStorage", "torch float32", "torch._utils _rebuild_tensor_v2", "collections OrderedDict", "torch Size",
)  # fmt: skip


@pytest.mark.parametrize("wanted", NAMES)
def test_no_name_is_imported_called_or_changed(path: Path, wanted: str) -> None:
    module, attribute = wanted.split()
    real = getattr(sys.modules.get(module), attribute.split(".")[0], None)
    facts = dict(vars(real)) if hasattr(real, "__dict__") else None
    for way, attack in WAYS.items():
        before = set(sys.modules)
        try:
            content, _ = read_tensors(checkpoint(path, attack(module, attribute)))
        except (ValueError, TypeError):
            continue  # a builder that was given nonsense
        assert content["w"].tolist() == [1, 2, 3, 4], way
        assert type(content.get("x")) in (type(None), dict, Placeholder, tuple, torch.Tensor, list), way
        assert set(sys.modules) == before and not Path("exploded").exists(), way
        assert facts is None or dict(vars(real)) == facts, way


def test_torchscript_is_refused_without_pytorchs_advice_to_run_it(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    class Same(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    torch.jit.save(torch.jit.script(Same()), tmp_path / "packed.pt")
    with ZipFile(tmp_path / "packed.pt") as packed, ZipFile(tmp_path / "script.pt", "w") as stored:
        for entry in packed.namelist():
            stored.writestr(entry, packed.read(entry))
    with pytest.raises(InputError, match="is TorchScript, which runs code"):
        read_torch(tmp_path / "script.pt", skip_objects=True)
    assert not [w for w in recwarn if "TorchScript archive" in str(w.message)]


@pytest.mark.parametrize("way", ["attribute", "class", "item", "append", "state", "slots"])
def test_tensors_and_builders_cannot_be_changed(path: Path, way: str) -> None:
    changes = {
        "attribute": b"}" + text("grad_fn") + b"\x88sb",
        "class": b"}" + text("__class__") + name("os", "system") + b"sb",
        "item": b"K\x00K\x07s",
        "append": b"K\x07a",
        "state": b"(K\x01tb",
        "slots": b"N}" + text("data") + b"Ns\x86b",
    }
    content, _ = read_tensors(checkpoint(path, tensor() + changes[way]))
    assert type(content["x"]) is torch.Tensor and content["x"].tolist() == [1, 2, 3, 4]
    for target in (name("torch._utils", "_rebuild_tensor_v2"), name("torch", "float32"), name("collections", "deque")):
        read_tensors(checkpoint(path, target + changes[way]))
    assert not hasattr(Builder, "grad_fn") and not hasattr(Placeholder, "grad_fn")


def test_registered_extensions_are_not_looked_up(path: Path) -> None:
    """Python keeps the objects of extensions in a cache, from which its own unpickler takes them."""
    copyreg.add_extension("os", "system", 77)
    try:
        for code in (b"\x82\x4d", b"\x83\x4d\x00", b"\x84\x4d\x00\x00\x00"):
            content, _ = read_tensors(checkpoint(path, code + TOUCH + b"R"))
            assert "x" not in content and not Path("exploded").exists()
    finally:
        copyreg.remove_extension("os", "system", 77)


def persistent(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"tQ"


KIND = name("torch", "FloatStorage")
#: Tensors that would read or take memory outside of the file.
FORGED = {
    "behind the end": tensor(first=1),
    "far behind the end": tensor(first=1 << 62),
    "before the start": tensor(first=-1),
    "negative stride": tensor(strides=(-1,)),
    "negative length": tensor(shape=(-4,)),
    "expanded": tensor(shape=(1 << 40,), strides=(0,)),
    "huge": tensor(shape=(1 << 31, 1 << 31, 1 << 31), strides=(0, 0, 0)),
    "strides of another length": tensor(strides=(1, 1)),
    "many axes": tensor(shape=(1,) * 5000, strides=(1,) * 5000),
    "wide type": tensor(storage=STORAGE.replace(b"FloatStorage", b"FloatSt0rage")),
    "no storage": tensor(storage=b"N"),
    "name for a storage": tensor(storage=KIND),
    "another size": tensor(storage=persistent(text("storage"), KIND, text("0"), text("cpu"), number(1 << 50))),
    "negative size": tensor(storage=persistent(text("storage"), KIND, text("0"), text("cpu"), number(-4))),
    "unknown key": tensor(storage=persistent(text("storage"), KIND, text("9"), text("cpu"), number(4))),
    "key outside": tensor(storage=persistent(text("storage"), KIND, text("../data.pkl"), text("cpu"), number(4))),
    "key of no text": tensor(storage=persistent(text("storage"), KIND, b"N", text("cpu"), number(4))),
    "type called": tensor(storage=persistent(text("storage"), KIND + b")R", text("0"), text("cpu"), number(4))),
    "view outside": tensor(
        storage=persistent(
            text("storage"), KIND, text("0"), text("cpu"), number(4), persistent(text("v"), number(2), number(9))[:-1]
        )
    ),
    "buffer from outside": b"\x97",
    "sparse": name("torch._utils", "_rebuild_sparse_tensor") + b")R",
    "nothing left": b"0" * 9,
    "cut short": b"X\xff\xff\xff\x7f",
    "huge bytes": b"\x8e" + struct.pack("<Q", 1 << 62),
    "huge bytearray": b"\x96" + struct.pack("<Q", 1 << 40),
    "huge frame": b"\x95" + struct.pack("<Q", 1 << 62),
}


@pytest.mark.parametrize("attack", FORGED)
def test_forged_tensors_are_refused_in_one_line(path: Path, attack: str) -> None:
    checkpoint(path, FORGED[attack])
    tracemalloc.start()
    with pytest.raises(InputError, match=r"hostile\.ckpt: .*it was not loaded") as caught:
        weights.read_state_dict(path)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert "\n" not in str(caught.value)


def repeated(count: int) -> bytes:
    """A dictionary of 1,000 entries, copied `count` times."""
    entries = b"](" + b"".join(text(str(n)) + number(n) + b"\x86" for n in range(1000)) + b"e"
    copy = name("collections", "OrderedDict") + b"(h\x07tR"
    return b"](" + entries + b"q\x07" + copy * count + b"e"


BOMBS = {
    "tuples of tuples as a key": b"}" + b"K\x01" + b"".join(b"q\x07h\x07\x86" for _ in range(60)) + b"Ns",
    "tuples of tuples in a dictionary": b"(" + b"K\x01" + b"".join(b"q\x07h\x07\x86" for _ in range(60)) + b"Nd",
    "sets of sets": b"K\x01q\x07" + b"".join(b"0(h\x07K\x00\x86h\x07K\x01\x86\x91q\x07" for _ in range(60)),
    "dictionaries of dictionaries": b"N" + b"".join(b"q\x07}(K\x01h\x07K\x02h\x07u" for _ in range(60)),
    "named dictionaries": (
        b"N" + b"".join(b"q\x070}(" + text("a") + b"h\x07" + text("b") + b"h\x07u" for _ in range(60))
    ),
    "a cycle": b"}q\x07" + text("self") + b"h\x07s",
    "deep lists": b"](" * 20_000 + b"e" * 20_000,
    "deep dictionaries": b"}(" + b"".join(text("a") + b"}(" for _ in range(20_000)) + b"u" * 20_001,
    "long names": b"}(" + b"".join(text("a" * 5000) + b"}(" for _ in range(30)) + text("w") + tensor() + b"u" * 31,
    "copies": repeated(20_000),
    "large keys": b"}(\x8b" + struct.pack("<I", 1 << 20) + b"\x01" * (1 << 20) + b"q\x07N" + b"h\x07N" * 50_000 + b"u",
}


@pytest.mark.parametrize("attack", BOMBS)
def test_a_short_file_takes_little_time_and_memory(path: Path, attack: str) -> None:
    checkpoint(path, BOMBS[attack])
    tracemalloc.start()
    start = time.process_time()
    try:
        content: Any = weights.read_state_dict(path)
        assert content["w"].tolist() == [1, 2, 3, 4] and has_tensors(content)
        assert fit(content, ("w",))["w"].tolist() == [1, 2, 3, 4]
        check_weight(path, "a.pth")
    except InputError as error:
        assert "\n" not in str(error)
    assert tracemalloc.get_traced_memory()[1] < 300e6
    tracemalloc.stop()
    assert time.process_time() - start < 120  # years otherwise


def test_a_name_of_control_characters_is_shown_escaped(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights.read_state_dict(checkpoint(path, name("os\nerror: \x1b[2J" + 500 * "x", "system") + TOUCH + b"R"))
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "\x1b" not in said and len(said) < 300


class _Touch:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_written_attacks_leave_the_tensors_beside_them(path: Path, zipped: bool) -> None:
    content = {"state_dict": {"w": torch.ones(3), "extra": _Touch()}, _Touch: 1, "optimizer": [_Touch(), {2: _Touch()}]}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert torch.equal(fit(weights.read_state_dict(path), ("w",))["w"], torch.ones(3))
    assert not Path("exploded").exists()


def test_a_legacy_file_whose_storages_are_missing_or_larger_is_refused(path: Path) -> None:
    torch.save({"p": Path("x"), "w": torch.ones(50)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    at = whole.rindex(struct.pack("<q", 50))
    for data in (
        whole[:at] + struct.pack("<q", 51) + whole[at + 8 :],
        whole[:at] + struct.pack("<q", -1) + whole[at + 8 :],
        whole[:-8],
        whole.replace(b"K2", b"K3", 1),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match="it was not loaded"):
            weights.read_state_dict(path)


def test_training_states_and_mapped_files_stay_strict(path: Path) -> None:
    from dawn_bench.readers import DamageError, read_torch

    torch.save({"step": 3, "p": Path("x"), "w": torch.ones(3)}, path)
    with pytest.raises(DamageError, match="could run code"):
        read_torch(path)
