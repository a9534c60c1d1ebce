"""Small networks in the published layouts of speech features and of 3DDFA."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from dawn_bench import weights
from dawn_bench.pipelines.extractors.networks.mobilenet import MobileNet


def _snapshot(folder: Path, family: str, **changes: Any) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, **changes,
    )  # fmt: skip
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json_string())
    state = getattr(transformers, f"{family}Model")(config).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")


def publish_hubert(folder: Path) -> None:
    """HuBERT with one narrow layer."""
    _snapshot(folder / "hubert-large-ls960-ft", "Hubert", do_stable_layer_norm=True, feat_extract_norm="layer")


def publish_wav2vec2(folder: Path) -> None:
    """Wav2Vec2 with one narrow layer."""
    _snapshot(folder / "wav2vec2-base-960h", "Wav2Vec2")


def publish_tddfa(folder: Path) -> None:
    """The small 3DDFA network with seeded weights, and its table."""
    network = MobileNet(width=0.5)
    weights.seeded_fill(network, salt="any")
    state = {f"module.{key.replace('fc.', 'fc_param.')}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state}, folder / "mb05_120x120.pth")
    table = {"mean": np.zeros(62, np.float32), "std": np.ones(62, np.float32)}
    (folder / "param_mean_std_62d_120x120.pkl").write_bytes(pickle.dumps(table, protocol=3))
