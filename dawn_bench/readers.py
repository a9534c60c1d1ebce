"""One reader for each format of our own files: text, JSON, YAML, Parquet, safetensors, PyTorch and numpy.

Whatever the bytes are, a reader returns content of the kind asked for or raises `DamageError`: one line that names the
file, what is wrong with it and what to do. The libraries below raise a dozen types for damaged bytes, and more with
each release, so their calls alone are guarded against every exception.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dawn_bench.errors import InputError
from dawn_bench.storage import raise_if_refused
from dawn_bench.text import few
from dawn_bench.utf8 import escape_invalid

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

T = TypeVar("T")

#: YAML may name one value many times over, so that a few lines expand to billions; settings have a few hundred.
YAML_VALUES = 100_000
_AGAIN = "Restore it from a copy, or write it again."


class DamageError(InputError):
    """A file of a dataset, cache, run or results folder is absent or damaged.

    It ends a command: no clip and no method can be blamed for it.
    """


def read_text(path: Path, *, hint: str = _AGAIN) -> str:
    """The text of a UTF-8 file, without a byte order mark."""
    return guarded(lambda: _text(path), path, "text", hint)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; raises `ValueError` for anything else, also for nesting that is too deep."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def read_json(path: Path, kind: type[T], *, hint: str = _AGAIN) -> T:
    """The content of a JSON file, which is a `kind`: `dict` or `list`."""
    content = guarded(lambda: parse_json(_text(path)), path, "JSON", hint)
    if not isinstance(content, kind):
        expected = "an object" if kind is dict else "a list"
        raise DamageError(f"contains {_kind(content)} in place of {expected}.", path=path, hint=hint)
    return content


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The lines of a log by number from 1; None for a line that is not a JSON object, such as one cut short by a kill.

    An absent file has no lines. Raises `DamageError` where the file cannot be read.
    """
    if not path.exists():
        return
    data = guarded(path.read_bytes, path, "a log", _AGAIN)
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip():
            try:
                content = parse_json(line)
            except ValueError:
                content = None
            yield number, content if isinstance(content, dict) else None


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; raises `ValueError` for anything else, and for aliases that expand without bounds."""
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise ValueError(f"{error.problem or error.context}{where}") from error
    except Exception as error:  # PyYAML lets through what the constructors of dates, numbers and keys raise
        raise ValueError(one_line(error)) from error
    _check_extent(content)
    return content


def read_yaml(path: Path, *, hint: str = "Correct it, and save it as UTF-8.") -> dict[str, Any]:
    """The mapping in a YAML file, empty for an empty file; its keys become text."""
    if not path.exists():
        raise DamageError("there is no such file.", path=path, hint="Check its path.")
    content = guarded(lambda: parse_yaml(_text(path)), path, "YAML", hint)
    if content is not None and not isinstance(content, dict):
        raise DamageError(f"contains {_kind(content)} in place of a YAML mapping of settings.", path=path, hint=hint)
    return {str(key): value for key, value in (content or {}).items()}


def read_table(path: Path, *, hint: str = _AGAIN) -> pd.DataFrame:
    """A Parquet file as a data frame; the checksums of its pages are compared where it has any."""
    import pandas as pd

    def read() -> pd.DataFrame:
        with path.open("rb") as file:  # by its name pandas opens a file only where that is UTF-8
            return pd.read_parquet(file, page_checksum_verification=True)

    return guarded(read, path, "a Parquet file", hint)


def read_metadata(path: Path, *, hint: str = _AGAIN) -> dict[str, str]:
    """The metadata of a safetensors file, whose length and header are checked; the tensors are not read."""
    from safetensors import safe_open

    def read() -> dict[str, str]:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})

    return guarded(read, path, "a safetensors file", hint)


def read_shard_header(path: Path, *, hint: str = _AGAIN) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file by tensor, with numpy dtypes, and the place where the data begin.

    Every entry is checked against the length of the file, so that its bytes can be viewed as the array.
    """
    return guarded(lambda: _shard_header(path), path, "a safetensors file", hint)


def read_torch(path: Path, *, hint: str = _AGAIN, mapped: bool = False, skip_objects: bool = False) -> Any:
    """A `.safetensors` file, or a PyTorch file of tensors and plain values, on the CPU; no code in it runs.

    `mapped`: the tensors of a PyTorch file are views of it, read on first use. A file that also holds objects is
    refused; `skip_objects` reads it without them and says once which they were (`dawn_bench.torch_files`).
    """
    import torch

    def refusal(what: str) -> DamageError:
        return DamageError(f"{what}; it was not loaded.", path=path, hint=hint)

    def read() -> Any:
        try:
            if path.suffix == ".safetensors":
                from safetensors.torch import load, load_file

                return load_file(path) if escape_invalid(str(path)) == str(path) else load(path.read_bytes())
            _check_torch(path)
        except FileNotFoundError:
            raise
        except Exception:  # the library raises a dozen types
            raise refusal("is damaged or no checkpoint") from None
        try:
            with warnings.catch_warnings():
                # TorchScript is refused here, with a message of ours instead of PyTorch's advice to run it
                warnings.filterwarnings("ignore", message=".*TorchScript archive", category=UserWarning)
                named = escape_invalid(str(path)) == str(path)  # PyTorch maps no file of another name
                return torch.load(path, map_location="cpu", mmap=mapped and named, weights_only=True)
        except Exception as error:  # a dozen types; PyTorch's text advises to load it unsafely
            if skip_objects and (content := _without_objects(path, refusal)) is not None:
                return content
            text = str(error).lower()
            foreign = "weights_only" in text and "unsupported" in text
            objects = "holds objects other than tensors, which could run code"
            raise refusal(objects if foreign else "is damaged or no checkpoint") from None

    return guarded(read, path, "a checkpoint", hint)


def read_array(path: Path, *, hint: str = "Write it again with numpy.save.", mapped: bool = False) -> np.ndarray:
    """The array of an `.npy` file, memory-mapped where `mapped`; objects are refused."""
    import numpy as np

    def read() -> np.ndarray:
        array = np.load(path, allow_pickle=False, mmap_mode="r")  # no header can ask for more memory than the file has
        if not isinstance(array, np.ndarray):
            array.close()
            raise DamageError("is an archive of arrays, not one array.", path=path, hint=hint)
        return array if mapped else np.array(array)

    return guarded(read, path, "an npy file", hint)


def _without_objects(path: Path, refusal: Callable[[str], DamageError]) -> Any:
    """The content of a PyTorch file that also holds objects, without these; None where it is damaged."""
    from dawn_bench.inert import UnsupportedContent
    from dawn_bench.torch_files import read_tensors

    try:
        content, skipped = read_tensors(path)
    except UnsupportedContent as error:
        raise refusal(str(error)) from None
    except Exception:  # a damaged file raises a dozen types here as well
        return None
    _say_skipped(path, skipped)
    return content


#: Files whose skipped objects were named.
_REPORTED: set[Path] = set()


def _say_skipped(path: Path, names: Collection[str]) -> None:
    """Say once in a process which objects of a file were not loaded."""
    from dawn_bench.terminal import console

    if names and path not in _REPORTED:
        _REPORTED.add(path)
        listed = [shortened(" ".join(name.split()), 60) for name in names]
        console().print(f"{path.name}: read without its objects, of which no code was run: {few(listed, most=4)}")


def _check_torch(path: Path) -> None:
    """Raise `ValueError` for a PyTorch file that would take more memory than it has bytes.

    PyTorch stores tensors uncompressed, each under a name of its own, and needs no bytearrays, whose length may be
    stated without content.
    """
    from zipfile import ZIP_STORED, ZipFile, is_zipfile

    if not is_zipfile(path):
        with path.open("rb") as file:
            head = file.read(1 << 24)
    else:
        with ZipFile(path) as archive:
            entries = archive.infolist()
            stored = all(entry.compress_type == ZIP_STORED for entry in entries)
            whole_size = sum(entry.file_size for entry in entries) <= path.stat().st_size
            if not stored or not whole_size or len({entry.filename for entry in entries}) < len(entries):
                raise ValueError("it is packed in another way than by PyTorch")
            head = b"".join(archive.read(e) for e in entries if e.filename.endswith("data.pkl"))
    if b"bytearray" in head:
        raise ValueError("it states bytes without their content")


def fitted(kind: type[T], content: object, *, path: Path, hint: str = _AGAIN) -> T:
    """`content` of the file `path` as a `kind`: a configuration, a dataclass or a nested type of Python's.

    Raises `DamageError` naming the first entry that is missing or of another type.
    """
    from pydantic import ValidationError

    try:
        return cast(T, _adapter(cast(Hashable, kind)).validate_python(content))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DamageError(f"entry {where!r}: {first['msg']}.", path=path, hint=hint) from error


@cache
def _adapter(kind: Hashable) -> Any:
    """What reads a type; building it takes milliseconds, and a results folder has a record for each clip."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)  # type: ignore[arg-type]


def shortened(text: str, limit: int = 120) -> str:
    """A text of a file or of the command line for a message, cut to `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def one_line(error: object) -> str:
    """What an error of a library says, in one line of bounded length."""
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"not valid UTF-8 at byte {error.start}"
    return shortened(" ".join(str(error).split()) or type(error).__name__)


def whole(value: object, *, least: int = 0, most: int = 2**62) -> bool:
    """Whether a value read from a file is a whole number within bounds; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def finite(value: object) -> bool:
    """Whether a value read from a file is a number other than NaN and the infinities."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < 1e300 and math.isfinite(value)  # type: ignore[arg-type]


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")


def guarded(read: Callable[[], T], path: Path, expected: str, hint: str) -> T:
    """The result of `read`; what it raises becomes a `DamageError` that says what the file should have been."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would wait for ever
            raise DamageError(f"is not a regular file (expected {expected}).", path=path, hint=hint)
        return read()
    except KeyboardInterrupt:
        raise
    except DamageError as error:
        raise_if_refused(error)
        if is_web_page(path):
            raise DamageError(f"is a web page, not {expected}.", path=path, hint=hint) from error
        raise
    except FileNotFoundError as error:
        raise DamageError("cannot be read: it is absent.", path=path, hint=hint) from error
    except IsADirectoryError as error:
        raise DamageError(f"is a folder, not {expected}.", path=path, hint=hint) from error
    except PermissionError as error:
        raise DamageError("cannot be read (Permission denied).", path=path, hint="Check its permissions.") from error
    except BaseException as error:
        # a panic of pyo3 does not derive from Exception; an interrupt or an exit is not the file's fault
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise_if_refused(error)
        empty = path.is_file() and path.stat().st_size == 0
        article, _, noun = expected.partition(" ")
        kind = f"is not a readable {noun}" if article in ("a", "an") else f"cannot be read as {expected}"
        state = "is empty" if empty else f"{kind} ({one_line(error)})"
        state = f"is a web page, not {expected}" if is_web_page(path) else state
        raise DamageError(f"{state}.", path=path, hint=hint) from error


#: How a web page begins.
WEB_PAGE = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)


def is_web_page(path: Path) -> bool:
    """Whether a file is a web page, which is what arrives under a file's name where the file cannot be had."""
    if not path.is_file():  # a pipe would wait for ever
        return False
    with suppress(OSError), path.open("rb") as file:
        return WEB_PAGE.match(file.read(4096)) is not None
    return False


#: Largest header that a safetensors file may have, as in its own library.
_HEADER_BYTES = 100_000_000
#: The types of a safetensors file, as numpy names them.
DTYPES = {
    "U8": "u1", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U16": "<u2", "U32": "<u4", "U64": "<u8",
    "F16": "<f2", "F32": "<f4", "F64": "<f8", "BOOL": "?",
}  # fmt: skip


def _shard_header(path: Path) -> tuple[dict[str, Any], int]:
    import numpy as np

    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _HEADER_BYTES):
            raise ValueError("it is cut short")
        header = parse_json(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    for key, entry in header.items():
        if key == "__metadata__":
            if not isinstance(entry, dict) or not all(isinstance(text, str) for text in entry.values()):
                raise ValueError("its metadata are not strings")
            continue
        dtype = np.dtype(DTYPES[entry["dtype"]])
        first, last = entry["data_offsets"]
        if not all(whole(n) for n in (first, last, *entry["shape"])) or 8 + length + last > size:
            raise ValueError(f"the data of {key!r} lie outside of it")
        if math.prod(entry["shape"]) * dtype.itemsize != last - first:
            raise ValueError(f"{last - first} bytes do not make {key!r} of shape {entry['shape']}")
        entry["dtype"] = dtype
    return header, 8 + length


def _check_extent(content: Any) -> None:
    """Raise `ValueError` for content of more than `YAML_VALUES` values, counting repeated ones."""
    waiting, count = [content], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count + len(waiting) > YAML_VALUES:
            raise ValueError(f"its aliases expand to more than {YAML_VALUES:,} values")
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            waiting += value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
