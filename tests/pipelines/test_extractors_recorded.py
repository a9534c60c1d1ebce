"""The extractors of a cache and of a model's training data: read from what is stored, and compared by convention."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from media.asymmetric import MarkedFaces

from dawn_bench import weights
from dawn_bench.cache import Cache
from dawn_bench.errors import InputError
from dawn_bench.extractor_record import KEY, Extracted, of_cache, of_provenance, to_json
from dawn_bench.pipelines.extractors.base import EXTRACTORS, Extractor
from dawn_bench.pipelines.extractors.compatibility import (
    check_extractors,
    convention,
    differences,
    encoder_notes,
    face_backend,
    usable,
)
from dawn_bench.pipelines.faces import base as faces
from dawn_bench.pipelines.faces.base import FACE_BACKENDS, pick_backend
from dawn_bench.pipelines.settings import PrepareSettings

FRAME = Extracted("pose", "pose-2-weak-perspective-68")
TDDFA = Extracted("pose-3ddfa", "pose-3ddfa-1-x-y")
PAIRS, PAIR = Extracted("blink", "blink-1"), Extracted("blink-one-pair", "blink-one-pair-1")
FINGERPRINTS = {
    "face": "dlib",
    "face fingerprint": "dlib-2",
    "extractor pose-3ddfa": TDDFA.version,
    "extractor blink-one-pair": PAIR.version,
    "extractor hubert": "hubert-1-a",
}


def test_the_record_of_a_cache_is_by_field() -> None:
    record = of_cache({"fingerprints": FINGERPRINTS})
    assert record == {
        "face": Extracted("dlib", "dlib-2"),
        "pose": TDDFA,
        "blink": PAIR,
        "hubert": Extracted("hubert", "hubert-1-a"),
    }
    assert of_provenance(json.loads(json.dumps({KEY: to_json(record)}))) == record


@pytest.mark.parametrize(
    "settings", [{}, {"fingerprints": {}}, {"fingerprints": {"face": "auto", "face fingerprint": "none"}}]
)
def test_what_is_not_recorded_is_not_guessed(settings: dict) -> None:
    assert of_cache(settings) == {}
    assert of_provenance({"model": "dawn"}) == of_provenance({KEY: "damaged"}) == {}


def test_a_clip_carries_the_record_of_its_cache(tiny_cache: Path, tmp_path: Path) -> None:
    assert Cache(tiny_cache)["c0"].extractors == {}  # written without one
    shutil.copytree(tiny_cache, tmp_path / "cache")
    file = tmp_path / "cache" / "cache.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"fingerprints": FINGERPRINTS}))
    cache = Cache(tmp_path / "cache")
    assert cache["c0"].extractors["pose"] == cache.extractors["pose"] == TDDFA


def test_every_source_of_pose_and_blinks_states_its_convention() -> None:
    for name in EXTRACTORS:
        if EXTRACTORS[name].kind in ("pose", "blink"):
            assert EXTRACTORS[name].convention, name


def test_poses_of_the_fixed_frame_are_another_convention_than_3ddfas() -> None:
    assert convention(FRAME) != convention(TDDFA) == convention(Extracted("pose", "pose-3-of-a-box"))
    assert convention(Extracted("pose-of-nobody", "7")) == "pose-of-nobody"


@pytest.mark.parametrize(
    ("trained", "given", "command"),
    [
        ({"pose": TDDFA}, {"pose": FRAME}, "dawn-bench prepare --root VIDEOS --cache NEW --pose 3ddfa"),
        ({"blink": PAIR}, {"blink": PAIRS}, "dawn-bench prepare --root VIDEOS --cache NEW --blink one-pair"),
        ({"blink": PAIRS}, {"blink": PAIR}, "dawn-bench prepare --root VIDEOS --cache NEW --blink two-pairs"),
        (
            {"pose": TDDFA, "blink": PAIR},
            {"pose": FRAME, "blink": PAIRS},
            "dawn-bench prepare --root VIDEOS --cache NEW --pose 3ddfa --blink one-pair",
        ),
    ],
)
def test_a_cache_of_another_convention_is_refused_with_the_command(trained: dict, given: dict, command: str) -> None:
    with pytest.raises(InputError) as caught:
        check_extractors(trained, given, fields=("pose", "blink"))
    assert command in str(caught.value) and "\n" not in str(caught.value)
    assert given[next(iter(trained))].version in str(caught.value)
    notes = check_extractors(trained, given, fields=("pose", "blink"), published=True)
    assert len(notes) == len(trained) and all("another convention" in note for note in notes)


def test_the_same_convention_by_another_extractor_is_a_note() -> None:
    given = {"pose": Extracted("pose", "pose-3-of-a-box"), "hubert": Extracted("hubert", "hubert-1-b")}
    trained = {"pose": TDDFA, "hubert": Extracted("hubert", "hubert-1-a")}
    notes = check_extractors(trained, given, fields=("pose", "hubert"))
    assert [note.split(":")[0] for note in notes] == ["head pose", "hubert features"]
    assert "pose-3ddfa" in notes[0] and "pose-3-of-a-box" in notes[0] and "another convention" not in notes[0]
    assert check_extractors(trained, dict(trained), fields=("pose", "hubert")) == []
    assert differences({"pose": Extracted("pose-3ddfa")}, {"pose": TDDFA}, fields=("pose",)) == []  # no version known


def test_a_record_that_is_missing_on_one_side_is_said() -> None:
    (note,) = check_extractors({}, {"pose": TDDFA, "blink": PAIR}, fields=("pose", "blink"))
    assert note == "the extractors of the head pose, blinks of the model's training data are not recorded"
    (note,) = check_extractors({"pose": TDDFA}, {}, fields=("pose", "blink"), what="the cache of clip c0")
    assert note == "the extractors of the head pose of the cache of clip c0 are not recorded"
    assert check_extractors({}, {}, fields=("pose", "blink")) == []


def test_published_weights_are_asked_for_what_they_record_alone() -> None:
    given = {"pose": TDDFA, "blink": PAIR}
    assert check_extractors({"pose": TDDFA}, given, fields=("pose", "blink"), published=True) == []
    assert len(check_extractors({"pose": TDDFA}, given, fields=("pose", "blink"))) == 1


def test_audio_features_of_another_version_are_a_note() -> None:
    here = EXTRACTORS["logmel"]().fingerprint()
    for version, notes in ((here, 0), ("logmel-0", 1), ("", 0)):
        record = {"logmel": Extracted("logmel", version), "hubert": Extracted("hubert", "hubert-1-a")}
        said = encoder_notes(record, "logmel")
        assert len(said) == notes and all("logmel-0" in note and here in note for note in said)
    assert encoder_notes({}, "logmel") == []


def test_generation_uses_the_recorded_extractor_or_says_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    assert usable({"blink": PAIR}, "blink") == ("blink-one-pair", [])
    name, notes = usable({}, "blink")
    assert name == "blink" and "not recorded" in notes[0] and "blink-1" in notes[0]
    with pytest.raises(InputError, match=r"pose-3ddfa .*mb1_120x120\.pth.*weights fetch --for pose-3ddfa$"):
        usable({"pose": TDDFA}, "pose")
    name, notes = usable({"pose": Extracted("pose-3ddfa")}, "pose", published=True)
    assert name == "pose" and "weights fetch --for pose-3ddfa" in notes[0]
    with pytest.raises(InputError, match=r"pose-of-nobody, which is not installed"):
        usable({"pose": Extracted("pose-of-nobody")}, "pose")


def test_another_version_of_the_face_back_end_is_noted_as_for_every_field() -> None:
    here = pick_backend("dlib").fingerprint()
    assert face_backend({"face": Extracted("dlib", here)}, "auto")[1] == []
    assert face_backend({"face": Extracted("dlib")}, "auto")[1] == []  # which version is not recorded
    record = {"face": Extracted("dlib", "dlib-0")}
    backend, notes = face_backend(record, "auto")
    assert backend.name == "dlib" and notes == check_extractors(
        record, {"face": Extracted("dlib", here)}, fields=["face"]
    )
    assert "dlib-0" in notes[0] and here in notes[0]


@pytest.mark.parametrize(
    ("recorded", "requested", "chosen"),
    [
        ("mediapipe", "auto", "mediapipe"),  # that of the training data, not what auto takes here
        ("insightface", "auto", "auto"),  # it cannot run here
        ("of-nobody", "auto", "auto"),
        ("mediapipe", "dlib", "dlib"),  # asked for by name
        (None, "auto", "auto"),
    ],
)
def test_faces_are_detected_by_the_recorded_back_end_unless_another_is_asked_for(
    recorded: str | None, requested: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: SimpleNamespace(missing=lambda: None) for name in ("dlib", "mediapipe")}
    known["insightface"] = SimpleNamespace(missing=lambda: "the package insightface is not installed")
    monkeypatch.setattr(faces, "FACE_BACKENDS", known)
    monkeypatch.setattr(faces, "pick_backend", lambda name: SimpleNamespace(name=name, fingerprint=lambda: "1"))
    record = {} if recorded is None else {"face": Extracted(recorded, "1")}
    backend, notes = face_backend(record, requested)
    assert backend.name == chosen and bool(notes) == (recorded not in (None, chosen))


def test_a_version_that_is_gone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EXTRACTORS["pose"], "fingerprint", lambda self: "pose-3-of-a-box")
    with pytest.raises(InputError, match=r"pose-2-weak-perspective-68.* no longer computed.*Train the model again"):
        usable({"pose": FRAME}, "pose")
    with pytest.raises(
        InputError, match=r"pose-2-weak-perspective-68\) cannot be computed here: train the model again"
    ):
        check_extractors({"pose": FRAME}, {"pose": TDDFA}, fields=("pose",))


def test_blinks_of_one_pair_are_a_choice_of_prepare() -> None:
    settings = PrepareSettings(blink="one-pair")
    assert settings.extract == ("pose", "blink-one-pair", "logmel", "masks")
    points = np.zeros((1, 68, 2))
    points[0, [42, 45, 43, 47, 44, 46]] = [(0, 0), (10, 0), (3, -2), (3, 2), (7, -1), (7, 1)]
    points[0, [36, 39, 37, 41, 38, 40]] = [(0, 0), (10, 0), (3, -1), (3, 1), (7, -3), (7, 3)]
    extractor: Extractor = EXTRACTORS["blink-one-pair"]()
    np.testing.assert_allclose(extractor.run({"landmarks": points}, size=1, n_frames=1)["blink"], [[0.4, 0.2]])
    assert PrepareSettings(extract=("blink",)).extract == ("blink",)
    with pytest.raises(ValueError, match="blink-one-pair replaces blink: choose it with --blink one-pair"):
        PrepareSettings(extract=("blink-one-pair",))
    with pytest.raises(ValueError, match=r"no source of the blinks called 'one'\. Known: two-pairs, one-pair"):
        PrepareSettings(blink="one")


def test_auto_takes_the_back_end_that_the_model_was_trained_with(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "dlib" in FACE_BACKENDS  # the built-in ones are registered first
    monkeypatch.setitem(FACE_BACKENDS._items, "marked", MarkedFaces)
    record = {"face": Extracted("marked", "marked/1")}
    backend, notes = face_backend(record, "auto")
    assert backend.name == "marked" and not notes
    backend, notes = face_backend(record, "dlib")
    assert backend.name == "dlib" and "trained on marked" in notes[0]
    assert face_backend({}, "marked")[0].name == "marked"
