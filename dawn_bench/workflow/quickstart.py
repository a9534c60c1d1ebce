"""Quickstart: the same code paths as a user's run, on an embedded synthetic dataset, offline and in minutes.

<out>/dataset     mp4 and wav files in the layout of CREMA-D, with known ground truth
<out>/cache       the prepared cache
<out>/run         the trained models
<out>/results     outputs, scores, report
<out>/timings.json   seconds of each part
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dawn_bench.baselines.base import METHODS, Context
from dawn_bench.baselines.outputs import produce
from dawn_bench.cache import Cache
from dawn_bench.config import Config, resolve_config
from dawn_bench.devices import on_its_device
from dawn_bench.errors import InputError, UnknownNameError, nearest
from dawn_bench.files import is_temporary, sweep, write_atomic
from dawn_bench.locks import exclusive
from dawn_bench.models.spec import MODELS, default_model
from dawn_bench.names import check_links, owned
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic import write_embedded
from dawn_bench.progress import meter
from dawn_bench.readers import read_json
from dawn_bench.reports.page import write_report
from dawn_bench.reports.store import Facts, LearningSignal, ResultsStore
from dawn_bench.training.signals import loss_falls
from dawn_bench.weights import Policy
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods
from dawn_bench.workflow.folders import results_folder
from dawn_bench.workflow.learning import lips_follow_sound
from dawn_bench.workflow.paper_networks import fetch_networks, how_to_get_columns
from dawn_bench.workflow.spent import Spent
from dawn_bench.workflow.train import train

MARK, TIMINGS = "quickstart.json", "timings.json"
#: The protocol of the first scores, and that of the paper's metrics, whose networks have to be downloaded.
PROTOCOL, PAPER = "embedded", "paper-dawn"


class Plan(Config):
    """The amount of work of a quickstart; stored in its folder, so that a stopped run continues with the same plan."""

    preset: str
    speakers: int
    clips: int
    seconds: float
    source_size: int
    size: int
    scored_clips: int
    steps: int = 20  # of the sampler
    training: tuple[str, ...] = ()  # changes to the preset, as `--set` takes them
    seed: int = 0


#: The plan of each preset. `tiny` takes less than ten minutes of processor time.
PLANS = {
    "tiny": Plan(preset="tiny", speakers=8, clips=24, seconds=3, source_size=256, size=64, scored_clips=4),
    "small": Plan(preset="small", speakers=12, clips=40, seconds=4, source_size=256, size=64, scored_clips=4),
}


def plan_for(preset: str, *, seed: int) -> Plan:
    """The plan of a preset; raises `InputError` listing the known presets."""
    if preset not in PLANS:
        raise UnknownNameError(f"quickstart has no preset {preset!r}.", hint=nearest(preset, PLANS))
    return PLANS[preset].model_copy(update={"seed": seed})


@dataclass(frozen=True)
class Quickstarted:
    """Summary lines, learning signals, and the report page."""

    summary: list[str]
    signals: list[LearningSignal]
    report: Path


@on_its_device
def run_quickstart(
    out: Path,
    plan: Plan,
    *,
    jobs: int,
    device: str,
    weights: Literal["auto", "fetch"] = "auto",
    all_metrics: bool = False,
) -> Quickstarted:
    """Run the whole job in `out`; parts that an earlier run finished are not repeated.

    With `weights="fetch"` the published networks are downloaded first, and the paper's metrics are shown too; with
    `all_metrics` these are computed with stand-ins. Raises `InputError` when `out` is not empty and not a quickstart
    with the same plan, when both are asked for, or when a network cannot be downloaded.
    """
    if weights == "fetch" and all_metrics:
        what = "--all-metrics computes with stand-ins what --weights fetch brings the networks for."
        raise InputError(what, hint="Give one of them.")
    _claim(out, plan)
    with exclusive(out, doing="used", hint="Wait for it, or give another --out."):
        for name in ("dataset", "cache", "run", "results"):
            owned(out, name)
        check_links(out, "dataset")
        sweep(out, "dataset")
        if weights == "fetch":
            fetch_networks(PAPER, out=out)
        paper: Policy | None = "seeded" if all_metrics else "auto" if weights == "fetch" else None
        return _quickstarted(out, plan, jobs=jobs, device=device, paper=paper)


def _quickstarted(out: Path, plan: Plan, *, jobs: int, device: str, paper: Policy | None) -> Quickstarted:
    """`paper`: the networks with which the paper's metrics are computed, None: not at all."""
    seed, spent = plan.seed, Spent(out / TIMINGS)

    with spent.part("dataset"):
        _dataset(out / "dataset", plan, jobs=jobs)
    with spent.part("prepare"):
        picked = PrepareSettings(dataset="embedded", size=plan.size)
        prepare(out / "dataset", out / "cache", picked, jobs=jobs, device=device)
    cache = Cache(out / "cache")
    settings = resolve_config(MODELS[default_model()].preset(plan.preset), overrides=plan.training)
    with spent.part("train"):
        train(cache, settings, out=out / "run", stages=["all"], seed=seed, device=device, resume=True)
    notes = [
        "Quickstart: synthetic clips rendered from one photograph, no recordings of people talking.",
        f"Preset {plan.preset}: {settings.note}.",
        *how_to_get_columns(PAPER, out=out),
    ]
    evaluation = Evaluation(
        cache=out / "cache",
        out=out / "results",
        checkpoint=out / "run",
        max_clips=plan.scored_clips,
        options=_sampling(plan),
        seed=seed,
        device=device,
        jobs=jobs,
        notes=tuple(notes),
        protocol=PROTOCOL,
    )
    with spent.part("evaluate"):
        if paper is not None:
            evaluate_methods(evaluation.model_copy(update={"protocol": PAPER, "weights": paper}))
        scored = evaluate_methods(evaluation)
    with spent.part("learning signals"), results_folder(out / "results"):
        signals = _signals(out, cache, plan, device=device)

    store = ResultsStore(out / "results")
    store.set_facts(Facts(title="dawn-bench quickstart", learning=signals, timings=spent.timings))
    with spent.part("report"):
        pages = write_report(out / "results", out / "results" / "report")
    page = next(p for p in pages if p.suffix == ".html")
    table = [line for line in scored.screen if not line.startswith("report: ")]  # it is written anew, and named last
    return Quickstarted([*table, *(_line(s) for s in signals), *spent.table()], signals, page.resolve())


def _sampling(plan: Plan) -> dict[str, int]:
    """Options of DAWN's sampler."""
    return {"steps": plan.steps}


def _claim(out: Path, plan: Plan) -> None:
    """Claim an empty folder, or continue the same plan; any other folder is refused."""
    mark = out / MARK
    if mark.is_file():
        if read_json(mark, dict, hint="Remove the folder.") != plan.model_dump(mode="json"):
            what = "holds a quickstart with another preset or seed, or of another version."
            raise InputError(what, path=out, hint="Choose another --out, or remove it.")
        return
    if out.exists() and (not out.is_dir() or not all(is_temporary(path.name) for path in out.iterdir())):
        raise InputError("is not an empty folder.", path=out, hint="Choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(mark, json.dumps(plan.model_dump(mode="json")).encode())


def _dataset(root: Path, plan: Plan, *, jobs: int) -> None:
    done = root / "complete"
    if done.is_file():
        return
    with meter("write the dataset", total=plan.clips, unit="clips") as progress:
        write_embedded(
            root,
            speakers=plan.speakers,
            clips=plan.clips,
            seconds=plan.seconds,
            size=plan.source_size,
            seed=plan.seed,
            jobs=jobs,
            progress=progress,
        )
    write_atomic(done, b"")


def _signals(out: Path, cache: Cache, plan: Plan, *, device: str) -> list[LearningSignal]:
    """Learning signals: losses, the model's own signals on held-out clips, and lip sync on the scored clips."""
    run, clips = out / "run", cache.clips("test")
    scored = clips[: plan.scored_clips]
    stages = sorted(p.parent.name for p in run.glob("*/metrics.jsonl"))
    spec = MODELS[default_model()]
    context = Context(run, device, plan.seed, _sampling(plan))
    generated, shuffled = (
        produce(METHODS[name](context), scored, out / "results" / "outputs", seed=plan.seed)
        for name in (spec.name, f"{spec.name}-shuffled")
    )
    return [
        *(loss_falls(run, stage) for stage in stages),
        *spec.signals(run, clips, seed=plan.seed, device=device),
        lips_follow_sound(generated, shuffled, scored, pick_backend("auto")),
    ]


def _line(signal: LearningSignal) -> str:
    value, baseline = (f"{v:.3g}" if v is not None else "–" for v in (signal.value, signal.baseline))
    return f"{'ok' if signal.passed else 'NOT SHOWN'}: {signal.signal}: {value}, baseline {baseline} ({signal.note})"
