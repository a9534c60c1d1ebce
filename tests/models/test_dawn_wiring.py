"""What reaches DAWN's networks in generation, by content: source, conditions, face box, options, seeds, segments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marked import marked_clip
from spies import Spies
from untrained import dawn_run

from dawn_bench.baselines.methods.dawn import source_of
from dawn_bench.config import Config
from dawn_bench.models.dawn import a2v as a2v_module
from dawn_bench.models.dawn import strategies
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.networks import DawnNetworks, Scene
from dawn_bench.models.dawn.options import PassOptions, SamplingOptions
from dawn_bench.models.dawn.passes import passes, stream
from dawn_bench.models.dawn.strategies import STRATEGIES, SarOptions, TtrOptions
from dawn_bench.models.inputs import Portrait

CLIP = marked_clip(1, 14)
SOUND = np.asarray(CLIP["logmel"], np.float32)
POSE, BLINK = CLIP["pose"] + 3, CLIP["blink"] + 0.2
#: A portrait whose box is in pixels of a picture of 40 × 64.
SOURCE = Portrait(
    marked_clip(0, 3)["frames"][2],
    np.arange(7, dtype=np.float32) * 1.5 - 4,
    np.array([0.21, 0.34], np.float32),
    np.array([6.0, 9.0, 30.0, 28.0], np.float32),
    (40, 64),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dawn_run(tmp_path_factory.mktemp("dawn") / "run", coarse=True)


@pytest.fixture(scope="module")
def talker(run: Path) -> DawnGenerator:
    return DawnGenerator.load(run)


@pytest.fixture
def spies(monkeypatch: pytest.MonkeyPatch) -> Spies:
    return Spies(monkeypatch)


def test_a_frames_condition_is_its_sound_and_its_head_relative_to_the_source(
    talker: DawnGenerator, spies: Spies
) -> None:
    spies.watch(talker.lfg, "encode")
    scene = talker.scene(SOURCE, SOUND, seed=5, pose=POSE, blink=BLINK)
    expected = np.concatenate([SOUND, POSE[:, :6] - SOURCE.pose[:6], BLINK - SOURCE.blink], axis=1)
    np.testing.assert_allclose(scene.cond_BFD[0], expected, atol=1e-5)
    (picture,) = spies.one("encode").values()
    np.testing.assert_allclose(picture[0].permute(1, 2, 0) * 255, SOURCE.frame, atol=1e-3)  # RGB, 0-1
    assert scene.generator.initial_seed() == 5


@pytest.mark.parametrize("swapped", [False, True])
def test_the_face_box_reaches_the_networks_with_x_along_columns(
    swapped: bool, talker: DawnGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x is scaled by the width of the picture, y by its height; the released code swaps these scales."""
    monkeypatch.setattr(talker.a2v, "config", talker.a2v.config.model_copy(update={"swap_mask_axes": swapped}))
    (mask,) = talker.scene(SOURCE, SOUND, seed=0).mask_B1SS[0].numpy()
    (x0, y0, x1, y1), (height, width) = SOURCE.bbox, SOURCE.hw or (0, 0)
    along_x, along_y = (32 / height, 32 / width) if swapped else (32 / width, 32 / height)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max()) == (int(x0 * along_x), min(31, int(x1 * along_x + 1)))
    assert (rows.min(), rows.max()) == (int(y0 * along_y), min(31, int(y1 * along_y + 1)))
    own = replace(SOURCE, hw=None)  # of the frame itself
    rows, columns = np.nonzero(talker.scene(own, SOUND, seed=0).mask_B1SS[0, 0].numpy())
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (6, 31, 9, 29)


@pytest.mark.parametrize("given", [(), ("pose",), ("blink",), ("pose", "blink")])
def test_what_is_not_given_is_drawn_from_the_sound_and_the_source(
    given: tuple[str, ...], talker: DawnGenerator, spies: Spies
) -> None:
    drawn = torch.arange(14 * 8, dtype=torch.float32).reshape(1, 14, 8)
    spies.watch(talker.pbnet, "generate", returns=drawn)
    own = {name: {"pose": POSE, "blink": BLINK}[name] for name in given}
    cond = talker.scene(SOURCE, SOUND, seed=9, **own).cond_BFD[0, :, 80:]
    state = np.concatenate([SOURCE.pose[:6], SOURCE.blink])
    pose = POSE[:, :6] if "pose" in given else drawn[0, :, :6]
    blink = BLINK if "blink" in given else drawn[0, :, 6:]
    np.testing.assert_allclose(cond, np.concatenate([pose, blink], 1) - state, atol=1e-4)
    if len(given) == 2:
        assert spies.calls == []
        return
    asked = list(spies.one("generate").values())
    np.testing.assert_allclose(asked[0][0], state)
    np.testing.assert_allclose(asked[1][0], SOUND)
    assert asked[2].initial_seed() == 9
    pose_of_tracks, blink_of_tracks = talker.tracks(SOURCE, SOUND, seed=9)
    np.testing.assert_allclose(np.concatenate([pose_of_tracks, blink_of_tracks], 1), drawn[0])
    again = list(spies.of("generate")[1].values())
    assert torch.equal(again[0], asked[0]) and torch.equal(again[1], asked[1]) and again[2].initial_seed() == 9


def test_without_pbnet_the_head_stays_as_in_the_source(talker: DawnGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talker, "pbnet", None)
    assert not talker.scene(SOURCE, SOUND, seed=0).cond_BFD[0, :, 80:].any()
    pose, blink = talker.tracks(SOURCE, SOUND, seed=0)
    assert (pose == SOURCE.pose[:6]).all() and (blink == SOURCE.blink).all() and len(pose) == len(blink) == 14
    driven = talker.scene(SOURCE, SOUND, seed=0, pose=POSE).cond_BFD[0, :, 80:]
    np.testing.assert_allclose(driven[:, :6], POSE[:, :6] - SOURCE.pose[:6], atol=1e-5)


#: A value of each option that is not its default, and the argument of `A2VFDM.sample` that it becomes.
SAMPLED: dict[str, tuple[Any, str]] = {
    "steps": (7, "steps"),
    "eta": (0.25, "eta"),
    "cond_scale": (0.5, "cond_scale"),
    "solver": ("dpm2m", "solver"),
    "window": (3, "win_width"),
    "compile": (True, "compiled"),
}
#: Options of strategies that do not concern one sample; tests below are of these.
ELSEWHERE = {"precision", "pass_seconds", "segment", "stride"}


@pytest.mark.parametrize("kind", [kind for _, kind in STRATEGIES.values()], ids=list(STRATEGIES))
def test_every_option_of_the_sampler_reaches_it(kind: type[Config], talker: DawnGenerator, spies: Spies) -> None:
    spies.watch(talker.a2v, "sample", returns=None)
    scene, default = talker.scene(SOURCE, SOUND, seed=0), kind()
    for name in set(kind.model_fields) - ELSEWHERE:
        assert name in SAMPLED, f"Say in SAMPLED or ELSEWHERE of this file where {name} of {kind.__name__} arrives."
        value, argument = SAMPLED[name]
        assert getattr(default, name) != value
        talker.sample(scene, kind.model_validate({name: value}))
        arguments = spies.calls.pop()[1]
        assert arguments[argument] == value
        others = {a: getattr(default, n) for n, (_, a) in SAMPLED.items() if n != name}
        assert {a: arguments[a] for a in others} == others
        assert arguments["generator"] is scene.generator
        assert arguments["source_feat_BCHW"] is scene.encoded.features_BChh
        assert arguments["face_mask_B1SS"] is scene.mask_B1SS and arguments["cond_BFD"] is scene.cond_BFD


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_precision_is_that_of_sampling_and_of_decoding(
    precision: str, talker: DawnGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, torch.dtype | None] = {}

    def note(name: str, result: Any) -> Any:
        on = torch.is_autocast_enabled("cpu")
        seen[name] = torch.get_autocast_dtype("cpu") if on else None
        return result

    z = torch.zeros(1, 3, 14, 8, 8)
    monkeypatch.setattr(talker.a2v, "sample", lambda *a, **k: note("sample", z))
    monkeypatch.setattr(talker.lfg, "decode_batches", lambda *a: note("decode", [torch.zeros(14, 3, 32, 32)]))
    options = PassOptions.model_validate({"precision": precision})
    expected = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    talker.talk(SOURCE, SOUND, seed=0, options=options)
    assert seen == {"sample": expected, "decode": expected}
    seen.clear()
    assert len(np.concatenate(list(stream(talker, talker.scene(SOURCE, SOUND, seed=0), options)))) == 14
    assert seen == {"sample": expected, "decode": expected}


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("solver", ["ddim", "dpm2m"])
def test_guidance_weighs_the_prediction_without_conditions_also_below_1(
    scale: float, solver: str, talker: DawnGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """null + scale · (conditioned − null), by a network that returns 1 plus the mean of its conditions."""
    spies = Spies(monkeypatch)

    def network(unet: Any, *, cond_FD: torch.Tensor, **_: Any) -> Any:
        return lambda x, t: torch.full_like(x, 1 + float(cond_FD.mean()))

    monkeypatch.setattr(a2v_module.fast, "enabled", lambda: False)
    spies.watch(a2v_module, "plain_clip", returns=network)
    spies.watch(talker.a2v.diffusion, "clean_and_noise")
    scene = talker.scene(SOURCE, SOUND, seed=0, pose=POSE, blink=BLINK)
    talker.sample(scene, SamplingOptions(steps=3, cond_scale=scale, solver=solver))  # type: ignore[arg-type]
    mean = float((scene.cond_BFD * talker.a2v.condition_scales).mean())  # scaled as in training
    predicted = [float(call["predicted_B3FHW"].mean()) for call in spies.of("clean_and_noise")]
    np.testing.assert_allclose(predicted, [1 + scale * mean] * 3, rtol=1e-4)
    networks = spies.of("plain_clip")
    assert len(networks) == (1 if scale == 1 else 2)
    assert all(call["win_width"] == talker.a2v.config.win_width for call in networks)
    talker.sample(scene, SamplingOptions(steps=1, window=2))
    assert spies.of("plain_clip")[-1]["win_width"] == 2


def test_the_solver_has_its_noise_level_and_the_seeds_noise(
    talker: DawnGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spies = Spies(monkeypatch)
    for name in ("ddim", "dpm_solver_2m", "sampling_steps"):
        spies.watch(a2v_module, name)

    def first_noise(seed: int, **options: Any) -> torch.Tensor:
        spies.calls.clear()
        scene = talker.scene(SOURCE, SOUND, seed=seed, pose=POSE, blink=BLINK)
        talker.sample(scene, SamplingOptions(steps=2, **options))
        assert spies.one("sampling_steps")["steps"] == 2
        name, arguments = spies.calls[-1]
        assert name == ("dpm_solver_2m" if options.get("solver") == "dpm2m" else "ddim")
        assert name != "ddim" or arguments["eta"] == options.get("eta", 1.0)
        return list(arguments.values())[1]

    one = first_noise(1, eta=0.5)
    assert torch.equal(one, first_noise(1, solver="dpm2m"))
    drawn = torch.randn(one.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(one, drawn) and not torch.equal(one, first_noise(2))


class Counting(DawnNetworks):
    """In place of the networks: the motion, and the picture, of a frame is the number of its sound."""

    def __init__(self, frames: int) -> None:
        self.asked: list[dict[str, Any]] = []
        number = torch.arange(frames, dtype=torch.float32).reshape(1, -1, 1)
        self.whole = Scene(None, None, number, torch.Generator())  # type: ignore[arg-type]

    def sample(self, scene: Scene, options: SamplingOptions, **more: Any) -> torch.Tensor:
        self.asked.append({"frames": scene.cond_BFD[0, :, 0].tolist(), "options": options, **more})
        return scene.cond_BFD[..., 0].reshape(1, 1, -1, 1, 1).repeat(1, 3, 1, 2, 2)

    def show(self, scene: Scene, z_B3Fhh: torch.Tensor, **_: Any) -> np.ndarray:
        return z_B3Fhh[0, 0, :, 0, 0].numpy()


@pytest.mark.parametrize(("longest", "overlap"), [(20, 4), (20, 1), (47, 4), (46, 4), (48, 4), (5, 4), (None, 4)])
def test_passes_show_each_frame_once_and_in_order(longest: int | None, overlap: int) -> None:
    networks, options = Counting(47), SamplingOptions()
    shown = np.concatenate(list(stream(networks, networks.whole, options, longest=longest, overlap=overlap)))
    assert shown.tolist() == list(range(47))
    spans = passes(47, longest=longest, overlap=overlap)
    assert (len(spans) == 1) == (longest is None or longest >= 47)
    assert [call["frames"] for call in networks.asked] == [list(range(47))[span] for span in spans]
    assert all(call["options"] is options for call in networks.asked)
    assert networks.asked[0]["fixed"] is None
    for call in networks.asked[1:]:  # fixed to what the pass before it ended with
        numbers, motion = call["fixed"]
        assert numbers.tolist() == list(range(overlap))
        assert motion[0, 0, :, 0, 0].tolist() == call["frames"][:overlap]


def test_all_frames_at_once_or_in_passes_of_the_length_that_is_asked(
    talker: DawnGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spies = Spies(monkeypatch)
    spies.watch(strategies, "stream", returns=lambda *a, **k: iter([np.zeros((2, 32, 32, 3), np.uint8)]))
    spies.watch(talker, "talk", returns=np.zeros((14, 32, 32, 3), np.uint8))
    spies.watch(talker, "scene")
    given = {"pose": POSE, "blink": BLINK, "seed": 6}
    options = PassOptions(steps=3, pass_seconds=8)
    strategies.nar(talker, SOURCE, SOUND, options=options, **given)
    scene = spies.one("scene")
    assert scene["seed"] == 6 and scene["pose"] is POSE and scene["blink"] is BLINK
    assert scene["source"] is SOURCE and scene["audio"] is SOUND
    assert spies.one("stream")["longest"] == 200 and spies.one("stream")["options"] is options
    whole = PassOptions(steps=3)
    strategies.nar(talker, SOURCE, SOUND, options=whole, **given)
    assert spies.one("talk") | {"progress": 0} == given | {
        "source": SOURCE, "audio": SOUND, "options": whole, "progress": 0,
    }  # fmt: skip


def test_segments_have_their_own_seed_sound_head_and_source(
    talker: DawnGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """14 frames in segments of 5, of which the last has 4; a segment of 14 is the whole clip."""
    spies = Spies(monkeypatch)
    frames = np.arange(14 * 2 * 2 * 3, dtype=np.uint8).reshape(14, 2, 2, 3)
    shown: list[int] = []

    def talk(source: Any, audio: np.ndarray, **_: Any) -> np.ndarray:
        start = sum(shown)
        shown.append(len(audio))
        return frames[start : start + len(audio)]

    spies.watch(talker, "talk", returns=talk)
    spies.watch(strategies, "next_source")
    backend = NoFaces()
    options = SarOptions(segment=5)
    generated = strategies.sar(
        talker,
        SOURCE,
        SOUND,
        seed=40,
        options=options,
        pose=POSE,
        blink=BLINK,
        backend=backend,  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(generated, frames)
    segments, spans = spies.of("talk"), (slice(0, 5), slice(5, 10), slice(10, 14))
    assert [call["seed"] for call in segments] == [40, 41, 42]
    for call, span in zip(segments, spans, strict=True):
        np.testing.assert_array_equal(call["audio"], SOUND[span])
        np.testing.assert_array_equal(call["pose"], POSE[span])
        np.testing.assert_array_equal(call["blink"], BLINK[span])
        assert call["options"] is options
    assert segments[0]["source"] is SOURCE
    for call, last in zip(segments[1:], (4, 9), strict=True):
        np.testing.assert_array_equal(call["source"].frame, frames[last])
        np.testing.assert_array_equal(call["source"].pose, POSE[last])
        np.testing.assert_array_equal(call["source"].blink, BLINK[last])
    asked = spies.of("next_source")
    assert len(asked) == 2 and all(call["backend"] is backend for call in asked)
    for length, count in ((14, 1), (13, 2), (15, 1), (7, 2)):
        spies.calls.clear()
        shown.clear()
        strategies.sar(
            talker,
            SOURCE,
            SOUND,
            seed=0,
            options=SarOptions(segment=length),
            pose=POSE,
            blink=BLINK,
            backend=backend,  # type: ignore[arg-type]
        )
        assert len(spies.of("talk")) == count and len(spies.of("next_source")) == count - 1


class NoFaces:
    """Detects nothing."""

    def detect(self, frame: np.ndarray) -> np.ndarray:
        return np.zeros((0, 4), np.float32)


def test_the_head_of_all_segments_is_drawn_once(talker: DawnGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    spies = Spies(monkeypatch)
    spies.watch(talker, "tracks", returns=(POSE, BLINK))
    spies.watch(talker, "talk", returns=lambda source, audio, **_: np.zeros((len(audio), 2, 2, 3), np.uint8))
    for given in ({}, {"pose": POSE - 50}, {"blink": BLINK - 50}):
        spies.calls.clear()
        strategies.sar(talker, SOURCE, SOUND, seed=8, options=SarOptions(segment=7), backend=NoFaces(), **given)  # type: ignore[arg-type]
        drawn = spies.one("tracks")
        assert drawn["seed"] == 8 and drawn["source"] is SOURCE and drawn["audio"] is SOUND
        for name, whole in (("pose", POSE), ("blink", BLINK)):
            parts = np.concatenate([call[name] for call in spies.of("talk")])
            np.testing.assert_array_equal(parts, given.get(name, whole))


@pytest.mark.parametrize(
    ("stride", "keys"), [(4, [0, 4, 8, 12, 13]), (13, [0, 13]), (14, [0, 13]), (5, [0, 5, 10, 13])]
)
def test_key_frames_are_sampled_by_the_coarse_model_and_then_fixed(
    stride: int, keys: list[int], talker: DawnGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spies = Spies(monkeypatch)
    motion = torch.rand(1, 3, len(keys), 8, 8)
    spies.watch(talker, "scene")
    spies.watch(talker, "sample", returns=lambda scene, *a, **k: motion if "fixed" not in k else motion[:, :, :1])
    spies.watch(talker, "show", returns=np.zeros((14, 2, 2, 3), np.uint8))
    options = TtrOptions(stride=stride)
    strategies.ttr(talker, SOURCE, SOUND, seed=3, options=options, pose=POSE, blink=BLINK)
    scene = spies.one("scene")
    assert scene["seed"] == 3 and scene["pose"] is POSE and scene["blink"] is BLINK and scene["audio"] is SOUND
    coarse, fine = spies.of("sample")
    np.testing.assert_allclose(coarse["scene"].cond_BFD[0, :, :80], SOUND[keys], atol=1e-5)
    assert coarse["model"] is talker.coarse is not None and fine["model"] is None
    assert fine["fixed"][0].tolist() == keys and fine["scene"].cond_BFD.shape[1] == 14
    torch.testing.assert_close(fine["fixed"][1], motion)
    assert coarse["options"] is fine["options"] is options and coarse["fixed"] is None
    assert spies.one("show")["z_B3Fhh"].shape[2] == 1  # what the second pass sampled
    monkeypatch.setattr(talker, "coarse", None)
    strategies.ttr(talker, SOURCE, SOUND, seed=3, options=options, pose=POSE, blink=BLINK)
    assert spies.of("sample")[2]["model"] is talker.a2v


@pytest.mark.parametrize("model", ["a2v", "coarse"])
@pytest.mark.parametrize("units", [{"flow_scale": 3.0}, {"residual_flow": True}, {"residual_flow": False}], ids=str)
def test_key_frames_are_fixed_in_the_units_of_the_model_that_takes_them(
    units: dict[str, Any], model: str, talker: DawnGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: Any = getattr(talker, model)
    monkeypatch.setattr(networks, "config", networks.config.model_copy(update=units))
    spies, motion = Spies(monkeypatch), torch.rand(1, 3, 5, 8, 8)
    spies.watch(talker, "sample", returns=motion)
    spies.watch(talker, "show", returns=np.zeros((14, 2, 2, 3), np.uint8))
    strategies.ttr(talker, SOURCE, SOUND, seed=3, options=TtrOptions(stride=4), pose=POSE, blink=BLINK)
    taken, given = talker.a2v.unpack_motion(spies.of("sample")[1]["fixed"][1]), talker.coarse.unpack_motion(motion)  # type: ignore[union-attr]
    for ours, theirs in zip(taken, given, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_source_is_frame_0_of_the_clip_in_every_array() -> None:
    source = source_of(CLIP)
    for name in ("frame", "pose", "blink", "bbox"):
        np.testing.assert_array_equal(getattr(source, name), CLIP["frames" if name == "frame" else name][0])
    assert source.hw is None
