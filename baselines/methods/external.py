"""The external methods whose adapters come with dawn-bench; each runs once the user has said where it is installed."""

from __future__ import annotations

from collections.abc import Callable

from dawn_bench.baselines.base import METHODS, Context
from dawn_bench.baselines.external.adapter import INSTALLS, bundled, installs, installs_file, read_adapter
from dawn_bench.baselines.external.method import External
from dawn_bench.errors import InputError


def builder(name: str) -> Callable[[Context], External]:
    """A function that builds the external method `name` from the installs file.

    It raises `InputError` where the file does not say where the method is.
    """

    def build(context: Context) -> External:
        path = installs_file(context.installs)
        if path is None:
            adapter = read_adapter(bundled()[name])
            raise InputError(
                f"{name} runs in its own repository ({adapter.source}), which has to be installed first.",
                hint=f"Say where with --installs FILE or {INSTALLS}; or score its outputs: --outputs FOLDER.",
            )
        found = installs(path, only=name)
        if name not in found:
            raise InputError(f"says nothing of {name}.", path=path, hint=f"Add: {name}: {{python: …, repo: …}}")
        return External(*found[name], logs=context.logs)

    return build


for _name in bundled():
    METHODS.register(_name)(builder(_name))
