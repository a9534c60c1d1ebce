"""Threads of networks: their number changes the last bits of what they compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Networks inside use one thread of this process, so that their numbers depend on no number of cores or workers."""
    import cv2
    import torch

    before, pictures = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(pictures)
