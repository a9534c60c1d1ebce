"""Weights from a folder as somebody downloaded it: each file is recognised by its place, its name or its content.

The released models come as folders: DAWN's from Hugging Face, DiffSpeaker's and MRAA's from Google Drive. Their authors
spell some names in two ways, and Google Drive drops folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.files import user_path, walk
from dawn_bench.readers import read_torch
from dawn_bench.storage import StorageError
from dawn_bench.weights_kinds import Kind, kind_of
from dawn_bench.weights_table import WEIGHTS, Weight

#: Files that may hold tensors, and packed downloads.
_TENSORS = (".pth", ".pt", ".tar", ".bin", ".ckpt", ".safetensors", ".model")
_PACKED = (".zip", ".7z", ".rar", ".tgz", ".tar.gz")
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


class NoEntryError(InputError):
    """A network that is recognised, and that no entry of the registry stands for."""


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
            added.append(Added(path, weights.add(path, weight.name, replace=replace) if weight is not None else None))
        except StorageError:
            raise
        except NoEntryError as error:
            added.append(Added(path, note=str(error)))
        except InputError as error:
            added.append(Added(path, reason=str(error)))
    return added


def identify(path: Path) -> Weight | None:
    """The registry entry of a file: by its place and name, by a unique name, else by its content; None for others.

    Raises `InputError` for a packed download, a damaged file of a known name, and a file that two entries could be, and
    `NoEntryError` for another network of a known kind.
    """
    if path.name.lower().endswith(_PACKED):
        raise InputError("is packed.", path=path, hint="Unpack it, and give the folder again.")
    if weight := _by_name(path):
        return weight
    if not path.name.lower().endswith(_TENSORS):
        return None
    try:
        kind = kind_of(read_torch(path, mapped=True, skip_objects=True))
    except InputError:
        return None  # of another program
    return _by_content(path, kind) if kind is not None else None


def _by_name(path: Path) -> Weight | None:
    """The entry whose file has this place and name, or of which it is the only one of that name."""
    place = _spelling(path.resolve().as_posix())
    placed = [weight for weight in WEIGHTS if place.endswith(f"/{_spelling(weight.file)}")]
    if placed:
        return max(placed, key=lambda weight: len(weight.file))
    named = [weight for weight in WEIGHTS if _spelling(Path(weight.file).name) == _spelling(path.name)]
    return named[0] if len(named) == 1 and not named[0].file.endswith(".json") else None


def _by_content(path: Path, kind: Kind) -> Weight:
    """The entry of a network's kind; where the content allows several, the file's own name has to choose."""
    if not kind.names:
        raise NoEntryError(f"is {kind.title}: no entry of the registry takes it.", path=path)
    words = set(re.split(r"[^a-z0-9]+", f"{path.parent.name} {path.name}".lower()))
    telling = {name: set(name.split("-")) for name in kind.names}
    common = set.intersection(*telling.values()) if telling else set()
    fitting = [name for name in kind.names if len(kind.names) == 1 or (telling[name] - common) & words]
    if len(fitting) == 1:
        return weights.entry(fitting[0])
    choices = " or ".join(f"--name {name}" for name in kind.names)
    raise InputError(f"is {kind.title}.", path=path, hint=f"Say which: dawn-bench weights add FILE {choices}")


def _spelling(name: str) -> str:
    """A name in one spelling: `pbnet-seperate` and `pbnet_separate` are the same."""
    return name.lower().replace("-", "_").replace("seperate", "separate")


def _files(root: Path) -> Iterator[Path]:
    for count, path in enumerate(walk(root)):  # without hidden files, which are git's and the Hub's own
        if count >= _MOST:
            raise InputError(f"has more than {_MOST:,} files.", path=root, hint="Give the folder of the weights.")
        if path.is_file():
            yield path
