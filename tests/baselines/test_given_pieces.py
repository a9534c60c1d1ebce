"""Files of pieces: each is scored in its own place, and what fits another place or none is refused or named."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest

from dawn_bench.baselines.given_pieces import GivenOutputs, find_piece_outputs
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import PAPER_DAWN
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.workflow.pieces import cut_pieces

#: Frames of the clips: in pieces of 20 these are three and a rest of 5, two, and a whole one.
LENGTHS = {"long": 65, "even": 40, "short": 15}
IDS = ["long_f00000", "long_f00020", "long_f00040", "even_f00000", "even_f00020", "short"]


def clips(lengths: Mapping[str, int] = LENGTHS) -> list[Clip]:
    return [
        Clip(name, "s", "test", n, {"frames": np.zeros((n, 32, 32, 3), np.uint8)}, meta={"source": f"{name}.mov"})
        for name, n in lengths.items()
    ]


def given(
    folder: Path, *, length: int = 20, naming: str = "{clip}", table: str = "", lengths: Mapping[str, int] = LENGTHS
) -> GivenOutputs:
    mapping = folder.parent / "m.csv" if table else None
    if mapping is not None:
        mapping.write_text(f"clip,file\n{table}")
    pieces = cut_pieces(clips(lengths), PAPER_DAWN.in_pieces(length))
    return find_piece_outputs(folder, pieces, mapping, naming=naming, length=length)


def names(outputs: GivenOutputs) -> dict[str, str]:
    return {clip: path.stem for clip, path in outputs.files.items()}


def write(folder: Path, files: Mapping[str, int]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, frames in files.items():
        write_video(folder / f"{name}.mp4", np.zeros((frames, 32, 32, 3), np.uint8), lossless=True)
    return folder


def numbered(size: int, *, first: int = 0, only: Iterable[str] = LENGTHS) -> dict[str, int]:
    """The numbered files of all clips, the rests of which are kept, cut at `size` frames."""
    return {
        f"{name}_{k + first:03d}": min(size, LENGTHS[name] - start)
        for name in only
        for k, start in enumerate(range(0, LENGTHS[name], size))
    }


def refused(folder: Path, says: str, *hints: str, **settings: object) -> None:
    with pytest.raises(InputError, match=says) as caught:
        given(folder, **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and all(hint in str(caught.value) for hint in hints)


def test_numbers_of_the_scored_pieces_are_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write(tmp_path / "o", numbered(20))
    with caplog.at_level(logging.WARNING):
        outputs = given(folder)
    files = ["long_000", "long_001", "long_002", "even_000", "even_001", "short_000"]
    assert names(outputs) == dict(zip(IDS, files, strict=True)) and not outputs.starts
    # the rest of a clip is too short to be scored
    assert "1 file is of no clip or piece that is scored in split test: long_003.mp4" in caplog.text
    assert len(caplog.records) == 1


def test_numbers_from_1_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "o", numbered(20, first=1))
    refused(folder, r"has even_001\.mp4 and no even_000", "Number the files from 000", "ID_f00020.mp4")
    rest = write(tmp_path / "p", numbered(20, only=["long", "even"]) | {"short_001": 15})
    refused(rest, r"has short_001\.mp4 and no short_000")
    refused(folder, "no long_000", table="".join(f"long_{k:03d},long_{k:03d}.mp4\n" for k in (1, 2, 3, 4)))


@pytest.mark.parametrize("size", [12, 30])
def test_numbered_files_of_another_length_are_refused(size: int, tmp_path: Path) -> None:
    folder = write(tmp_path / "o", numbered(size, only=["long", "even"]))
    refused(folder, rf"not of 20 frames.*even_000\.mp4 has {size}", f"--piece-length {size};", "ID_f00020.mp4")
    table = "".join(f"long_{k:03d},long_{k:03d}.mp4\n" for k in range(3))
    refused(folder, "not of 20 frames", table=table)


def test_a_number_beyond_the_clip_is_refused_and_a_few_lost_frames_are_not(tmp_path: Path) -> None:
    files = {"long_000": 18, "long_001": 18, "long_002": 18, "even_000": 18, "even_001": 18}
    folder = write(tmp_path / "o", files)
    assert len(given(folder).files) == 5
    write(folder, {"even_002": 18})
    refused(folder, r"has even_002\.mp4, and even has 2 pieces of 20 frames", "--piece-length")


def test_a_first_frame_between_pieces_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "o", {"long_f00000": 12, "long_f00012": 12, "long_f00024": 12})
    refused(folder, r"long_f00012\.mp4 begins at frame 12, and pieces of 20 frames", "--piece-length 12")
    rest = write(tmp_path / "p", {f"long_f{k:05d}": 20 for k in (0, 20, 40)} | {"long_f00060": 5})
    assert list(given(rest).files) == IDS[:3]
    write(rest, {"even_f00040": 5})
    refused(rest, r"even_f00040\.mp4 begins at frame 40")


def test_a_clip_no_longer_than_a_piece_has_every_documented_name(tmp_path: Path) -> None:
    for name in ("short", "short_000", "short_f00000"):
        folder = write(tmp_path / name, {name: 15, "even": 40})
        assert names(given(folder)) == {"even_f00000": "even", "even_f00020": "even", "short": name}
        assert names(given(folder, length=100)) == {"even": "even", "short": name}
        assert names(given(folder, table=f"{name},{name}.mp4\n")) == {"short": name}
    write(folder, {"short": 15})
    refused(folder, r"of pieces \(short_f00000\.mp4\) and of whole clips \(short\.mp4\)")


def test_each_clip_may_have_its_own_kind_and_leftovers_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {"long": 65, "even_f00000": 20, "even_f00020": 20, "short_000": 15, "other": 3, "other_000": 3}
    folder = write(tmp_path / "o", files)
    with caplog.at_level(logging.WARNING):
        outputs = given(folder)
    assert names(outputs) == dict(zip(IDS, ["long"] * 3 + ["even_f00000", "even_f00020", "short_000"], strict=True))
    assert outputs.starts == {"long_f00000": 0, "long_f00020": 20, "long_f00040": 40}
    assert "2 files are of no clip or piece that is scored in split test: other.mp4, other_000.mp4" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        find_piece_outputs(folder, clips({"long": 65}), None)
    assert "5 files are of no clip" in caplog.text
    write(folder, {"even_000": 20})
    refused(folder, r"named by frame \(even_f00000\.mp4\) and by number \(even_000\.mp4\) for even", "--mapping CSV")
    table = "long,long.mp4\neven_f00000,even_f00000.mp4\neven_001,even_f00020.mp4\nshort,short_000.mp4\n"
    chosen = given(folder, table=table)
    assert (names(chosen), chosen.starts) == (names(outputs), outputs.starts)


def test_a_whole_clips_file_is_cut_in_the_place_of_each_piece_of_a_table(tmp_path: Path) -> None:
    folder = write(tmp_path / "o", {"x": 65})
    for kind in ("long_f{:05d}", "long_{:03d}"):
        cells = [kind.format(k * 20 if "f" in kind else k) for k in range(3)]
        outputs = given(folder, table="".join(f"{cell},x.mp4\n" for cell in cells))
        assert outputs.starts == {"long_f00000": 0, "long_f00020": 20, "long_f00040": 40}
    assert given(folder, table="long.mov,x.mp4\n").starts == outputs.starts  # by the video of the clip
    says = r"names x\.mp4 for long_f00020, and it is long enough to be of the whole clip"
    refused(folder, says, "write long,x.mp4", table="long_f00020,x.mp4\n")


def test_clips_that_are_called_like_pieces_keep_their_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "o", {"a": 40, "a_000": 40, "a_001": 15})
    outputs = given(folder, lengths={"a": 40, "a_000": 40, "a_001": 15})
    assert names(outputs) == {
        "a_f00000": "a", "a_f00020": "a", "a_000_f00000": "a_000", "a_000_f00020": "a_000", "a_001": "a_001",
    }  # fmt: skip


def test_a_pattern_fits_pieces_and_whole_clips(tmp_path: Path) -> None:
    folder = write(tmp_path / "o", {f"even_{k:03d}_x_even_{k:03d}": 20 for k in (0, 1)} | {"long_x_long": 65})
    outputs = given(folder, naming="{clip}_*_{clip}")
    assert list(outputs.files) == IDS[:5] and list(outputs.starts) == IDS[:3]
    write(folder, {"EVEN_F0_y": 20, "long_y": 65})
    for path in folder.glob("even_0*"):
        path.unlink()
    outputs = given(folder, naming="{clip}_y")
    assert names(outputs) == {**dict.fromkeys(IDS[:3], "long_y"), "even_f00000": "EVEN_F0_y"}


def test_a_piece_with_a_line_of_its_own_is_not_cut_from_the_whole_clips_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", {"whole": 65, "own": 20})
    outputs = given(folder, table="long,whole.mp4\nlong_f00020,own.mp4\n")
    assert names(outputs) == {"long_f00000": "whole", "long_f00020": "own", "long_f00040": "whole"}
    assert outputs.starts == {"long_f00000": 0, "long_f00040": 40}


@pytest.mark.parametrize("table", ["", "long,long\neven,even.mp4\n"])
@pytest.mark.parametrize("folder", ["mine", "./mine", "../work/mine"])
def test_a_folder_may_be_given_relative_to_where_the_command_runs(
    folder: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work := tmp_path / "work").mkdir()
    write(work / "mine", {"long": 65, "even": 40})
    monkeypatch.chdir(work)
    outputs = given(Path(folder), table=table, lengths={"long": 65, "even": 40})
    assert len(outputs.files) == 5 and all(path.is_file() for path in outputs.files.values())
