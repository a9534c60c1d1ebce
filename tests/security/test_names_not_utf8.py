r"""Names whose bytes are not UTF-8 are written as `\xNN`, in every file and on the console; no run ends over one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from micro import micro_train

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError, ItemError
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded
from dawn_bench.reports.page import write_report
from dawn_bench.reports.store import Facts, GalleryItem, ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.terminal import visible
from dawn_bench.training.resume import MODEL_FILE
from dawn_bench.utf8 import escape_invalid
from dawn_bench.workflow.evaluate import evaluate_methods
from dawn_bench.workflow.evaluation import Evaluation

BAD = os.fsdecode(b"caf\xe9")
SHOWN = r"caf\xe9"


def test_the_rule() -> None:
    assert escape_invalid(BAD) == SHOWN
    assert escape_invalid("plain, ünïcode 人 😀") == "plain, ünïcode 人 😀"
    assert escape_invalid("\ud800") == r"\ud800"
    assert str(ItemError("unreadable", f"{BAD}.mp4: is empty")) == rf"unreadable: {SHOWN}.mp4: is empty"
    assert str(InputError("is absent.", path=Path(BAD))) == rf"{SHOWN}: is absent."


def test_a_run_over_such_names_ends_with_an_index(tmp_path: Path) -> None:
    write_embedded(tmp_path / "e", speakers=1, clips=1, seconds=1, size=128)
    (good,) = (tmp_path / "e" / "VideoFlash").glob("*.mp4")
    root = tmp_path / os.fsdecode(b"root\xff") / BAD
    root.mkdir(parents=True)
    (root / f"{BAD}.mp4").write_bytes(good.read_bytes())
    (root / f"{BAD}-broken.mp4").write_bytes(b"not a video")
    settings = PrepareSettings(size=32, face="dlib", extract=())
    for resumed in (0, 2):
        report = prepare(root, tmp_path / f"c{BAD}", settings, jobs=1)
        assert (report.ok, dict(report.quarantined), report.resumed) == (1, {"unreadable": 1}, resumed)
    index = Cache(tmp_path / f"c{BAD}").index
    assert sorted(index["source"]) == [rf"{SHOWN}-broken.mp4", rf"{SHOWN}.mp4"]
    assert index[index["status"] != "ok"]["detail"].iloc[0].startswith(rf"{SHOWN}-broken.mp4: ")
    facts = json.loads((tmp_path / f"c{BAD}" / "cache.json").read_text(encoding="utf-8"))
    assert facts["root"].endswith(rf"root\xff/{SHOWN}")
    (clip,) = Cache(tmp_path / f"c{BAD}")
    assert clip["frames"].shape[1:] == (32, 32, 3)


def test_results_name_such_files_and_still_read_them(tmp_path: Path) -> None:
    video = tmp_path / f"{BAD}.mp4"
    write_video(video, np.full((5, 32, 32, 3), 90, np.uint8))
    store = ResultsStore(tmp_path / f"results{BAD}")
    row = ScoreRow(method="m", dataset="d", split="test", protocol="p", metric="psnr", value=1.0, n_clips=1,
                   n_frames=5, fingerprint="f", note=escape_invalid(BAD))  # fmt: skip
    store.append([row])
    store.add_gallery([GalleryItem(clip_id="a", method="m", video=video, note=BAD)])
    store.set_facts(Facts(title=BAD, notes=[BAD]))
    assert store.gallery()[0].video.is_file()
    for path in write_report(store.root, store.root / "report"):
        text = path.read_text(encoding="utf-8").replace(r"\\", "\\")  # Markdown escapes the backslash
        assert SHOWN in text or path.suffix in (".tex", ".json")


def test_the_terminal_shows_such_names_by_the_rule() -> None:
    assert visible(f"{BAD}.mp4\x1b[2J") == rf"{SHOWN}.mp4\x1b[2J"


def test_the_command_line_prints_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dawn_bench", "report", tmp_path / BAD]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 2 and rf"{SHOWN}: " in done.stderr.decode("utf-8")


def test_training_writes_and_reads_a_run_of_such_a_name(tiny_cache: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_cache, tmp_path / f"c{BAD}")
    plain, named = tmp_path / "run", tmp_path / f"run{BAD}"
    micro_train(tiny_cache, plain, stage="pbnet")
    for resume in (False, True):
        micro_train(tmp_path / f"c{BAD}", named, stage="pbnet", resume=resume)
    expected, module = (load_checkpoint(run / "pbnet" / MODEL_FILE, "pbnet")[0] for run in (plain, named))
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), expected.parameters(), strict=True))
    assert (named / "pbnet" / "metrics.jsonl").stat().st_size


def test_outputs_of_such_names_are_scored(tiny_cache: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_cache, tmp_path / f"c{BAD}")
    outputs = tmp_path / f"outputs{BAD}"
    outputs.mkdir()
    for clip in Cache(tiny_cache).clips("test"):
        write_video(outputs / f"{clip.id}.mp4", np.asarray(clip["frames"]))
    job = Evaluation(cache=tmp_path / f"c{BAD}", out=tmp_path / f"r{BAD}", outputs=outputs, methods=("mine",),
                     metrics=("psnr",), sanity=False, device="cpu")  # fmt: skip
    done = evaluate_methods(job)
    (row,) = ResultsStore(job.out).rows()
    assert row.coverage == 1 and row.value == done.rows[0].value and done.report.is_file()
    assert SHOWN in row.data_name
    with pytest.raises(InputError, match=r"the method name caf\\xe9 is not UTF-8"):
        evaluate_methods(job.model_copy(update={"methods": (BAD,)}))
