"""`python -m dawn_bench` is the `dawn-bench` command."""

from dawn_bench.cli import main

main()
