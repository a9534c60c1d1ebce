"""Run a script with its random number generators seeded: `python seeded.py SEED SCRIPT [ARGUMENTS]`.

Runs in the method's own interpreter, which may be as old as Python 3.6, and imports nothing of dawn-bench.
"""

import importlib
import os
import random
import runpy
import sys

GENERATORS = (("numpy.random", "seed"), ("torch", "manual_seed"))


def main():
    """Seed the generators, then run the script as `__main__` with its own arguments."""
    seed, script = int(sys.argv[1]), sys.argv[2]
    random.seed(seed)
    for module, function in GENERATORS:
        try:
            getattr(importlib.import_module(module), function)(seed)
        except ImportError:
            continue
    sys.argv = sys.argv[2:]
    sys.path[0] = os.path.dirname(os.path.realpath(script))  # noqa: PTH120 (as the interpreter itself does)
    runpy.run_path(script, run_name="__main__")


main()
