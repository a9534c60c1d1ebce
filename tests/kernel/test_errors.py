"""Errors for people: one line with what, where and what to do; they survive the way between processes."""

from __future__ import annotations

import pickle

from dawn_bench.errors import EXIT_INPUT, EXIT_INTERNAL, DawnBenchError, InputError, ItemError


def test_an_input_error_reads_what_where_and_hint() -> None:
    error = InputError("is empty.", path="clip.mp4", hint="Delete it.")
    assert str(error) == "clip.mp4: is empty. Delete it."
    assert str(InputError("is empty.")) == "is empty."
    assert error.exit_code == EXIT_INPUT == 2 and DawnBenchError.exit_code == EXIT_INTERNAL == 1
    assert isinstance(error, ValueError)


def test_an_item_error_keeps_reason_and_detail_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ItemError("no_face", "none in 30 frames")))
    assert (error.reason, error.detail, str(error)) == ("no_face", "none in 30 frames", "no_face: none in 30 frames")


def test_an_input_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(InputError("is empty.", path="clip.mp4", hint="Delete it.")))
    assert str(error) == "clip.mp4: is empty. Delete it." and error.path == "clip.mp4" and error.hint == "Delete it."
