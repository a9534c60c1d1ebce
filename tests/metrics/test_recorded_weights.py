"""The weights that a score or a cache records are those that were opened, wherever a file may come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dlib
import numpy as np
import pytest
import torch

from dawn_bench import weights
from dawn_bench.files import sha256_file
from dawn_bench.metrics.features import identity
from dawn_bench.metrics.scoring.base import FEATURES, METRICS
from dawn_bench.pipelines.extractors.snapshot import Snapshot
from dawn_bench.pipelines.faces.backends.dlib import DlibBackend
from dawn_bench.pipelines.faces.base import FACE_BACKENDS, pick_backend

POINTS, FACE = "shape_predictor_68_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    return tmp_path


def another(name: str, folder: Path) -> Path:
    """A working file of an entry that a package ships, with another hash: dlib ignores what follows the network."""
    original = weights.locate(weights.entry(name))
    assert original is not None
    path = folder / weights.entry(name).file
    path.write_bytes(original.read_bytes() + b"\0")
    return path


def opened(monkeypatch: pytest.MonkeyPatch, reader: str) -> list[str]:
    """The paths that dlib's `reader` is given from now on."""
    paths: list[str] = []
    real = getattr(dlib, reader)

    def spy(path: str) -> Any:
        paths.append(path)
        return real(path)

    monkeypatch.setattr(dlib, reader, spy)
    return paths


def test_dlib_reads_the_file_that_the_score_records(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = opened(monkeypatch, "shape_predictor")
    shipped = DlibBackend()
    assert [r.state for r in shipped.networks] == ["canonical"] and paths == [str(shipped.networks[0].path)]
    mine = another("dlib-68", folder)
    pick_backend.__globals__["_loaded"].cache_clear()
    landmarks = FEATURES["landmarks"]()
    assert paths[1:] == [str(mine)]
    recorded = {r.weight.name: r for r in landmarks.resolved}
    assert recorded["dlib-68"].path == mine and recorded["dlib-68"].sha256 == sha256_file(mine)
    assert landmarks.weights_state == "user" and "dlib-68 user" in METRICS["csim"].backend()
    assert pick_backend("dlib").fingerprint() != shipped.fingerprint()
    pick_backend.__globals__["_loaded"].cache_clear()


def test_what_is_recorded_stays_with_the_loaded_back_end(folder: Path) -> None:
    """A file that is replaced while the process runs is not what has been loaded."""
    pick_backend.__globals__["_loaded"].cache_clear()
    before = FEATURES["landmarks"]()
    another("dlib-68", folder)
    after = FEATURES["landmarks"]()
    assert after.fingerprint == before.fingerprint and after.resolved == before.resolved
    pick_backend.__globals__["_loaded"].cache_clear()
    assert FEATURES["landmarks"]().fingerprint != before.fingerprint


def test_without_any_file_of_the_points_the_back_end_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda _: None)
    reason = FACE_BACKENDS["dlib"].missing()
    assert reason is not None and POINTS in reason and "weights add" in reason


def test_the_face_embedding_follows_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = opened(monkeypatch, "face_recognition_model_v1")
    identity.dlib_face.cache_clear()
    shipped = FEATURES["identity"]()
    mine = another("dlib-face", folder)
    replaced = FEATURES["identity"]()
    assert [Path(p).parent == folder for p in paths] == [False, True]
    assert shipped.resolved[-1].path != replaced.resolved[-1].path == mine
    mine.write_bytes(mine.read_bytes() + b"\0")  # the same path, another file
    again = FEATURES["identity"]()
    assert len(paths) == 3 and again.resolved[-1].sha256 == sha256_file(mine)
    identity.dlib_face.cache_clear()


def test_a_changed_configuration_of_a_speech_encoder_is_recorded(folder: Path) -> None:
    """`config.json` decides how the network normalises: another one gives other features from the same weights."""
    import json

    import transformers

    small = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    }  # fmt: skip
    snapshot = Snapshot("Hubert", ("hubert-large-bin",), "hubert-large-config")
    network, config = (folder / weights.entry(n).file for n in ("hubert-large-bin", "hubert-large-config"))
    network.parent.mkdir()
    torch.manual_seed(0)
    torch.save(transformers.HubertModel(transformers.HubertConfig(**small)).state_dict(), network)
    plain = weights.resolve("hubert-large-bin").identity
    facts: dict[str, Any] = dict(weights.entry("hubert-large-config").values or {})
    config.write_text(json.dumps(facts))
    assert snapshot.identity == plain  # the published one: features computed before keep their key
    config.write_text(json.dumps(facts | {"layer_norm_eps": 1e-5, "attention_dropout": 0.1}))
    assert snapshot.identity == plain
    config.write_text(json.dumps(facts | {"layer_norm_eps": 1e-2}))
    assert snapshot.identity != plain
    sound, outputs, identities = torch.randn(1, 4000), [], []
    for eps in (1e-5, 1.0):
        config.write_text(json.dumps({"model_type": "hubert", **small, "layer_norm_eps": eps}))
        identities.append(snapshot.identity)
        with torch.inference_mode():
            outputs.append(snapshot.load("cpu")(sound).last_hidden_state.numpy())
    assert not np.allclose(*outputs) and len({plain, *identities}) == 3
