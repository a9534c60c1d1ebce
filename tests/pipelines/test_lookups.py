"""What is looked up in registries instead of listed: audio encoders, pose sources, names in settings."""

from __future__ import annotations

import numpy as np
import pytest

from dawn_bench.clip import Clip
from dawn_bench.config import resolve_config
from dawn_bench.errors import InputError
from dawn_bench.pipelines.datasets.base import DATASETS
from dawn_bench.pipelines.extractors.base import EXTRACTORS, audio_encoder_of, audio_encoders, pose_sources
from dawn_bench.pipelines.settings import PrepareSettings


def clip(*fields: str) -> Clip:
    return Clip("c", "s", "train", 1, {name: np.zeros((1, 4)) for name in fields})


@pytest.mark.parametrize(
    "fields, prefer, expected",
    [
        (("hubert", "logmel", "wav2vec2"), "hubert", "hubert"),
        (("hubert", "logmel", "wav2vec2"), "wav2vec2", "wav2vec2"),
        (("wav2vec2", "logmel"), "hubert", "logmel"),  # another paper's encoder is no substitute
        (("hubert", "logmel"), "wav2vec2", "logmel"),
    ],
)
def test_a_model_takes_its_own_encoder_or_the_fallback(fields: tuple[str, ...], prefer: str, expected: str) -> None:
    assert set(fields) <= set(audio_encoders())
    assert audio_encoder_of(clip(*fields), prefer=prefer) == expected


def test_a_clip_without_audio_features_is_named() -> None:
    with pytest.raises(InputError, match=r"clip c has no audio features.*--extract"):
        audio_encoder_of(clip("frames"))


def test_pose_sources_are_the_extractors_of_the_pose() -> None:
    assert pose_sources().items() >= {"landmarks": "pose", "3ddfa": "pose-3ddfa"}.items()


@pytest.mark.parametrize(
    "override, error",
    [
        ("face=dlub", r"'face': there is no face back end called 'dlub'\. Did you mean dlib"),
        ("dataset=crena", r"'dataset': there is no dataset called 'crena'\. Did you mean crema"),
        ("pose=3dfa", r"'pose': .* called '3dfa'\. Did you mean 3ddfa"),
        ("extract=[pose,huberd]", r"'extract': there is no extractor called 'huberd'\. Did you mean hubert"),
    ],
)
def test_unknown_names_in_settings_get_the_nearest(override: str, error: str) -> None:
    with pytest.raises(InputError, match=error):
        resolve_config(PrepareSettings(), overrides=[override])


def test_a_dataset_without_a_published_list_is_an_error(tmp_path: object) -> None:
    with pytest.raises(InputError, match="'folder' has no published list"):
        DATASETS["folder"]().missing(tmp_path, PrepareSettings())  # type: ignore[arg-type]


def test_the_best_substitute_for_audio_features_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = type("Encoder", (EXTRACTORS["logmel"],), {"name": "better", "fallback": 0})
    monkeypatch.setitem(EXTRACTORS._items, "better", encoder)
    assert audio_encoder_of(clip("logmel", "better")) == "better"
    assert audio_encoder_of(clip("logmel", "better", "hubert")) == "hubert"
    assert audio_encoder_of(clip("logmel", "wav2vec2")) == "logmel"
