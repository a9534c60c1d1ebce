"""Weights from a folder as somebody downloaded it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.files import user_path, walk
from dawn_bench.storage import StorageError
from dawn_bench.weights_add import NoEntryError, add, identify

#: More files than a download of weights has.
_MOST = 10_000


@dataclass(frozen=True)
class Added:
    """One file of the folder: the entry it was added as; or why it could not be, in `reason`; else it is not needed.

    `note` says of a network that is not needed what it is.
    """

    path: Path
    resolved: weights.Resolved | None = None
    reason: str = ""
    note: str = ""


def add_folder(folder: Path, *, replace: bool = False) -> list[Added]:
    """Add every file of a folder, at any depth, that is an entry of the registry; the others are reported.

    A file that cannot be used does not keep the others from being added. Raises `InputError` when there is no such
    folder or it has too many files, and `StorageError` when the disk is full.
    """
    root = user_path(folder)
    if not root.is_dir():
        raise InputError("there is no such folder.", path=root)
    added = []
    for path in _files(root):
        try:
            weight = identify(path)
            added.append(Added(path, add(path, weight.name, replace=replace) if weight is not None else None))
        except StorageError:
            raise
        except NoEntryError as error:
            added.append(Added(path, note=str(error)))
        except InputError as error:
            added.append(Added(path, reason=str(error)))
    return added


def _files(root: Path) -> Iterator[Path]:
    for count, path in enumerate(walk(root)):  # without hidden files, which are git's and the Hub's own
        if count >= _MOST:
            raise InputError(f"has more than {_MOST:,} files.", path=root, hint="Give the folder of the weights.")
        if path.is_file():
            yield path
