"""What an evaluation says before its work: what is computed with which weights, what is skipped, and for how long.

Seconds a frame of each method and metric are remembered on this machine, in the user's cache folder. They are used for
this sentence alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dawn_bench import hashes, weights
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.files import write_atomic
from dawn_bench.metrics.features.landmarks import face_needs
from dawn_bench.metrics.protocols.base import ScoringProtocol
from dawn_bench.metrics.scoring.base import METRICS, Metric
from dawn_bench.metrics.scoring.listing import usual_metrics
from dawn_bench.metrics.scoring.needs import fields_of, metric_needs, without_weights
from dawn_bench.provenance import device_name
from dawn_bench.readers import read_json
from dawn_bench.results import ScoreRow, fetch_in
from dawn_bench.text import counted, duration, few
from dawn_bench.weights_needs import first_present
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.summary import instead_of, need_weights

#: A rate below this share of the known one is of a run that reused outputs and features, and is not remembered.
_KEPT = 0.1
#: Names that a line lists.
_MOST = 6


def forecast(
    job: Evaluation,
    protocol: ScoringProtocol,
    clips: Sequence[Clip],
    methods: Sequence[str],
    *,
    pending: float,
    workers: int,
) -> list[str]:
    """The lines before the work. `pending` is the share of it that no earlier run has done, `workers` their number."""
    metrics = _metrics(job, protocol, clips)
    lacking = without_weights(metrics, protocol, job.weights)
    computed = [metric for metric in metrics if metric.name not in lacking]
    frames = sum(clip.n_frames for clip in clips)
    what = f"{counted(len(clips), 'clip')}, {counted(frames, 'frame')}, {counted(len(methods), 'method')}"
    lines = [f"evaluate: {what}: {few(methods, most=_MOST)}", *_computed(computed, protocol, job)]
    if lacking:
        titles = ", ".join(metric.title for metric in metrics if metric.name in lacking)
        command = fetch_in(next(iter(lacking.values())))
        count = need_weights(len(lacking), len(metrics))
        lines.append(f"skipped: {titles}: {count}: {command}{instead_of(protocol)}")
    return [*lines, _time(job, computed, methods, frames * pending, workers)]


def remember(job: Evaluation, rows: Sequence[ScoreRow], generating: Mapping[str, float], clips: Sequence[Clip]) -> None:
    """Note the seconds a frame of this run, by method and metric; `generating` are seconds by method."""
    frames, device = sum(clip.n_frames for clip in clips), device_name(job.device)
    new = {f"{device}: generate {name}": seconds / frames for name, seconds in generating.items()}
    for metric in dict.fromkeys(row.metric for row in rows if not row.needs_weights):
        own = [row.wall_seconds for row in rows if row.metric == metric]
        new[f"{device}: measure {metric}"] = sum(own) / len(own) / frames
    rates = _rates()
    rates |= {key: round(rate, 6) for key, rate in new.items() if rate >= _KEPT * rates.get(key, 0.0)}
    with suppress(OSError):  # where nothing can be remembered the time stays unknown
        _file().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(_file(), json.dumps(rates, indent=0, sort_keys=True).encode(), durable=False)


def _metrics(job: Evaluation, protocol: ScoringProtocol, clips: Sequence[Clip]) -> list[type[Metric]]:
    named = [METRICS[name] for name in job.metrics or usual_metrics(protocol)]
    fields = set(clips[0].arrays)
    return [metric for metric in named if job.metrics or fields_of(metric) <= fields]


def _computed(metrics: Sequence[type[Metric]], protocol: ScoringProtocol, job: Evaluation) -> list[str]:
    """`computed: PSNR, SSIM (no network); FID (inception-fid canonical)`."""
    real = set(face_needs())  # which no policy replaces
    groups: dict[str, list[str]] = {}
    for metric in metrics:
        behind = []
        for need in metric_needs([metric], protocol):
            used = weights.resolve(first_present(need), "auto" if need in real else job.weights)
            behind.append(f"{used.weight.name} {'stand-in' if used.state == 'seeded' else used.state}")
        groups.setdefault(", ".join(behind) or "no network", []).append(metric.title)
    parts = [f"{', '.join(titles)} ({behind})" for behind, titles in groups.items()]
    return [f"computed: {'; '.join(parts) or 'nothing'}"]


def _time(job: Evaluation, metrics: Sequence[type[Metric]], methods: Sequence[str], frames: float, workers: int) -> str:
    if not frames:
        return "time: seconds, as an earlier run left all outputs and features"
    rates, device = _rates(), device_name(job.device)
    wanted = {name: (f"{device}: generate {name}", 1) for name in methods}
    wanted |= {metric.title: (f"{device}: measure {metric.name}", len(methods)) for metric in metrics}
    known = {name: rates[key] * times for name, (key, times) in wanted.items() if key in rates}
    unknown = [name for name in wanted if name not in known]
    if len(unknown) == len(wanted):
        return "time: not known before the first run on this machine, which measures it"
    # metrics that share a feature count it each
    most = f"at most about {duration(max(1, round(sum(known.values()) * frames / workers)))}"
    if not unknown:
        return f"time: {most}, as measured on this machine"
    return f"time: not known for {few(unknown, most=_MOST)} before a first run on this machine; the rest: {most}"


def _file() -> Path:
    return hashes.notes_folder().parent / "rates.json"


def _rates() -> dict[str, float]:
    """The remembered rates in seconds a frame; none where the file is absent or damaged."""
    try:
        stored = read_json(_file(), dict)
    except InputError:
        return {}
    return {str(k): float(v) for k, v in stored.items() if isinstance(v, int | float) and 0 <= v < 1e6}
