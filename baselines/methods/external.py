"""The external methods with a bundled adapter; each is available once the user states where it is installed."""

from __future__ import annotations

from collections.abc import Callable

from dawn_bench.baselines.base import METHODS, Context
from dawn_bench.baselines.external.adapter import INSTALLS_VARIABLE, bundled, installs, installs_file, read_adapter
from dawn_bench.baselines.external.method import External
from dawn_bench.errors import InputError


def builder(name: str) -> Callable[[Context], External]:
    """A builder of the external method `name`, which reads the installs file.

    It raises `InputError` where there is no such file, or the file does not name the method.
    """

    def build(context: Context) -> External:
        path = installs_file(context.installs)
        if path is None:
            adapter = read_adapter(bundled()[name])
            raise InputError(
                f"{name} runs in its own repository ({adapter.source}), which must be installed first.",
                hint=f"Set its path with --installs FILE or {INSTALLS_VARIABLE}; or score its files: --outputs DIR.",
            )
        installed = installs(path, only=name)
        if name not in installed:
            raise InputError(f"does not name {name}.", path=path, hint=f"Add: {name}: {{python: …, repo: …}}")
        return External(*installed[name], logs=context.logs)

    return build


for _name in bundled():
    METHODS.register(_name)(builder(_name))
