"""An external method as any other: portrait and sound in, frames out, and a status for whatever went wrong."""

from __future__ import annotations

import re
from pathlib import Path

from dawn_bench.baselines.base import Generated, Item, MethodClass
from dawn_bench.baselines.external.adapter import Adapter, Install
from dawn_bench.baselines.external.process import Run, run
from dawn_bench.baselines.external.stage import Staged, staged
from dawn_bench.clip import FPS
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.media.video import probe, read_frames
from dawn_bench.provenance import fingerprint, sha256_file

SEEDED = Path(__file__).with_name("seeded.py")
#: What a command says when memory ran out; adapters add their own words.
OUT_OF_MEMORY = r"out of memory|MemoryError|CUBLAS_STATUS_ALLOC_FAILED"
#: A command that failed after writing a file is believed when the file holds this share of the frames asked.
WHOLE = 0.9


class External:
    """One installed external method. Items are run one at a time, each in a working copy of its own."""

    def __init__(self, adapter: Adapter, install: Install, *, logs: Path) -> None:
        self.adapter, self.install, self.logs = adapter, install, logs
        self.name, self.licence = adapter.name, adapter.licence
        self.method_class: MethodClass = adapter.method_class
        self.changes_crop = adapter.changes_crop
        self.uses: tuple[str, ...] = ("source", "audio")
        weights = {k: sha256_file(Path(p)) for k, p in install.weights.items() if Path(p).is_file()}
        facts = [adapter.model_dump(mode="json"), install.options, weights]
        self.fingerprint = f"external/{adapter.name}/{fingerprint(facts)}"

    def generate(self, item: Item) -> Generated:
        """Run the command for one item.

        Raises `ItemError` with `no_face`, `timeout`, `oom`, `crash` or `bad_output`.
        """
        adapter = self.adapter
        with staged(adapter, self.install, item) as laid:
            argv = [laid.fill(part, what="argv") for part in adapter.argv]
            launcher = [str(SEEDED), str(item.seed % 2**31)] if adapter.seeded_launch else []
            log = self.logs / self.name / f"{item.clip.id}.log"
            try:
                done = run(
                    [str(self.install.python), *launcher, *argv],
                    cwd=laid.work,
                    environment={k: laid.fill(v, what="environment") for k, v in adapter.environment.items()},
                    log=log,
                    timeout=adapter.limits.timeout,
                    ready=adapter.ready,
                )
            except OSError as error:
                raise ItemError("crash", f"cannot be started: {error}") from error
            if done.code is None:
                raise ItemError("timeout", f"took more than {adapter.limits.timeout:g} s; log: {log}")
            return self._collected(laid, done, item, log)

    def _collected(self, laid: Staged, done: Run, item: Item, log: Path) -> Generated:
        self._look_for_reasons(done)
        path = self._output(laid, done, log)
        try:
            info, frames = probe(path), read_frames(path)
        except ItemError as error:
            raise ItemError("bad_output" if done.code == 0 else "crash", error.detail) from error
        notes = []
        n = item.clip.n_frames
        if done.code:
            if len(frames) < WHOLE * n:
                raise ItemError("crash", f"exit code {done.code}: {done.last_words()}; log: {log}")
            notes.append("the command failed after it had written its output")
        if abs(info.fps - FPS) > 0.01:
            notes.append(f"{info.fps:.4g} fps, read at {FPS} by timestamps")
        if len(frames) != n:
            notes.append("fewer frames than asked" if len(frames) < n else "more frames than asked: cut")
        facts = {"fps": info.fps, "frames": len(frames), "width": info.width, "height": info.height}
        return Generated(frames[:n], item.clip["audio"], notes=tuple(notes), facts=facts, load_seconds=done.ready_after)

    def _look_for_reasons(self, done: Run) -> None:
        """What the command said of itself counts before its exit code: some go on with a face they did not find."""
        for status, pattern in self.adapter.says.items():
            if found := re.search(pattern, done.tail):
                raise ItemError(status, found.group(0))
        if done.code and (found := re.search(OUT_OF_MEMORY, done.tail)):
            raise ItemError("oom", done.last_words())
        if done.code == -9:
            raise ItemError("oom", "was killed (signal 9), as the system does when memory runs out")

    def _output(self, laid: Staged, done: Run, log: Path) -> Path:
        pattern = laid.fill(self.adapter.output, what="output")
        base = laid.work.parent
        relative = Path(pattern).relative_to(base) if Path(pattern).is_absolute() else Path("work", pattern)
        found = sorted(p for p in base.glob(str(relative)) if p.is_file() and p.stat().st_size)
        if len(found) == 1:
            return found[0]
        if not found and done.code:
            raise ItemError("crash", f"exit code {done.code}: {done.last_words()}; log: {log}")
        told = ", ".join(p.name for p in found[:3]) or "none"
        raise ItemError("bad_output", f"{len(found)} files fit {relative} ({told}), not one; log: {log}")
