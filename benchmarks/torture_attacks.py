"""The attacks of the campaign. Each takes the undisturbed world, an empty folder and a random generator."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from torture_tools import (
    copy,
    damage,
    interrupt,
    mutated,
    nothing_behind,
    only,
    same_cache,
    same_run,
    same_scores,
    together,
)
from torture_world import Lost, World, contents, done, execute, leftovers, models, orderly, scores, sha256

__all__ = ["ATTACKS", "Lost", "Skip"]

Attack = Callable[[World, Path, random.Random], None]
ATTACKS: dict[str, Attack] = {}
#: Reasons with which prepare may leave out a damaged video.
LEFT_OUT = {"", "unreadable", "no_audio", "no_face", "too_short", "face_leaves", "empty_file"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Skip(Exception):
    """This machine cannot run the attack."""


def attack(name: str) -> Callable[[Attack], Attack]:
    def register(function: Attack) -> Attack:
        ATTACKS[name] = function
        return function

    return register


# ---- kills: the rerun ends with what an undisturbed run gives ----


@attack("kill-prepare")
def kill_prepare(world: World, scratch: Path, rng: random.Random) -> None:
    """kill -9 of prepare, up to three times"""
    command = world.prepare(scratch / "cache", jobs=rng.choice([1, 2]))
    for _ in range(rng.randint(1, 3)):
        interrupt(command, scratch, rng, at=world.seconds["prepare"], sign=signal.SIGKILL)
    same_cache(world, scratch / "cache")


@attack("stop-prepare")
def stop_prepare(world: World, scratch: Path, rng: random.Random) -> None:
    """INT, TERM or HUP of prepare"""
    command = world.prepare(scratch / "cache", jobs=rng.choice([1, 2]))
    interrupt(command, scratch, rng, at=world.seconds["prepare"], sign=rng.choice(SIGNALS))
    nothing_behind(scratch / "cache")
    same_cache(world, scratch / "cache")


@attack("kill-train")
def kill_train(world: World, scratch: Path, rng: random.Random) -> None:
    """kill -9 of train in any stage, up to three times"""
    for k in range(rng.randint(1, 3)):
        command = world.train(world.cache, scratch / "run", *(["--resume"] if k else []))
        interrupt(command, scratch, rng, at=world.seconds["train"], sign=signal.SIGKILL)
    same_run(world, scratch / "run")


@attack("stop-train")
def stop_train(world: World, scratch: Path, rng: random.Random) -> None:
    """INT, TERM or HUP of train"""
    command = world.train(world.cache, scratch / "run")
    interrupt(command, scratch, rng, at=world.seconds["train"], sign=rng.choice(SIGNALS))
    nothing_behind(scratch / "run")
    same_run(world, scratch / "run")


@attack("kill-evaluate")
def kill_evaluate(world: World, scratch: Path, rng: random.Random) -> None:
    """kill -9 of evaluate, up to three times"""
    for _ in range(rng.randint(1, 3)):
        command = world.evaluate(world.cache, scratch / "results")
        interrupt(command, scratch, rng, at=world.seconds["evaluate"], sign=signal.SIGKILL)
    same_scores(world, scratch / "results")


@attack("stop-evaluate")
def stop_evaluate(world: World, scratch: Path, rng: random.Random) -> None:
    """INT, TERM or HUP of evaluate"""
    command = world.evaluate(world.cache, scratch / "results")
    interrupt(command, scratch, rng, at=world.seconds["evaluate"], sign=rng.choice(SIGNALS))
    nothing_behind(scratch / "results")
    same_scores(world, scratch / "results")


@attack("kill-generate")
def kill_generate(world: World, scratch: Path, rng: random.Random) -> None:
    """kill -9, INT, TERM or HUP of generate"""
    out = scratch / "talk.mp4"
    command = world.generate(world.run, out)
    interrupt(command, scratch, rng, at=world.seconds["generate"], sign=rng.choice([signal.SIGKILL, *SIGNALS]))
    if out.exists() and sha256(out) != sha256(world.talk):
        raise Lost("a stopped generate leaves an unfinished video under its final name")
    done(execute(command), "generate after a kill")
    if sha256(out) != sha256(world.talk):
        raise Lost("generate after a kill writes another video")


@attack("kill-report")
def kill_report(world: World, scratch: Path, rng: random.Random) -> None:
    """kill -9, INT, TERM or HUP of report"""
    results = copy(world.results, scratch / "results")
    interrupt(
        ["report", str(results)],
        scratch,
        rng,
        at=world.seconds["report"],
        sign=rng.choice([signal.SIGKILL, *SIGNALS]),
    )
    done(execute(["report", str(results)]), "report after a kill")
    table = "report/leaderboard.csv"
    if (results / table).read_bytes() != (world.results / table).read_bytes():
        raise Lost("report after a kill writes another table")


# ---- two writers: each finishes or refuses in one line; nothing is mixed ----


@attack("two-prepares")
def two_prepares(world: World, scratch: Path, rng: random.Random) -> None:
    """Two prepares into one cache"""
    together([world.prepare(scratch / "cache"), world.prepare(scratch / "cache")], scratch, rng)
    same_cache(world, scratch / "cache")


@attack("two-trainings")
def two_trainings(world: World, scratch: Path, rng: random.Random) -> None:
    """Two trainings into one run folder"""
    together([world.train(world.cache, scratch / "run")] * 2, scratch, rng)
    same_run(world, scratch / "run")


@attack("two-evaluations")
def two_evaluations(world: World, scratch: Path, rng: random.Random) -> None:
    """Two evaluations into one results folder, of one method or of two"""
    other = rng.choice(["still", "shuffled-sound"])
    commands = [world.evaluate(world.cache, scratch / "results", method=m) for m in ("still", other)]
    codes = together(commands, scratch, rng)
    for code, command in zip(codes, commands, strict=True):
        if code:
            done(execute(command), "evaluate after a refusal")
    same_scores(world, scratch / "results")
    gallery = json.loads((scratch / "results" / "gallery.json").read_text())
    shown = json.dumps(gallery)
    if any(f"outputs/{name}/" not in shown for name in ("still", other)):
        raise Lost(f"the gallery lost an entry: {shown[:400]}")


@attack("two-generates")
def two_generates(world: World, scratch: Path, rng: random.Random) -> None:
    """Two generates of one file"""
    out = scratch / "talk.mp4"
    together([world.generate(world.run, out)] * 2, scratch, rng)
    if sha256(out) != sha256(world.talk) or leftovers(scratch):
        raise Lost("two generates of one file leave a mixed or unfinished one")


# ---- full disks: one line, and the rerun with more room ends as usual ----


@attack("full-disk")
def full_disk(world: World, scratch: Path, rng: random.Random) -> None:
    """A disk that fills while prepare, train, evaluate or generate runs"""
    if os.geteuid() != 0:
        raise Skip("needs root")
    disk = scratch / "disk"
    disk.mkdir()
    kind = rng.choice(["prepare", "train", "evaluate", "generate"])
    out = disk / ("talk.mp4" if kind == "generate" else kind)
    command = {
        "prepare": world.prepare(out),
        "train": world.train(world.cache, out),
        "evaluate": world.evaluate(world.cache, out),
        "generate": world.generate(world.run, out),
    }[kind]
    whole = {"prepare": world.cache, "train": world.run, "evaluate": world.results, "generate": world.talk}[kind]
    size = sum(p.stat().st_size for p in ([whole] if whole.is_file() else whole.rglob("*")) if p.is_file())
    room = max(int(size * rng.uniform(0.02, 1.0)) // 4096, 2) * 4096
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "torture", disk], capture_output=True)
    if mounted.returncode:
        raise Skip("a tmpfs cannot be mounted")
    try:
        ended = orderly(execute(command), f"{kind} on a full disk")
        if ended.code == 2 and "space" not in ended.output.lower():
            raise Lost(f"{kind} on a full disk does not name the disk: {ended.output.strip()[-400:]}")
        if ended.code == 2 and (left := leftovers(disk)):
            raise Lost(f"{kind} on a full disk leaves {left}")
        subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
        if kind == "prepare":
            same_cache(world, out)
        elif kind == "train":
            same_run(world, out)
        elif kind == "evaluate":
            same_scores(world, out)
        else:
            done(execute(command), "generate after a full disk")
            if sha256(out) != sha256(world.talk):
                raise Lost("generate after a full disk writes another video")
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


# ---- fuzzed media ----


@attack("fuzzed-videos")
def fuzzed_videos(world: World, scratch: Path, rng: random.Random) -> None:
    """Eight damaged videos beside a whole one through prepare"""
    folder = scratch / "videos"
    folder.mkdir()
    shutil.copy(world.clip, folder / "whole.mp4")
    data = world.clip.read_bytes()
    for k in range(8):
        (folder / f"bad{k}.mp4").write_bytes(mutated(data, rng))
    done(execute(world.prepare(scratch / "cache", videos=folder)), "prepare of damaged videos")
    index = pd.read_parquet(scratch / "cache" / "index.parquet")
    if len(index) != 9 or not set(index["reason"]) <= LEFT_OUT:
        raise Lost(f"damaged videos end as {sorted(set(index['reason']))} in {len(index)} rows")
    if index.set_index(index["source"].map(lambda s: Path(s).name)).loc["whole.mp4", "reason"]:
        raise Lost("a whole video beside damaged ones is left out")
    done(execute(["cache", "verify", str(scratch / "cache")]), "cache verify after damaged videos")


@attack("fuzzed-outputs")
def fuzzed_outputs(world: World, scratch: Path, rng: random.Random) -> None:
    """Damaged outputs of a user's method through evaluate"""
    outputs = scratch / "outputs"
    shutil.copytree(world.results / "outputs" / "still", outputs)
    (outputs / "items.jsonl").unlink()
    files = sorted(outputs.glob("*.mp4"))
    for path in rng.sample(files, max(1, len(files) - 1)):
        path.write_bytes(mutated(path.read_bytes(), rng))
    command = world.evaluate(world.cache, scratch / "results", "--outputs", str(outputs), method="mine")
    orderly(execute(command), "evaluate of damaged outputs")


# ---- damage to what dawn-bench wrote ----


@attack("damaged-cache")
def damaged_cache(world: World, scratch: Path, rng: random.Random) -> None:
    """Damage to a file of a cache: verify names it, the other commands end in one line"""
    cache = copy(world.cache, scratch / "cache")
    path = damage(cache, rng)
    ended = orderly(execute(["cache", "verify", str(cache)]), f"cache verify with a damaged {path}")
    used = not path.startswith(("parts/", "plan.json"))
    if used and sha256(cache / path) != sha256(world.cache / path) and Path(path).name not in ended.output:
        raise Lost(f"cache verify does not name a damaged {path}: {ended.output.strip()[-400:]}")
    orderly(execute(world.evaluate(cache, scratch / "results")), f"evaluate with a damaged {path}")
    orderly(execute(["cache", "stats", str(cache)]), f"cache stats with a damaged {path}")


@attack("damaged-run")
def damaged_run(world: World, scratch: Path, rng: random.Random) -> None:
    """Damage to a file of a run: train --resume and generate end in one line, or as if nothing had happened"""
    run = copy(world.run, scratch / "run")
    path = damage(run, rng, flips=False, only="[!e]*")
    ended = orderly(execute(world.train(world.cache, run, "--resume")), f"train --resume with a damaged {path}")
    if ended.code == 0 and models(run) != world.models:
        raise Lost(f"train --resume with a damaged {path} calls a damaged model finished")
    orderly(execute(world.generate(run, scratch / "talk.mp4")), f"generate with a damaged {path}")


@attack("damaged-results")
def damaged_results(world: World, scratch: Path, rng: random.Random) -> None:
    """Damage to a file of a results folder: the next evaluate gives the undisturbed scores, or names the file"""
    results = copy(world.results, scratch / "results")
    path = damage(results, rng)
    ended = orderly(execute(world.evaluate(world.cache, results)), f"evaluate with a damaged {path}")
    if ended.code == 0:
        if not path.startswith("rows/") and scores(results) != world.scores:
            raise Lost(f"a damaged {path} changes scores without a word")
        orderly(execute(["report", str(results)]), f"report with a damaged {path}")


# ---- hostile files ----


@attack("hostile-cache")
def hostile_cache(world: World, scratch: Path, rng: random.Random) -> None:
    """A cache whose ids and shard names point elsewhere"""
    cache, victim = copy(world.cache, scratch / "cache"), scratch / "victim"
    victim.mkdir()
    (victim / "holiday.mp4").write_bytes(b"a film")
    (victim / "frames-00000.safetensors").write_bytes(b"weights")
    index = pd.read_parquet(cache / "index.parquet")
    column = rng.choice([c for c in index.columns if c == "id" or c.endswith(".shard")])
    name = "holiday" if column == "id" else "frames-00000.safetensors"
    depth = "../" * rng.randint(1, 6)
    values = [f"{victim}/{name}", f"{depth}victim/{name}", f"a/../{depth}victim/{name}", f"..\\victim\\{name}", "", "."]
    row = rng.randrange(len(index))
    index[column] = index[column].astype(object)
    index.loc[index.index[row], column] = rng.choice([*values, "a\0b", "/dev/zero", index[column].iloc[0]])
    if column == "id" and row == 0 and index["id"].is_unique and rng.random() < 0.1:
        index.loc[index.index[0], "id"] = index["id"].iloc[1]
    index.to_parquet(cache / "index.parquet")
    before = contents(victim)
    commands = [
        ["cache", "verify", str(cache)],
        [
            "cache",
            "export",
            str(cache),
            "--out",
            str(scratch / "export"),
            "--format",
            rng.choice(["files", "webdataset"]),
        ],
        world.evaluate(cache, scratch / "results"),
    ]
    for command in commands:
        orderly(execute(command), f"`{command[0]}` with a hostile {column}")
    if contents(victim) != before:
        raise Lost(f"a hostile {column} writes outside the output folder")
    only(scratch, {"cache", "victim", "export", "results"})


@attack("hostile-results")
def hostile_results(world: World, scratch: Path, rng: random.Random) -> None:
    """A results folder whose gallery and curves name a stranger's file"""
    results, private = copy(world.results, scratch / "results"), scratch / "private.mp4"
    shutil.copy(world.clip, private)
    log = "".join(json.dumps({"step": k, "private-loss": k}) + "\n" for k in range(5))
    private.with_suffix(".jsonl").write_text(log)
    kind = rng.choice(["mp4", "jsonl"])
    secret = rng.choice(
        [f"{scratch}/private.{kind}", f"../private.{kind}", f"outputs/../../private.{kind}", "/etc/passwd"]
    )
    target = results / rng.choice(["gallery.json", "facts.json"])
    text, names = target.read_text(), sorted(p.relative_to(results).as_posix() for p in results.rglob("*.mp4"))
    for name in names:
        text = text.replace(name, secret)
    if target.name == "facts.json":
        facts = json.loads(text)
        facts["curves"] = {"loss": secret, "other": [secret]} if rng.random() < 0.5 else [{"path": secret}]
        text = json.dumps(facts)
    target.write_text(text)
    orderly(execute(["report", str(results)]), f"report with a hostile {target.name}")
    page = results / "report" / "report.html"
    body = base64.b64encode(private.read_bytes())[:400]
    if page.exists() and any(text in page.read_bytes() for text in (body, b"private-loss", b"root:x:0")):
        raise Lost(f"{target.name} puts a stranger's file into the page")
