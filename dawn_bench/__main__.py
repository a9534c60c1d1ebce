"""The `dawn-bench` command, also as `python -m dawn_bench`."""

from __future__ import annotations

import sys


def main() -> None:
    """Import the command line and run it; a Ctrl-C during the imports ends it as any other, without a traceback."""
    try:
        from dawn_bench.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("stopped: nothing was begun\n")
        from dawn_bench.stopping import before_exit

        before_exit()
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
