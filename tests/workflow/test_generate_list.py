"""`generate --list`: a clip a row, what a row may say, rows that fail, going on, and the same bytes for all workers."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from dawn_bench import weights
from dawn_bench.cache import Cache
from dawn_bench.cli import app
from dawn_bench.errors import InputError
from dawn_bench.files import write_atomic
from dawn_bench.models import loading
from dawn_bench.models.generator import TalkingStream
from dawn_bench.models.spec import MODELS
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.progress import meter
from dawn_bench.storage import StorageError
from dawn_bench.workflow import generate_list as module
from dawn_bench.workflow.generate import Generation
from dawn_bench.workflow.generate_list import ClipJob, ListedClips, generate_list
from dawn_bench.workflow.generation_rows import checkpoint_identity, read_rows


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of a folder, markers and records too."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_list(path: Path, rows: Sequence[Mapping[str, Any]], *, encoding: str = "utf-8") -> Path:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


class Model:
    """Writes the settings of a clip in place of frames, and remembers them."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def stream(self, image: Any, audio: Any, **options: Any) -> Any:
        self.calls.append({"image": image, "audio": audio, **options})
        if "broken" in audio.name:
            raise InputError("holds no sound.", path=audio, hint="Give another.")
        if "crash" in audio.name:
            raise RuntimeError("a fault\nof the network")
        if "full" in audio.name:
            raise OSError(28, "No space left on device")
        with meter("sample", total=3):
            text = json.dumps({"options": str(sorted(options.items())), "audio": audio.read_text()})
        return _Clip(text)


class _Clip(TalkingStream):
    """A stream whose file is a text."""

    def __init__(self, text: str) -> None:
        super().__init__(iter([]), 5, np.zeros(0, np.int16), 25, notes=("a note",))
        object.__setattr__(self, "text", text)

    def save(self, path: str | Path) -> Path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(Path(path), self.text.encode())  # type: ignore[attr-defined]
        return Path(path)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Model:
    """A model that is loaded once; its checkpoint is a folder of one file."""
    loads: list[Any] = []
    generator = Model()
    generator.loads = loads  # type: ignore[attr-defined]

    def load(checkpoint: Path, *, device: str, model: str | None) -> Model:
        loads.append((checkpoint, device, model))
        return generator

    monkeypatch.setattr(loading, "load_model", load)
    monkeypatch.setattr(loading, "find_model", lambda _: MODELS["dawn"])
    module._loaded.cache_clear()
    (tmp_path / "run" / "lfg").mkdir(parents=True)
    (tmp_path / "run" / "lfg" / "model.safetensors").write_bytes(b"weights")
    return generator


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """The folder of the list, with sounds and portraits."""
    folder = tmp_path / "lists"
    folder.mkdir()
    for name in ("a", "b", "broken", "crash", "full"):
        (folder / f"{name}.wav").write_text(f"sound {name}")
        (folder / f"{name}.png").write_text(f"picture {name}")
    return folder


def job(items: Path, **changes: Any) -> Generation:
    given = {"items": items, "checkpoint": items.parents[1] / "run", "device": "cpu", "jobs": 1}
    return Generation(**{**given, **changes})


def row(name: str, **more: Any) -> dict[str, Any]:
    return {"image": f"{name}.png", "audio": f"{name}.wav", "out": f"out/{name}.mp4", **more}


def test_each_row_is_a_clip_and_the_model_is_loaded_once(
    model: Model, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row("a", seed=3, steps=7, pose="p.npz", window=20), row("b", drive=str(inputs / "d.mp4"), face="left")]
    done = generate_list(job(write_list(inputs / "items.csv", rows), seed=5, options={"window": 9}, eta=0.5))
    out = inputs / "out"
    assert done == ListedClips({out / "a.mp4": 5, out / "b.mp4": 5}, (), {})
    assert done.summary == "2 clips: 2 generated"
    assert len(model.loads) == 1  # type: ignore[attr-defined]
    first, second = model.calls
    assert (first["image"], first["audio"]) == (inputs / "a.png", inputs / "a.wav"), "relative to the list"
    assert (first["seed"], first["steps"], first["window"], first["eta"]) == (3, 7, 20, 0.5)
    assert (first["pose"], second["drive"]) == (inputs / "p.npz", inputs / "d.mp4")
    assert (second["seed"], second["window"], second["eta"]) == (5, 9, 0.5) and "steps" not in second, "empty cells"
    assert second["person"] == "left" and second["face"] == "auto" and "person" not in first
    assert {path.name for path in out.iterdir()} == {"a.mp4", "a.mp4.json", "b.mp4", "b.mp4.json"}
    shown = capsys.readouterr().err
    assert "line 2 (a.mp4): a note" in shown and "sample" not in shown


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_of_editors_and_spreadsheets_are_read(encoding: str, model: Model, inputs: Path) -> None:
    (inputs / "ä ö.wav").write_text("sound")
    rows = [{"--Image": "a.png", "Audio": "ä ö.wav", "OUT": "new, folder/é.mp4", "max-seconds": "1.5"}]
    generate_list(job(write_list(inputs / "items.csv", rows, encoding=encoding)))
    assert model.calls[0]["audio"] == inputs / "ä ö.wav" and model.calls[0]["max_seconds"] == 1.5
    assert (inputs / "new, folder" / "é.mp4").is_file()


def test_a_row_that_fails_is_one_line_and_the_others_go_on(
    model: Model, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row("broken"), row("a"), row("crash"), row("b", seed="many"), row("b", out="b.avi"), {"out": "c.mp4"},
            row("b", steps=0), row("b", out="b.mp4")]  # fmt: skip
    items = write_list(inputs / "items.csv", rows)
    done = generate_list(job(items))
    assert {path.name for path in done.written} == {"a.mp4", "b.mp4"} and not done.kept
    assert done.failed == {
        2: f"{inputs / 'broken.wav'}: holds no sound. Give another.",
        4: "RuntimeError: a fault of the network",
        5: done.failed[5],
        6: f"{inputs / 'b.avi'}: is not an mp4 file name. Example: --out talk.mp4",
        7: "audio is required: speech: any sound or video file, of any length.",
        8: done.failed[8],
    }
    assert done.failed[5].startswith("column 'seed': ") and done.failed[8].startswith("column 'steps': ")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"{items}: line ")]
    assert len(lines) == 6 and f"{items}: line 2 (broken.mp4): {inputs / 'broken.wav'}: holds no sound." in "".join(
        lines
    )
    assert done.summary == "8 clips: 2 generated, 6 failed"
    assert not list(inputs.rglob("*.running")), "markers are gone"


def test_a_row_that_cannot_be_written_is_one_line_and_the_others_go_on(model: Model, inputs: Path) -> None:
    (inputs / "loop").symlink_to(inputs / "loop")
    (inputs / "out" / "r.mp4.json").mkdir(parents=True)
    (inputs / "out" / "folder.mp4").mkdir()
    outs = ["a.wav/x.mp4", f"{'n' * 300}.mp4", f"{'n' * 249}.mp4", "loop/x.mp4", "out/\0x.mp4", "out/r.mp4",
            "out/folder.mp4", "/proc/nope/x.mp4", "out/good.mp4"]  # fmt: skip
    done = generate_list(job(write_list(inputs / "items.csv", [row("a", out=out) for out in outs])))
    assert set(done.written) == {inputs / "out" / "good.mp4"}
    assert set(done.failed) == set(range(2, 10))
    assert all("\n" not in why and "run it again" not in why for why in done.failed.values())
    assert "is a folder" in done.failed[7] and "File name too long" in done.failed[4] and "NUL" in done.failed[6]
    assert {path.name for path in (inputs / "out").iterdir()} == {
        "good.mp4", "good.mp4.json", "r.mp4.json", "folder.mp4"
    }  # fmt: skip


def test_a_clip_whose_place_becomes_a_folder_is_a_failure_of_its_own(model: Model, inputs: Path) -> None:
    """The second row's folder is the first one's file."""
    outs = ["out/a.mp4", "out/a.mp4/b.mp4", "out/c.mp4"]
    done = generate_list(job(write_list(inputs / "items.csv", [row("a", out=out) for out in outs])))
    assert set(done.failed) == {2} and len(done.written) == 2


def test_a_full_disk_ends_the_run_and_is_no_fault_of_a_row(model: Model, inputs: Path) -> None:
    items = write_list(inputs / "items.csv", [row("a"), row("full"), row("b")])
    with pytest.raises(StorageError, match="disk is full"):
        generate_list(job(items))
    assert generate_list(job(write_list(items, [row("a"), row("b")]))).kept == (inputs / "out" / "a.mp4",)


def test_without_a_clip_the_first_reason_is_given(model: Model, inputs: Path) -> None:
    items = write_list(inputs / "items.csv", [row("broken"), row("b", seed="x")])
    with pytest.raises(InputError, match=r"items\.csv: none of 2 clips could be generated; line 2: .*holds no sound"):
        generate_list(job(items))


def test_a_clip_that_is_there_is_not_generated_again(model: Model, inputs: Path) -> None:
    items, out = write_list(inputs / "items.csv", [row("a"), row("b")]), inputs / "out"
    generate_list(job(items))
    before = digests(out)

    def again(**changes: Any) -> set[str]:
        model.calls.clear()
        done = generate_list(job(items, **changes))
        assert len(done.written) + len(done.kept) == 2
        assert {path.name for path in done.written} == {f"{call['audio'].stem}.mp4" for call in model.calls}
        return {path.name for path in done.written}

    assert again() == set() and digests(out) == before
    assert again(strict=True) == set(), "how it is generated does not matter"
    changes: dict[str, Callable[[], object]] = {
        "the sound": lambda: (inputs / "a.wav").write_text("another"),
        "the portrait": lambda: (inputs / "a.png").write_text("another"),
        "a damaged clip": lambda: (out / "a.mp4").write_bytes(b"short"),
        "a missing clip": lambda: (out / "a.mp4").unlink(),
        "a missing record": lambda: (out / "a.mp4.json").unlink(),
        "a damaged record": lambda: (out / "a.mp4.json").write_text("{"),
        "a setting of the row": lambda: write_list(items, [row("a", seed=1), row("b")]),
    }
    for name, change in changes.items():
        change()
        assert again() == {"a.mp4"}, name
        assert again() == set(), name
    assert again(steps=3) == {"a.mp4", "b.mp4"}
    assert again(options={"window": 3}) == {"a.mp4", "b.mp4"}
    (inputs.parent / "run" / "lfg" / "model.safetensors").write_bytes(b"trained longer")
    assert again() == {"a.mp4", "b.mp4"}


def test_a_clip_is_of_every_stage_of_its_run_and_of_the_networks_that_drive_it(
    model: Model, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the checkpoint is the file of one stage: the whole run is loaded."""
    monkeypatch.setenv(weights.ENVIRONMENT, str(inputs / "weights"))
    run, dawn = inputs.parent / "run", MODELS["dawn"]
    (run / "a2v-1").mkdir()
    (run / "a2v-1" / "model.safetensors").write_bytes(b"weights")
    seen = [checkpoint_identity(run, dawn)]
    assert checkpoint_identity(run / "lfg" / "model.safetensors", dawn) == seen[0]

    def change(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"another")
        seen.append(checkpoint_identity(run / "lfg" / "model.safetensors", dawn))

    change(run / "a2v-1" / "model.safetensors")
    change(run / "a2v-1" / "config.yaml")
    for name in ("hubert-large", "tddfa-v2"):
        change(inputs / "weights" / weights.entry(name).file)
    released = inputs / "released"
    for name in ("DAWN_128.pth", "LFG_128.pth"):
        (released / name).parent.mkdir(exist_ok=True)
        (released / name).write_bytes(b"weights")
    seen.append(checkpoint_identity(released / "DAWN_128.pth", dawn))
    (released / "LFG_128.pth").write_bytes(b"another")
    seen.append(checkpoint_identity(released / "DAWN_128.pth", dawn))
    assert len(set(seen)) == len(seen) == 7


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a", out="x.mp4"), row("b", out="./sub/../x.mp4")], r"lines 2 and 3 write one file: .*x\.mp4"),
        ([row("a", drive="out/b.mp4"), row("b")], r"line 3 would replace the drive of line 2: .*b\.mp4"),
        ([row("a", sed=3)], r"there is no column 'sed'\. Did you mean seed\?"),
        ([row("a", checkpoint="run")], "--checkpoint is for the whole list, not a column"),
        ([row("a", jobs=3)], "there is no column 'jobs'"),
        ([row("a", **{"max-seconds": 1, "max_seconds": 2})], "names the column 'max_seconds' twice"),
        ([{"image": "a.png", "out": "x.mp4"}], "has no column 'audio'"),
    ],
)
def test_a_list_that_is_ambiguous_is_refused_before_anything_is_generated(
    rows: list[dict[str, Any]], message: str, model: Model, inputs: Path
) -> None:
    with pytest.raises(InputError, match=rf"items\.csv: .*{message}"):
        generate_list(job(write_list(inputs / "items.csv", rows)))
    assert not model.calls and not (inputs / "out").exists()


def test_an_empty_list_and_a_second_output_are_refused(model: Model, inputs: Path) -> None:
    items = inputs / "items.csv"
    items.write_text("image,audio,out\n")
    with pytest.raises(InputError, match="has no row"):
        generate_list(job(items))
    with pytest.raises(InputError, match="--out is a column of --list"):
        generate_list(job(items, out="x.mp4"))


def test_a_sound_of_the_command_is_that_of_every_row(model: Model, inputs: Path) -> None:
    items = write_list(inputs / "items.csv", [{"image": "a.png", "out": "1.mp4"}, {"image": "b.png", "out": "2.mp4"}])
    generate_list(job(items, audio=inputs / "a.wav"))
    assert [call["audio"] for call in model.calls] == [inputs / "a.wav"] * 2


def test_every_setting_of_a_clip_may_be_a_column(inputs: Path) -> None:
    values = {
        "audio_track": 2, "crop": "paper", "drive": "d.mp4", "pose": "p.npz", "steps": 4, "eta": 0.5, "cond_scale": 0.5,
        "solver": "dpm2m", "pass_seconds": 9.0, "precision": "bf16", "compile": True, "max_seconds": 1.5,
        "face": "dlib", "person": "left", "drive_person": "2", "seed": 9,
    }  # fmt: skip
    of_the_list = {"items", "checkpoint", "model", "options", "device", "jobs", "devices", "strict"}
    assert set(values) == set(Generation.model_fields) - {"image", "audio", "out"} - of_the_list
    items = write_list(inputs / "items.csv", [row("a", **values)])
    (read,) = read_rows(job(items), MODELS["dawn"])
    assert read.clip is not None and not read.fault
    files = {"drive", "pose"}
    assert {name: getattr(read.clip, name) for name in values} == {
        name: inputs / str(value) if name in files else value for name, value in values.items()
    }


def test_torchrun_gives_each_process_its_share(model: Model, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = write_list(inputs / "items.csv", [row(name, out=f"out/{k}.mp4") for k, name in enumerate("ababa")])
    monkeypatch.setattr("dawn_bench.workflow.generate_list._of_all_processes", lambda listed: listed)
    seen = []
    for rank in range(2):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", str(rank))
        seen.append({int(path.stem) for path in generate_list(job(items, jobs=None)).written})
        with pytest.raises(InputError, match="do not go with torchrun"):
            generate_list(job(items, jobs=2))
    assert seen == [{0, 2, 4}, {1, 3}]


@pytest.mark.parametrize(("local", "device"), [("0", "cuda:0"), ("1", "cuda:1"), ("3", "cuda:1")])
def test_a_process_of_torchrun_uses_its_own_card(
    local: str, device: str, model: Model, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("dawn_bench.workflow.generate_list._of_all_processes", lambda listed: listed)
    for name, value in (("WORLD_SIZE", "4"), ("RANK", "0"), ("LOCAL_RANK", local)):
        monkeypatch.setenv(name, value)
    items = write_list(inputs / "items.csv", [row("a")])
    generate_list(job(items, jobs=None).model_copy(update={"device": "auto"}))
    assert [device for _, device, _ in model.loads] == [device]  # type: ignore[attr-defined]


def test_the_command_ends_with_3_where_a_row_failed_and_it_is_strict(model: Model, inputs: Path) -> None:
    items = write_list(inputs / "items.csv", [row("a"), row("broken")])
    words = ["generate", "--list", str(items), "--checkpoint", str(inputs.parent / "run"), "--device", "cpu"]
    words += ["--jobs", "1"]
    assert CliRunner().invoke(app, words).exit_code == 0
    done = CliRunner().invoke(app, [*words, "--strict"])
    assert done.exit_code == 3 and "2 clips: 0 generated, 1 already there, 1 failed" in done.output + done.stderr
    write_list(items, [row("a")])
    assert CliRunner().invoke(app, [*words, "--strict"]).exit_code == 0


def test_without_a_number_there_is_a_worker_for_a_device_or_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 32)

    def workers(**given: Any) -> tuple[Any, int]:
        return module._where(Generation(checkpoint="run", items="i.csv", **given))

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert workers(device="cpu")[1] == workers()[1] == module.MOST_JOBS == 8
    assert workers(device="cpu", jobs=20) == ("cpu", 20) and workers(jobs=1) == ("auto", 1)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert workers() == ("auto", 1) and workers(device="cuda:1") == ("cuda:1", 1)
    where, number = workers(devices=("all",))
    assert (where.names, number) == (("cuda:0", "cuda:1"), 2)
    assert workers(device="cpu")[1] == 8


def test_several_workers_need_a_list(tmp_path: Path) -> None:
    from dawn_bench.workflow.generate import generate

    for given in ({"jobs": 2}, {"devices": ("cpu",)}):
        with pytest.raises(InputError, match="--jobs and --devices are for several clips"):
            generate(Generation(audio="a.wav", out="a.mp4", checkpoint="run", **given))
    with pytest.raises(InputError, match="--audio is required: speech"):
        generate(Generation(out="a.mp4", checkpoint="run"))
    with pytest.raises(InputError, match="--out is required: the mp4 file to write"):
        generate(Generation(audio="a.wav", checkpoint="run"))


# --- the micro model, in processes -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def portraits(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of four short clips."""
    folder = tmp_path_factory.mktemp("portraits")
    rows = []
    for k, clip in enumerate(list(Cache(tiny_cache))[:4]):
        cv2.imwrite(str(folder / f"{k}.png"), np.asarray(clip["frames"][0])[..., ::-1])
        write_wav(folder / f"{k}.wav", np.asarray(clip["audio"])[: 640 * 8])
        rows.append({"image": f"{k}.png", "audio": f"{k}.wav", "out": f"out/{k}.mp4", "seed": k})
    write_list(folder / "items.csv", rows)
    return folder


def settings(folder: Path, run: Path, *, jobs: int = 1) -> Generation:
    return Generation(items=folder / "items.csv", checkpoint=run, device="cpu", crop="paper", steps=1, jobs=jobs)


@pytest.fixture(scope="module")
def of_one_process(portraits: Path, micro_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one process writes."""
    folder = shutil.copytree(portraits, tmp_path_factory.mktemp("one") / "list")
    done = generate_list(settings(folder, micro_run))
    assert not done.failed
    written = digests(folder / "out")
    assert len(written) == 8 and len({written[f"{k}.mp4"] for k in range(4)}) == 4
    return written


def test_two_workers_write_the_bytes_of_one_and_finish_what_a_killed_run_left(
    portraits: Path, micro_run: Path, of_one_process: dict[str, str], tmp_path: Path
) -> None:
    """Of the killed run: two finished clips, one without its record, one half written, and the markers of both."""
    folder = shutil.copytree(portraits, tmp_path / "list")
    generate_list(settings(folder, micro_run))
    (folder / "out" / "2.mp4.json").unlink()
    for name in ("3.mp4", "3.mp4.json"):
        (folder / "out" / name).unlink()
    for name in ("2.mp4", "3.mp4"):
        (folder / "out" / f".{name}.running").write_text(name)
    done = generate_list(settings(folder, micro_run, jobs=2))
    assert {path.name for path in done.written} == {"2.mp4", "3.mp4"}
    assert {path.name for path in done.kept} == {"0.mp4", "1.mp4"}
    assert digests(folder / "out") == of_one_process


@pytest.mark.slow
def test_two_processes_of_torchrun_write_the_bytes_of_one(
    portraits: Path, micro_run: Path, of_one_process: dict[str, str], tmp_path: Path
) -> None:
    folder = shutil.copytree(portraits, tmp_path / "list")
    lines = (folder / "items.csv").read_text().splitlines()
    (folder / "items.csv").write_text("\n".join([*lines, "0.png,missing.wav,out/4.mp4,0"]))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "dawn_bench", "generate"]
    words = ["--list", "items.csv", "--checkpoint", str(micro_run), "--steps", "1", "--crop", "paper"]
    command += [*words, "--device", "cpu", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert (done.stdout + done.stderr).count("5 clips: 4 generated, 1 failed") == 1, done.stderr
    assert done.returncode and "exitcode  : 3" in done.stderr
    assert digests(folder / "out") == of_one_process


def test_a_clip_on_which_the_worker_died_is_a_failure_of_its_own(tmp_path: Path) -> None:
    clip = Generation(audio="a.wav", out=tmp_path / "a.mp4", checkpoint="run")
    report = ClipJob(7, clip, "key", killers=frozenset({"a.mp4"})).work()
    assert (report.number, report.failure) == (7, "the worker process died on it, twice.")


def test_all_processes_return_the_result_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [ListedClips({Path("a"): 3}, (Path("b"),), {5: "x"}), ListedClips({Path("c"): 4}, (), {2: "y"})]

    def gather(into: list[Any], own: ListedClips) -> None:
        into[:] = parts
        assert own in parts

    calls: list[str] = []
    monkeypatch.setattr("torch.distributed.init_process_group", lambda backend, **_: calls.append(backend))
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: calls.append("end"))
    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    monkeypatch.setenv("WORLD_SIZE", "2")
    joined = ListedClips({Path("a"): 3, Path("c"): 4}, (Path("b"),), {2: "y", 5: "x"})
    assert [module._of_all_processes(part) for part in parts] == [joined, joined]
    assert calls == ["gloo", "end"] * 2
