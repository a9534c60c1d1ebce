"""The undisturbed state that the campaign attacks: a small dataset, its cache, a trained run, and results."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from dawn_bench.pipelines.synthetic import write_embedded

STAGES = ("lfg", "a2v-1", "pbnet")
#: Seconds after which a command counts as hanging. The undisturbed ones take 3 to 15 s.
HANGING = 600
#: Exit codes that a command may end with: done, refused in one line, some items failed under --strict.
ORDERLY = frozenset({0, 2, 3})
#: Further ones after SIGINT, SIGTERM and SIGHUP; the negative ones before Python has installed its handlers.
STOPPED = frozenset({130, 143, 129, -signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP})


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    output: str
    seconds: float


class Lost(Exception):
    """A try in which something was lost."""


class World:
    """The undisturbed state; nothing in `root` is changed after it is made."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True)
        self.root = root
        self.videos, self.cache, self.run = root / "videos", root / "cache", root / "run"
        self.results, self.talk = root / "results", root / "talk.mp4"
        write_embedded(root / "dataset", speakers=3, clips=6, seconds=1, size=128)
        self.videos.mkdir()
        for clip in sorted((root / "dataset" / "VideoFlash").glob("*.mp4")):
            shutil.copy(clip, self.videos)
        self.clip = sorted(self.videos.iterdir())[0]
        self.picture, self.sound = root / "portrait.png", self.clip
        _first_frame(self.clip, self.picture)
        self.seconds = {
            "prepare": self._must(self.prepare(self.cache)),
            "train": self._must(self.train(self.cache, self.run)),
            "evaluate": self._must(self.evaluate(self.cache, self.results)),
            "generate": self._must(self.generate(self.run, self.talk)),
        }
        self.seconds["report"] = self._must(["report", str(self.results)])
        self.models = models(self.run)
        self.scores = scores(self.results)
        self.contents = contents(self.cache)

    def prepare(self, cache: Path, *, jobs: int = 2, videos: Path | None = None) -> list[str]:
        root = str(videos or self.videos)
        folders = ["--root", root, "--cache", str(cache)]
        return ["prepare", "--dataset", "folder", *folders, "--size", "64", "--jobs", str(jobs)]

    def train(self, cache: Path, run: Path, *extra: str) -> list[str]:
        changes = ("steps=6", "save_every=2", "log_every=1", "validate_every=null", "batch_size=2")
        keys = (s.replace("-", "_") for s in STAGES)
        sets = [part for key in keys for change in changes for part in ("--set", f"{key}.loop.{change}")]
        folders = ["--cache", str(cache), "--out", str(run)]
        return ["train", *folders, "--preset", "tiny", *sets, "--set", "lfg.perceptual=seeded", *extra]

    def evaluate(self, cache: Path, results: Path, *extra: str, method: str = "still") -> list[str]:
        folders = ["--cache", str(cache), "--out", str(results)]
        return ["evaluate", "--method", method, *folders, "--metrics", "psnr,ssim", "--no-sanity", *extra]

    def generate(self, run: Path, out: Path) -> list[str]:
        inputs = ["--image", str(self.picture), "--audio", str(self.sound)]
        return ["generate", *inputs, "--checkpoint", str(run), "--out", str(out), "--steps", "2"]

    def _must(self, command: list[str]) -> float:
        ended = execute(command)
        if ended.code != 0:
            raise RuntimeError(f"the undisturbed `{' '.join(command[:1])}` fails:\n{ended.output}")
        return ended.seconds


def start(command: list[str], log: Path, **env: str) -> subprocess.Popen[bytes]:
    """Begin a command in a session of its own; its output goes to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "dawn_bench", *command],
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "400", **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def execute(command: list[str], *, log: Path | None = None, **env: str) -> Ended:
    """Run a command to its end; raises `Lost` when it hangs."""
    with tempfile.TemporaryDirectory() as folder:
        path = log or Path(folder) / "log"
        begun, before = time.monotonic(), path.stat().st_size if path.exists() else 0
        process = start(command, path, **env)
        try:
            process.wait(HANGING)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Lost(f"`{command[0]}` hangs: no end after {HANGING} s") from None
        output = path.read_bytes()[before:].decode(errors="replace")
        return Ended(process.returncode, output, time.monotonic() - begun)


def orderly(ended: Ended, what: str, *, codes: frozenset[int] = ORDERLY) -> Ended:
    """`ended`, if the command ended as a command should; raises `Lost` otherwise."""
    faults = [word for word in ("Traceback (most recent call last)", "internal error") if word in ended.output]
    if faults or ended.code not in codes:
        raise Lost(f"{what}: exit code {ended.code}; {ended.output.strip()[-600:]}")
    if ended.code == 2 and sum(line.startswith("error: ") for line in ended.output.splitlines()) != 1:
        raise Lost(f"{what}: is refused in other than one line; {ended.output.strip()[-600:]}")
    return ended


def done(ended: Ended, what: str) -> Ended:
    """`ended`, if the command did its work."""
    return orderly(ended, what, codes=frozenset({0}))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def models(run: Path) -> dict[str, str]:
    """A digest of each stage's tensors and metadata; the order of the metadata in the file is random."""
    digests = {}
    for stage in STAGES:
        path = run / stage / "model.safetensors"
        if not path.is_file():
            continue
        with safe_open(path, framework="np") as file:
            parts = [f"{k} {v}".encode() for k, v in sorted(file.metadata().items())]
            parts += [name.encode() + file.get_tensor(name).tobytes() for name in sorted(file.keys())]
        digests[stage] = hashlib.sha256(b"\0".join(parts)).hexdigest()
    return digests


def contents(folder: Path) -> dict[str, str]:
    """sha256 of every file of a folder but its locks, by relative path."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.endswith(".lock"))
    return {p.relative_to(folder).as_posix(): sha256(p) for p in files}


def leftovers(folder: Path) -> list[str]:
    """Temporary files."""
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if ".tmp" in p.suffixes or ".part" in p.suffixes]


def scores(results: Path) -> dict[str, object]:
    """The last value of every method and metric, with its clips."""
    values: dict[str, object] = {}
    for path in sorted((results / "rows").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            values[f"{row['method']} {row['metric']}"] = (row["value"], row["n_frames"], row["per_clip"])
    return values


def descendants(session: int) -> list[int]:
    """Processes that still run in a session."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            alive.append(int(stat.parent.name))
    return alive


def working_in(folder: Path) -> list[int]:
    """Processes that have the path of a folder among their words."""
    alive = []
    for words in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(folder) in words.read_bytes() and words.parent.name != str(os.getpid()):
                alive.append(int(words.parent.name))
        except OSError:
            continue
    return alive


def _first_frame(video: Path, picture: Path) -> None:
    import av

    with av.open(str(video)) as container:
        next(container.decode(video=0)).to_image().save(picture)
