"""Too many open files are the system's affair: no clip fails for it, nothing counts as absent, and few are needed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dawn_bench import npz, readers
from dawn_bench.baselines.base import Generated, Item
from dawn_bench.baselines.mesh_files import read_mesh
from dawn_bench.baselines.outputs import produce
from dawn_bench.clip import Clip
from dawn_bench.metrics.scoring.matching import FileLoad, Matcher
from dawn_bench.pipelines.datasets.files import file_problem
from dawn_bench.pipelines.media.animations import is_video
from dawn_bench.pipelines.media.edits import parts_of
from dawn_bench.pipelines.media.video import probe, read_frames, write_video
from dawn_bench.pipelines.meshes.files import read_vertices
from dawn_bench.pipelines.preparation import origin
from dawn_bench.reports.store import ResultsStore
from dawn_bench.storage import StorageError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

CLIPS = """
import resource, sys
from pathlib import Path
import numpy as np
from dawn_bench.baselines.formats import read_output
from dawn_bench.clip import Clip
from dawn_bench.metrics.features.inception import Inception
from dawn_bench.metrics.scoring.matching import FileLoad
from dawn_bench.metrics.scoring.scorer import score_method
from dawn_bench.pipelines.media.video import write_video

Inception.run = lambda self, clip, given: {"inception": np.asarray(clip["frames"], np.float32).reshape(-1, 768)[:, :8]}
folder, rng = Path(sys.argv[1]), np.random.default_rng(0)
loads, truth = {}, []
for k in range(50):
    frames, path = rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8), folder / f"{k}.mp4"
    clip = Clip(f"c{k}", "s", "t", 4, {"frames": frames})
    write_video(path, rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8), lossless=True)
    loads[clip.id] = FileLoad(path, lambda path=path, clip=clip: read_output(path, clip))
    truth.append(clip)
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
for _ in range(2):
    rows = score_method("m", loads, truth, dataset="d", split="t", metrics=["psnr", "fid"],
                        weights="seeded", features_dir=folder / "f", rankable=False)
    print([(row.coverage, row.n_clips, row.failures) for row in rows])
"""


def test_fifty_clips_are_scored_with_sixty_descriptors(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", CLIPS, str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["[(1.0, 50, {}), (1.0, 50, {})]"] * 2


@contextmanager
def no_descriptors() -> Iterator[None]:
    """No file can be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 + max(map(int, os.listdir("/proc/self/fd"))), limits[1]))  # noqa: PTH208
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for handle in taken:
            os.close(handle)


FRAMES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
CLIP = Clip("c", "s", "t", 5, {"frames": FRAMES, "audio": np.zeros(3200, np.int16)})
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "video": ("a.mp4", read_frames),
    "header of a video": ("a.mp4", probe),
    "edit list": ("a.mp4", lambda path: parts_of(path, 1)),
    "animation": ("a.gif", is_video),
    "file of a data set": ("small.txt", file_problem),
    "hash of a source": ("a.mp4", lambda path: (origin._hash.cache_clear(), origin.file_hash(path))),
    "matched output": ("a.mp4", lambda path: Matcher(folder=path.parent)(FileLoad(path, lambda: CLIP), CLIP)),
    "JSON": ("a.json", lambda path: readers.read_json(path, dict)),
    "archive of arrays": ("a.npz", lambda path: npz.read_npz(path, ["x"], max_bytes=1000)),
    "vertices": ("a.npy", lambda path: read_vertices(path, vertices=1)),
    "mesh": ("a.npy", lambda path: read_mesh(path, Clip("c", "s", "t", 2, {"template": np.zeros((1, 1, 3))}))),
    "log": ("a.jsonl", lambda path: ResultsStore(path.parent).curve(Path(path.name))),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("files")
    write_video(root / "a.mp4", FRAMES, lossless=True)
    (root / "a.json").write_text("{}")
    (root / "small.txt").write_text("video")
    (root / "a.gif").write_bytes(b"GIF89a")
    (root / "a.jsonl").write_text('{"step": 1}\n')
    np.savez(root / "a.npz", x=np.ones(3))
    np.save(root / "a.npy", np.ones((2, 3), np.float32))
    return root


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_cannot_be_opened_for_want_of_descriptors_ends_the_run(name: str, folder: Path) -> None:
    file, read = READERS[name]
    read(folder / file)  # what it imports is loaded
    with no_descriptors(), pytest.raises(StorageError, match=r"no more files can be opened .*ulimit -n"):
        read(folder / file)


def test_a_method_is_not_blamed_for_them(tmp_path: Path) -> None:
    class Reads:
        name, fingerprint, uses, modality = "reads", "1", frozenset(), "video"

        def generate(self, item: Item) -> Generated:
            try:
                with no_descriptors():
                    (tmp_path / "model").open()
            except OSError as error:
                raise RuntimeError("cannot load the model") from error
            raise AssertionError

    with pytest.raises(StorageError, match="no more files can be opened"):
        produce(Reads(), [CLIP], tmp_path, seed=0)  # type: ignore[arg-type]
    assert not (tmp_path / "reads" / "items.jsonl").exists()
