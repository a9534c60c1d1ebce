"""Detects outputs that were written in another form than their true clips, which would only show as a bad score.

The true clip shows what the output should look like. An output whose pictures fit it much better once they are turned,
or once their channels are put into another order, was written that way; so was one with a border that the true clip
lacks, or without colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from dawn_bench.results import ScoreRow

#: Every note of this kind begins so: a report shows them above its tables.
PREFIX = "looks wrong: "
#: Frames of a clip that are compared, and the side in pixels to which they are reduced.
SAMPLED, SIDE = 8, 48
#: An output is taken to be changed where undoing the change leaves less than this share of the squared error.
GAIN = 0.5
#: Mean squared error, in grey levels², below which an output fits its true clip as it is.
FITS = 60.0
#: Share of the side from which on a border counts, and the deviation in grey levels that compression leaves in it.
BORDER, FLAT = 0.03, 3.0
#: Relative difference of two aspect ratios that counts.
ASPECT = 0.02

#: Largest spread of the channels in grey levels of a picture without colours, and least of one with them.
GREY, COLOURED = 2.0, 8.0

#: Changes of all levels, and the correlation with the true clip that an output must have once they are undone.
_LEVELS = {"the colours are inverted", "full range was read as limited", "limited range was read as full"}
SAME = 0.9
#: What was done to the output, and what undoes it in frames (n,SIDE,SIDE,3).
_CHANGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "red and blue are swapped": lambda frames: frames[..., ::-1],
    "red and green are swapped": lambda frames: frames[..., [1, 0, 2]],
    "green and blue are swapped": lambda frames: frames[..., [0, 2, 1]],
    "the channels are in the order GBR": lambda frames: frames[..., [2, 0, 1]],
    "the channels are in the order BRG": lambda frames: frames[..., [1, 2, 0]],
    "the colours are inverted": lambda frames: 255 - frames,
    "upside down": lambda frames: frames[:, ::-1],
    "mirrored left to right": lambda frames: frames[:, :, ::-1],
    "turned by 180 degrees": lambda frames: frames[:, ::-1, ::-1],
    "turned by 90 degrees clockwise": lambda frames: np.rot90(frames, 1, (1, 2)),
    "turned by 90 degrees anticlockwise": lambda frames: np.rot90(frames, -1, (1, 2)),
    "rows and columns are swapped": lambda frames: frames.swapaxes(1, 2),
    "full range was read as limited": lambda frames: 16 + frames * (219 / 255),
    "limited range was read as full": lambda frames: (frames - 16) * (255 / 219),
}


def appearance_notes(generated: np.ndarray, true: np.ndarray) -> list[str]:
    """What looks wrong about frames uint8 (T,H,W,3) next to the true ones (T',H',W',3); each begins with `PREFIX`."""
    notes = []
    (height, width), (true_height, true_width) = generated.shape[1:3], true.shape[1:3]
    ratio = width * true_height / (height * true_width)
    if abs(ratio - 1) > ASPECT:
        shapes = f"{width}x{height} to {true_width}x{true_height}"
        notes.append(f"{PREFIX}stretched from {shapes}, another aspect ratio")
    ours, theirs = _sampled(generated, true)
    if borders := _new_borders(ours, theirs):
        notes.append(f"{PREFIX}borders at the {' and '.join(borders)}, which the true clips lack")
    if _flat(ours).all():
        return notes  # an empty picture
    small, true_small = _small(ours), _small(theirs)
    if change := _change(small, true_small):
        notes.append(f"{PREFIX}{change}")
    if np.ptp(small, axis=-1).mean() < GREY and np.ptp(true_small, axis=-1).mean() > COLOURED:
        notes.append(f"{PREFIX}grey, while the true clips have colours")
    return notes


def appearance_warnings(rows: Iterable[ScoreRow]) -> list[str]:
    """The notes of this kind in the rows of one or more methods, each with the name of its method."""
    return list(
        dict.fromkeys(
            f"{row.method}: {text}" for row in rows for text in row.note.split("; ") if text.startswith(PREFIX)
        )
    )


def _sampled(generated: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.unique(np.linspace(0, min(len(generated), len(true)) - 1, SAMPLED).astype(int))
    return np.stack([generated[k] for k in numbers]), np.stack([true[k] for k in numbers])


def _small(frames: np.ndarray) -> np.ndarray:
    """float32 (n,SIDE,SIDE,3): details, which no generated clip has in place, are averaged away."""
    import cv2

    return np.stack([cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for f in frames]).astype(np.float32)


def _change(ours: np.ndarray, theirs: np.ndarray) -> str:
    """The change that explains the difference between two sets of frames, or an empty string."""
    as_it_is = _error(ours, theirs)
    errors = {name: _error(undo(ours), theirs) for name, undo in _CHANGES.items()}
    best = min(errors, key=errors.__getitem__)
    # Inverting an empty picture, or stretching a pale one, may fit better too: the structure must agree as well.
    agrees = best not in _LEVELS or np.corrcoef(_CHANGES[best](ours).ravel(), theirs.ravel())[0, 1] > SAME
    return best if as_it_is > FITS and errors[best] < GAIN * as_it_is and agrees else ""


def _error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.square(ours - theirs).mean())


def _new_borders(ours: np.ndarray, theirs: np.ndarray) -> list[str]:
    """The sides with a border of one colour in every frame, where the true frames have a picture."""
    if _flat(ours).all():
        return []  # a clip of one colour has no border, it has no picture
    sides: Sequence[tuple[str, Callable[[np.ndarray], np.ndarray]]] = (
        ("top", lambda f: f),
        ("bottom", lambda f: f[:, ::-1]),
        ("left", lambda f: f.swapaxes(1, 2)),
        ("right", lambda f: f.swapaxes(1, 2)[:, ::-1]),
    )
    return [name for name, turn in sides if _width(turn(ours)) - _width(turn(theirs)) > BORDER]


def _width(frames: np.ndarray) -> float:
    """The share of the height that is of one colour from the top on, in all frames (n,H,W,3)."""
    picture = np.flatnonzero(~_flat(frames))
    return (picture[0] if len(picture) else frames.shape[1]) / frames.shape[1]


def _flat(frames: np.ndarray) -> np.ndarray:
    """bool (H,): the rows whose pixels have one colour in all frames (n,H,W,3), that of the first row."""
    rows = frames.astype(np.float32)
    same = np.abs(rows.mean(axis=(0, 2)) - rows[:, 0].mean(axis=(0, 1))).max(axis=-1) < FLAT
    return same & (rows.std(axis=(0, 2)).max(axis=-1) < FLAT)
