"""A run records the extractors of its data; evaluate, train and generate compare them with what they are given."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import pytest
from micro import micro_settings, micro_train
from typer.testing import CliRunner

from dawn_bench.baselines.methods import dawn as dawn_method
from dawn_bench.cache import Cache
from dawn_bench.cli import app
from dawn_bench.errors import InputError
from dawn_bench.extractor_record import KEY, Extracted, of_provenance, to_json
from dawn_bench.models.checkpoint import load_checkpoint, save_checkpoint
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.options import SamplingOptions
from dawn_bench.models.inputs import read_drive, read_portrait
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.faces.base import pick_backend
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.pipelines.media.video import read_frames
from dawn_bench.pipelines.synthetic.write import write_embedded
from dawn_bench.reports.store import ResultsStore
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods
from dawn_bench.workflow.pieces import cut_piece, repeated
from dawn_bench.workflow.train import train

FRAME, BOX = Extracted("pose", "pose-2-weak-perspective-68"), Extracted("pose-3ddfa", "pose-3ddfa-1-x-y")
PAIRS, PAIR = Extracted("blink", "blink-1"), Extracted("blink-one-pair", "blink-one-pair-1")
LOGMEL = Extracted("logmel", "logmel-1-80-160-400-512")


def with_record(cache: Path, folder: Path, *record: Extracted) -> Path:
    """A copy of a cache that names its extractors."""
    shutil.copytree(cache, folder)
    facts = {"face": "dlib", "face fingerprint": "dlib-2"} | {f"extractor {e.name}": e.version for e in record}
    file = folder / "cache.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"fingerprints": facts}))
    return folder


def trained_on(run: Path, folder: Path, **stages: tuple[Extracted, ...]) -> Path:
    """A copy of a run whose checkpoints of some stages (`a2v_2`) record these extractors of pose and blinks."""
    shutil.copytree(run, folder)
    for stage, record in stages.items():
        path = folder / stage.replace("_", "-") / "model.safetensors"
        kind = stage.partition("_")[0]
        module, provenance = load_checkpoint(path, kind)
        fields = {e.name.partition("-")[0]: e for e in record}
        save_checkpoint(path, module, config=module.config, kind=kind, provenance={**provenance, KEY: to_json(fields)})
    return folder


def evaluation(cache: Path, run: Path, out: Path, **settings: Any) -> Evaluation:
    return Evaluation(
        cache=cache,
        out=out,
        checkpoint=run,
        metrics=("psnr",),
        sanity=False,
        device="cpu",
        options={"steps": 1},
        **settings,
    )


def refused(*words: object) -> str:
    """The one line with which a command ends that cannot do what it is asked."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(done.exception, InputError), done.output
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_a_checkpoint_records_the_extractors_of_its_cache(tiny_cache: Path, tmp_path: Path) -> None:
    cache = with_record(tiny_cache, tmp_path / "cache", BOX, PAIR, LOGMEL)
    path = micro_train(cache, tmp_path / "run", "lfg.loop.steps=1", stage="lfg")["lfg"]
    provenance = load_checkpoint(path, "lfg")[1]
    assert of_provenance(provenance) == {
        "face": Extracted("dlib", "dlib-2"),
        "pose": BOX,
        "blink": PAIR,
        "logmel": LOGMEL,
    }
    plain = micro_train(tiny_cache, tmp_path / "plain", "lfg.loop.steps=1", stage="lfg")["lfg"]
    assert of_provenance(load_checkpoint(plain, "lfg")[1]) == {}


def test_evaluate_refuses_a_cache_of_other_head_poses(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    run = trained_on(micro_run, tmp_path / "run", a2v_2=(BOX, PAIRS))
    cache = with_record(tiny_cache, tmp_path / "cache", FRAME, PAIRS, LOGMEL)
    words = ["--cache", cache, "--checkpoint", run, "--out", tmp_path / "out", "--method", "dawn", "--device", "cpu"]
    line = refused("evaluate", *words)
    assert "head pose by pose (pose-2-weak-perspective-68)" in line and "--pose 3ddfa" in line
    assert not (tmp_path / "out" / "outputs").exists()  # before anything is generated
    fitting = with_record(tiny_cache, tmp_path / "fitting", BOX, PAIRS)
    evaluate_methods(evaluation(fitting, run, tmp_path / "fits"))
    assert all("head pose" not in row.note for row in ResultsStore(tmp_path / "fits").rows())


def test_an_earlier_run_is_evaluated_and_the_row_says_what_is_unknown(
    tiny_cache: Path, micro_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = with_record(tiny_cache, tmp_path / "cache", BOX, PAIR)
    evaluate_methods(evaluation(cache, micro_run, tmp_path / "out", methods=("dawn", "dawn-shuffled")))
    said = " ".join(capsys.readouterr().err.split())
    words = "the extractors of the head pose, blinks, faces and landmarks of the model's training data are not recorded"
    assert said.count(words) == 1  # once for both methods
    assert all(words in row.note for row in ResultsStore(tmp_path / "out").rows())


def test_published_weights_on_a_landmark_cache_are_told_in_the_row(
    tiny_cache: Path,
    micro_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    generator = DawnGenerator.load(micro_run)
    expects = {"pose": Extracted("pose-3ddfa"), "blink": Extracted("blink-one-pair")}
    a2v = {**generator.facts["a2v"], "published": True, KEY: to_json(expects)}
    generator.facts = MappingProxyType({**generator.facts, "a2v": a2v})
    monkeypatch.setattr(dawn_method, "load_generator", lambda *a, **k: generator)
    cache = with_record(tiny_cache, tmp_path / "cache", FRAME, PAIRS)
    evaluate_methods(evaluation(cache, micro_run, tmp_path / "out"))
    said = " ".join(capsys.readouterr().err.split())
    (row,) = ResultsStore(tmp_path / "out").rows()
    for words in ("head pose: the model was trained on pose-3ddfa", "blinks: the model was trained on blink-one-pair"):
        assert said.count(words) == 1 and row.note.count(words) == 1


def test_stages_of_unlike_extractors_are_not_used_together(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    run = trained_on(micro_run, tmp_path / "run", a2v_2=(BOX, PAIR), pbnet=(BOX, PAIRS))
    with pytest.raises(InputError, match=r"blinks by blink-one-pair.*, its pbnet by blink \(blink-1\)"):
        DawnGenerator.load(run)
    cache = Cache(with_record(tiny_cache, tmp_path / "cache", FRAME, PAIRS))
    (tmp_path / "out").mkdir()
    shutil.copytree(run / "lfg", tmp_path / "out" / "lfg")
    shutil.copytree(run / "a2v-2", tmp_path / "out" / "a2v-2")
    with pytest.raises(InputError, match=r"a2v-2: was trained on head pose by pose-3ddfa") as caught:
        train(cache, micro_settings(), out=tmp_path / "out", stages=["pbnet"], seed=0, device="cpu")
    assert "another --out" in str(caught.value) and not (tmp_path / "out" / "pbnet").exists()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_embedded(tmp_path_factory.mktemp("embedded"), speakers=1, clips=1, seconds=1, size=128)
    return next((root / "VideoFlash").glob("*.mp4"))


@pytest.fixture
def network_pose(monkeypatch: pytest.MonkeyPatch) -> None:
    """3DDFA_V2 with a result that is easily recognised: the mean of each cropped frame in the place of the yaw."""

    def run(self: Any, arrays: dict, *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        pose = np.zeros((n_frames, 7), np.float32)
        pose[:, 0] = arrays["frames"].mean(axis=(1, 2, 3))
        return {"pose": pose}

    monkeypatch.setattr(EXTRACTORS["pose-3ddfa"], "run", run)
    monkeypatch.setattr(EXTRACTORS["pose-3ddfa"], "missing", staticmethod(lambda: None))


def test_portrait_and_driving_video_go_through_the_named_extractors(
    video: Path, network_pose: None, tmp_path: Path
) -> None:
    backend = pick_backend("dlib")
    pose, blink = read_drive(video, size=64, backend=backend, n_frames=10, pose="pose-3ddfa", blink="blink-one-pair")
    default_pose, default_blink = read_drive(video, size=64, backend=backend, n_frames=10)
    assert (pose[:, 0] > 50).all() and (np.abs(default_pose[:, 0]) < 50).all()
    assert (blink != default_blink).any()
    cv2.imwrite(str(tmp_path / "me.png"), read_frames(video)[0][..., ::-1])
    portrait, _ = read_portrait(tmp_path / "me.png", size=64, backend=backend, pose="pose-3ddfa")
    assert portrait.pose[0] == pytest.approx(portrait.frame.mean(), abs=0.01)


def test_generate_uses_the_extractors_of_the_run_or_refuses(
    video: Path,
    micro_run: Path,
    network_pose: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = trained_on(micro_run, tmp_path / "run", a2v_2=(BOX, PAIR), pbnet=(BOX, PAIR))
    cv2.imwrite(str(tmp_path / "me.png"), read_frames(video)[0][..., ::-1])
    write_wav(tmp_path / "a.wav", np.full(8000, 99, np.int16))
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        "dawn_bench.models.dawn.generator.read_drive",
        lambda *a, pose, blink, **k: asked.append((pose, blink)) or read_drive(*a, pose=pose, blink=blink, **k),
    )
    words = ["--image", tmp_path / "me.png", "--audio", tmp_path / "a.wav", "--checkpoint", run, "--drive", video]
    words = [*words, "--out", tmp_path / "t.mp4", "--steps", "1", "--device", "cpu"]
    done = CliRunner().invoke(app, ["generate", *map(str, words)])
    assert done.exit_code == 0 and asked == [("pose-3ddfa", "blink-one-pair")]
    assert "not recorded" not in done.output
    monkeypatch.setattr(EXTRACTORS["pose-3ddfa"], "missing", staticmethod(lambda: "mb1_120x120.pth: get it"))
    (tmp_path / "t.mp4").unlink()
    line = refused("generate", *words)
    assert line.endswith("by pose-3ddfa (pose-3ddfa-1-x-y), which cannot run here: mb1_120x120.pth: get it")
    assert not (tmp_path / "t.mp4").exists()


def test_audio_features_of_another_width_are_refused(tiny_cache: Path, micro_run: Path, tmp_path: Path) -> None:
    """As of another network of the same name: the model could not take a single frame."""
    clip = Cache(tiny_cache)["c4"]
    wide = replace(clip, arrays={**clip.arrays, "logmel": np.zeros((clip.n_frames, 81), np.float16)})
    method = dawn_method.Dawn(DawnGenerator.load(micro_run), SamplingOptions(), name="dawn")
    method.check(clip)
    with pytest.raises(InputError, match="its logmel features are 81 numbers a frame; this model was trained on 80"):
        method.check(wide)


def test_a_row_of_released_weights_says_that_nothing_proves_them(tiny_cache: Path, micro_run: Path) -> None:
    clip = Cache(tiny_cache)["c4"]
    generator = DawnGenerator.load(micro_run)
    method = dawn_method.Dawn(generator, SamplingOptions(), name="dawn")
    assert dawn_method.UNPROVEN not in method.remarks(clip)
    generator.facts = {**generator.facts, "a2v": {**generator.facts["a2v"], "published": True}}
    assert method.remarks(clip)[0] == dawn_method.UNPROVEN


def test_a_piece_of_a_clip_keeps_the_record(tiny_cache: Path, tmp_path: Path) -> None:
    clip = Cache(with_record(tiny_cache, tmp_path / "cache", BOX, PAIR))["c0"]
    for part in (cut_piece(clip, 2, 9), repeated(clip, 40, name="long")):
        assert part.extractors == clip.extractors != {}
