"""Which file of a run becomes which network of the generator, and stages that do not fit each other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from spies import Spies
from untrained import dawn_run

from dawn_bench.baselines.base import METHODS, Context
from dawn_bench.baselines.methods import dawn as dawn_method
from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_checkpoint, save_checkpoint
from dawn_bench.models.dawn import released
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.released import ReleasedFiles
from dawn_bench.models.diffspeaker import generator as diffspeaker


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dawn_run(tmp_path_factory.mktemp("dawn") / "run", coarse=True)


def test_each_checkpoint_of_a_run_becomes_the_network_that_it_is_of(run: Path, tmp_path: Path) -> None:
    """Every file changes the identity, and no two are exchanged."""

    def holds(module: Any, stage: str) -> bool:
        state = load_file(run / stage / "model.safetensors")
        return all(torch.equal(tensor, state[key]) for key, tensor in module.state_dict().items())

    talker, first = DawnGenerator.load(run), DawnGenerator.load(run, stage="a2v-1")
    assert holds(talker.lfg, "lfg") and holds(talker.pbnet, "pbnet")
    assert holds(talker.a2v, "a2v-2") and holds(talker.coarse, "a2v-ttr") and holds(first.a2v, "a2v-1")
    assert {kind: facts["stage"] for kind, facts in talker.facts.items()} == {
        "lfg": "lfg", "a2v": "a2v-2", "coarse": "a2v-ttr", "pbnet": "pbnet",
    }  # fmt: skip
    assert (talker.size, talker.audio_encoder, talker.published, first.facts["a2v"]["stage"]) == (
        32,
        "logmel",
        False,
        "a2v-1",
    )
    identities = {talker.identity, first.identity}
    for number, stage in enumerate(("lfg", "a2v-2", "a2v-ttr", "pbnet"), start=3):
        shutil.copytree(run, tmp_path / stage)
        path = tmp_path / stage / stage / "model.safetensors"
        module, facts = load_checkpoint(path, "a2v" if stage.startswith("a2v") else stage)
        next(module.parameters()).data.add_(1)
        save_checkpoint(
            path, module, config=module.config, kind="a2v" if stage.startswith("a2v") else stage, provenance=facts
        )
        identities.add(DawnGenerator.load(tmp_path / stage).identity)
        assert len(identities) == number
    training = [m.training for m in (talker.lfg, talker.a2v, talker.pbnet, talker.coarse)]  # type: ignore[union-attr]
    assert training == [False] * 4


@pytest.mark.parametrize("stage", ["pbnet", "a2v-ttr"])
@pytest.mark.parametrize(
    ("unlike", "message"),
    [
        ({"audio_encoder": "hubert"}, "on logmel features and its .* on hubert"),
        ({"extractors": {"pose": {"name": "pose-mine"}}}, "head pose"),
        ({"extractors": {"blink": {"name": "blink-mine"}}}, "blinks"),
    ],
)
def test_stages_of_unlike_data_are_refused(
    stage: str, unlike: dict[str, Any], message: str, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    kind = "pbnet" if stage == "pbnet" else "a2v"
    for name in ("a2v-2", stage):
        path = tmp_path / "run" / name / "model.safetensors"
        module, facts = load_checkpoint(path, "pbnet" if name == "pbnet" else "a2v")
        own = {"extractors": {"pose": {"name": "pose"}, "blink": {"name": "blink"}}}
        save_checkpoint(
            path, module, config=module.config, kind=kind if name == stage else "a2v",
            provenance=facts | own | (unlike if name == stage else {}),
        )  # fmt: skip
    with pytest.raises(InputError, match=message):
        DawnGenerator.load(tmp_path / "run")


def test_each_published_file_becomes_the_network_that_it_is_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pose before blinks; every file changes the identity."""
    spies = Spies(monkeypatch)
    monkeypatch.setattr(ReleasedFiles, "check", lambda self: None)
    for name in ("load_published_lfg", "load_published_a2v", "load_published_pbnet"):
        spies.watch(released, name, returns=lambda path, *_: path.name)
    spies.watch(released, "SeparatePBNets", returns=lambda pose, blink: (pose, blink))
    spies.watch(released, "DawnGenerator", returns=lambda *given, **more: (given, more))

    def loaded(changed: str = "", *, both: bool = False) -> Any:
        names = ("lfg", "a2v", "both") if both else ("lfg", "a2v", "pose", "blink")
        for name in names:
            (tmp_path / name).write_text(f"{name} {name == changed}")
        lfg, a2v, *pbnet = (tmp_path / name for name in names)
        return released.load_released(ReleasedFiles(256, lfg, a2v, tuple(pbnet)), device="meta")

    networks, more = loaded()
    assert networks == ("lfg", "a2v", ("pose", "blink")) and more["device"] == "meta"
    assert more["facts"]["lfg"] == {"size": 256} and more["facts"]["a2v"]["published"]
    assert more["facts"]["a2v"]["audio_encoder"] == "hubert"
    assert loaded(both=True)[0] == ("lfg", "a2v", "both")
    identities = {loaded(name)[1]["identity"] for name in ("", "lfg", "a2v", "pose", "blink")}
    assert len(identities) == 5


def test_the_stage_and_the_run_of_a_method_are_loaded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spies = Spies(monkeypatch)
    spies.watch(dawn_method, "load_generator", returns=lambda *_, **__: "generator")
    for name in [name for name in METHODS if name.startswith("dawn")]:
        spies.calls.clear()
        method: Any = METHODS[name](Context(run, options={"stage": "a2v-1", "steps": 3}))
        assert spies.one("load_generator") == {"checkpoint": run, "device": "cpu", "stage": "a2v-1"}
        assert method.generator == "generator" and method.options.steps == 3
        assert method.name == name and method.drive == ("truth" if name == "dawn-true-pose" else "pbnet")


@pytest.mark.parametrize(
    ("name", "encoder"), [("hubert.ckpt", "hubert"), ("x_Wav2Vec2.ckpt", "wav2vec2"), ("a.ckpt", "hubert")]
)
def test_a_released_speaker_has_the_encoder_of_its_name(
    name: str, encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spies = Spies(monkeypatch)
    spies.watch(diffspeaker, "load_released", returns=lambda path, *, encoder: torch.nn.Linear(1, 1))
    generator = diffspeaker.load_generator(tmp_path / name, device="meta")
    call = spies.one("load_released")
    assert (call["path"], call["encoder"], generator.device) == (tmp_path / name, encoder, "meta")
    assert next(generator.model.parameters()).device.type == "meta"
