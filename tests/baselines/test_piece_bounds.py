"""Limits of what files of pieces may be: a few frames of another length, half of the files, the middle of a piece."""

from __future__ import annotations

from pathlib import Path

import pytest
from marked import marked_clip

from dawn_bench.baselines import given_pieces, piece_names
from dawn_bench.baselines.given_pieces import find_piece_outputs
from dawn_bench.baselines.piece_names import check_frames, check_numbers, tolerance
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.workflow.pieces import cut_piece

LENGTH = 100
#: Three pieces of 100 frames and a rest of 20, and two pieces.
LONG, EVEN = marked_clip(0, 320), marked_clip(1, 200)


def pieces_of(clip: Clip) -> list[Clip]:
    return [cut_piece(clip, start, start + LENGTH) for start in range(0, clip.n_frames - LENGTH + 1, LENGTH)]


def files(clip: Clip, *numbers: int) -> dict[int, Path]:
    return {n: Path(f"{clip.id}_{n:03d}.mp4") for n in numbers}


@pytest.mark.parametrize(("length", "frames"), [(2, 3), (75, 3), (99, 3), (100, 4), (124, 4), (125, 5), (200, 8)])
def test_a_piece_may_lack_one_frame_in_25_and_three_in_any_case(length: int, frames: int) -> None:
    assert tolerance(length) == frames


@pytest.mark.parametrize(("frames", "refused"), [(95, True), (96, False), (100, False), (104, False), (105, True)])
def test_numbered_files_may_miss_the_length_by_the_tolerance(
    frames: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piece_names, "frames_of", lambda path: frames)
    given = {EVEN.id: files(EVEN, 0, 1), LONG.id: files(LONG, 0, 1, 2)}
    clips = {EVEN.id: pieces_of(EVEN), LONG.id: pieces_of(LONG)}
    if refused:
        with pytest.raises(InputError, match=f"most numbered files are not of 100 frames.*has {frames}"):
            check_numbers(Path("o"), clips, given, length=LENGTH)
    else:
        check_numbers(Path("o"), clips, given, length=LENGTH)


@pytest.mark.parametrize(("other", "refused"), [(1, False), (2, False), (3, True), (4, True)])
def test_half_of_the_files_may_be_of_another_length_and_the_last_of_each_clip_shorter(
    other: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four files that are not the last of their clip."""
    clips = {f"c{k}": pieces_of(Clip(f"c{k}", "s", "test", 200, EVEN.arrays)) for k in range(4)}
    given = {name: {n: Path(f"{name}_{n:03d}.mp4") for n in (0, 1)} for name in clips}
    lengths = {f"c{k}_000.mp4": 60 if k < other else 100 for k in range(4)} | {f"c{k}_001.mp4": 30 for k in range(4)}
    monkeypatch.setattr(piece_names, "frames_of", lambda path: lengths[path.name])
    if refused:
        with pytest.raises(InputError, match=r"has 60.*--piece-length 60"):
            check_numbers(Path("o"), clips, given, length=LENGTH)
    else:
        check_numbers(Path("o"), clips, given, length=LENGTH)


def test_numbers_end_with_the_clip_or_with_its_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piece_names, "frames_of", lambda path: None)  # files that cannot be read count for nothing
    clips = {LONG.id: pieces_of(LONG), EVEN.id: pieces_of(EVEN)}
    check_numbers(Path("o"), clips, {LONG.id: files(LONG, 0, 1, 2, 3), EVEN.id: files(EVEN, 0)}, length=LENGTH)
    for clip, last, count in ((LONG, 4, "3 pieces"), (EVEN, 2, "2 pieces")):
        with pytest.raises(InputError, match=rf"has {clip.id}_00{last}\.mp4, and {clip.id} has {count} of 100 frames"):
            check_numbers(Path("o"), clips, {clip.id: files(clip, 0, last)}, length=LENGTH)
    with pytest.raises(InputError, match="pieces of a clip are numbered from 000"):
        check_numbers(Path("o"), clips, {EVEN.id: files(EVEN, 1)}, length=LENGTH)


def test_first_frames_are_those_of_pieces_or_of_the_rest() -> None:
    for clip, good, bad in ((LONG, (0, 100, 200, 300), (50, 320, 400)), (EVEN, (0, 100), (99, 101, 200))):
        check_frames(Path("o"), pieces_of(clip), files(clip, *good), length=LENGTH)
        for frame in bad:
            with pytest.raises(InputError, match=f"begins at frame {frame}, and pieces of 100 frames"):
                check_frames(Path("o"), pieces_of(clip), files(clip, 0, frame), length=LENGTH)


@pytest.mark.parametrize(("frames", "refused"), [(149, False), (150, True), (200, True)])
def test_a_file_of_one_piece_that_reaches_its_middle_from_the_clips_start_is_the_whole_clips(
    frames: int, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (given_pieces, piece_names):
        monkeypatch.setattr(module, "frames_of", lambda path: frames)
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "x.mp4").touch()
    (tmp_path / "m.csv").write_text("clip,file\nc1_f00100,x.mp4\n")
    if refused:
        with pytest.raises(InputError, match="long enough to be of the whole clip"):
            find_piece_outputs(tmp_path / "o", pieces_of(EVEN), tmp_path / "m.csv", length=LENGTH)
        return
    given = find_piece_outputs(tmp_path / "o", pieces_of(EVEN), tmp_path / "m.csv", length=LENGTH)
    assert given.files == {"c1_f00100": tmp_path / "o" / "x.mp4"} and not given.starts
