"""Whether what finished jobs of an evaluation generated is still there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dawn_bench.baselines.outputs import OK, Output, read_items, shared_inputs, stands
from dawn_bench.baselines.reframe import aligned_name
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.files import sha256_file
from dawn_bench.names import owned
from dawn_bench.text import counted
from dawn_bench.workflow.entries import Source
from dawn_bench.workflow.fill_job import FillJob, part_path, read_part
from dawn_bench.workflow.filling import last_steps

#: Clips of finished jobs whose outputs are gone, by method and the clips of the job.
Lost = Mapping[tuple[str, tuple[str, ...]], Sequence[str]]


def lost_outputs(
    jobs: Sequence[FillJob],
    sources: Mapping[str, Source],
    clips: Sequence[Clip],
    out: Path,
    *,
    seed: int,
    content: bool = False,
    aligned: bool = True,
) -> Lost:
    """The clips of finished jobs whose outputs were removed since, or generated again under other settings.

    Records and the presence of files are looked at; with `content` a damaged file counts as gone too. Those with
    faces `aligned` belong to the outputs of methods that change the crop.
    """
    by_id = {clip.id: clip for clip in clips}
    lost = {}
    for name, source in sources.items():
        method = source.method
        done = [job for job in last_steps(jobs) if job.name == name and job.part.exists()]
        if method is None or not done:
            continue
        recorded, faces = _recorded(out, name), _recorded(out, aligned_name(name))
        aligns = aligned and getattr(method, "changes_crop", False)
        shared = shared_inputs(method, clips)

        def there(i: str) -> bool:
            output, facts = recorded.get(i), {"seed": seed, "shared": shared, "content": content}  # noqa: B023
            kept = stands(output, method, by_id[i], clips, **facts)  # type: ignore[arg-type]  # noqa: B023
            return kept and (not aligns or _has_file(faces.get(i), content))  # noqa: B023

        for job in done:
            try:
                paths = [job.part, *(part_path(job.folder, key) for key in job.earlier)]
                absent = {failed.clip for path in paths for failed in read_part(path).failed}
            except InputError:
                continue  # a damaged part counts as unfinished
            if gone := [i for i in job.ids if i not in absent and not there(i)]:
                lost[name, job.ids] = gone
    return lost


def check_nothing_lost(jobs: Sequence[FillJob], lost: Lost, out: Path) -> None:
    """Raise `InputError` where outputs are gone: scoring alone would generate them one after the other.

    Their jobs count as unfinished from here on, so that the next fill looks at what is damaged too.
    """
    for job in jobs:
        if (job.name, job.ids) in lost:
            job.part.unlink(missing_ok=True)
    if count := sum(map(len, lost.values())):
        what = f"{counted(count, 'output')} of finished jobs are gone, damaged or of other settings."
        raise InputError(what, path=out, hint="Run the same command with --only-fill in place of --fold.")


def _recorded(out: Path, name: str) -> dict[str, Output]:
    return read_items(owned(out, name)) if (out / name).is_dir() else {}


def _has_file(output: Output | None, content: bool) -> bool:
    """Whether there is a record, and its file where it is one of success; with `content` an undamaged one."""
    if output is None or output.status != OK:
        return output is not None
    if output.path is None or not output.path.is_file():
        return False
    return not (content and output.sha256) or sha256_file(output.path) == output.sha256
