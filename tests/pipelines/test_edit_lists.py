"""Edit lists: exactly the pictures that a player shows, and the sound in step with them; cut-off files are refused."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from media.boxes import set_edits, with_long_times
from media.cuts import PICTURES, answer_of, edited, of_pictures, write_numbers
from media.marks import number_of, onsets_of_sound

from dawn_bench.errors import ItemError
from dawn_bench.pipelines.media.audio import read_audio
from dawn_bench.pipelines.media.edits import parts_of
from dawn_bench.pipelines.media.video import iter_frames

#: Twelve pictures form a group. Ends leave whole groups out, parts of one, or nothing.
STARTS, ENDS = (0, 1, 5, 12, 13, 30), (100, 99, 60, 51)


@pytest.fixture(scope="module", params=[0, 2], ids=["no-b-frames", "b-frames"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "clip.mp4"
    write_numbers(path, bframes=request.param)
    return path.read_bytes()


def numbers(path: Path, *, start: float = 0.0) -> list[int]:
    return [number_of(frame) for frame in iter_frames(path, start=start)]


def test_lossless_trims_at_either_end(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    for first, end in product(STARTS, ENDS):
        path.write_bytes(whole)
        set_edits(path, {"vide": [of_pictures(first, end)], "soun": [of_pictures(first, end)]})
        assert numbers(path) == list(range(first, end)), (first, end)
        expected = answer_of([(first, end)]).beeps
        heard = onsets_of_sound(read_audio(path, stop=(end - first) / 25))
        assert len(heard) == len(expected), (first, end)
        np.testing.assert_allclose(heard, expected, atol=0.004, err_msg=f"{first} to {end}")


def test_many_short_parts_do_not_add_up_to_a_delay(whole: bytes, tmp_path: Path) -> None:
    spans = [(8 * k + 1, 8 * k + 6) for k in range(12)]
    path = tmp_path / "clip.mp4"
    path.write_bytes(whole)
    rows = [of_pictures(first, end) for first, end in spans]
    set_edits(path, {"vide": rows, "soun": rows})
    assert numbers(path) == [number for first, end in spans for number in range(first, end)]
    heard = onsets_of_sound(read_audio(path))
    for beep in answer_of(spans).beeps:
        assert np.abs(np.array(heard) - beep).min() < 0.004


def test_a_pause_in_the_list_takes_its_time(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(whole)
    rows = [of_pictures(10, 20), (Fraction(8, 25), None), of_pictures(50, 63)]
    set_edits(path, {"vide": rows, "soun": rows})
    assert numbers(path) == [*range(10, 20), *[19] * 8, *range(50, 63)]
    beeps = [0.7 - 10 / 25, 2.2 - 50 / 25 + 18 / 25]
    np.testing.assert_allclose(onsets_of_sound(read_audio(path)), beeps, atol=0.004)


def test_a_stretch_of_an_edited_file(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(whole)
    set_edits(path, {"vide": [of_pictures(10, 30), of_pictures(50, 70)], "soun": []})
    assert numbers(path, start=0.6) == [*range(25, 30), *range(50, 70)]


def test_a_damaged_list_or_another_file_has_no_parts(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    edited([(10, 30), (50, 70)])(path)
    data = path.read_bytes()
    assert len(parts_of(path, 1)) == 2 and parts_of(path, 7) == ()
    for size in (0, 4, 30, len(data) // 2, len(data) - 200):
        path.write_bytes(data[:size])
        assert parts_of(path, 1) == ()
    path.write_bytes(data.replace(b"elst\0\0\0\0\0\0\0\2", b"elst\0\0\0\0\xff\xff\xff\xff"))
    assert parts_of(path, 1) == ()


@pytest.mark.parametrize("spans", [[(0, 100)], [(0, 60)], [(30, 100)]])
def test_a_file_that_was_cut_off_is_refused_with_any_list(tmp_path: Path, spans: list[tuple[int, int]]) -> None:
    path = tmp_path / "clip.mp4"
    edited(spans)(path)
    data = bytearray(path.read_bytes())
    body = data.index(b"mdat")
    size = int.from_bytes(data[body - 4 : body], "big")
    movie = data[body - 4 + size :]
    head = data[: body - 4]
    # the table of contents first, its offsets moved, and the last three quarters of the pictures missing
    shift, at = len(movie), 0
    while (at := movie.find(b"stco", at)) >= 0:
        count = int.from_bytes(movie[at + 8 : at + 12], "big")
        for k in range(count):
            place = at + 12 + 4 * k
            movie[place : place + 4] = (int.from_bytes(movie[place : place + 4], "big") + shift).to_bytes(4, "big")
        at += 4
    path.write_bytes(head + movie + data[body - 4 : body - 4 + size])
    (first, end), *_ = spans
    assert numbers(path) == list(range(first, end))
    path.write_bytes(head + movie + data[body - 4 : body - 4 + size // 4])
    with pytest.raises(ItemError, match=rf"is cut off; \d+ of its {end - first} frames are there"):
        numbers(path)


@pytest.mark.parametrize("track", [1, 2])
def test_times_of_64_bits_change_nothing(whole: bytes, tmp_path: Path, track: int) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(whole)
    set_edits(path, {"vide": [of_pictures(10, 30), of_pictures(50, 70)], "soun": [of_pictures(0, 9)] * 3})
    before, shown = parts_of(path, track), numbers(path)
    with_long_times(path)
    after = parts_of(path, track)
    assert len(after) == track + 1 and [(p.begin, p.length) for p in after] == [(p.begin, p.length) for p in before]
    assert shown == numbers(path) == [*range(10, 30), *range(50, 70)]


def test_all_pictures_without_a_list(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_numbers(path)
    set_edits(path, {"vide": [], "soun": []})
    assert len(numbers(path)) == PICTURES
