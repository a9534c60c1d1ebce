"""Which frames reach DAWN's losses, in which units: by content, on a cache whose every frame has its number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from micro import micro_settings
from numbered_cache import LENGTHS, SPLITS, code, named, write_numbered
from torch import Tensor

from dawn_bench.cache import Cache
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.diffusion import Diffusion
from dawn_bench.models.dawn.lfg import LFG
from dawn_bench.models.dawn.lfg_loss import LFGLoss
from dawn_bench.models.dawn.presets import fit_to_cache
from dawn_bench.models.dawn.stages import pbnet as pbnet_stage
from dawn_bench.models.dawn.stages.a2v import A2VStage
from dawn_bench.models.spec import MODELS
from dawn_bench.training.augment import JitterConfig

STILL = JitterConfig(brightness=0, contrast=0, saturation=0, hue=0)
WIDE = JitterConfig(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.3)
TRAINED_ON = [c for c, split in enumerate(SPLITS) if split == "train"]
#: No two channels of the condition have the same factor.
SCALES = (2.0, 3.0, 5.0, 7.0, 11.0, 13.0)
EYES = 17.0
SIZE = 32


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(write_numbered(tmp_path_factory.mktemp("numbered") / "cache"))


@pytest.fixture(scope="module")
def run(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an LFG of random weights."""
    out = tmp_path_factory.mktemp("numbered") / "run"
    build("lfg", cache, out).save(out / "lfg" / "model.safetensors", {})
    return out


def build(stage: str, cache: Cache, run: Path, *, seed: int = 3, **changes: Any) -> Any:
    """A stage of the micro preset; `changes` are those of its settings, of which `model` may be a dict."""
    settings = micro_settings()
    settings = settings.model_copy(update={"a2v_ttr": settings.a2v_1})
    key = stage.replace("-", "_")
    config = getattr(settings, key)
    if "model" in changes:
        changes["model"] = config.model.model_copy(update=changes["model"])
    settings = settings.model_copy(update={key: config.model_copy(update=changes)})
    factory = MODELS["dawn"].stages[stage]
    return factory(cache, fit_to_cache(settings, cache), run=run, seed=seed, device="cpu")


def picture(cache: Cache, clip: int, frame: int) -> Tensor:
    """A frame as the networks see it: (3,S,S) in [0, 1]."""
    return torch.from_numpy(np.moveaxis(np.array(cache[f"c{clip}"]["frames"][frame]), -1, 0).copy()).float() / 255


def numbers_of(pictures: Tensor) -> list[tuple[int, int]]:
    """Clip and frame of pictures (B,3,S,S), by their colours."""
    red, green = (pictures[:, c, 0, 0] * 255 for c in (0, 1))
    return [(round((float(g) - 30) / 40), round((float(r) - 40) / 5)) for r, g in zip(red, green, strict=True)]


def box_mask(box: np.ndarray, side: int) -> np.ndarray:
    """The released mask of a box x0, y0, x1, y1: from its whole pixel to one past its end, on a grid of `side`."""
    x0, y0, x1, y1 = np.asarray(box, np.float64) * side / SIZE
    y, x = np.mgrid[:side, :side]
    return (x >= int(x0)) & (x <= int(x1 + 1)) & (y >= int(y0)) & (y <= int(y1 + 1))


#: Settings of the three stages, the distance of the source from the window's first frame, and the window's stride.
A2V = {
    "a2v-1": ({"frames": 5, "min_frames": None, "random_source": False}, {5}, 1),
    "a2v-2": ({"frames": 6, "min_frames": 4, "random_source": True}, {4, 5, 6}, 1),
    "a2v-ttr": ({"frames": 4, "min_frames": None, "random_source": True, "stride": 5}, {4}, 5),
}


@pytest.mark.parametrize("name", list(A2V))
def test_a2v_is_trained_on_the_window_and_relative_to_the_source_frame(
    name: str, cache: Cache, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, lengths, stride = A2V[name]
    model = {"pose_scales": SCALES, "eye_scale": EYES, "null_probability": 0.4}
    stage = build(name, cache, run, jitter=STILL, model=model, **changes)
    calls: list[tuple[tuple[Tensor, ...], dict[str, Tensor]]] = []
    real = Diffusion.losses

    def losses(self: Diffusion, *given: Tensor, **named: Tensor) -> Any:
        calls.append((given, named))
        return real(self, *given, **named)

    monkeypatch.setattr(Diffusion, "losses", losses)
    seen_lengths, sources, dropped = set(), [], []
    for step in range(4):
        batch = stage.batch(step)
        seen_lengths.add(batch["frames"].shape[1])
        values = stage.losses(batch, torch.Generator())
        assert set(values) == {"total", "eps", "x0", "lip"}
        (z, t, noise), given = calls[-1]
        assert torch.equal(t, batch["timestep"]) and torch.equal(noise, batch["noise"])
        for row, place in enumerate(batch["clip"].tolist()):
            clip = TRAINED_ON[place]
            assert stage.ids[place] == f"c{clip}"
            kept = batch["kept"][row].expand(z.shape[2])
            dropped += (~kept).tolist()
            (_, start), (_, source) = numbers_of(
                torch.stack(
                    [batch[k][row].view(-1, SIZE, SIZE, 3)[0].movedim(-1, 0) / 255 for k in ("frames", "source")]
                )
            )
            frames = start + stride * np.arange(z.shape[2])
            assert frames[-1] < LENGTHS[clip]
            sources.append(source - start)
            # The condition: sound of the frame, then the head's change since the source frame, each with its factor.
            sound = code(clip, frames)[:, None] + np.arange(80) % 2 / 4
            change = (frames - source)[:, None] * np.array(
                [s * (1 + c / 8) for c, s in enumerate(SCALES)] + [EYES / 1024, EYES / 2048]
            )
            expected = np.concatenate([sound, change], 1) * kept[:, None].numpy()
            np.testing.assert_allclose(given["cond_BFD"][row], expected, rtol=1e-5, atol=1e-5)
            # The motion of every frame from the source, and the source's latent, by the frozen LFG.
            source_CSS = picture(cache, clip, source)[None]
            driving = torch.stack([picture(cache, clip, int(k)) for k in frames])
            with torch.no_grad():
                flow, occlusion = stage.lfg.motion(source_CSS, driving)
                packed = stage.module.pack_motion(flow[None], occlusion[None])[0]
                latent = stage.lfg.encode(source_CSS).features_BChh[0]
                face = torch.from_numpy(box_mask(cache[f"c{clip}"]["bbox"][source], SIZE)).float()
                mask = stage.module.face_loc_emb(face[None, None])[0]
            torch.testing.assert_close(z[row], packed, atol=2e-4, rtol=1e-4)
            torch.testing.assert_close(given["source_BCHW"][row], latent, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(given["mask_BMHW"][row], mask, atol=1e-6, rtol=1e-5)
            lips = cache[f"c{clip}"]["landmarks"][frames][:, 48:]
            boxes = np.concatenate([lips.min(1), lips.max(1)], -1)
            expected = np.stack([box_mask(box, z.shape[-1]) for box in boxes])
            np.testing.assert_array_equal(given["lip_mask_BFHW"][row], expected)
    assert seen_lengths <= lengths and (len(lengths) == 1 or len(seen_lengths) > 1)
    assert (set(sources) != {0}) == changes["random_source"]
    assert 0 < np.mean(dropped) < 1


@pytest.mark.parametrize(("probability", "per_frame"), [(0.0, False), (1.0, False), (0.25, False), (0.25, True)])
def test_conditions_are_dropped_as_often_as_the_settings_say(
    probability: float, per_frame: bool, cache: Cache, run: Path
) -> None:
    """Of whole clips or of single frames; the draws of a step do not depend on it."""
    model = {"null_probability": probability, "drop_per_frame": per_frame}
    loop = micro_settings().a2v_1.loop.model_copy(update={"batch_size": 40})
    batches = [build("a2v-1", cache, run, model=model, loop=loop, frames=3).batch(step) for step in (0, 1)]
    kept = torch.stack([batch["kept"] for batch in batches])
    assert kept.shape == (2, 40, 3 if per_frame else 1)
    assert kept.float().mean().item() == pytest.approx(1 - probability, abs=0.12)
    assert not per_frame or kept.float().std(dim=2).mean() > 0


def test_the_lfg_of_a_run_is_frozen_and_in_evaluation_mode(cache: Cache, run: Path) -> None:
    stage = build("a2v-1", cache, run)
    stage.lfg.train()  # as a stage that trains it would leave it
    before = {k: v.clone() for k, v in stage.lfg.state_dict().items()}
    stage.losses(stage.batch(0), torch.Generator())["total"].backward()
    assert all(torch.equal(before[k], v) for k, v in stage.lfg.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in stage.lfg.parameters())


@pytest.mark.parametrize("name", ["lfg", "a2v-2"])
def test_pictures_of_a_step_change_their_colours_alike(
    name: str, cache: Cache, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of which the source is also each driving frame stays so, in other colours, and in the same ones again."""
    stage = build(name, cache, run, jitter=WIDE, **({"flip": False} if name == "lfg" else {}))
    seen: list[tuple[Tensor, Tensor]] = []
    motion = LFG.motion_details

    def noting(self: LFG, source: Tensor, driving: Tensor) -> Any:
        seen.append((source.repeat_interleave(len(driving) // len(source), dim=0), driving))
        return motion(self, source, driving)

    monkeypatch.setattr(LFG, "motion_details", noting)
    batch = stage.batch(0)
    if name == "lfg":
        batch["driving"] = batch["source"]
    else:
        batch["frames"] = batch["source"][:, None].expand(batch["frames"].shape).contiguous()
    for seed in (1, 1, 2):
        stage.losses(batch, torch.Generator().manual_seed(seed))
    assert all(torch.allclose(source, driving, atol=1e-5) for source, driving in seen)
    assert torch.equal(seen[0][0], seen[1][0])
    plain = batch["source"].movedim(-1, 1) / 255
    copies = seen[0][0][:: len(seen[0][0]) // len(plain)]
    assert (copies - plain).abs().max() > 0.02 and not torch.equal(seen[0][0], seen[2][0])


def test_training_and_sampling_give_the_network_the_same_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scales, source, mask: what the loss shows the U-Net is what the sampler shows it."""
    config = micro_settings().a2v_1.model.model_copy(
        update={"audio_dim": 3, "source_dim": 4, "pose_scales": SCALES, "eye_scale": EYES, "null_probability": 0.0}
    )
    torch.manual_seed(0)
    model = A2VFDM(config).eval()
    shown: list[dict[str, Any]] = []

    def unet(x: Tensor, t: Tensor, **given: Any) -> Tensor:
        shown.append(given)
        return torch.zeros_like(x)

    monkeypatch.setattr(model.diffusion.denoise_fn, "forward", unet)
    monkeypatch.setattr("dawn_bench.models.dawn.a2v.fast.enabled", lambda: False)
    source, cond, mask = torch.rand(2, 4, 8, 8), torch.randn(2, 5, 11), (torch.rand(2, 1, 32, 32) > 0.5).float()
    model.loss(torch.rand(2, 3, 5, 8, 8), source, mask, cond, None, generator=torch.Generator().manual_seed(0))
    model.sample(source, mask, cond, steps=1, cond_scale=0.5, generator=torch.Generator().manual_seed(0))
    training, sampled = shown[0], shown[1:]
    factors = torch.tensor([1.0, 1, 1, *SCALES, EYES, EYES])
    torch.testing.assert_close(training["cond_BFD"], cond * factors)
    for b in range(2):  # with guidance: the condition, then none
        for given, factor in zip(sampled[2 * b : 2 * b + 2], (1, 0), strict=True):
            torch.testing.assert_close(given["cond_BFD"][0], training["cond_BFD"][b] * factor)
            for name in ("source_BCHW", "mask_BMHW"):
                torch.testing.assert_close(given[name][0], training[name][b])
            assert given["win_width"] == config.win_width
    assert "win_width" not in training  # clips are seen whole in training


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_guidance_goes_from_the_unconditioned_prediction_through_the_conditioned_one(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below 1 it stays nearer to the unconditioned one, at 0 it is that, above 1 it goes beyond."""
    config = micro_settings().a2v_1.model.model_copy(update={"audio_dim": 3, "source_dim": 4})
    model = A2VFDM(config).eval()
    monkeypatch.setattr("dawn_bench.models.dawn.a2v.fast.enabled", lambda: False)
    monkeypatch.setattr(
        model.diffusion.denoise_fn, "forward", lambda x, t, **given: torch.full_like(x, float(given["cond_BFD"].any()))
    )
    seen: list[float] = []

    def noting(x: Tensor, t: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(float(predicted.mean()))
        return x, predicted

    monkeypatch.setattr(model.diffusion, "clean_and_noise", noting)
    model.sample(torch.rand(1, 4, 8, 8), torch.ones(1, 1, 32, 32), torch.ones(1, 2, 11), steps=2, cond_scale=scale)
    assert seen == pytest.approx([scale] * 2)


@pytest.mark.parametrize("flip", [False, True])
def test_the_lfg_is_trained_on_two_frames_of_a_clip_in_order(
    flip: bool, cache: Cache, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without flips the earlier frame is the source; with them half of the steps swap and a quarter mirrors them."""
    stage = build("lfg", cache, run, jitter=STILL, flip=flip)
    calls: list[tuple[Tensor, Tensor, Any]] = []

    def criterion(self: LFGLoss, lfg: LFG, source: Tensor, driving: Tensor, *, deformation: Any) -> Any:
        assert lfg is stage.module
        calls.append((source, driving, deformation))
        return {"total": source.sum()}, None

    monkeypatch.setattr(LFGLoss, "forward", criterion)
    kinds = []
    for step in range(24):
        batch = stage.batch(step)
        stage.losses(batch, torch.Generator().manual_seed(step))
        source, driving, bend = calls[-1]
        assert torch.equal(bend.theta_B23, batch["theta"]) and torch.equal(bend.bend_BP, batch["bend"])
        assert bend.points == stage.config.loss.bend_points
        at, to = numbers_of(source), numbers_of(driving)
        assert [c for c, _ in at] == [c for c, _ in to] == [TRAINED_ON[p] for p in batch["clip"].tolist()]
        order = {np.sign(b - a) for (_, a), (_, b) in zip(at, to, strict=True)} - {0}
        mirrored = {
            not torch.allclose(x, picture(cache, c, k), atol=1e-6)
            for pictures, places in ((source, at), (driving, to))
            for x, (c, k) in zip(pictures, places, strict=True)
        }
        assert len(order) <= 1 and len(mirrored) == 1
        for x, (c, k) in zip(source, at, strict=True):
            shown = picture(cache, c, k)
            assert torch.allclose(x, shown.flip(-1) if mirrored == {True} else shown, atol=1e-6)
        kinds.append((order == {-1}, mirrored == {True}))
    expected = {(False, False), (True, False), (False, True)} if flip else {(False, False)}
    assert set(kinds) == expected


#: What a PBNet predicts, and its channels of the cache: factor of the frame's number, lowest and highest value.
_POSE = [(1 + c / 8, -10.0 * (c + 1), 500.0 * (c + 2)) for c in range(6)]
_BLINK = [(1 / 1024, 0.0, 1.0), (1 / 2048, 0.0, 1.0)]
PREDICTED = {(6, 2): _POSE + _BLINK, (6, 0): _POSE, (0, 2): _BLINK}


@pytest.mark.parametrize("dims", list(PREDICTED))
def test_pbnet_is_trained_on_normalised_tracks_with_their_sound(
    dims: tuple[int, int], cache: Cache, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of 32 frames: some clips are longer, some are padded."""
    ranges = {"pose_min": tuple(low for _, low, _ in _POSE), "pose_max": tuple(high for _, _, high in _POSE)}
    model = {"pos_dim": dims[0], "eye_dim": dims[1], **ranges}
    stage = build("pbnet", cache, run, frames=32, steps_per_epoch=3, model=model)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    real = pbnet_stage.pbnet_losses

    def noting(*given: Any, **named: Any) -> Any:
        calls.append((given, named))
        return real(*given, **named)

    monkeypatch.setattr(pbnet_stage, "pbnet_losses", noting)
    padded = set()
    for step in range(7):
        batch = stage.batch(step)
        stage.losses(batch, torch.Generator())
        (network, x, audio, valid), given = calls[-1]
        assert network is stage.module.pbnet and given["discriminator"] is stage.module.discriminator
        assert given["epoch"] == step // 3
        assert torch.equal(given["noise_NBZ"], batch["noise"].transpose(0, 1))
        for row, place in enumerate(batch["clip"].tolist()):
            clip = TRAINED_ON[place]
            length = min(32, LENGTHS[clip])
            assert valid[row].tolist() == [True] * length + [False] * (32 - length)
            first = named(float(audio[row, 0, 0]))
            numbers = code(clip, first[1] + np.arange(length))
            assert first[0] == clip and first[1] + length <= LENGTHS[clip]
            state = [(numbers * factor - low) / (high - low) for factor, low, high in PREDICTED[dims]]
            np.testing.assert_allclose(x[row, :length], np.stack(state, 1), rtol=1e-5)
            np.testing.assert_allclose(audio[row, :length, 1], numbers + 0.25)
            assert not x[row, length:].any() and not audio[row, length:].any()
            padded.add(length)
    assert padded == {26, 31, 32}


def test_the_kl_term_begins_with_the_epochs_of_the_stage(cache: Cache, run: Path) -> None:
    """The weight of a step's KL term, by the difference that the term makes to its loss."""
    model = {"kl_rises": True, "kl_start": 1, "kl_ramp": 2, "kl_weight": 0.5, "dropout": 0.0, "rec_weight": 0.0}
    stage = build("pbnet", cache, run, steps_per_epoch=2, adversarial=False, model=model)
    weights = []
    for step in range(9):
        values = stage.losses(stage.batch(step), torch.Generator())
        weights.append(float(values["total"].detach() / values["kl"].detach()))
    assert weights == pytest.approx([0, 0, 0, 0, 0.25, 0.25, 0.5, 0.5, 0.5], abs=1e-6)
    # Without the setting, an epoch has as many steps as the training clips have batches, and at least one.
    assert build("pbnet", cache, run).steps_per_epoch == 1
    loop = micro_settings().pbnet.loop.model_copy(update={"batch_size": 1})
    assert build("pbnet", cache, run, loop=loop).steps_per_epoch == 3


def test_every_window_and_every_source_of_a_clip_is_drawn(tmp_path: Path, run: Path) -> None:
    """The first and the last possible included: of clips a little longer than the window, each start and source."""
    lengths = (8, 10, 7)
    small = Cache(write_numbered(tmp_path / "cache", lengths=lengths, splits=("train",) * 3))
    stage = build("a2v-2", small, run, frames=7, min_frames=6, random_source=True)
    starts: set[tuple[int, int, int]] = set()
    sources: set[tuple[int, int]] = set()
    for step in range(110):
        batch = stage.batch(step)
        for row in range(len(batch["clip"])):
            frames = batch["frames"][row].movedim(-1, 1) / 255
            (clip, start), *_ = numbers_of(frames)
            starts.add((clip, len(frames), start))
            sources |= set(numbers_of(batch["source"][row].movedim(-1, 0)[None] / 255))
    assert starts == {(c, n, s) for c, length in enumerate(lengths) for n in (6, 7) for s in range(length - n + 1)}
    every = {(c, k) for c, length in enumerate(lengths) for k in range(length)}
    assert sources == every
    lfg = build("lfg", small, run)
    pairs = (torch.cat([b["source"], b["driving"]]) for b in map(lfg.batch, range(60)))
    assert {frame for pair in pairs for frame in numbers_of(pair.movedim(-1, 1) / 255)} == every
    tracks = build("pbnet", Cache(write_numbered(tmp_path / "long", lengths=(26,), splits=("train",))), run, frames=24)
    assert {named(float(row[0, 0])) for step in range(8) for row in tracks.batch(step)["audio"]} == {
        (0, 0), (0, 1), (0, 2)
    }  # fmt: skip


@pytest.mark.parametrize("name", list(MODELS["dawn"].stages))
def test_a_stage_has_the_settings_of_its_own_name(name: str, cache: Cache, run: Path) -> None:
    """Its part of the settings is its configuration and its loop."""
    loop = micro_settings().lfg.loop.model_copy(update={"steps": 77})
    stage = build(name, cache, run, loop=loop)
    assert stage.name == name and stage.config.loop.steps == stage.loop.steps == 77
    assert isinstance(stage, A2VStage) == name.startswith("a2v")
