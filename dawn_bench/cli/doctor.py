"""`dawn-bench doctor`: what is installed, and what each component uses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from dawn_bench.cli.output import JsonFlag
from dawn_bench.errors import InputError

if TYPE_CHECKING:
    from dawn_bench.metrics.scoring.base import Metric
    from dawn_bench.weights_table import Weight


def doctor(json: JsonFlag = False) -> None:
    """Print versions, device, decoder, weights, and what each extractor, back end and metric uses.

    Example: dawn-bench doctor
    """
    import os
    import shutil

    import av
    import torch

    from dawn_bench.metrics.scoring.listing import metrics_in_order
    from dawn_bench.pipelines.extractors.base import EXTRACTORS
    from dawn_bench.pipelines.faces.base import FACE_BACKENDS, pick_backend
    from dawn_bench.pipelines.media.decoders.base import DECODERS
    from dawn_bench.provenance import device_name, pick_device, versions
    from dawn_bench.registry import installed_plugins
    from dawn_bench.terminal import echo, echo_json, print_table
    from dawn_bench.weights import WEIGHTS, folder, locate

    facts: dict[str, list[tuple[str, str]]] = {}

    def section(title: str, rows: list[tuple[str, str]]) -> None:
        facts[title] = rows
        if not json:  # each as soon as it is known
            echo(f"\n{title}")
            print_table(rows=[(f"  {left}", right) for left, right in rows])

    section("Versions", list(versions().items()))
    ffmpeg = (
        ".".join(map(str, av.ffmpeg_version_info.split("-")[:1])) if hasattr(av, "ffmpeg_version_info") else "bundled"
    )
    section(
        "Machine",
        [
            ("device", device_name(pick_device())),
            ("cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())),
            (
                "torch CUDA",
                str(torch.version.cuda or "not built in") + ("" if torch.cuda.is_available() else ", no device"),
            ),
            ("OpenCV", _opencv()),
            ("ffmpeg program", shutil.which("ffmpeg") or "absent (not needed)"),
        ],
    )
    section(f"Weights in {folder()}", [(w.name, _or_reason(partial(_weight, w))) for w in WEIGHTS])
    chosen = _or_reason(lambda: pick_backend("auto").name)
    own = f"PyAV {av.__version__} with its own FFmpeg {ffmpeg}: used by default, reads every file"
    section("Decoders", [("pyav", own), *((name, _decoder(name)) for name in DECODERS)])
    section("Face back ends", [(name, _face(name, chosen)) for name in FACE_BACKENDS])
    section("Extractors", [(name, _extractor(name)) for name in EXTRACTORS])
    section("Metrics", [(m.name, _or_reason(partial(_metric, m))) for m in metrics_in_order()])
    if plugins := installed_plugins():
        section("Plug-ins", plugins)
    if json:
        installed = [f"{group}: {name}" for group, name in facts.pop("Plug-ins", [])]
        by_title = {title.partition(" in ")[0].lower(): dict(rows) for title, rows in facts.items()}
        echo_json({**by_title, "weights folder": folder(), "plug-ins": installed})
    elif any(locate(w) is None for w in WEIGHTS):
        echo(
            "\nMetrics that need weights are left out; trainings without a file use a substitute, and say so.\n"
            "Get all that an evaluation needs: dawn-bench weights fetch --for evaluate\n"
            "Numbers without a download: dawn-bench evaluate --protocol embedded",
        )


def _metric(metric: type[Metric]) -> str:
    """The weights behind a metric and their states, or those that it needs with the command that brings them."""
    from dawn_bench.metrics.protocols.base import PAPER_DAWN
    from dawn_bench.metrics.scoring.needs import metric_needs
    from dawn_bench.weights_needs import bring_command, missing_needs

    needs = metric_needs([metric], PAPER_DAWN)
    if missing := missing_needs(needs):
        return f"needs weights: {', '.join(name for name, *_ in missing)}: {bring_command(needs, job=metric.name)}"
    return metric.backend() or "no network"


def _or_reason(look: Callable[[], str]) -> str:
    """What `look` returns, or why it cannot be looked at: one damaged file must not hide the other rows."""
    try:
        return look()
    except InputError as error:
        return str(error)


def _weight(weight: Weight) -> str:
    """The state of one weight file; a file that is not the published one is read to see whether it is damaged."""
    from dawn_bench.weights import resolve
    from dawn_bench.weights_check import check_weight

    resolved = resolve(weight.name)
    if resolved.path is None:
        return "absent"
    if resolved.state != "canonical":
        try:
            check_weight(resolved.path, weight.file)
        except InputError as error:
            return f"damaged  {resolved.path.name}: {error.what} {error.hint}"
    return f"{resolved.state}  {resolved.path.name}"


#: Distributions that install the module cv2, each over the files of the others.
_CV2 = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


def _opencv() -> str:
    """The distribution of OpenCV; where there are several, what leaves one."""
    from importlib.metadata import PackageNotFoundError, version

    import cv2

    present = []
    for name in _CV2:
        with suppress(PackageNotFoundError):
            present.append(f"{name} {version(name)}")
    if len(present) < 2:
        return present[0] if present else f"cv2 {cv2.__version__}"
    names = " ".join(entry.partition(" ")[0] for entry in present)
    mend = f"pip uninstall -y {names} && pip install {_CV2[0]}"
    return f"{', '.join(present)} overwrite each other's files; keep one: {mend}"


def _decoder(name: str) -> str:
    """Whether a decoder is usable and what it is for, and if not, the reason."""
    from dawn_bench.pipelines.media.decoders.base import DECODERS

    if reason := DECODERS[name].missing():
        return f"not usable: {reason}"
    return f"ready, {DECODERS[name].version()}: to match data that was read with it (--decoder {name})"


def _face(name: str, chosen: str) -> str:
    """Whether a face back end is usable, and if not, the reason."""
    from dawn_bench.pipelines.faces.base import FACE_BACKENDS, loss_of, pick_backend, stand_in

    if reason := _or_reason(lambda: FACE_BACKENDS[name].missing() or ""):
        return f"not usable: {reason}"
    lost = f" in place of face-alignment: {loss_of(name)}" if name == chosen and stand_in(name) else ""
    return _or_reason(lambda: f"ready, used by default{lost}" if pick_backend(name).name == chosen else "ready")


def _extractor(name: str) -> str:
    """Whether an extractor is usable, and if not, the reason."""
    from dawn_bench.pipelines.extractors.base import EXTRACTORS

    if reason := _or_reason(lambda: EXTRACTORS[name].missing() or ""):
        return f"not usable: {reason}"
    return _or_reason(lambda: f"ready, {EXTRACTORS[name]().fingerprint()}")
