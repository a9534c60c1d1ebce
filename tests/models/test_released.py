"""DAWN's published files: located by name in a folder or in the weights folder, loaded, or refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_cache import write_tiny_cache

from dawn_bench.config import replace
from dawn_bench.errors import InputError
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.lfg import LFG, HourglassConfig, LFGConfig
from dawn_bench.models.dawn.options import SamplingOptions
from dawn_bench.models.dawn.pbnet import PBNet, PBNetConfig, SeparatePBNets
from dawn_bench.models.dawn.released import ReleasedFiles, find_released, load_generator, load_released
from dawn_bench.models.inputs import Portrait
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods

SMALL = HourglassConfig(block_expansion=4, max_features=8, num_blocks=2)
LFG_CONFIG = LFGConfig.reference(
    num_regions=2,
    block_expansion=4,
    max_features=16,
    num_bottleneck_blocks=1,
    region=SMALL,
    flow=SMALL,
    background=SMALL,
)
A2V_CONFIG = A2VConfig.reference(
    dim=8, dim_mults=(1, 2), heads=2, head_dim=4, cross_heads=2, cross_head_dim=4, source_dim=16, audio_dim=12
)
PBNET = {"audio_dim": 12, "audio_latent_dim": 16, "pose_latent_dim": 8, "latent_dim": 8, "ff_size": 8}
NAMES = ("LFG_128_1000ep.pth", "DAWN_128.pth", "pbnet_seperate/pose/checkpoint_40000.pth.tar")
NAMES = (*NAMES, "pbnet_seperate/blink/checkpoint_95000.pth.tar")


def save_all(folder: Path, lfg: LFG, a2v: A2VFDM, pose: PBNet, blink: PBNet) -> None:
    """The published layout: parts of the LFG, the diffusion alone, bare state dicts of PBNet with their tables."""
    parts = {name: part.state_dict() for name, part in lfg.named_children()}
    tables = {f"{part}.sequence_pos_encoder.pe": torch.zeros(20, 1, 4) for part in ("encoder", "decoder")}
    contents = (
        {"example": 1, "epoch": 2, "optimizer": {}, **parts},
        {"example": 1, "diffusion": a2v.diffusion.state_dict(), "optimizer_diff": {}},
        {**pose.state_dict(), **tables},
        {**blink.state_dict(), **tables},
    )
    for name, content in zip(NAMES, contents, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, folder / name)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    pose, blink = (PBNet(PBNetConfig.reference(pos_dim=p, eye_dim=e, **PBNET)) for p, e in ((6, 0), (0, 2)))
    save_all(folder, LFG(LFG_CONFIG), A2VFDM(A2V_CONFIG), pose, blink)
    return folder


def test_files_are_located_by_folder_by_one_of_them_and_by_name(
    published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = find_released(published)
    assert files == ReleasedFiles(
        128, published / NAMES[0], published / NAMES[1], (published / NAMES[2], published / NAMES[3])
    )
    assert find_released(published / "DAWN_128.pth") == files
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(published))
    assert find_released(Path("released-128")) == files
    with pytest.raises(InputError, match=r"lacks LFG_256_400ep\.pth, DAWN_256\.pth\. By hand: .*add FOLDER$"):
        find_released(Path("released-256"))
    assert find_released(tmp_path) is None


def test_missing_and_duplicate_files_of_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint"):
        find_released(tmp_path / "DAWN_128.pth")
    (tmp_path / "DAWN_128.pth").touch()
    with pytest.raises(InputError, match=r"no LFG_128\*\.pth.*huggingface"):
        find_released(tmp_path)
    (tmp_path / "LFG_128_1000ep.pth").touch()
    with pytest.raises(InputError, match=r"no checkpoint_\*\.pth\.tar of PBNet"):
        find_released(tmp_path)
    (tmp_path / "pbnet_both").mkdir()
    (tmp_path / "pbnet_both" / "checkpoint_100000.pth.tar").touch()
    files = find_released(tmp_path)
    assert files is not None and [path.parent.name for path in files.pbnet] == ["pbnet_both"]
    (tmp_path / "DAWN_256.pth").touch()
    with pytest.raises(InputError, match=r"DAWN_128\.pth and DAWN_256\.pth.*Choose a file: --checkpoint"):
        find_released(tmp_path)


@pytest.mark.parametrize("spelling", ["pbnet-seperate", "pbnet-separate", "pbnet_separate"])
def test_both_spellings_of_the_folder_are_read(
    published: Path, tmp_path: Path, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(published, tmp_path / "models")
    (tmp_path / "models/pbnet_seperate").rename(tmp_path / "models" / spelling)
    files = find_released(tmp_path / "models")
    assert files is not None and [path.parent.name for path in files.pbnet] == ["pose", "blink"]
    load_released(files, lfg_config=LFG_CONFIG, a2v_config=A2V_CONFIG)
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path / "models"))  # the download itself as the weights folder
    assert find_released(Path("released-128")) == files
    shutil.rmtree(tmp_path / "models" / spelling / "blink")
    with pytest.raises(InputError, match=r"of PBNet in pbnet_seperate/blink, nor in pbnet_both.*weights add FOLDER"):
        find_released(tmp_path / "models")


def test_swapped_files_are_refused_before_anything_is_generated(published: Path, tmp_path: Path) -> None:
    pose, blink = (published / name for name in NAMES[2:])
    swapped = ReleasedFiles(128, published / NAMES[0], published / NAMES[1], (blink, pose))
    with pytest.raises(
        InputError, match=r"95000\.pth\.tar: is DAWN's PBNet for blinks, not DAWN's PBNet for head pose"
    ):
        load_released(swapped, lfg_config=LFG_CONFIG, a2v_config=A2V_CONFIG)
    lfg = torch.load(published / NAMES[0])
    torch.save(lfg | {"epoch": 400}, tmp_path / "LFG_128_1000ep.pth")
    wrong = ReleasedFiles(128, tmp_path / "LFG_128_1000ep.pth", published / NAMES[1], (pose, blink))
    with pytest.raises(InputError, match=r"is DAWN's LFG at 256 px .*, not DAWN's LFG at 128 px"):
        load_released(wrong, lfg_config=LFG_CONFIG, a2v_config=A2V_CONFIG)


def test_one_pbnet_for_both_serves_where_the_pair_is_absent(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(published, tmp_path / "models")
    shutil.rmtree(tmp_path / "models/pbnet_seperate")
    both = PBNet(PBNetConfig.reference(pos_dim=6, eye_dim=2, **PBNET))
    (tmp_path / "models/pbnet_both").mkdir()
    torch.save(both.state_dict(), tmp_path / "models/pbnet_both/checkpoint_100000.pth.tar")
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path / "models"))
    files = find_released(Path("released-128"))
    assert files is not None and [path.parent.name for path in files.pbnet] == ["pbnet_both"]
    assert isinstance(load_released(files, lfg_config=LFG_CONFIG, a2v_config=A2V_CONFIG).pbnet, PBNet)


def test_published_files_talk_with_the_released_behaviour(published: Path) -> None:
    files = find_released(published)
    assert files is not None
    talker = load_released(files, lfg_config=LFG_CONFIG, a2v_config=A2V_CONFIG)
    assert (talker.size, talker.audio_encoder) == (128, "hubert")
    assert isinstance(talker.pbnet, SeparatePBNets)
    assert talker.a2v.config.ddim_off_by_one and talker.lfg.config.truncate_pixels
    size = 32
    source = Portrait(
        np.full((size, size, 3), 90, np.uint8), np.zeros(7), np.full(2, 0.3), np.array([8.0, 8, 24, 24]), (48, 32)
    )
    sound = np.random.default_rng(0).standard_normal((7, 12))
    first, again = (talker.talk(source, sound, seed=1, options=SamplingOptions(steps=2)) for _ in range(2))
    assert first.shape == (7, size, size, 3)
    np.testing.assert_array_equal(first, again)


def test_files_of_other_widths_name_their_keys(published: Path) -> None:
    with pytest.raises(InputError, match=r"LFG_128_1000ep\.pth: does not fit the LFG: keys .* missing") as caught:
        load_generator(published)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="one stage"):
        load_generator(published, stage="a2v-1")


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the published widths."""
    folder = tmp_path_factory.mktemp("full-size")
    pose, blink = (PBNet(PBNetConfig.reference(pos_dim=p, eye_dim=e)) for p, e in ((6, 0), (0, 2)))
    save_all(folder, LFG(LFGConfig.reference()), A2VFDM(A2VConfig.reference()), pose, blink)
    return folder


@pytest.mark.slow
def test_generate_with_full_size_files(
    full_size: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command at the published widths; the missing speech encoder's weights are named."""
    import cv2

    from dawn_bench.cli.generate import generate
    from dawn_bench.pipelines.extractors.hubert import Hubert
    from dawn_bench.pipelines.media.audio import write_wav
    from dawn_bench.pipelines.media.video import probe, read_frames

    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(full_size))
    cv2.imwrite(str(tmp_path / "me.png"), np.full((60, 50, 3), 120, np.uint8))
    write_wav(tmp_path / "a.wav", (3000 * np.sin(np.arange(4000) / 9)).astype(np.int16))
    out = tmp_path / "talk.mp4"

    def run() -> None:
        files = {"image": tmp_path / "me.png", "audio": tmp_path / "a.wav", "out": out}
        generate(**files, checkpoint=Path("released-128"), crop="paper", face="dlib", steps=1)

    with pytest.raises(InputError, match=r"HuBERT-large speech encoder are missing. Put hubert-large"):
        run()
    monkeypatch.setattr(
        Hubert, "run", lambda self, arrays, *, size, n_frames: {"hubert": np.zeros((n_frames, 1024), np.float16)}
    )
    run()
    info = probe(out)
    assert (info.width, info.height, info.fps, info.has_audio) == (128, 128, 25.0, True)
    assert len(read_frames(out)) == 6
    assert "no face found" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_with_full_size_files(full_size: Path, tmp_path: Path) -> None:
    """`evaluate --method dawn` takes the published files as it takes a trained run, on clips of their size alone."""
    cache = write_tiny_cache(tmp_path / "cache", size=128, frames=6, splits=("train", "test"), hubert=True)
    job = Evaluation(
        cache=cache,
        out=tmp_path / "results",
        device="cpu",
        methods=("dawn",),
        metrics=("psnr",),
        checkpoint=full_size,
        options={"steps": 1},
        sanity=False,
    )
    rows = evaluate_methods(job).rows
    assert [(r.method, r.metric, r.coverage, r.n_frames) for r in rows] == [("dawn", "psnr", 1.0, 6)]
    smaller = write_tiny_cache(tmp_path / "smaller", size=64, frames=6, splits=("test",), hubert=True)
    with pytest.raises(InputError, match=r"frames are 64 px wide, .* at 128\. Prepare .*--size 128"):
        evaluate_methods(replace(job, cache=smaller, out=tmp_path / "others"))
    audio_only = write_tiny_cache(tmp_path / "audio_only", size=128, frames=6, splits=("test",))
    with pytest.raises(InputError, match=r"no hubert features.*--extract hubert"):
        evaluate_methods(replace(job, cache=audio_only, out=tmp_path / "audio_only-results"))
