"""Running out of memory is one line that names the setting to lower."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from micro import micro_train

from dawn_bench.models.dawn.stages.pbnet import PBNetStage
from dawn_bench.training.loop import TrainingError
from dawn_bench.training.memory import is_out_of_memory


def _real_cpu_error() -> RuntimeError:
    """PyTorch's own words for an allocation that no machine can give."""
    try:
        torch.empty(2**60, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("an exbibyte was allocated")


def test_what_counts_as_out_of_memory() -> None:
    assert is_out_of_memory(_real_cpu_error()) and is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))
    assert is_out_of_memory(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."))
    assert not is_out_of_memory(RuntimeError("shapes do not match")) and not is_out_of_memory(ValueError())


@pytest.mark.parametrize("make", [MemoryError, _real_cpu_error], ids=["python", "torch"])
def test_running_out_of_memory_is_one_line(
    make, tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    def full(self, batch, generator):  # type: ignore[no-untyped-def]
        raise make()

    monkeypatch.setattr(PBNetStage, "losses", full)
    with pytest.raises(TrainingError) as caught:
        micro_train(tiny_cache, tmp_path, stage="pbnet")
    text = str(caught.value)
    assert text.startswith("pbnet: out of memory on cpu. Lower one of: ") and "\n" not in text
    assert "--set pbnet.loop.accumulate=2 (same batch" in text and "--set pbnet.loop.batch_size=2" in text
    assert "--set pbnet.frames=12" in text and "amp" not in text
    monkeypatch.undo()
    micro_train(tiny_cache, tmp_path, "pbnet.loop.accumulate=2", stage="pbnet")  # the advice can be followed at once


def test_a_model_too_large_for_the_device_is_one_line(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self, *arguments):  # type: ignore[no-untyped-def]
        raise _real_cpu_error()

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(TrainingError, match="out of memory"):
        micro_train(tiny_cache, tmp_path, stage="pbnet")


def test_other_errors_pass_through(tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self, batch, generator):  # type: ignore[no-untyped-def]
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(PBNetStage, "losses", wrong)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        micro_train(tiny_cache, tmp_path, stage="pbnet")
