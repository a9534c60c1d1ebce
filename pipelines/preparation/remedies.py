"""Which setting of `prepare` would have kept a clip that was left out."""

from __future__ import annotations

#: By reason: the flag, as in the sentence "keep it with ...". Other reasons are faults of the file.
_FLAGS = {
    "no_audio": "--allow-silent",
    "no_track": "another --audio-track",
    "no_face": "a larger --max-gap",
    "too_short": "a smaller --min-frames",
    "cut": "--on-cut split or --on-cut keep",
    "cut_face": "a smaller --min-in-frame",
    "tiny_face": "a smaller --min-face-height",
    "profile": "a larger --max-yaw",
    "mouth_covered": "a larger --max-covered",
    "blurred": "a smaller --min-sharpness",
    "face_leaves": "--crop none",
    "decoder_differs": "--decoder pyav",
}


def remedy(reason: str, detail: str) -> str:
    """What keeps a clip that was left out for `reason`: "keep it with --allow-silent, in a new cache".

    A cache has one value of each setting. Empty where no setting keeps the clip.
    """
    if reason not in _FLAGS:
        return ""
    if reason == "no_face" and ("detected in 0 %" in detail or "was chosen" in detail):
        return ""  # there is none to interpolate between
    if reason == "no_audio" and detail.startswith("there is no wav/"):
        return ""  # meshes are of no use without their sound
    return f"keep it with {_FLAGS[reason]}, in a new cache"
