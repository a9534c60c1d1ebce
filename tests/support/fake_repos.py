"""Repositories of external methods that misbehave as the real ones do, with nothing of theirs in them.

Each writes frames of the portrait darkened frame by frame, through PyAV, in the test's own interpreter.
"""

from __future__ import annotations

import sys
from pathlib import Path

HEADER = """
import argparse, os, sys, time
from fractions import Fraction
import av, cv2, numpy as np

def seconds_of(path):
    with av.open(path) as file:
        return sum(f.samples for f in file.decode(audio=0)) / 16000

def write(path, image, n, fps=25, size=None, shade=0, scale=1.0):
    picture = cv2.cvtColor(cv2.imread(image), cv2.COLOR_BGR2RGB)
    side = picture.shape[0]
    if scale != 1.0:  # a tighter crop
        cut = round(side * (1 - 1 / scale) / 2)
        picture = picture[cut : side - cut, cut : side - cut]
    picture = cv2.resize(picture, (size or side,) * 2)
    with av.open(path, "w") as file:
        stream = file.add_stream("libx264rgb", rate=fps)
        stream.width = stream.height = picture.shape[0]
        stream.pix_fmt, stream.options = "rgb24", {"crf": "0", "preset": "ultrafast"}
        for k in range(n):
            row = np.clip(picture.astype(int) - k % 8 - shade, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(row, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, fps)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))

def options(names):
    parser = argparse.ArgumentParser()
    for name in names.split():
        parser.add_argument(name, nargs="+" if name == "--pads" else None)
    return parser.parse_args()
"""

SCRIPTS = {
    # one temp file for all runs of a checkout, output named after both inputs, one frame short
    "audio2head": (
        "inference.py",
        """
args = options("--audio_path --img_path --save_path --model_path")
if os.listdir("results"):
    sys.exit("another run is using results/temp.wav")
open("results/temp.wav", "w").write("shared")
name = os.path.basename(args.img_path)[:-4] + "_" + os.path.basename(args.audio_path)[:-4] + ".mp4"
write(os.path.join(args.save_path, name), args.img_path, int(seconds_of(args.audio_path) * 25) - 1)
""",
    ),
    # output named by the second, no seed of its own, a tighter crop, code next to the script
    "sadtalker": (
        "inference.py",
        """
import random
from src.helper import FACTOR
args = options("--driven_audio --source_image --result_dir --checkpoint_dir --size --preprocess --pose_style")
print("Face Renderer: 0%")
shade = random.randrange(100) + np.random.randint(100)
name = time.strftime("%Y_%m_%d_%H.%M.%S")
n = round(seconds_of(args.driven_audio) * 25)
write(f"{args.result_dir}/{name}.mp4", args.source_image, n, shade=shade, scale=FACTOR)
""",
    ),
    # arguments without dashes, another working folder, twice the size
    "diffused-heads": (
        "sample.py",
        """
args = dict(a.split("=", 1) for a in sys.argv[1:])
os.makedirs(args["hydra.run.dir"]); os.chdir(args["hydra.run.dir"])
n = round(seconds_of(args["audio"]) * 25)
write(args["output"], args["id_frame"], n, size=2 * cv2.imread(args["id_frame"]).shape[0])
""",
    ),
    # a dot in the path makes a picture a video; a fixed temp name; three frames short
    "wav2lip": (
        "inference.py",
        """
args = options("--checkpoint_path --face --audio --outfile --fps --pads")
if args.face.split(".")[1] not in ("jpg", "png", "jpeg"):
    raise ValueError("the picture was taken for a video")
if os.path.exists("temp/result.avi"):
    sys.exit("another run is using temp/result.avi")
open("temp/result.avi", "w").write("shared")
write(args.outfile, args.face, round(seconds_of(args.audio) * 25) - 3)
""",
    ),
    # fails when the pose track is shorter than the sound; fixed output folder
    "dreamtalk": (
        "inference_for_demo_video.py",
        """
from scipy.io import loadmat
args = options(
    "--wav_path --style_clip_path --pose_path --image_path --cfg_scale "
    "--max_gen_len --output_name --device"
)
n = round(seconds_of(args.wav_path) * 25) - 1
pose = loadmat(args.pose_path)
if len(pose["coeff"]) < n or len(pose["transform_params"]) < n:
    raise TypeError("repeat() received an invalid combination of arguments")
write(f"output_video/{args.output_name}.mp4", args.image_path, n)
""",
    ),
    # cases in a YAML, 24 fps for any request, a silent file next to the one with sound
    "echomimic": (
        "infer_audio2vid.py",
        """
import yaml
args = options("--config -W -H -L --fps --seed --steps --cfg --facecrop_dilation_ratio --device")
cases = yaml.safe_load(open(args.config))
(image, (audio,)), = cases["test_cases"].items()
folder = f"output/20240101/1200--seed_{args.seed}-{args.W}x{args.H}"
os.makedirs(folder)
for tail in ("", "_withaudio"):
    write(f"{folder}/portrait_sound_512x512_2_1200{tail}.mp4", image, round(seconds_of(audio) * 24) + 2, fps=24)
""",
    ),
    # continues without a face; keeps masks under the part of the name before the first dot
    "hallo": (
        "scripts/inference.py",
        """
args = options("--config --source_image --driving_audio --output")
mask = ".cache/" + os.path.basename(args.source_image).split(".")[0]
if os.path.exists(mask):
    sys.exit("the mask of another portrait would be used")
open(mask, "w").write("mask")
if cv2.imread(args.source_image).max() < 20:
    print("No faces detected in the image. Using the entire image as the face region.")
write(args.output, args.source_image, -int(-seconds_of(args.driving_audio) * 25 // 1))
""",
    ),
    # fails as the argument says
    "bad": (
        "run.py",
        """
image, audio, out, how = sys.argv[1:]
n = round(seconds_of(audio) * 25)
if how == "hang":
    time.sleep(60)
elif how == "crash":
    raise RuntimeError("something is wrong")
elif how == "oom":
    raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
elif how == "killed":
    import signal
    os.kill(os.getpid(), signal.SIGKILL)
elif how == "garbage":
    open(out + "/video.mp4", "w").write("no video")
elif how == "two":
    write(out + "/a.mp4", image, n), write(out + "/b.mp4", image, n)
elif how == "crash-after":
    write(out + "/video.mp4", image, n)
    raise RuntimeError("while cleaning up")
elif how == "crash-half-way":
    write(out + "/video.mp4", image, n // 2)
    raise RuntimeError("half way")
elif how == "long":
    write(out + "/video.mp4", image, n + 2)
""",
    ),
}


def fake_repo(root: Path, name: str, *, weights: tuple[str, ...] = ()) -> Path:
    """Write the fake repository of method `name`, with empty files for its weights; returns its folder."""
    script, body = SCRIPTS[name]
    repo = root / f"{name} repo"
    path = repo / script
    path.parent.mkdir(parents=True)
    path.write_text(HEADER + body)
    (repo / "src").mkdir()
    (repo / "src" / "helper.py").write_text("FACTOR = 1.25\n")
    for weight in weights:
        file = repo / weight
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"weights")
    for scratch in ("temp", "results", "output_video", ".cache"):
        (repo / scratch).mkdir(exist_ok=True)
        (repo / scratch / "left by an earlier run").write_text("x")
    return repo


BAD_ADAPTER = """
name: bad
method_class: portrait
licence: of the tests
source: nowhere
argv: [run.py, "{image}", "{audio}", "{out}", "{options[how]}"]
output: "{out}/*.mp4"
options: {how: none}
limits: {min_seconds: 0.5, max_seconds: 5, silent: false}
"""

#: The interpreter that runs the fake repositories.
PYTHON = sys.executable
