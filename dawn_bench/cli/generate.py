"""`dawn-bench generate`: a talking clip from a portrait and speech."""

from __future__ import annotations

from dawn_bench.cli.job import job_command
from dawn_bench.workflow.generate import Generation


@job_command(Generation)
def generate(job: Generation) -> None:
    """Generate a talking clip from a portrait and speech.

    Example: dawn-bench generate --image me.png --audio speech.wav --checkpoint demo/run --out talk.mp4

    Another head's motion: add --drive video.mp4. DAWN's published weights: --checkpoint released-128
    """
    from dawn_bench.workflow.generate import generate as run

    run(job)
