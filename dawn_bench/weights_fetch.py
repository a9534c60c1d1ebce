"""Downloads of the registry's files: size and hash are checked before a file gets its name.

One process at a time downloads a file; others wait for it and use what it brought. The files of one archive are
downloaded once and unpacked together.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.files import commit, replacing
from dawn_bench.hashes import hash_file
from dawn_bench.locks import lock_file
from dawn_bench.progress import console
from dawn_bench.readers import DamageError, read_json
from dawn_bench.transfer import MOST, MOST_SMALL, NOT_PUBLISHED, TransferError, discard, transfer
from dawn_bench.weights_check import check_weight
from dawn_bench.weights_needs import Need, by_hand, preferred
from dawn_bench.weights_table import Weight

#: Seconds to wait for another process whose download does not grow.
PATIENCE = 20.0
#: huggingface_hub's variable for a mirror of the whole Hugging Face Hub.
HUB, HUB_VARIABLE = "https://huggingface.co", "HF_ENDPOINT"


def download(name: str) -> weights.Resolved:
    """Download a file into the weights folder, from its origin or else from its mirrors, and check it.

    Nothing is downloaded where the published file is present. An interrupted download resumes. Raises `InputError`
    when there is no address, no address serves the published file, the transfer is interrupted, or another process is
    fetching the file and makes no progress.
    """
    weight = weights.entry(name)
    if not weight.addresses:
        raise no_address(weight)
    target = weights.folder() / weight.file
    source = weights.folder() / weight.archive if weight.archive else target
    source.parent.mkdir(parents=True, exist_ok=True)
    partial = source.with_name(f"{source.name}.part")
    with _download_lock(source, partial):
        if _is_complete(weight, target):
            return weights.resolve(name)
        if partial.is_symlink():
            partial.unlink()  # the bytes would be appended to the file that it leads to
        _download_from_any(weight, partial)
        if weight.archive:
            _unpack(weight, partial)
        else:
            commit(partial, target)
        discard(partial)
    return weights.resolve(name)


def no_address(weight: Weight) -> InputError:
    """The error for a file that only a person can get, with what to do."""
    return InputError(f"{weight.file} has no direct address.", hint=f"By hand: {by_hand(weight)}")


def plan(needs: Iterable[Need]) -> tuple[list[Weight], list[Weight], list[Weight]]:
    """What a job's needs ask for: the entries that are present, those to download, those that a person must get.

    A user's own file counts as present and is kept. One that cannot be read as weights is of no use to anybody: it is
    to be downloaded where it has an address.
    """
    present: list[Weight] = []
    fetched: list[Weight] = []
    alone: list[Weight] = []
    for need in dict.fromkeys(needs):
        entries = [weights.entry(name) for name in need]
        if there := next((weight for weight in entries if weights.locate(weight)), None):
            (fetched if there.addresses and _is_damaged(there) else present).append(there)
        elif (weight := preferred(need)).addresses:
            fetched.append(weight)
        else:
            alone.append(weight)
    return tuple(list(dict.fromkeys(part)) for part in (present, fetched, alone))  # type: ignore[return-value]


def _is_damaged(weight: Weight) -> bool:
    """Whether a file that is not the published one is damaged; raises `InputError` without permission to read it."""
    resolved = weights.resolve(weight.name)
    if resolved.state != "user":
        return False
    try:
        check_weight(resolved.file, weight.file)
    except DamageError:
        return True
    return False


def transfer_bytes(entries: Iterable[Weight]) -> tuple[int, int]:
    """The bytes to download for these entries, an archive counted once, and the number of files of unknown size."""
    sizes = {weight.url: weight.archive_bytes if weight.archive else weight.bytes for weight in entries}
    return sum(size or 0 for size in sizes.values()), sum(size is None for size in sizes.values())


@contextmanager
def _download_lock(source: Path, partial: Path) -> Iterator[None]:
    """Hold the lock of a download; while another process holds it and makes progress, wait."""
    from filelock import Timeout

    lock = lock_file(source.with_name(f".{source.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console().print(f"{source.name}: waiting for another process that is fetching it")
        size = _size(partial)
        while not lock.is_locked:
            try:
                lock.acquire(timeout=PATIENCE)
            except Timeout as error:
                if _size(partial) == size:
                    hint = "Run it again when that process has ended."
                    raise InputError("is being fetched by another process.", path=source, hint=hint) from error
                size = _size(partial)
    try:
        yield
    finally:
        lock.release()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_complete(weight: Weight, target: Path) -> bool:
    """Whether the published file is present; of an entry without a hash, one with the expected values."""
    if not target.is_file():
        return False
    if weight.sha256 is None and weight.git_blob is None:
        return weight.values is not None and not _other_values(weight, target)
    return weights.is_published(weight, hash_file(target))


def _download_from_any(weight: Weight, partial: Path) -> None:
    """Download what is at the addresses of `weight` to `partial`, checked; raises `InputError` if none serves it."""
    failures: list[tuple[str, TransferError]] = []
    addresses = [_at_hub(url) for url in weight.addresses]
    for number, url in enumerate(addresses, start=1):
        try:
            _checked(weight, url, partial)
            return
        except TransferError as error:
            failures.append((url, error))
            if number < len(addresses):
                console().print(f"{weight.name}: {_host(url)} {error}; trying {_host(addresses[number])}")
    first, reason = failures[0]
    file = weight.archive or Path(weight.file).name
    unpack = f", unpack {weight.member}" if weight.archive else ""
    add = f"dawn-bench weights add FILE --name {weight.name}"
    others = "".join(f"; {_host(url)} {why}" for url, why in failures[1:])
    if any(why.retryable for _, why in failures):
        what = f"could not be downloaded ({reason}{others})."
        hint = f"Run it again to resume; without network, get {file} elsewhere{unpack} and: {add}"
    else:
        what = f"{reason}{others}."
        hint = f"Get {file} by hand, from {weight.origin}{unpack}, then: {add}"
    raise InputError(what, path=first, hint=hint) from reason


def _checked(weight: Weight, url: str, partial: Path) -> None:
    """Download `url` to `partial` and check it; what an earlier attempt left is dropped where it does not fit."""
    size = weight.archive_bytes if weight.archive else weight.bytes
    label = weight.archive or weight.file
    most = MOST_SMALL if label.endswith((".json", ".txt")) else MOST
    continued = transfer(url, partial, label=label, size=size, most=most)
    problem = _problem(weight, partial)
    if problem and continued:
        discard(partial)
        transfer(url, partial, label=label, size=size, most=most)
        problem = _problem(weight, partial)
    if problem:
        discard(partial)
        raise TransferError(problem, retryable=False)


def _problem(weight: Weight, path: Path) -> str:
    """Why a complete download is not the published file or archive; empty where it is."""
    expected = weight.archive_bytes if weight.archive else weight.bytes
    if expected is not None and path.stat().st_size != expected:
        return f"has {path.stat().st_size:,} bytes, published are {expected:,}: {NOT_PUBLISHED}"
    hashes = hash_file(path)
    if weight.archive:
        good = hashes["sha256"] == weight.archive_sha256
    elif weight.sha256 is None and weight.git_blob is None:
        return _other_values(weight, path)
    else:
        good = weights.is_published(weight, hashes)
    return "" if good else f"has sha256 {hashes['sha256']}, which is {NOT_PUBLISHED}"


def _other_values(weight: Weight, path: Path) -> str:
    """Why a JSON file without a published hash is not what its entry describes; empty where it is."""
    try:
        content = read_json(path, dict)
    except InputError as error:
        return f"sent a file that {error.what.rstrip('.')}: {NOT_PUBLISHED}"
    for key, value in (weight.values or {}).items():
        if content.get(key) != value:
            return f"sent a file with {key} {content.get(key)!r} in place of {value!r}: {NOT_PUBLISHED}"
    return ""


def _unpack(weight: Weight, partial: Path) -> None:
    """Unpack `weight` from the checked archive at `partial`, and the other entries of it that are not present."""
    siblings = [w for w in weights.WEIGHTS if w.archive_sha256 == weight.archive_sha256 and w != weight]
    folder = weights.folder()
    with zipfile.ZipFile(partial) as archive:
        for part in [weight, *(w for w in siblings if not (folder / w.file).exists())]:
            name = next((n for n in archive.namelist() if n.rpartition("/")[2] == part.member), None)
            if name is None:
                raise InputError(f"has no file {part.member}.", path=part.url, hint=f"By hand: {by_hand(part)}")
            (folder / part.file).parent.mkdir(parents=True, exist_ok=True)
            with replacing(folder / part.file, sole=True) as temporary:
                with archive.open(name) as packed, temporary.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
                if not weights.is_published(part, hash_file(temporary)):
                    raise InputError(f"holds another {part.member} than the published one.", path=part.url)


def _at_hub(url: str) -> str:
    """The address on the mirror of the Hugging Face Hub that `HF_ENDPOINT` names; others stay as they are."""
    mirror = os.environ.get(HUB_VARIABLE, "").rstrip("/")
    return mirror + url.removeprefix(HUB) if mirror and url.startswith(f"{HUB}/") else url


def _host(url: str) -> str:
    return url.split("/")[2] if "//" in url else url
