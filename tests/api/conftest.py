"""A working folder with everything that the examples name."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_cache import write_tiny_cache

from dawn_bench import Cache, evaluate
from dawn_bench.pipelines.media.audio import read_audio, write_wav
from dawn_bench.pipelines.media.video import read_frames, write_video
from dawn_bench.pipelines.synthetic.write import write_embedded


@pytest.fixture(scope="session")
def workspace(tiny_cache: Path, micro_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos with faces, caches, a trained run, results, and generated and true clips."""
    root = tmp_path_factory.mktemp("workspace")
    shutil.copytree(tiny_cache, root / "my-cache")
    shutil.copytree(micro_run, root / "runs" / "crema")
    write_tiny_cache(root / "caches" / "crema", frames=44, hubert=True)
    written = write_embedded(root / "embedded", speakers=1, clips=2, seconds=1.0, size=128, seed=3)
    for folder in ("my-videos", "my_mp4s", "true_mp4s"):
        (root / folder).mkdir()
        for video in sorted(written.rglob("*.mp4")):
            shutil.copy(video, root / folder)
    speaking = next((root / "my-videos").glob("*.mp4"))
    cv2.imwrite(str(root / "portrait.png"), read_frames(speaking)[0][..., ::-1])
    write_wav(root / "speech.wav", read_audio(speaking)[:8000])
    rows = [f"portrait.png,speech.wav,talks/{seed}.mp4,{seed}\n" for seed in (1, 2)]
    (root / "items.csv").write_text("".join(["image,audio,out,seed\n", *rows]))
    for name, clip in zip("abc", Cache(tiny_cache), strict=False):
        sound = np.asarray(clip["audio"])
        for folder, frames in (("made", clip["frames"] + 5), ("true", clip["frames"]), ("paired", clip["frames"])):
            if folder == "true" or name != "c":
                (root / folder).mkdir(exist_ok=True)
                write_video(root / folder / f"{name}.mp4", frames, audio=sound, lossless=True)
    evaluate(root / "my-cache", root / "results", methods="still", metrics=["psnr"], sanity=False)
    return root
