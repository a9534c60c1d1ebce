"""A clip: what its pieces know of the whole, lazy arrays, and the type and shape of every field."""

from __future__ import annotations

import numpy as np
import pytest

from dawn_bench.clip import FIELDS, PIECE_OF, PIECE_OF_FRAMES, PIECE_START, Clip, LazyArrays, field_fault
from dawn_bench.errors import UnknownNameError
from dawn_bench.masks import face_mask

FRAMES, SIZE = 3, 6
#: A length that a field leaves open.
OPEN = 5


def fitting(field: str) -> np.ndarray:
    """An array of the stated type and shape."""
    dtype, shape = FIELDS[field]
    sides = {"T": FRAMES, "S": SIZE, None: OPEN}
    return np.zeros([sides.get(side, side) for side in shape], dtype)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", list(FIELDS))
def test_only_the_stated_type_and_shape_of_a_field_fit(field: str) -> None:
    _, shape = FIELDS[field]
    array = fitting(field)
    assert field_fault(field, array, n_frames=FRAMES, size=SIZE) is None
    others = [array.astype("float64"), array[None], array.reshape(-1)[0]]
    for axis, side in enumerate(shape):
        longer = np.concatenate([array, array[(slice(None),) * axis + (slice(1),)]], axis=axis)
        if side is None:
            assert field_fault(field, longer, n_frames=FRAMES, size=SIZE) is None
        else:
            others += [longer, array[(slice(None),) * axis + (slice(array.shape[axis] - 1),)]]
    for other in others:
        fault = field_fault(field, other, n_frames=FRAMES, size=SIZE)
        assert fault is not None and str(array.dtype) in fault
    assert field_fault("an-extractors-own", array.astype("float64"), n_frames=1, size=1) is None


def clip(**meta: object) -> Clip:
    return Clip("c", "s", "test", FRAMES, {"frames": fitting("frames")}, fps=30, meta=meta)


def test_a_whole_clip_is_its_own_whole() -> None:
    whole = clip()
    assert (whole.whole_id, whole.whole_frames, whole.first_frame) == ("c", FRAMES, 0)
    assert whole.seconds == pytest.approx(0.1)


def test_a_piece_knows_its_clip_and_place() -> None:
    piece = clip(**{PIECE_OF: "long", PIECE_OF_FRAMES: 90, PIECE_START: 40})
    assert (piece.whole_id, piece.whole_frames, piece.first_frame) == ("long", 90, 40)
    assert (piece.id, piece.n_frames) == ("c", FRAMES)


def test_arrays_are_read_when_they_are_asked_for_and_no_others() -> None:
    read: list[str] = []

    def one(name: str) -> np.ndarray:
        read.append(name)
        return fitting(name)

    arrays = LazyArrays(["frames", "bbox"], one)
    lazy = Clip("c", "s", "t", FRAMES, arrays)
    assert "bbox" in lazy and "pose" not in lazy and lazy.fields == ["bbox", "face_mask", "frames"] and not read
    assert lazy["bbox"].shape == (FRAMES, 4) and read == ["bbox"] and len(arrays) == 2
    np.testing.assert_array_equal(np.asarray(lazy["face_mask"]), face_mask(fitting("bbox"), SIZE))
    with pytest.raises(UnknownNameError, match="bbox"):
        lazy["box"]
