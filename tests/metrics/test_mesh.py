"""Mesh errors: known displacements, region files, cutting to one length."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from dawn_bench import weights
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.fdd import Fdd
from dawn_bench.metrics.functional.meshes import REGIONS, named_region, read_masks, region, region_needs
from dawn_bench.metrics.lve import Lve
from dawn_bench.metrics.mve import Mve
from dawn_bench.metrics.protocols.base import protocol


@pytest.fixture
def regions(tmp_path):
    """A protocol in which vertices 0 and 1 are the lips, 2 and 3 the upper face."""
    (tmp_path / "lips.txt").write_text("0, 1")
    (tmp_path / "upper.txt").write_text("2\n3\n")
    return protocol("paper-dawn", (f"mesh_lips={tmp_path / 'lips.txt'}", f"mesh_upper={tmp_path / 'upper.txt'}"))


def mesh(n_frames: int, **moved: float) -> dict[str, np.ndarray]:
    """Five vertices at rest at 0; vertex `v<i>` swings along x by the given length."""
    vertices = np.zeros((n_frames, 5, 3), np.float32)
    for name, length in moved.items():
        vertices[:, int(name[1:]), 0] = length * (np.arange(n_frames) % 2)
    return {"mesh": vertices, "meshrest": np.zeros((1, 5, 3), np.float32)}


def test_equal_meshes_have_no_error(regions):
    for metric in (Lve(regions), Fdd(regions), Mve(regions)):
        metric.update(mesh(10, v1=2, v3=1), mesh(10, v1=2, v3=1), clip_id="a")
        assert metric.compute().value == 0


def test_known_displacements(regions):
    lve, fdd, mve = Lve(regions), Fdd(regions), Mve(regions)
    for metric in (lve, fdd, mve):
        # vertex 0 is off by 3 in every other frame, vertex 2 should swing by 1 and does not; two frames too many
        metric.update(mesh(12, v0=3), mesh(10, v2=1), clip_id="long")
        metric.update(mesh(4), mesh(4), clip_id="short")
    assert lve.compute().value == pytest.approx(9 * 5 / 14)  # frames count equally
    assert "mean over sequences 2.2500e+00" in lve.compute().note
    assert fdd.compute().value == pytest.approx(0.25 / 2)  # spread 0.5 of one of two vertices, one of two sequences
    assert mve.compute().value == pytest.approx((3 + 1) / 5 * 5 / 14)


def test_fdd_is_signed(regions):
    metric = Fdd(regions)
    metric.update(mesh(10), mesh(10, v2=1), clip_id="duller")
    metric.update(mesh(10, v2=1), mesh(10), clip_id="livelier")
    assert metric.compute().value == 0
    assert "mean of |difference| 2.5000e-01" in metric.compute().note


def test_regions_must_be_named_and_fit(regions, tmp_path):
    for metric in (Lve(), Fdd()):
        with pytest.raises(ItemError, match="no_region"):
            metric.update(mesh(3), mesh(3), clip_id="a")
    with pytest.raises(InputError, match="5 vertices"):
        (tmp_path / "far.txt").write_text("0, 7")
        region(tmp_path / "far.txt", n_vertices=5)
    with pytest.raises(InputError, match="vertex indices"):
        (tmp_path / "words.txt").write_text("lips")
        region(tmp_path / "words.txt")
    with pytest.raises(InputError, match="cannot be read"):
        region(tmp_path / "none.txt")


def flame_masks(folder, **groups):
    (folder / "regions").mkdir(parents=True)
    with (folder / "regions" / "FLAME_masks.pkl").open("wb") as file:
        pickle.dump({name: np.array(numbers) for name, numbers in groups.items()}, file, protocol=2)


def test_named_sets_are_read_from_the_weights_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path / "w"))
    with pytest.raises(InputError, match=r"biwi_lve\.txt.*weights fetch biwi-lips"):
        named_region("biwi", "lips")
    with pytest.raises(InputError, match=r"FLAME_masks\.pkl"):
        named_region("vocaset", "upper")
    flame_masks(tmp_path / "w", lips=[3, 1], forehead=[4, 2], eye_region=[2, 0])
    assert named_region("vocaset", "lips", n_vertices=5).tolist() == [1, 3]
    assert named_region("vocaset", "upper", n_vertices=5).tolist() == [0, 2, 4]
    with pytest.raises(InputError, match="3 vertices"):
        named_region("vocaset", "upper", n_vertices=3)
    (tmp_path / "w" / "regions" / "biwi_lve.txt").write_text("1, 3")
    metric = Lve(protocol("paper-dawn", ("mesh_lips=biwi",)))
    metric.update(mesh(10), mesh(10, v3=1), clip_id="a")
    assert metric.compute().value == pytest.approx(0.5)


def test_a_pickle_with_code_in_it_is_refused(tmp_path):
    path = tmp_path / "masks.pkl"
    path.write_bytes(pickle.dumps({"lips": Path("x")}))
    with pytest.raises(InputError, match="vertex groups"):
        read_masks(path)


def test_every_named_region_is_read_from_the_file_of_its_own_part(monkeypatch, tmp_path):
    """The file that is fetched for a part is the one that is read, and no two regions are equal."""
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path))
    flame_masks(tmp_path, lips=[3, 1], forehead=[4, 2], eye_region=[2, 0])
    for number, entry in enumerate(("biwi-lips", "biwi-upper")):
        (tmp_path / weights.entry(entry).file).write_text(f"{number}, 5")
    wanted = {
        ("biwi", "lips"): [0, 5], ("biwi", "upper"): [1, 5],
        ("vocaset", "lips"): [1, 3], ("vocaset", "upper"): [0, 2, 4],
    }  # fmt: skip
    assert wanted.keys() == REGIONS.keys(), "say here which vertices the new region has"
    for (name, part), vertices in wanted.items():
        assert named_region(name, part, n_vertices=6).tolist() == vertices
        assert region_needs({part: name}) == (("flame-masks" if name == "vocaset" else f"{name}-{part}",),)
        with pytest.raises(InputError, match=f"{vertices[-1]} vertices"):
            named_region(name, part, n_vertices=vertices[-1])
