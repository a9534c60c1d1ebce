"""Maps the rooms beside `dawn_bench/` into the package; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

ROOMS = ("pipelines", "metrics", "baselines", "reports")

setup(
    packages=[
        *find_packages(include=["dawn_bench", "dawn_bench.*"]),
        *(f"dawn_bench.{name}" for room in ROOMS for name in [room, *(f"{room}.{p}" for p in find_packages(room))]),
    ],
    package_dir={f"dawn_bench.{room}": room for room in ROOMS},
    package_data={
        "dawn_bench": ["py.typed"],
        "dawn_bench.baselines": ["adapters/*.yaml"],
        "dawn_bench.pipelines.datasets": ["*.json"],
        "dawn_bench.reports": ["*.j2", "*.css", "*.js", "*.json"],
    },
)
