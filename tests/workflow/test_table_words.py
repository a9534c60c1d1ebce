"""What a reproduced table says of its data, weights and sampling, and what its files keep: each fact by content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dawn_bench.clip import Clip
from dawn_bench.extractor_record import Extracted
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.models.dawn.generator import SamplingOptions
from dawn_bench.models.dawn.strategies import SarOptions, TtrOptions
from dawn_bench.workflow import paper_protocol
from dawn_bench.workflow.differences import DR_BY_LENGTH, LSE_BY_LENGTH, RunFacts, differences
from dawn_bench.workflow.paper_protocol import TEST_CLIPS, PaperSetting, settings_notes
from dawn_bench.workflow.paper_rows import NO_WINDOW, ROWS, paper_table
from dawn_bench.workflow.reproduced import Reproduced, TablePart, TableRow

FIELDS: dict[str, Any] = {"audio": None, "hubert": None}
#: A cache that was prepared as the paper's, and its features.
AS_PAPER: dict[str, Any] = {
    "settings": {"dataset": "hdtf", "settings": {"crop": "paper", "split": "published"}},
    "extractors": {
        "pose": Extracted("pose-3ddfa", "1"),
        "blink": Extracted("blink-one-pair", "1"),
        "face": Extracted("face", "1"),
    },
    "fields": FIELDS,
    "size": 128,
}


def clips(count: int, *, frames: int = 200, split: str = "test", **meta: Any) -> list[Clip]:
    return [Clip(f"c{k}", "s", split, frames, {"frames": np.zeros((frames, 1, 1, 3))}, meta=meta) for k in range(count)]


def cache_of(**changes: Any) -> Any:
    return SimpleNamespace(**{**AS_PAPER, **changes})


def names_of(notes: Sequence[str]) -> tuple[set[str], set[str]]:
    """The settings that differ, and those that do not."""
    (same,) = [note for note in notes if note.startswith("As in the paper: ")] or ["As in the paper: ."]
    stated = {note.partition(":")[0].lower() for note in notes if ". The paper: " in note}
    return stated, set(same.removeprefix("As in the paper: ").rstrip(".").split(", ")) - {""}


def noted(cache: Any, of: Sequence[Clip], **changes: Any) -> tuple[set[str], set[str]]:
    given = {"dataset": "hdtf", "audio": {"hubert"}, "piece": 200, "pieces": False} | changes
    return names_of(settings_notes(cache, of, **given))


def _extracted(**changes: str) -> Any:
    named = {field: Extracted(name, "1") for field, name in changes.items()}
    return cache_of(extractors={**AS_PAPER["extractors"], **named})


def _split(split: str) -> Any:
    return cache_of(settings={"dataset": "hdtf", "settings": {"crop": "paper", "split": split}})


#: What differs from the paper's in each setting and in it alone: cache, clips and arguments.
OTHER: dict[str, list[tuple[Any, list[Clip], dict[str, Any]]]] = {
    "crop": [(cache_of(), clips(41, crop=crop), {}) for crop in ("face", "none")],
    "head pose": [(_extracted(pose="pose"), clips(41), {})],
    "blinks": [(_extracted(blink="blink"), clips(41), {})],
    "audio features": [(cache_of(), clips(41), {"audio": audio}) for audio in ({"logmel"}, {"logmel", "hubert"})],
    "frame size": [(cache_of(size=256), clips(41), {}), (cache_of(), clips(41), {"sizes": {256}})],
    "split": [
        (cache_of(), clips(40), {}),
        (cache_of(), clips(42), {}),
        (cache_of(), clips(41, split="train"), {}),
        (_split("identity"), clips(41), {}),
        (cache_of(settings={"dataset": "mead", "settings": {"crop": "paper"}}), clips(41), {}),
    ],
    "piece length": [
        (cache_of(), clips(41, frames=201), {"piece": None}),
        (cache_of(), clips(41, frames=201), {"piece": 199}),
        (cache_of(), clips(41, frames=201), {"piece": 201}),
    ],
}  # fmt: skip
SETTINGS = [value.name for value in vars(paper_protocol).values() if isinstance(value, PaperSetting)]
SETTINGS += [by_dataset["hdtf"].name for by_dataset in (paper_protocol.SPLIT, paper_protocol.PIECE)]


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "face back end"])
def test_a_setting_that_differs_is_the_only_one_that_is_named(name: str) -> None:
    assert name in OTHER, "Say in OTHER of this file what differs from the paper in the new setting."
    for cache, of, changes in OTHER[name]:
        stated, same = noted(cache, of, **changes)
        assert stated == {name, "face back end"}, changes
        assert same == {*SETTINGS} - stated


def test_limits_that_no_clip_reaches_and_other_ways_of_the_same_are_no_difference() -> None:
    every = {*SETTINGS} - {"face back end"}
    for frames, piece in ((200, None), (200, 200), (200, 201), (150, None), (201, 200)):
        assert noted(cache_of(), clips(41, frames=frames), piece=piece) == ({"face back end"}, every)
    assert noted(cache_of(), clips(41, crop="published"))[1] == every
    crema = cache_of(settings={"dataset": "crema", "settings": {"crop": "paper"}})
    assert TEST_CLIPS == {"hdtf": 41, "crema": 820}
    assert noted(crema, clips(820, frames=60), dataset="crema", piece=60)[1] == every
    assert noted(crema, clips(41, frames=60), dataset="crema", piece=59)[0] == {
        "face back end",
        "split",
        "piece length",
    }
    assert noted(cache_of(), clips(41), audio=())[1] == every  # nothing was generated: what the cache has
    assert noted(cache_of(fields={"logmel": None}), clips(41), audio=())[0] == {"face back end", "audio features"}
    mixed = [*clips(1, crop="face"), *clips(40)]
    (crop,) = [
        n
        for n in settings_notes(cache_of(), mixed, dataset="hdtf", audio=(), piece=200, pieces=False)
        if n.startswith("Crop")
    ]
    assert "the whole frame resized (40 clips), a square around the face (1 clip)" in crop


#: A stage's facts, all with numbers of their own.
FACTS: dict[str, dict[str, Any]] = {
    "lfg": {"preset": "p-lfg", "dataset": "hdtf", "clips": 71, "steps": 1001, "size": 96, "init": "vox"},
    "a2v": {"preset": "p-a2v", "clips": 72, "steps": 2002, "stage": "a2v-2"},
    "coarse": {"preset": "p-coarse", "clips": 73, "steps": 3003},
    "pbnet": {"preset": "p-pbnet", "clips": 74, "steps": 4004},
}


def run_of(strategy: str = "nar", options: SamplingOptions | None = None, **lfg: Any) -> RunFacts:
    return RunFacts(strategy, options or SamplingOptions(), {**FACTS, "lfg": FACTS["lfg"] | lfg}, "wav2vec2")


def line(label: str, **changes: Any) -> TableRow:
    return TableRow(label, {}, {}, 1, 1, **changes)


def said(
    number: int = 1,
    *,
    of: Sequence[Clip] = (),
    runs: Mapping[str, RunFacts] | None = None,
    lines: Any = (),
    **more: Any,
) -> list[str]:
    cache = cache_of(settings={"dataset": "crema", "settings": {}}, size=96)
    given = {"dataset": "crema", "machine": "one abacus"} | more
    return list(differences(paper_table(number), cache, of or clips(3, frames=50), lines, runs or {}, **given))


def test_data_and_weights_are_stated_by_their_own_numbers() -> None:
    notes = said(
        of=[*clips(2, frames=50), *clips(1, frames=30)], runs={"DAWN": run_of(), "SAR": run_of("sar", SarOptions())}
    )
    assert notes[0].startswith("Data: crema, 3 clips of split test, 130 frames, 96 px. The paper: ")
    assert (
        "Weights: preset p-a2v on 71 clips of hdtf: LFG 1,001 steps, A2V-FDM (a2v-2) 2,002 steps, "
        "coarse A2V-FDM 3,003 steps, PBNet 4,004 steps; wav2vec2 features."
    ) in notes
    other = run_of(init=None, perceptual_loss="substitute: seeded")
    apart = said(runs={"DAWN": run_of(), "SAR": other, "TTR": other})
    assert sum(note.startswith(("Weights of DAWN: ", "Weights of SAR; TTR: ")) for note in apart) == 2
    assert any("SAR; TTR" in n and "without VGG-19's weights; LFG from random weights, not from" in n for n in apart)
    published = RunFacts("nar", SamplingOptions(), {"lfg": {"size": 96}, "a2v": {}}, "hubert")
    text = " ".join(said(runs={"DAWN": published}))
    assert "Weights: the published weights by name and layout (no hash is published), 96 px, hubert features." in text
    assert "of the published weights: not known" in text and "not known" not in " ".join(notes)
    assert not any(note.startswith("Weights") for note in said())


def test_clips_that_a_run_was_trained_on_are_named() -> None:
    for split, dataset, named in (("train", "crema", True), ("train", "hdtf", False), ("test", "crema", False)):
        notes = said(of=clips(2, frames=50, split=split), runs={"DAWN": run_of(), "SAR": run_of(dataset=dataset)})
        assert any(note.startswith("Clips: these are of the training split") for note in notes) == named


def test_sampling_that_differs_and_windows_that_see_all_are_named() -> None:
    def words(*options: tuple[str, SamplingOptions]) -> str:
        runs = {f"row {k}": run_of(strategy, own) for k, (strategy, own) in enumerate(options)}
        return " ".join(said(runs=runs))

    assert not {"Sampling:", "SAR:", "TTR:", "Windows:"} & {*words(("nar", SamplingOptions())).split()}
    two = words(("nar", SamplingOptions(steps=50)), ("ttr", TtrOptions(steps=7, stride=6)))
    assert "Sampling: 7, 50 steps. The released code: 20." in two and "TTR: key frames every 6 frames" in two
    for segment, one in ((49, False), (50, True), (51, True)):  # the longest clip has 50 frames
        text = words(("sar", SarOptions(segment=segment)))
        assert f"SAR: segments of {segment} frames" in text
        assert (f"no clip is longer than {segment} frames, so each is one segment" in text) == one
    for window, named in ((48, False), (49, True), (50, True), (NO_WINDOW, False), (None, False)):
        assert (
            "Windows: no clip is longer than 50 frames, so these see all of it: row 0."
            in words(("nar", SamplingOptions(window=window)))
        ) == named


def test_networks_times_and_lengths_are_named_where_a_table_has_them() -> None:
    first, second = paper_table(1).metrics[0], paper_table(1).metrics[1]
    notes = said(lines=[line("a", stand_ins=(first,)), line("b", other_files=(second,))])
    stand_ins, others = [note for note in notes if note.startswith("Metrics: ")]
    heads = [METRICS[name].title for name in (first, second)]
    assert stand_ins.startswith(f"Metrics: {heads[0]} (*) use stand-in") and others.startswith(
        f"Metrics: {heads[1]} use networks"
    )
    for number in ROWS:
        text = said(number, fvd_windows=17)
        table = paper_table(number)
        assert any("Times: one abacus" in note for note in text) == (number == 2)
        assert (LSE_BY_LENGTH in text) == bool(table.lengths and {"lse-c", "lse-d"} & {*table.metrics})
        assert (DR_BY_LENGTH in text) == bool(table.lengths and {"dr25", "dr50"} & {*table.metrics})
        assert any(note.startswith("FVD: 17 windows") for note in text) == bool(table.lengths)
        assert not any(note.startswith("FVD: ") for note in said(number))


def filled(label: str, offset: int = 0) -> TableRow:
    """A row whose every field differs from its default."""
    row = TableRow(
        label, {"fid": 12345.6 + offset, "psnr": 9999.4, "ssim": None}, {"fid": 9.6, "ssim": 0.5},
        made=3, asked=4, stand_ins=("fid",), reason="was not run", remark="a remark", counts={"LSE windows": 1234},
        dataset="hdtf", size=128, other_files=("psnr",),
    )  # fmt: skip
    blank = TableRow("", {}, {})
    assert not [f.name for f in fields(row) if getattr(row, f.name) == getattr(blank, f.name)], "Fill the new field."
    return row


def test_every_field_of_a_table_is_kept_and_shown(tmp_path: Path) -> None:
    parts = [
        TablePart("hdtf", 128, "h", "test", "hdtf", ("one",)),
        TablePart("crema", 64, "c", "val", "crema", ("two",)),
    ]
    table = Reproduced(1, "Comparison", ("fid", "psnr", "ssim"))
    one, two = filled("DAWN"), filled("DAWN", 1)
    table = table.with_part(parts[0], [one]).with_part(parts[1], [two])
    assert table.parts == tuple(parts[::-1])
    assert table.lines == (replace(two, dataset="crema", size=64), one)
    table.write(tmp_path)
    assert Reproduced(1, "Comparison", table.columns).extended(tmp_path) == table
    text = (tmp_path / "table1.md").read_text()
    assert "| hdtf, 128 px | DAWN | 3 of 4 | 12346* (9.6) | 9999 | – (0.5) | 1,234 |" in text
    assert "* DAWN (crema, 64 px); DAWN (hdtf, 128 px): a remark" in text
    assert "in brackets the paper's, on CREMA beside crema, 64 px; on HDTF beside hdtf, 128 px." in text
    again = table.with_part(parts[0], [filled("DAWN", 5)])
    assert [row.ours["fid"] for row in again.lines] == [12346.6, 12350.6] and again.parts == table.parts
    all_made = replace(one, made=4, stand_ins=())
    assert "| DAWN | 4 | 12346 (9.6) |" in replace(table, parts=(parts[0],), lines=(all_made,)).markdown()
    beside = [replace(parts[0], dataset="mead"), replace(parts[0], size=64)]  # the same size, and the same dataset
    for part in beside:
        table = table.with_part(part, [filled("DAWN")])
    wanted = [("crema", 64), ("hdtf", 64), ("hdtf", 128), ("mead", 128)]
    assert [(row.dataset, row.size) for row in table.lines] == wanted == [part.key for part in table.parts]
