"""`dawn-bench generate`: talking clips from portraits and speech."""

from __future__ import annotations

import typer

from dawn_bench.cli.job import job_command
from dawn_bench.cli.output import show, suggest
from dawn_bench.workflow.generate import Generation


@job_command(Generation)
def generate(job: Generation) -> None:
    """Generate a talking clip from a portrait and speech.

    Example: dawn-bench generate --image me.png --audio speech.wav --checkpoint demo/run --out talk.mp4

    Another head's motion: add --drive video.mp4. DAWN's published weights: --checkpoint released-128

    Many clips on every GPU: dawn-bench generate --list items.csv --checkpoint demo/run --devices all
    """
    from dawn_bench.text import counted, duration
    from dawn_bench.workflow.next_steps import after_generate

    if job.items is None:
        from dawn_bench.workflow.generate import generate as run

        clip = run(job)
        seconds = clip.n_frames / clip.fps
        line = f"wrote {job.out}: {counted(clip.n_frames, 'frame')}, {duration(seconds)}"
        show({"out": job.out, "frames": clip.n_frames, "seconds": seconds, "notes": clip.notes}, [line])
        suggest(*after_generate(job.checkpoint, model=job.model))
        return
    from dawn_bench.errors import EXIT_STRICT
    from dawn_bench.training.processes import rank
    from dawn_bench.workflow.generate_list import generate_list

    done = generate_list(job)
    if rank() == 0:
        facts = {"written": done.written, "already_there": done.kept, "failed": done.failed}
        show(facts, [done.summary])
        suggest(*after_generate(job.checkpoint, model=job.model))
    if job.strict and done.failed:
        raise typer.Exit(EXIT_STRICT)
