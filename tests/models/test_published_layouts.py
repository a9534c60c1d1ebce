"""Files of the published names, layouts and widths, made here: every network reads what its authors' code writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from foreign import foreign_lightning, lightning
from small_configs import A2V_CONFIG, LFG_CONFIG

from dawn_bench import weights
from dawn_bench.metrics.networks.syncnet import SyncNet
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.models.dawn.pbnet import PBNet, PBNetConfig
from dawn_bench.models.dawn.published import load_published_a2v, load_published_lfg, load_published_pbnet
from dawn_bench.models.diffspeaker.config import AudioConfig, DiffSpeakerConfig
from dawn_bench.models.diffspeaker.model import DiffSpeaker
from dawn_bench.models.diffspeaker.released import is_released, load_pretrained, load_released
from dawn_bench.pipelines.extractors.networks.mobilenet import MobileNet
from dawn_bench.pipelines.extractors.snapshot import Snapshot

State = dict[str, torch.Tensor]
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def old_norm(state: State, prefix: str = "") -> State:
    """Keys as torch 1 wrote them."""
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, old in names.items():
        state = {key.replace(new, old): tensor for key, tensor in state.items()}
    return {prefix + key: tensor for key, tensor in state.items()}


def assert_equal(module: torch.nn.Module, state: State) -> None:
    for key, tensor in state.items():
        assert torch.equal(module.state_dict()[key], tensor), key


SPEECH = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 8,
    "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
AUDIO = AudioConfig(encoder="hubert", hidden=16, layers=1, heads=2, ff=16, conv=8, position_kernel=4, position_groups=2)
TINY = DiffSpeakerConfig(vertices=5, latent=16, ff=16, heads=2, period=4, subjects=("a", "b"), audio=AUDIO, steps=3)


@FORMATS
@pytest.mark.parametrize("layout", ["published", "data-parallel", "mask embedding on top"])
@pytest.mark.parametrize(
    ("family", "tuned", "networks"),
    [("Hubert", True, "hubert-large-bin"), ("Hubert", False, "hubert-base"), ("Wav2Vec2", True, "wav2vec2-base-bin")],
)
def test_speech_encoders_of_hugging_face(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, tuned: bool, networks: str, layout: str, zipped: bool
) -> None:
    """facebook's `pytorch_model.bin`: names of torch 1, the heads of CTC beside a fine-tuned one, a mask embedding."""
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SPEECH)
    model = getattr(transformers, f"{family}ForCTC" if tuned else f"{family}Model")(config)
    state = old_norm(model.state_dict())
    state |= {"masked_spec_embed": torch.ones(16)} if layout == "mask embedding on top" else {}
    path = tmp_path / weights.entry(networks).file
    path.parent.mkdir(parents=True)
    torch.save(
        {f"module.{key}": t for key, t in state.items()} if layout == "data-parallel" else state,
        path,
        _use_new_zipfile_serialization=zipped,
    )
    inner = model.base_model.state_dict() if tuned else model.state_dict()
    entries = {"Hubert": "hubert-large-config", "Wav2Vec2": "wav2vec2-base-config"}
    configuration = tmp_path / weights.entry(entries[family]).file
    configuration.parent.mkdir(parents=True, exist_ok=True)
    config.to_json_file(configuration)
    loaded = Snapshot(family, (networks,), entries[family]).load("cpu")
    assert_equal(loaded, {key: t for key, t in inner.items() if key != "masked_spec_embed"})
    if networks != "hubert-large-bin":  # DiffSpeaker's training starts from these two
        talker = DiffSpeaker(TINY)
        load_pretrained(talker, weights.resolve(networks, "files"))
        assert_equal(talker.audio_encoder, {key: t for key, t in inner.items() if key != "masked_spec_embed"})


@FORMATS
@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_diffspeakers_lightning_checkpoint_with_its_configuration(tmp_path: Path, prefix: str, zipped: bool) -> None:
    model = DiffSpeaker(TINY)
    state = old_norm(model.state_dict(), prefix)
    state |= {f"{prefix}audio_encoder.masked_spec_embed": torch.zeros(16), "losses.total": torch.zeros(1)}
    path = tmp_path / "diffspeaker_hubert_biwi.ckpt"
    with foreign_lightning() as hyperparameters:
        torch.save(lightning(state) | hyperparameters, path, _use_new_zipfile_serialization=zipped)
    assert is_released(path)
    assert_equal(load_released(path, TINY), model.state_dict())


@pytest.mark.parametrize("counters", [True, False])
def test_syncnet_of_the_published_width_in_the_legacy_format(tmp_path: Path, counters: bool) -> None:
    source, target = SyncNet(), SyncNet()
    state = {k: t for k, t in source.state_dict().items() if counters or not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "syncnet_v2.model", _use_new_zipfile_serialization=False)
    entry = weights.entry("syncnet")
    weights.load_into(target, weights.Resolved(entry, "user", tmp_path / "syncnet_v2.model", "0" * 64))
    assert_equal(target, source.state_dict())


@FORMATS
def test_3ddfas_data_parallel_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    from dawn_bench.pipelines.extractors import tddfa

    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    source = MobileNet(width=0.5)
    state = {f"module.{key.replace('fc.', 'fc_param.')}": t for key, t in source.state_dict().items()}
    state |= {"module.fc_lm.weight": torch.zeros(136, 512), "module.fc_lm.bias": torch.zeros(136)}
    path = tmp_path / "mb05_120x120.pth"
    torch.save({"epoch": 49, "state_dict": state}, path, _use_new_zipfile_serialization=zipped)
    loaded = tddfa._network(weights.resolve("tddfa-v2-small", "files"), "cpu")
    assert_equal(loaded, source.state_dict())


def optimizer_of(module: torch.nn.Module, kind: str) -> dict[str, Any]:
    """What DAWN's training saves of its optimiser: its state, or the object as a whole."""
    adam = torch.optim.Adam(module.parameters(), lr=4e-4)
    return {"state": {"optimizer": adam.state_dict()}, "object": {"optimizer": adam}, "none": {}}[kind]


@pytest.mark.parametrize(
    ("optimizer", "prefix", "zipped"),
    [("state", "", True), ("object", "", True), ("object", "module.", False), ("none", "module.", True)],
)
def test_dawns_files(tmp_path: Path, optimizer: str, prefix: str, zipped: bool) -> None:
    lfg, a2v = LFG(LFG_CONFIG), A2VFDM(A2V_CONFIG)
    parts = {name: {prefix + key: t for key, t in part.state_dict().items()} for name, part in lfg.named_children()}
    count = {"example": 82_000, "epoch": 999}
    torch.save(
        {**count, **parts, **optimizer_of(lfg, optimizer)},
        tmp_path / "LFG_128_1000ep.pth",
        _use_new_zipfile_serialization=zipped,
    )
    assert_equal(load_published_lfg(tmp_path / "LFG_128_1000ep.pth", LFG_CONFIG), lfg.state_dict())
    diffusion = {prefix + key: t for key, t in a2v.diffusion.state_dict().items()}
    torch.save(
        {**count, "diffusion": diffusion, **optimizer_of(a2v, optimizer)},
        tmp_path / "DAWN_128.pth",
        _use_new_zipfile_serialization=zipped,
    )
    assert_equal(load_published_a2v(tmp_path / "DAWN_128.pth", A2V_CONFIG).diffusion, a2v.diffusion.state_dict())


@FORMATS
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
@pytest.mark.parametrize(("pos", "eye"), [(6, 0), (0, 2), (6, 2)])
def test_pbnet_of_the_architecture_transformerreemb5(
    tmp_path: Path, pos: int, eye: int, prefix: str, zipped: bool
) -> None:
    """The published widths; both sinusoid tables are in the file, as the released architecture has them."""
    config = PBNetConfig.reference(pos_dim=pos, eye_dim=eye)
    model = PBNet(config)
    tables = {
        "encoder.sequence_pos_encoder.pe": torch.zeros(200, 1, 384),
        "decoder.sequence_pos_encoder.pe": torch.zeros(200, 1, 64),
    }
    path = tmp_path / "checkpoint_40000.pth.tar"
    torch.save(
        {prefix + key: t for key, t in {**model.state_dict(), **tables}.items()},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    loaded = load_published_pbnet(path)
    assert loaded.config == config
    assert_equal(loaded, model.state_dict())
