"""The embedded dataset: a small CREMA-D-shaped set of talking-head files, made from one public-domain portrait.

Every clip is synthetic, and its truth (pose, blinks, mouth opening, landmarks) is written beside it.
"""

from dawn_bench.pipelines.synthetic.write import write_embedded

__all__ = ["write_embedded"]
