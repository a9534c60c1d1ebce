"""`cache list` and `cache export --format inputs`: what a method of one's own takes, and the way back to evaluate."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from docs_hooks import ROOT
from numbered_cache import write_numbered_meshes
from PIL import Image
from tiny_cache import write_tiny_cache
from typer.testing import CliRunner

from dawn_bench.baselines.given import find_outputs
from dawn_bench.baselines.given_pieces import find_piece_outputs
from dawn_bench.cache import Cache
from dawn_bench.cli import app
from dawn_bench.errors import InputError
from dawn_bench.files import temporary_path
from dawn_bench.metrics.protocols.base import PAPER_DAWN
from dawn_bench.pipelines.media.video import read_frames
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded
from dawn_bench.text import FORMULA
from dawn_bench.workflow import own_inputs
from dawn_bench.workflow.own_inputs import export_inputs
from dawn_bench.workflow.pieces import cut_pieces

#: Of the file `day 1/take,1.mp4`.
ID = "day_1__take_1-0d52343f"
FILES = ["clip.json", "driving.mp4", "portrait-64.png", "portrait.png", "speech.wav"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of 64 px of one clip of 26 frames, whose video, of 96 px, is in the folder `videos/day 1` beside it."""
    root = tmp_path_factory.mktemp("prepared")
    write_embedded(root / "made", speakers=1, clips=1, seconds=1.04, size=96)
    video = next((root / "made" / "VideoFlash").glob("*.mp4"))
    sound = next((root / "made" / "AudioWAV").glob("*.wav"))
    (root / "videos" / "day 1").mkdir(parents=True)
    shutil.copy(video, root / "videos" / "day 1" / "take,1.mp4")
    shutil.copy(sound, root / "videos" / "day 1" / "take,1.wav")
    (root / "split.csv").write_text('file,speaker,split\n"day 1/take,1.mp4",ada,test\n')
    settings = PrepareSettings(size=64, crop="none", face="dlib", extract=(), labels=root / "split.csv")
    prepare(root / "videos", root / "cache", settings)
    return root


def run(*words: object) -> str:
    """The standard output of a command."""
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_the_list_says_which_file_a_clip_is_from(prepared: Path) -> None:
    (row,) = json.loads(run("cache", "list", prepared / "cache", "--split", "test", "--json"))
    assert row == {
        "id": ID, "speaker": "ada", "split": "test", "frames": 26, "seconds": 1.04,
        "source": "day 1/take,1.mp4", "start": 0.0,
    }  # fmt: skip
    head, line = run("cache", "list", prepared / "cache").splitlines()
    assert head.split() == ["id", "speaker", "split", "frames", "seconds", "source"]
    assert re.split(r"\s{2,}", line) == [ID, "ada", "test", "26", "1.04", "day 1/take,1.mp4"]


def test_the_list_has_the_clips_of_the_split_and_names_a_wrong_one(tiny_cache: Path) -> None:
    assert [line.split()[0] for line in run("cache", "list", tiny_cache, "--split", "test").splitlines()[1:]] == [
        "c4", "c5",
    ]  # fmt: skip
    assert len(run("cache", "list", tiny_cache).splitlines()) == 7
    with pytest.raises(InputError, match=r"no split 'tets'\. Did you mean test"):
        run("cache", "list", tiny_cache, "--split", "tets")


def test_the_portrait_is_at_the_resolution_of_the_source(prepared: Path, tmp_path: Path) -> None:
    inputs = export_inputs(prepared / "cache", tmp_path / "items")
    folder, clip = tmp_path / "items" / ID, Cache(prepared / "cache")[ID]
    assert (inputs.clips, inputs.kept, inputs.without_source) == (1, 0, {})
    assert sorted(path.name for path in folder.iterdir()) == FILES
    source = read_frames(prepared / "videos" / "day 1" / "take,1.mp4")
    assert source.shape[1:] == (96, 96, 3)
    np.testing.assert_array_equal(pixels(folder / "portrait.png"), source[0])
    np.testing.assert_array_equal(pixels(folder / "portrait-64.png"), clip["frames"][0])
    sound, rate = soundfile.read(folder / "speech.wav", dtype="int16")
    assert rate == 16000
    np.testing.assert_array_equal(sound, clip["audio"])
    driving = read_frames(folder / "driving.mp4").astype(int)
    assert driving.shape == clip["frames"].shape and np.abs(driving - clip["frames"]).mean() < 2


def test_without_the_source_one_line_says_so_and_the_portrait_has_the_size_of_the_cache(
    tiny_cache: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["cache", "export", str(tiny_cache), "--format", "inputs", "--out", str(tmp_path)])
    lines = [line for line in done.output.splitlines() if "portrait.png" in line]
    assert lines == ["portrait.png has the cache's size for 2 clips (c4, c5): the cache does not name the source video"]
    for name in ("portrait.png", "portrait-32.png"):
        np.testing.assert_array_equal(pixels(tmp_path / "c4" / name), Cache(tiny_cache)["c4"]["frames"][0])


def test_pieces_are_those_that_are_scored_and_the_table_comes_back_as_it_is(tmp_path: Path) -> None:
    root = write_tiny_cache(tmp_path / "cache", frames=30, shorter=3, splits=("test", "test"))
    inputs = export_inputs(root, tmp_path / "items", piece_length=10, jobs=2)
    pieces = cut_pieces(Cache(root).clips("test"), PAPER_DAWN.in_pieces(10))
    with (tmp_path / "items" / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert inputs.clips == 6 and [row["clip"] for row in rows] == [piece.id for piece in pieces]
    for piece in pieces:
        sound, _ = soundfile.read(tmp_path / "items" / piece.id / "speech.wav", dtype="int16")
        np.testing.assert_array_equal(sound, piece["audio"])
        np.testing.assert_array_equal(pixels(tmp_path / "items" / piece.id / "portrait.png"), piece["frames"][0])
    outputs = tmp_path / "mine"
    outputs.mkdir()
    for row in rows:
        shutil.copy(tmp_path / "items" / row["clip"] / "driving.mp4", outputs / row["file"])
    given = find_piece_outputs(outputs, pieces, tmp_path / "items" / "clips.csv", length=10)
    assert given.files == {piece.id: outputs / f"{piece.id}.mp4" for piece in pieces}


def test_an_id_like_a_formula_is_none_in_the_table_and_the_table_comes_back(tmp_path: Path) -> None:
    ids = ("=1+1", "+5", "-dash", "@SUM(A1)", "\uff1dwide", "a=b", "007", "'q", 'x;y,"z"', "ü" * 90)
    root = write_tiny_cache(tmp_path / "cache", frames=12, splits=("test",) * len(ids), ids=ids)
    export_inputs(root, tmp_path / "items")
    with (tmp_path / "items" / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert not [cell for row in rows for cell in row.values() if cell.startswith(FORMULA)]
    assert {"./-dash", "a=b", "007"} < {row["clip"] for row in rows}
    outputs = tmp_path / "mine"
    outputs.mkdir()
    for row in rows:  # as a loop over the table does
        shutil.copy(tmp_path / "items" / row["clip"] / "driving.mp4", outputs / row["file"])
    clips = Cache(root).clips("test")
    given = find_outputs(outputs, clips, mapping=tmp_path / "items" / "clips.csv")
    assert given == {name: outputs / f"{name}.mp4" for name in ids}


def test_a_stopped_export_goes_on_and_no_clip_is_written_twice(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = own_inputs._fill, []

    def fill(folder: Path, clip: object) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(clip)
        real(folder, clip)  # type: ignore[arg-type]

    out = tmp_path / "items"
    monkeypatch.setattr(own_inputs, "_fill", fill)
    with pytest.raises(KeyboardInterrupt):
        export_inputs(tiny_cache, out)
    assert sorted(path.name for path in out.iterdir() if path.is_dir() and path.name[0] != ".") == ["c4"]
    assert not (out / "clips.csv").exists()
    left = temporary_path(out / ".partial" / "c5")  # as a killed process leaves it
    left.mkdir(parents=True)
    (left / "speech.wav").write_bytes(b"half")
    before = (out / "c4" / "driving.mp4").stat().st_mtime_ns
    monkeypatch.setattr(own_inputs, "_fill", real)
    inputs = export_inputs(tiny_cache, out)
    assert (inputs.clips, inputs.kept) == (2, 1) and (out / "c4" / "driving.mp4").stat().st_mtime_ns == before
    shown = sorted(path.name for path in out.iterdir() if not path.name.startswith(".lock"))
    assert shown == ["c4", "c5", "clips.csv", "inputs.json"]


def test_a_folder_with_something_else_and_meshes_are_refused(tiny_cache: Path, tmp_path: Path) -> None:
    export_inputs(tiny_cache, tmp_path / "items", max_clips=1)
    for settings in ({"split": "train"}, {"piece_length": 10}):
        with pytest.raises(InputError, match="another cache or split, or of pieces of another length"):
            export_inputs(tiny_cache, tmp_path / "items", **settings)  # type: ignore[arg-type]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        export_inputs(tiny_cache, tmp_path / "own")
    with pytest.raises(InputError, match="holds meshes"):
        export_inputs(write_numbered_meshes(tmp_path / "meshes"), tmp_path / "new", split="val")
    assert not (tmp_path / "new").exists()
    for words, why in (
        (["--format", "inputs", "--fields", "pose"], "--fields is not for --format inputs"),
        (["--piece-length", "9"], "--piece-length is for --format inputs alone"),
    ):
        with pytest.raises(InputError, match=why):
            run("cache", "export", tiny_cache, "--out", tmp_path / "new", *words)


#: A method that moves nothing: the arguments are those of the README's loop.
DUMMY = """
import sys, wave
import av, numpy as np
from PIL import Image
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
with wave.open(options["--audio"]) as sound:
    frames = round(sound.getnframes() / sound.getframerate() * 25)
picture = np.asarray(Image.open(options["--image"]))
with av.open(options["--out"], "w") as out:
    stream = out.add_stream("libx264", rate=25)
    stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
    for _ in range(frames):
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
    out.mux(stream.encode())
"""


def test_the_loop_of_the_readme_scores_a_method_of_ones_own(prepared: Path, tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    (loop,) = [block for block in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S) if "my_method.py" in block]
    (tmp_path / "my_method.py").write_text(DUMMY)
    (tmp_path / "caches").mkdir()
    (tmp_path / "caches" / "crema").symlink_to(prepared / "cache")
    shims = {  # one metric, so that no network runs
        "dawn-bench": '[ "$1" = evaluate ] && set -- "$@" --metrics PSNR --no-sanity\n'
        f'exec {sys.executable} -m dawn_bench "$@"',
        "python": f'exec {sys.executable} "$@"',
    }
    (tmp_path / "bin").mkdir()
    for name, line in shims.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    places = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-e", "-c", loop], cwd=tmp_path, env={**os.environ, **places}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for path in (tmp_path / "results" / "rows").iterdir() for line in path.open()]
    (row,) = [row for row in rows if row["method"] == "mine"]
    assert row["coverage"] == 1 and row["n_frames"] == 26 and 15 < row["value"] < 60
    assert (tmp_path / "results" / "report" / "report.html").is_file()
