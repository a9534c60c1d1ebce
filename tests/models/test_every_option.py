"""Every argument and option of every model's generator has an effect: the value arrives where it acts.

Generated over the registered models and the fields of their options. A new model, argument or option fails here until
`PLACES` says where its value arrives.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marked import marked_clip, marked_mesh
from spies import Spies
from untrained import dawn_run, diffspeaker_run, dit_head_run

from dawn_bench.baselines.base import METHODS, Context, Item
from dawn_bench.baselines.methods import diffspeaker as diffspeaker_method
from dawn_bench.clip import FPS
from dawn_bench.errors import InputError
from dawn_bench.models.dawn import generator as dawn
from dawn_bench.models.diffspeaker import generator as diffspeaker
from dawn_bench.models.diffspeaker import model as diffspeaker_model
from dawn_bench.models.dit_head import dubbing
from dawn_bench.models.dit_head import generator as dit_head
from dawn_bench.models.generator import Generator, TalkingClip
from dawn_bench.models.inputs import Portrait
from dawn_bench.models.spec import MODELS

CLIP, N = marked_clip(1, 11), 11
SOUND, FEATURES = np.asarray(CLIP["audio"]), np.asarray(CLIP["logmel"], np.float32)
PORTRAIT = Portrait(CLIP["frames"][0], CLIP["pose"][0], CLIP["blink"][0], CLIP["bbox"][0])
DRIVEN = {"drive": "d.mp4"}
#: (option) -> (its value, other options given with it, what of the calls must be equal to what).
Place = tuple[Any, Mapping[str, Any], Callable[[Spies], Any], Any]


def _of(label: str, name: str) -> Callable[[Spies], Any]:
    return lambda spies: spies.of(label)[0][name]


def _sampling(name: str) -> Callable[[Spies], Any]:
    return lambda spies: getattr(spies.one("stream")["options"], name)


def _persons(spies: Spies) -> tuple[Any, Any]:
    """Which face of the portrait, and of the driving video."""
    return _of("read_portrait", "person")(spies), _of("read_drive", "person")(spies)


_SPEECH = {
    "audio": ("b.wav", {}, _of("read_speech", "path"), Path("b.wav")),
    "max_seconds": (0.4, {}, _of("read_speech", "max_seconds"), 0.4),
    "audio_track": (2, {}, _of("read_speech", "track"), 2),
    "face": ("s3fd", {}, _of("face_backend", "requested"), "s3fd"),
}
PLACES: dict[str, dict[str, Place]] = {
    "dawn": {
        **_SPEECH,
        "image": ("b.png", {}, _of("read_portrait", "path"), Path("b.png")),
        "seed": (7, {}, _of("scene", "seed"), 7),
        "steps": (3, {}, _sampling("steps"), 3),
        "eta": (0.5, {}, _sampling("eta"), 0.5),
        "cond_scale": (0.5, {}, _sampling("cond_scale"), 0.5),
        "solver": ("dpm2m", {}, _sampling("solver"), "dpm2m"),
        "window": (4, {}, _sampling("window"), 4),
        "precision": ("bf16", {}, _sampling("precision"), "bf16"),
        "compile": (True, {}, _sampling("compile"), True),
        "pass_seconds": (8.0, {}, _of("stream", "longest"), 200),
        "crop": ("paper", {}, _of("read_portrait", "crop"), "paper"),
        "drive": ("d.mp4", {}, _of("read_drive", "path"), Path("d.mp4")),
        "pose": ("p.npz", {}, _of("read_tracks", "path"), Path("p.npz")),
        "person": ("left", DRIVEN, _persons, ("left", "left")),
        "drive_person": ("2", {**DRIVEN, "person": "left"}, _persons, ("left", "2")),
    },
    "dit-head": {
        **_SPEECH,
        "image": ("b.png", {}, _of("read_face", "path"), Path("b.png")),
        "seed": (7, {}, _of("sample", "seed"), 7),
        "steps": (3, {}, _of("sample", "steps"), 3),
        "eta": (0.5, {}, _of("sample", "eta"), 0.5),
        "guidance": (0.5, {}, lambda s: s.one("lerp")["weight"], 0.5),
        "interpolation": ("blend", {}, lambda s: len(s.of("blend")), 1),
        "seam": (0.2, {}, _of("paste", "seam"), 0.2),
        "person": ("right", {}, _of("read_face", "person"), "right"),
    },
    "diffspeaker": {
        "audio": ("b.wav", {}, _of("read_sound", "path"), Path("b.wav")),
        "max_seconds": (0.4, {}, _of("read_sound", "max_seconds"), 0.4),
        "audio_track": (2, {}, _of("read_sound", "track"), 2),
        "face": ("s3fd", {}, lambda s: s.labels.count("face_backend"), 0),  # it detects none
        "image": ("b.npy", {}, _of("read_rest", "path"), Path("b.npy")),
        "seed": (7, {}, lambda s: s.one("generate")["generator"].initial_seed(), 7),
        "sampler": ("textbook", {}, _of("generate", "sampler"), "textbook"),
        "steps": (3, {}, _of("generate", "steps"), 3),
        "style": ("b", {}, lambda s: s.one("generate")["style_B"].tolist(), [1]),
        "size": (48, {}, _of("MeshRenderer", "size"), 48),
    },
}
#: Arguments whose absence is no other value at that place.
NO_OTHER_DEFAULT = {("diffspeaker", "face")}
ARGUMENTS = [name for name in inspect.signature(Generator.stream).parameters if name not in ("self", "options")]
CASES = [(model, name) for model in MODELS for name in (*ARGUMENTS, *MODELS[model].options.resolve().model_fields)]


@pytest.fixture(scope="module")
def generators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Generator]:
    root = tmp_path_factory.mktemp("runs")
    writers = {"dawn": dawn_run, "dit-head": dit_head_run, "diffspeaker": diffspeaker_run}
    return {name: MODELS[name].load(writer(root / name)) for name, writer in writers.items()}


@pytest.fixture
def spies(generators: dict[str, Generator], monkeypatch: pytest.MonkeyPatch) -> Spies:
    """Readers of files give the marked clip; networks of DAWN are not run."""
    spies = Spies(monkeypatch)
    backend = object()
    for module in (dawn, dit_head):
        spies.watch(module, "face_backend", returns=(backend, []))
        spies.watch(module, "read_speech", returns=(SOUND, FEATURES))
    spies.watch(dawn, "usable", returns=lambda record, field, **_: (f"{field}-mine", []))
    spies.watch(dawn, "read_portrait", returns=(PORTRAIT, True))
    for name in ("read_drive", "read_tracks"):
        spies.watch(dawn, name, returns=(CLIP["pose"] + 1, CLIP["blink"] + 2))
    spies.watch(dawn, "stream", returns=lambda *_, **__: iter([CLIP["frames"][:4], CLIP["frames"][4:]]))
    spies.watch(generators["dawn"], "scene")
    spies.watch(dit_head, "read_face", returns=(CLIP["frames"], CLIP["landmarks"]))
    for name in ("sample", "blend", "paste", "windows"):
        spies.watch(dubbing, name)
    monkeypatch.setattr(dubbing.torch, "lerp", _noted_lerp(spies))
    monkeypatch.setattr(diffspeaker, "_RENDERED", 4)
    spies.watch(diffspeaker, "read_rest", returns=(np.ones((5, 3), np.float32), None))
    spies.watch(diffspeaker, "read_sound", returns=SOUND)
    spies.watch(generators["diffspeaker"].model, "generate")  # type: ignore[attr-defined]
    spies.watch(diffspeaker, "MeshRenderer", returns=lambda *_, **k: _Drawing(k["size"]))
    return spies


def _noted_lerp(spies: Spies) -> Callable[..., torch.Tensor]:
    real = torch.lerp

    def lerp(start: torch.Tensor, end: torch.Tensor, weight: float) -> torch.Tensor:
        if not spies.of("lerp"):
            spies.calls.append(("lerp", {"start": start, "end": end, "weight": weight}))
        return real(start, end, weight)

    return lerp


class _Drawing:
    """In place of the renderer; keeps what it draws, which may be asked for in several parts."""

    last: _Drawing

    def __init__(self, size: int) -> None:
        self.size, self.drawn = size, list[np.ndarray]()
        _Drawing.last = self

    def frames(self, vertices: np.ndarray) -> list[np.ndarray]:
        before = sum(map(len, self.drawn))
        self.drawn.append(vertices)
        return [np.full((self.size, self.size, 3), 10 * (before + k), np.uint8) for k in range(len(vertices))]


def clip_of(generator: Generator, **given: Any) -> TalkingClip:
    return generator.stream(**{"image": "a.png", "audio": "a.wav", "steps": 2} | given).collect()


@pytest.mark.parametrize(("model", "name"), CASES, ids=[f"{model}-{name}" for model, name in CASES])
def test_the_value_arrives_where_it_acts(model: str, name: str, generators: dict[str, Generator], spies: Spies) -> None:
    assert name in PLACES.get(model, {}), f"Say in PLACES of this file where {name} of {model} arrives."
    value, beside, place, expected = PLACES[model][name]
    clip_of(generators[model], **dict(beside), **{name: value})
    assert place(spies) == expected
    spies.calls.clear()
    clip_of(generators[model], **({"image": "d.png"} if name == "image" else {}) | dict(beside) | ({"steps": 2}))
    try:
        without = place(spies)
    except (IndexError, ValueError):
        return  # not called at all
    assert without != expected or (model, name) in NO_OTHER_DEFAULT


@pytest.mark.parametrize("model", list(MODELS))
def test_the_clip_is_the_speech_and_as_long(model: str, generators: dict[str, Generator], spies: Spies) -> None:
    clip = clip_of(generators[model])
    np.testing.assert_array_equal(clip.audio, SOUND)
    assert (len(clip.frames), clip.fps) == (N, FPS)
    stream = generators[model].stream("a.png", "a.wav", steps=2)
    assert (stream.n_frames, stream.fps, stream.audio is SOUND) == (N, FPS, True)


def test_dawn_speaks_with_the_portrait_the_features_and_the_tracks(
    generators: dict[str, Generator], spies: Spies
) -> None:
    for given in ({}, {"drive": "d.mp4"}, {"pose": "p.npz"}):
        spies.calls.clear()
        clip = clip_of(generators["dawn"], **given)
        np.testing.assert_array_equal(clip.frames, CLIP["frames"])  # all segments in order
        scene = spies.one("scene")
        assert scene["source"] is PORTRAIT and scene["audio"] is FEATURES
        assert (scene["pose"] is not None) == (scene["blink"] is not None) == bool(given)
        if given:
            np.testing.assert_array_equal(scene["pose"], CLIP["pose"] + 1)
            np.testing.assert_array_equal(scene["blink"], CLIP["blink"] + 2)
    portrait = spies.one("read_portrait")
    assert portrait["size"] == 32 and portrait["backend"] is not None
    assert (portrait["pose"], portrait["blink"], portrait["crop"]) == ("pose-mine", "blink-mine", "face")
    assert spies.one("read_speech")["encoder"] == "logmel"
    spies.calls.clear()
    clip_of(generators["dawn"], drive="d.mp4")
    drive = spies.one("read_drive")
    assert (drive["size"], drive["n_frames"], drive["pose"], drive["blink"]) == (32, N, "pose-mine", "blink-mine")
    assert drive["backend"] is spies.one("read_portrait")["backend"]
    spies.calls.clear()
    clip_of(generators["dawn"], pose="p.npz")
    assert spies.one("read_tracks")["n_frames"] == N


def test_two_sources_of_the_head_motion_are_refused(generators: dict[str, Generator], spies: Spies) -> None:
    with pytest.raises(InputError, match="--drive and --pose-file both set the head motion"):
        clip_of(generators["dawn"], drive="d.mp4", pose="p.npz")
    for given in ({"drive": "d.mp4"}, {"pose": "p.npz"}):
        with pytest.raises(InputError, match="DiT-Head does not change the head pose"):
            clip_of(generators["dit-head"], **given)


def test_dit_head_dubs_its_video_to_the_features(generators: dict[str, Generator], spies: Spies) -> None:
    clip = clip_of(generators["dit-head"], steps=1)
    read = spies.one("read_face")
    assert (read["size"], read["max_frames"]) == (32, N)
    windows, pasted = spies.one("windows"), spies.one("paste")
    assert windows["audio_TA" if "audio_TA" in windows else next(iter(windows))] is FEATURES
    given = list(pasted.values())
    np.testing.assert_array_equal(given[1], CLIP["frames"])
    outside = ~given[2]
    np.testing.assert_array_equal(clip.frames[outside], CLIP["frames"][outside])


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0, 2.0])
def test_dit_heads_guidance_weighs_the_prediction_without_sound(
    guidance: float, generators: dict[str, Generator], spies: Spies
) -> None:
    """null + guidance · (with sound − null), also below 1; at 1 the network is not asked twice."""
    generator = generators["dit-head"]
    spies.watch(generator.dit, "forward")  # type: ignore[attr-defined]
    clip_of(generator, steps=1, guidance=guidance)
    kept = [bool(call["kept_B"].all()) for call in spies.of("forward")]
    assert kept == [True] if guidance == 1 else kept == [True, False]
    assert all(len(set(call["kept_B"].tolist())) == 1 for call in spies.of("forward"))
    if guidance != 1:
        lerp, predict = spies.one("lerp"), generator.dit  # type: ignore[attr-defined]
        asked = [{k: v for k, v in call.items()} for call in spies.of("forward")]
        with torch.no_grad():
            torch.testing.assert_close(lerp["end"], predict(**asked[0]))
            torch.testing.assert_close(lerp["start"], predict(**asked[1]))
        assert lerp["weight"] == guidance


def test_an_hour_of_dubbing_is_sampled_in_batches_of_its_own_frames(
    generators: dict[str, Generator], spies: Spies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch has the pictures, holes and sound of its frames, and all have the same noise and seed."""
    monkeypatch.setattr(dubbing, "BATCH", 4)
    generator: Any = generators["dit-head"]
    spies.watch(generator, "_latents")
    spies.watch(generator.face, "encode")
    generator.dub(CLIP["frames"], CLIP["landmarks"], FEATURES, seed=6, options=dubbing.DubOptions(steps=1))
    batches = spies.of("_latents")
    np.testing.assert_array_equal(np.concatenate([b["given"] for b in batches]), CLIP["frames"])
    np.testing.assert_array_equal(
        np.concatenate([b["sound"] for b in batches]), dubbing.windows(FEATURES, generator.dit.config.window)
    )
    assert [len(b["hole"]) for b in batches] == [4, 4, 3]
    assert all(b["noise_1Zhh"] is batches[0]["noise_1Zhh"] and b["seed"] == 6 for b in batches)
    reference = next(iter(spies.of("encode")[0].values()))
    np.testing.assert_allclose((reference[0].permute(1, 2, 0) + 1) * 127.5, CLIP["frames"][0], atol=1e-3)


def test_a_short_video_plays_back_with_its_own_holes(generators: dict[str, Generator], spies: Spies) -> None:
    spies.watch(dubbing, "mouth_mask")
    order, generator = [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2], generators["dit-head"]
    generator.dub(  # type: ignore[attr-defined]
        CLIP["frames"][:4], CLIP["landmarks"][:4], FEATURES, seed=0, options=dubbing.DubOptions(steps=1)
    )
    points, size, mask = spies.one("mouth_mask").values()
    np.testing.assert_array_equal(points, CLIP["landmarks"][order])
    np.testing.assert_array_equal(list(spies.one("paste").values())[1], CLIP["frames"][order])
    assert size == 32 and mask is generator.dit.config.mask  # type: ignore[attr-defined]


def test_diffspeaker_speaks_with_the_sound_as_shares_of_full_scale(
    generators: dict[str, Generator], spies: Spies
) -> None:
    clip = clip_of(generators["diffspeaker"])
    call = spies.one("generate")
    np.testing.assert_allclose(call["waveform_BN"][0], SOUND / 32768, atol=1e-6)
    assert call["frames"] == N and call["style_B"].tolist() == [0]
    assert (clip.frames[:, 0, 0, 0] == 10 * np.arange(N)).all() and clip.frames.shape[1] == 256
    assert clip.vertices is not None and clip.vertices.shape == (N, 5, 3)
    np.testing.assert_array_equal(np.concatenate(_Drawing.last.drawn), clip.vertices)
    with pytest.raises(InputError, match=r"option 'style' is 'c'.*auto, a, b"):
        clip_of(generators["diffspeaker"], style="c")


@pytest.mark.parametrize(
    ("option", "value"), [("sampler", "textbook"), ("steps", 3), ("style", "b"), ("encoder", "wav2vec2")]
)
def test_diffspeakers_options_as_a_method_arrive(
    option: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {*diffspeaker_method.DiffSpeakerMethodOptions.model_fields} == {"sampler", "steps", "style", "encoder"}
    spies, run = Spies(monkeypatch), diffspeaker_run(tmp_path / "run")
    spies.watch(diffspeaker_model, "sample")
    if option == "encoder":
        (tmp_path / "m.ckpt").write_bytes(b"released")
        model = MODELS["diffspeaker"].load(run).model  # type: ignore[attr-defined]
        spies.watch(diffspeaker_method, "load_released", returns=lambda *_, **__: model)
        METHODS["diffspeaker"](Context(tmp_path / "m.ckpt", options={"encoder": value}, modality="mesh"))
        assert (
            spies.one("load_released")["encoder"] == value and spies.one("load_released")["path"] == tmp_path / "m.ckpt"
        )
        return
    method: Any = METHODS["diffspeaker"](Context(run, options={option: value}, modality="mesh"))
    spies.watch(method.model, "generate")
    clip = marked_mesh(0, 6)
    method.generate(Item(clip, [clip], 5))
    sampled, asked = spies.of("sample")[0], spies.of("generate")[0]
    assert {"sampler": sampled["sampler"], "steps": sampled["steps"], "style": ["a", "b"][int(asked["style_B"])]}[
        option
    ] == value
    assert asked["generator"].initial_seed() == Item(clip, [clip], 5).own_seed
    np.testing.assert_allclose(asked["waveform_BN"][0], clip["audio"] / 32768, atol=1e-6)
    assert asked["frames"] == 6


@pytest.mark.parametrize(("speaker", "styles"), [("a", [0]), ("b", [1]), ("unseen", [0, 1])])
def test_a_subject_has_its_own_style_and_an_unseen_one_a_take_of_each(
    speaker: str, styles: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spies, clip = Spies(monkeypatch), marked_mesh(0, 6, speaker=speaker)
    method: Any = METHODS["diffspeaker"](Context(diffspeaker_run(tmp_path / "run"), modality="mesh"))
    spies.watch(method.model, "generate")
    output = method.generate(Item(clip, [clip], 5))
    assert [call["style_B"].tolist() for call in spies.of("generate")] == [[style] for style in styles]
    assert output.vertices.shape == (len(styles), 6, 5, 3)
