"""DiT-Head as methods: dubbing, portrait, the shuffled twin; never ranked with each other or with portrait methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from micro_dit_head import micro_train

from dawn_bench.baselines.base import METHODS, Context, Item
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.reports.leaderboard import leaderboards
from dawn_bench.reports.store import ResultsStore
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods

NAMES = ("dit-head", "dit-head-portrait", "dit-head-shuffled")


@pytest.fixture(scope="module")
def run(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dit-head") / "run"
    micro_train(tiny_cache, out)
    return out


@pytest.fixture(scope="module")
def clips(tiny_cache: Path) -> list[Clip]:
    return Cache(tiny_cache).clips("test")


def test_each_mode_gives_a_clip_like_the_truth(run: Path, clips: list[Clip]) -> None:
    methods = {name: METHODS[name](Context(run, options={"steps": 2})) for name in NAMES}
    generated = {name: method.generate(Item(clips[0], clips, 0)) for name, method in methods.items()}
    for name, output in generated.items():
        assert output.frames.shape == (30, 32, 32, 3) and output.frames.dtype == np.uint8
        assert output.audio.shape == clips[0]["audio"].shape and methods[name].name == name
    assert [methods[n].method_class for n in NAMES] == ["dub", "static-lips", "dub"]
    assert len({m.fingerprint for m in methods.values()}) == 3
    assert "masked-truth" in methods["dit-head"].uses and "source" in methods["dit-head-portrait"].uses
    top = generated["dit-head"].frames[:, :12]
    np.testing.assert_array_equal(top, clips[0]["frames"][:, :12])  # the eyes' rows are the true video's
    still = generated["dit-head-portrait"].frames[:, :12]
    np.testing.assert_array_equal(still, np.repeat(clips[0]["frames"][:1, :12], 30, axis=0))
    np.testing.assert_array_equal(generated["dit-head-shuffled"].audio, clips[1]["audio"])


def test_options_are_checked_and_change_the_fingerprint(run: Path) -> None:
    with pytest.raises(InputError, match="option 'interpolation'"):
        METHODS["dit-head"](Context(run, options={"interpolation": "rife"}))
    with pytest.raises(InputError, match="--model dit-head"):
        METHODS["dit-head"](Context())
    plain, fewer = (METHODS["dit-head"](Context(run, options=o)).fingerprint for o in ({}, {"steps": 9}))
    assert plain != fewer


def test_classes_are_ranked_separately_and_the_report_lists_deviations(
    run: Path, tiny_cache: Path, tmp_path: Path
) -> None:
    done = evaluate_methods(
        Evaluation(
            cache=tiny_cache,
            out=tmp_path,
            device="cpu",
            methods=("dit-head", "dit-head-portrait"),
            checkpoint=run,
            metrics=("psnr", "ssim"),
            options={"steps": 2},
        )
    )
    assert not done.failed
    tables = {t.method_class: t for t in leaderboards(ResultsStore(tmp_path).rows())}
    ranked = {c: [li.method for li in t.lines if li.group == "ranked"] for c, t in tables.items()}
    assert ranked == {"dub": ["dit-head"], "static-lips": ["dit-head-portrait"]}
    notes = " ".join(ResultsStore(tmp_path).facts().notes)
    assert "DiT-Head trained with preset micro on 4 clips" in notes
    assert "logmel" in notes and "Wav2Vec2" in notes
    assert "not the paper's" in notes and "model.depth=2" in notes and "loop.steps=4" in notes
