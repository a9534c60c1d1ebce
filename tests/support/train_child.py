"""Train micro stages in a process of its own: `train_child.py CACHE OUT STAGES [OVERRIDE ...]`, perhaps dying midway.

`DIE_AT` names a step at whose batch the process kills itself as `kill -9` would.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from micro import micro_train

from dawn_bench.training.loop import batches


def _deadly(step: int) -> None:
    from dawn_bench.training import loop

    def dying(batch, **settings):  # type: ignore[no-untyped-def]
        def one(number: int):  # type: ignore[no-untyped-def]
            if number == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return batch(number)

        return batches(one, **settings)

    loop.batches = dying  # type: ignore[assignment]


if __name__ == "__main__":
    cache, out, stages, *overrides = sys.argv[1:]
    if "DIE_AT" in os.environ:
        _deadly(int(os.environ["DIE_AT"]))
    for stage in stages.split(","):
        micro_train(Path(cache), Path(out), *overrides, stage=stage)
