"""Speech networks from the folder that transformers itself writes, in either format, and the errors for a bad one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.extractors.hubert import normalise

SOUND = np.random.default_rng(0).integers(-3000, 3000, 16_000).astype(np.int16)
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 8,
    "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "do_stable_layer_norm": True, "feat_extract_norm": "layer",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    return tmp_path / "hubert-large-ls960-ft"


@pytest.fixture
def network(folder: Path) -> torch.nn.Module:
    """A small fine-tuned HuBERT, as `HubertForCTC.save_pretrained` leaves it, like the published one."""
    torch.manual_seed(0)
    model = transformers.HubertForCTC(transformers.HubertConfig(**SMALL)).eval()
    model.save_pretrained(folder)
    return model


def features() -> np.ndarray:
    return EXTRACTORS["hubert"]().run({"audio": SOUND}, size=128, n_frames=25)["hubert"]


def expected(network: torch.nn.Module) -> np.ndarray:
    with torch.inference_mode():
        return network.hubert(torch.from_numpy(normalise(SOUND))[None]).last_hidden_state[0].numpy()


def test_a_saved_folder_works_in_either_format(folder: Path, network: torch.nn.Module) -> None:
    assert EXTRACTORS["hubert"].missing() is None  # type: ignore[attr-defined]
    plain, first = expected(network), features()
    np.testing.assert_allclose(first[[0, -1]], plain[[0, -1]], atol=5e-3)
    (folder / "model.safetensors").unlink()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    assert EXTRACTORS["hubert"].missing() is None  # type: ignore[attr-defined]
    np.testing.assert_array_equal(features(), first)


def test_a_link_to_a_snapshot_elsewhere_works(folder: Path, network: torch.nn.Module, tmp_path: Path) -> None:
    """As in Hugging Face's own cache: the folder is a link, and so are the files in it."""
    first = features()
    snapshot = tmp_path / "models--facebook--hubert-large-ls960-ft" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    blobs = folder.rename(tmp_path / "blobs")
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(file)
    folder.symlink_to(snapshot)
    np.testing.assert_array_equal(features(), first)


def test_missing_files_are_one_line(folder: Path, network: torch.nn.Module) -> None:
    extractor = EXTRACTORS["hubert"]
    (folder / "config.json").unlink()
    assert "hubert-large-ls960-ft/config.json is not in " in extractor.missing()  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"config\.json.*weights fetch hubert-large-config"):
        features()
    (folder / "model.safetensors").unlink()
    lacking = extractor.missing()  # type: ignore[attr-defined]
    assert "model.safetensors or pytorch_model.bin and " in lacking and "\n" not in lacking


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder, _: (folder / "config.json").write_text("{"), r"config\.json: is not a Hubert configuration"),
        (
            lambda folder, _: (folder / "config.json").write_text('{"hidden_size": "x"}'),
            "is not a Hubert configuration",
        ),
        (lambda folder, _: (folder / "model.safetensors").write_bytes(b"\x08"), "is damaged or no checkpoint"),
        (
            lambda folder, _: transformers.HubertConfig(**{**SMALL, "intermediate_size": 32}).save_pretrained(folder),
            r"does not fit Hubert: encoder.*is \(.*config\.json expects",
        ),
        (
            lambda folder, _: transformers.HubertConfig(**{**SMALL, "num_hidden_layers": 3}).save_pretrained(folder),
            r"does not fit Hubert: encoder\.layers\.2.*is missing",
        ),
    ],
)
def test_files_that_do_not_fit_are_named(folder: Path, network: torch.nn.Module, change, says: str) -> None:
    change(folder, network)
    with pytest.raises(InputError, match=says) as caught:
        features()
    assert "\n" not in str(caught.value)
