"""Where the product writes files, read from its source: through `dawn_bench.files`, or by its own means."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Folders of the product; the links below `dawn_bench` lead to four of them.
PRODUCT = ("dawn_bench", "pipelines", "baselines", "metrics", "reports")
#: Functions of `dawn_bench.files` that give a finished file its name.
NAMING = frozenset({"replacing", "write_atomic", "filling", "commit"})
#: Those of them that lend a temporary name to the block below them.
LENDING = frozenset({"replacing", "filling"})
#: Methods and functions that write a file, whatever their arguments are.
WRITERS = frozenset({
    "write_text", "write_bytes", "touch", "save", "savez", "savez_compressed", "savetxt", "tofile", "memmap",
    "save_file", "to_parquet", "to_csv", "to_json", "to_pickle", "savefig", "imwrite", "VideoWriter", "dump",
    "rename", "renames", "link", "symlink", "symlink_to", "hardlink_to", "move", "copy2", "copyfile", "copytree",
    "truncate", "SummaryWriter", "to_yaml", "mkstemp", "NamedTemporaryFile", "fdopen", "extractall", "extract",
})  # fmt: skip
#: Functions that write a file if their mode says so.
OPENERS = frozenset({"open", "ZipFile", "TarFile"})


#: Writers by other means than `dawn_bench.files`, and files of theirs: why that is no danger.
OTHERWISE = {
    "dawn_bench/workflow/generation_rows.py:clear_place": "an empty file that tries the name, removed at once",
    "dawn_bench/shard.py:open_shard": "reads",
    "dawn_bench/workflow/where.py:_Look.text": "reads",
    "dawn_bench/shard.py:Shards._opened": "reads",
    "dawn_bench/cli/__init__.py:main": "the null device",
    "dawn_bench/models/dawn/lfg_loss.py:Deformation.warp": "no file",
    "dawn_bench/models/dawn/lfg_loss.py:LFGLoss.forward": "no file",
    "pipelines/meshes/write.py:_sequence": "no file",
    "pipelines/synthetic/identity.py:_reshape": "no file",
    "pipelines/preparation/group.py:_extract_row": "no file",
    "pipelines/preparation/group.py:_mark": "the marker of a living worker",
    "dawn_bench/workflow/generate_list.py:ClipJob.work": "the marker of a living worker",
    "dawn_bench/models/dawn/released.py:load_released": "no file",
    "dawn_bench/workflow/train.py:train": "no file",
    "reports/plots.py:_svg": "into memory",
    "pipelines/media/animations.py:quicktime_of": "into memory",
    "pipelines/media/sound_files.py:rereadable": "a copy in a temporary folder",
    "baselines/external/stage.py:staged": "inputs of an external command in a temporary folder",
    "baselines/external/stage.py:overlay": "links in a temporary folder",
    "baselines/external/process.py:run": "the log of a command",
    "dawn_bench/training/board.py:Board.__init__": "TensorBoard's log",
    "dawn_bench/training/board.py:_gif": "into memory",
    "dawn_bench/training/logger.py:TrainingLogger._append": "a log; a line cut short is dropped on resumption",
    "baselines/outputs.py:_append": "a log; an output whose line is lost is generated again",
    "dawn_bench/workflow/fill_job.py:_mark": "the marker of a living worker",
    "dawn_bench/locks.py:shared": "the empty file of a lock",
    "reports/store.py:append_lines": "appends, synced: `test_rows_are_on_disk_when_append_returns`",
    "dawn_bench/transfer.py:_write": "`.part`, which gets its name by `commit`",
    "pipelines/preparation/shards.py:_FieldFile.__init__": "a temporary name, which `close` commits",
    "pipelines/preparation/shards.py:_FieldFile.rollback": "the same",
    "pipelines/preparation/export.py:_export_files": "in the folder that `filling` lends",
    "pipelines/preparation/export.py:_export_tar": "in the folder that `filling` lends",
    "dawn_bench/workflow/own_inputs.py:_write": "renames a folder whose files are whole and synced",
    # these pass a path on to a writer of the list
    "dawn_bench/training/logger.py:TrainingLogger._note_best": "",
    "dawn_bench/training/loop.py:fit.save": "",
    "dawn_bench/training/loop.py:fit": "",
    "dawn_bench/training/resume.py:write_model": "",
    "dawn_bench/workflow/generate.py:written": "",
    "pipelines/preparation/prepare.py:prepare": "",
    "pipelines/preparation/prepare.py:_planned": "",
    "pipelines/preparation/compact.py:settle": "",
}
#: Files that need not be on the disk when they get their names: what is damaged or lost is made again.
LOSSY = {
    "dawn_bench/hashes.py:known_hashes": "a hash that is lost is computed again",
    "dawn_bench/workflow/forecast.py:remember": "rates that are lost are measured again",
    "dawn_bench/locks.py:exclusive": "the name of a lock's holder, for a message",
    "dawn_bench/transfer.py:_remember": "a download without it starts again",
    "dawn_bench/training/trackers.py:_start": "a stage that is resumed without it begins a new run of its service",
    "metrics/scoring/shards.py:_write": "a damaged entry counts as absent",
    "dawn_bench/workflow/fill_job.py:_write_part": "a damaged part counts as absent",
    "baselines/external/stage.py:staged": "in a temporary folder",
}


@dataclass(frozen=True)
class Site:
    """One call. `name` is `path:function`, the path as in the checkout."""

    name: str
    call: str
    line: int
    durable: bool = True


@cache
def sites() -> tuple[tuple[Site, ...], tuple[Site, ...]]:
    """The calls that name finished files, and those that write files by other means outside of a lent name."""
    naming: list[Site] = []
    direct: list[Site] = []
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT)
            if folder == "dawn_bench" and inside.parts[1] in PRODUCT:
                continue
            for site, named in _of_file(inside):
                (naming if named else direct).append(site)
    return tuple(naming), tuple(direct)


def _of_file(path: Path) -> Iterator[tuple[Site, bool]]:
    def visit(node: ast.AST, function: str, lent: bool) -> Iterator[tuple[Site, bool]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            function = f"{function}.{node.name}".lstrip(".")
        elif isinstance(node, ast.Call) and path.as_posix() != "dawn_bench/files.py":
            called = _called(node)
            if called in NAMING:
                durable = not any(k.arg == "durable" and _is(k.value, False) for k in node.keywords)
                yield Site(f"{path.as_posix()}:{function}", called, node.lineno, durable), True
            elif not lent and (called in WRITERS or (called in OPENERS and _opens_for_writing(node))):
                yield Site(f"{path.as_posix()}:{function}", called, node.lineno), False
        if isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                yield from visit(item, function, lent)
                call = item.context_expr
                lent = lent or (isinstance(call, ast.Call) and _called(call) in LENDING)
            for child in node.body:
                yield from visit(child, function, lent)
            return
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function, lent)

    yield from visit(ast.parse((ROOT / path).read_text()), "", False)


def _called(node: ast.Call) -> str:
    target = node.func
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""


def _is(node: ast.AST, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _opens_for_writing(node: ast.Call) -> bool:
    """Whether a call of `open` has a mode that writes, or flags that do (`os.open`)."""
    values = [*node.args, *(k.value for k in node.keywords if k.arg in ("mode", "flags"))]
    texts = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
    flags = {n.attr for v in values for n in ast.walk(v) if isinstance(n, ast.Attribute)}
    conditional = [n.value for v in values if isinstance(v, ast.IfExp) for n in (v.body, v.orelse)
                   if isinstance(n, ast.Constant)]  # fmt: skip
    modes = [t for t in [*texts, *conditional] if isinstance(t, str) and 0 < len(t) < 4 and set(t) <= set("rwaxbt+")]
    return any(set(mode) & set("wax+") for mode in modes) or bool(flags & {"O_WRONLY", "O_RDWR", "O_CREAT"})
