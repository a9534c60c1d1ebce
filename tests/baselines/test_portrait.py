"""External methods get a portrait cut from the source video, at their own size; the row says where it is from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from fake_repos import PYTHON, fake_repo

from dawn_bench.baselines.external.adapter import bundled, installs, read_adapter
from dawn_bench.baselines.external.method import External
from dawn_bench.baselines.external.portrait import portrait_of
from dawn_bench.baselines.outputs import ITEMS_FILE, OK, produce, read_items
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.metrics.protocols.base import PAPER_DAWN
from dawn_bench.pipelines.media.video import read_frames
from dawn_bench.pipelines.preparation.origin import DATASET_CROP
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded
from dawn_bench.workflow.evaluate import evaluate_methods
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.pieces import cut_pieces

PIECE = 15


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of 128 px whose one clip, of 512 px, is in the folder `videos` beside it."""
    root = tmp_path_factory.mktemp("made")
    write_embedded(root / "videos", speakers=1, clips=1, seconds=1.2, size=512)
    settings = PrepareSettings(dataset="embedded", size=128, crop="none", face="dlib", extract=())
    prepare(root / "videos", root / "cache", settings)
    return root


@pytest.fixture
def clip(made: Path) -> Clip:
    """The second piece of the clip."""
    (whole,) = Cache(made / "cache").clips()
    return cut_pieces([whole], PAPER_DAWN.in_pieces(PIECE))[1]


@pytest.fixture
def method(tmp_path: Path) -> External:
    return External(*installs(installed(tmp_path, "hallo"))["hallo"], logs=tmp_path / "logs")


def installed(tmp_path: Path, name: str) -> Path:
    repo = fake_repo(tmp_path, name, weights=tuple(read_adapter(bundled()[name]).weights.values()))
    file = tmp_path / "installs.yaml"
    file.write_text(yaml.safe_dump({name: {"python": PYTHON, "repo": str(repo)}}))
    return file


def true_frame(made: Path, number: int) -> np.ndarray:
    return read_frames(next((made / "videos" / "VideoFlash").glob("*.mp4")))[number]


def sharpness(picture: np.ndarray) -> float:
    """Variance of the Laplacian."""
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def test_the_portrait_is_the_true_frame_and_not_an_enlarged_one(made: Path, clip: Clip) -> None:
    portrait = portrait_of(clip, 512)
    np.testing.assert_array_equal(portrait.picture, true_frame(made, PIECE))
    assert portrait.from_source and portrait.note == "portraits cut from the source videos at 512 px"
    enlarged = cv2.resize(np.asarray(clip["frames"][0]), (512, 512), interpolation=cv2.INTER_CUBIC)
    assert sharpness(portrait.picture) > 2 * sharpness(enlarged)
    # as large and at the same place
    reduced = cv2.resize(portrait.picture, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - clip["frames"][0]).mean() < 2  # one level is the rounding of the two scalers
    smaller = portrait_of(clip, 96)
    assert smaller.from_source and smaller.picture.shape == (96, 96, 3)


def test_the_cached_frame_serves_where_it_has_the_size_or_the_video_is_gone(clip: Clip, tmp_path: Path) -> None:
    for size in (None, 128):
        same = portrait_of(clip, size)
        assert (same.picture == clip["frames"][0]).all() and same.note == "portraits are cached frames of 128 px"
    gone = Clip(clip.id, "", "test", PIECE, clip.arrays, meta={**clip.meta, "source_root": str(tmp_path)})
    portrait = portrait_of(gone, 512)
    assert portrait.note == "portraits are cached frames of 128 px, enlarged to 512 px: the source video is not there"
    assert portrait.picture.shape == (512, 512, 3) and not portrait.from_source


@pytest.mark.parametrize("stated", ["0 0 512 ²", "0 0 512", "", 3])
def test_a_crop_of_the_dataset_that_is_no_window_is_as_none(clip: Clip, stated: object) -> None:
    damaged = Clip(clip.id, "", "test", PIECE, clip.arrays, meta={**clip.meta, DATASET_CROP: stated})
    assert portrait_of(damaged, 512).from_source


def test_the_command_is_given_it_and_the_output_says_so(
    made: Path, clip: Clip, method: External, tmp_path: Path
) -> None:
    output = produce(method, [clip], tmp_path / "out", seed=0)[clip.id]
    assert output.path is not None and output.facts["portrait"] == "portraits cut from the source videos at 512 px"
    np.testing.assert_array_equal(read_frames(output.path)[0], true_frame(made, PIECE))


def test_outputs_of_blurred_portraits_are_replaced_and_those_of_sharp_ones_kept(
    made: Path, clip: Clip, method: External, tmp_path: Path
) -> None:
    def run() -> tuple[str, int]:
        result = produce(method, [clip], tmp_path / "out", seed=0)[clip.id]
        assert result.status == OK
        place = "source" if result.facts["portrait"].startswith("portraits cut from the source") else "cache"
        return place, len((tmp_path / "out" / "hallo" / ITEMS_FILE).read_text().splitlines())

    (made / "videos").rename(made / "elsewhere")
    try:
        assert run() == ("cache", 1) and run() == ("cache", 1)
        old = read_items(tmp_path / "out" / "hallo")[clip.id].key
    finally:
        (made / "elsewhere").rename(made / "videos")
    assert run() == ("source", 2) and run() == ("source", 2)
    assert read_items(tmp_path / "out" / "hallo")[clip.id].key != old
    (made / "videos").rename(made / "elsewhere")
    try:
        assert run() == ("source", 2)  # better than what could be generated now
    finally:
        (made / "elsewhere").rename(made / "videos")


def test_the_row_says_which_portrait_a_method_had(made: Path, tmp_path: Path) -> None:
    job = Evaluation(
        cache=made / "cache", out=tmp_path / "results", device="cpu", methods=("hallo",), metrics=("psnr",),
        installs=installed(tmp_path, "hallo"), sanity=False, piece_length=PIECE, split=Cache(made / "cache").splits[0],
    )  # fmt: skip
    (row,) = evaluate_methods(job).rows
    assert "portraits cut from the source videos at 512 px (2 clips)" in row.note
    (made / "videos").rename(made / "elsewhere")
    try:
        (row,) = evaluate_methods(job.model_copy(update={"out": tmp_path / "later"})).rows
    finally:
        (made / "elsewhere").rename(made / "videos")
    assert "portraits are cached frames of 128 px, enlarged to 512 px: the source video is not there" in row.note


def test_real_clips_give_sharp_portraits(clips_dir: Path, tmp_path: Path) -> None:
    """HDTF's published clips have 512 px; their cached frames, enlarged, lose nine tenths of the sharpness."""
    name = "WDA_EdMarkey0_000"
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / f"{name}.mp4").symlink_to(clips_dir / f"{name}.mp4")
    settings = PrepareSettings(dataset="hdtf", size=128, crop="paper", face="dlib", extract=(), max_frames=24)
    prepare(tmp_path / "videos", tmp_path / "cache", settings)
    piece = cut_pieces(Cache(tmp_path / "cache").clips(), PAPER_DAWN.in_pieces(12))[1]
    portrait = portrait_of(piece, 512)
    true = read_frames(clips_dir / f"{name}.mp4", max_frames=13)[12]
    np.testing.assert_array_equal(portrait.picture, true)
    enlarged = cv2.resize(np.asarray(piece["frames"][0]), (512, 512), interpolation=cv2.INTER_CUBIC)
    assert sharpness(enlarged) < 0.2 * sharpness(true)
