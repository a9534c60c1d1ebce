"""Two commands in one folder: the second is refused and told who is there; merged files lose nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from micro import micro_train

from dawn_bench.errors import InputError
from dawn_bench.files import replacing, sweep, temporary_path
from dawn_bench.locks import exclusive
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.reports.store import Facts, GalleryItem, ResultsStore
from dawn_bench.training import holdout, logger, resume
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods
from dawn_bench.workflow.folders import results_folder, run_folder
from dawn_bench.workflow.quickstart import plan_for, run_quickstart
from dawn_bench.workflow.reproduce import Reproduction, reproduce


def test_a_second_evaluation_is_refused_and_changes_nothing(tiny_cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    job = Evaluation(cache=tiny_cache, out=out, methods=("still",), metrics=("psnr",), sanity=False, device="cpu")
    table = Reproduction(cache=tiny_cache, out=out, table="table3", split="test", device="cpu")
    with results_folder(out):
        for second in (lambda: evaluate_methods(job), lambda: reproduce(table)):
            with pytest.raises(InputError) as caught:
                second()
            text = str(caught.value)
            assert re.search(rf"r: is being evaluated by another run \(.*process {os.getpid()} on ", text), text
            assert text.endswith("or give another --out.") and "\n" not in text
        assert {p.name for p in out.iterdir()} == {".lock", ".lock-holder"}
    assert evaluate_methods(job).failed == []


def test_a_stage_is_trained_once_at_a_time(tiny_cache: Path, tmp_path: Path) -> None:
    with run_folder(tmp_path / "pbnet"), pytest.raises(InputError, match=r"pbnet: is being trained by another run"):
        micro_train(tiny_cache, tmp_path, stage="pbnet")
    with run_folder(tmp_path / "lfg"):  # another stage of the same run is no obstacle
        micro_train(tiny_cache, tmp_path, stage="pbnet")


def test_a_second_quickstart_is_refused(tmp_path: Path) -> None:
    (tmp_path / "quickstart.json").write_text(plan_for("tiny", seed=0).model_dump_json())
    with exclusive(tmp_path, doing="used", hint=""), pytest.raises(InputError, match="is being used by another run"):
        run_quickstart(tmp_path, plan_for("tiny", seed=0), jobs=1, device="cpu")


def test_a_lock_ends_with_its_holder_and_leaves_no_empty_folder(tmp_path: Path) -> None:
    script = "import os, sys; from pathlib import Path; from dawn_bench.locks import exclusive\n" \
        "with exclusive(Path(sys.argv[1]), doing='evaluated', hint=''): os.kill(os.getpid(), 9)"  # fmt: skip
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")])
    assert (tmp_path / "a" / ".lock-holder").is_file()
    with exclusive(tmp_path / "a", doing="evaluated", hint=""):
        assert f"process {os.getpid()} " in (tmp_path / "a" / ".lock-holder").read_text()
    with pytest.raises(KeyError), exclusive(tmp_path / "new", doing="evaluated", hint=""):
        raise KeyError
    assert not (tmp_path / "new").exists()


def test_galleries_and_facts_of_two_writers_are_merged(tmp_path: Path) -> None:
    def add(name: str) -> None:
        store = ResultsStore(tmp_path)
        for k in range(15):
            store.add_gallery([GalleryItem(clip_id=f"c{k}", method=name, video=tmp_path / f"{name}{k}.mp4")])
            store.set_facts(Facts(timings={f"{name} {k}": 1.0}))

    writers = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(ResultsStore(tmp_path).gallery()) == 60 and len(ResultsStore(tmp_path).facts().timings) == 60


def test_a_sweep_takes_what_dead_writers_left_and_nothing_else(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    living = temporary_path(tmp_path / "a.mp4")
    dead = living.with_name(living.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-"))
    elsewhere = tmp_path / ".b.mp4.000000-1-aaaaaa.tmp"
    old, foreign = tmp_path / "sub" / ".c.mp4.0123456789ab.tmp", tmp_path / ".tmpAb12Cd"
    mine = tmp_path / ".profile"  # and `foreign`, where no checkpoint is written
    (tmp_path / "sub").mkdir()
    for path in (living, dead, elsewhere, old, foreign, mine):
        path.write_bytes(b"x")
    sweep(tmp_path, only=tmp_path / "a.mp4")
    assert not dead.exists() and old.exists() and foreign.exists()
    sweep(tmp_path, "sub")
    assert {p for p in tmp_path.rglob(".*")} == {living, elsewhere, mine, foreign}
    sweep(tmp_path, "sub", written=("model.safetensors",))
    assert {p for p in tmp_path.rglob(".*")} == {living, elsewhere, mine}


def test_what_a_killed_training_left_of_any_file_is_removed(tmp_path: Path) -> None:
    """Under the names that earlier versions gave, which say nothing of the writer."""
    kinds = (".json", ".yaml", ".pt", ".safetensors")
    constants = [value for module in (resume, holdout, logger) for value in vars(module).values()]
    names = {value for value in constants if isinstance(value, str) and value.endswith(kinds)}
    assert len(names) > 5
    for name in names:
        (tmp_path / f".{name}.tmp").touch()
    with run_folder(tmp_path):
        assert not {p.name for p in tmp_path.iterdir()} & {f".{name}.tmp" for name in names}
        for name in names:
            (tmp_path / f".{name}.tmp").touch()
    assert not list(tmp_path.glob("*.tmp"))


def test_two_writers_of_one_output_leave_one_whole_file(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
    write_video(tmp_path / "alone.mp4", frames, lossless=True)

    def slowly() -> object:
        for k, frame in enumerate(frames):
            if k == 5:
                write_video(tmp_path / "out.mp4", frames, lossless=True)
            yield frame

    write_video(tmp_path / "out.mp4", slowly(), lossless=True)  # type: ignore[arg-type]
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "alone.mp4").read_bytes()
    with replacing(tmp_path / "x") as one, replacing(tmp_path / "x") as other:
        assert one != other
        one.touch(), other.touch()
