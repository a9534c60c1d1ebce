"""Block edges: traces of the blocks of video and JPEG compression in the generated frames.

The steps b between neighbouring pixels at the borders of blocks of 8 x 8 px against those inside them, i, as
(b - i) / (b + i): 1 for flat blocks; mean over a clip's frames, then over clips. The grid begins at the corner of the
frame, so that blocks of pictures that were resized or moved are not seen. The definition is this project's own.
"""

from __future__ import annotations

from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, by_second


@METRICS.register("block-edges")
class BlockEdges(RatioMetric):
    """Mean over clips of the mean over frames."""

    name, title, target, order = "block-edges", "Block edges", "zero", 148
    optional = True
    compares = False
    needs = ("levels",)
    description = (
        "Steps at the borders of blocks of 8 px against those inside them: difference over sum. Strong compression "
        "raises it; blur, noise, motion and the sound do not. It does not see blocks of pictures that were resized."
    )

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The mean over the clip's frames."""
        values = generated["levels.blocks"]
        return Part(float(values.mean()), 1, len(values), seconds=by_second(values))
