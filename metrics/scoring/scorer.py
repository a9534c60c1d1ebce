"""The one-pass scorer: every clip is loaded once, runs through every network once, and each metric gives one row.

`dawn_bench.metrics.scoring.matching` documents how outputs of another length, size or frame rate are treated. With a
features folder nothing is decoded or computed twice, neither for another metric nor for true clips that several
methods share.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import METRICS, join_notes
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.feature_cache import content_hash, flushing
from dawn_bench.metrics.scoring.frames import ALL, FRAMES_MISSING, joined, missing_end, missing_words
from dawn_bench.metrics.scoring.listing import usual_metrics
from dawn_bench.metrics.scoring.matching import Load, Matcher, cut
from dawn_bench.metrics.scoring.needs import fields_of, without_weights
from dawn_bench.metrics.scoring.pictures import Pictures
from dawn_bench.names import owned
from dawn_bench.progress import meter
from dawn_bench.provenance import device_name, fingerprint, versions
from dawn_bench.results import NEEDS_WEIGHTS, ScoreRow
from dawn_bench.text import counted
from dawn_bench.weights import Policy


def score_method(
    method: str,
    generated: Mapping[str, Load] | Iterable[Clip],
    truth: Iterable[Clip],
    *,
    dataset: str,
    split: str,
    metrics: Sequence[str] | None = None,
    protocol: ScoringProtocol = PAPER_DAWN,
    weights: Policy = "auto",
    device: str = "cpu",
    features_dir: Path | None = None,
    method_class: str = "portrait",
    rankable: bool = True,
    seed: int = 0,
    failures: Mapping[str, str] | None = None,
    n_requested: int | None = None,
    lengths: Mapping[str, int] | None = None,
    min_share: float = 0.0,
    undefined: Mapping[str, str] | None = None,
) -> list[ScoreRow]:
    """Score the outputs of one method against the true clips with the same ids: one row a metric, in the given order.

    `generated` is clips, or loaders by clip id (`FileLoad` for clips in files); a true clip without an output counts as
    failed (`missing`). `metrics` None takes the protocol's metrics whose fields the true clips have. `features_dir`
    keeps features between calls. A metric whose network's files are absent is not computed under the policy `auto`: its
    row needs weights, and nothing is extracted for it.

    `failures` are the reasons, by clip id, why the method has no output. They may name clips outside `truth` where the
    method was given `n_requested` clips and `truth` is a part of them. Both enter the rows' `failures` and `coverage`.

    `lengths` are the first frames of a true clip, by id, over which it is scored: those that every compared method has.
    Metrics that compare the clip's end (`Metric.whole`) are not cut. What an output itself lacks is in the rows'
    `frames_missing` and note; an output of less than `min_share` of the true frames fails as `frames_missing`.

    `undefined` are metrics of those chosen that are not computed for these outputs, and the note of each that says why.

    Raises `InputError` when a metric is unknown or no id matches.
    """
    undefined = undefined or {}
    loaders, known = _loaders(generated), failures or {}
    true_clips = sorted(truth, key=lambda clip: clip.id)
    if not any(clip.id in loaders or clip.id in known for clip in true_clips):
        ours, theirs = ", ".join(sorted(loaders)[:3]) or "none", ", ".join(clip.id for clip in true_clips[:3])
        raise InputError(
            f"no output of {method} has the id of a true clip.", hint=f"Outputs: {ours}; true clips: {theirs}."
        )
    chosen = [METRICS[name](protocol, seed=seed) for name in metrics or usual_metrics(protocol)]
    pictures = Pictures(protocol)
    if metrics is None:
        chosen = [m for m in chosen if fields_of(m) <= set(true_clips[0].arrays)]
    lacking = without_weights(chosen, protocol, weights)
    why_not = {**undefined, **lacking}
    computed = [m for m in chosen if m.name not in why_not]
    looking = rankable and any(m.shows for m in computed)
    behind = [*computed, *([pictures] if looking else [])]
    extraction = Extraction(behind, protocol, weights=weights, device=device, features_dir=features_dir)

    match = Matcher(protocol, owned(features_dir, "matched") if features_dir is not None else None)
    failed: dict[str, dict[str, ItemError]] = {m.name: {} for m in chosen}
    missing: dict[str, str] = {}
    ends: dict[str, str] = {}  # the same, with the frames that only another method lacks
    notes: Counter[str] = Counter()
    frames = sum(c.n_frames for c in true_clips)
    with flushing(extraction, match), meter(f"score {method}", total=frames, unit="frames") as progress:
        for clip in true_clips:
            try:
                if clip.id not in loaders:
                    raise ItemError(known.get(clip.id, "missing"), f"there is no usable output for {clip.id}")
                output, true, changed = match(loaders[clip.id], clip)
                if (count := protocol.skip_first + output.n_frames) < min_share * clip.n_frames:
                    what = f"it has {count} of {clip.n_frames} frames, less than {min_share:.0%}"
                    raise ItemError(FRAMES_MISSING, what)
            except ItemError as error:
                progress.say(f"{method}, {clip.id}: {error}")
                for by_clip in failed.values():
                    by_clip[clip.id] = error
            else:
                notes.update(changed)
                missing[clip.id] = missing_end(output, clip, protocol)
                shared = (lengths or {}).get(clip.id, clip.n_frames) - protocol.skip_first
                pair = cut(output, 0, min(shared, output.n_frames)), cut(true, 0, min(shared, true.n_frames))
                ends[clip.id] = missing_end(pair[0], clip, protocol)
                if looking:
                    with suppress(ItemError):  # a clip whose frames cannot be used fails in every metric
                        pictures.update(*extraction.arrays(pictures, *pair), clip_id=clip.id)
                for metric in sorted(computed, key=lambda m: m.whole):  # one pair after the other
                    try:
                        metric.check_end(missing[clip.id])
                        # no name holds the arrays: those of an hour would stay beside those of the next metric
                        metric.update(
                            *extraction.arrays(metric, *((output, true) if metric.whole else pair)), clip_id=clip.id
                        )
                    except ItemError as error:
                        failed[metric.name][clip.id] = error
            progress.advance(clip.n_frames)

    shown = next(field for field in ("frames", "vertices", "audio") if field in true_clips[0])
    reference = fingerprint([(clip.id, content_hash(clip, shown)) for clip in true_clips])
    used = {k: v for k, v in versions().items() if k != "python"}
    lost = {clip: frames for clip, frames in missing.items() if frames}
    levelled = sum(ends[clip] != frames for clip, frames in missing.items())
    level = f"{counted(levelled, 'clip')} cut to the frames that all methods have" if levelled else ""
    changes = [f"{text} ({counted(count, 'clip')})" for text, count in notes.items()]
    rows = []
    for metric in chosen:
        began = time.perf_counter()
        score = metric.compute()
        own = None if metric.name in why_not else extraction
        # shared ones count in each row
        seconds = sum(extraction.seconds[name] for name in extraction.needed(metric)) if own else 0.0
        prints = own.fingerprints(metric) if own else {}
        facts: list[Any] = [metric.name, protocol.fingerprint, prints, reference]
        facts += [score.n_clips, score.n_frames, device.split(":")[0], used]
        left = {
            clip.id: joined(metric.left_out(metric.records[clip.id]), (missing if metric.whole else ends)[clip.id])
            if clip.id in metric.records
            else ALL
            for clip in (true_clips if own else ())
        }
        reasons = {**known, **{clip: error.reason for clip, error in failed[metric.name].items()}}
        requested = n_requested or len(true_clips)
        rows.append(
            ScoreRow(
                method=method,
                method_class=method_class,
                dataset=dataset,
                split=split,
                protocol=protocol.id,
                piece_length=protocol.piece_length,
                metric=metric.name,
                unit=metric.unit,
                higher_is_better=metric.higher_is_better,
                label=metric.title,
                description=metric.description,
                aim=metric.aim(),
                order=metric.order,
                value=score.value,
                low=score.low,
                high=score.high,
                n_clips=score.n_clips,
                n_frames=score.n_frames,
                coverage=(requested - len(reasons)) / requested,
                failures=dict(sorted(reasons.items())),
                weights_state=own.weights_state(metric) if own else NEEDS_WEIGHTS if metric.name in lacking else "none",
                research_only=own.research_only(metric) if own else [],
                rankable=rankable,
                fingerprint=fingerprint(facts),
                device=device_name(device),
                versions=versions(),
                seed=seed,
                wall_seconds=round(seconds + time.perf_counter() - began, 3),
                note=why_not.get(metric.name)
                or join_notes(score.note, _failures(failed[metric.name]), *changes, missing_words(lost), level),
                over_time=list(score.over_time),
                interval=metric.interval if own else "",
                frames_missing=lost,
                left_out={clip: frames for clip, frames in left.items() if frames},
                not_ranked=pictures.objection(metric.shows) if looking and score.value is not None else "",
                per_clip={**dict.fromkeys(failed[metric.name]), **score.per_clip},
                created=ScoreRow.now(),
            )
        )
    return rows


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
    return f"{counted(len(failed), 'clip')} failed: {', '.join(parts)}" if failed else ""
