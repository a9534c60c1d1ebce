"""Drift: how fast a number gets larger or smaller along a clip, per second.

A clip's drift is the slope of the least-squares line through the means of its whole seconds; the score is the mean
over clips, with a bootstrap interval over clips. An interval without 0 shows a drift. The note has the means of the
first and of the last second that all clips have. Clips of fewer than three whole seconds are undefined, and so are
those of which a second shows no face where a face is compared.

`drift-fid` is the slope of the FID between all clips' generated and true frames of a second. Every second has the same
number of frames, so that the bias of FID from few frames is about the same in each and leaves the slope alone. Clips
that end earlier than half of them do not count. Its interval is the jackknife over clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from dawn_bench.clip import FPS
from dawn_bench.errors import ItemError
from dawn_bench.metrics.colour import ColourShift, ExposureShift
from dawn_bench.metrics.csim import Csim, cosines
from dawn_bench.metrics.features.identity import STRIDE
from dawn_bench.metrics.features.landmarks import variant_of
from dawn_bench.metrics.fid import Pair, finite_pair
from dawn_bench.metrics.functional.frechet import frechet_by_clip, interval
from dawn_bench.metrics.quality import Sharpness
from dawn_bench.metrics.scoring.base import METRICS, Arrays, Metric, Part, RatioMetric, Score, join_notes, reasons
from dawn_bench.text import counted

#: Fewest whole seconds of a clip.
SECONDS = 3
#: Why a clip is undefined.
SHORT = f"fewer than {SECONDS} whole seconds"


def slope_weights(count: int) -> np.ndarray:
    """w (count,) such that w · y is the slope of the least-squares line through y (count,) at 0, 1, 2 and so on."""
    centred = np.arange(count) - (count - 1) / 2
    return centred / (centred @ centred)


@dataclass(frozen=True)
class Slope(Part):
    """A clip's slope, its seconds, and why it is undefined."""

    why: str = ""


class _Drift(RatioMetric):
    group = "drift"
    optional = True
    target = "zero"
    whole = True
    interval = "mean over clips of the slope over a clip's seconds; 95 % bootstrap interval over clips"
    #: The metric that is followed.
    of: ClassVar[type[RatioMetric]]

    def measure(self, generated: Arrays, true: Arrays) -> Slope:
        """The clip's slope; weight 0 where it is undefined. Raises what the metric itself raises."""
        part = self.of(self.protocol, seed=self.seed).measure(generated, true)
        seconds = self.seconds(part, generated, true)
        if len(seconds) < SECONDS or not np.isfinite(seconds).all():
            return Slope(0.0, 0, part.n_frames, why=SHORT if len(seconds) < SECONDS else "a second without a face")
        slope = float(slope_weights(len(seconds)) @ np.array(seconds))
        return Slope(slope, 1, part.n_frames, seconds=seconds, left_out=part.left_out)

    def seconds(self, part: Part, generated: Arrays, true: Arrays) -> tuple[float, ...]:
        """The metric's mean of each whole second; NaN where it is undefined."""
        return part.seconds

    def fold(self, records: Mapping[str, Slope]) -> Score:  # type: ignore[override]
        """The mean slope, with the first and the last second in the note."""
        score, ends = super().fold(records), ""
        used = [r.seconds for r in records.values() if r.weight > 0]
        if used:
            last = min(map(len, used))
            first, end = (np.mean([seconds[k] for seconds in used]) for k in (0, last - 1))
            ends = f"{first:.4g} in second 1, {end:.4g} in second {last}"
        return replace(score, note=join_notes(score.note, reasons(r.why for r in records.values()), ends))


_DESCRIPTION = (
    "Change of {what} per second along a clip. {moves} A constant error does not. 0 for a clip without drift."
)


@METRICS.register("drift-cpbd")
class CpbdDrift(_Drift):
    """Of the sharpness."""

    name, title, unit, of, order = "drift-cpbd", "CPBD-drift", "1/s", Sharpness, 112
    needs = Sharpness.needs
    description = _DESCRIPTION.format(what="the sharpness (CPBD)", moves="Pictures that blur make it negative.")


@METRICS.register("drift-exposure")
class ExposureDrift(_Drift):
    """Of the exposure shift."""

    name, title, unit, of, order = "drift-exposure", "Exposure-drift", "ΔE/s", ExposureShift, 114
    needs, shows = ExposureShift.needs, ExposureShift.shows
    description = _DESCRIPTION.format(
        what="the exposure shift", moves="Pictures that get darker or brighter make it positive."
    )


@METRICS.register("drift-colour")
class ColourDrift(_Drift):
    """Of the colour shift."""

    name, title, unit, of, order = "drift-colour", "Colour-drift", "ΔE/s", ColourShift, 115
    needs, shows = ColourShift.needs, ColourShift.shows
    description = _DESCRIPTION.format(what="the colour shift", moves="Colours that change make it positive.")


@METRICS.register("drift-csim")
class CsimDrift(_Drift):
    """Of the identity."""

    name, title, unit, of, order = "drift-csim", "CSIM-drift", "1/s", Csim, 116
    needs, shows = Csim.needs, Csim.shows
    description = _DESCRIPTION.format(what="CSIM", moves="A face that becomes somebody else's makes it negative.")

    def seconds(self, part: Part, generated: Arrays, true: Arrays) -> tuple[float, ...]:
        """The mean cosine of each second over the pairs with both faces, by the protocol's rules for CSIM."""
        return cosines_by_second(generated, true, source=self.protocol.csim_reference == "source")


def cosines_by_second(generated: Arrays, true: Arrays, *, source: bool) -> tuple[float, ...]:
    """The mean cosine of each whole second; `source`: with the first true frame that shows a face."""
    network, ours = variant_of(generated, "identity")
    theirs = variant_of(true, "identity")[1]
    count = min(len(ours), len(theirs))
    seen = generated["identity.found"][:count]
    if source:
        theirs = np.broadcast_to(theirs[np.argmax(true["identity.found"])], (count, theirs.shape[1]))
    else:
        seen = seen & true["identity.found"][:count]
    values = np.full(count, np.nan)
    values[seen] = cosines(ours[:count][seen], theirs[:count][seen])
    each = FPS // STRIDE.get(network, 1)
    return tuple(
        float(np.nanmean(part)) if np.isfinite(part).any() else float("nan")
        for part in (values[first : first + each] for first in range(0, count - each + 1, each))
    )


@METRICS.register("drift-fid")
class FidDrift(Metric):
    """The slope of the FID of every second, over all clips together."""

    name, title, unit, target, order = "drift-fid", "FID-drift", "1/s", "zero", 118
    group = "drift"
    optional = True
    whole = True
    shows = ("face", "motion")
    needs = ("inception",)
    minimum, minimum_of = 20, "clips"
    interval = "slope of the FIDs of the seconds, each over all clips together; 95 % jackknife interval over clips"
    description = _DESCRIPTION.format(
        what="the FID between generated and true frames of the same second", moves="Pictures that decay raise it."
    )

    def measure(self, generated: Arrays, true: Arrays) -> Pair:
        """The clip's features; raises `ItemError("too_short")` below three whole seconds."""
        least = min(len(generated["inception"]), len(true["inception"]))
        if least < SECONDS * FPS:
            raise ItemError("too_short", f"{counted(least, 'frame')}, {self.title} needs {SECONDS * FPS}")
        return finite_pair("inception", generated, true)

    def fold(self, records: Mapping[str, Pair]) -> Score:
        """The slope over the seconds that at least half of the clips reach, of the clips that reach them."""
        seconds = {clip: min(map(len, pair)) // FPS for clip, pair in records.items()}
        reach = sorted(seconds.values(), reverse=True)[(len(seconds) - 1) // 2]
        used = [pair for clip, pair in records.items() if seconds[clip] >= reach]
        value, influence, distances = 0.0, np.zeros(len(used)), list[float]()
        for k, weight in enumerate(slope_weights(reach)):
            part = slice(k * FPS, (k + 1) * FPS)
            distance = frechet_by_clip([p.generated[part] for p in used], [p.true[part] for p in used])
            value, influence = value + weight * distance.value, influence + weight * distance.influence
            distances.append(distance.value)
        low, high = interval(value, influence, floor=-np.inf)
        ends = f"FID {distances[0]:.4g} in second 1, {distances[-1]:.4g} in second {reach}"
        shorter = f"{len(records) - len(used)} of {len(records)} clips end before second {reach}"
        note = join_notes(ends, shorter if len(used) < len(records) else "", self.imprecise(len(used)))
        return Score(value, low, high, len(used), reach * FPS * len(used), note, over_time=tuple(distances))
