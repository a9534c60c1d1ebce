"""Pictures between bytes and floats, the same for arrays and tensors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from dawn_bench.pixels import psnr, to_bytes, to_frames, to_signed, to_unit

BYTES = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)


@pytest.mark.parametrize("signed", [False, True])
def test_every_byte_comes_back_and_arrays_and_tensors_agree(signed: bool) -> None:
    to_float = to_signed if signed else to_unit
    array, tensor = to_float(BYTES), to_float(torch.from_numpy(BYTES))
    assert array.dtype == np.float32 and tensor.dtype == torch.float32
    assert array.min() == (-1 if signed else 0) and array.max() == 1
    np.testing.assert_array_equal(array, tensor.numpy())
    np.testing.assert_array_equal(to_bytes(array, signed=signed), BYTES)
    np.testing.assert_array_equal(to_bytes(tensor, signed=signed).numpy(), BYTES)
    np.testing.assert_array_equal(to_frames(tensor.movedim(-1, -3), signed=signed), BYTES)


def test_floats_are_clipped_then_rounded_or_truncated() -> None:
    values = np.array([-0.5, 0.0, 0.6 / 255, 1.0, 7.0], np.float32)
    assert to_bytes(values).tolist() == [0, 0, 1, 255, 255]
    assert to_bytes(values, truncate=True).tolist() == [0, 0, 0, 255, 255]
    assert to_bytes(torch.from_numpy(values), truncate=True).tolist() == [0, 0, 0, 255, 255]


def test_psnr_follows_its_formula_and_is_capped() -> None:
    np.testing.assert_allclose(psnr(np.array([65025.0, 650.25, 0.0])), [0.0, 20.0, 100.0])
    np.testing.assert_allclose(psnr(0.01, peak=1.0), 20.0)
    assert psnr(0.0, cap=60.0) == 60.0


def test_importing_it_does_not_import_torch() -> None:
    check = "import sys, dawn_bench.pixels, dawn_bench.files, dawn_bench.pickles; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
