"""dawn-bench: one benchmark pipeline for talking-head generation.

Data flows one way: pipelines → caches → models → outputs → metrics → results → reports.
"""

__version__ = "0.1.0"
