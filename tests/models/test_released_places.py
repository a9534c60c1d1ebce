"""Each tensor of a file lands in its own place, and each file in its own network: no two tensors are alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from micro import micro_settings
from micro_dit_head import micro_settings as dit_head_settings
from safetensors import safe_open
from safetensors.torch import save_file
from small_configs import A2V_CONFIG, LFG_CONFIG
from torch import Tensor, nn

from dawn_bench import weights
from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_checkpoint, save_checkpoint
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.conditions import FaceMaskEncoder
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.models.dawn.pbnet import PBNet, PBNetConfig, SeparatePBNets
from dawn_bench.models.dawn.presets import fit_to_cache
from dawn_bench.models.dawn.published import load_published_a2v, load_published_lfg, load_published_pbnet
from dawn_bench.models.dawn.released import find_released, load_released
from dawn_bench.models.diffspeaker.config import AudioConfig, DiffSpeakerConfig
from dawn_bench.models.diffspeaker.model import DiffSpeaker
from dawn_bench.models.diffspeaker.released import load_pretrained
from dawn_bench.models.diffspeaker.released import load_released as load_diffspeaker
from dawn_bench.models.dit_head.dit import DiT
from dawn_bench.models.dit_head.generator import DitHeadGenerator
from dawn_bench.models.dit_head.vqgan import VQGAN
from dawn_bench.models.perceptual import VGGLoss, picture_loss

PBNET = {"audio_dim": 12, "audio_latent_dim": 16, "pose_latent_dim": 8, "latent_dim": 8, "ff_size": 8}
SPEECH = AudioConfig(
    encoder="hubert", hidden=16, layers=1, heads=2, ff=16, conv=8, position_kernel=4, position_groups=2
)
SPEAKER = DiffSpeakerConfig(vertices=5, latent=16, ff=16, heads=2, period=4, subjects=("a", "b"), audio=SPEECH)


@pytest.fixture(autouse=True)
def _no_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its draws take most of a second; they are compared with the released script's in `tests/parity`."""
    monkeypatch.setattr(FaceMaskEncoder, "draw_as_training_script", lambda self: None)


def distinct(module: nn.Module, *, first: int = 1, keep: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The module's tensors with values that no other tensor has; those whose names end with `keep` as they are."""
    state = {}
    for number, (key, tensor) in enumerate(module.state_dict().items()):
        values = (torch.arange(tensor.numel()).view(tensor.shape) % 97 + 100 * (number + first)) / 1e4
        kept = key.endswith(keep) if keep else False
        state[key] = tensor if kept or not tensor.is_floating_point() else values.to(tensor.dtype)
    return state


def holds(module: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether the module's tensors are those of `state`."""
    own = module.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[k], v) for k, v in state.items())


def filled(module: nn.Module, **given: Any) -> nn.Module:
    module.load_state_dict(distinct(module, **given))
    return module


def _lfg(path: Path, state: Mapping[str, Tensor]) -> Any:
    parts = {"generator": {}, "region_predictor": {}, "bg_predictor": {}}  # type: dict[str, dict[str, Tensor]]
    for key, tensor in state.items():
        part, _, name = key.partition(".")
        parts[part][name] = tensor
    torch.save({"epoch": 1000, "example": 1, **parts}, path)
    return load_published_lfg(path, LFG_CONFIG)


def _a2v(path: Path, state: Mapping[str, Tensor]) -> Any:
    torch.save({"diffusion": dict(state), "example": 1}, path)
    return load_published_a2v(path, A2V_CONFIG).diffusion


def _pbnet(path: Path, state: Mapping[str, Tensor]) -> Any:
    torch.save(dict(state), path)
    return load_published_pbnet(path)


def _speaker(path: Path, state: Mapping[str, Tensor]) -> Any:
    torch.save({"state_dict": dict(state)}, path)
    return load_diffspeaker(path, SPEAKER)


def _speech(path: Path, state: Mapping[str, Tensor]) -> Any:
    torch.save({f"hubert.{k}": v for k, v in state.items()}, path)
    model = DiffSpeaker(SPEAKER)
    load_pretrained(model, weights.Resolved(weights.entry("hubert-base"), "user", path, "0" * 64))
    return model.audio_encoder


def _both() -> nn.Module:
    return PBNet(PBNetConfig.reference(pos_dim=6, eye_dim=2, **PBNET))


#: What is read from a file: a network of the published layout, and the reader of a file of its tensors. Constants that
#: a reader computes itself are left as they are.
LAYOUTS: dict[str, tuple[Callable[[], nn.Module], Callable[[Path, Mapping[str, Tensor]], Any], tuple[str, ...]]] = {
    "lfg": (lambda: LFG(LFG_CONFIG), _lfg, ()),
    "a2v": (lambda: A2VFDM(A2V_CONFIG).diffusion, _a2v, ()),
    "pbnet": (_both, _pbnet, ("freqs",)),
    "diffspeaker": (lambda: DiffSpeaker(SPEAKER), _speaker, ("PPE.pe", "masked_spec_embed")),
    "speech encoder": (lambda: DiffSpeaker(SPEAKER).audio_encoder, _speech, ("masked_spec_embed",)),
}


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_every_tensor_of_a_file_lands_in_its_own_place(name: str, tmp_path: Path) -> None:
    """Also after two tensors of one shape are exchanged in the file: then these two differ, and nothing else."""
    make, read, constants = LAYOUTS[name]
    state = distinct(make(), keep=constants)
    loaded = read(tmp_path / "file.pth", state).state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state.items())
    by_shape: dict[Any, list[str]] = {}
    for key, tensor in state.items():
        if tensor.is_floating_point() and not (constants and key.endswith(constants)):
            by_shape.setdefault(tuple(tensor.shape), []).append(key)
    one, other = max(by_shape.values(), key=len)[:2]
    loaded = read(tmp_path / "file.pth", {**state, one: state[other], other: state[one]}).state_dict()
    assert {k for k, v in state.items() if not torch.equal(loaded[k], v)} == {one, other}


@pytest.mark.parametrize(("size", "separate"), [(128, True), (256, False)])
def test_each_released_file_is_the_network_of_its_name(size: int, separate: bool, tmp_path: Path) -> None:
    """Of both sizes: its own file for LFG, A2V-FDM, head pose and blinks, with the released behaviour."""
    epochs = {128: 1000, 256: 400}[size]
    networks = {
        f"LFG_{size}_{epochs}ep.pth": (LFG(LFG_CONFIG), 1),
        f"DAWN_{size}.pth": (A2VFDM(A2V_CONFIG).diffusion, 1001),
    }
    if separate:
        for part, dims, first in (("pose", (6, 0), 2001), ("blink", (0, 2), 3001)):
            network = PBNet(PBNetConfig.reference(pos_dim=dims[0], eye_dim=dims[1], **PBNET))
            networks[f"pbnet_seperate/{part}/checkpoint_1.pth.tar"] = (network, first)
    else:
        networks["pbnet_both/checkpoint_1.pth.tar"] = (_both(), 4001)
    for name, (network, first) in networks.items():
        filled(network, first=first, keep=("freqs",))
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        state: Any = network.state_dict()
        if name.startswith("LFG"):
            state = {p: m.state_dict() for p, m in network.named_children()} | {"epoch": epochs, "example": 1}
        torch.save({"diffusion": state} if name.startswith("DAWN") else state, tmp_path / name)
    files = find_released(tmp_path)
    assert files is not None and files.size == size
    talker = load_released(files, lfg_config=LFG_CONFIG, a2v_config=A2V_CONFIG)
    own: list[Any] = [talker.lfg, talker.a2v.diffusion]
    own += [talker.pbnet.pose, talker.pbnet.blink] if isinstance(talker.pbnet, SeparatePBNets) else [talker.pbnet]
    assert len(own) == len(networks)
    for module, (network, _) in zip(own, networks.values(), strict=True):
        assert holds(module, network.state_dict())
        assert not module.training
    assert (talker.size, talker.audio_encoder, talker.published) == (size, "hubert", True)
    assert all(pbnet.config.window == 200 for pbnet in own[2:])


def test_separate_networks_get_their_own_channels_and_the_blinks_come_last() -> None:
    """Pose draws first; each network starts from its own part of the source's state."""
    seen: list[tuple[str, Tensor]] = []

    class Track(nn.Module):
        def __init__(self, name: str, pos: int, eye: int) -> None:
            super().__init__()
            self.config, self.name = PBNetConfig.reference(pos_dim=pos, eye_dim=eye), name

        def generate(self, first_BD: Tensor, audio_BNA: Tensor, *, generator: torch.Generator) -> Tensor:
            seen.append((self.name, first_BD))
            return first_BD[:, None].expand(-1, audio_BNA.shape[1], -1) + torch.rand(1, generator=generator)

    both = SeparatePBNets(Track("pose", 6, 0), Track("blink", 0, 2))  # type: ignore[arg-type]
    state = torch.arange(8.0)[None]
    drawn = both.generate(state, torch.zeros(1, 3, 12), generator=torch.Generator().manual_seed(0))
    assert [(name, first[0].tolist()) for name, first in seen] == [("pose", [0, 1, 2, 3, 4, 5]), ("blink", [6, 7])]
    draws = torch.rand(2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn[0, 2], state[0] + torch.cat([draws[:1].expand(6), draws[1:].expand(2)]))


@pytest.mark.parametrize(("stage", "chosen"), [(None, "a2v-2"), ("a2v-1", "a2v-1")])
def test_a_run_gives_each_network_its_own_checkpoint(
    stage: str | None, chosen: str, tiny_cache: Path, tmp_path: Path
) -> None:
    """The last stage by default; the coarse model beside it; facts are those of the same file."""
    settings = fit_to_cache(micro_settings(), Cache(tiny_cache))
    assert settings.a2v_2 is not None and settings.pbnet is not None
    configs = {
        "lfg": (LFG, settings.lfg.model, "lfg"), "a2v-1": (A2VFDM, settings.a2v_1.model, "a2v"),
        "a2v-2": (A2VFDM, settings.a2v_2.model, "a2v"), "a2v-ttr": (A2VFDM, settings.a2v_1.model, "a2v"),
        "pbnet": (PBNet, settings.pbnet.model, "pbnet"),
    }  # fmt: skip
    saved = {}
    for number, (name, (kind, config, label)) in enumerate(configs.items()):
        saved[name] = filled(kind(config), first=1 + 1000 * number, keep=("freqs",))
        facts = {"stage": name, "size": 32, "audio_encoder": "logmel"}
        save_checkpoint(tmp_path / name / "model.safetensors", saved[name], config=config, kind=label, provenance=facts)
    talker = DawnGenerator.load(tmp_path, stage=stage)
    for own, name in ((talker.lfg, "lfg"), (talker.a2v, chosen), (talker.pbnet, "pbnet"), (talker.coarse, "a2v-ttr")):
        assert own is not None and not own.training
        assert holds(own, saved[name].state_dict())
    stages = {kind: facts["stage"] for kind, facts in talker.facts.items()}
    assert stages == {"lfg": "lfg", "a2v": chosen, "pbnet": "pbnet", "coarse": "a2v-ttr"}
    assert talker.provenance["stage"] == chosen


def test_a_dubber_encodes_masked_frames_with_the_masked_network(tmp_path: Path) -> None:
    settings = dit_head_settings()
    saved: dict[str, nn.Module] = {}
    for number, name in enumerate(("vqgan-face", "vqgan-masked", "dit")):
        config = getattr(settings, name.replace("-", "_")).model
        saved[name] = filled((DiT if name == "dit" else VQGAN)(config), first=1 + 1000 * number)
        kind = "dit-head-dit" if name == "dit" else "dit-head-vqgan"
        facts = {"stage": name, "size": 32, "audio_encoder": "logmel"}
        save_checkpoint(tmp_path / name / "model.safetensors", saved[name], config=config, kind=kind, provenance=facts)
    dubber = DitHeadGenerator.load(tmp_path)
    for own, name in ((dubber.face, "vqgan-face"), (dubber.masked, "vqgan-masked"), (dubber.dit, "dit")):
        assert holds(own, saved[name].state_dict())
        assert not own.training
    assert dubber.facts["stage"] == "dit"


def test_a_checkpoint_whose_content_was_changed_is_refused(tmp_path: Path) -> None:
    """By one value of one tensor, or by its configuration; one without a hash, of an earlier version, is read."""
    config = dit_head_settings().dit.model
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, filled(DiT(config)), config=config, kind="dit-head-dit", provenance={"steps": 4})
    with safe_open(path, "pt") as file:
        metadata, state = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert load_checkpoint(path, "dit-head-dit")[1] == {"steps": 4}
    changed = state | {"offsets": state["offsets"].clone()}
    changed["offsets"][-1, -1] += 1e-3
    other = metadata | {"config": metadata["config"].replace('"mouth_weight": 0.0', '"mouth_weight": 1.0')}
    assert other != metadata
    for tensors, facts in ((changed, metadata), (state, other)):
        save_file(tensors, path, metadata=facts)
        with pytest.raises(InputError, match="its content does not match its hash"):
            load_checkpoint(path, "dit-head-dit")
    save_file(changed, path, metadata={k: v for k, v in metadata.items() if k != weights.CONTENT_HASH})
    assert holds(load_checkpoint(path, "dit-head-dit")[0], changed)


def test_vgg_features_are_read_into_their_own_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's layout: the features' tensors by name, the classifier's left out; and the loss uses them."""
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    monkeypatch.setattr(VGGLoss, "BLOCKS", ((2, 4), (2, 6), (4, 6), (4, 8), (1, 8)))
    state = {k: v - v.mean() for k, v in distinct(VGGLoss(identity="x")).items()}
    path = tmp_path / weights.entry("vgg19").file
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**state, "classifier.0.weight": torch.zeros(3, 3)}, path)
    loss = picture_loss("files")
    assert isinstance(loss, VGGLoss) and not any(p.requires_grad for p in loss.parameters())
    assert holds(loss, state)
    assert ":user:" in loss.identity
    same = torch.rand(1, 3, 16, 16)
    assert loss(same, same) == 0 and loss(same, same.flip(-1)) > 0
    assert np.isfinite(float(loss(same, 1 - same)))


def test_the_substitute_of_the_perceptual_loss_counts_pixels_and_both_slopes() -> None:
    """By hand, on a difference whose slopes along rows and along columns are not alike."""
    off = torch.tensor([[0.0, 1.0, 3.0], [5.0, 6.0, 8.0]]).expand(1, 3, 2, 3) / 10
    truth = torch.full((1, 3, 2, 3), 0.1)
    expected = (0 + 1 + 3 + 5 + 6 + 8) / 60 + 15 / 30 + (1 + 2 + 1 + 2) / 40
    assert picture_loss("seeded")(truth + off, truth).item() == pytest.approx(expected)
