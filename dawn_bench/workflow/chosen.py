"""The clips of an evaluation: those of a split, or their pieces, and the protocol under which they are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import PIECE_LENGTHS, ScoringProtocol
from dawn_bench.metrics.protocols.base import protocol as find_protocol
from dawn_bench.names import owned
from dawn_bench.workflow.evaluation import Evaluation
from dawn_bench.workflow.folders import OUTPUTS_IN_PIECES
from dawn_bench.workflow.pieces import cut_pieces


@dataclass(frozen=True)
class Chosen:
    """The `whole` clips of a split, the `clips` that are generated and scored, and the protocol.

    `piece_length` is that of the pieces in which the clips are cut, also where all of them are too short for that.
    """

    dataset: str
    whole: Sequence[Clip]
    clips: Sequence[Clip]
    protocol: ScoringProtocol
    piece_length: int | None

    def outputs(self, out: Path) -> Path:
        """The folder of outputs in the results folder `out`."""
        return owned(out, outputs_folder(self.protocol, self.dataset))


def chosen_clips(job: Evaluation, cache: Cache) -> Chosen:
    """The clips of an evaluation. Raises `InputError` where there are none, or all are too short for a piece."""
    dataset = str(cache.settings["dataset"])
    if job.split == "test" and cache.splits and "test" not in cache.splits:
        hint = f"Score others with --split {cache.splits[0]}, or state test clips when preparing: --labels TABLE."
        raise InputError("has no clip in split 'test'.", path=cache.root, hint=hint)
    whole = cache.clips(job.split)[: job.max_clips]
    if not whole:
        hint = f"See why they were left out: dawn-bench cache stats {job.cache}"
        raise InputError(f"has no usable clip in split {job.split!r}.", path=job.cache, hint=hint)
    protocol = find_protocol(job.protocol, job.protocol_changes, dataset=dataset)
    clips = cut_pieces(whole, protocol)
    return Chosen(dataset, whole, clips, _of_uncut(protocol, whole, clips, dataset=dataset), protocol.piece_length)


def _of_uncut(
    protocol: ScoringProtocol, whole: Sequence[Clip], clips: Sequence[Clip], *, dataset: str
) -> ScoringProtocol:
    """The protocol of whole clips where pieces are longer than every clip: the same items have one id.

    The usual pieces of a dataset keep theirs, under which the paper's rows are shown.
    """
    usual = protocol.piece_length in (None, PIECE_LENGTHS.get(dataset))
    return protocol if usual or [c.id for c in clips] != [c.id for c in whole] else protocol.in_pieces(None)


def outputs_folder(protocol: ScoringProtocol, dataset: str) -> str:
    """Name of the folder of outputs: pieces of two lengths may have the same ids, so that each has its own."""
    length = protocol.piece_length
    return "outputs" if length in (None, PIECE_LENGTHS.get(dataset)) else f"{OUTPUTS_IN_PIECES}{length}"
