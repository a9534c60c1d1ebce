"""Whether a weight file that is not the published one can be read as what its name says, without running code of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dawn_bench.pickles import read_arrays
from dawn_bench.readers import DamageError, guarded, read_json, read_text, read_torch
from dawn_bench.state_dicts import has_tensors

#: What to do about a damaged file of weights.
FETCH_AGAIN = "Get the file again from its origin."

#: How the names of files end whose content is tensors.
TENSOR_FILES = (".pth", ".pt", ".pth.tar", ".bin", ".model", ".ckpt", ".safetensors")


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
        raise DamageError("is empty.", path=path, hint=FETCH_AGAIN)
    if not has_tensors(read_torch(path, hint=FETCH_AGAIN, skip_objects=True)):
        raise DamageError("holds no tensors.", path=path, hint=FETCH_AGAIN)


def _safetensors(path: Path, _: str) -> None:
    from safetensors.torch import load

    guarded(lambda: load(path.read_bytes()), path, "a safetensors file", FETCH_AGAIN)


def _onnx(path: Path, _: str) -> None:
    import cv2

    guarded(lambda: cv2.dnn.readNetFromONNX(str(path)), path, "an ONNX network", FETCH_AGAIN)


def _dlib(path: Path, name: str) -> None:
    import dlib

    model = dlib.shape_predictor if "shape_predictor" in name else dlib.face_recognition_model_v1
    guarded(lambda: model(str(path)), path, "a dlib model", FETCH_AGAIN)


def _archive(path: Path, _: str) -> None:
    import zipfile

    def read() -> None:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise ValueError("a checksum differs")

    guarded(read, path, "an archive", FETCH_AGAIN)


def _numbers(path: Path, _: str) -> None:
    words = read_text(path, hint=FETCH_AGAIN).replace(",", " ").split()
    if not words or not all(word.isdecimal() for word in words):
        raise DamageError("is no list of vertex numbers.", path=path, hint=FETCH_AGAIN)


def _json(path: Path, _: str) -> None:
    read_json(path, dict, hint=FETCH_AGAIN)


def _pickle(path: Path, _: str) -> None:
    read_arrays(path, hint=FETCH_AGAIN)


_READERS: dict[tuple[str, ...], Callable[[Path, str], None]] = {
    (".pth", ".pt", ".pth.tar", ".bin", ".model", ".ckpt"): _tensors,
    (".safetensors",): _safetensors,
    (".onnx",): _onnx,
    (".dat",): _dlib,
    (".json",): _json,
    (".txt",): _numbers,
    (".pkl",): _pickle,
    (".task",): _archive,
}
