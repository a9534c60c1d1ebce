"""A file of another network is refused when it is added, and does not take the place of a right one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from weight_files import layout_of, write_layout

from dawn_bench import weights, weights_add
from dawn_bench.errors import InputError
from dawn_bench.metrics.networks.i3d import I3D
from dawn_bench.metrics.networks.i3d_keys import piergiajs_keys
from dawn_bench.metrics.networks.inception import FidInception
from dawn_bench.metrics.networks.s3fd import S3FD
from dawn_bench.metrics.networks.s3fd_wav2lip import S3FDWav2Lip
from dawn_bench.metrics.networks.syncnet import SyncNet
from dawn_bench.models.perceptual import VGGLoss
from dawn_bench.pipelines.extractors.networks.mobilenet import MobileNet
from dawn_bench.weights_layouts import LAYOUTS_BY_ENTRY, check_layout
from dawn_bench.weights_needs import check_needs, first_present

NETS = Path(__file__).parents[2].parent / "shared" / "data" / "nets"
real = pytest.mark.skipif(not NETS.is_dir(), reason="needs the networks of ../shared/data/nets")
NEED = ("tddfa-v2", "tddfa-v2-small")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.mark.parametrize("name", LAYOUTS_BY_ENTRY)
def test_every_other_network_is_refused(name: str, tmp_path: Path) -> None:
    same = {other for other in LAYOUTS_BY_ENTRY if LAYOUTS_BY_ENTRY[other] == LAYOUTS_BY_ENTRY[name]}
    for other in LAYOUTS_BY_ENTRY:
        path = write_layout(tmp_path / "given.pth", other)
        if other in same:
            check_layout(path, weights.entry(name))
            continue
        with pytest.raises(InputError, match=r"given\.pth: is not ") as caught:
            check_layout(path, weights.entry(name))
        assert weights.entry(name).purpose in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("inception-fid", FidInception),
        ("i3d", I3D),
        ("syncnet", SyncNet),
        ("s3fd", S3FD),
        ("s3fd-wav2lip", S3FDWav2Lip),
        ("tddfa-v2", MobileNet),
        ("vgg19", lambda: VGGLoss(identity="x")),
    ],
)
def test_the_layouts_are_those_of_the_networks_that_load_the_files(name: str, network: type[torch.nn.Module]) -> None:
    with torch.device("meta"):
        state = network().state_dict()
    own = [{k: t for k, t in state.items() if k in marks} for marks in LAYOUTS_BY_ENTRY[name]]
    best = max(own, key=len)
    for key, shape in LAYOUTS_BY_ENTRY[name][own.index(best)].items():
        assert key in best, key
        assert shape is None or all(n in (None, m) for n, m in zip(shape, best[key].shape, strict=True)), key


@pytest.mark.parametrize("layout", range(3))
def test_every_layout_of_i3d_becomes_that_of_its_network(layout: int, tmp_path: Path) -> None:
    torch.save(layout_of("i3d", layout=layout), tmp_path / "i3d.pt")
    check_layout(tmp_path / "i3d.pt", weights.entry("i3d"))
    assert "logits.conv3d.weight" in piergiajs_keys(layout_of("i3d", layout=layout))


def test_safetensors_are_known_without_reading_their_tensors(tmp_path: Path) -> None:
    full = {key: tensor.contiguous() for key, tensor in layout_of("hubert-large").items()}
    save_file({f"hubert.{key}": tensor for key, tensor in full.items()}, tmp_path / "a.safetensors")
    check_layout(tmp_path / "a.safetensors", weights.entry("hubert-large"))
    save_file({"x": torch.ones(2)}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match=r"it has no feature_projection"):
        check_layout(tmp_path / "b.safetensors", weights.entry("hubert-large"))


@pytest.mark.parametrize("name", ["syncnet", "vgg19", "lpips-alex", "inception-fid"])
def test_weights_that_are_not_numbers_are_refused(name: str, tmp_path: Path, folder: Path) -> None:
    path = write_layout(tmp_path / "given.pth", name, math.nan)
    with pytest.raises(InputError, match=r"has values that are not numbers \(NaN\)"):
        weights_add.add(path, name)
    assert not any(folder.iterdir())


@real
@pytest.mark.parametrize(
    ("file", "name", "says"),
    [
        ("FaceBoxesProd.pth", "syncnet", "it has no netcnnaud"),
        ("FaceBoxesProd.pth", "tddfa-v2", "it has no conv1.weight"),
        ("tddfa_mb05_120x120.pth", "vgg19", "published file of tddfa-v2-small"),
        ("scrfd_500m_bnkps.onnx", "scrfd-10g", "2.5 MB, the published one 16.9 MB"),
        ("scrfd_500m_bnkps.onnx", "mobilefacenet", "it has 9 outputs, not 1"),
        ("ultralight_RFB-320.onnx", "yunet", "it has 2 outputs, not 12"),
        ("fsanet_1x1.onnx", "arcface-r50", "is "),
    ],
)
def test_real_networks_under_a_wrong_name_are_refused(file: str, name: str, says: str, folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        weights_add.add(NETS / file, name)
    assert says in str(caught.value) and file in str(caught.value) and "\n" not in str(caught.value)
    assert not any(folder.iterdir())


@real
def test_real_networks_under_their_own_names_pass() -> None:
    for file, name in (
        ("tddfa_mb05_120x120.pth", "tddfa-v2-small"),
        ("mobilefacenet_foamliu.onnx", "mobilefacenet"),
        ("yunet_n_dynamic.onnx", "yunet"),
    ):
        check_layout(NETS / file, weights.entry(name))


def test_a_wrong_file_does_not_take_the_place_of_a_right_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = write_layout(folder / weights.entry(NEED[0]).file, "syncnet")
    with pytest.raises(InputError, match="is not the 3DDFA_V2 pose network"):
        check_needs([NEED])
    right = write_layout(folder / weights.entry(NEED[1]).file, NEED[1])
    assert first_present(NEED) == NEED[1]
    check_needs([NEED])
    noted = " ".join(capsys.readouterr().err.split())
    assert f"note: {wrong} is not the 3DDFA_V2 pose network" in noted and f"{right} is used" in noted
    write_layout(wrong, NEED[0])
    assert first_present(NEED) == NEED[0]
