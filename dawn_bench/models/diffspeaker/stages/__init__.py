"""Training stage of DiffSpeaker."""

from dawn_bench.models.diffspeaker.stages import diffspeaker

__all__ = ["diffspeaker"]
