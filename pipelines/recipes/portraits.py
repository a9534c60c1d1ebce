"""The methods of DAWN's tables that animate a portrait: the size and framing that their published code takes.

Wav2Lip has no recipe: it works at each video's own size.
"""

from __future__ import annotations

from dawn_bench.pipelines.recipes.base import RECIPES, Recipe

_DATA = "only its input picture is known: on which data it was trained and scored, and how they were cut, is not"

for _name, _title, _size, _crop in (
    ("audio2head", "Audio2Head (arXiv 2107.09293): a square picture, resized to 256 px", 256, "paper"),
    ("sadtalker", "SadTalker (arXiv 2211.12194): the whole picture, resized to 256 px", 256, "paper"),
    ("dreamtalk", "DreamTalk (arXiv 2312.09767): a crop around the face of 256 px", 256, "face"),
    ("hallo", "Hallo (arXiv 2406.08801): a square picture, resized to 512 px", 512, "paper"),
    ("echomimic", "EchoMimic (arXiv 2407.08136): a square around the face of 512 px", 512, "face"),
):
    RECIPES.register(_name)(Recipe(title=_title, settings={"size": _size, "crop": _crop}, differs=(_DATA,)))
