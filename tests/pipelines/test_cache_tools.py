"""`cache verify | stats | export`, and the `prepare` command around the library call."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import typer
from fake_tools import FakeTools, write_video
from numbered_cache import LENGTHS, SPLITS, write_numbered_meshes
from typer.testing import CliRunner

import dawn_bench.pipelines.preparation.export as export_module
from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.pipelines.preparation import plan
from dawn_bench.pipelines.preparation.export import export
from dawn_bench.pipelines.preparation.maintain import check_content, stats, verify
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.preparation.shards import ShardWriter, shard_name
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.readers import DamageError

SETTINGS = PrepareSettings(size=32, extract=("pose",))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for k in range(20):
        write_video(tmp_path / "videos" / f"clip {k:02d}.mp4", frames=5 + k, value=k, then={3: "no_face"}.get(k, ""))
    prepare(tmp_path / "videos", tmp_path / "c", SETTINGS, tools=FakeTools())
    return tmp_path / "c"


def test_verify_finds_every_kind_of_damage(cache: Path) -> None:
    report = verify(cache)
    assert (report.clips, report.left_out) == (stats(cache)["clips"], len(stats(cache)["quarantined"])) == (19, 1)
    assert (report.arrays, report.faults, report.loose) == (19 * 4, (), ())
    first, second, third, fourth = sorted((cache / "frames").iterdir())[:4]
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    second.unlink()
    third.write_bytes(third.read_bytes()[:100])
    fourth.with_name("frames-99999.safetensors").write_bytes(fourth.read_bytes())
    report = verify(cache)
    text = " ".join(what for _, _, what in report.faults)
    assert "checksum differs" in text and "is absent" in text and "cannot be read" in text
    assert {field for _, field, _ in report.faults} == {"frames"} and 3 <= len(report.faults) <= 6
    assert report.loose == ("frames/frames-99999.safetensors",)


def test_verify_finds_swapped_shards(cache: Path) -> None:
    first, second = sorted((cache / "pose").iterdir())[:2]
    second.write_bytes(first.read_bytes())
    assert any("cannot be read" in what for _, _, what in verify(cache).faults)


def test_each_entry_of_an_array_in_the_index_is_compared(cache: Path) -> None:
    """Of each field in turn: an index that says something else of it is a fault of that clip and field."""
    index = pd.read_parquet(cache / "index.parquet")
    first, last = index.index[0], index.index[-1]
    ids = [str(index.at[k, "id"]) for k in (first, last)]
    entries = [entry.name for entry in dataclasses.fields(plan._Stored)]
    for field, entry in itertools.product(Cache(cache).fields, entries):
        changed = index.copy()
        one, other = (changed.at[k, f"{field}.{entry}"] for k in (first, last))
        another = {"dtype": "float16", "shape": [1, *list(one)], "key": "nobody"}.get(entry, other)
        changed.at[first, f"{field}.{entry}"] = another
        changed.to_parquet(cache / "index.parquet")
        with pytest.raises(DamageError, match=f"{field} of clip {ids[0]}"):
            check_content(Cache(cache), ids[::-1])
        check_content(Cache(cache), ids[1:])
        if field == "pose":
            assert [(i, f) for i, f, _ in verify(cache).faults] == [(ids[0], field)], entry


def test_stats_count_what_is_there(cache: Path) -> None:
    facts = stats(cache)
    frames = sum(5 + k for k in range(20) if k != 3)
    assert (facts["clips"], facts["frames"], facts["frames_with_face"]) == (19, frames, 1.0)
    assert facts["hours"] == pytest.approx(frames / 25 / 3600)
    assert sum(row["frames"] for row in facts["splits"].values()) == frames
    assert [row[1] for row in facts["quarantined"]] == ["no_face"]
    assert facts["clips_with"] == {"audio": 19, "frames": 19, "pose": 19, "valid": 19}
    assert facts["bytes"]["frames"] > frames * 32 * 32 * 3


def test_stats_count_people_faces_and_fields_of_clips_that_differ(tmp_path: Path) -> None:
    """By clip: speaker, split, frames, frames with a face, and whether it has a pose."""
    clips = {"a": ("anna", "train", 10, 4, True), "b": ("anna", "train", 7, 7, False), "c": ("ben", "test", 5, 2, True)}
    rows = []
    with ShardWriter(tmp_path, number=0, ids=list(clips)) as writer:
        for name, (speaker, split, frames, seen, posed) in clips.items():
            writer.begin(name)
            writer.append("frames", np.zeros((frames, 32, 32, 3), np.uint8))
            writer.append("valid", np.arange(frames) < seen)
            if posed:
                writer.append("pose", np.zeros((frames, 7), np.float32))
            stored = {f"{f}.{k}": v for f, entry in writer.finish().items() for k, v in entry.items()}
            row = {"id": name, "speaker": speaker, "split": split, "n_frames": frames, "status": "ok"}
            rows.append(row | {"reason": "", "detail": ""} | stored)
        writer.close()
    pd.DataFrame(rows).to_parquet(tmp_path / "index.parquet")
    (tmp_path / "cache.json").write_text(json.dumps({"schema": 1, "dataset": "mine", "size": 32, "fps": 25}))
    facts = stats(tmp_path)
    assert [facts[k] for k in ("dataset", "size", "clips", "speakers", "frames")] == ["mine", 32, 3, 2, 22]
    assert facts["frames_with_face"] == pytest.approx(13 / 22)
    counted = {split: [row[k] for k in ("clips", "speakers", "frames")] for split, row in facts["splits"].items()}
    assert counted == {"train": [2, 1, 17], "test": [1, 1, 5]}
    assert facts["clips_with"] == {"frames": 3, "pose": 2, "valid": 3}
    assert facts["bytes"] == {f: (tmp_path / shard_name(f, 0)).stat().st_size for f in ("frames", "pose", "valid")}


@pytest.mark.parametrize("fps", [25, 30])
def test_hours_are_counted_at_the_rate_of_the_cache(tmp_path: Path, fps: int) -> None:
    facts = stats(write_numbered_meshes(tmp_path, fps=fps))
    assert facts["hours"] == pytest.approx(sum(LENGTHS) / fps / 3600)
    of = {split: sum(n for n, own in zip(LENGTHS, SPLITS, strict=True) if own == split) for split in SPLITS}
    assert {split: row["hours"] * 3600 * fps for split, row in facts["splits"].items()} == pytest.approx(of)


def test_exported_files_are_the_arrays(cache: Path, tmp_path: Path) -> None:
    assert export(cache, tmp_path / "out") == 19
    for clip in Cache(cache):
        folder = tmp_path / "out" / clip.id
        np.testing.assert_array_equal(np.load(folder / "frames.npy"), clip["frames"])
        np.testing.assert_array_equal(np.load(folder / "valid.npy"), clip["valid"])
        sound, rate = soundfile.read(folder / "audio.wav", dtype="int16")
        np.testing.assert_array_equal(sound, clip["audio"])
        write_wav(tmp_path / "same.wav", clip["audio"])  # by another writer: every number of the head
        assert (folder / "audio.wav").read_bytes() == (tmp_path / "same.wav").read_bytes()
        facts = json.loads((folder / "clip.json").read_text())
        assert rate == 16000 and facts["n_frames"] == clip.n_frames and facts["meta"]["face"] == "dlib"
        assert all(facts[name] == getattr(clip, name) for name in ("id", "speaker", "split", "fps"))
    with pytest.raises(InputError, match="already exists"):
        export(cache, tmp_path / "out")


def test_exported_tars_are_webdataset_samples(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "TAR_BYTES", 200_000)
    for name in ("x", "y"):
        assert export(cache, tmp_path / name, format="webdataset") == 19
    tars = sorted((tmp_path / "x").iterdir())
    assert len(tars) > 2
    assert [t.read_bytes() for t in tars] == [t.read_bytes() for t in sorted((tmp_path / "y").iterdir())]
    samples: dict[str, dict[str, bytes]] = {}
    for path in tars:
        with tarfile.open(path) as tar:
            for entry in tar:
                key, _, ending = entry.name.partition(".")  # as WebDataset groups files
                samples.setdefault(key, {})[ending] = tar.extractfile(entry).read()
    assert set(samples) == {clip.id for clip in Cache(cache)}
    for clip in Cache(cache):
        assert set(samples[clip.id]) == {"frames.npy", "pose.npy", "valid.npy", "audio.wav", "json"}
        np.testing.assert_array_equal(np.load(io.BytesIO(samples[clip.id]["frames.npy"])), clip["frames"])


def test_a_tar_that_is_exactly_full_takes_no_more(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(cache, tmp_path / "whole", format="webdataset")
    with tarfile.open(next((tmp_path / "whole").iterdir())) as tar:
        sizes = [entry.size for entry in tar]
    for few, count in ((sum(sizes[:10]), 2), (sum(sizes[:10]) + 1, 3)):  # five files a clip
        monkeypatch.setattr(export_module, "TAR_BYTES", few)
        export(cache, tmp_path / str(few), format="webdataset")
        with tarfile.open(sorted((tmp_path / str(few)).iterdir())[0]) as tar:
            assert len(tar.getmembers()) == 5 * count


def test_a_folder_that_is_no_cache_is_refused(tmp_path: Path) -> None:
    for tool in (verify, stats):
        with pytest.raises(InputError, match="not a finished cache"):
            tool(tmp_path)


# --- the commands ----------------------------------------------------------------------------------------------------


def command() -> typer.Typer:
    from dawn_bench.cli.cache import app as cache_app
    from dawn_bench.cli.prepare import prepare as prepare_command

    app = typer.Typer()
    app.command("prepare")(prepare_command)
    app.add_typer(cache_app, name="cache")
    return app


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dawn_bench.pipelines.preparation.prepare.ClipTools", FakeTools)


def test_prepare_command_and_its_exit_codes(tmp_path: Path, fake: None) -> None:
    write_video(tmp_path / "v" / "a.mp4", frames=5)
    write_video(tmp_path / "v" / "b.mp4", frames=5, then="no_face")
    config = tmp_path / "s.yaml"
    config.write_text("size: 64\ncrop: none\nextract: [pose]\n")
    arguments = [
        "prepare",
        "--root",
        str(tmp_path / "v"),
        "--config",
        str(config),
        "--size",
        "32",
        "--set",
        "min_frames=3",
    ]
    result = CliRunner().invoke(command(), [*arguments, "--extract", "late,other", "--cache", str(tmp_path / "c")])
    assert result.exit_code == 0, result.output
    assert "left out: no_face" in result.output and "ready, 5 frames" in result.output
    settings = Cache(tmp_path / "c").settings["settings"]
    assert (settings["size"], settings["crop"], settings["min_frames"]) == (32, "none", 3)
    assert Cache(tmp_path / "c").settings["fingerprints"].keys() >= {
        "extractor pose",
        "extractor late",
        "extractor other",
    }
    strict = CliRunner().invoke(command(), [*arguments, "--cache", str(tmp_path / "d"), "--strict"])
    assert strict.exit_code == 3
    for more, says in (
        ([], "--cache is required"),
        (["--cache", str(tmp_path / "e"), "--engine", "spark"], "no engine 'spark'"),
        (["--cache", str(tmp_path / "e"), "--crop", "oval"], "--crop: there is no crop 'oval'"),
        (["--list-missing", "--dataset", "folder"], "called 'folder'"),
    ):
        error = CliRunner().invoke(command(), [*arguments, *more]).exception
        assert isinstance(error, InputError) and says in str(error)


def test_list_missing_prints_id_reason_detail(tmp_path: Path) -> None:
    (tmp_path / "WDA_KatieHill_000.mp4").write_bytes(b"x")
    result = CliRunner().invoke(command(), ["prepare", "--dataset", "hdtf", "--root", str(tmp_path), "--list-missing"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert sum(line.split("\t")[1] == "not_downloaded" for line in lines if "\t" in line) == 435


def test_cache_commands(cache: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert "all checksums match" in run(command(), ["cache", "verify", str(cache)]).output
    assert "no face in any frame" in run(command(), ["cache", "stats", str(cache)]).output
    out = run(command(), ["cache", "export", str(cache), "--out", str(tmp_path / "o"), "--format", "webdataset"])
    assert "19 clips" in out.output
    next((cache / "pose").iterdir()).unlink()
    broken = run(command(), ["cache", "verify", str(cache)])
    assert isinstance(broken.exception, InputError) and "arrays damaged" in str(broken.exception)
