"""The options by theme, as help shows them. A flag means one thing in every command, so one list serves all of them.

The first part of a theme is in `--help`; the second, for special cases, is in `--help-all` only.
"""

from __future__ import annotations

THEMES: dict[str, tuple[str, str]] = {
    "Input": (
        "--image --audio --root --dataset --like --cache --checkpoint --drive --outputs --mapping --split --list "
        "--labels",
        "--audio-track --pose-file --drive-person --naming --installs --only --cookies --split-by",
    ),
    "Method": (
        "--model --method --preset --stage --variant --steps",
        "--option --max-seconds --method-class --solver --eta --cond-scale --precision --compile "
        "--pass-seconds --all-metrics",
    ),
    "Preparation": (
        "--size --name",
        "--extract --crop --pose --face --person --blink --frames --decoder --on-cut --require-audio "
        "--allow-silent --max-gap --min-frames --max-frames --max-covered --max-yaw "
        "--min-face-height --min-in-frame --min-sharpness",
    ),
    "Scores": (
        "--max-clips --metrics --protocol --weights --published",
        "--protocol-set --piece-length --length --min-coverage --sanity --shuffle",
    ),
    "Weights": ("--for", ""),
    "Output": (
        "--out --format --clips --fields --resume --overwrite --replace --json",
        "--note --track --no-track --no-published --strict --list-missing",
    ),
    "Where it runs": ("--jobs --device", "--devices --engine --address --only-fill --part --fold"),
    "Settings": ("--config --set --all --install-completion --show-completion --debug --version --help", "--seed"),
}
#: Special cases that a command needs so often that they are in its common part.
COMMON_IN = {"list": ("--split",), "export": ("--split", "--frames")}
#: What a value is called, by flag, or by command and flag.
METAVARS = {
    "--cache": "CACHE", "--checkpoint": "RUN", "--root": "VIDEOS", "--image": "PICTURE", "--audio": "SOUND",
    "--drive": "VIDEO", "--outputs": "FOLDER", "--mapping": "CSV", "--list": "CSV", "--labels": "TABLE",
    "--pose-file": "NPZ", "--installs": "YAML", "--config": "FILE", "--set": "KEY=VALUE", "--option": "NAME=VALUE",
    "--protocol-set": "FIELD=VALUE", "--variant": "NAME=RUN", "--cookies": "FILE", "--for": "JOB", "--part": "K/N",
    "--device": "DEVICE", "--devices": "DEVICES", "--address": "HOST:PORT", "--naming": "PATTERN", "--note": "TEXT",
    "--length": "FRAMES", "--piece-length": "FRAMES", "--pass-seconds": "SECONDS", "--max-seconds": "SECONDS",
    "--out": "FOLDER", "train --out": "RUN", "evaluate --out": "RESULTS", "reproduce --out": "RESULTS",
    "generate --out": "MP4", "--published": "TABLES", "--fields": "FIELDS", "--size": "PIXELS",
}  # fmt: skip
#: Flags of `generate` that other commands pass on to the methods by `--option`.
METHOD_OPTIONS = ("--steps", "--eta", "--cond-scale", "--solver", "--precision", "--compile")


def theme_of(flag: str, *, command: str = "") -> tuple[str, bool]:
    """The theme of a flag, and whether it is in the common part of a command's help; unlisted flags are not."""
    for title, (common, special) in THEMES.items():
        if flag in common.split():
            return title, True
        if flag in special.split():
            return title, flag in COMMON_IN.get(command, ())
    return "More", False
