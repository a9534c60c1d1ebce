"""Generation strategies on the micro models: what each consists of."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from micro import micro_train
from skimage.data import astronaut

from dawn_bench.baselines.base import METHODS, Context, Item
from dawn_bench.baselines.methods.dawn import source_of
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.extractor_record import Extracted
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.options import PassOptions, SamplingOptions
from dawn_bench.models.dawn.strategies import SarOptions, TtrOptions, nar, next_source, sar, ttr
from dawn_bench.models.diffusion.levels import Step
from dawn_bench.models.diffusion.solvers import ddim, dpm_solver_2m, with_fixed_frames
from dawn_bench.models.inputs import Portrait
from dawn_bench.pipelines.faces.base import FACE_BACKENDS, FaceBackend, pick_backend
from dawn_bench.provenance import fingerprint

QUICK = {"steps": 3}


@pytest.fixture(scope="module")
def talker(micro_run: Path) -> DawnGenerator:
    return DawnGenerator.load(micro_run)


@pytest.fixture(scope="module")
def clip(tiny_cache: Path) -> Clip:
    return Cache(tiny_cache).clips("test")[0]


def test_one_long_segment_is_the_whole_clip_at_once(talker: DawnGenerator, clip: Clip) -> None:
    """PBNet's draw is the same; the noise then is another, as nar's follows that draw: so with given tracks."""
    source, sound = source_of(clip), clip["logmel"]
    driven = {"pose": clip["pose"], "blink": clip["blink"], "seed": 4}
    whole = nar(talker, source, sound, options=SamplingOptions(**QUICK), **driven)
    assert np.array_equal(sar(talker, source, sound, options=SarOptions(segment=30, **QUICK), **driven), whole)
    assert not np.array_equal(sar(talker, source, sound, options=SarOptions(segment=10, **QUICK), **driven), whole)


def test_a_segment_starts_from_the_last_picture_of_the_one_before(
    talker: DawnGenerator, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Portrait, int]] = []
    real = DawnGenerator.talk

    def noting(self, source, audio, **settings):  # type: ignore[no-untyped-def]
        asked.append((source, len(audio)))
        return real(self, source, audio, **settings)

    monkeypatch.setattr(DawnGenerator, "talk", noting)
    generated = sar(talker, source_of(clip), clip["logmel"], seed=0, options=SarOptions(segment=12, **QUICK))
    assert [n for _, n in asked] == [12, 12, 6] and len(generated) == 30
    assert np.array_equal(asked[0][0].frame, clip["frames"][0])
    assert np.array_equal(asked[1][0].frame, generated[11]) and np.array_equal(asked[2][0].frame, generated[23])
    pose, blink = talker.tracks(source_of(clip), clip["logmel"], seed=0)
    assert np.array_equal(asked[1][0].pose, pose[11]) and np.array_equal(asked[2][0].blink, blink[23])


class Mover:
    """In place of the networks: a real face that moves a pixel a frame to the right and down; notes each source."""

    device = "cpu"

    def __init__(self) -> None:
        self.sources: list[Portrait] = []

    def talk(self, source: Portrait, audio: np.ndarray, **_: object) -> np.ndarray:
        start = 10 * len(self.sources)
        self.sources.append(source)
        return np.stack([astronaut()[30 - k : 222 - k, 130 - k : 322 - k] for k in range(start, start + len(audio))])


def test_the_face_box_of_a_segment_is_that_of_its_source() -> None:
    """Ten pixels further to the right and down with each segment of ten; a frame without a face keeps the box."""
    backend, first = pick_backend("dlib"), astronaut()[30:222, 130:322]
    points = backend.landmarks(first, backend.detect(first)[0])
    box = np.concatenate([points.min(0), points.max(0)])
    networks, still = Mover(), np.zeros((30, 6), np.float32)
    for source in (
        Portrait(first, still[0], still[0, :2], box),
        Portrait(first, still[0], still[0, :2], box / 2, (96, 96)),
    ):
        networks.sources = []
        sar(networks, source, still, seed=0, options=SarOptions(segment=10), pose=still, blink=still[:, :2])  # type: ignore[arg-type]
        assert len(networks.sources) == 3 and networks.sources[0] is source
        for number in (1, 2):
            moved = networks.sources[number]
            np.testing.assert_allclose(moved.bbox, box + 10 * number - 1, atol=5)
            assert moved.hw is None and moved.bbox.dtype == np.float32
    blank = next_source(source, np.zeros_like(first), still[1], still[1, :2], backend=backend)
    assert np.array_equal(blank.bbox, source.bbox) and blank.hw == source.hw


def test_segments_are_detected_by_the_back_end_of_the_training_data(
    micro_run: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which one it is, and its version, is part of the key of the outputs."""
    asked = []

    class Blind(FaceBackend):
        name = "blind"

        def detect(self, frame: np.ndarray) -> np.ndarray:
            asked.append(self.fingerprint())
            return np.zeros((0, 4), np.float32)

        def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
            raise AssertionError("there is no face")

        def fingerprint(self) -> str:
            return "blind-1"

    monkeypatch.setitem(FACE_BACKENDS._items, "blind", Blind)
    plain = METHODS["dawn-sar"](Context(micro_run, options=QUICK)).fingerprint
    monkeypatch.setattr(DawnGenerator, "extractors", {"face": Extracted("blind", "blind-1")})
    recorded = METHODS["dawn-sar"](Context(micro_run, options=QUICK | {"segment": 12}))
    recorded.generate(Item(clip, [], 0))
    assert asked == ["blind-1"] * 2
    same = METHODS["dawn-sar"](Context(micro_run, options=QUICK)).fingerprint
    assert plain != same
    monkeypatch.setattr(Blind, "fingerprint", lambda self: "blind-2")
    assert METHODS["dawn-sar"](Context(micro_run, options=QUICK)).fingerprint != same


def test_passes_are_an_option_that_enters_the_fingerprint_only_where_it_is_used(
    micro_run: Path, tiny_cache: Path, clip: Clip
) -> None:
    """Without it the fingerprint is that of versions that had no such option."""
    plain = METHODS["dawn"](Context(micro_run, options=QUICK))
    facts = [SamplingOptions(**QUICK).model_dump(), "pbnet", False]
    assert plain.fingerprint == f"dawn/1/{plain.generator.identity}/{fingerprint(facts)}"
    same = METHODS["dawn"](Context(micro_run, options=QUICK | {"pass_seconds": "none"}))
    assert same.fingerprint == plain.fingerprint
    cut = METHODS["dawn"](Context(micro_run, options=QUICK | {"pass_seconds": 4}))
    assert cut.fingerprint not in (plain.fingerprint, METHODS["dawn"](Context(micro_run)).fingerprint)
    item = Item(clip, Cache(tiny_cache).clips("test"), 0)
    assert np.array_equal(cut.generate(item).frames, plain.generate(item).frames)  # 1.2 s fit one pass
    talker = cut.generator
    long = np.resize(clip["logmel"], (130, 80))
    whole, passed = (
        nar(talker, source_of(clip), long, seed=0, options=PassOptions(**QUICK, pass_seconds=s)) for s in (None, 4)
    )
    assert whole.shape == passed.shape == (130, 32, 32, 3) and not np.array_equal(whole, passed)
    with pytest.raises(InputError, match=r"option 'pass_seconds'.*greater than or equal to 4"):
        METHODS["dawn"](Context(micro_run, options={"pass_seconds": 1}))
    with pytest.raises(InputError, match="option 'pass_seconds': is not known"):
        METHODS["dawn-sar"](Context(micro_run, options={"pass_seconds": 10}))


def test_tracks_are_those_that_talk_draws(talker: DawnGenerator, clip: Clip) -> None:
    pose, blink = talker.tracks(source_of(clip), clip["logmel"], seed=9)
    scene = talker.scene(source_of(clip), clip["logmel"], seed=9)
    ours = talker.scene(source_of(clip), clip["logmel"], seed=9, pose=pose, blink=blink)
    torch.testing.assert_close(scene.cond_BFD, ours.cond_BFD)


def test_two_resolutions_keep_the_key_frames(
    talker: DawnGenerator, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[torch.Tensor] = []
    real = DawnGenerator.sample

    def noting(self, scene, options, **settings):  # type: ignore[no-untyped-def]
        drawn.append(real(self, scene, options, **settings))
        return drawn[-1]

    monkeypatch.setattr(DawnGenerator, "sample", noting)
    generated = ttr(talker, source_of(clip), clip["logmel"], seed=0, options=TtrOptions(stride=4, **QUICK))
    keys = [0, 4, 8, 12, 16, 20, 24, 28, 29]
    assert generated.shape == (30, 32, 32, 3)
    assert drawn[0].shape[2] == len(keys) and drawn[1].shape[2] == 30
    torch.testing.assert_close(drawn[1][:, :, keys], drawn[0])
    again = ttr(talker, source_of(clip), clip["logmel"], seed=0, options=TtrOptions(stride=4, **QUICK))
    assert np.array_equal(generated, again)


@pytest.mark.parametrize("solver", ["ddim", "dpm2m"])
def test_fixed_frames_stay_at_every_steps_noise_level(solver: str) -> None:
    """With the true denoiser of a constant clip, fixed frames end exactly, and are as noisy as the others midway."""
    steps = [Step(900, 0.1, 0.5), Step(500, 0.5, 0.9), Step(100, 0.9, 1.0)]
    clean, known = torch.full((1, 3, 4, 2, 2), 0.3), torch.full((1, 3, 2, 2, 2), -0.7)
    seen = []

    def denoise(x: torch.Tensor, t: int) -> tuple[torch.Tensor, torch.Tensor]:
        now = {s.t: s.now for s in steps}[t]
        seen.append(x)
        return clean, (x - now**0.5 * clean) / (1 - now) ** 0.5

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, 4, 2, 2, generator=generator)
    fixed = with_fixed_frames(denoise, torch.tensor([1, 3]), known, steps)
    end = (
        ddim(fixed, noise, steps, eta=0, noise=lambda i: noise)
        if solver == "ddim"
        else dpm_solver_2m(fixed, noise, steps)
    )
    torch.testing.assert_close(end[:, :, [1, 3]], known)
    torch.testing.assert_close(end[:, :, [0, 2]], clean[:, :, :2])
    if solver == "ddim":
        expected = 0.5**0.5 * known + 0.5**0.5 * (noise[:, :, [1, 3]] - 0.1**0.5 * known) / 0.9**0.5
        torch.testing.assert_close(seen[1][:, :, [1, 3]], expected)


def test_a_coarse_model_of_the_run_makes_the_key_frames(micro_run: Path, tmp_path: Path, clip: Clip) -> None:
    shutil.copytree(micro_run, tmp_path / "run")
    (tmp_path / "run" / "a2v-ttr").mkdir()
    shutil.copy(micro_run / "a2v-1" / "model.safetensors", tmp_path / "run" / "a2v-ttr")
    with_coarse, without = DawnGenerator.load(tmp_path / "run"), DawnGenerator.load(micro_run)
    assert with_coarse.coarse is not None and with_coarse.identity != without.identity
    generated = [
        ttr(t, source_of(clip), clip["logmel"], seed=0, options=TtrOptions(**QUICK)) for t in (with_coarse, without)
    ]
    assert not np.array_equal(*generated)


def test_the_strategies_and_stages_are_methods(micro_run: Path, tiny_cache: Path, clip: Clip) -> None:
    clips = Cache(tiny_cache).clips("test")
    generated, prints = {}, set()
    for name, options in (
        ("dawn", {}),
        ("dawn", {"stage": "a2v-1"}),
        ("dawn", {"window": 2}),
        ("dawn-true-pose", {}),
        ("dawn-sar", {"segment": 8}),
        ("dawn-ttr", {"stride": 5}),
    ):
        method = METHODS[name](Context(micro_run, options=QUICK | options))
        assert method.name == name
        prints.add(method.fingerprint)
        generated[name, *options] = method.generate(Item(clip, clips, 0)).frames
    assert len(prints) == len(generated) == len({frames.tobytes() for frames in generated.values()}) == 6
    driven = METHODS["dawn-true-pose"](Context(micro_run))
    assert "pose" in driven.uses
    with pytest.raises(InputError, match="option 'segment'"):
        METHODS["dawn"](Context(micro_run, options={"segment": 8}))
    with pytest.raises(InputError, match="no trained a2v-9"):
        METHODS["dawn"](Context(micro_run, options={"stage": "a2v-9"}))


def test_a_run_without_pbnet_talks_and_does_not_heed_pose(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, clip: Clip
):  # type: ignore[no-untyped-def]
    (tmp_path / "lfg").symlink_to(micro_run / "lfg")
    audio_only = ("a2v_1.model.pose_scales=[0,0,0,0,0,0]", "a2v_1.model.eye_scale=0", "pbnet=null", "a2v_2=null")
    micro_train(tiny_cache, tmp_path, *audio_only, stage="a2v-1")
    talker, options = DawnGenerator.load(tmp_path), SamplingOptions(**QUICK)
    assert talker.pbnet is None
    source, sound = source_of(clip), clip["logmel"]
    plain = talker.talk(source, sound, seed=0, options=options)
    driven = talker.talk(source, sound, seed=0, options=options, pose=clip["pose"] + 20, blink=clip["blink"])
    assert np.array_equal(plain, driven)
    assert len(sar(talker, source, sound, seed=0, options=SarOptions(segment=20, **QUICK))) == 30
