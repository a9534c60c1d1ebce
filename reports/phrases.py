"""The words of the page for what a newcomer does not know: metrics in a sentence, sanity rows, protocols, groups."""

from __future__ import annotations

from collections.abc import Mapping

from dawn_bench.metrics.scoring.base import GROUPS, METRICS
from dawn_bench.reports.bounds import SHUFFLED
from dawn_bench.reports.leaderboard import Column, signed

#: The heading of columns whose metric is not installed.
OTHER = "other"
HEADINGS: Mapping[str, str] = {
    "sync": "Lips and sound",
    "motion": "Motion",
    "picture": "Picture",
    "identity": "Identity",
    "drift": "Drift",
    "cost": "Cost",
    OTHER: "Other",
}

#: What a method does, by metric: the predicate of a sentence with its value as `{v}`.
PREDICATES: Mapping[str, str] = {
    "mouth-corr": "follows the true mouth with r {v}",
    "av-corr": "opens the mouth with the sound at r {v}",
    "m-lmd": "has its mouth landmarks off by {v} eye distances",
    "f-lmd": "has its face landmarks off by {v} eye distances",
    "silence-leak": "moves the lips by {v} in silence",
    "lse-c": "has a lip-sync confidence of {v}",
    "lse-d": "has a lip-sync distance of {v}",
    "lve": "has a lip vertex error of {v}",
    "id-dlib": "keeps the identity at a similarity of {v}",
    "csim": "keeps the identity at a similarity of {v}",
    "blink": "blinks {v} times a second",
    "psnr": "reaches a PSNR of {v} dB",
    "ssim": "reaches an SSIM of {v}",
    "fid": "has an FID of {v}",
}
#: Which column of a group a method is described by; the first that it has.
HEADLINES = ("mouth-corr", "lse-c", "lve", "blink", "bas", "fid", "frechet-lite0", "psnr", "id-dlib", "csim", "dr25")

#: Sanity rows in a sentence, and what each is.
NAMES: Mapping[str, str] = {
    "ground-truth": "the true clips",
    "ground-truth-reencoded": "the re-encoded true clips",
    "still": "a still portrait",
    "shuffled-sound": "shuffled sound",
}
ROLES: Mapping[str, str] = {
    "ground-truth": "the true clips, scored as if generated",
    "ground-truth-reencoded": "the same after video compression",
    "still": "the portrait without any motion",
    "shuffled-sound": "the true pictures with another clip's sound",
}
SHUFFLED_ROLE = "the method driven by another clip's sound"

#: The words of a page that a newcomer does not know.
TERMS = (
    ("protocol", "the choices under which metrics are computed, such as crop, size and clips; only equal ones compare"),
    ("sanity row", "something that is not a method, scored to show what a metric gives to no skill and to the truth"),
    ("floor", "what no skill gets, such as a still portrait or another clip's sound"),
    ("ceiling", "what the true clips get"),
    ("stand-in", "a network of random numbers in place of the published one: it shows that the code runs"),
    ("canonical", "computed with the published file of a network, known by its hash"),
    ("fingerprint", "a hash of a score's settings and weights; only scores with the same one are ranked together"),
    ("portrait, dub, static-lips", "classes of methods: from a picture, over a video, moving the lips alone"),
)

PROTOCOLS_IN_WORDS: Mapping[str, str] = {
    "paper-dawn": "the choices that reproduce the numbers of DAWN's paper",
    "paper-dawn-tracked": "as paper-dawn, with lip sync measured on the tracked face crop",
    "embedded": "every number is real without a download, each under its own name; FID and LSE need published networks",
}


def group_of(column: Column) -> str:
    """The heading that a column stands under."""
    return METRICS[column.metric].group if column.metric in METRICS else OTHER


def group_place(group: str) -> int:
    """The place of a group among the headings."""
    return (*GROUPS, OTHER).index(group)


def predicate(column: Column, value: float) -> str:
    """What a method with this value does: `has an FID of 12.30`."""
    text = signed(value, column.decimals)
    if column.metric in PREDICATES:
        return PREDICATES[column.metric].format(v=text)
    return f"has {column.label} {text}{f' {column.unit}' if column.unit else ''}"


def in_words(method: str, *, of: str = "") -> str:
    """A sanity row as a noun; `of` is the method that it is compared with."""
    if of and method == f"{of}{SHUFFLED}":
        return "itself with shuffled sound"
    return NAMES.get(method, method)


def role(method: str) -> str:
    """What a sanity row is, in half a sentence; empty for an unknown one."""
    return ROLES.get(method, SHUFFLED_ROLE if method.endswith(SHUFFLED) else "")


def protocol_words(protocol: str) -> str:
    """`Protocol paper-dawn: the choices that ....`; says where fields were changed and clips cut into pieces."""
    name, plus, _ = protocol.partition("+")
    name, pieces, length = name.partition("-pieces-")
    words = PROTOCOLS_IN_WORDS.get(name, "")
    words += f"{', ' if words else ''}in pieces of {length.partition('-')[0]} frames" if pieces else ""
    words += f"{', ' if words else ''}with changed fields" if plus else ""
    return f"Protocol {protocol}{f': {words}' if words else ''}."
