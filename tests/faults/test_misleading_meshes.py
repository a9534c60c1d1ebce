"""Meshes whose neutral face or frame rate is another one are refused in a line that says so."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.scoring.matching import matched
from dawn_bench.pipelines.media.audio import read_audio, write_wav
from dawn_bench.pipelines.meshes.checks import check_length, check_template
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


def test_an_output_of_twice_the_frames_is_another_frame_rate() -> None:
    true = Clip("c", "s", "test", 20, {"vertices": np.zeros((20, 4, 3))})
    with pytest.raises(ItemError, match="another frame rate"):
        matched(Clip("c", "s", "test", 40, {"vertices": np.zeros((40, 4, 3))}), true)
    output, _, notes = matched(Clip("c", "s", "test", 22, {"vertices": np.zeros((22, 4, 3))}), true)
    assert output.n_frames == 20 and notes
