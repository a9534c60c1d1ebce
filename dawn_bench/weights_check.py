"""Whether a weight file that is not the published one can be read as what its name says, without running code of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dawn_bench.pickles import read_arrays
from dawn_bench.readers import DamageError, guarded, read_json, read_text, read_torch

_HINT = "Get the file again from its origin."


def check_weight(path: Path, file: str) -> None:
    """Raise `InputError` unless the file at `path` can be read as the weights called `file` in the table.

    Tensors, networks in ONNX, dlib's models, JSON, vertex numbers and archives are told apart by the name. Shapes are
    compared with the network where it is loaded.
    """
    name = file.lower()
    for suffixes, read in _READERS.items():
        if name.endswith(suffixes):
            read(path, name)
            return


def _tensors(path: Path, _: str) -> None:
    if path.stat().st_size == 0:
        raise DamageError("is empty.", path=path, hint=_HINT)
    state = read_torch(path, hint=_HINT)
    if not _has_tensors(state):
        raise DamageError("holds no tensors.", path=path, hint=_HINT)


def _safetensors(path: Path, _: str) -> None:
    from safetensors.torch import load

    guarded(lambda: load(path.read_bytes()), path, "a safetensors file", _HINT)


def _has_tensors(state: Any) -> bool:
    import torch

    if isinstance(state, dict):
        return any(_has_tensors(value) for value in state.values())
    return isinstance(state, torch.Tensor)


def _onnx(path: Path, _: str) -> None:
    import cv2

    guarded(lambda: cv2.dnn.readNetFromONNX(path.read_bytes()), path, "an ONNX network", _HINT)


def _dlib(path: Path, name: str) -> None:
    import dlib

    model = dlib.shape_predictor if "shape_predictor" in name else dlib.face_recognition_model_v1
    guarded(lambda: model(str(path)), path, "a dlib model", _HINT)


def _archive(path: Path, _: str) -> None:
    import zipfile

    def read() -> None:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise ValueError("a checksum differs")

    guarded(read, path, "an archive", _HINT)


def _numbers(path: Path, _: str) -> None:
    words = read_text(path, hint=_HINT).replace(",", " ").split()
    if not words or not all(word.isdecimal() for word in words):
        raise DamageError("is no list of vertex numbers.", path=path, hint=_HINT)


def _json(path: Path, _: str) -> None:
    read_json(path, dict, hint=_HINT)


def _pickle(path: Path, _: str) -> None:
    read_arrays(path, hint=_HINT)


_READERS: dict[tuple[str, ...], Callable[[Path, str], None]] = {
    (".pth", ".pt", ".pth.tar", ".bin", ".model"): _tensors,
    (".safetensors",): _safetensors,
    (".onnx",): _onnx,
    (".dat",): _dlib,
    (".json",): _json,
    (".txt",): _numbers,
    (".pkl",): _pickle,
    (".task",): _archive,
}
