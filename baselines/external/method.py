"""An external method behind the common contract: frames from portrait and sound, and a status for every failure."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from dawn_bench.baselines.base import Generated, Item, MethodClass
from dawn_bench.baselines.external.adapter import Adapter, Install
from dawn_bench.baselines.external.portrait import PORTRAIT, MethodPortrait, portrait_key, portrait_of
from dawn_bench.baselines.external.process import Run, run
from dawn_bench.baselines.external.stage import Staged, staged
from dawn_bench.clip import FPS, Clip
from dawn_bench.errors import ItemError
from dawn_bench.files import sha256_file, walk
from dawn_bench.hashes import known_hashes
from dawn_bench.pipelines.media.video import probe, read_frames
from dawn_bench.provenance import fingerprint
from dawn_bench.storage import StorageError, raise_if_refused, storage_error

SEEDED = Path(__file__).with_name("seeded.py")
#: What a command logs when memory runs out; adapters add their own expressions.
OUT_OF_MEMORY = r"out of memory|MemoryError|CUBLAS_STATUS_ALLOC_FAILED"
#: The output of a command that then failed is accepted when it has at least this share of the frames requested.
MIN_SHARE = 0.9


class External:
    """One installed external method. Items run one at a time, each in its own working copy."""

    def __init__(self, adapter: Adapter, install: Install, *, logs: Path) -> None:
        self.adapter, self.install, self.logs = adapter, install, logs
        self.name, self.licence = adapter.name, adapter.licence
        self.method_class: MethodClass = adapter.method_class
        self.changes_crop = adapter.changes_crop
        self.uses: tuple[str, ...] = ("source", "audio")
        weights = {k: sha256_file(Path(p)) for k, p in install.weights.items() if Path(p).is_file()}
        facts = [adapter.model_dump(mode="json"), install.options, weights]
        self.fingerprint = f"external/{adapter.name}/{fingerprint(facts)}"
        self._portrait: tuple[Clip, MethodPortrait] | None = None

    @cached_property
    def further_inputs(self) -> dict[str, str]:
        """Hashes of the weights that are folders, and the repository's commit, which the fingerprint leaves out."""
        folders = {name: Path(path) for name, path in self.install.weights.items() if Path(path).is_dir()}
        commit = _commit(self.install.repo)
        hashes = {f"weights {name}": _folder_hash(folder) for name, folder in folders.items()}
        return {**hashes, **({"commit": commit} if commit else {})}

    def source_key(self, clip: Clip) -> str:
        """The source video that the portrait is best cut from; empty where the cached frame serves as well."""
        return portrait_key(clip, self.adapter.portrait_size)

    def has_source(self, clip: Clip) -> bool:
        """Whether the portrait can be cut from the source video. It is kept for `generate`."""
        self._portrait = clip, portrait_of(clip, self.adapter.portrait_size)
        return self._portrait[1].from_source

    def generate(self, item: Item) -> Generated:
        """Run the command for one item.

        Raises `ItemError` with `no_face`, `timeout`, `oom`, `crash` or `bad_output`; `StorageError` for a full disk.
        """
        adapter = self.adapter
        kept, self._portrait = self._portrait, None
        if kept is None or kept[0] is not item.clip:
            kept = item.clip, portrait_of(item.clip, adapter.portrait_size)
        portrait = kept[1]
        with staged(adapter, self.install, item, portrait.picture) as item_files:
            argv = [item_files.fill(part, what="argv") for part in adapter.argv]
            launcher = [str(SEEDED), str(item.seed % 2**31)] if adapter.seeded_launch else []
            log = self.logs / self.name / f"{item.clip.id}.log"
            try:
                ended = run(
                    [str(self.install.python), *launcher, *argv],
                    cwd=item_files.work,
                    environment={k: item_files.fill(v, what="environment") for k, v in adapter.environment.items()},
                    log=log,
                    timeout=adapter.limits.timeout,
                    ready=adapter.ready,
                )
            except StorageError:
                raise
            except OSError as error:
                raise storage_error(error) or ItemError("crash", f"cannot be started: {error}") from error
            if ended.code is None:
                raise ItemError("timeout", f"took more than {adapter.limits.timeout:g} s; log: {log}")
            return self._collected(item_files, ended, item, portrait, log)

    def _collected(self, item_files: Staged, ended: Run, item: Item, portrait: MethodPortrait, log: Path) -> Generated:
        self._raise_reported(ended)
        path = self._output(item_files, ended, log)
        try:
            info, frames = probe(path), read_frames(path, max_frames=item.clip.n_frames + FPS)
        except ItemError as error:
            raise_if_refused(error)
            raise ItemError("bad_output" if ended.code == 0 else "crash", error.detail) from error
        notes = []
        n = item.clip.n_frames
        if ended.code:
            if len(frames) < MIN_SHARE * n:
                raise ItemError("crash", f"exit code {ended.code}: {ended.last_words()}; log: {log}")
            notes.append("the command failed after it had written its output")
        if abs(info.fps - FPS) > 0.01:
            notes.append(f"{info.fps:.4g} fps, read at {FPS} by timestamps")
        if len(frames) != n:
            notes.append("fewer frames than requested" if len(frames) < n else "more frames than requested: cut")
        facts: dict[str, Any] = {"fps": info.fps, "frames": len(frames), "width": info.width, "height": info.height}
        facts[PORTRAIT] = portrait.note
        audio, loading = item.clip["audio"], ended.ready_after
        return Generated(frames[:n], audio, notes=tuple(notes), facts=facts, load_seconds=loading)

    def _raise_reported(self, ended: Run) -> None:
        """Failures that the command logged take precedence over its exit code: some continue without a face."""
        if ended.code and (refused := storage_error(Exception(ended.tail))) is not None:
            raise refused  # of the machine, not of the method
        for status, pattern in self.adapter.says.items():
            if match := re.search(pattern, ended.tail):
                raise ItemError(status, match.group(0))
        if ended.code and re.search(OUT_OF_MEMORY, ended.tail):
            raise ItemError("oom", ended.last_words())
        if ended.code == -9:
            raise ItemError("oom", "was killed (signal 9), as the system does when memory runs out")

    def _output(self, item_files: Staged, ended: Run, log: Path) -> Path:
        pattern = item_files.fill(self.adapter.output, what="output")
        base = item_files.work.parent
        relative = Path(pattern).relative_to(base) if Path(pattern).is_absolute() else Path("work", pattern)
        matches = sorted(p for p in base.glob(str(relative)) if p.is_file() and p.stat().st_size)
        if len(matches) == 1:
            return matches[0]
        if not matches and ended.code:
            raise ItemError("crash", f"exit code {ended.code}: {ended.last_words()}; log: {log}")
        names = ", ".join(p.name for p in matches[:3]) or "none"
        raise ItemError("bad_output", f"{len(matches)} files match {relative} instead of one ({names}); log: {log}")


def _folder_hash(folder: Path) -> str:
    """Identifies the names and contents of the files below a folder; large files are not read twice."""
    files = [path for path in walk(folder) if path.is_file()]
    return fingerprint({path.relative_to(folder).as_posix(): known_hashes(path)["sha256"] for path in files})


def _commit(repo: Path) -> str:
    """The commit that is checked out in a repository, without running git; empty where that cannot be told."""
    git = repo / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if head.startswith("ref: "):
            name = head.removeprefix("ref: ")
            packed = (git / "packed-refs").read_text() if not (git / name).is_file() else ""
            lines = [line.split() for line in packed.splitlines()]
            head = next((line[0] for line in lines if line[1:] == [name]), "") if packed else (git / name).read_text()
    except (OSError, ValueError):
        return ""
    return head.strip() if re.fullmatch("[0-9a-f]{40,64}", head.strip()) else ""
