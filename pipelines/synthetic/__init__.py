"""The embedded dataset: a small synthetic talking-head set in CREMA-D's layout, from one public-domain photograph.

Each clip comes with its ground truth: pose, blinks, mouth opening and landmarks.
"""

from dawn_bench.pipelines.synthetic.write import write_embedded

__all__ = ["write_embedded"]
