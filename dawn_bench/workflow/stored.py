"""Whether what finished jobs of an evaluation generated is still there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dawn_bench.baselines.outputs import OK, Output, read_items, shared_inputs, stands
from dawn_bench.baselines.reframe import aligned_name
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.names import owned
from dawn_bench.text import counted
from dawn_bench.workflow.entries import Source
from dawn_bench.workflow.fill_job import FillJob, part_path, read_part
from dawn_bench.workflow.filling import last_steps

#: Clips of finished jobs whose outputs are gone, by method and the clips of the job.
Lost = Mapping[tuple[str, tuple[str, ...]], Sequence[str]]


def lost_outputs(
    jobs: Sequence[FillJob], sources: Mapping[str, Source], clips: Sequence[Clip], out: Path, *, seed: int
) -> Lost:
    """The clips of finished jobs whose outputs were removed since, or generated again under other settings.

    Records and the presence of files are looked at, not their content.
    """
    by_id = {clip.id: clip for clip in clips}
    lost = {}
    for name, source in sources.items():
        method = source.method
        done = [job for job in last_steps(jobs) if job.name == name and job.part.exists()]
        if method is None or not done:
            continue
        recorded, aligned = _recorded(out, name), _recorded(out, aligned_name(name))
        shared = shared_inputs(method, clips)

        def there(i: str) -> bool:
            kept = stands(recorded.get(i), method, by_id[i], clips, seed=seed, shared=shared)  # noqa: B023
            return kept and (not getattr(method, "changes_crop", False) or _has_file(aligned.get(i)))  # noqa: B023

        for job in done:
            try:
                paths = [job.part, *(part_path(job.folder, key) for key in job.earlier)]
                absent = {failed.clip for path in paths for failed in read_part(path).failed}
            except InputError:
                continue  # a damaged part counts as unfinished
            if gone := [i for i in job.ids if i not in absent and not there(i)]:
                lost[name, job.ids] = gone
    return lost


def check_nothing_lost(lost: Lost, out: Path) -> None:
    """Raise `InputError` where outputs are gone: scoring alone would generate them one after the other."""
    if count := sum(map(len, lost.values())):
        what = f"{counted(count, 'output')} of finished jobs are gone or of other settings."
        raise InputError(what, path=out, hint="Run the same command with --only-fill in place of --fold.")


def _recorded(out: Path, name: str) -> dict[str, Output]:
    return read_items(owned(out, name)) if (out / name).is_dir() else {}


def _has_file(output: Output | None) -> bool:
    """Whether there is a record, and its file where it is one of success."""
    return output is not None and (output.status != OK or (output.path is not None and output.path.is_file()))
