"""The page on scaling shows every way to run, and its tables are those of the plans."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
import scaling_plan
from docs_hooks import ROOT

from dawn_bench.executor import Workers
from dawn_bench.workflow.filling import JOB_CLIPS, jobs_of_part, make_chunks

PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"^```bash\b[^\n]*\n(.*?)^```", PAGE, re.M | re.S)).replace("\\\n", "")
SMALL = scaling_plan.Set("crema", clips=200, hours=0.14, scored=40)


@dataclass(frozen=True)
class Step:
    number: int
    seconds: float
    after: tuple[int, ...] = ()
    kind: str = "cpu"


def simulated(steps: list[Step], start: float = 0.0, **workers: int) -> scaling_plan.Simulated:
    return scaling_plan.simulate(steps, lambda step: step.seconds, workers, start)


@pytest.mark.parametrize(
    "command",
    [
        r"dawn-bench prepare .*--jobs", r"dawn-bench prepare .*--devices all", r"dawn-bench prepare .*--engine dask",
        r"dawn-bench prepare .*--engine ray", r"torchrun --nproc-per-node 8 -m dawn_bench train",
        r"srun torchrun .*--rdzv-endpoint.*dawn_bench train", r"dawn-bench generate --list .*--devices all",
        r"dawn-bench evaluate .*--devices all", r"dawn-bench evaluate .*--part \$SLURM_ARRAY_TASK_ID/",
        r"dawn-bench evaluate .*--fold", r"dawn-bench evaluate .*--engine dask", r"dawn-bench evaluate .*--engine ray",
        r"dawn-bench report",
    ],
)  # fmt: skip
def test_every_way_to_run_has_a_command(command: str) -> None:
    assert re.search(command, BLOCKS), command


def test_the_parts_of_the_array_are_as_many_as_their_commands_say() -> None:
    tasks = re.findall(r"--array=1-(\d+)", BLOCKS)
    assert tasks and tasks == re.findall(r"--part \$SLURM_ARRAY_TASK_ID/(\d+)", BLOCKS)


@pytest.mark.parametrize("name", ["crema", "hdtf"])
def test_the_tables_are_those_of_the_plans(name: str) -> None:
    made, costs = scaling_plan.SETS[name], scaling_plan.Costs()
    lines = list(scaling_plan.prepare_rows(made, 128, costs, scaling_plan.WORKERS))
    lines += scaling_plan.evaluate_rows(made, costs, workers=scaling_plan.WORKERS, gpus=scaling_plan.GPUS)
    assert [line for line in lines if line not in PAGE] == [], "run benchmarks/scaling_plan.py and copy its tables"


def test_the_page_states_the_costs_that_its_tables_use() -> None:
    assert scaling_plan.stated(scaling_plan.Costs()) in PAGE


def test_groups_have_every_frame_once_and_parts_every_job_once() -> None:
    assert sum(group.frames for group in scaling_plan.made_groups(SMALL, 128)) == SMALL.frames().sum()
    clips, jobs = scaling_plan.made_jobs(SMALL, 2, Workers(2), None)
    assert sorted(i for job in jobs if job.name == "method-1" for i in job.ids) == sorted(clip.id for clip in clips)
    parts = [jobs_of_part(jobs, number, 3) for number in (1, 2, 3)]
    assert sorted(job.number for part in parts for job in part) == [job.number for job in jobs]
    for part in parts:  # what a job waits for is done by its own part
        numbers = {job.number for job in part}
        assert all(set(job.after) <= numbers for job in part)
    assert {len({job.ids for job in part}) for part in parts} == {5, 6} and len(make_chunks(clips)) == 16 <= JOB_CLIPS


def test_simulated_jobs_wait_for_what_they_need_and_for_a_worker() -> None:
    chain = [Step(0, 2.0), Step(1, 3.0, after=(0,)), Step(2, 1.0)]
    assert simulated(chain, cpu=1).wall == 6.0
    two = simulated(chain, cpu=2)
    assert (two.wall, two.longest, two.jobs, two.busy) == (5.0, 3.0, 3, pytest.approx(0.6))
    assert simulated(chain, start=4.0, cpu=2).wall == 9.0


def test_simulated_gpus_take_their_own_jobs_and_their_share_is_reported() -> None:
    steps = [Step(0, 4.0), Step(1, 1.0, kind="gpu"), Step(2, 1.0, after=(0,), kind="gpu")]
    apart = simulated(steps, cpu=1, gpu=1)
    assert (apart.wall, apart.busy) == (5.0, pytest.approx(0.4))
    assert simulated(steps, cpu=1).wall == 6.0
