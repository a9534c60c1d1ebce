"""Meshes whose neutral face or frame rate is another one are refused in a line that says so."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from dawn_bench.baselines.mesh_files import read_mesh
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.scoring.clip_sets import clip_set
from dawn_bench.metrics.scoring.matching import matched
from dawn_bench.pipelines.media.audio import read_audio, write_wav
from dawn_bench.pipelines.meshes.checks import check_length, check_template, output_fault
from dawn_bench.pipelines.meshes.files import read_templates
from dawn_bench.pipelines.meshes.write import write_meshes
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_meshes(tmp_path_factory.mktemp("meshes") / "set", subjects=2, train=1, test=1, seconds=1.0)


def test_sequences_that_do_not_fit_face_or_sound_are_refused(written: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(written, tmp_path / "set"))
    templates = read_templates(root / "templates.pkl")
    templates["F2"] = templates["F2"] + np.float32(0.2)  # the same face in another place
    (root / "templates.pkl").write_bytes(pickle.dumps(templates, protocol=4))
    sound = read_audio(root / "wav" / "F3_37.wav")
    write_wav(root / "wav" / "F3_37.wav", sound[: len(sound) // 2])
    prepare(root, tmp_path / "cache", PrepareSettings(dataset="embedded-mesh"))
    refused = {name: (reason, detail) for name, reason, detail in Cache(tmp_path / "cache").quarantined()}
    assert {name: reason for name, (reason, _) in refused.items()} == {
        "F2_01": "template_mismatch",
        "F2_33": "template_mismatch",
        "F2_37": "template_mismatch",
        "F3_37": "length_mismatch",
    }
    assert "neutral face of F2" in refused["F2_37"][1] and "25 frames last 1.00 s" in refused["F3_37"][1]
    assert all("\n" not in detail for _, detail in refused.values())


@pytest.mark.parametrize("factor", [0.001, 1.5, 1000])
def test_another_unit_is_recognised(written: Path, factor: float) -> None:
    face = read_templates(written / "templates.pkl")["F2"]
    moved = np.load(written / "vertices_npy" / "F2_37.npy").reshape(-1, *face.shape)
    check_template(moved, face, subject="F2")
    with pytest.raises(ItemError, match="template_mismatch"):
        check_template(moved * factor, face, subject="F2")


def test_a_sound_that_is_a_little_longer_is_no_fault() -> None:
    check_length(100, 66_000, fps=25)
    for n_frames in (50, 200):
        with pytest.raises(ItemError, match="length_mismatch"):
            check_length(n_frames, 64_000, fps=25)


def shuffled(count: int, share: float) -> np.ndarray:
    rng, order = np.random.default_rng(0), np.arange(count)
    some = rng.choice(count, round(share * count), replace=False)
    order[some] = np.roll(some, 7)
    return order


ORDERS = {
    "shuffled": lambda v: v[:, shuffled(v.shape[1], 1.0)],
    "a tenth shuffled": lambda v: v[:, shuffled(v.shape[1], 0.1)],
    "shifted by one": lambda v: np.roll(v, 1, axis=1),
    "reversed": lambda v: v[:, ::-1],
    "by axis": lambda v: v.transpose(0, 2, 1).reshape(v.shape),
}


def test_vertices_in_another_order_are_refused(written: Path) -> None:
    face = read_templates(written / "templates.pkl")["F2"]
    for file in sorted((written / "vertices_npy").glob("F2_*.npy")):
        moved = np.load(file).reshape(-1, *face.shape)
        check_template(moved, face, subject="F2")
        assert not output_fault(moved, face)
        for name, change in ORDERS.items():
            with pytest.raises(ItemError, match=r"another order|times as large"):
                check_template(change(moved), face, subject="F2")
            assert "another order" in output_fault(change(moved), face) or name == "by axis"
            with pytest.raises(ItemError, match="template_mismatch"):  # the template in another order
                check_template(moved, change(face[None])[0], subject="F2")


def test_poor_outputs_are_scored_and_impossible_ones_are_not(written: Path) -> None:
    face = read_templates(written / "templates.pkl")["F2"]
    moved = np.load(written / "vertices_npy" / "F2_37.npy").reshape(-1, *face.shape)
    rng = np.random.default_rng(0)
    for noise in (0.002, 0.02, 0.1, 1.0):
        assert not output_fault(moved + noise * rng.standard_normal(moved.shape).astype(np.float32), face)
        assert not output_fault(moved + noise * rng.standard_normal(face.shape).astype(np.float32), face)
    assert not output_fault(np.broadcast_to(face, moved.shape), face)
    for output in (moved * 1000, moved / 10, moved - face):
        assert "times as large as the neutral face" in output_fault(output, face)


def test_outputs_are_checked_when_they_are_read(written: Path, tmp_path: Path) -> None:
    face = read_templates(written / "templates.pkl")["F2"]
    moved = np.load(written / "vertices_npy" / "F2_37.npy").reshape(-1, *face.shape)
    true = Clip("c", "s", "test", len(moved), {"vertices": moved, "template": face[None]})
    for name, array, says in (
        ("good", moved, ""),
        ("flat", moved.reshape(len(moved), -1), ""),
        ("axis", moved.transpose(0, 2, 1), ""),
        ("order", moved[:, ::-1], "another order"),
        ("unit", moved * 1000, "another unit"),
        ("time", moved.reshape(len(moved), -1).T, r"not \(frames, "),
    ):
        np.save(tmp_path / f"{name}.npy", array)
        if says:
            with pytest.raises(ItemError, match=says):
                read_mesh(tmp_path / f"{name}.npy", true)
        else:
            assert np.array_equal(read_mesh(tmp_path / f"{name}.npy", true)["vertices"], moved)


def test_arrays_by_axis_are_read_as_they_are_meant(written: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(written, tmp_path / "set"))
    templates = read_templates(root / "templates.pkl")
    path = root / "vertices_npy" / "F2_37.npy"
    stored = np.load(path).reshape(-1, *templates["F2"].shape)
    np.save(path, stored.transpose(0, 2, 1))
    (root / "templates.pkl").write_bytes(pickle.dumps({k: t.T.copy() for k, t in templates.items()}, protocol=4))
    assert all(np.array_equal(t, templates[name]) for name, t in read_templates(root / "templates.pkl").items())
    prepare(root, tmp_path / "cache", PrepareSettings(dataset="embedded-mesh"))
    assert np.array_equal(Cache(tmp_path / "cache")["F2_37"]["vertices"], stored)


def test_triangles_of_another_order_are_refused(written: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(written, tmp_path / "set"))
    lines = (root / "mesh.ply").read_text().splitlines()
    head = lines.index("end_header") + 1
    count = len(read_templates(root / "templates.pkl")["F2"])
    order = shuffled(count, 1.0)
    lines[head + count :] = [
        " ".join(["3", *(str(order[int(w)]) for w in f.split()[1:])]) for f in lines[head + count :]
    ]
    (root / "mesh.ply").write_text("\n".join([*lines, ""]))
    with pytest.raises(InputError, match=r"mesh\.ply: its triangles join vertices far apart"):
        prepare(root, tmp_path / "cache", PrepareSettings(dataset="embedded-mesh"))


@pytest.mark.parametrize(
    ("dataset", "stored", "says"),
    [
        ("embedded-mesh", 60, "stored at 60 frames a second, not 25"),
        ("embedded-mesh", 50, "stored at 50 frames a second, not 25"),
        ("embedded-mesh", 30, "stored at 30 frames a second, not 25"),
        ("vocaset", 30, "stored at 30 frames a second, not 60"),
        ("vocaset", 25, "stored at 25 frames a second, not 60"),
        ("vocaset", 50, "stored at 50 frames a second, not 60"),
        ("vocaset", 120, "stored at 120 frames a second, not 60"),
    ],
)
def test_a_sequence_of_another_frame_rate_is_refused(dataset: str, stored: int, says: str, tmp_path: Path) -> None:
    layout = "vocaset" if dataset == "vocaset" else "biwi"
    root = write_meshes(tmp_path / "set", subjects=1, train=2, test=1, seconds=2.0, layout=layout)
    path = sorted((root / "vertices_npy").glob("*.npy"))[0]
    whole = np.load(path)
    own = len(whole) / 2.0
    np.save(path, whole[np.minimum(np.arange(2 * stored) * own / stored, len(whole) - 1).astype(int)])
    prepare(root, tmp_path / "cache", PrepareSettings(dataset=dataset))
    (fault,) = Cache(tmp_path / "cache").quarantined()
    assert fault[1] == "length_mismatch" and says in fault[2] and path.stem in fault[0]


@pytest.mark.parametrize(
    ("fps", "count", "rate"), [(25, 30, 30), (25, 60, 60), (30, 25, 25), (30, 60, 60), (30, 24, 24)]
)
def test_an_output_at_another_rate_than_the_true_clip(fps: int, count: int, rate: int) -> None:
    true = Clip("c", "s", "test", 2 * fps, {"vertices": np.zeros((2 * fps, 4, 3))}, fps)
    with pytest.raises(ItemError, match=f"another frame rate, {rate} and not {fps} a second"):
        matched(Clip("c", "s", "test", 2 * count, {"vertices": np.zeros((2 * count, 4, 3))}, fps), true)


@pytest.mark.parametrize(("stated", "says"), [(None, "60 frames a second: state fps=60"), (30, "fps=60"), (60, "")])
def test_a_stated_rate_is_checked_against_the_sound(stated: int | None, says: str) -> None:
    given = {"vertices": np.zeros((120, 4, 3)), "audio": np.zeros(32_000, np.int16), "fps": stated}
    if says:
        with pytest.raises(InputError, match=says):
            clip_set([given], side="generated")
    else:
        assert clip_set([given], side="generated").clips[0].fps == 60


def test_an_output_of_twice_the_frames_is_another_frame_rate() -> None:
    true = Clip("c", "s", "test", 20, {"vertices": np.zeros((20, 4, 3))})
    with pytest.raises(ItemError, match="another frame rate"):
        matched(Clip("c", "s", "test", 40, {"vertices": np.zeros((40, 4, 3))}), true)
    output, _, notes = matched(Clip("c", "s", "test", 22, {"vertices": np.zeros((22, 4, 3))}), true)
    assert output.n_frames == 20 and notes
