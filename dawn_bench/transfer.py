"""Resumable HTTP download to a partial file; what is not the expected file is rejected before anything is written."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from dawn_bench.errors import InputError
from dawn_bench.files import write_atomic
from dawn_bench.progress import meter
from dawn_bench.readers import WEB_PAGE, one_line, read_json
from dawn_bench.storage import StorageError, writing

#: Seconds without a byte after which a connection counts as broken.
TIMEOUT = 60
_BLOCK = 1 << 20
#: Most bytes of a file whose size is not known, and of a small one such as a configuration.
MOST, MOST_SMALL = 8 << 30, 16 << 20
_STATUS = {
    401: "requires an account",
    403: "access denied",
    404: "not found",
    410: "removed",
    451: "removed",
}
NOT_PUBLISHED = "not the published file; it was deleted"


class TransferError(Exception):
    """The file did not arrive. The text is a clause; `retryable` tells whether the same request may succeed later."""

    def __init__(self, reason: str, *, retryable: bool) -> None:
        self.retryable = retryable
        super().__init__(reason)


def transfer(url: str, partial: Path, *, label: str, size: int | None = None, most: int = MOST) -> bool:
    """Download `url` to `partial`, whose earlier content is continued where the server has the same file still.

    A server that has changed the file since (`If-Range`), or does not know ranges, sends all of it, and the earlier
    content is replaced. Web pages, and files of another size than `size` bytes, are refused before anything is
    written; where the size is not known, so are files of more than `most` bytes, by the server's word or as soon as
    they have become longer. Returns whether earlier content was continued. Raises `TransferError`, and `StorageError`
    for a full disk.
    """
    have = partial.stat().st_size if partial.is_file() else 0
    if have and size is not None and have >= size:
        if have == size:
            return True  # complete, but the process ended before it was checked
        discard(partial)
        have = 0
    try:
        return _transfer(url, partial, have, label=label, size=size, most=most if size is None else size)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the file there is shorter than what is here
            discard(partial)
            return transfer(url, partial, label=label, size=size, most=most)
        why = _STATUS.get(error.code, one_line(error.reason) if error.code < 500 else "try again later")
        raise TransferError(
            f"answered {error.code}: {why}", retryable=error.code >= 500 or error.code == 429
        ) from error
    except StorageError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(one_line(getattr(error, "reason", None) or error), retryable=True) from error


def discard(partial: Path) -> None:
    """Remove a partial file and the note on its origin."""
    for path in (partial, _note(partial)):
        path.unlink(missing_ok=True)


def _transfer(url: str, partial: Path, have: int, *, label: str, size: int | None, most: int) -> bool:
    earlier = _noted(partial, url) if have else ""
    headers = {"User-Agent": "dawn-bench", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        headers |= {"If-Range": earlier} if earlier else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
        start, total = _extent(response, have)
        validator = _validator(response)
        changed = bool(start and earlier and validator and validator != earlier)
        if changed or (have and start not in (0, have)):  # of another file, or another part than was asked for
            discard(partial)
            return _transfer(url, partial, 0, label=label, size=size, most=most)
        first = response.read(_BLOCK)
        kind = response.headers.get("Content-Type", "").lower()
        if "text/html" in kind or (not start and WEB_PAGE.match(first[:1024])):
            raise TransferError(f"sent a web page, {NOT_PUBLISHED}", retryable=False)
        if size is not None and total is not None and total != size:
            raise TransferError(f"has {total:,} bytes, published are {size:,}: {NOT_PUBLISHED}", retryable=False)
        if size is None and total is not None and total > most:
            discard(partial)
            raise TransferError(f"has {total:,} bytes, {_bound(most)}", retryable=False)
        if not start:
            discard(partial)  # first the bytes, then their origin: the new one must not be noted for the old ones
            _remember(partial, url, validator)
        whole = total if total is not None else size
        _write(response, first, partial, start, total=whole, most=most, label=label)
    return start > 0


def _bound(most: int) -> str:
    return f"more than the {most:,} that a file of unknown size may have: {NOT_PUBLISHED}"


def _write(response: Any, first: bytes, partial: Path, start: int, *, total: int | None, most: int, label: str) -> None:
    """Append the rest of a response to `partial` from byte `start`; raises where it is cut off or too long."""
    done = start
    with (
        writing(partial),
        partial.open("ab" if start else "wb") as file,
        meter(label, total=None if total is None else total / 1e6, unit="MB", done=start / 1e6) as progress,
    ):
        for block in chain([first], iter(lambda: _read(response), b"")):
            done += len(block)
            if done > (most if total is None else total):
                break
            file.write(block)
            progress.advance(len(block) / 1e6)
    if total is None and done > most:
        discard(partial)
        raise TransferError(f"sent {done:,} bytes, {_bound(most)}", retryable=False)
    if total is not None and done > total:
        discard(partial)
        raise TransferError(f"sent more than the {total:,} bytes of the file: {NOT_PUBLISHED}", retryable=False)
    if total is not None and done < total:
        raise ConnectionError(f"cut off after {done / 1e6:.1f} of {total / 1e6:.1f} MB")


def _read(response: Any) -> bytes:
    """The next block; a failing connection is no failing disk, which `writing` would take it for."""
    try:
        block: bytes = response.read(_BLOCK)
    except OSError as error:
        raise http.client.HTTPException(one_line(error)) from error
    return block


def _extent(response: Any, have: int) -> tuple[int, int | None]:
    """The first byte that a response holds, and the length of the whole file if the server states it."""
    length = response.headers.get("Content-Length")
    rest = int(length) if length and length.isdecimal() else None
    if not have or response.status != 206:
        return 0, rest
    stated = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if stated is None:
        return have, None if rest is None else have + rest
    return int(stated[1]), None if stated[3] == "*" else int(stated[3])


def _validator(response: Any) -> str:
    """What `If-Range` takes: a strong ETag, else the time of the last change; empty where there is neither."""
    tag = (response.headers.get("ETag") or "").strip()
    if tag.startswith('"'):
        return tag
    return "" if tag else (response.headers.get("Last-Modified") or "").strip()


def _note(partial: Path) -> Path:
    return partial.with_name(f".{partial.name}.json")


def _noted(partial: Path, url: str) -> str:
    """The validator of the file that `partial` is the beginning of; empty where it is not known for this address."""
    with suppress(InputError):
        note = read_json(_note(partial), dict)
        if note.get("url") == url and isinstance(note.get("validator"), str):
            return str(note["validator"])
    return ""


def _remember(partial: Path, url: str, validator: str) -> None:
    if validator:
        write_atomic(_note(partial), json.dumps({"url": url, "validator": validator}).encode(), durable=False)
    else:
        _note(partial).unlink(missing_ok=True)
