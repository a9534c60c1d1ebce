"""The weights registry: which file fills a network, how its number counts, stand-ins that never change."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file
from weight_files import write_layout

from dawn_bench import hashes as hashing
from dawn_bench import weights, weights_add, weights_fetch
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
    entry = replace(
        weights.entry(NAME),
        sha256=hashlib.sha256(DATA).hexdigest(),
        bytes=len(DATA),
        url="https://example.org/file.pth",
    )
    monkeypatch.setattr(weights, "WEIGHTS", [entry if w.name == NAME else w for w in WEIGHTS])
    return entry


def test_the_file_decides_the_state(published: weights.Weight, folder: Path) -> None:
    assert weights.resolve(NAME).state == "seeded" and weights.resolve(NAME).path is None
    folder.mkdir()
    (folder / published.file).write_bytes(DATA)
    choice = weights.resolve(NAME)
    assert choice.state == "canonical" and choice.path == folder / published.file
    assert weights.resolve(NAME).identity == choice.identity  # by the remembered hash
    assert weights.resolve(NAME, "seeded").state == "seeded"
    (folder / published.file).write_bytes(DATA + b"!")
    assert weights.resolve(NAME).state == "user" and weights.resolve(NAME).identity != choice.identity


def test_files_only_refuses_the_stand_in_and_names_the_path(folder: Path) -> None:
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
    assert weights_add.add(tmp_path / "any.bin").state == "canonical"
    write_layout(tmp_path / published.file, NAME, 1)
    with pytest.raises(InputError, match=r"is there already, with other content\. .*--replace"):
        weights_add.add(tmp_path / published.file)
    assert weights.resolve(NAME).state == "canonical"
    assert weights_add.add(tmp_path / published.file, replace=True).state == "user"
    write_layout(tmp_path / "strange.bin", NAME, 2)
    with pytest.raises(InputError, match="matches no registry entry"):
        weights_add.add(tmp_path / "strange.bin")
    assert weights_add.add(tmp_path / "strange.bin", NAME, replace=True).path == folder / published.file
    assert weights_add.add(tmp_path / "strange.bin", NAME).path == folder / published.file  # the same content
    with pytest.raises(InputError, match="no such file"):
        weights_add.add(tmp_path / "absent.bin")
    with pytest.raises(InputError, match="is a folder"):
        weights_add.add(tmp_path)
    with pytest.raises(InputError, match=f"published file of {NAME}, not of syncnet"):
        weights_add.add(tmp_path / "any.bin", "syncnet")
    assert weights_add.add(folder / published.file).path == folder / published.file  # it is there already


@dataclass
class Origin:
    """A web server with one file: how many bytes a response has before it is cut, and the requests received."""

    data: bytes = DATA
    cut_at: int | None = None
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def origin(published: weights.Weight, monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    remote = Origin()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            remote.asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and remote.ranges else 0
            if start > len(remote.data):
                self.send_error(416)
                return
            rest = remote.data[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest if remote.cut_at is None else rest[: remote.cut_at])

        def log_message(self, format: str, *args: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    remote.url = f"http://127.0.0.1:{server.server_port}/file.pth"
    served = replace(published, url=remote.url)
    monkeypatch.setattr(weights, "WEIGHTS", [served if w.name == NAME else w for w in WEIGHTS])
    yield remote
    server.shutdown()
    server.server_close()


def files_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if "sha256" not in p.name and p.suffix != ".lock")


def test_a_download_is_checked_and_appears_whole(origin: Origin, published: weights.Weight, folder: Path) -> None:
    assert weights_fetch.download(NAME).state == "canonical"
    assert files_in(folder) == [published.file]


def test_a_cut_download_leaves_no_half_file_and_is_gone_on_with(
    origin: Origin, published: weights.Weight, folder: Path
) -> None:
    origin.cut_at = 7
    with pytest.raises(InputError, match=r"cut off after .* of .* MB.*Run it again"):
        weights_fetch.download(NAME)
    assert files_in(folder) == [f"{published.file}.part"] and weights.resolve(NAME).state == "seeded"
    origin.cut_at = None
    assert weights_fetch.download(NAME).state == "canonical"
    assert origin.asked == [None, "bytes=7-"] and files_in(folder) == [published.file]


def test_a_server_without_range_requests_starts_again(origin: Origin, published: weights.Weight, folder: Path) -> None:
    folder.mkdir()
    (folder / f"{published.file}.part").write_bytes(b"something else")
    origin.ranges = False
    assert weights_fetch.download(NAME).state == "canonical"
    (folder / published.file).unlink()
    (folder / f"{published.file}.part").write_bytes(b"longer than the file " * 3)
    origin.ranges = True
    assert weights_fetch.download(NAME).state == "canonical"  # 416, then all of it


def test_a_wrong_file_is_deleted(origin: Origin, folder: Path) -> None:
    origin.data = b"<html>log in first</html>"
    with pytest.raises(InputError, match="not the published file; it was deleted"):
        weights_fetch.download(NAME)
    assert files_in(folder) == []


def test_without_network_the_error_is_one_line_with_a_hint(
    published: weights.Weight, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("http://127.0.0.1:9/file.pth", (folder / "none.pth").as_uri()):
        served = replace(published, url=url)
        monkeypatch.setattr(weights, "WEIGHTS", [served if w.name == NAME else w for w in WEIGHTS])
        with pytest.raises(InputError, match=r"could not be downloaded.*weights add") as caught:
            weights_fetch.download(NAME)
        assert "\n" not in str(caught.value) and files_in(folder) == []
    with pytest.raises(InputError, match=r"no direct address.*weights add FILE --name hubert-large"):
        weights_fetch.download("hubert-large")


def test_two_fetches_of_one_file_do_not_mix(
    origin: Origin, published: weights.Weight, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_fetch, "PATIENCE", 0.05)
    folder.mkdir()
    with (
        FileLock(folder / f".{published.file}.lock"),
        pytest.raises(InputError, match="fetched by another process"),
    ):
        weights_fetch.download(NAME)


def test_a_member_of_an_archive_is_unpacked(
    origin: Origin, published: weights.Weight, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("pack/net.onnx", DATA)
    origin.data = packed.getvalue()
    digest = hashlib.sha256(origin.data).hexdigest()
    entry = replace(published, url=origin.url, member="net.onnx", archive_sha256=digest)
    monkeypatch.setattr(weights, "WEIGHTS", [entry if w.name == NAME else w for w in WEIGHTS])
    choice = weights_fetch.download(NAME)
    assert choice.state == "canonical" and choice.path is not None and choice.path.read_bytes() == DATA
    assert files_in(folder) == [published.file]
    origin.data += b"!"
    choice.path.unlink()
    with pytest.raises(InputError, match="it was deleted"):
        weights_fetch.download(NAME)


def test_published_hashes_are_whole_and_may_be_gits(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA)
    hashes = hashing.hash_file(tmp_path / "x")
    assert hashes["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert hashes["git_blob"] == hashlib.sha1(b"blob %d\0" % len(DATA) + DATA).hexdigest()
    plain = replace(weights.entry(NAME), sha256=None)
    assert not weights.is_published(plain, hashes)
    assert weights.is_published(replace(plain, sha256=hashes["sha256"]), hashes)
    assert not weights.is_published(replace(plain, sha256=hashes["sha256"][:8]), hashes)  # 32 bits can be forged
    assert weights.is_published(replace(plain, git_blob=hashes["git_blob"]), hashes)
    assert not weights.is_published(replace(plain, git_blob="0" * 40), hashes)


def test_files_of_installed_packages_are_used_after_those_in_the_folder(folder: Path) -> None:
    choice = weights.resolve("dlib-68")
    assert choice.state == "canonical" and choice.path is not None and folder not in choice.path.parents
    folder.mkdir(exist_ok=True)
    (folder / choice.weight.file).write_bytes(b"mine")
    assert weights.resolve("dlib-68").path == folder / choice.weight.file
    assert weights.resolve("dlib-68").state == "user"


@pytest.mark.parametrize("weight", [w for w in WEIGHTS if w.also], ids=lambda w: w.name)
def test_a_file_is_seen_under_each_of_its_names_its_own_first(weight: weights.Weight, folder: Path) -> None:
    assert weights.locate(weight) is None
    for file in (*reversed(weight.also), weight.file):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(file.encode())
        assert weights.locate(weight) == folder / file
        assert weights.resolve(weight.name).sha256 == hashlib.sha256(file.encode()).hexdigest()


def test_every_entry_is_fully_described() -> None:
    assert len({w.name for w in WEIGHTS}) == len({w.file for w in WEIGHTS}) == len(WEIGHTS)
    for weight in WEIGHTS:
        assert weight.purpose and weight.origin and weight.licence, weight.name
        assert weight.sha256 is None or len(weight.sha256) == 64, weight.name
        assert (weight.member is None) == (weight.archive_sha256 is None), weight.name


def test_every_stand_in_has_a_salt_of_its_own_which_identifies_it(folder: Path) -> None:
    resolved = {w.name: weights.resolve(w.name, "seeded") for w in WEIGHTS}
    assert {name: one.sha256 for name, one in resolved.items()} == {
        name: f"{weights.SEEDED_SALT}{name}" for name in resolved
    }
    assert {(one.state, one.path) for one in resolved.values()} == {("seeded", None)}
