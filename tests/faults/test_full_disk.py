"""A disk that refuses to be written ends the run in one line, and says nothing about a clip or a method."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_repos import BAD_ADAPTER, PYTHON, fake_repo
from fake_tools import FakeTools, write_video
from micro import micro_train

from dawn_bench import cli
from dawn_bench.baselines.base import Item
from dawn_bench.baselines.external.adapter import installs
from dawn_bench.baselines.external.method import External
from dawn_bench.baselines.outputs import ITEMS_FILE, read_items
from dawn_bench.cache import Cache
from dawn_bench.files import replacing
from dawn_bench.pipelines.media.video import write_video as write_mp4
from dawn_bench.pipelines.preparation.export import Format, export
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.storage import StorageError, storage_error, writing
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods

REFUSALS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EXDEV, errno.EACCES, errno.EBUSY]


def partial_files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob(".*") if p.suffix in (".tmp", ".part")]


def refuse(monkeypatch: pytest.MonkeyPatch, number: int, *, of: str = "") -> None:
    """Let every rename to a name that contains `of` fail."""
    real = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if of in str(target):
            raise OSError(number, os.strerror(number), str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", failing)


@pytest.mark.parametrize("number", REFUSALS)
def test_evaluate_records_nothing_and_continues_later(
    number: int, tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Evaluation(
        cache=tiny_cache, out=tmp_path / "r", methods=("still",), metrics=("psnr",), sanity=False, device="cpu"
    )
    with monkeypatch.context() as patch, pytest.raises(StorageError, match=r"c5\.mp4.*run it again") as caught:
        refuse(patch, number, of="c5.mp4")
        evaluate_methods(job)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert set(read_items(job.out / "outputs" / "still")) == {"c4"}
    assert not (job.out / "rows").exists() and not partial_files(job.out)
    done = evaluate_methods(job)
    assert done.failed == [] and done.rows[0].coverage == 1


@pytest.mark.parametrize("name", ["gallery.json", "facts.json", "report.html", "safetensors"])
def test_every_later_write_of_evaluate_is_one_line(
    name: str, tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Evaluation(
        cache=tiny_cache, out=tmp_path / "r", methods=("still",), metrics=("psnr",), sanity=False, device="cpu"
    )
    with monkeypatch.context() as patch, pytest.raises(StorageError, match="the disk is full"):
        refuse(patch, errno.ENOSPC, of=name)
        evaluate_methods(job)
    assert not partial_files(job.out)
    assert evaluate_methods(job).failed == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EBUSY])
@pytest.mark.parametrize("name", ["state.pt", "model.safetensors"])
def test_training_keeps_its_last_state(
    number: int, name: str, tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(StorageError, match=f"{name}.*run it again"):
        refuse(patch, number, of=name)
        micro_train(tiny_cache, tmp_path, stage="pbnet")
    assert not partial_files(tmp_path) and not (tmp_path / "pbnet" / name).exists()
    micro_train(tiny_cache, tmp_path, stage="pbnet", resume=True)
    assert torch.load(tmp_path / "pbnet" / "state.pt", weights_only=True)["step"] == 4


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
@pytest.mark.parametrize("name", ["index.parquet", "cache.json", ".safetensors", "plan.json", "00000.json"])
def test_prepare_says_so_and_continues(number: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(2):
        write_video(tmp_path / "videos" / f"clip{k}.mp4", frames=4, value=k)
    settings, cache = PrepareSettings(size=32, extract=("pose",)), tmp_path / "c"
    with monkeypatch.context() as patch, pytest.raises(StorageError, match="run it again"):
        refuse(patch, number, of=name)
        prepare(tmp_path / "videos", cache, settings, tools=FakeTools())
    assert not partial_files(cache)
    assert prepare(tmp_path / "videos", cache, settings, tools=FakeTools()).ok == 2


def test_a_full_disk_in_a_tool_is_not_the_clips_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "videos" / "clip0.mp4", frames=4)

    def full(*given: object) -> None:
        raise RuntimeError("decoding") from OSError(errno.ENOSPC, "No space left on device", "/tmp/scratch")

    monkeypatch.setattr(FakeTools, "process", full)
    with pytest.raises(StorageError, match="the disk is full"):
        prepare(tmp_path / "videos", tmp_path / "c", PrepareSettings(size=32, extract=("pose",)), tools=FakeTools())


def test_an_external_method_on_a_full_disk_has_no_status(tiny_cache: Path, tmp_path: Path) -> None:
    repo = fake_repo(tmp_path, "bad")
    (repo / "run.py").write_text("raise OSError(28, 'No space left on device')\n")
    (tmp_path / "bad.yaml").write_text(BAD_ADAPTER)
    file = tmp_path / "methods.yaml"
    file.write_text(f"bad: {{python: {PYTHON}, repo: '{repo}', adapter: bad.yaml}}\n")
    clip = Cache(tiny_cache).clips("test")[0]
    with pytest.raises(StorageError, match="the disk is full"):
        External(*installs(file)["bad"], logs=tmp_path / "logs").generate(Item(clip, [clip], 0))


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), True),
        (ValueError("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (OSError("1000000 requested and 262112 written"), True),
        (OSError(errno.ENOENT, "No such file or directory"), False),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_libraries_report_it_in_their_own_words(error: Exception, full: bool) -> None:
    assert (storage_error(error) is not None) is full


def test_the_command_line_says_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(**given: object) -> None:
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(cli, "app", full)
    monkeypatch.setattr(cli, "stop_on_signals", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and len(lines) == 1 and lines[0].startswith("error: the disk is full")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files")
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_rows_that_a_full_disk_cuts_leave_no_half_line(share: float, tmp_path: Path) -> None:
    """A limit on file size stands for the disk: it takes a part of the rows before it refuses the rest."""
    facts = dict.fromkeys(("method", "dataset", "split", "protocol", "fingerprint"), "x")
    rows = [
        ScoreRow.model_validate({**facts, "metric": f"m{k}", "value": k, "n_clips": 1, "n_frames": 2}) for k in range(3)
    ]
    store = ResultsStore(tmp_path)
    store.append(rows[:1])
    (path,) = (tmp_path / "rows").iterdir()
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + int(share * len(before)), limits[1]))
        with pytest.raises(StorageError, match="the disk is full"):
            store.append(rows[1:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    store.append(rows[1:])
    assert [row.metric for row in store.rows()] == ["m0", "m1", "m2"]


def test_it_survives_the_way_from_a_worker() -> None:
    error = StorageError("the disk is full (x).", path="a", hint="Free some.", number=errno.ENOSPC)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.errno, again.path) == (str(error), errno.ENOSPC, "a")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or os.geteuid() or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_on_a_disk_that_is_really_full(small_disk: Path) -> None:
    """Each writer, through the library that it uses."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    big = torch.zeros(200_000)
    row = ScoreRow(method="m", dataset="d", split="s", protocol="p", metric="psnr", value=1, n_clips=1, n_frames=1,
                   fingerprint="f", note="x" * 300_000)  # fmt: skip

    def state(path: Path) -> None:
        with replacing(path) as temporary:
            torch.save({"a": big}, temporary)

    def array(path: Path) -> None:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, big.numpy())

    def checkpoint(path: Path) -> None:
        from safetensors.torch import save_file

        with replacing(path) as temporary:
            save_file({"a": big}, temporary)

    for write in (state, array, checkpoint, lambda p: write_mp4(p, noise, lossless=True)):
        with pytest.raises(StorageError, match=r"disk/file: the disk is full"):
            write(small_disk / "file")
        assert list(small_disk.iterdir()) == []
    with pytest.raises(StorageError, match="the disk is full"):
        ResultsStore(small_disk).append([row])
    assert ResultsStore(small_disk).rows() == []


def test_a_block_that_only_writes_names_its_file(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"items\.jsonl: cannot be written \(Is a directory\)"),
        writing(tmp_path / ITEMS_FILE),
    ):
        tmp_path.open("w")


@pytest.mark.parametrize("format", ["files", "webdataset"])
def test_an_export_that_fails_leaves_nothing(small_disk: Path, tmp_path: Path, format: Format) -> None:
    for k in range(12):
        write_video(tmp_path / "videos" / f"clip{k}.mp4", frames=10, value=k)
    prepare(tmp_path / "videos", tmp_path / "c", PrepareSettings(size=32, extract=("pose",)), tools=FakeTools())
    for out in (small_disk, small_disk / "new"):
        with pytest.raises(StorageError, match=rf"{out.name}: the disk is full .* run it again"):
            export(tmp_path / "c", out, format=format)
        assert not any(out.iterdir())
    assert export(tmp_path / "c", tmp_path / "out", format=format) == 12


def test_an_export_continues_after_a_kill(tmp_path: Path, tiny_cache: Path) -> None:
    (tmp_path / "out" / ".partial.tmp" / "c4").mkdir(parents=True)
    count = export(tiny_cache, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {clip.id for clip in Cache(tiny_cache)}
    assert count == len(Cache(tiny_cache))
