"""`dawn-bench` alone: what is in the present folder, and the next command; quick, harmless, and never at a loss."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dawn_bench.cli.home import home
from dawn_bench.workflow import where
from dawn_bench.workflow.next_steps import after_prepare, here
from dawn_bench.workflow.where import survey


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def a_cache(folder: Path, *, finished: bool = True, **settings: object) -> None:
    plan = {
        "root": "/data/my videos",
        "settings": {"dataset": "folder", "size": 64, **settings},
        "groups": [["a"], ["b"]],
    }
    write(folder / "plan.json", json.dumps(plan))
    write(folder / "parts" / "00000.json")
    if finished:
        write(folder / "cache.json", json.dumps({"dataset": "folder", "size": 64}))
        write(folder / "index.parquet")


def a_run(folder: Path, *, trained: tuple[str, ...] = ("lfg", "pbnet")) -> None:
    write(folder / "settings-dawn.yaml", "preset: tiny\nlfg:\n  loop:\n    steps: 300\npbnet:\n  loop:\n    steps: 9\n")
    for stage in ("lfg", "pbnet"):
        write(folder / stage / "config.yaml", "model:\n  a: 1\nloop:\n  batch_size: 2\n  steps: 300\n")
        write(folder / stage / "metrics.jsonl", '{"step": 40}\n{"step": 80}\n{"st')
        if stage in trained:
            write(folder / stage / "model.safetensors")


def results(folder: Path, *, page: bool = True) -> None:
    write(folder / "rows" / "1.jsonl", "{}\n")
    write(folder / "facts.json", json.dumps({"title": "dawn-bench: crema, test split"}))
    if page:
        write(folder / "report" / "report.html")


def next_command(folder: Path) -> str | None:
    command = home(folder)[0]["next"]
    assert command is None or isinstance(command, str)
    return command


def test_the_next_command_follows_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert next_command(Path()) == "dawn-bench quickstart --out demo"
    write(tmp_path / "my videos" / "a.MP4")
    assert next_command(Path()) == "dawn-bench prepare --root 'my videos' --cache cache"
    a_cache(tmp_path / "caches" / "crema")
    assert next_command(Path()) == "dawn-bench train --cache caches/crema --out runs/crema --stage all"
    a_run(tmp_path / "runs" / "crema", trained=("lfg",))
    assert next_command(Path()) == (
        "dawn-bench train --cache caches/crema --out runs/crema "
        "--config runs/crema/settings-dawn.yaml --stage all --resume"
    )
    assert "lfg trained, pbnet at step 80 of 300" in survey(Path()).of("run")[0].words
    a_run(tmp_path / "runs" / "crema")
    words = "--method dawn --checkpoint runs/crema --cache caches/crema --out results/crema"
    assert next_command(Path()) == f"dawn-bench evaluate {words}"
    results(tmp_path / "results" / "crema", page=False)
    assert next_command(Path()) == "dawn-bench report results/crema"
    results(tmp_path / "results" / "crema")
    assert next_command(Path()) is None
    assert "next: open results/crema/report/report.html in a browser" in home(Path())[1]


def test_a_cache_that_was_stopped_is_continued_with_its_own_settings(tmp_path: Path) -> None:
    a_cache(tmp_path / "c", finished=False, size=128, dataset="crema", require_audio=False, face="dlib")
    words = here(survey(tmp_path))
    assert words == ("prepare", "--root", "/data/my videos", "--dataset", "crema", "--allow-silent", "--cache", "c")
    assert survey(tmp_path).places[0].words == "crema, 128 px, 1 of 2 groups of clips done"
    script = (
        "import sys; from pathlib import Path; from dawn_bench.cli.home import home; home(Path()); "
        "heavy = {'torch', 'pandas', 'pyarrow', 'cv2', 'av', 'scipy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    ("written", "step"),
    [
        ((), "dataset"),
        (("dataset/complete",), "prepare"),
        (("dataset/complete", "cache/cache.json", "cache/index.parquet"), "train"),
    ],
)
def test_a_stopped_quickstart_says_where_and_is_continued(tmp_path: Path, written: tuple[str, ...], step: str) -> None:
    write(tmp_path / "demo" / "quickstart.json", json.dumps({"preset": "small", "seed": 3}))
    for name in written:
        write(tmp_path / "demo" / name, "{}")
    place = survey(tmp_path).of("quickstart")[0]
    assert (place.state, place.words) == ("stopped", f"at step {step}")
    assert here(survey(tmp_path)) == ("quickstart", "--out", "demo", "--preset", "small", "--seed", "3")


def test_a_finished_quickstart_shows_its_page(tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    write(demo / "quickstart.json", json.dumps({"preset": "tiny", "seed": 0}))
    write(demo / "dataset" / "complete")
    a_cache(demo / "cache")
    a_run(demo / "run")
    results(demo / "results")
    write(demo / "results" / "facts.json", json.dumps({"learning": [{}]}))
    assert survey(tmp_path).of("quickstart")[0].state == "done" and here(survey(tmp_path)) is None
    write(demo / "results" / "facts.json", json.dumps({"learning": []}))
    assert survey(tmp_path).of("quickstart")[0].words == "at step report"


def test_strange_folders_are_shown_and_nothing_is_written_or_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "here"
    a_cache(outside)
    write(folder / "broken" / "cache.json", "[" * 100_000)
    write(folder / "broken" / "index.parquet")
    write(folder / "odd" / "quickstart.json", '["a list"]')
    plan = {
        "root": 5,
        "settings": {"extract": 3, "like": [], "dataset": {}, "size": "x" * 999},
        "added": 4,
        "groups": 1,
    }
    write(folder / "stopped" / "plan.json", json.dumps(plan))
    write(folder / "stopped" / "parts" / "0.json")
    write(folder / "titled" / "facts.json", json.dumps({"title": "x" * 200_000}))
    write(folder / "titled" / "rows" / "1.jsonl")
    write(folder / "trained" / "lfg" / "config.yaml", "loop: [")
    write(folder / "trained" / "lfg" / "metrics.jsonl", "\x00\n[1]\n")
    (folder / "piped").mkdir()
    os.mkfifo(folder / "piped" / "cache.json")
    (folder / "linked").symlink_to(outside)
    (folder / "half").mkdir()
    (folder / "half" / "cache.json").symlink_to(outside / "cache.json")
    (folder / "half" / "index.parquet").touch()
    (folder / "\x1b[31m").mkdir()
    a_cache(folder / "\x1b[31m" / "c")
    before = sorted(folder.rglob("*"))
    done = subprocess.run([sys.executable, "-m", "dawn_bench"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and "\x1b" not in done.stdout
    assert sorted(folder.rglob("*")) == before
    kinds = {str(p.path): (p.kind, p.facts) for p in survey(folder).places}
    assert "linked" not in kinds and kinds["half"] == ("cache", {})
    assert kinds["odd"][0] == "quickstart" and kinds["broken"][0] == "cache"
    assert (kinds["stopped"][0], kinds["titled"][0], kinds["trained"][0]) == ("cache", "results", "run")
    for name in ("stopped", "titled", "trained", "broken"):  # each alone has a next command
        assert home(folder / name)[1] and len(max(home(folder / name)[1], key=len)) < 400


def test_a_large_folder_is_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (tmp_path / f"{number:02d}").mkdir()
    monkeypatch.setattr(where, "MOST_ENTRIES", 10)
    assert not survey(tmp_path).complete
    monkeypatch.setattr(where, "MOST_ENTRIES", 100)
    assert survey(tmp_path).complete


def test_a_run_in_progress_is_called_running(tmp_path: Path) -> None:
    from filelock import FileLock

    a_cache(tmp_path / "c", finished=False)
    with FileLock(tmp_path / "c" / ".lock"):
        if "FLOCK" not in Path("/proc/locks").read_text():
            pytest.skip("this system does not list its locks")
        assert survey(tmp_path).places[0].state == "running"
        assert here(survey(tmp_path)) is None
    assert survey(tmp_path).places[0].state == "stopped"


def test_paths_of_the_next_command_are_beside_what_they_follow() -> None:
    assert after_prepare(Path("demo/cache")) == (
        "train",
        "--cache",
        "demo/cache",
        "--out",
        "demo/run",
        "--stage",
        "all",
    )
    assert after_prepare(Path("/x/my cache"), meshes=True)[3:] == (
        "--out", "/x/my cache-run", "--stage", "all", "--model", "diffspeaker"
    )  # fmt: skip


def test_a_cache_without_clips_to_train_on_is_exported_for_a_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "mine"
    a_cache(cache)
    for splits, command in ((["test", "test"], "cache"), (["train", "test"], "train"), (["val"], "train")):
        pq.write_table(pa.table({"split": splits}), cache / "index.parquet")
        assert after_prepare(cache)[0] == command
    pq.write_table(pa.table({"split": ["test"]}), cache / "index.parquet")
    assert after_prepare(cache)[-1] == str(tmp_path / "mine-items")
    monkeypatch.chdir(tmp_path)
    assert "next: dawn-bench cache export mine --split test --format inputs --out mine-items" in home(Path())[1]


def test_a_cache_is_shown_by_the_name_that_it_was_given(tmp_path: Path) -> None:
    a_cache(tmp_path / "c")
    write(tmp_path / "c" / "cache.json", json.dumps({"name": "lab", "dataset": "folder", "size": 64}))
    assert "  cache       c  lab, folder, 64 px" in home(tmp_path)[1]


def test_a_name_of_two_lines_is_one_line_of_the_list(tmp_path: Path) -> None:
    place = tmp_path / "a\nb"
    place.mkdir()
    (place / "cache.json").write_text("{}")
    (place / "index.parquet").touch()
    assert [line.split()[1] for line in home(tmp_path)[1] if line.startswith("  cache")] == [r"a\nb"]


@pytest.mark.parametrize("index", [True, False])
def test_a_cache_whose_facts_cannot_be_read_is_damaged_and_neither_done_nor_stopped(
    index: bool, tmp_path: Path
) -> None:
    for name in ("broken", "pipe"):
        (tmp_path / name).mkdir()
        if index:
            (tmp_path / name / "index.parquet").touch()
    (tmp_path / "broken" / "cache.json").write_text("{")
    os.mkfifo(tmp_path / "pipe" / "cache.json")
    places = survey(tmp_path).of("cache")
    assert [(str(place.path), place.state) for place in places] == [("broken", "damaged"), ("pipe", "damaged")]
    assert all(place.words.startswith("cache.json cannot be read") for place in places)
    assert "--cache" not in (here(survey(tmp_path)) or ())
