"""One part of a lease, as `benchmarks/gpu_lease.sh` calls it; see there.

python benchmarks/lease/run.py correctness --folder OUT --reference FILE
python benchmarks/lease/run.py stages dawn:a2v-1 --folder OUT
python benchmarks/lease/run.py make --device cpu --folder OUT --reference FILE
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

#: Packages that a lease must do without: an import of one is an error here too.
ABSENT = ("av", "dlib", "decord", "torchcodec")
HERE = Path(__file__).parent


class _Absent:
    """Refuses to import what a leased machine lacks."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Raise for a package that is absent."""
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}: a lease does without it", name=name)


def main() -> int:
    """Run one part; 0 where everything in it went well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("make", "correctness", "stages", "clips", "scoring", "profiles"))
    parser.add_argument("what", nargs="*", help="the stage, as dawn:lfg; eager or compiled clips")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--reference", type=Path, default=Path("reference.npz"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=120, help="limit of this part")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--pretended", action="store_true", help="on the pretended device of the tests")
    arguments = parser.parse_args()
    sys.meta_path.insert(0, _Absent())  # type: ignore[arg-type]
    os.environ.setdefault("OMP_NUM_THREADS", "1" if arguments.pretended else "8")
    with _device(arguments.pretended):
        from world import Lease, say

        lease = Lease(
            arguments.device,
            arguments.tiny,
            arguments.folder,
            arguments.reference,
            arguments.seconds,
            pretended=arguments.pretended,
        )
        if arguments.part == "make":
            importlib.import_module("correctness").make(lease)
            return 0
        import torch

        import dawn_bench

        if not torch.cuda.is_available():
            say("no CUDA device is available")
            return 2
        where = Path(dawn_bench.__file__).parent
        say(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, dawn_bench of {where}")
        return min(1, importlib.import_module(arguments.part).main(lease, *arguments.what))


def _device(pretended: bool) -> AbstractContextManager[Any]:
    if not pretended:
        return nullcontext()
    sys.path.insert(0, str(HERE.parent.parent / "tests" / "support"))
    from pretended.device import pretended_cuda

    return pretended_cuda()


if __name__ == "__main__":
    sys.exit(main())
