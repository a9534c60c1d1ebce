"""Every limit at one below it, at it, and at one above it."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dawn_bench import (
    errors,
    inert,
    locks,
    names,
    npz,
    packed,
    pickles,
    progress,
    readers,
    state_dicts,
    storage,
    text,
    torch_files,
    weights_folder,
    weights_layouts,
)
from dawn_bench.clip import LARGEST
from dawn_bench.errors import InputError
from dawn_bench.readers import DamageError, finite, shortened, whole


def accepts(use: Callable[[], Any]) -> bool:
    """Whether `use` does without an error."""
    try:
        use()
    except (ValueError, InputError, pickles.Refused):
        return False
    return True


AROUND = [(-1, True), (0, True), (1, False)]


@pytest.mark.parametrize(("more", "good"), AROUND)
def test_a_name_has_at_most_so_many_bytes(more: int, good: bool) -> None:
    assert (names.name_fault("x" * (names.LONGEST + more)) is None) == good
    assert (names.name_fault("é" * (names.LONGEST // 2 - 1) + "x" * (2 + more)) is None) == good


@pytest.mark.parametrize(("digits", "good"), [(4, False), (5, True), (9, True), (10, False)])
def test_a_shard_has_five_to_nine_digits(digits: int, good: bool) -> None:
    assert (names.shard_fault(f"pose/pose-{'0' * digits}.safetensors", field="pose") is None) == good


@pytest.mark.parametrize(("more", "good"), AROUND)
def test_yaml_has_at_most_so_many_values(more: int, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "YAML_VALUES", 40)
    assert accepts(lambda: readers.parse_yaml(f"[{', '.join('1' * (39 + more))}]")) == good  # and the list itself
    half = ", ".join(f"{k}: {k}" for k in range(19))  # the mapping, 19 keys and 19 values
    rest = "" if more < 0 else ", 99: [1]" if more else ", 99: "
    assert accepts(lambda: readers.parse_yaml(f"{{{half}{rest}}}")) == (more < 0)
    assert accepts(lambda: readers.parse_yaml("a: &a [1, 2, 3, 4, 5, 6, 7]\nb: [*a, *a, *a]"))
    assert not accepts(lambda: readers.parse_yaml("a: &a [1, 2, 3, 4, 5, 6, 7]\nb: [*a, *a, *a, *a]"))


@pytest.mark.parametrize(("depth", "good"), [(100, True), (100_000, False)])
def test_json_that_is_nested_too_deeply_is_an_error_of_the_file(depth: int, good: bool, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * depth + "]" * depth)
    assert accepts(lambda: readers.read_json(tmp_path / "a.json", list)) == good


def shard(path: Path, *, header: bytes | None = None, stated: int | None = None, data: int = 8, last: int = 8) -> Path:
    """A safetensors file of one tensor U8 (8,)."""
    entry = {"x": {"dtype": "U8", "shape": [last], "data_offsets": [0, last]}}
    text = json.dumps(entry).encode() if header is None else header
    path.write_bytes(struct.pack("<Q", len(text) if stated is None else stated) + text + b"\1" * data)
    return path


@pytest.mark.parametrize(("more", "good"), AROUND)
def test_the_header_and_data_of_a_shard_lie_within_it(
    more: int, good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    assert accepts(lambda: readers.read_shard_header(shard(path, last=8 + more))) == good
    header, begin = readers.read_shard_header(shard(path))
    assert begin == 8 + len(json.dumps({"x": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}))
    text = b"{}".ljust(50)
    assert accepts(lambda: readers.read_shard_header(shard(path, header=text, data=0, stated=50 + more))) == good
    monkeypatch.setattr(readers, "_HEADER_BYTES", 50 - more)
    assert accepts(lambda: readers.read_shard_header(shard(path, header=text))) == good
    assert header["x"]["shape"] == [8]


def test_a_shard_of_fewer_bytes_than_a_length_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"\0" * 7)
    with pytest.raises(DamageError, match="cut short"):
        readers.read_shard_header(tmp_path / "a.safetensors")


@pytest.mark.parametrize(("more", "good"), AROUND)
def test_tuples_of_pickles_are_flat_and_short(more: int, good: bool) -> None:
    entries = tuple(range(pickles._LONGEST_TUPLE + more))
    for protocol in (2, 4):
        data = pickle.dumps(entries, protocol=protocol)
        assert accepts(pickles._Unpickler(io.BytesIO(data)).load) == good
    assert accepts(pickles._Unpickler(io.BytesIO(pickle.dumps(((1,), (2,))))).load)
    assert not accepts(pickles._Unpickler(io.BytesIO(pickle.dumps((((1,),),)))).load)
    assert inert.is_plain_key(entries) == good
    assert not inert.is_plain_key(((1,),)) and inert.is_plain_key(("a", 1, None, b"x", 0.5, True))


@pytest.mark.parametrize(("bits", "good"), [(63, True), (64, True), (65, False)])
def test_keys_of_foreign_dictionaries_are_small_numbers(bits: int, good: bool) -> None:
    assert inert.is_plain_key(2 ** (bits - 1)) == good and inert.is_plain_key(-(2 ** (bits - 1))) == good


@pytest.mark.parametrize(("more", "good"), [(-1, False), (0, True), (1, True)])
def test_pickled_arrays_have_no_more_bytes_than_the_file(more: int, good: bool, tmp_path: Path) -> None:
    array = np.zeros(400, np.uint8)
    data = pickle.dumps({"a": array, "b": array}, protocol=4)  # which has its bytes once
    (tmp_path / "a.pkl").write_bytes(data.ljust(800 + more))
    assert len(data) < 799 and accepts(lambda: pickles.read_arrays(tmp_path / "a.pkl")) == good


@pytest.mark.parametrize(("side", "good"), [(0, False), (1, True), (LARGEST, True), (LARGEST + 1, False)])
def test_packed_pictures_have_a_side_of_a_cache(side: int, good: bool) -> None:
    offsets = np.array([0, 0])
    assert accepts(lambda: packed.PackedFrames(np.zeros(4, np.uint8), offsets, [side, side, 3])) == good
    assert accepts(lambda: packed.PackedFrames(np.zeros(4, np.uint8), offsets, [64, side, 3])) == good
    bits = np.zeros((1, side, -(-64 // 8)), np.uint8)
    assert accepts(lambda: packed.PackedBits(bits, [side, 64])) == good
    wide = np.zeros((1, 64, -(-side // 8)), np.uint8)
    assert accepts(lambda: packed.PackedBits(wide, [64, side])) == good


@pytest.mark.parametrize(
    ("offsets", "good"),
    [([0, 2, 4], True), ([0, 4, 4], True), ([1, 4], True), ([0, 5], False), ([-1, 4], False), ([0, 3, 2], False),
     ([], False)],
)  # fmt: skip
def test_packed_frames_lie_one_after_another_within_their_bytes(offsets: list[int], good: bool) -> None:
    bytes_of, places = np.zeros(4, np.uint8), np.array(offsets, np.int64)
    assert accepts(lambda: packed.PackedFrames(bytes_of, places, [8, 8, 3])) == good


@pytest.mark.parametrize(("more", "good"), AROUND)
def test_an_array_of_an_archive_has_at_most_so_many_bytes(more: int, good: bool, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(10))
    size = zipfile.ZipFile(tmp_path / "a.npz").getinfo("x.npy").file_size
    assert accepts(lambda: npz.read_npz(tmp_path / "a.npz", ["x"], max_bytes=size - more)) == good


@pytest.mark.parametrize(("more", "good"), AROUND)
def test_an_array_of_an_archive_is_not_longer_than_its_file(more: int, good: bool, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(10 + more, np.uint8))
    data = buffer.getvalue()[: len(buffer.getvalue()) - max(0, more)]
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", data)
    assert accepts(lambda: npz.read_npz(tmp_path / "a.npz", ["x"], max_bytes=10_000)) == good


def _stored(length: int = 6) -> Any:
    return torch_files._Storage(torch.float32, torch.arange(24, dtype=torch.uint8), 0, length)


@pytest.mark.parametrize(("more", "good"), AROUND)
def test_a_tensor_lies_within_its_storage(more: int, good: bool) -> None:
    assert accepts(lambda: torch_files._tensor(_stored(), 3, (3 + more,), (1,))) == good
    assert accepts(lambda: torch_files._tensor(_stored(), 1 + more, (2, 2), (3, 2))) == (more <= -1)
    assert accepts(lambda: torch_files._tensor(_stored(), 0, (6 + more,), (0,))) == good  # of one number
    axes = torch_files._MOST_AXES + more
    assert accepts(lambda: torch_files._tensor(_stored(), 0, (1,) * axes, (1,) * axes)) == good


@pytest.mark.parametrize(
    ("first", "size", "good"), [(0, 6, True), (2, 4, True), (6, 0, True), (2, 5, False), (-1, 2, False)]
)
def test_a_part_of_a_storage_lies_within_it(first: int, size: int, good: bool) -> None:
    class Reader(torch_files._Reader):
        def storage(self, key: str, dtype: torch.dtype, count: int) -> Any:
            return torch_files._Storage(dtype, torch.zeros(24, dtype=torch.uint8), 0, count)

    reader = Reader.__new__(Reader)
    reader.storages = {}
    kind = inert.Builder("torch.FloatStorage", torch_files._AsType(torch.float32))
    pid = ("storage", kind, "0", "cpu", 6, ("1", first, size))
    assert accepts(lambda: reader.persistent(pid)) == good
    if good:
        part = reader.persistent(pid)
        assert (part.first, part.length) == (first, size)


@pytest.mark.parametrize(("more", "good"), AROUND)
def test_tensors_of_a_file_take_no_more_memory_than_it_has_bytes(more: int, good: bool) -> None:
    reader = torch_files._Legacy.__new__(torch_files._Legacy)
    reader.left, reader.data = 40, b"x" * 40  # type: ignore[assignment]
    reader.allocate(torch.float32, 4)
    assert accepts(lambda: reader.allocate(torch.uint8, 24 + more)) == good
    target = torch_files._Storage(torch.uint8, torch.zeros(8, dtype=torch.uint8), 0, 8)
    assert accepts(lambda: reader.fill(target, 32 + more)) == good
    assert not accepts(lambda: reader.fill(target, -1))


@pytest.mark.parametrize(("more", "good"), AROUND)
def test_tensors_are_looked_for_so_deep_and_under_names_so_long(more: int, good: bool) -> None:
    content: Any = {"x": torch.ones(1)}
    for _ in range(state_dicts._DEPTH + more):
        content = {"a": content}
    assert bool(state_dicts._parts(content, ())) == good
    assert bool(state_dicts._parts({"x" * (state_dicts._LENGTH + more): torch.ones(1)}, ())) == good


@pytest.mark.parametrize(("more", "good"), AROUND)
def test_a_folder_of_weights_has_at_most_so_many_files(
    more: int, good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_folder, "_MOST", 3)
    for k in range(3 + more):
        (tmp_path / f"{k}.txt").touch()
    assert accepts(lambda: weights_folder.add_folder(tmp_path)) == good


@pytest.mark.parametrize(("length", "limit", "shown"), [(9, 10, "x" * 9), (10, 10, "x" * 10), (11, 10, "xxxxxxx...")])
def test_texts_are_cut_beyond_the_limit_only(length: int, limit: int, shown: str) -> None:
    assert shortened("x" * length, limit) == shown and len(shortened("x" * length, limit)) <= limit
    assert len(shortened("x" * 121)) == 120 == len(shortened("x" * 120)) and shortened("x" * 120)[-1] == "x"


@pytest.mark.parametrize(
    ("count", "shown"), [(2, "a, b"), (3, "a, b, c"), (4, "a, b, c and 1 more"), (5, "a, b, c and 2 more")]
)
def test_lists_are_counted_beyond_the_limit_only(count: int, shown: str) -> None:
    assert text.few(list("abcde")[:count]) == shown


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_hints_list_all_names_where_they_are_few(more: int) -> None:
    known = [f"metric{k:03}" for k in range(errors.FEW + more)]
    assert ("Known:" in errors.nearest("metric00", known)) == (more <= 0)
    far = [f"metric{k:03}" for k in range(errors.MOST + more)]
    hint = errors.nearest("zzzzzzzzz", far)
    assert hint.endswith(", ..." if more > 0 else ".") and hint.count("metric") == min(len(far), errors.MOST)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (0, True),
        (-1, False),
        (2**62, True),
        (2**62 + 1, False),
        (True, False),
        (1.0, False),
        ("1", False),
        (None, False),
    ],
)
def test_whole_numbers_of_files_have_bounds(value: object, good: bool) -> None:
    assert whole(value) == good
    assert [whole(n, least=1, most=3) for n in range(5)] == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("value", "good"),
    [(0, True), (-1e299, True), (1e300, False), (float("nan"), False), (float("inf"), False), (True, False),
     (10**400, False), ("1", False)],
)  # fmt: skip
def test_numbers_of_files_are_finite(value: object, good: bool) -> None:
    assert finite(value) == good


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
@pytest.mark.parametrize(("links", "full"), [(0, True), (7, True), (8, False)])
def test_a_full_disk_is_looked_for_in_eight_errors(links: int, full: bool, link: str) -> None:
    """Also behind an error that arose while it was handled, as that of a library's `close`."""
    error: BaseException = OSError(28, "No space left on device")
    for _ in range(links):
        outer = RuntimeError("while writing")
        setattr(outer, link, error)
        error = outer
    assert (storage.storage_error(error) is not None) == full


@pytest.mark.parametrize(("seconds", "lines"), [(9.99, 1), (10.0, 2), (10.01, 2)])
def test_plain_lines_come_at_the_interval(
    seconds: float, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setenv("CI", "1")
    with progress.meter("work", total=4, unit="steps") as meter:
        clock[0] += seconds
        meter.advance(1)
        clock[0] += 5
        meter.advance(1)
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == lines and shown[-1].startswith("work: 2/4 steps")
    assert lines == 1 or shown[0] == f"work: 1/4 steps, 0.1 steps/s, 10 s, {3 * seconds:.0f} s left"


@pytest.mark.parametrize(("ratio", "good"), [(2.49, True), (2.5, False), (1 / 2.49, True), (1 / 2.5, False)])
def test_a_network_has_about_the_size_of_the_published_one(
    ratio: float, good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dawn_bench import weights

    name = next(iter(weights_layouts._ONNX))
    monkeypatch.setitem(weights_layouts._ONNX, name, (1, None, None))

    class Network:
        def getUnconnectedOutLayersNames(self) -> list[str]:
            return ["out"]

    monkeypatch.setattr("cv2.dnn.readNetFromONNX", lambda path: Network())
    path = tmp_path / "net.onnx"
    path.write_bytes(b"x" * round(1000 * ratio))
    entry = replace(weights.entry(name), bytes=1000)
    assert accepts(lambda: weights_layouts._check_onnx(path, entry)) == good


def test_the_holder_of_a_lock_is_named_in_at_most_so_many_letters(tmp_path: Path) -> None:
    for length, shown in ((199, 199), (200, 200), (201, 200)):
        (tmp_path / locks.HOLDER_FILE).write_text("x" * length)
        assert locks._holder(tmp_path / locks.HOLDER_FILE) == f" ({'x' * shown})"


def test_a_lock_that_is_held_for_too_long_is_an_error_and_is_waited_for_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(type(locks.lock_file(tmp_path / "a.lock")), "acquire", _times_out(waited))
    for seconds in ({"seconds": 7}, {}):
        message = f"is locked by another process for {seconds.get('seconds', 60)} s"
        with pytest.raises(InputError, match=message), locks.in_turn(tmp_path / "a.lock", **seconds):
            pytest.fail("another process holds it")
    message = "is being used by another run"
    with pytest.raises(InputError, match=message), locks.exclusive(tmp_path, doing="used", hint=""):
        pytest.fail("another process holds it")
    assert waited == [7, 60, 0]


def _times_out(waited: list[float]) -> Callable[..., None]:
    from filelock import Timeout

    def acquire(self: Any, timeout: float) -> None:
        waited.append(timeout)
        raise Timeout("a.lock")

    return acquire


@pytest.mark.parametrize("ending", [None, KeyError, KeyboardInterrupt])
def test_a_lock_is_free_after_its_block_however_that_ends(
    ending: type[BaseException] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []
    real = locks.lock_file
    monkeypatch.setattr(locks, "lock_file", lambda path: taken.append(real(path)) or taken[-1])
    for hold in (lambda: locks.in_turn(tmp_path / "a.lock"), lambda: locks.exclusive(tmp_path, doing="used", hint="")):
        with suppress(*([ending] if ending else [])), hold():
            assert taken[-1].is_locked
            if ending:
                raise ending
        assert not taken[-1].is_locked
    assert len(taken) == 2 and not (tmp_path / locks.HOLDER_FILE).exists()
