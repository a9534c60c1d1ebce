"""A download is continued exactly where it ended, and no byte more than a file may have is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from disk_recorder import Killed, recording
from weights_server import Served, Server, serving

from dawn_bench import transfer as module
from dawn_bench import weights, weights_fetch
from dawn_bench.transfer import TransferError, discard, transfer

DATA = bytes(range(256)) * 8
SIZE = len(DATA)


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    running.files.clear()
    running.asked.clear()
    running.files["/f"] = Served(DATA, etag='"v"')
    return running


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("have", "wanted", "continued"),
    [(0, [None], False), (1, ["bytes=1-"], True), (SIZE - 1, [f"bytes={SIZE - 1}-"], True)],
)
def test_it_is_continued_at_the_next_byte(
    have: int, wanted: list[str | None], continued: bool, known: bool, server: Server, tmp_path: Path
) -> None:
    partial = tmp_path / "f.part"
    partial.write_bytes(DATA[:have])
    assert transfer(f"{server.url}/f", partial, label="f", size=SIZE if known else None) == continued
    assert partial.read_bytes() == DATA and server.ranges() == wanted


@pytest.mark.parametrize(("more", "asked"), [(0, 0), (1, 1)])
def test_a_whole_file_is_not_asked_for_and_a_longer_one_is_thrown_away(
    more: int, asked: int, server: Server, tmp_path: Path
) -> None:
    partial = tmp_path / "f.part"
    partial.write_bytes(DATA + b"?" * more)
    assert transfer(f"{server.url}/f", partial, label="f", size=SIZE) == (more == 0)
    assert partial.read_bytes() == DATA and server.ranges() == [None] * asked


@pytest.mark.parametrize("have", [SIZE, SIZE + 1])
def test_what_is_as_long_as_a_file_of_unknown_size_is_compared_with_it(
    have: int, server: Server, tmp_path: Path
) -> None:
    """The server answers a range behind the end with 416, or with nothing."""
    partial = tmp_path / "f.part"
    partial.write_bytes((DATA + b"?")[:have])
    transfer(f"{server.url}/f", partial, label="f")
    assert partial.read_bytes() == DATA
    assert server.ranges()[0] == f"bytes={have}-" and len(server.asked) == (1 if have == SIZE else 2)


@pytest.mark.parametrize("block", [SIZE - 1, SIZE, SIZE + 1, 100])
@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize(("more", "good"), [(-1, True), (0, True), (1, False)])
def test_a_file_of_unknown_size_has_at_most_so_many_bytes(
    more: int, good: bool, stated: bool, block: int, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    server.files["/f"] = Served((DATA + b"!")[: SIZE + more], stated=stated)
    partial = tmp_path / "f.part"
    if good:
        transfer(f"{server.url}/f", partial, label="f", most=SIZE)
        assert partial.read_bytes() == DATA[: SIZE + more]
        return
    with pytest.raises(TransferError, match=f"more than the {SIZE:,} that a file of unknown size") as caught:
        transfer(f"{server.url}/f", partial, label="f", most=SIZE)
    assert not caught.value.retryable and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("block", [SIZE, 100])
@pytest.mark.parametrize(("more", "message"), [(-1, "cut off|has"), (0, ""), (1, "sent more than|has")])
@pytest.mark.parametrize("stated", [True, False])
def test_a_file_of_known_size_has_that_size(
    more: int, message: str, stated: bool, block: int, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    server.files["/f"] = Served((DATA + b"!")[: SIZE + more], stated=stated)
    partial = tmp_path / "f.part"
    if not message:
        transfer(f"{server.url}/f", partial, label="f", size=SIZE, most=1)  # which is for unknown sizes
        assert partial.read_bytes() == DATA
        return
    with pytest.raises(TransferError, match=message) as caught:
        transfer(f"{server.url}/f", partial, label="f", size=SIZE)
    assert caught.value.retryable == (more < 0 and not stated)
    assert partial.exists() == caught.value.retryable


@pytest.mark.parametrize(
    ("code", "retryable"), [(401, False), (404, False), (429, True), (499, False), (500, True), (503, True)]
)
def test_which_answers_are_worth_asking_again(code: int, retryable: bool, server: Server, tmp_path: Path) -> None:
    server.files["/f"] = Served(b"no", status=code)
    with pytest.raises(TransferError, match=f"answered {code}: ") as caught:
        transfer(f"{server.url}/f", tmp_path / "f.part", label="f")
    assert caught.value.retryable == retryable and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("tag", "noted"), [('"strong"', '"strong"'), ('W/"weak"', None), ("", None)])
def test_only_a_strong_tag_of_the_same_address_continues_a_file(
    tag: str, noted: str | None, server: Server, tmp_path: Path
) -> None:
    server.files["/f"] = Served(DATA, etag=tag, cut_at=100)
    server.files["/g"] = Served(DATA, etag=tag)
    partial = tmp_path / "f.part"
    with pytest.raises(TransferError, match="cut off") as caught:
        transfer(f"{server.url}/f", partial, label="f", size=SIZE)
    assert caught.value.retryable and partial.read_bytes() == DATA[:100]
    server.files["/f"].cut_at = None
    for path, condition in (("/g", None), ("/f", noted)):
        copy = tmp_path / "copy.part"
        copy.write_bytes(partial.read_bytes())
        for note in tmp_path.glob(".f.part.json"):
            (tmp_path / ".copy.part.json").write_bytes(note.read_bytes())
        transfer(server.url + path, copy, label="f", size=SIZE)
        assert server.asked[-1] == (path, "bytes=100-", condition) and copy.read_bytes() == DATA
        discard(copy)


def test_the_new_origin_is_never_noted_for_the_old_bytes(server: Server, tmp_path: Path) -> None:
    """Killed at any operation, the next download brings the file that is at the address now."""
    partial, note = tmp_path / "f.part", tmp_path / ".f.part.json"
    server.files["/f"] = Served(DATA, etag='"new"')
    for number in range(12):
        partial.write_bytes(b"old bytes")
        note.write_text(json.dumps({"url": f"{server.url}/f", "validator": '"old"'}))

        def fail(current: int, event: object, number: int = number) -> None:
            if current == number:
                disk.dead = True
                raise Killed

        try:
            with recording(tmp_path) as disk:
                disk.fail = fail
                transfer(f"{server.url}/f", partial, label="f")
        except (Killed, TransferError, OSError):
            transfer(f"{server.url}/f", partial, label="f")
        else:
            assert number > 4, "there were operations to be killed at"
        assert partial.read_bytes() == DATA, number


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("obeys", [True, False])
def test_bytes_of_two_versions_are_never_joined(obeys: bool, known: bool, server: Server, tmp_path: Path) -> None:
    """Also where the server sends the rest of a new file to whoever asks for that of the old one."""
    partial = tmp_path / "f.part"
    server.files["/f"] = Served(bytes(SIZE), etag='"old"', cut_at=100)
    with pytest.raises(TransferError, match="cut off"):
        transfer(f"{server.url}/f", partial, label="f")
    server.files["/f"] = Served(DATA, etag='"new"', if_range=obeys)
    assert not transfer(f"{server.url}/f", partial, label="f", size=SIZE if known else None)
    assert partial.read_bytes() == DATA


@pytest.mark.parametrize("wrong", [1, 2, 3])
def test_each_address_is_asked_once_until_one_serves_the_file(
    wrong: int, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [f"{server.url}/{k}" for k in range(3)]
    for k in range(3):
        server.files[f"/{k}"] = Served(b"?", status=503) if k < wrong else Served(DATA)
    facts = {"sha256": hashlib.sha256(DATA).hexdigest(), "bytes": SIZE, "url": addresses[0]}
    entry = replace(weights.entry("vgg19"), mirrors=tuple(addresses[1:]), **facts)
    monkeypatch.setattr(weights, "WEIGHTS", [entry])
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    if wrong < 3:
        assert weights_fetch.download("vgg19").state == "canonical"
    else:
        with pytest.raises(weights_fetch.InputError, match="could not be downloaded"):
            weights_fetch.download("vgg19")
    assert [path for path, _, _ in server.asked] == [f"/{k}" for k in range(min(wrong + 1, 3))]
