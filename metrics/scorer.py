"""The one-pass scorer: every clip is loaded once, goes through every network once, and gives a row a metric.

What a generated clip may differ in, and what is done about it (each is said in the row's note):

* length: both clips are cut to the shorter, from the first frame; sound is cut with the picture;
* size: generated frames are resized to the true side (area where they shrink, cubic where they grow);
* anything else that makes a clip unusable fails that clip for the metrics concerned, counts against their coverage,
  and costs no other clip.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.base import METRICS
from dawn_bench.metrics.extraction import Extraction
from dawn_bench.metrics.feature_cache import content_hash
from dawn_bench.metrics.protocols import PAPER_DAWN, Protocol
from dawn_bench.progress import meter
from dawn_bench.provenance import device_name, fingerprint, versions
from dawn_bench.results import ScoreRow
from dawn_bench.weights import Policy

#: Loads one generated clip when its turn comes; `meta["notes"]` may hold sentences about what loading changed.
Load = Callable[[], Clip]


def score_method(
    method: str,
    generated: Mapping[str, Load] | Iterable[Clip],
    truth: Iterable[Clip],
    *,
    dataset: str,
    split: str,
    metrics: Sequence[str] | None = None,
    protocol: Protocol = PAPER_DAWN,
    weights: Policy = "auto",
    device: str = "cpu",
    features_dir: Path | None = None,
    method_class: str = "portrait",
    rankable: bool = True,
    seed: int = 0,
) -> list[ScoreRow]:
    """Score what one method generated against the true clips of the same ids; one row a metric, in the order asked.

    `generated` is clips, or loaders by clip id; a true clip without a generated one counts as failed (`missing`).
    `metrics` None takes every registered metric whose features find their fields in the true clips. `features_dir`
    keeps features between calls. Raises `InputError` when a metric is unknown or no id matches.
    """
    loaders = _loaders(generated)
    true_clips = sorted(truth, key=lambda clip: clip.id)
    if not any(clip.id in loaders for clip in true_clips):
        ours, theirs = ", ".join(sorted(loaders)[:3]) or "none", ", ".join(clip.id for clip in true_clips[:3])
        raise InputError(
            f"no output of {method} has the id of a true clip.", mend=f"Outputs: {ours}; true clips: {theirs}."
        )
    chosen = [METRICS[name](protocol, seed=seed) for name in metrics or METRICS]
    extraction = Extraction(chosen, protocol, weights=weights, device=device, features_dir=features_dir)
    if metrics is None:
        chosen = [m for m in chosen if extraction.fields(m) <= set(true_clips[0].arrays)]

    failed: dict[str, dict[str, ItemError]] = {m.name: {} for m in chosen}
    notes: Counter[str] = Counter()
    with meter(f"score {method}", total=sum(c.n_frames for c in true_clips), unit="frames") as progress:
        for clip in true_clips:
            try:
                if clip.id not in loaders:
                    raise ItemError("missing", f"there is no output for {clip.id}")
                made, true, changed = matched(loaders[clip.id](), clip)
            except ItemError as error:
                progress.say(f"{method}, {clip.id}: {error}")
                for failures in failed.values():
                    failures[clip.id] = error
            else:
                notes.update(changed)
                for metric in chosen:
                    try:
                        metric.update(*extraction.arrays(metric, made, true), clip_id=clip.id)
                    except ItemError as error:
                        failed[metric.name][clip.id] = error
            progress.advance(clip.n_frames)

    reference = fingerprint([(clip.id, content_hash(clip, "frames")) for clip in true_clips])
    used = {k: v for k, v in versions().items() if k != "python"}
    said = [f"{text} ({count} clip{'s' if count > 1 else ''})" for text, count in notes.items()]
    rows = []
    for metric in chosen:
        began = time.perf_counter()
        score = metric.compute()
        seconds = sum(extraction.seconds[name] for name in extraction.needed(metric))  # shared ones count in each row
        facts: list[Any] = [metric.name, protocol.fingerprint, extraction.fingerprints(metric), reference]
        facts += [score.n_clips, score.n_frames, device.split(":")[0], used]
        rows.append(
            ScoreRow(
                method=method,
                method_class=method_class,
                dataset=dataset,
                split=split,
                protocol=protocol.id,
                metric=metric.name,
                unit=metric.unit,
                higher_is_better=metric.higher_is_better,
                value=score.value,
                low=score.low,
                high=score.high,
                n_clips=score.n_clips,
                n_frames=score.n_frames,
                coverage=1 - len(failed[metric.name]) / len(true_clips),
                weights_state=extraction.weights_state(metric),
                rankable=rankable,
                fingerprint=fingerprint(facts),
                device=device_name(device),
                versions=versions(),
                seed=seed,
                wall_seconds=round(seconds + time.perf_counter() - began, 3),
                note="; ".join(text for text in (score.note, _failures(failed[metric.name]), *said) if text),
                per_clip={**dict.fromkeys(failed[metric.name]), **score.per_clip},
                created=ScoreRow.now(),
            )
        )
    return rows


def matched(generated: Clip, true: Clip) -> tuple[Clip, Clip, list[str]]:
    """Both clips at one length and size, and notes on what was changed.

    Raises `ItemError("bad_output")` for frames that are not uint8 (T,H,W,3) or not there.
    """
    notes = [str(note) for note in generated.meta.get("notes", ())]
    lengths = generated.n_frames, true.n_frames
    n = min(lengths)
    if n < 1:
        raise ItemError("bad_output", f"{generated.id} has no frames")
    if "frames" in generated and "frames" in true:
        frames = generated["frames"]
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or len(frames) != lengths[0]:
            found = f"{frames.dtype} {frames.shape}"
            raise ItemError(
                "bad_output", f"the frames of {generated.id} are {found}, not uint8 ({lengths[0]}, H, W, 3)"
            )
        height, width = true["frames"].shape[1:3]
        if frames.shape[1:3] != (height, width):
            notes.append(f"resized from {frames.shape[2]}x{frames.shape[1]} to {width}x{height}")
            how = cv2.INTER_AREA if frames.shape[1] > height else cv2.INTER_CUBIC
            resized = np.stack([cv2.resize(f, (width, height), interpolation=how) for f in frames])
            generated = _with(generated, {"frames": resized}, lengths[0])
    if lengths[0] != lengths[1]:
        notes.append("frame counts differ, compared over the shorter")
    return _cut(generated, n), _cut(true, n), notes


def _cut(clip: Clip, n: int) -> Clip:
    if clip.n_frames == n:
        return clip
    arrays: dict[str, np.ndarray] = {}
    for name in clip.arrays:
        array = clip[name]
        arrays[name] = array[: n * SAMPLES_PER_FRAME] if name == "audio" else array[:n]
    return _with(clip, arrays, n)


def _with(clip: Clip, arrays: Mapping[str, np.ndarray], n_frames: int) -> Clip:
    return Clip(clip.id, clip.speaker, clip.split, n_frames, {**clip.arrays, **arrays}, clip.fps)


def _loaders(generated: Mapping[str, Load] | Iterable[Clip]) -> dict[str, Load]:
    if isinstance(generated, Mapping):
        return dict(generated)

    def holding(clip: Clip) -> Load:
        return lambda: clip

    return {clip.id: holding(clip) for clip in generated}


def _failures(failed: Mapping[str, ItemError]) -> str:
    """`2 clips failed: no_face (a, b)`."""
    by_reason: dict[str, list[str]] = {}
    for clip, error in sorted(failed.items()):
        by_reason.setdefault(error.reason, []).append(clip)
    parts = [f"{reason} ({', '.join(ids[:3])}{', …' if len(ids) > 3 else ''})" for reason, ids in by_reason.items()]
    return f"{len(failed)} clip{'s' if len(failed) > 1 else ''} failed: {', '.join(parts)}" if failed else ""
