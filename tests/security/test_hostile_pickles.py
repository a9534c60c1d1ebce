"""Pickles and npy files from anywhere: no name of theirs is imported, no byte becomes a pointer, nothing runs."""

from __future__ import annotations

import pickle
import struct
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
import torch
from scipy.io import savemat

from dawn_bench.baselines.external.matlab import read_matlab
from dawn_bench.baselines.mesh_files import read_mesh
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.functional.meshes import named_region
from dawn_bench.pickles import read_arrays
from dawn_bench.pipelines.meshes.files import read_templates, read_vertices
from dawn_bench.pipelines.meshes.tools import find_regions
from dawn_bench.readers import read_array
from dawn_bench.weights import ENVIRONMENT, read_state_dict


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def raw(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def mapping(value: bytes) -> bytes:
    """A pickle of {"lips": value}."""
    return b"\x80\x04}" + text("lips") + value + b"s."


def dtype(kind: str, state: bytes = b"") -> bytes:
    """numpy.dtype(kind, False, True), then a BUILD with `state`."""
    return name("numpy", "dtype") + b"(" + text(kind) + b"\x89\x88tR" + (state + b"b" if state else b"")


#: (3, "<", None, None, None, -1, -1, 0), as numpy writes it.
LITTLE = b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
EMPTY = name("numpy._core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85" + raw(b"b") + b"\x87R"


def array(
    kind: bytes, data: bytes, shape: Sequence[int] = (2,), *, empty: bytes = EMPTY, order: bytes = b"\x89"
) -> bytes:
    sizes = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in shape) + b"t"
    return empty + b"(K\x01" + sizes + kind + order + raw(data) + b"tb"


POINTERS = struct.pack("<2Q", 0x4141414141414141, 0x4242424242424242)
#: Attacks by what they try.
FORGED = {
    "object pointers": array(dtype("O8"), POINTERS),
    "object pointers behind numbers": array(dtype("f8", LITTLE.replace(b"NNNJ", text("O") + b"NNJ", 1)), POINTERS),
    "fields of objects": array(dtype("V8", LITTLE), POINTERS),
    "several types": array(dtype("O,O"), POINTERS),
    "object of a longer name": array(dtype("object"), POINTERS),
    "text": array(dtype("U2"), POINTERS),
    "a type that is no text": array(name("numpy", "dtype") + b"K\x08\x89\x88\x87R", POINTERS),
    "a class for a type": array(name("numpy", "dtype") + name("numpy", "ndarray") + b"\x85R", POINTERS),
    "fewer bytes than the shape": array(dtype("f8", LITTLE), b"\0" * 8),
    "a huge shape": array(dtype("f8", LITTLE), b"\0" * 16, (2**31 - 1, 2**31 - 1, 2**31 - 1)),
    "a negative shape": array(dtype("f8", LITTLE), b"\0" * 16, (-2, -1)),
    "a shape of texts": EMPTY + b"(K\x01" + text("22") + dtype("f8", LITTLE) + b"\x89" + raw(b"\0" * 32) + b"tb",
    "a scalar of objects": name("numpy.core.multiarray", "scalar") + dtype("O8") + raw(POINTERS[:8]) + b"\x86R",
    "a buffer of objects": (
        name("numpy._core.numeric", "_frombuffer")
        + b"("
        + raw(POINTERS)
        + dtype("O8")
        + b"K\x02\x85"
        + text("C")
        + b"tR"
    ),
    "an array of its own class": array(
        dtype("f8", LITTLE), b"\0" * 16, empty=EMPTY.replace(name("numpy", "ndarray"), name("numpy", "dtype"))
    ),
    "an array that is never filled": EMPTY,
    "state set on a name": name("numpy", "ndarray") + b"}" + text("make") + b"Nsb",
    "attributes set on an array": EMPTY + b"N}" + text("array") + dtype("f8") + b"s\x86b",
    "attributes set on a type": dtype("f8", b"}" + text("dtype") + text("O8") + b"s"),
    "items set on an array": EMPTY + b"(" + text("array") + b"Nu",
    "an instance of a name": name("numpy", "ndarray") + b")\x81",
    "a name by its dots": name("numpy", "ndarray.__class__"),
    "a registered extension": b"\x82\x01",
    "a persistent id": b"K\x01Q",
    "its own type by reference": array(dtype("f8", LITTLE) + b"\x94", b"\0" * 16) + b"0h\x00",
}
#: Names that an importer of `numpy.*` or of builtins would reach.
NAMES = (
    "numpy.f2py.__main__ main", "numpy.testing._private.utils runstring", "numpy.ctypeslib load_library", "numpy load",
    "numpy fromfile", "numpy memmap", "numpy save", "numpy.lib.format read_array", "numpy.core.multiarray fromstring",
    "builtins eval", "builtins exec", "builtins getattr", "builtins __import__", "os system", "posix system",
    "copyreg _reconstructor", "numpy.random._pickle __bit_generator_ctor", "_codecs lookup", "functools partial",
    "torch.storage _load_from_bytes",
    "dawn_bench.pickles read_arrays", "numpy ndarray.fromfile", "numpy.core.multiarray _reconstruct.__globals__",
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "FLAME_masks.pkl"


def test_the_hand_written_pickles_are_good_but_for_the_attack(path: Path) -> None:
    path.write_bytes(mapping(array(dtype("i8", LITTLE), struct.pack("<2q", 3, 5))))
    np.testing.assert_array_equal(read_arrays(path)["lips"], [3, 5])


@pytest.mark.parametrize("attack", FORGED)
def test_forged_arrays_are_refused(path: Path, attack: str) -> None:
    path.write_bytes(mapping(FORGED[attack]))
    for read in (read_arrays, read_templates, lambda file: find_regions({file.name: file}, vertices=9)):
        with pytest.raises(InputError, match=r"FLAME_masks\.pkl") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("container", [b"}", b"\x8f("], ids=["mapping", "set"])
def test_a_short_pickle_of_endless_tuples_ends(path: Path, container: bytes) -> None:
    """Each tuple holds the one before twice: hashing 60 of them visits more of them than anybody has time for."""
    bomb = b"K\x01" + b"".join(b"q\x01h\x01\x86" for _ in range(60))
    path.write_bytes(b"\x80\x04" + container + bomb + (b"K\x01s." if container == b"}" else b"\x90."))
    with pytest.raises(InputError, match=r"nests tuples|has objects that no array needs"):
        read_arrays(path)


@pytest.mark.parametrize("wanted", NAMES)
def test_no_other_name_is_imported_or_called(path: Path, wanted: str) -> None:
    module, attribute = wanted.split()
    before = set(sys.modules)
    call = name(module, attribute) + b"(" + text("touch exploded") + b"tR"
    for content in (call, array(dtype("f8", LITTLE), b"\0" * 16, empty=call)):
        path.write_bytes(mapping(content))
        with pytest.raises(InputError, match="was not loaded"):
            read_arrays(path)
    assert set(sys.modules) == before and not Path("exploded").exists()


def test_a_name_of_control_characters_is_one_line(path: Path) -> None:
    path.write_bytes(mapping(name("os\nerror: \x1b[2J" + 500 * "x", "system")))
    with pytest.raises(InputError) as caught:
        read_arrays(path)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value) and len(str(caught.value)) < 400


def test_groups_of_vertices_are_whole_numbers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(path.parent))
    path = path.parent / "regions" / path.name
    path.parent.mkdir()
    path.write_bytes(pickle.dumps({"lips": np.array([1.5, float("nan")])}))
    with pytest.raises(InputError, match="whole numbers"):
        named_region("vocaset", "lips", n_vertices=9)
    path.write_bytes(pickle.dumps({"lips": np.array([[5, 3], [3, 1]], np.uint32)}))
    np.testing.assert_array_equal(named_region("vocaset", "lips", n_vertices=9), [1, 3, 5])


class _Touch:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("exploded"),)


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + data


@pytest.mark.parametrize(
    "data",
    [
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps([_Touch()])),
        npy("{'descr': [('x', '|O')], 'fortran_order': False, 'shape': (1,), }", pickle.dumps([_Touch()])),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }", b"\0" * 16),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,), }", b"\0" * 16),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 4), }", b"\0" * 4),
        npy("{'descr': __import__('os').system('touch exploded'), 'fortran_order': False, 'shape': (1,), }"),
        npy("{'descr': '<f4', 'shape': ("), npy("(" * 3000),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': 4}"),
        pickle.dumps(_Touch()), b"PK\x03\x04", b"",
    ],
    ids=range(12),
)  # fmt: skip
def test_forged_npy_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    truth = Clip("a", "s", "test", 1, {"template": np.zeros((1, 4, 3), np.float32)}, 25)
    with pytest.raises(ItemError):
        read_mesh(path, truth)
    with pytest.raises(ItemError):
        read_vertices(path, vertices=4)
    assert not Path("exploded").exists()


def test_an_archive_or_a_pipe_is_no_npy_file(tmp_path: Path) -> None:
    import os

    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    os.mkfifo(tmp_path / "b.npy")
    for name in ("a.npy", "b.npy", "none.npy"):
        with pytest.raises(ValueError, match=r"archive|not a regular file|absent"):
            read_array(tmp_path / name)


def test_checkpoints_hold_tensors_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects, TorchScript and other suffixes: what could run code is refused, whatever the file is called."""
    monkeypatch.chdir(tmp_path)

    torch.save({"a": _Touch()}, tmp_path / "objects.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Touch()))
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    for path in ("objects.pth", "plain.pth", "script.pt"):
        for suffix in (".pth", ".ckpt", ".safetensors", ".pt", ""):
            renamed = tmp_path / f"renamed-{Path(path).stem}{suffix}"
            renamed.write_bytes((tmp_path / path).read_bytes())
            with pytest.raises(InputError, match="was not loaded"):
                read_state_dict(renamed)
    assert not Path("exploded").exists()


def _nested(size: int) -> bytes:
    """A frozenset of two tuples of a frozenset of ...: a key that takes years to compare or to print."""
    pairs = b"".join(b"(h\x01K\x00\x86h\x01K\x01\x86\x91q\x010" for _ in range(size))
    return b"\x80\x04}(K\x01\x91q\x010" + pairs + b"h\x01Ns."


def _often(count: int, *, size: int = 1 << 16) -> bytes:
    """`count` arrays of the same bytes."""
    values = dtype("u1", LITTLE) + b"q\x010" + raw(bytes(size)) + b"q\x020"
    shape = b"J" + struct.pack("<i", size) + b"\x85"
    call = name("numpy._core.numeric", "_frombuffer") + b"(h\x02h\x01" + shape + text("C") + b"tR"
    return b"\x80\x04" + values + b"}(" + b"".join(text(str(k)) + call for k in range(count)) + b"u."


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x05\x96" + struct.pack("<Q", 4 << 30) + b"abc.",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b"abc.",
        _nested(60),
        _often(3000),
        b"\x80\x04}K\x01" + array(dtype("u1", LITTLE), b"ab") + b"s.",
        b"\x80\x04}\x89" + array(dtype("u1", LITTLE), b"ab") + b"s.",
    ],
    ids=["bytearray", "endless-bytearray", "sets-of-sets", "one-array-often", "number-as-name", "truth-as-name"],
)
def test_a_small_pickle_takes_little_memory_and_time(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"FLAME_masks\.pkl"):
        read_arrays(path)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol_are_read(path: Path, protocol: int) -> None:
    arrays = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": np.asfortranarray(np.eye(3, dtype=np.float32))}
    path.write_bytes(pickle.dumps(arrays, protocol=protocol))
    for key, value in read_arrays(path).items():
        np.testing.assert_array_equal(value, arrays[key])
        assert value.dtype == arrays[key].dtype and value.flags.writeable


def _rezipped(path: Path, edit: Callable[[ZipFile, str, bytes], None]) -> Path:
    torch.save({"a": torch.zeros(4)}, path)
    with ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with ZipFile(path, "w") as archive:
        for entry, data in entries.items():
            edit(archive, entry, data)
    return path


CHECKPOINTS: dict[str, Callable[[ZipFile, str, bytes], None]] = {
    "deflated": lambda z, n, d: z.writestr(n, d if n.endswith(".pkl") else bytes(50_000_000), ZIP_DEFLATED),
    "deflated pickle": lambda z, n, d: z.writestr(n, d, ZIP_DEFLATED if n.endswith(".pkl") else ZIP_STORED),
    "twice": lambda z, n, d: [z.writestr(n, d) for _ in range(2)] and None,
    "bytearray": lambda z, n, d: z.writestr(
        n, b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R." if n.endswith("data.pkl") else d
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_checkpoint_takes_no_more_memory_than_it_has_bytes(tmp_path: Path, kind: str) -> None:
    path = _rezipped(tmp_path / "a.pt", CHECKPOINTS[kind])
    with pytest.raises(InputError, match=r"a\.pt: is damaged or no checkpoint; it was not loaded"):
        read_state_dict(path)
    plain = _rezipped(tmp_path / "b.pt", lambda archive, name, data: archive.writestr(name, data))
    assert torch.equal(read_state_dict(plain)["a"], torch.zeros(4))


def test_a_damaged_matlab_file_ends_no_run(tmp_path: Path) -> None:
    """scipy's reader crashes the interpreter on some of them, so it runs in a process of its own."""
    path = tmp_path / "pose.mat"
    savemat(path, {"coeff": np.arange(12.0).reshape(4, 3), "text": "x", "cells": np.array([[1, "a"]], object)})
    np.testing.assert_array_equal(read_matlab(path, ["coeff", "absent"])["coeff"], np.arange(12.0).reshape(4, 3))
    for keys in (["absent"], ["text"], ["cells"]):
        with pytest.raises(InputError, match=rf"pose\.mat: has none of {keys[0]}"):
            read_matlab(path, keys)
    whole = path.read_bytes()
    for k, (place, byte) in enumerate([(128, 0), (129, 255), (132, 255), (140, 7), (150, 255), (len(whole) // 2, 255)]):
        path.write_bytes(whole[:place] + bytes([byte]) * 3 + whole[place + 3 :])
        with suppress(InputError):  # some damage only changes numbers
            assert set(read_matlab(path, ["coeff"])) == {"coeff"}, k
    for data in (b"", b"MATLAB", whole[:150], whole[:60] + bytes(9)):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"pose\.mat: cannot be read as a MATLAB file\. Write it again"):
            read_matlab(path, ["coeff"])
