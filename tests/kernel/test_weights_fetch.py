"""Downloads of weight files from a server with faults: what gets a name is the published file, or nothing does."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from typer.testing import CliRunner
from weights_server import Served, Server, serving

from dawn_bench import cli, weights, weights_fetch
from dawn_bench.errors import InputError
from dawn_bench.weights_table import WEIGHTS

DATA = bytes(range(256)) * 40
OTHER = DATA[::-1]
NAME = "vgg19"
FILE = weights.entry(NAME).file


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    monkeypatch.delenv(weights_fetch.HUB_VARIABLE, raising=False)
    return tmp_path / "weights"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def publish(monkeypatch: pytest.MonkeyPatch, server: Server, name: str = NAME, **changes: Any) -> weights.Weight:
    """`DATA` becomes the published file of an entry, at `/file` of the server."""
    facts = {"sha256": hashlib.sha256(DATA).hexdigest(), "bytes": len(DATA), "url": f"{server.url}/file", "mirrors": ()}
    entry = replace(weights.entry(name), **{**facts, **changes})
    monkeypatch.setattr(weights, "WEIGHTS", [entry if w.name == name else w for w in weights.WEIGHTS])
    return entry


def kept(folder: Path) -> list[str]:
    """The files in the weights folder but for locks."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def refused() -> str:
    with pytest.raises(InputError) as caught:
        weights_fetch.download(NAME)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_cut_download_is_continued_only_where_the_server_has_the_same_file(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server)
    file = server.files["/file"] = Served(DATA, etag='"one"', cut_at=4000)
    assert "cut off after" in refused()
    file.cut_at = None
    assert weights_fetch.download(NAME).state == "canonical"
    assert server.asked[1:] == [("/file", "bytes=4000-", '"one"')] and kept(folder) == [FILE]


@pytest.mark.parametrize("obeys", [True, False])
def test_a_file_that_changed_since_is_not_joined_with_the_new_one(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, obeys: bool
) -> None:
    publish(monkeypatch, server)
    server.files["/file"] = Served(OTHER, etag='"old"', cut_at=4000)
    refused()
    server.files["/file"] = Served(DATA, etag='"new"', if_range=obeys)
    assert weights_fetch.download(NAME).state == "canonical"
    assert (folder / FILE).read_bytes() == DATA and kept(folder) == [FILE]
    assert server.ranges() == [None, "bytes=4000-", *([] if obeys else [None])]


def test_a_wrong_beginning_without_validator_is_fetched_again(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server)
    folder.mkdir()
    (folder / f"{FILE}.part").write_bytes(b"?" * 100)
    server.files["/file"] = Served(DATA)
    assert weights_fetch.download(NAME).state == "canonical" and server.ranges() == ["bytes=100-", None]


def test_a_complete_download_of_a_killed_process_is_used(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server)
    folder.mkdir()
    (folder / f"{FILE}.part").write_bytes(DATA)
    assert weights_fetch.download(NAME).state == "canonical" and server.asked == [] and kept(folder) == [FILE]


@pytest.mark.parametrize(
    ("served", "says"),
    [
        (Served(DATA[:-1]), f"has {len(DATA) - 1:,} bytes, published are {len(DATA):,}"),
        (Served(DATA + b"!"), f"has {len(DATA) + 1:,} bytes, published are {len(DATA):,}"),
        (Served(DATA + b"!", stated=False), f"sent more than the {len(DATA):,} bytes"),
        (Served(OTHER), f"has sha256 {hashlib.sha256(OTHER).hexdigest()}"),
        (Served(b"<!DOCTYPE html><title>Sign in</title>"), "sent a web page"),
        (Served(b"\n  <html>"), "sent a web page"),
        (Served(DATA, kind="text/html; charset=utf-8"), "sent a web page"),
    ],
)
def test_what_is_not_the_published_file_gets_no_name(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, served: Served, says: str
) -> None:
    publish(monkeypatch, server)
    server.files["/file"] = served
    text = refused()
    assert says in text and "not the published file" in text
    assert f"Get {FILE} by hand, from torchvision" in text and text.endswith(f"weights add FILE --name {NAME}")
    assert kept(folder) == [] and weights.resolve(NAME).state == "seeded"


def test_a_page_of_twenty_bytes_is_no_file_even_without_a_published_size(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server, bytes=None)
    server.files["/file"] = Served(b"<html>moved</html>  ")
    assert "sent a web page" in refused() and kept(folder) == []


def test_a_page_in_place_of_the_rest_keeps_the_beginning(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server)
    folder.mkdir()
    (folder / f"{FILE}.part").write_bytes(DATA[:5000])
    server.files["/file"] = Served(b"<html>come back later</html>", ranges=False)
    refused()
    assert (folder / f"{FILE}.part").read_bytes() == DATA[:5000]
    server.files["/file"] = Served(DATA)
    assert weights_fetch.download(NAME).state == "canonical" and server.ranges() == ["bytes=5000-"] * 2


@pytest.mark.parametrize(("status", "says"), [(404, "not found"), (403, "access denied"), (401, "requires an account")])
def test_an_origin_without_the_file_is_named_with_what_to_do(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, status: int, says: str
) -> None:
    publish(monkeypatch, server)
    server.files["/file"] = Served(b"<html>no</html>", kind="text/html", status=status)
    text = refused()
    assert text.startswith(f"{server.url}/file: answered {status}: ") and says in text
    assert f"Get {FILE} by hand, from torchvision" in text and "Run it again" not in text and kept(folder) == []


def test_a_busy_origin_can_be_asked_again(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, server)
    server.files["/file"] = Served(b"busy", status=503)
    assert "answered 503: try again later" in refused() and "Run it again" in refused()


def test_a_moved_file_is_followed_also_when_it_is_continued(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server)
    server.files |= {"/file": Served(b"", moved_to="/new"), "/new": Served(DATA, etag='"x"', cut_at=3000)}
    refused()
    server.files["/new"].cut_at = None
    assert weights_fetch.download(NAME).state == "canonical" and server.asked[-1] == ("/new", "bytes=3000-", '"x"')
    server.files["/file"] = Served(b"", moved_to="/file")
    (folder / FILE).unlink()
    assert "answered 302" in refused()


def test_the_second_address_serves_what_the_first_does_not(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(monkeypatch, server, mirrors=(f"{server.url}/second", f"{server.url}/third"))
    server.files["/second"] = Served(OTHER)
    server.files["/third"] = Served(DATA)
    assert weights_fetch.download(NAME).state == "canonical" and kept(folder) == [FILE]
    assert [path for path, *_ in server.asked] == ["/file", "/second", "/third"]
    assert "answered 404" in capsys.readouterr().err
    (folder / FILE).unlink()
    del server.files["/third"]
    text = refused()
    assert text.count("answered 404") == 2 and hashlib.sha256(OTHER).hexdigest() in text


def test_a_mirror_of_the_hub_is_asked_in_its_place(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server, url="https://huggingface.co/a/b/resolve/0/file")
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/hub/")
    server.files["/hub/a/b/resolve/0/file"] = Served(DATA)
    assert weights_fetch.download(NAME).state == "canonical"


def test_the_result_of_a_fetch_is_one_json_value_also_where_a_file_fails(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server)
    server.files["/file"] = Served(DATA)
    run = partial(CliRunner().invoke, cli.app, catch_exceptions=False)
    got = {"name": NAME, "state": "canonical", "path": str(folder / FILE)}
    assert json.loads(run(["weights", "fetch", NAME, "--json"]).stdout) == {
        "folder": str(folder), "present": [], "fetched": [got], "failed": [],
    }  # fmt: skip
    publish(monkeypatch, server, "syncnet", url=f"{server.url}/absent")
    printed = io.StringIO()
    with pytest.raises(InputError, match="1 file of 2 could not"), redirect_stdout(printed):
        cli.app(["weights", "fetch", NAME, "syncnet", "--json"], standalone_mode=False)
    facts = json.loads(printed.getvalue())
    assert facts["fetched"] == [got]
    assert [failed["name"] for failed in facts["failed"]] == ["syncnet"] and "by hand" in facts["failed"][0]["why"]


def packed(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"pack/{name}.onnx", data)
    return file.getvalue()


def pack(monkeypatch: pytest.MonkeyPatch, server: Server, **members: bytes) -> bytes:
    """An archive on the server with the three members of one pack."""
    archive = packed(det_10g=b"one", w600k_r50=b"two", **{"1k3d68": b"three"}, **members)
    facts = {"url": f"{server.url}/buffalo_l.zip", "archive_sha256": hashlib.sha256(archive).hexdigest()}
    for name, data in (("scrfd-10g", b"one"), ("arcface-r50", b"two"), ("insightface-68", b"three")):
        sha256 = hashlib.sha256(data).hexdigest()
        publish(monkeypatch, server, name, sha256=sha256, bytes=len(data), archive_bytes=len(archive), **facts)
    return archive


def test_one_download_serves_all_members_of_an_archive(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/buffalo_l.zip"] = Served(pack(monkeypatch, server))
    folder.mkdir()
    (folder / "det_10g.onnx").write_bytes(b"my own")
    for name in ("arcface-r50", "insightface-68"):
        assert weights_fetch.download(name).state == "canonical"
    assert len(server.asked) == 1 and kept(folder) == ["1k3d68.onnx", "det_10g.onnx", "w600k_r50.onnx"]
    assert (folder / "det_10g.onnx").read_bytes() == b"my own"  # only what was asked for is replaced


def test_unpacking_that_ends_early_leaves_the_archive_and_no_member(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/buffalo_l.zip"] = Served(pack(monkeypatch, server))

    def killed(source: Any, target: Any) -> None:
        target.write(source.read()[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(weights_fetch.shutil, "copyfileobj", killed)
        with pytest.raises(KeyboardInterrupt):
            weights_fetch.download("arcface-r50")
    assert kept(folder) == ["buffalo_l.zip.part"]
    assert weights_fetch.download("arcface-r50").state == "canonical" and len(server.asked) == 1
    assert "buffalo_l.zip.part" not in kept(folder)


def test_an_archive_with_another_member_or_hash_is_refused(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(monkeypatch, server)
    server.files["/buffalo_l.zip"] = Served(archive[:-1] + b"!")
    with pytest.raises(InputError, match=r"which is not the published file.*unpack w600k_r50\.onnx, then: .*add FILE"):
        weights_fetch.download("arcface-r50")
    server.files["/buffalo_l.zip"] = Served(archive)
    publish(monkeypatch, server, "arcface-r50", url=f"{server.url}/buffalo_l.zip", sha256="0" * 64)
    with pytest.raises(InputError, match=r"another w600k_r50\.onnx than the published one"):
        weights_fetch.download("arcface-r50")
    assert "w600k_r50.onnx" not in kept(folder)


def test_a_configuration_without_published_hash_must_have_the_values_of_its_network(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "hubert-large-config"
    entry = publish(monkeypatch, server, name, sha256=None, bytes=None)
    assert entry.values is not None
    for data, says in (
        (b"<html>", "sent a web page"),
        (b"not found", "not the published file"),
        (json.dumps({**entry.values, "hidden_size": 768}).encode(), "hidden_size 768 in place of 1024"),
    ):
        server.files["/file"] = Served(data)
        with pytest.raises(InputError, match=says):
            weights_fetch.download(name)
        assert kept(folder) == []
    server.files["/file"] = Served(json.dumps({**entry.values, "vocab_size": 32}).encode())
    assert weights_fetch.download(name).path == folder / entry.file


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize(("name", "bound"), [("hubert-large-config", "MOST_SMALL"), ("hubert-large-bin", "MOST")])
def test_a_file_of_unknown_size_has_a_bound(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, bound: str, stated: bool
) -> None:
    assert (weights_fetch.MOST_SMALL, weights_fetch.MOST) == (16 * 2**20, 8 * 2**30)
    monkeypatch.setattr(weights_fetch, bound, 100_000)
    publish(monkeypatch, server, name, sha256=None, bytes=None)
    server.files["/file"] = Served(b" " * 10_000_000, stated=stated)
    with pytest.raises(InputError, match=r"more than the 100,000 that a file of unknown size may have") as caught:
        weights_fetch.download(name)
    assert "\n" not in str(caught.value) and kept(folder) == [] and len(server.asked) == 1


def test_a_bound_counts_what_an_earlier_attempt_left(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "hubert-large-bin"
    publish(monkeypatch, server, name, sha256=None, bytes=None)
    file = server.files["/file"] = Served(bytes(range(1, 101)) * 40, etag='"a"', cut_at=2000)
    with pytest.raises(InputError, match="cut off"):
        weights_fetch.download(name)
    file.cut_at = None
    monkeypatch.setattr(weights_fetch, "MOST", 3000)
    with pytest.raises(InputError, match=r"has 4,000 bytes, more than the 3,000"):
        weights_fetch.download(name)
    assert kept(folder) == [] and server.ranges() == [None, "bytes=2000-"]


def test_a_file_that_is_there_is_not_fetched_again(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server)
    server.files["/file"] = Served(DATA)
    assert (
        weights_fetch.download(NAME).state == weights_fetch.download(NAME).state == "canonical"
        and len(server.asked) == 1
    )


@pytest.mark.parametrize("there", [OTHER, DATA[:-1], b""])
def test_another_file_in_its_place_is_replaced_by_the_published_one(
    there: bytes, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same size too: only the hash tells."""
    publish(monkeypatch, server)
    server.files["/file"] = Served(DATA)
    (folder / FILE).parent.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(there)
    assert weights_fetch.download(NAME).state == "canonical" and (folder / FILE).read_bytes() == DATA


FETCH = """
import sys
from dataclasses import replace
from dawn_bench import cli, weights, weights_fetch
url, sha256, size = sys.argv[1:]
entry = replace(weights.entry("vgg19"), url=url, sha256=sha256, bytes=int(size), mirrors=())
weights.WEIGHTS = [entry if w.name == "vgg19" else w for w in weights.WEIGHTS]
print(weights_fetch.download("vgg19").state)
"""


def test_two_processes_that_fetch_one_file_end_with_one_good_file(server: Server, folder: Path) -> None:
    waits = threading.Event()
    server.files["/file"] = Served(DATA, before_end=lambda: waits.wait(60))
    words = [sys.executable, "-c", FETCH, f"{server.url}/file", hashlib.sha256(DATA).hexdigest(), str(len(DATA))]
    both = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(2)
    ]

    def watch(process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if "waiting for another process" in line:
                waits.set()

    watchers = [threading.Thread(target=watch, args=(process,), daemon=True) for process in both]
    for thread in watchers:
        thread.start()
    assert [process.wait(120) for process in both] == [0, 0]
    assert [process.stdout.read().strip() for process in both if process.stdout] == ["canonical"] * 2
    assert waits.is_set() and len(server.asked) == 1
    assert kept(folder) == [FILE] and (folder / FILE).read_bytes() == DATA


def test_a_process_that_makes_no_progress_is_not_waited_for_forever(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, server)
    monkeypatch.setattr(weights_fetch, "PATIENCE", 0.05)
    folder.mkdir()
    with FileLock(folder / f".{FILE}.lock"):
        assert "is being fetched by another process" in refused()
    assert server.asked == []


MOVING = {"main", "master", "head", "latest", "dev", "trunk"}


@pytest.mark.parametrize("weight", WEIGHTS, ids=lambda weight: weight.name)
def test_what_can_be_fetched_is_fixed_by_hash_size_and_revision(weight: weights.Weight) -> None:
    for url in weight.addresses:
        parts = url.partition("?")[0].split("/")
        assert not MOVING & {part.lower() for part in parts}, url
        for marker in {"raw", "resolve", "blob"} & set(parts):
            revision = parts[parts.index(marker) + 1]
            assert len(revision) == 40 and set(revision) <= set("0123456789abcdef"), url
    if weight.addresses:
        stated = weight.sha256 is not None and weight.bytes is not None
        assert stated != bool(weight.unstated), "hash and size, or the reason why they are not known"
        assert weight.sha256 is not None or weight.values, "some content can be checked"
        assert weight.archive is None or (weight.archive_sha256 and weight.archive_bytes)
    assert weight.sha256 is None or (len(weight.sha256) == 64 and set(weight.sha256) <= set("0123456789abcdef"))


def test_the_entries_that_are_not_stated_in_full_are_these() -> None:
    assert {w.name for w in WEIGHTS if w.unstated} == {"hubert-large-bin", "hubert-large-config", "wav2vec2-base-bin"}
    alone = {w.name for w in WEIGHTS if not w.addresses and w.package is None}
    assert {"hubert-large", "mraa-vox256", "flame-masks"} <= alone
    assert {"dawn-lfg-128", "dawn-a2v-256", "pbnet-pose"} <= {w.name for w in WEIGHTS}


def test_known_hashes_sizes_and_addresses() -> None:
    """Stated by several public sources, or hashed at the pinned commit."""
    facts = {
        "i3d": ("bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2", 51_235_320),
        "hubert-base": ("062249fffb353eab67547a2fbc129f7c31a2f459faf641b19e8fb007cc5c48ad", 377_569_754),
        "wav2vec2-base": ("8aa76ab2243c81747a1f832954586bc566090c83a0ac167df6f31f0fa917d74a", 377_607_901),
        "wav2vec2-base-config": ("d3ec255c063d9f95057b553b19c20135b259875834a4fe9deb218a6be25b4cf3", 1_596),
        "tddfa-v2": ("a45a946c6e9b16f8d3cf2e69376da9560a7cf9afae671bebceb7e437a405ea79", 13_755_269),
        "yunet": ("104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12", 322_906),
        "biwi-lips": ("bf9c9202a73154cab9b7635d42c05effc30078b2b9aa3c7dc49367cff80cc767", 32_611),
        "biwi-upper": ("5a0b657fcbc1f5cbdf4dddfc9a0a883e4644408006fec699e27ade2634124198", 50_854),
    }
    for name, (sha256, size) in facts.items():
        assert (weights.entry(name).sha256, weights.entry(name).bytes) == (sha256, size), name
    mirrored = {w.name for w in WEIGHTS if w.mirrors}
    assert mirrored == {"i3d", "syncnet", "s3fd", "s3fd-wav2lip", "lpips-vgg"}
    for name in ("scrfd-10g", "insightface-68", "arcface-r50"):
        assert weights.entry(name).archive == "buffalo_l.zip" and weights.entry(name).archive_bytes == 288_621_354


def test_licences_for_research_only_are_marked() -> None:
    words = ("non-commercial", "not for commercial", "research only", "research alone", "no licence granted")
    assert weights.entry("arcface-r50").research_only and not weights.entry("tddfa-v2").research_only
    for weight in WEIGHTS:
        assert weight.research_only == any(word in weight.licence for word in words), weight.name
