"""Run a script with its random number generators seeded: `python seeded.py SEED SCRIPT [ARGUMENTS]`.

Runs in the method's own interpreter, which may be as old as Python 3.6, and imports nothing of dawn-bench.
"""

import os
import random
import runpy
import sys


def main():
    seed, script = int(sys.argv[1]), sys.argv[2]
    random.seed(seed)
    for name, seeder in (("numpy", "random.seed"), ("torch", "manual_seed")):
        try:
            found = __import__(name)
        except ImportError:
            continue
        for part in seeder.split("."):
            found = getattr(found, part)
        found(seed % 2**32)
    sys.argv = sys.argv[2:]
    sys.path[0] = os.path.dirname(os.path.realpath(script))  # noqa: PTH120 (as the interpreter itself does)
    runpy.run_path(script, run_name="__main__")


main()
