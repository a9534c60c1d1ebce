"""The metric contract: records add over ranks and restarts, intervals are over clips, undefined clips are counted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dawn_bench.errors import InputError, ItemError
from dawn_bench.job import read_job
from dawn_bench.metrics.functional.bootstrap import ratio_interval
from dawn_bench.metrics.protocols.base import PAPER_DAWN, PROTOCOLS, protocol
from dawn_bench.metrics.scoring.base import (
    FEATURES,
    METRICS,
    Arrays,
    Part,
    RatioMetric,
    by_second,
    mean_over_time,
    worst_state,
)
from dawn_bench.metrics.scoring.listing import metric_names, metrics_in_order
from dawn_bench.workflow.evaluation import Evaluation


class Mean(RatioMetric):
    name, title, minimum = "mean", "Mean", 3

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        x = generated["x"]
        return Part(float(x.sum()), len(x), len(x))


def update(metric: Mean, clips: dict[str, list[float]]) -> Mean:
    for clip, values in clips.items():
        metric.update({"x": np.array(values)}, {}, clip_id=clip)
    return metric


CLIPS = {"a": [1.0, 2.0], "b": [3.0], "c": [10.0, 2.0, 0.0], "d": []}


def test_a_ratio_metric_is_the_weighted_mean_and_counts_undefined_clips() -> None:
    score = update(Mean(), CLIPS).compute()
    assert score.value == pytest.approx(18 / 6)
    assert (score.n_clips, score.n_frames) == (3, 6)
    assert score.per_clip == {"a": 1.5, "b": 3.0, "c": 4.0, "d": None}
    assert "undefined for 1 clip" in score.note
    assert score.low is not None and score.high is not None and 1.5 <= score.low < 3 < score.high <= 4


def test_records_of_ranks_merge_to_the_score_of_one_process_even_where_a_clip_was_seen_twice() -> None:
    whole = update(Mean(), CLIPS).compute()
    one, two = update(Mean(), {k: CLIPS[k] for k in "ca"}), update(Mean(), {k: CLIPS[k] for k in "dba"})
    one.merge(two.records)
    assert one.compute() == whole


def test_too_few_clips_are_flagged_with_the_minimum() -> None:
    assert "2 clips, at least 3" in update(Mean(), {"a": [1.0], "b": [2.0]}).compute().note


def test_nan_is_refused_for_its_clip_alone() -> None:
    metric = Mean()
    with pytest.raises(ItemError, match="not_finite"):
        update(metric, {"a": [float("nan")]})
    assert update(metric, {"b": [2.0]}).compute().value == 2.0


def test_no_clip_gives_no_value_and_a_note() -> None:
    score = Mean().compute()
    assert score.value is None and "no clip" in score.note


def test_bootstrap_covers_the_mean_of_a_known_distribution() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for trial in range(200):
        low, high = ratio_interval(rng.normal(5, 2, 30), np.ones(30), seed=trial, resamples=400)
        assert low is not None and high is not None
        hits += low < 5 < high
    assert 0.88 <= hits / 200 <= 0.99


def test_bootstrap_is_none_for_one_clip_and_the_same_for_the_same_seed() -> None:
    assert ratio_interval(np.ones(1), np.ones(1)) == (None, None)
    x = np.arange(5.0)
    assert ratio_interval(x, np.ones(5), seed=4) == ratio_interval(x, np.ones(5), seed=4)
    assert ratio_interval(x, np.ones(5), seed=4) != ratio_interval(x, np.ones(5), seed=5)


def test_the_worst_weights_decide() -> None:
    assert worst_state(["canonical", "seeded", "user"]) == "seeded"
    assert worst_state(["canonical", "user"]) == "user"
    assert worst_state([]) == "none"


def test_every_metric_names_existing_features_and_a_docstring_source() -> None:
    for name in METRICS:
        metric = METRICS[name]
        assert metric.name == name
        assert all(need in FEATURES for need in metric.needs), name
        assert metric.minimum_of in ("clips", "frames", "windows")


def test_every_metric_declares_how_reports_show_it() -> None:
    shown = metrics_in_order()
    names = [metric.name for metric in shown]
    assert sorted(("lve", "psnr", "fid", "fvd16"), key=names.index) == ["fid", "fvd16", "psnr", "lve"]
    assert sorted(names) == list(METRICS)
    assert len({metric.title for metric in shown}) == len(shown)
    assert all(metric.description.endswith(".") for metric in shown)
    aims = {metric.name: metric.aim() for metric in shown}
    assert [aims[name] for name in ("fid", "ssim", "bas", "dr25", "lse-offset")] == [
        "lower", "higher", "truth", "zero", "zero",
    ]  # fmt: skip
    assert Mean.aim() == "none"


def test_protocol_ids_distinguish_variants() -> None:
    assert protocol() is PAPER_DAWN
    variant = protocol("paper-dawn", ("fid_resize=clean",))
    assert variant.id != PAPER_DAWN.id and variant.id.startswith("paper-dawn+")
    assert variant.fingerprint != PAPER_DAWN.fingerprint
    assert protocol("paper-dawn", ("fid_resize=pytorch-fid",)) == PAPER_DAWN
    with pytest.raises(InputError, match="fid_resize"):
        protocol("paper-dawn", ("fid_rezise=clean",))
    with pytest.raises(InputError, match="paper-dawn"):
        protocol("paper-down")


@pytest.mark.parametrize("eps", ["0.00001", "1.0e-5", '"0.00001"'])
def test_an_eps_is_taken_as_it_is_listed_or_as_a_number(eps: str) -> None:
    """YAML reads it as a number where it has no quotation marks."""
    assert protocol(overrides=(f"fvd_batch_norm={eps}",)).fvd_batch_norm == "0.00001"
    assert protocol(overrides=("fvd_batch_norm=0.001",)) == PAPER_DAWN


@pytest.mark.parametrize("eps", ["0.01", "true", "none"])
def test_an_eps_that_is_not_listed_is_refused(eps: str) -> None:
    with pytest.raises(InputError, match=r"Known: 0\.001, 0\.00001|Did you mean"):
        protocol(overrides=(f"fvd_batch_norm={eps}",))


def test_only_settings_that_matter_change_a_features_fingerprint() -> None:
    inception = FEATURES["inception"]
    base = inception(weights="seeded").fingerprint
    assert inception(protocol("paper-dawn", ("fid_resize=clean",)), weights="seeded").fingerprint != base
    assert inception(protocol("paper-dawn", ("fvd_stride=8",)), weights="seeded").fingerprint == base


#: The default protocol is frozen: a change of any field's value or meaning needs a protocol of another name.
FROZEN = {"paper-dawn": "69b32982788dfbc6", "paper-dawn-tracked": "5f94e1ea0c697cc9", "embedded": "7f6c9e8f01d41d04"}


def test_named_protocols_never_change() -> None:
    assert {name: fixed.fingerprint for name, fixed in PROTOCOLS.items()} == FROZEN


NEW_METRIC = """
import numpy as np
from dawn_bench.metrics.scoring.base import FEATURES, METRICS, Feature, Part, RatioMetric

@FEATURES.register("brightness")
class Brightness(Feature):
    name, fields = "brightness", ("frames",)

    def run(self, clip, given):
        return {"brightness": np.asarray(clip["frames"]).mean(axis=(1, 2, 3))}

@METRICS.register("brighter")
class Brighter(RatioMetric):
    name, title, needs = "brighter", "Brighter", ("brightness",)
    description, order, target = "Mean gain in brightness.", 7, "zero"

    def measure(self, generated, true):
        gap = generated["brightness"] - true["brightness"]
        return Part(float(gap.sum()), len(gap), len(gap))
"""


def test_a_new_metric_is_one_file(tmp_path: Path) -> None:
    """One new file is discovered by name, scored, cached and put into a row; no other file changes."""
    (tmp_path / "brighter.py").write_text(NEW_METRIC)
    code = """
import sys
from pathlib import Path
import numpy as np
import dawn_bench.metrics as package
package.__path__.append(sys.argv[1])
from dawn_bench.clip import Clip
from dawn_bench.metrics.scoring.scorer import score_method
frames = np.random.default_rng(0).integers(0, 200, (5, 16, 16, 3), dtype=np.uint8)
true, made = (Clip("a", "s", "test", 5, {"frames": frames + np.uint8(k)}) for k in (0, 3))
here = Path(sys.argv[1])
(row,) = score_method("m", [made], [true], dataset="d", split="test", metrics=["brighter"], features_dir=here)
assert row.value == 3 and row.weights_state == "none" and row.n_frames == 5, row
assert (row.label, row.description, row.order, row.aim) == ("Brighter", "Mean gain in brightness.", 7, "zero"), row
assert len(list(here.glob("brightness-*/*.safetensors"))) == 1, "both clips are in one file"
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)


RANK = """
import os, sys
import numpy as np
import torch.distributed as dist
from dawn_bench.metrics.scoring.base import METRICS

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
metric = METRICS["ssim"]()
for i in range(5):
    if i % 2 == rank:
        metric.update({"images.ssim": np.full(3, i / 10)}, {}, clip_id=str(i))
score = metric.compute()
assert score.n_clips == 5 and abs(score.value - 0.2) < 1e-12, score
features = np.random.default_rng(0).standard_normal((2, 6, 40, 8))
whole = METRICS["fid"]()
for i in range(6):
    whole.records[str(i)] = whole.measure({"inception": features[0, i]}, {"inception": features[1, i]})
wanted = whole.fold(whole.records)
for running in (False, True):
    metric = METRICS["fid"](running=running)
    for i in range(rank, 6, 2):
        metric.update({"inception": features[0, i]}, {"inception": features[1, i]}, clip_id=str(i))
    score = metric.compute()
    assert score.n_clips == 6 and abs(score.value / wanted.value - 1) < 1e-9, (running, score, wanted)
    assert running or score == wanted
dist.barrier()
"""


def test_compute_gathers_the_records_of_every_process(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path / "store")], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for rank in ranks:
        _, messages = rank.communicate(timeout=120)
        assert rank.returncode == 0, messages.decode()


def test_values_per_frame_are_kept_second_by_second() -> None:
    assert by_second(np.r_[np.full(25, 2.0), np.full(25, 4.0), np.full(24, 9.0)]) == (2.0, 4.0)
    assert mean_over_time([(1.0, 2.0, 3.0), (3.0, 4.0), (5.0,)]) == (3.0, 3.0)
    assert mean_over_time([(), (1.0,)]) == (1.0,) and mean_over_time([]) == ()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("PSNR", "psnr"), ("psnr ↑", "psnr"), ("LSE-C", "lse-c"), ("lse-c", "lse-c"), ("Lse-D ↓", "lse-d"),
        ("LSE offset", "lse-offset"), ("Blink/s", "blink"), ("BLINK", "blink"), ("FVD16 (paper-dawn) ↓", "fvd16"),
        ("LSE_C", "lse-c"), ("lse offset", "lse-offset"),
    ],
)  # fmt: skip
def test_the_labels_of_the_page_name_metrics(text: str, name: str) -> None:
    assert metric_names([text, name]) == (name,)
    assert read_job(Evaluation, {"cache": "c", "out": "o", "metrics": [text]})[0].metrics == (name,)


def test_a_mistyped_label_gets_a_hint() -> None:
    for text in ("PSNRR", "lsec"):
        with pytest.raises(InputError, match=r"no metric called .*Did you mean .*(psnr|lse-c)"):
            metric_names([text])
