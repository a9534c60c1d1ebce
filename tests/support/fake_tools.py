"""Tiny stand-ins for decoding and extracting, so that tests of the cache's making take milliseconds a clip.

A "video" is a text file: `frames=12 value=3 then=fail`, and its name decides nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dawn_bench.devices import chosen_device
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.extractors.base import EXTRACTORS, Extractor
from dawn_bench.pipelines.preparation.group import GroupJob, GroupReport
from dawn_bench.pipelines.settings import PrepareSettings

#: Names of extractors that `FakeTools` runs on cached arrays; settings take registered names only.
LATE = ("late", "late_crash", "late_die")


class FakeExtractor(Extractor):
    """Registers the name of an extractor that `FakeTools` runs itself."""

    needs = ("frames",)

    def fingerprint(self) -> str:
        """A constant."""
        return "1"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """Fails: `FakeTools.extract` computes these fields itself."""
        raise AssertionError(f"{self.name} is computed by FakeTools")


for _name in (*LATE, "other"):
    EXTRACTORS.register(_name)(type(f"Fake_{_name}", (FakeExtractor,), {"name": _name}))


def write_video(path: Path, *, frames: int, value: int = 0, then: str = "") -> None:
    """A fake video; `then` is what processing it does at its end (see `FakeTools.process`)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{frames} {value} {then}")


@dataclass(frozen=True)
class FakeTools:
    """`pause` seconds a frame make a run slow enough to be killed in its middle."""

    pause: float = 0.0
    version: str = "1"

    def facts(self, settings: PrepareSettings) -> dict[str, str]:
        """Fingerprints that follow `version`."""
        face = "dlib" if settings.face == "auto" else settings.face
        return {
            "face": face,
            "face fingerprint": self.version,
            **{f"extractor {n}": self.version for n in settings.extract},
        }

    def scenes(self, source: Source, settings: PrepareSettings) -> list[Source]:
        """With `on_cut="split"` a video with `then=cutN` has N scenes of equal length."""
        words = source.video.read_text().split(" ")
        if settings.on_cut != "split" or not words[-1].startswith("cut"):
            return [source]
        count = int(words[-1].removeprefix("cut"))
        length = int(words[0]) / count / 25
        return [replace(source, start=k * length, stop=(k + 1) * length) for k in range(count)]

    def process(self, source: Source, settings: PrepareSettings, sink: Any) -> dict[str, Any]:
        """Write the clip that the file `FRAMES VALUE THEN` describes, or fail as `THEN` says."""
        words = source.video.read_text().split(" ")
        if len(words) != 3:
            raise ItemError("unreadable", f"{source.video.name} is no video")
        frames, value, then = int(words[0]), int(words[1]), words[2]
        if source.stop is not None:
            frames = round(25 * (source.stop - source.start))
        noise = np.random.default_rng(value)
        for k in range(frames):
            time.sleep(self.pause)
            sink.append("frames", noise.integers(0, 256, (1, settings.size, settings.size, 3), dtype=np.uint8))
            sink.append("pose", np.array([[k, value, 3, 4, 5, 6, 7]], np.float32))
        sink.append("audio", (np.arange(frames * 640) + 7 * value).astype(np.int16))
        sink.append("valid", np.ones(frames, bool))
        match then:
            case "no_face":
                raise ItemError("no_face", "no face in any frame")
            case "crash":
                raise RuntimeError("a fault of the decoder")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "die_once":
                witness = source.video.with_suffix(".died")
                if not witness.exists():
                    witness.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        return {"face": "dlib", "tracks": [1, 2]}

    def afterwards(self, settings: PrepareSettings) -> list[str]:
        """The extractors in `LATE`, which run after the shards are written."""
        return [name for name in settings.extract if name in LATE]

    def extract(
        self, name: str, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int
    ) -> dict[str, np.ndarray]:
        """One field called like the extractor; `late_crash` and `late_die` fail on some clip lengths."""
        if name == "late_crash" and n_frames % 7 == 1:
            raise RuntimeError("a fault of\nthe network")
        if name == "late_die" and n_frames % 7 == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if n_frames % 7 == 0:
            raise ItemError("no_audio", "seven is no good")
        return {name: np.concatenate([arrays["pose"][:, :3], np.full((n_frames, 1), size)], axis=1).astype(np.float16)}


@dataclass(frozen=True)
class Witness(FakeTools):
    """Notes in files which process used which device, and for what."""

    notes: Path = Path()

    def _note(self, what: str) -> None:
        with (self.notes / str(os.getpid())).open("a") as file:
            file.write(f"{what} {chosen_device()}\n")

    def facts(self, settings: PrepareSettings) -> dict[str, str]:
        """Notes the device of the planning process."""
        self._note("plan")
        return super().facts(settings)

    def process(self, source: Source, settings: PrepareSettings, sink: Any) -> dict[str, Any]:
        """Notes the device of a clip."""
        self._note("process")
        return super().process(source, settings, sink)

    def extract(
        self, name: str, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int
    ) -> dict[str, np.ndarray]:
        """Notes the device of an extractor."""
        self._note("extract")
        return super().extract(name, arrays, size=size, n_frames=n_frames)


@dataclass(frozen=True)
class Warns:
    """What a worker does with a job: it logs and warns a text."""

    text: str

    def __call__(self, job: GroupJob) -> GroupReport:
        logging.getLogger("some.library").warning("cannot read %s", self.text)
        warnings.warn(self.text, stacklevel=1)
        return GroupReport(job.number, 0, 0, {})


def dies(job: GroupJob) -> GroupReport:
    """What a worker does with a job: its process dies before it begins."""
    os._exit(3)
