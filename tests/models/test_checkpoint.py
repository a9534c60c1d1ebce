"""Checkpoints: what is saved comes back; what does not fit or could run code is refused in one line."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_checkpoint, read_metadata, save_checkpoint
from dawn_bench.models.dawn.lfg import LFG, HourglassConfig, LFGConfig
from dawn_bench.models.dawn.pbnet import PBNet, PBNetConfig
from dawn_bench.models.dawn.published import load_published_lfg, load_published_pbnet

SMALL = HourglassConfig(block_expansion=4, max_features=8, num_blocks=2)
TINY_LFG = LFGConfig.fixed(
    num_regions=3, block_expansion=4, num_bottleneck_blocks=1, region=SMALL, flow=SMALL, background=SMALL
)
TINY_PBNET = PBNetConfig.fixed(audio_dim=5, audio_latent_dim=8, pose_latent_dim=8, latent_dim=4, ff_size=8, head_dim=4)


@pytest.mark.parametrize(
    ("kind", "make"), [("lfg", lambda: LFG(TINY_LFG)), ("pbnet", lambda: PBNet(TINY_PBNET))], ids=["lfg", "pbnet"]
)
def test_round_trip(tmp_path, kind, make):
    module = make()
    path = tmp_path / "deep" / "model.safetensors"
    save_checkpoint(path, module, config=module.config, kind=kind, provenance={"seed": 3, "steps": 10})
    back, provenance = load_checkpoint(path, kind)
    assert provenance == {"seed": 3, "steps": 10}
    assert back.config == module.config
    assert not back.training
    for key, tensor in module.state_dict().items():
        assert torch.equal(back.state_dict()[key], tensor), key
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]
    other = "pbnet" if kind == "lfg" else "lfg"
    with pytest.raises(InputError, match=f"of kind '{kind}', not '{other}'"):
        load_checkpoint(path, other)


def test_published_lfg_round_trip_and_faults(tmp_path):
    model = LFG(TINY_LFG)
    parts = {name: part.state_dict() for name, part in model.named_children()}
    path = tmp_path / "LFG.pth"
    torch.save({"example": 1, "epoch": 2, "optimizer": {}, **parts}, path)
    back = load_published_lfg(path, TINY_LFG)
    assert all(torch.equal(a, b) for a, b in zip(back.state_dict().values(), model.state_dict().values(), strict=True))

    del parts["generator"]["final.bias"]
    parts["generator"]["stranger"] = torch.zeros(1)
    parts["bg_predictor"]["fc.bias"] = torch.zeros(7)
    torch.save(parts, path)
    message = _refusal(load_published_lfg, path, TINY_LFG)
    assert "1 missing (generator.final.bias)" in message
    assert "1 unexpected (generator.stranger)" in message
    assert "1 of another shape (bg_predictor.fc.bias (7,) instead of (6,))" in message

    torch.save({"generator": parts["generator"]}, path)
    assert "is not an LFG checkpoint: it has no region_predictor, bg_predictor" in _refusal(load_published_lfg, path)


@pytest.mark.parametrize(("pos", "eye"), [(6, 2), (6, 0), (0, 2)])
def test_published_pbnet_tells_its_widths(tmp_path, pos, eye):
    config = PBNetConfig.reference(pos_dim=pos, eye_dim=eye, audio_dim=80, ff_size=32, num_layers=3)
    model = PBNet(config)
    path = tmp_path / "checkpoint.pth.tar"
    tables = {f"{part}.sequence_pos_encoder.pe": torch.zeros(20, 1, 4) for part in ("encoder", "decoder")}
    torch.save({**model.state_dict(), **tables}, path)
    assert load_published_pbnet(path).config == config
    state = model.state_dict()
    del state["encoder.mu_layer.weight"]
    torch.save(state, path)
    assert "1 missing (encoder.mu_layer.weight)" in _refusal(load_published_pbnet, path)
    torch.save({"weight": torch.zeros(1)}, path)
    assert "is not a PBNet checkpoint" in _refusal(load_published_pbnet, path)
    torch.save(torch.zeros(1), path)
    assert "holds a Tensor" in _refusal(load_published_pbnet, path)


class _Attack:
    """Unpickling this would make a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("load", [load_published_lfg, load_published_pbnet])
@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, load, save):
    path, proof = tmp_path / "evil.pth", tmp_path / "proof"
    save({"generator": _Attack(proof)}, path)
    message = _refusal(load, path)
    assert "could run code" in message
    assert not proof.exists()


@pytest.mark.parametrize("load", [load_published_lfg, load_published_pbnet, lambda path: load_checkpoint(path, "lfg")])
def test_truncated_foreign_and_absent_files(tmp_path, load):
    whole = tmp_path / "whole.safetensors"
    save_checkpoint(whole, LFG(TINY_LFG), config=TINY_LFG, kind="lfg", provenance={})
    torch.save({"generator": LFG(TINY_LFG).generator.state_dict()}, tmp_path / "whole.pth")
    for name, data in {
        "cut.safetensors": whole.read_bytes()[:5000],
        "cut.pth": (tmp_path / "whole.pth").read_bytes()[:5000],
        "text.pth": b"<html>sign in</html>",
        "empty.pth": b"",
    }.items():
        (tmp_path / name).write_bytes(data)
        _refusal(load, tmp_path / name)
    assert "no such checkpoint" in _refusal(load, tmp_path / "absent.pth")


def test_a_foreign_safetensors_file_is_no_checkpoint_of_ours(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert "is not a checkpoint of dawn-bench" in _refusal(read_metadata, tmp_path / "a.safetensors")


def _refusal(load, path: Path, *rest) -> str:
    with pytest.raises(InputError) as caught:
        load(path, *rest)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message
