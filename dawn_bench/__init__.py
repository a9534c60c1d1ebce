"""dawn-bench: one benchmark pipeline for talking-head generation.

Data flows one way: pipelines → caches → models → outputs → metrics → results → reports.

The names in `__all__` are the public API; `docs/api.md` describes them and states what stays stable. They are imported
on first use, so `import dawn_bench` loads no other package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dawn_bench.api import compute_metrics, evaluate, generate_list, load_model, open_cache, prepare, report
    from dawn_bench.cache import Cache
    from dawn_bench.clip import Clip
    from dawn_bench.errors import DawnBenchError, InputError, ItemError, UnknownNameError
    from dawn_bench.metrics.scoring.compare import MetricScore
    from dawn_bench.models.generator import Generator, TalkingClip, TalkingStream
    from dawn_bench.pipelines.preparation.prepare import PrepareReport
    from dawn_bench.results import ScoreRow
    from dawn_bench.windows import Windows
    from dawn_bench.workflow.evaluate import Evaluated
    from dawn_bench.workflow.generate_list import ListedClips

__version__ = "0.1.0"

__all__ = [
    "Cache",
    "Clip",
    "DawnBenchError",
    "Evaluated",
    "Generator",
    "InputError",
    "ItemError",
    "ListedClips",
    "MetricScore",
    "PrepareReport",
    "ScoreRow",
    "TalkingClip",
    "TalkingStream",
    "UnknownNameError",
    "Windows",
    "__version__",
    "compute_metrics",
    "evaluate",
    "generate_list",
    "load_model",
    "open_cache",
    "prepare",
    "report",
]

#: The module of each public name.
_MODULES = {
    **dict.fromkeys(
        ("compute_metrics", "evaluate", "generate_list", "load_model", "open_cache", "prepare", "report"), "api"
    ),
    **dict.fromkeys(("DawnBenchError", "InputError", "ItemError", "UnknownNameError"), "errors"),
    **dict.fromkeys(("Generator", "TalkingClip", "TalkingStream"), "models.generator"),
    "Cache": "cache",
    "Clip": "clip",
    "Evaluated": "workflow.evaluate",
    "ListedClips": "workflow.generate_list",
    "MetricScore": "metrics.scoring.compare",
    "PrepareReport": "pipelines.preparation.prepare",
    "ScoreRow": "results",
    "Windows": "windows",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # later look-ups bypass __getattr__
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
