"""Folders from strangers may hold links: nothing is written, replaced or removed outside the folder that was named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from fake_tools import FakeTools, write_video
from micro import micro_train

from dawn_bench.errors import InputError
from dawn_bench.files import replacing, sweep
from dawn_bench.locks import exclusive, in_turn
from dawn_bench.metrics.scoring.feature_cache import FeatureCache
from dawn_bench.names import check_links, owned
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.reports.page import write_report
from dawn_bench.reports.store import Facts, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods
from dawn_bench.workflow.folders import results_folder
from dawn_bench.workflow.quickstart import plan_for, run_quickstart

SETTINGS = PrepareSettings(size=32, extract=("pose",))


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Inode and bytes of every file below a folder."""
    return {str(p): (p.stat().st_ino, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of the user's next to the folder that is written."""
    folder = tmp_path / "home"
    (folder / "still").mkdir(parents=True)
    (folder / "notes.txt").write_text("precious")
    (folder / "x.running").write_text("precious")
    return folder


def linked(folder: Path, name: str, target: Path) -> Path:
    """`name` in `folder` as a link to `target`."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def refused(error: pytest.ExceptionInfo[InputError], link: Path) -> None:
    text = str(error.value)
    assert error.value.exit_code == 2 and "\n" not in text
    assert text.startswith(f"{link}: is a link") and text.endswith("Remove the link.")


def test_a_path_is_owned_where_no_link_leads_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    linked(root, "in", root / "real")
    linked(root, "out", tmp_path)
    linked(root, "gone", tmp_path / "absent")
    linked(root, "real/deep/up", Path("../../.."))
    linked(root, "round", Path("round"))
    linked(tmp_path, "whole", root)
    monkeypatch.chdir(tmp_path)
    for folder in (root, tmp_path / "whole", Path("root"), Path("whole")):
        assert owned(folder, "in", "new") == folder / "in" / "new"
        assert owned(folder, "real/new") == folder / "real" / "new"
        for name in ("out", "out/x", "gone", "gone/x", "round", "real/deep/up/x"):
            with pytest.raises(InputError, match=r"is a link that leads out of .* Remove the link\.$"):
                owned(folder, name)
        check_links(folder, "absent")
        with pytest.raises(InputError, match=r"in.deep.up: is a link"):
            check_links(folder, "in")
        with pytest.raises(InputError, match="up: is a link"):
            check_links(folder, "real")


@pytest.mark.parametrize(
    "name",
    ["rows", "outputs", "outputs/still", "features", "features/matched", "report", "logs", "logs/still", "gallery",
     "gallery/still", "curves", "timed", "outputs-pieces-4", "outputs-pieces-4/still", "outputs-pieces-9"],
)  # fmt: skip
@pytest.mark.parametrize("there", [True, False])
def test_evaluate_writes_through_no_link(tiny_cache: Path, home: Path, tmp_path: Path, name: str, there: bool) -> None:
    out, before = tmp_path / "r", contents(home)
    if not there and "/" in name:
        (out / name).parent.mkdir(parents=True)
        (out / name).symlink_to(home / "absent")
    link = out / name
    if not link.is_symlink():
        linked(out, name, home if there else home / "absent")
    job = Evaluation(
        cache=tiny_cache, out=out, methods=("still",), metrics=("psnr",), sanity=False, device="cpu", piece_length=4
    )
    with pytest.raises(InputError) as caught:
        evaluate_methods(job)
    refused(caught, link)
    assert contents(home) == before and not (home / "absent").exists()


def test_what_a_killed_run_left_in_outputs_of_pieces_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "outputs-pieces-150" / "still" / ".c0.mp4.000000-1-aaaaaa.tmp"
    left.parent.mkdir(parents=True)
    for name, kept in ((left, False), (left.with_name(".mine.tmp"), True)):
        name.write_text("x")
        os.utime(name, (0, 0))
        with results_folder(tmp_path):
            assert name.exists() == kept


def test_a_results_folder_may_be_a_link_and_hold_links_of_its_own(tiny_cache: Path, tmp_path: Path) -> None:
    real = tmp_path / "disk"
    (real / "store").mkdir(parents=True)
    linked(real, "features", Path("store"))
    out = linked(tmp_path, "r", real)
    job = Evaluation(cache=tiny_cache, out=out, methods=("still",), metrics=("psnr",), sanity=False, device="cpu")
    assert evaluate_methods(job).failed == []
    assert any((real / "store").iterdir()) and (real / "report" / "report.html").is_file()


def test_the_parts_of_a_results_folder_check_for_themselves(home: Path, tmp_path: Path) -> None:
    """The Python API reaches these without the command that checks the folder as a whole."""
    before = contents(home)
    row = ScoreRow.model_construct(method="m", metric="psnr", created="")
    link = linked(tmp_path / "a", "rows", home)
    with pytest.raises(InputError) as caught:
        ResultsStore(tmp_path / "a").append([row])
    refused(caught, link)
    ResultsStore(tmp_path / "b").set_facts(Facts(curves={"lfg": [{"step": 1, "loss": 1.0}]}))
    link = linked(tmp_path / "b", "report", home)
    with pytest.raises(InputError) as caught:
        write_report(tmp_path / "b", tmp_path / "b" / "report")
    refused(caught, link)
    link = linked(tmp_path / "c", "images-1", home)
    with pytest.raises(InputError) as caught:
        FeatureCache(tmp_path / "c").put("images", "1", "k", {})
    refused(caught, link)
    assert contents(home) == before


def test_a_lock_is_no_link_and_its_note_replaces_one(home: Path, tmp_path: Path) -> None:
    before = contents(home)
    for name in (".lock", ".merge.lock", ".report.lock"):
        out = tmp_path / name
        ResultsStore(out).set_facts(Facts(curves={"lfg": [{"step": 1, "loss": 1.0}]}))
        (out / name).unlink(missing_ok=True)
        link = linked(out, name, home / "notes.txt")
        with pytest.raises(InputError) as caught, exclusive(out, doing="used", hint=""), in_turn(out / name):
            write_report(out, out / "report")
        refused(caught, link)
    linked(tmp_path / "n", ".lock-holder", home / "notes.txt")
    with exclusive(tmp_path / "n", doing="used", hint=""):
        with (
            pytest.raises(InputError, match=r"by another run \(.*process"),
            exclusive(tmp_path / "n", doing="used", hint=""),
        ):
            pass
        assert not (tmp_path / "n" / ".lock-holder").is_symlink()
    linked(tmp_path / "n", ".lock-holder", home / "notes.txt")
    assert contents(home) == before


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A prepared cache of two clips."""
    for k in range(2):
        write_video(tmp_path / "videos" / f"clip{k}.mp4", frames=6, value=k)
    prepare(tmp_path / "videos", tmp_path / "cache", SETTINGS, tools=FakeTools())
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["frames", "audio", "parts", "pose", ".lock"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_prepare_writes_and_removes_through_no_link(cache: Path, home: Path, name: str, overwrite: bool) -> None:
    if (cache / name).is_dir():
        shutil.copytree(cache / name, home, dirs_exist_ok=True)
        shutil.rmtree(cache / name)
    (cache / name).unlink(missing_ok=True)
    link, before = linked(cache, name, home / "notes.txt" if name == ".lock" else home), contents(home)
    with pytest.raises(InputError) as caught:
        prepare(cache.parent / "videos", cache, SETTINGS, tools=FakeTools(), overwrite=overwrite)
    refused(caught, link)
    assert contents(home) == before


def test_a_shard_that_is_a_link_is_replaced(cache: Path, home: Path) -> None:
    """Tools for data versions put links in place of files; the file that a link leads to stays as it is."""
    shard = next((cache / "frames").iterdir())
    shutil.move(shard, home / "shard")
    shard.symlink_to(home / "shard")
    before = contents(home)
    prepare(cache.parent / "videos", cache, SETTINGS, tools=FakeTools(), overwrite=True)
    assert contents(home) == before and not shard.is_symlink()


@pytest.mark.parametrize("name", ["", "samples", "tensorboard", "metrics.jsonl", "validation.jsonl"])
def test_training_writes_through_no_link(tiny_cache: Path, home: Path, tmp_path: Path, name: str) -> None:
    target = home / "new.jsonl" if name.endswith(".jsonl") else home
    link, before = linked(tmp_path / "run", f"pbnet/{name}".rstrip("/"), target), contents(home)
    with pytest.raises(InputError) as caught:
        micro_train(tiny_cache, tmp_path / "run", stage="pbnet", resume=True)
    refused(caught, link)
    assert contents(home) == before


@pytest.mark.parametrize("name", ["dataset", "dataset/AudioWAV", "cache", "run", "results"])
def test_quickstart_writes_through_no_link(home: Path, tmp_path: Path, name: str) -> None:
    plan, out = plan_for("tiny", seed=0), tmp_path / "q"
    link, before = linked(out, name, home), contents(home)
    (out / "quickstart.json").write_text(plan.model_dump_json())
    with pytest.raises(InputError) as caught:
        run_quickstart(out, plan, jobs=1, device="cpu")
    refused(caught, link)
    assert contents(home) == before


def test_small_files_replace_links_of_their_names(home: Path, tmp_path: Path) -> None:
    import numpy as np

    before = contents(home)
    linked(tmp_path, "a.wav", home / "notes.txt")
    write_wav(tmp_path / "a.wav", np.zeros(10, np.int16))
    linked(tmp_path, ".b.tmp", home / "notes.txt")
    with replacing(tmp_path / "b", sole=True) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.wav").stat().st_size > 20 and (tmp_path / "b").read_text() == "new"
    assert contents(home) == before


def test_a_sweep_takes_no_file_of_the_users(tmp_path: Path) -> None:
    """`--out` may be a folder with files of its owner, also below the folders that dawn-bench writes."""
    dead = "x.mp4.000000-1-aaaaaa.tmp"
    mine = [".tmpabc123", "sub/.editor-autosave.tmp", "sub/.tmpabc123", "outputs/.editor.tmp", "outputs/a/.tmpabc123",
            f"sub/.{dead}", ".model.safetensors.tmp"]  # fmt: skip
    theirs = [f".{dead}", f"outputs/a/.{dead}", "outputs/.c.mp4.0123456789ab.tmp"]
    for name in (*mine, *theirs):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        os.utime(path, (0, 0))
    sweep(tmp_path, "outputs")
    assert [name for name in mine if not (tmp_path / name).exists()] == []
    assert [name for name in theirs if (tmp_path / name).exists()] == []
    sweep(tmp_path, written=("model.safetensors",))
    assert [name for name in mine if not (tmp_path / name).exists()] == [".tmpabc123", ".model.safetensors.tmp"]


def test_prepare_sweeps_its_own_names_only(cache: Path) -> None:
    mine = [".editor.tmp", "frames/.editor-autosave.tmp", "parts/.notes.json.tmp", "notes/x.running", "x.running"]
    theirs = [".cache.json.tmp", "frames/.frames-00000.safetensors.tmp", "parts/.00000.json.tmp",
              "pose/.pose-00000.safetensors.000000-1-aaaaaa.tmp", "parts/00000.running"]  # fmt: skip
    for name in (*mine, *theirs):
        (cache / name).parent.mkdir(exist_ok=True)
        (cache / name).write_text("x")
    prepare(cache.parent / "videos", cache, SETTINGS, tools=FakeTools())
    assert [name for name in mine if not (cache / name).exists()] == []
    assert [name for name in theirs if (cache / name).exists()] == []
