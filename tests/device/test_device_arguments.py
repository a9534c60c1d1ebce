"""What the code of the project says about devices, read without running it: factories, files, arrays, `torch.cuda`.

The other tests run most of this on a pretended device. These also see what no test runs. Each entry is a decision.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import dawn_bench

ROOT = Path(dawn_bench.__file__).parent
FACTORIES = {
    "arange", "empty", "eye", "full", "hann_window", "linspace", "ones", "rand", "randint", "randn", "randperm",
    "tensor", "zeros",
}  # fmt: skip
#: Functions that make tensors on the CPU: for the CPU, or for a module that moves them with it.
ON_THE_CPU = {
    # moved before they meet a tensor of the device
    "metrics/networks/s3fd.py:_priors",
    "metrics/networks/s3fd_wav2lip.py:_boxes",
    "models/dawn/lfg_loss.py:Deformation.draw",
    # of pictures before they are moved
    "metrics/networks/inference.py:uploaded",
    # batches, which the loop moves
    "models/dawn/stages/lfg.py:LFGStage.batch",
    "models/dawn/stages/pbnet.py:PBNetStage.batch",
    "training/data.py:sequences",
    "training/masked_means.py:with_denominators",
    "models/dit_head/stages/vqgan.py:VQGANStage.batch",
    # weights and buffers, made with their module
    "models/dawn/conditions.py:FaceMaskEncoder.draw_as_training_script",
    "models/dawn/conditions.py:condition_scales",
    "models/dawn/schedule.py:cosine_schedule",
    "models/diffspeaker/audio.py:_mel_filters",
    "models/diffusion/levels.py:scaled_linear_levels",
    "models/dit_head/dit.py:places",
    # files that are read
    "metrics/networks/i3d_keys.py:_from_tf",
    "torch_files.py:_Reader.allocate",
    "torch_files.py:_tensor",
}
#: Functions that use `torch.cuda`, and only where there is a CUDA device.
CUDA = {
    "devices.py:checked_device",
    "devices.py:cuda_devices",
    "provenance.py:device_name",
    "models/dawn/fast/captured.py:Captured._record",
    "training/memory.py:free_bytes",
    "training/processes.py:_current",
    "training/processes.py:distributed",
    "workflow/fill_job.py:FillJob._device",
    "cli/doctor.py:doctor",
}
#: Functions that ask for a device: that of the command that calls them, or the one that they are given.
PICKS = {
    "models/loading.py:load_model",
    "metrics/scoring/compare.py:compute_metrics",
    "cli/doctor.py:doctor",
    "pipelines/extractors/hubert.py:Hubert.run",
    "pipelines/extractors/wav2vec2.py:Wav2Vec2.run",
    "pipelines/extractors/tddfa.py:PoseTddfa.check",
    "pipelines/extractors/tddfa.py:PoseTddfa.run",
    "pipelines/extractors/tddfa.py:predict",
    "pipelines/faces/backends/face_alignment.py:FaceAlignmentBackend.__init__",
    "pipelines/faces/backends/insightface.py:InsightFaceBackend.__init__",
}
#: Functions that read arrays of tensors that are on the CPU without saying so.
ARRAYS = {
    "metrics/networks/s3fd_wav2lip.py:detect_batch",
    "training/data.py:sequences",
    "pipelines/media/decoders/torchcodec.py:TorchCodec.picture",
    "torch_files.py:_Reader.fill",
    "weights.py:content_hash",
}


@cache
def calls() -> list[tuple[str, ast.Call, str]]:
    """Every call of the package with its place, `file:function`, and the source of its function."""
    return [
        (f"{path.relative_to(ROOT).as_posix()}:{function}", call, ast.unparse(call.func))
        for path in sources()
        for function, call in _calls(path)
    ]


def sources() -> list[Path]:
    """The files of the package, those in linked folders too."""
    linked = [path for path in ROOT.iterdir() if path.is_symlink()]
    return sorted(path for folder in (ROOT, *linked) for path in folder.rglob("*.py") if not path.is_symlink())


def _calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    def walk(node: ast.AST, inside: tuple[str, ...]) -> Iterator[tuple[str, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.ClassDef)
            if isinstance(child, ast.Call):
                yield ".".join(inside) or "<module>", child
            yield from walk(child, (*inside, child.name) if named else inside)  # type: ignore[union-attr]

    yield from walk(ast.parse(path.read_text()), ())


def places(chosen: Callable[[ast.Call, str], bool]) -> set[str]:
    return {place for place, call, name in calls() if chosen(call, name)}


def without_device(call: ast.Call, name: str) -> bool:
    module, _, factory = name.rpartition(".")
    return module == "torch" and factory in FACTORIES and "device" not in {k.arg for k in call.keywords}


def places_outside_constructors() -> set[str]:
    """Modules move what they make in `__init__`: parameters and buffers."""
    return {place for place in places(without_device) if not place.endswith(".__init__")}


def test_factories_without_a_device_are_known() -> None:
    assert places_outside_constructors() == ON_THE_CPU, "give it device=, or say above why it is for the CPU"


def test_torch_cuda_is_used_in_known_places() -> None:
    assert places(lambda call, name: name.startswith(("torch.cuda.", "torch.accelerator."))) == CUDA


def test_devices_are_picked_in_known_places() -> None:
    assert places(lambda call, name: name.endswith("pick_device")) == PICKS, "take the device of the command instead"


def test_files_of_tensors_are_loaded_to_a_stated_place() -> None:
    loads = {place: call for place, call, name in calls() if name in ("torch.load", "torch.jit.load")}
    assert loads.keys() == {"readers.py:read_torch.read", "metrics/features/i3d.py:_published_script"}
    for place, call in loads.items():
        assert "map_location" in {k.arg for k in call.keywords}, place


def test_arrays_are_read_from_the_cpu() -> None:
    def chosen(call: ast.Call, name: str) -> bool:
        return name.endswith(".numpy") and not ast.unparse(call.func).endswith(".cpu().numpy")

    assert places(chosen) == ARRAYS, "bring the tensor to the CPU first, or say above why it is there"


@pytest.mark.parametrize("word", ["set_default_device", "set_default_tensor_type", "non_blocking=True).cpu"])
def test_code_does_not_depend_on_a_global_device(word: str) -> None:
    assert not [path for path in sources() if word in path.read_text()]
