"""A message never says "1 clips": what counts things that may be one goes through `counted`."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAYERS = ("dawn_bench", "baselines", "metrics", "pipelines", "reports")
NOUNS = "clips|frames|files|rows|pieces|jobs|methods|metrics|videos|speakers|samples|epochs|minutes|networks|folders"
#: What is never one, by its expression: sizes and limits that are larger, rates, and words in place of a number.
NEVER_ONE = {
    "SAMPLED_FRAMES",
    "clip.n_frames",
    "clips",
    "coarse.stride",
    "common",
    "epochs",
    "frames.dtype",
    "height",
    "len(SENTENCES)",
    "len(audio)",
    "len(generated)",
    "len(matches)",
    "len(x)",
    "length",
    "min_frames",
    "minutes",
    "n",
    "n_frames",
    "rate",
    "row.length",
    "self._k()",
    "speakers",
    "suffix",
    "used",
    "frames",
    "table.method_class",
    "_value(data['clips'])",
}
NOUN = re.compile(rf"^ (held-out )?(?:{NOUNS})\b")


def bare(file: Path) -> list[str]:
    """`expression noun` wherever an f-string of the file puts a plural behind a value."""
    cases = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for k, (value, text) in enumerate(pairwise(parts)):
            if not isinstance(value, ast.FormattedValue) or not isinstance(text, ast.Constant):
                continue
            before = parts[k - 1].value if k and isinstance(parts[k - 1], ast.Constant) else ""
            # "2 of 3 clips", "pieces of 200 frames"
            if NOUN.match(text.value) and not re.search(r"\b(of|than|least|over)(?: the| all)? $", str(before)):
                expression = ast.unparse(value.value)
                if expression not in NEVER_ONE:
                    cases.append(
                        f"{file.name}: {expression}{NOUN.match(text.value).group()}: use dawn_bench.text.counted"
                    )
    return cases


def test_a_count_that_may_be_one_has_its_noun_from_one_helper() -> None:
    files = [f for folder in LAYERS for f in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 300 and not [case for file in files for case in bare(file)]


def test_a_bare_plural_would_be_noticed(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("""a = f'{len(ids)} clips'\nb = f"{counted(2, 'clip')} of {len(all)} clips" """, encoding="utf-8")
    assert bare(file) == ["x.py: len(ids) clips: use dawn_bench.text.counted"]
