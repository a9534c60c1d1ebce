"""Exposure and colour shift: how far a frame's mean lightness and mean colour are from those of the portrait.

The portrait is the first true frame that counts. Mean L*, a*, b* of whole frames are compared: the exposure shift is
the absolute difference of L* (0 black, 100 white), the colour shift the distance in the plane of a* and b*, in the
same units (2.3 is about what people notice). Means over a clip's frames, then over clips. The true clips' own values
are not 0, since a person moves.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from dawn_bench.metrics.scoring.base import METRICS, Arrays, Part, RatioMetric, by_second


class _Shift(RatioMetric):
    optional = True
    unit, higher_is_better = "ΔE", False
    needs = ("levels",)
    shows = ("motion",)

    def measure(self, generated: Arrays, true: Arrays) -> Part:
        """The mean over the clip's frames."""
        values = self.distance(generated["levels.lab"] - true["levels.lab"][0])
        return Part(float(values.mean()), 1, len(values), seconds=by_second(values))

    @abstractmethod
    def distance(self, difference: np.ndarray) -> np.ndarray:
        """The shift float64 (T,) of differences of L*, a*, b* (T,3)."""


_DESCRIPTION = (
    "Distance of each frame's mean {what} from the portrait's. {moves} raise it; sharpness, lips and the sound do not "
    "move it. The person's motion moves it a little, so compare with the true clips' own value."
)


@METRICS.register("exposure-shift")
class ExposureShift(_Shift):
    """By L*."""

    name, title, order = "exposure-shift", "Exposure shift", 146
    description = _DESCRIPTION.format(what="lightness", moves="Frames that are too dark or too bright")

    def distance(self, difference: np.ndarray) -> np.ndarray:
        """|ΔL*|."""
        return np.abs(difference[:, 0])


@METRICS.register("colour-shift")
class ColourShift(_Shift):
    """By a* and b*."""

    name, title, order = "colour-shift", "Colour shift", 147
    description = _DESCRIPTION.format(what="colour", moves="A colour cast and a loss of colour")

    def distance(self, difference: np.ndarray) -> np.ndarray:
        """The distance of a*, b*."""
        return np.hypot(difference[:, 1], difference[:, 2])
