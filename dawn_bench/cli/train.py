"""`dawn-bench train`: train a model on a prepared cache."""

from __future__ import annotations

from inspect import cleandoc

from dawn_bench.cli.job import job_command
from dawn_bench.cli.output import show, suggest
from dawn_bench.config import Config
from dawn_bench.models.spec import MODELS, catalogue
from dawn_bench.workflow.jobs import Training


def preset_settings(job: Training) -> Config:
    """The settings of the job's preset; keys of `--config` and `--set` that are not fields of the job change them."""
    return MODELS[job.model].preset(job.preset)


@job_command(Training, settings=preset_settings)
def train(job: Training, settings: Config) -> None:
    """Train a model. Override the preset's hyperparameters with --config or --set lfg.loop.steps=500.

    Example: dawn-bench train --cache CACHE --out RUN --preset small --stage all

    Several GPUs: torchrun --nproc-per-node N -m dawn_bench train ...
    """
    from dawn_bench.cache import Cache
    from dawn_bench.progress import console
    from dawn_bench.training.processes import rank
    from dawn_bench.workflow.next_steps import after_train
    from dawn_bench.workflow.train import saved
    from dawn_bench.workflow.train import train as run

    try:
        done = run(
            Cache(job.cache),
            settings,
            out=job.out,
            stages=job.stage,
            seed=job.seed,
            device=job.device,
            resume=job.resume,
            model=job.model,
            track=job.track,
        )
    except KeyboardInterrupt:
        if rank() == 0:
            console().print(saved(job.out))
        raise
    if rank() == 0:
        show(done, [f"{name}: {path}" for name, path in done.items()])
        suggest(*after_train(job.cache, job.out, model=job.model))


train.__doc__ = f"{cleandoc(train.__doc__ or '')}\n\n{catalogue()}"
