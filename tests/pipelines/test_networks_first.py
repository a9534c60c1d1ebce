"""Files of the wrong network stop a preparation before it decodes anything, and before a cache is bound to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from weight_files import layout_of, write_layout

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.preparation import group
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings

CONFIG = {"model_type": "hubert", "hidden_size": 4, "num_hidden_layers": 1}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"video")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a clip was processed")

    monkeypatch.setattr(group.ClipTools, "process", never)
    return tmp_path / "weights"


def hubert(folder: Path, *, width: int = 4, layers: int = 1, **config: object) -> Path:
    """A snapshot of HuBERT with these weights, beside a configuration."""
    state = {"feature_projection.projection.weight": torch.ones(width, 2)}
    for n in range(layers):
        state |= {f"encoder.layers.{n}.{k}.weight": torch.ones(width) for k in ("layer_norm", "attention.q_proj")}
    place = folder / "hubert-large-ls960-ft"
    place.mkdir(parents=True, exist_ok=True)
    save_file(state, place / "model.safetensors")
    (place / "config.json").write_text(json.dumps({**CONFIG, **config}))
    return place


def refused(tmp_path: Path, *extract: str, pose: str = "landmarks") -> str:
    settings = PrepareSettings(pose=pose, extract=("pose", "blink", *extract), face="dlib")
    with pytest.raises(InputError) as caught:
        prepare(tmp_path / "videos", tmp_path / "cache", settings)
    assert not (tmp_path / "cache" / "plan.json").exists()
    assert not list((tmp_path / "cache").glob("**/*.json"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_network_in_place_of_3ddfa(tmp_path: Path, folder: Path) -> None:
    write_layout(folder / "mb1_120x120.pth", "s3fd")
    (folder / "param_mean_std_62d_120x120.pkl").write_bytes(b"\x80\x04}.")
    assert "mb1_120x120.pth: is not the 3DDFA_V2 pose network: it has no conv1.weight" in refused(
        tmp_path, pose="3ddfa"
    )


def test_part_of_3ddfas_network_and_its_table(tmp_path: Path, folder: Path) -> None:
    write_layout(folder / "mb1_120x120.pth", "tddfa-v2")
    (folder / "param_mean_std_62d_120x120.pkl").write_bytes(b"\x80\x04}.")
    assert "mb1_120x120.pth: " in refused(tmp_path, pose="3ddfa")


def test_another_network_in_place_of_hubert(tmp_path: Path, folder: Path) -> None:
    place = hubert(folder)
    torch.save(layout_of("syncnet"), place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()
    assert "pytorch_model.bin: is not " in refused(tmp_path, "hubert")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"width": 8}, "its width is 8, config.json expects 4"),
        ({"layers": 2}, "its number of layers is 2, config.json expects 1"),
        ({"model_type": "wav2vec2"}, "its model_type is 'wav2vec2'"),
    ],
)
def test_hubert_and_a_configuration_of_another(
    tmp_path: Path, folder: Path, changes: dict[str, object], says: str
) -> None:
    hubert(folder, **changes)  # type: ignore[arg-type]
    assert says in refused(tmp_path, "hubert")


def test_what_belongs_together_passes(folder: Path) -> None:
    hubert(folder)
    EXTRACTORS["hubert"].check()
