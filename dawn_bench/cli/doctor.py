"""`dawn-bench doctor`: what is installed, and what each component uses."""

from __future__ import annotations


def doctor() -> None:
    """Print versions, device, decoder, weights, and what each extractor, back end and metric uses.

    Example: dawn-bench doctor
    """
    import os
    import shutil

    import av
    import torch
    from rich.table import Table

    from dawn_bench.metrics.scoring.base import metrics_in_order
    from dawn_bench.pipelines.extractors.base import EXTRACTORS
    from dawn_bench.pipelines.faces.base import FACE_BACKENDS, pick_backend
    from dawn_bench.progress import console
    from dawn_bench.provenance import device_name, pick_device, versions
    from dawn_bench.registry import installed_plugins
    from dawn_bench.weights import WEIGHTS, folder, resolve

    screen = console()

    def section(title: str, rows: list[tuple[str, str]]) -> None:
        screen.print(f"\n{title}", style="bold")
        table = Table(box=None, show_header=False, pad_edge=False)
        for left, right in rows:
            table.add_row(f"  {left}", right)
        screen.print(table)

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
            ("decoder", f"PyAV {av.__version__} with its own FFmpeg {ffmpeg}"),
            ("ffmpeg program", shutil.which("ffmpeg") or "absent (not needed)"),
        ],
    )
    resolved = {w.name: resolve(w.name) for w in WEIGHTS}
    section(
        f"Weights in {folder()}",
        [(n, "absent" if r.path is None else f"{r.state}  {r.path.name}") for n, r in resolved.items()],
    )
    chosen = pick_backend("auto").name
    section("Face back ends", [(name, _face(name, chosen)) for name in FACE_BACKENDS])
    section("Extractors", [(name, _extractor(name)) for name in EXTRACTORS])
    section("Metrics", [(metric.name, metric.backend() or "no network") for metric in metrics_in_order()])
    if plugins := installed_plugins():
        section("Plug-ins", plugins)
    if any(r.path is None for r in resolved.values()):
        screen.print(
            "\nNetworks without a file use deterministic stand-in weights; their scores are marked and never ranked.",
            markup=False,
        )


def _face(name: str, chosen: str) -> str:
    """Whether a face back end is usable, and if not, the reason."""
    from dawn_bench.pipelines.faces.base import FACE_BACKENDS

    if reason := FACE_BACKENDS[name].missing():
        return f"not usable: {reason}"
    return "ready, used by default" if name == chosen else "ready"


def _extractor(name: str) -> str:
    """Whether an extractor is usable, and if not, the reason."""
    from dawn_bench.pipelines.extractors.base import EXTRACTORS

    if reason := EXTRACTORS[name].missing():
        return f"not usable: {reason}"
    return f"ready, {EXTRACTORS[name]().fingerprint()}"
