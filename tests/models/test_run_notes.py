"""What is said of a run: of which stage, with its own numbers, each sentence once; and which stage a name is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dawn_bench import weights
from dawn_bench.models import notes, substitutes
from dawn_bench.models.notes import SUBSTITUTES_KEY, VALIDATION, training_notes, validation_notes
from dawn_bench.models.perceptual import PixelLoss
from dawn_bench.models.spec import MODELS, stage_key
from dawn_bench.models.substitutes import audio_substitute, loss_needs, picture_substitute, refusal_hint
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.training.holdout import Holdout
from dawn_bench.training.logger import BEST_NOTE
from dawn_bench.training.loop import MODEL_FILE
from dawn_bench.weights import Resolved


def run_of(root: Path, monkeypatch: pytest.MonkeyPatch, **stages: dict[str, Any]) -> Path:
    """A run folder with these stages, and their provenance."""
    by_stage = {stage_key(name): facts for name, facts in stages.items()}
    for name in stages:
        (root / name).mkdir()
        (root / name / MODEL_FILE).touch()
    monkeypatch.setattr(notes, "_provenance", lambda path: by_stage[stage_key(path.parent.name)])
    return root


def test_the_notes_on_a_run_are_of_its_own_stages_with_their_own_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder has a stage of another model too; two stages share a sentence."""
    shared = "T uses logmel features."
    run = run_of(
        tmp_path, monkeypatch,
        lfg={"preset": "p1", "clips": 71, "perceptual_loss": PixelLoss.identity, SUBSTITUTES_KEY: [shared],
             "ours": {"rate": 2, "loop": {"steps": 3, "decay": {"last": 4}}}},
        a2v={"preset": "p2", "clips": 1, "perceptual_loss": "vgg19:user:abc", SUBSTITUTES_KEY: ["mine", shared]},
        dit={"preset": "p3", "clips": 73, "perceptual_loss": PixelLoss.identity, SUBSTITUTES_KEY: ["of another"]},
        pbnet={"preset": "p4", "clips": 74, SUBSTITUTES_KEY: "of an earlier version"},
    )  # fmt: skip
    stages = ("lfg", "a2v", "pbnet")
    said = training_notes(run, title="T", main="a2v", stages=stages, more=lambda name, p: [f"{name} of {p['preset']}"])
    assert said == [
        "T trained with preset p2 on 1 clip.",
        "Stage a2v: its VGG-19 is not the published file.", "a2v of p2", "mine", shared,
        f"Stage lfg was trained without VGG-19's weights, on a {PixelLoss.identity}.", "lfg of p1",
        "Stage lfg, choices that are ours and not the paper's: rate=2, loop.steps=3, loop.decay.last=4.",
        "pbnet of p4",
    ]  # fmt: skip
    assert training_notes(run, title="T", main="lfg", stages=())[0] == "T trained with preset p1 on 71 clips."
    assert training_notes(run, title="T", main="none", stages=()) == []


def test_how_the_best_checkpoints_were_chosen_is_said_once_for_the_stages_of_each_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, few = Holdout(clips=("c1", "c2"), speakers=("s",)), Holdout(split="train")
    run = run_of(
        tmp_path, monkeypatch, a={VALIDATION: held.facts()}, b={VALIDATION: few.facts()}, c={VALIDATION: held.facts()},
        d={VALIDATION: Holdout().facts()}, e={}, f={VALIDATION: few.facts()},
    )  # fmt: skip
    for name in "abcde":  # f was never validated
        (run / name / BEST_NOTE).write_text('{"split": "test"}' if name in "ae" else '{"split": "val"}')
    monkeypatch.setattr(notes, "read_best", lambda path: {"split": "test"} if path.parent.name in "ae" else {})
    assert validation_notes(run) == [
        f"Stages a, c: {held.sentence()}.",
        f"Stage b: {few.sentence()}.",
        f"Stage e: {Holdout(split='test').sentence()}.",  # of an earlier version: its best.json tells
    ]


@pytest.mark.parametrize("name", list(MODELS))
def test_every_stage_is_found_by_its_name_and_by_that_of_its_settings(name: str) -> None:
    spec = MODELS[name]
    for stage in spec.stages:
        for written in (stage, stage_key(stage)):
            assert spec.stage_name(written) == stage and spec.stage(written) is spec.stages[stage]
    assert spec.stage_name("another") == "another"


@pytest.mark.parametrize("name", list(MODELS))
def test_a_damaged_checkpoint_is_of_the_model_that_has_its_stage(name: str, tmp_path: Path) -> None:
    for stage in MODELS[name].stages:
        path = tmp_path / stage / MODEL_FILE
        path.parent.mkdir()
        path.write_bytes(b"cut")
        of = {other for other in MODELS if stage in MODELS[other].stages}
        assert {other for other in MODELS if MODELS[other].recognises(tmp_path)} >= of and name in of
        path.unlink()
    path.parent.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / MODEL_FILE).write_bytes(b"cut")
    assert not any(MODELS[other].recognises(tmp_path) for other in MODELS)


def test_another_encoder_than_the_papers_is_a_substitute_that_needs_the_papers_files() -> None:
    for paper in (n for n in EXTRACTORS if EXTRACTORS[n].weights):
        (own,) = audio_substitute("T", "logmel", 80, paper=paper, name="Theirs")
        assert own.refused and own.extract == paper and own.needs == EXTRACTORS[paper].weights
        assert own.announcement == "T trains on logmel features (80 values a frame) instead of the paper's Theirs."
        assert own.report_note == "T uses logmel features instead of the paper's Theirs."
        assert audio_substitute("T", paper, 80, paper=paper, name="Theirs") == []
        hint = refusal_hint([own, own])
        assert hint.count(f"--extract {paper}") == 1 and hint.endswith("--set substitutes=allow")


@pytest.mark.parametrize("policy", ["auto", "seeded"])
@pytest.mark.parametrize("state", ["seeded", "user", "canonical"])
def test_a_perceptual_loss_is_a_substitute_by_the_state_of_its_network(
    policy: Any, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for by name is noted, and not refused; another file than the published one is noted."""
    path = None if state == "seeded" else Path("vgg19.pth")
    asked = []

    def resolve(name: str, chosen: str) -> Resolved:
        asked.append((name, chosen))
        return Resolved(weights.entry("vgg19"), state, path, "abc")  # type: ignore[arg-type]

    monkeypatch.setattr(substitutes.weights, "resolve", resolve)
    stated = picture_substitute("lfg", policy)
    assert asked == [("vgg19", policy)] and bool(stated) == (state != "canonical")
    for one in stated:
        assert one.refused == (state == "seeded" and policy != "seeded")
        assert one.needs == ((("vgg19",),) if state == "seeded" else ()) and "Stage lfg" in one.report_note


@pytest.mark.parametrize(
    ("policies", "allowed", "needed"),
    [
        (("auto",), "allow", False), (("auto",), "refuse", True), (("files",), "allow", True),
        (("seeded",), "refuse", False), (("seeded", "files"), "allow", True), (("seeded", "auto"), "refuse", True),
        ((), "refuse", False),
    ],
)  # fmt: skip
def test_vgg_is_needed_where_its_file_is_demanded_or_nothing_may_take_its_place(
    policies: Any, allowed: Any, needed: bool
) -> None:
    assert loss_needs(policies, substitutes=allowed) == ((("vgg19",),) if needed else ())
