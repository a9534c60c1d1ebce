"""What outputs depend on: every field of a clip, every argument and option of every method, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from walking import another, check_classified, leaves, with_leaf

from dawn_bench.baselines import reframe
from dawn_bench.baselines.base import METHODS, Context, Generated, Item, Method, modalities_of
from dawn_bench.baselines.external.adapter import bundled
from dawn_bench.baselines.methods import dawn, diffspeaker, dit_head
from dawn_bench.baselines.outputs import clip_inputs, output_key, produce, read_items, shared_inputs
from dawn_bench.baselines.reframe import Reframed
from dawn_bench.clip import Clip
from dawn_bench.extractor_record import Extracted
from dawn_bench.models.dawn import strategies
from dawn_bench.models.diffspeaker.config import DiffSpeakerConfig
from dawn_bench.models.dit_head.dubbing import DubOptions
from dawn_bench.workflow.pieces import cut_piece

HERE = Path(__file__).name
RNG = np.random.default_rng(5)


def clip(name: str = "a", *, modality: str = "video", speaker: str = "s", **more: Any) -> Clip:
    """A clip with every field that any method reads."""
    rng = np.random.default_rng(sum(map(ord, name)))
    shapes: dict[str, tuple[int, ...]] = {"pose": (4, 7), "blink": (4, 2), "landmarks": (4, 68, 2), "bbox": (4, 4)}
    shapes |= {"logmel": (4, 80), "hubert": (4, 3)}
    arrays: dict[str, np.ndarray] = {k: rng.uniform(1, 30, shape).astype(np.float32) for k, shape in shapes.items()}
    arrays["audio"] = rng.integers(-99, 99, 4 * 640).astype(np.int16)
    if modality == "mesh":
        arrays |= {
            "vertices": rng.normal(size=(4, 5, 3)).astype(np.float32),
            "template": np.ones((1, 5, 3), np.float32),
        }
    else:
        arrays["frames"] = rng.integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    meta = {f"{field}_sha256": f"{field} of {name}" for field in ("frames", "audio", "vertices")}
    return Clip(name, speaker, "test", 4, arrays, meta=meta, **more)


# --- the key ---------------------------------------------------------------------------------------------------------

#: Fields of `Clip`: in the key, beside the key as an input, and in neither.
IN_KEY = {"id", "n_frames", "meta"}
AS_INPUT = {"arrays"}
IN_NEITHER = {"speaker", "split", "fps", "notes", "extractors"}
#: Facts of `Clip.meta` that are in the key.
CONTENT = {"video": ("frames_sha256", "audio_sha256"), "mesh": ("vertices_sha256", "audio_sha256")}
OTHER_VALUES = {"id": "b", "n_frames": 5, "speaker": "t", "split": "val", "fps": 30, "notes": ("cut",)}


def plain(**more: Any) -> Any:
    return SimpleNamespace(**{"name": "m", "fingerprint": "1", "uses": ("truth",), **more})


@pytest.mark.parametrize("modality", ["video", "mesh"])
def test_each_field_of_a_clip_is_in_the_key_or_has_a_reason_not_to_be(modality: str) -> None:
    check_classified([f.name for f in fields(Clip)], f"{HERE}, IN_KEY", IN_KEY, AS_INPUT, IN_NEITHER)
    one = clip(modality=modality)
    key = output_key(plain(), one, [one], seed=0)
    changed = {name: replace(one, **{name: value}) for name, value in OTHER_VALUES.items()}
    changed["extractors"] = replace(one, extractors={"pose": Extracted("pose", "1")})
    assert changed.keys() == (IN_KEY | IN_NEITHER) - {"meta"}
    for name, other in changed.items():
        assert (output_key(plain(), other, [other], seed=0) != key) == (name in IN_KEY), name
    for fact in {*one.meta, "source_sha256", "notes"}:
        other = replace(one, meta={**one.meta, fact: "of another"})
        assert (output_key(plain(), other, [other], seed=0) != key) == (fact in CONTENT[modality]), fact


def test_the_key_has_method_seed_modality_source_and_the_set_of_a_method_that_mixes_clips() -> None:
    one, two = clip("a"), clip("b")
    keys = [
        output_key(plain(), one, [one], seed=0),
        output_key(plain(fingerprint="2"), one, [one], seed=0),
        output_key(plain(), one, [one], seed=1),
        output_key(plain(), one, [one], seed=0, source="x"),
        output_key(plain(), one, [one], seed=0, source="y"),
        output_key(plain(uses=("others",)), one, [one], seed=0),
        output_key(plain(uses=("others",)), one, [one, two], seed=0),
        output_key(plain(), clip("a", modality="mesh"), [one], seed=0),
    ]
    assert len(set(keys)) == len(keys)
    assert output_key(plain(name="n"), one, [one], seed=0) == output_key(plain(), one, [one, two], seed=0) == keys[0]
    assert output_key(plain(uses=("others",)), one, [two, one], seed=0) != keys[6]  # the next clip is another one


def test_a_piece_has_a_key_of_its_place_its_length_and_the_clips_content() -> None:
    whole = clip()
    other = replace(whole, meta={**whole.meta, "audio_sha256": "z"})
    pieces = [cut_piece(whole, 0, 2), cut_piece(whole, 1, 3), cut_piece(whole, 0, 3), cut_piece(other, 0, 2)]
    contents = [piece.meta["audio_sha256"] for piece in pieces]
    assert len(set(contents)) == 4 and len({piece.meta["frames_sha256"] for piece in pieces}) == 3
    assert len({output_key(plain(), piece, pieces, seed=0) for piece in (*pieces, whole)}) == 5
    assert [piece.meta["piece_start"] for piece in pieces] == [0, 1, 0, 0]
    assert "pose_sha256" not in cut_piece(replace(whole, meta={**whole.meta, "pose_sha256": "p"}), 0, 2).meta


def test_the_seed_of_an_item_is_of_the_run_and_the_clip_alone() -> None:
    items = [Item(clip(name), [], seed) for name in ("a", "b") for seed in (0, 1, 2**62)]
    seeds = [item.own_seed for item in items]
    assert len(set(seeds)) == 6 and all(0 <= seed < 2**63 for seed in seeds)
    assert Item(clip("a"), [clip("b")], 1).own_seed == seeds[1] == 1_000_003 + 3_904_355_907  # that of earlier versions


# --- inputs beside the key -------------------------------------------------------------------------------------------


class Counting:
    """A method that reads more than frames and sound, and counts what it generates."""

    name, method_class, licence, fingerprint = "counting", "portrait", "of the tests", "1"

    def __init__(self, *, uses: tuple[str, ...] = ("source", "audio"), **further: str) -> None:
        self.reads, self.uses, self.further_inputs = ("pose", "hubert"), uses, further
        self.generated: list[str] = []

    def generate(self, item: Item) -> Generated:
        self.generated.append(item.clip.id)
        return Generated(item.clip["frames"], item.clip["audio"])


def changed_field(one: Clip, field: str) -> Clip:
    array = one[field].copy()
    array.reshape(-1)[-1] += 1
    return replace(one, arrays={**one.arrays, field: array})


def test_an_output_is_generated_again_when_what_its_method_reads_has_changed(tmp_path: Path) -> None:
    clips = [clip("a"), clip("b")]

    def again(*changed: Clip, **further: str) -> list[str]:
        method = Counting(**further)
        produce(method, [{c.id: c for c in changed}.get(c.id, c) for c in clips], tmp_path, seed=0)
        return method.generated

    assert again(weights="1") == ["a", "b"] and again(weights="1") == []
    for field in clips[0].arrays:
        here = clips[0] if field in ("frames", "audio") else changed_field(clips[0], field)
        expected = ["a"] if field in ("pose", "hubert") else []
        assert again(here, weights="1") == expected, field
        assert again(here, weights="1") == []
        assert again(weights="1") == expected, field  # the last record of a clip counts
    assert again(weights="2") == ["a", "b"]
    without = replace(clips[1], arrays={k: v for k, v in clips[1].arrays.items() if k != "hubert"})
    assert again(without, weights="2") == []  # nothing is known to have changed
    assert read_items(tmp_path / "counting")["a"].inputs.keys() == {"pose", "hubert", "weights"}


def test_outputs_of_versions_that_recorded_no_inputs_are_kept(tmp_path: Path) -> None:
    one, method = clip("a"), Counting()
    produce(method, [one], tmp_path, seed=0)
    items = tmp_path / "counting" / "items.jsonl"
    recorded = items.read_text()
    items.write_text(recorded[: recorded.index(', "inputs"')] + "}\n")
    produce(method, [changed_field(one, "pose")], tmp_path, seed=0)
    assert method.generated == ["a"]


def test_a_method_that_mixes_clips_depends_on_the_content_of_the_others(tmp_path: Path) -> None:
    clips = [clip("a"), clip("b"), clip("c")]
    sound = replace(clips[2], meta={**clips[2].meta, "audio_sha256": "another"})
    for uses, expected in ((("source", "audio"), ["c"]), (("source", "audio", "others"), ["a", "b", "c"])):
        produce(Counting(uses=uses), clips, tmp_path / uses[-1], seed=0)
        method = Counting(uses=uses)
        produce(method, [*clips[:2], sound], tmp_path / uses[-1], seed=0)
        assert method.generated == expected
    mixing = Counting(uses=("others",))
    assert shared_inputs(mixing, clips) != shared_inputs(mixing, [*clips[:2], changed_field(clips[2], "pose")])


# --- every method ----------------------------------------------------------------------------------------------------


class Recording(Mapping[str, np.ndarray]):
    """Arrays that record which of them are read."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays, self.read = arrays, set[str]()

    def __getitem__(self, name: str) -> np.ndarray:
        value = self.arrays[name]
        self.read.add(name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for trained networks: the methods are real, and `identity` is that of the checkpoint's name."""

    def generator(checkpoint: Path, *, device: str = "cpu", stage: str | None = None) -> Any:
        network = SimpleNamespace(config=SimpleNamespace(audio_dim=3))
        facts = {"size": 32, "audio_encoder": "hubert", "extractors": {}, "published": False}
        identity = f"{checkpoint} {stage or ''}"
        return SimpleNamespace(a2v=network, dit=network, dub=shown, identity=identity, **facts)

    def shown(*_: Any, **__: Any) -> np.ndarray:
        return np.zeros((4, 32, 32, 3), np.uint8)

    def speaker(*_: Any, encoder: str = "") -> Any:
        config = DiffSpeakerConfig(vertices=5, fps=25, subjects=("s", "t"))
        config = with_leaf(config, "audio.encoder", encoder) if encoder else config
        model = SimpleNamespace(config=config, generate=lambda *_, **__: torch.zeros(1, 4, 15))
        model.to = lambda device: model
        return model

    backend = SimpleNamespace(name="dlib", fingerprint=lambda: "1")
    monkeypatch.setattr(dawn, "face_backend", lambda *_: (backend, []))
    monkeypatch.setattr(dawn, "load_generator", generator)
    monkeypatch.setattr(dit_head.DitHeadGenerator, "load", generator)
    monkeypatch.setattr(diffspeaker, "load_checkpoint", lambda *_: (speaker(), {}))
    monkeypatch.setattr(diffspeaker, "load_released", speaker)
    monkeypatch.setattr(
        dawn, "STRATEGIES", {name: (shown, options) for name, (_, options) in strategies.STRATEGIES.items()}
    )


#: The registered methods by what builds them. A method that is in none must say here what its outputs depend on.
SANITY = {"ground-truth", "ground-truth-reencoded", "still", "shuffled-sound"}
DAWN = {"dawn": "nar", "dawn-shuffled": "nar", "dawn-true-pose": "nar", "dawn-sar": "sar", "dawn-ttr": "ttr"}
DIT_HEAD = {"dit-head", "dit-head-portrait", "dit-head-shuffled"}
MESH = {"diffspeaker"}
#: Methods from a checkpoint; those of `bundled()` have `test_external_keys.py`.
TRAINED = [*DAWN, *sorted(DIT_HEAD), *sorted(MESH)]


def built(name: str, checkpoint: Path, **context: Any) -> Any:
    modality = context.pop("modality", "mesh" if name in MESH else "video")
    return METHODS[name](Context(checkpoint, modality=modality, **context))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A released file, whose content is of no matter to the stand-ins."""
    path = tmp_path / "released.ckpt"
    path.write_bytes(b"weights")
    return path


def options_of(name: str) -> list[tuple[str, Any]]:
    """Every option of a method's command line with a value that is not its default."""
    kind = strategies.STRATEGIES[DAWN[name]][1] if name in DAWN else DubOptions if name in DIT_HEAD else None
    kind = kind or diffspeaker.DiffSpeakerMethodOptions
    special = {"style": "t", "pass_seconds": 9.0, "sampler": "textbook", "guidance": 2.0, "cond_scale": 2.0}
    return [(field, special.get(field, another(value, note))) for field, value, note in leaves(kind())]


def test_every_method_is_walked_here() -> None:
    known = (SANITY, DAWN, DIT_HEAD, MESH, set(bundled()))
    check_classified([n for n in METHODS if METHODS[n].__module__.startswith("dawn_bench.")], f"{HERE}, SANITY", *known)


@pytest.mark.parametrize("name", TRAINED)
def test_each_option_and_the_checkpoint_change_a_methods_fingerprint(name: str, checkpoint: Path) -> None:
    plain_one = built(name, checkpoint)
    fingerprints = {"": plain_one.fingerprint}
    for option, value in options_of(name):
        fingerprints[option] = built(name, checkpoint, options={option: value}).fingerprint
    if name in DAWN:
        fingerprints["stage"] = built(name, checkpoint, options={"stage": "a2v-1"}).fingerprint
        if name != "dawn-true-pose":
            fingerprints["drive"] = built(name, checkpoint, options={"drive": "truth"}).fingerprint
    other = checkpoint.with_name("other.ckpt")
    other.write_bytes(b"other weights")
    fingerprints["checkpoint"] = built(name, other).fingerprint
    assert len(set(fingerprints.values())) == len(fingerprints), fingerprints
    same = {"device": "meta", "seed": 3, "logs": Path("x"), "installs": Path("y")}
    check_classified([f.name for f in fields(Context)], f"{HERE}, same", same, {"checkpoint", "options", "modality"})
    for field, value in same.items():
        assert built(name, checkpoint, **{field: value}).fingerprint == plain_one.fingerprint, field


def test_a_trained_mesh_model_is_known_by_its_file_and_an_option_at_its_own_value_changes_nothing(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run" / "diffspeaker" / "model.safetensors"
    run.parent.mkdir(parents=True)
    seen = set()
    for data in (b"1", b"2"):
        run.write_bytes(data)
        seen.add(built("diffspeaker", tmp_path / "run").fingerprint)
    assert len(seen) == 2
    steps = DiffSpeakerConfig().steps
    assert built("diffspeaker", tmp_path / "run", options={"steps": steps}).fingerprint in seen


def test_no_two_methods_share_a_fingerprint(checkpoint: Path) -> None:
    names = [*SANITY, *DAWN, *DIT_HEAD, *MESH]
    fingerprints = {
        (n, m): built(n, checkpoint, modality=m).fingerprint for n in names for m in modalities_of(METHODS[n])
    }
    assert len(set(fingerprints.values())) == len(fingerprints)
    for name in SANITY:
        settings = {"device": "meta", "seed": 4, "options": {"steps": 3}}
        assert built(name, checkpoint, **settings).fingerprint == fingerprints[name, "video"]


def test_the_back_end_that_finds_sar_source_faces_is_in_its_fingerprint_alone(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprints() -> dict[str, str]:
        return {name: built(name, checkpoint).fingerprint for name in DAWN}

    backend = SimpleNamespace(name="dlib", fingerprint=lambda: "1")
    monkeypatch.setattr(dawn, "face_backend", lambda *_: (backend, []))
    before, backend.fingerprint = fingerprints(), lambda: "2"
    assert {name for name, value in fingerprints().items() if value != before[name]} == {"dawn-sar"}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("dawn", "3442deba520a3a96"),
        ("dawn-true-pose", "3a3b125298eda108"),
        ("dawn-shuffled", "4a79ab6570c3f7c6"),
        ("dawn-ttr", "36558e9629a807d3"),
        ("dit-head", "f5e478ed77368522"),
        ("diffspeaker", "89fc6fddf567bf89"),
    ],
)
def test_fingerprints_are_those_of_earlier_versions(name: str, key: str, checkpoint: Path) -> None:
    """Outputs that took hours are not generated again."""
    assert built(name, checkpoint).fingerprint.rpartition("/")[2] == key


@pytest.mark.parametrize("name", [*sorted(SANITY), *TRAINED])
@pytest.mark.parametrize("modality", ["video", "mesh"])
def test_a_method_reads_no_field_that_is_neither_in_the_key_nor_stated(
    name: str, modality: str, checkpoint: Path
) -> None:
    """Observed: which fields of the clip, and of the next one, does it read while it generates?"""
    if modality not in modalities_of(METHODS[name]):
        return
    ours, others = Recording(clip("a", modality=modality).arrays), Recording(clip("b", modality=modality).arrays)
    one, two = (replace(clip(i, modality=modality), arrays=arrays) for i, arrays in (("a", ours), ("b", others)))
    method: Method = built(name, checkpoint, modality=modality)
    method.generate(Item(one, [one, two], 0))
    in_key = {"frames", "audio"} if modality == "video" else {"vertices", "audio"}
    stated = set(getattr(method, "reads", ()))
    assert ours.read <= in_key | stated, f"{name}: state in `reads` that it reads {ours.read - in_key - stated}"
    assert others.read <= in_key | stated and (not others.read or "others" in method.uses)
    assert clip_inputs(method, one).keys() == stated
    if "truth" not in method.uses and "pose" not in method.uses:
        assert "vertices" not in ours.read


def test_an_aligned_output_depends_on_its_files_the_true_points_and_where_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = SimpleNamespace(fingerprint=lambda: "dlib-9")
    monkeypatch.setattr(reframe, "pick_backend", lambda: backend)

    def aligned(key: str = "1", **starts: int) -> Reframed:
        return Reframed("mine", "portrait", {"a": tmp_path / "a.mp4"}, key, starts=starts)

    assert aligned().fingerprint == aligned(a=25).fingerprint != aligned("2").fingerprint
    before, backend.fingerprint = aligned().fingerprint, lambda: "dlib-10"
    assert aligned().fingerprint != before
    inputs = [shared_inputs(method, []) for method in (aligned(), aligned(a=25), aligned(a=50))]
    assert inputs[0] != inputs[1] != inputs[2] != inputs[0]
    assert clip_inputs(aligned(), clip()).keys() == {"landmarks"}
