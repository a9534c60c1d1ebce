"""The identity of loaded models, which outputs are kept by: it changes with the content of each file and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from dawn_bench.errors import InputError
from dawn_bench.models.dawn import generator as dawn
from dawn_bench.models.dawn import released
from dawn_bench.models.dit_head import generator as dit_head
from dawn_bench.models.spec import MODELS

#: The files of a run by model, those that it may lack last.
RUNS = {
    "dawn": (
        dawn.DawnGenerator,
        ["lfg/model.safetensors", "a2v-2/model.safetensors", "pbnet/model.safetensors", dawn.COARSE_FILE],
    ),
    "dit-head": (dit_head.DitHeadGenerator, [f"{stage}/model.safetensors" for stage in dit_head.RUN_FILES]),
}


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """Files of any content are checkpoints; records which file is read as which kind."""
    read: list[tuple[str, str]] = []

    def load(path: Path, kind: str) -> tuple[Any, dict[str, Any]]:
        read.append((path.parent.name, kind))
        return MagicMock(), {"size": 32, "audio_encoder": "logmel", "stage": path.parent.name}

    for module in (dawn, dit_head):
        monkeypatch.setattr(module, "load_checkpoint", load)
    for name in ("load_published_lfg", "load_published_a2v", "load_published_pbnet"):
        monkeypatch.setattr(released, name, MagicMock())
    monkeypatch.setattr(released, "SeparatePBNets", MagicMock())
    monkeypatch.setattr(released, "check_kind", lambda *_: None)
    yield read


def write(folder: Path, names: list[str], content: Callable[[str], str] = str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content(name))
    return folder


def test_every_model_whose_generator_has_an_identity_is_walked_here() -> None:
    """DiffSpeaker's method hashes its one file itself (`test_output_keys.py`)."""
    ours = {name for name in MODELS if MODELS[name].load.place.startswith("dawn_bench.")}  # type: ignore[attr-defined]
    assert ours - {"diffspeaker"} == RUNS.keys(), f"say in {Path(__file__).name}, RUNS, what files a run of it has"


@pytest.mark.parametrize("model", RUNS)
def test_each_file_of_a_run_is_in_its_identity_by_content(
    model: str, tmp_path: Path, networks: list[tuple[str, str]]
) -> None:
    kind, names = RUNS[model]
    run = write(tmp_path / "run", names)
    first = kind.load(run).identity
    seen = {first}
    assert first and len(networks) == len(names)
    for name in names:
        (run / name).write_text("trained anew")
        seen.add(kind.load(run).identity)
        (run / name).write_text(name)
    assert len(seen) == len(names) + 1
    one, two = names[:2]
    (run / one).write_text(two)
    (run / two).write_text(one)
    assert kind.load(run).identity not in seen  # the same contents in each other's place
    write(run, [*names, "a2v-1/model.safetensors", "notes.txt", "lfg/state.pt"])
    assert kind.load(run).identity == first == kind.load(run, device="meta").identity
    assert kind.load(write(tmp_path / "elsewhere", names)).identity == first


def test_dawn_takes_each_file_as_its_kind_and_the_stage_that_is_asked_for(
    tmp_path: Path, networks: list[tuple[str, str]]
) -> None:
    run = write(tmp_path / "run", [*RUNS["dawn"][1], "a2v-1/model.safetensors"])
    whole = dawn.DawnGenerator.load(run)
    assert networks == [("lfg", "lfg"), ("a2v-2", "a2v"), ("pbnet", "pbnet"), ("a2v-ttr", "a2v")]
    one = dawn.DawnGenerator.load(run, stage="a2v-1")
    assert networks[5] == ("a2v-1", "a2v") and one.identity != whole.identity
    (run / dawn.COARSE_FILE).unlink()
    assert dawn.DawnGenerator.load(run).identity not in (whole.identity, one.identity)
    (run / "a2v-2" / "model.safetensors").unlink()
    assert dawn.DawnGenerator.load(run).provenance["stage"] == "a2v-1"
    (run / "pbnet" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="holds no trained pbnet"):
        dawn.DawnGenerator.load(run)


def test_a_model_without_pose_and_blinks_depends_on_no_pbnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = MagicMock(config=SimpleNamespace(driven=False))
    monkeypatch.setattr(dawn, "load_checkpoint", lambda path, kind: (network, {"audio_encoder": "logmel"}))
    run = write(tmp_path / "run", RUNS["dawn"][1][:3])
    before = dawn.DawnGenerator.load(run)
    (run / "pbnet" / "model.safetensors").write_text("trained anew")
    assert dawn.DawnGenerator.load(run).identity == before.identity and before.pbnet is None


@pytest.mark.parametrize("pbnet", [("both",), ("pose", "blink")])
def test_each_released_file_is_in_the_identity_by_content(pbnet: tuple[str, ...], tmp_path: Path) -> None:
    names = ["lfg", "a2v", *pbnet]
    write(tmp_path, names)

    def identity() -> str:
        motion = tuple(tmp_path / name for name in pbnet)
        files = released.ReleasedFiles(128, tmp_path / "lfg", tmp_path / "a2v", motion)
        return released.load_released(files).identity

    seen = {identity()}
    for name in names:
        (tmp_path / name).write_text("others")
        seen.add(identity())
        (tmp_path / name).write_text(name)
    assert len(seen) == len(names) + 1 and identity() in seen
