"""A user's file becomes an entry of the registry: it is recognised by its hash, its place, its name or its content.

The released models come as folders: DAWN's from Hugging Face, DiffSpeaker's and MRAA's from Google Drive. Their authors
spell some names in two ways, and Google Drive drops folders.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.files import replacing, sha256_file, user_path
from dawn_bench.hashes import hash_file, known_hashes
from dawn_bench.readers import read_torch
from dawn_bench.storage import StorageError
from dawn_bench.weights_check import check_weight
from dawn_bench.weights_kinds import Kind, check_kind, checked_names, kind_of
from dawn_bench.weights_layouts import check_layout, check_numbers
from dawn_bench.weights_table import Weight

#: Files that may hold tensors, and packed downloads.
_TENSORS = (".pth", ".pt", ".tar", ".bin", ".ckpt", ".safetensors", ".model")
_PACKED = (".zip", ".7z", ".rar", ".tgz", ".tar.gz")

#: The folder of a snapshot in the cache of the Hugging Face Hub; the last part of the repository's name is the model's.
_SNAPSHOT = re.compile(r"/models--[^/]+--([^/]+)/snapshots/[^/]+/")


class NoEntryError(InputError):
    """A network that is recognised, and that no entry of the registry stands for."""


def add(path: Path, name: str | None = None, *, replace: bool = False) -> weights.Resolved:
    """Copy a user's file into the weights folder, under the file name of the entry `name`.

    Without `name` the entry is identified by the file's hash, else by its file name, else by its content. Another file
    of that name is kept unless `replace` is set. Raises `InputError` when no single entry matches, when the file is
    another entry's published file or cannot be read as weights, when another file is there already, or when it cannot
    be copied.
    """
    path = user_path(path)
    if not path.is_file():
        raise InputError("there is no such file." if not path.is_dir() else "is a folder, not a file.", path=path)
    hashes = hash_file(path)
    known = [w for w in weights.WEIGHTS if weights.is_published(w, hashes)]
    matches = known or [w for w in weights.WEIGHTS if Path(w.file).name == path.name]
    if name is None and len(matches) != 1:
        matches = [w for w in [identify(path)] if w is not None] or matches
    if name is None and len(matches) != 1:
        which = "or ".join(f"--name {w.name} " for w in matches)
        raise InputError(
            "matches more than one entry." if matches else "matches no registry entry by hash or name.",
            path=path,
            hint=f"Say which: dawn-bench weights add PATH {which.strip() or '--name NAME'}",
        )
    weight = weights.entry(name) if name is not None else matches[0]
    if known and weight not in known:
        raise InputError(f"is the published file of {known[0].name}, not of {weight.name}.", path=path)
    target = weights.folder() / weight.file
    if target.exists() and target.samefile(path):
        return weights.resolve(weight.name)
    if not known:
        check_weight(path, weight.file)
        check_kind(path, weight)
        check_layout(path, weight)
        check_numbers(path, weight)
        _check_twin(weight, hashes["sha256"], path)
    if target.exists() and not replace:
        if target.is_file() and sha256_file(target) == hashes["sha256"]:
            return weights.resolve(weight.name)
        raise InputError("is there already, with other content.", path=target, hint="Replace it with --replace.")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(target) as temporary:
            shutil.copyfile(path, temporary)
    except StorageError:
        raise  # it ends a run over many files
    except OSError as error:
        raise InputError(f"could not be written ({error.strerror}).", path=target) from error
    return weights.resolve(weight.name)


def _check_twin(weight: Weight, sha256: str, path: Path) -> None:
    """Raise `InputError` where the same bytes are there as another released model: one of the two is misnamed."""
    for other in weights.WEIGHTS:
        there = weights.folder() / other.file
        if not {weight.name, other.name} <= checked_names() or other == weight or not there.is_file():
            continue
        if there.stat().st_size == path.stat().st_size and known_hashes(there)["sha256"] == sha256:
            raise InputError(
                f"is the same file as {there}, which is there as {other.name}, not {weight.purpose}.",
                path=path,
                hint="One of the two is misnamed: get it again from its origin.",
            )


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
    """The entry whose file has this place and name, or of which it is the only one of that name.

    The name as given comes first, then the one that a link leads to: in the cache of the Hugging Face Hub a file is a
    link to a blob, which is named by its hash.
    """
    for name in (Path(os.path.abspath(path)), path.resolve()):  # noqa: PTH100 - `..` is taken out, links stay
        place = _spelling(_SNAPSHOT.sub(r"/\1/", name.as_posix()))
        if placed := [weight for weight in weights.WEIGHTS if place.endswith(f"/{_spelling(weight.file)}")]:
            return max(placed, key=lambda weight: len(weight.file))
    named = [weight for weight in weights.WEIGHTS if _spelling(Path(weight.file).name) == _spelling(path.name)]
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
