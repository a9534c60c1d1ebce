"""In words: how two scores of one column differ, and for what a method has no score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dawn_bench.results import ScoreRow
from dawn_bench.text import NAMED, counted, few

ALL = "all"


def difference(row: ScoreRow, other: ScoreRow) -> str:
    """What `row` was scored over or with, other than `other`, the first of its column's ranked scores."""
    parts = []
    if row.left_out != other.left_out:
        ours, theirs = _lacks(row, other), _lacks(other, row)
        parts.append(f"other frames: {ours or 'with all'}; the others {theirs or 'with them'}")
    elif row.n_clips != other.n_clips:
        parts.append(f"over {counted(row.n_clips, 'clip')}, the others over {other.n_clips}: evaluate them together")
    elif row.n_frames != other.n_frames:
        parts.append(f"over {counted(row.n_frames, 'frame')}, the others over {other.n_frames}")
    names = sorted(n for n in {*row.versions, *other.versions} if n != "python")
    changed = [n for n in names if row.versions.get(n) != other.versions.get(n)]
    if row.fingerprint != other.fingerprint and changed:
        parts.append(few([f"{n} {row.versions.get(n, '–')}, not {other.versions.get(n, '–')}" for n in changed]))
    if row.fingerprint != other.fingerprint and row.device.split(" ")[0] != other.device.split(" ")[0]:
        parts.append(f"on {row.device or 'another device'}, not {other.device or 'that of the others'}")
    if row.weights_state != other.weights_state:
        parts.append(f"weights: {row.weights_state}, not {other.weights_state}")
    return "; ".join(parts) or "other true clips, settings or weights"


def clips_of(row: ScoreRow) -> frozenset[str]:
    """The clips that count."""
    return frozenset(clip for clip, value in row.per_clip.items() if value is not None)


def coverage_gaps(rows: Sequence[ScoreRow]) -> list[str]:
    """The coverage of one method where it is below 1, lowest first: `DR50 0 % (too_short)`."""
    groups: dict[tuple[float, str], list[str]] = {}
    for row in rows:
        if row.coverage < 1:
            why = ", ".join(name for name, _ in Counter(row.failures.values()).most_common(NAMED))
            groups.setdefault((row.coverage, why), []).append(row.label or row.metric)
    lines = []
    for (share, why), labels in sorted(groups.items()):
        what = "every metric" if len(labels) == len(rows) else ", ".join(labels)
        lines.append(f"{what} {100 * share:.3g} %{f' ({why})' if why else ''}")
    return lines


def _lacks(row: ScoreRow, other: ScoreRow) -> str:
    """`without clip c3, frames 62-74 of c2`: what only `row` leaves out; empty where it leaves out nothing."""
    own = {clip: left for clip, left in sorted(row.left_out.items()) if other.left_out.get(clip) != left}
    clips = [clip for clip, left in own.items() if left == ALL]
    parts = [f"frames {left} of {clip}" for clip, left in own.items() if left != ALL]
    if clips:
        parts.insert(0, f"clip{'s' if len(clips) > 1 else ''} {few(clips)}")
    return f"without {few(parts)}" if parts else ""
