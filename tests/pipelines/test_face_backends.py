"""The optional face back ends: how they call their packages (fakes of the documented interface), and, where a
package is installed, the package itself with files in its own formats.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.pipelines.faces.base import FACE_BACKENDS, box_around, pick_backend
from dawn_bench.pipelines.faces.upright import square_boxes, upright_box
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings

OPTIONAL = ("face-alignment", "insightface", "mediapipe")
FRAME = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
BOX = np.array([100, 80, 180, 160], np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder, an empty home, and no way to download anything."""
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")

    def offline(*_: object, **__: object) -> None:
        raise AssertionError("tried to reach the network")

    monkeypatch.setattr("socket.getaddrinfo", offline)
    monkeypatch.setattr("urllib.request.urlopen", offline)
    (tmp_path / "weights" / "checkpoints").mkdir(parents=True)
    return tmp_path / "weights"


def put(folder: Path, name: str, data: bytes = b"weights") -> Path:
    """Write data as the file of a registry entry."""
    path = folder / weights.entry(name).file
    path.write_bytes(data)
    return path


def pretend(monkeypatch: pytest.MonkeyPatch, backend: str, version: str, modules: dict[str, dict[str, Any]]) -> None:
    """Install fake packages for one test."""
    for name, attributes in modules.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []  # type: ignore[attr-defined]
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    adapter = backend.replace("-", "_")
    monkeypatch.setattr(f"dawn_bench.pipelines.faces.backends.{adapter}.version", lambda _: version)
    monkeypatch.setattr(f"dawn_bench.pipelines.faces.backends.{adapter}.pick_device", lambda: "cpu", raising=False)


# --- boxes -----------------------------------------------------------------------------------------------------------


def test_square_and_upright_boxes_are_inverse_conversions() -> None:
    assert np.allclose(square_boxes(upright_box(BOX)[None])[0], BOX, atol=1e-3)
    upright = upright_box(BOX)
    assert upright[1] < BOX[1] and abs(upright[3] - BOX[3]) < 8  # up to the hairline, down to the chin
    boxes = square_boxes(np.array([[0, 0, 10, 14], [50, 50, 90, 110]]))
    assert boxes.shape == (2, 4) and boxes.dtype == np.float32 and boxes[0, 0] > 40
    assert square_boxes(np.zeros((0, 4))).shape == (0, 4)


# --- missing packages and weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_missing_package_is_a_one_line_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"dawn_bench.pipelines.faces.backends.{name.replace('-', '_')}.find_spec", lambda _: None)
    with pytest.raises(InputError, match=f"package {name} is not installed") as caught:
        pick_backend(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "modules", "says"),
    [
        (
            "face-alignment",
            ["face_alignment"],
            r"s3fd-619a316812\.pth and checkpoints/2DFAN4.* are not in .*weights fetch --for face-alignment$",
        ),
        (
            "insightface",
            ["insightface", "onnxruntime"],
            "det_10g.onnx and 1k3d68.onnx of the model pack buffalo_l are.*weights fetch --for insightface$",
        ),
        ("mediapipe", ["mediapipe"], "face_landmarker.task is not in .*weights fetch --for mediapipe$"),
    ],
)
def test_missing_weights_are_a_one_line_error(
    name: str, modules: list[str], says: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, name, "1.5.0", {module: {} for module in modules})
    with pytest.raises(InputError, match=says) as caught:
        pick_backend(name)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    assert pick_backend("auto").name == "dlib"


def test_prepare_says_once_what_stands_in_for_face_alignment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    head = np.ascontiguousarray(astronaut()[:260, 90:350])
    write_video(root / "talk.mp4", np.stack([head] * 12), audio=np.zeros(12 * 640, np.int16))
    monkeypatch.setattr("dawn_bench.pipelines.faces.backends.face_alignment.find_spec", lambda _: None)
    note = "faces: dlib stands in for face-alignment: it sees fewer faces"
    shown = []
    for face in ("auto", "auto", "dlib"):
        prepare(root, tmp_path / f"cache-{face}", PrepareSettings(size=64, face=face), jobs=1)
        shown.append("".join(capsys.readouterr().err.split()).count("".join(note.split())))
    assert shown == [1, 0, 0]


def test_the_extra_has_all_that_the_packages_need_but_opencv() -> None:
    """They are installed without dependencies, so that no second OpenCV comes."""
    from importlib.metadata import PackageNotFoundError, requires

    table = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    ours = [*table["dependencies"], *table["optional-dependencies"]["faces"]]
    known = {canonical(re.match(r"[\w.-]+", line)[0]) for line in ours}
    known |= {"packaging", "certifi", "flatbuffers"}  # of matplotlib, requests and onnxruntime
    for package in OPTIONAL:
        try:
            needed = [line for line in requires(package) or [] if "extra ==" not in line]
        except PackageNotFoundError:
            pytest.skip(f"the package {package} is not installed")
        names = {canonical(re.match(r"[\w.-]+", line)[0]) for line in needed}
        assert {name for name in names - known if not name.startswith("opencv")} == set()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_doctor_says_what_leaves_one_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    from dawn_bench.cli.doctor import _opencv

    def installed(*names: str) -> None:
        def version(name: str) -> str:
            if name not in names:
                raise PackageNotFoundError(name)
            return "5.0"

        monkeypatch.setattr("importlib.metadata.version", version)

    installed("opencv-python-headless")
    assert _opencv() == "opencv-python-headless 5.0"
    installed("opencv-python", "opencv-python-headless")
    assert _opencv().endswith(
        "pip uninstall -y opencv-python-headless opencv-python && pip install opencv-python-headless"
    )


# --- face-alignment --------------------------------------------------------------------------------------------------


class _FaceAlignment:
    """As documented: `face_detector.detect_from_image(rgb)` gives rows x0, y0, x1, y1, score."""

    def __init__(self, landmarks_type: int, **options: Any) -> None:
        self.landmarks_type, self.options = landmarks_type, options
        self.hub = torch.hub.get_dir()
        self.seen: list[tuple[int, ...]] = []
        self.face_detector = SimpleNamespace(detect_from_image=self._detect)

    def _detect(self, image: np.ndarray) -> list[np.ndarray]:
        self.seen.append(image.shape)
        return [np.array([10, 10, 20, 24, 0.8]), np.array([30, 20, 70, 76, 0.99])]

    def get_landmarks_from_image(self, image: np.ndarray, detected_faces: list) -> list[np.ndarray]:
        ((x0, y0, x1, y1),) = detected_faces
        assert type(x0) is float  # it writes what it computes from them into a torch tensor, which takes no float32
        return [np.tile(((x0 + x1) / 2, (y0 + y1) / 2), (68, 1))]


@pytest.fixture
def fan(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    package = {"FaceAlignment": _FaceAlignment, "LandmarksType": SimpleNamespace(TWO_D=1)}
    pretend(monkeypatch, "face-alignment", "1.5.0", {"face_alignment": package})
    put(folder, "s3fd-wav2lip")
    put(folder, "fan-2d")


def test_face_alignment_is_the_default_where_its_files_are_present(fan: None, folder: Path) -> None:
    backend = pick_backend("auto")
    assert backend.name == "face-alignment"
    network: _FaceAlignment = backend._network  # type: ignore[attr-defined]
    assert Path(network.hub) == folder != Path(torch.hub.get_dir())  # where it looks for FAN during construction
    assert network.options["face_detector_kwargs"] == {"path_to_detector": str(folder / "s3fd-619a316812.pth")}
    assert (network.landmarks_type, network.options["device"], network.options["compile"]) == (1, "cpu", False)
    (folder / "checkpoints/2DFAN4-11f355bf06.pth.tar").unlink()
    assert pick_backend("auto").name == "dlib"


def test_face_alignment_boxes_are_scaled_back_and_square(fan: None) -> None:
    backend = pick_backend("face-alignment")
    boxes = backend.detect(FRAME)
    assert boxes.shape == (2, 4) and boxes.dtype == np.float32
    assert np.allclose(boxes[0], square_boxes(np.array([[30, 20, 70, 76]]))[0])
    large = np.zeros((640, 1280, 3), np.uint8)
    assert np.allclose(backend.detect(large), boxes * 2, atol=1e-3)
    assert backend._network.seen == [(300, 400, 3), (320, 640, 3)]  # type: ignore[attr-defined]
    points = backend.landmarks(FRAME, BOX)
    middle = (upright_box(BOX)[:2] + upright_box(BOX)[2:]) / 2
    assert points.shape == (68, 2) and points.dtype == np.float32 and np.allclose(points, middle)


def test_face_alignment_uses_files_downloaded_by_the_package(
    fan: None, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pick_backend("face-alignment").fingerprint()
    hub = tmp_path / "torch" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    for name in ("s3fd-619a316812.pth", "checkpoints/2DFAN4-11f355bf06.pth.tar"):
        (folder / name).rename(hub / Path(name).name)
    backend = FACE_BACKENDS["face-alignment"]()
    assert Path(backend._network.hub) == hub.parent  # type: ignore[attr-defined]
    assert backend.fingerprint() == before  # of the same files
    (hub / "s3fd-619a316812.pth").rename(folder / "s3fd-619a316812.pth")
    put(folder, "s3fd-wav2lip", b"others")
    assert backend.fingerprint() == before != FACE_BACKENDS["face-alignment"]().fingerprint()  # of what was loaded


def test_an_old_face_alignment_is_rejected(fan: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dawn_bench.pipelines.faces.backends.face_alignment.version", lambda _: "1.4.1")
    with pytest.raises(InputError, match=r"face-alignment 1\.4\.1 is installed; it takes 1\.5"):
        pick_backend("face-alignment")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("face_alignment") is None, reason="the package face-alignment is not installed")
def test_the_face_alignment_package_loads_its_own_file_format(folder: Path) -> None:
    """Networks with constant output: S3FD one face at a known position, FAN landmarks in its crop's corner."""
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    detector = {k: torch.zeros_like(v) for k, v in s3fd().state_dict().items()}
    for key in detector:
        if key.endswith("_conf.bias"):
            detector[key][:] = torch.tensor([9.0, -9.0]) if len(detector[key]) == 2 else 9 * torch.tensor([1, 1, 1, -1])
    detector["conv7_2_mbox_conf.bias"][:] = torch.tensor([-9.0, 9.0])  # cells of 128 px, faces of 512
    torch.save(detector, folder / "s3fd-619a316812.pth")
    points = FAN(4).state_dict()
    points["l3.weight"].zero_()
    points["l3.bias"].zero_()
    torch.save(points, folder / "checkpoints/2DFAN4-11f355bf06.pth.tar")

    backend = pick_backend("auto")
    assert backend.name == "face-alignment" and "face-alignment" in backend.fingerprint()
    boxes = backend.detect(np.zeros((256, 320, 3), np.uint8))
    upright = upright_box(boxes[0])
    middle = (upright[:2] + upright[2:]) / 2
    assert len(boxes) and np.abs(middle % 128 - 64).max() < 1  # a cell's middle
    assert upright[2:] - upright[:2] == pytest.approx(512 * np.sqrt([1 / 1.43, 1.43]), rel=0.01)
    marks = backend.landmarks(FRAME, BOX)
    x0, y0, x1, y1 = upright_box(BOX)
    half = 100 * (x1 - x0 + y1 - y0) / 195  # FAN's crop: 200 px of a face of 195
    corner = (x0 + x1) / 2 - half, (y0 + y1) / 2 - 0.12 * (y1 - y0) - half
    assert marks.shape == (68, 2) and np.abs(marks - corner).max() < 3


# --- insightface -----------------------------------------------------------------------------------------------------


class _Detector:
    def prepare(self, context: int, **options: Any) -> None:
        self.options = {"context": context, **options}

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, None]:
        """One face where the picture is blue in BGR, as insightface takes pictures."""
        rows, columns = np.nonzero((image == (255, 0, 0)).all(axis=2))
        if not len(rows):
            return np.zeros((0, 5), np.float32), None
        return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9]], np.float32), None


class _Points:
    def prepare(self, context: int) -> None:
        self.context = context

    def get(self, image: np.ndarray, face: Any) -> np.ndarray:
        """The colour at the box's middle as x, its height as y."""
        x, y = ((face.bbox[:2] + face.bbox[2:]) / 2).astype(int)
        assert image.flags.c_contiguous
        return np.tile((*image[y, x][:1].astype(float), face.bbox[3] - face.bbox[1], 7.0), (68, 1))


def test_insightface_is_given_bgr_and_upright_boxes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, "scrfd-10g")
    put(folder, "insightface-68")
    asked = []

    def get_model(path: str, *, providers: list[str]) -> Any:
        asked.append((Path(path).name, providers))
        return _Detector() if path.endswith("det_10g.onnx") else _Points()

    pretend(
        monkeypatch,
        "insightface",
        "2.1",
        {
            "insightface": {},
            "insightface.model_zoo": {"get_model": get_model},
            "insightface.app": {},
            "insightface.app.common": {"Face": SimpleNamespace},
            "onnxruntime": {"get_available_providers": lambda: ["CPUExecutionProvider"]},
        },
    )
    backend = pick_backend("insightface")
    assert asked == [("det_10g.onnx", ["CPUExecutionProvider"]), ("1k3d68.onnx", ["CPUExecutionProvider"])]
    frame = np.zeros((200, 300, 3), np.uint8)
    assert backend.detect(frame).shape == (0, 4)
    frame[60:116, 120:160] = (0, 0, 255)  # RGB
    assert np.allclose(backend.detect(frame), square_boxes(np.array([[120, 60, 160, 116]])))
    points = backend.landmarks(frame, square_boxes(np.array([[120, 60, 160, 116]]))[0])
    assert points.shape == (68, 2) and points[0, 0] == 255 and points[0, 1] == pytest.approx(56, rel=0.02)
    before = backend.fingerprint()
    put(folder, "insightface-68", b"others")
    assert backend.fingerprint() == before != FACE_BACKENDS["insightface"]().fingerprint()  # of what was loaded


@pytest.mark.real
@pytest.mark.skipif(find_spec("insightface") is None, reason="the package insightface is not installed")
def test_the_insightface_package_with_a_published_detector(folder: Path, shared: Path) -> None:
    """A smaller SCRFD as the detector, and a network with known output in the format of 1k3d68."""
    onnx = pytest.importorskip("onnx")
    put(folder, "scrfd-10g", (shared / "data/nets/scrfd_500m_bnkps.onnx").read_bytes())
    circle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    shape = np.stack([np.cos(circle) / 2, np.sin(circle) / 2, np.sin(3 * circle) / 5], axis=1)
    answer = np.concatenate([np.zeros((1103 - 68, 3)), shape]).astype(np.float32).reshape(1, 3309)
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["data"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["none"]),
            helper.make_node("Add", ["none", "answer"], ["fc1"]),
        ],
        "points",
        [helper.make_tensor_value_info("data", floats, [1, 3, 192, 192])],
        [helper.make_tensor_value_info("fc1", floats, [1, 3309])],
        [
            onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
            onnx.numpy_helper.from_array(answer, "answer"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    put(folder, "insightface-68", model.SerializeToString())

    backend, dlib = pick_backend("insightface"), pick_backend("dlib")
    picture = astronaut()
    boxes = backend.detect(picture)
    expected = box_around(dlib.landmarks(picture, dlib.detect(picture)[0]))
    assert boxes.shape == (1, 4) and np.abs(boxes[0] - expected).max() < 0.15 * (expected[2] - expected[0])
    assert not len(backend.detect(np.full((300, 400, 3), 90, np.uint8)))
    close = cv2.resize(picture[60:190, 160:290], (512, 512))  # a face that fills the picture
    assert len(backend.detect(close)) == 1
    points = backend.landmarks(picture, boxes[0])
    upright = upright_box(boxes[0])
    middle, radius = (upright[:2] + upright[2:]) / 2, 0.375 * (upright[3] - upright[1])
    assert np.abs(points.mean(axis=0) - middle).max() < 1
    assert np.linalg.norm(points - middle, axis=1) == pytest.approx(np.full(68, radius), rel=0.05)


# --- mediapipe -------------------------------------------------------------------------------------------------------


class _Landmarker:
    """Detects a face with its mesh at each bright square; coordinates are relative to the image."""

    def detect(self, image: Any) -> Any:
        count, labels = cv2.connectedComponents((image.data[..., 0] > 200).astype(np.uint8))
        faces = []
        for k in range(1, count):
            rows, columns = np.nonzero(labels == k)
            spots = np.random.default_rng(0).integers(0, len(rows), 478)
            height, width = image.data.shape[:2]
            faces.append([
                SimpleNamespace(x=(columns[i] + 0.5) / width, y=(rows[i] + 0.5) / height, z=0.0) for i in spots
            ])  # fmt: skip
        return SimpleNamespace(face_landmarks=faces)


def test_mediapipe_reads_its_mesh_at_the_68_points(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(folder, "mediapipe-landmarker")
    asked: list[Any] = []

    def create(options: Any) -> _Landmarker:
        asked.append(options)
        return _Landmarker()

    vision = SimpleNamespace(
        FaceLandmarkerOptions=SimpleNamespace,
        FaceLandmarker=SimpleNamespace(create_from_options=create),
        RunningMode=SimpleNamespace(IMAGE="image"),
    )
    image = {"Image": lambda image_format, data: SimpleNamespace(data=data), "ImageFormat": SimpleNamespace(SRGB=1)}
    tasks = {"BaseOptions": SimpleNamespace, "vision": vision}
    modules = {"mediapipe": image, "mediapipe.tasks": {}, "mediapipe.tasks.python": tasks}
    pretend(monkeypatch, "mediapipe", "0.10.21", modules)
    backend = pick_backend("mediapipe")
    assert asked[0].base_options.model_asset_path == str(path) and asked[0].running_mode == "image"

    frame = np.zeros((240, 400, 3), np.uint8)
    assert backend.detect(frame).shape == (0, 4)
    frame[50:100, 60:120, 0] = 255
    frame[100:180, 250:330, 0] = 255
    boxes = backend.detect(frame)
    assert boxes.shape == (2, 4) and boxes[0, 0] > 150  # the larger one first
    for box, (x0, y0, x1, y1) in zip(boxes, ((250, 100, 330, 180), (60, 50, 120, 100)), strict=True):
        points = backend.landmarks(frame, box)
        assert points.shape == (68, 2) and points.dtype == np.float32
        assert (points >= (x0 - 1e-3, y0 - 1e-3)).all() and (points <= (x1 - 1 + 1e-3, y1 - 1 + 1e-3)).all()
    for nowhere in ([0, 180, 40, 220], [500, 500, 600, 600], [-90, -90, -10, -10]):
        assert np.isnan(backend.landmarks(frame, np.array(nowhere, np.float32))).all()


@pytest.mark.real
@pytest.mark.skipif(find_spec("mediapipe") is None, reason="the package mediapipe is not installed")
def test_the_mediapipe_package_with_the_published_file(folder: Path, shared: Path) -> None:
    put(
        folder,
        "mediapipe-landmarker",
        (shared / "data/nets/mp_face_landmarker_v2_with_blendshapes.task").read_bytes(),
    )
    assert weights.resolve("mediapipe-landmarker").state == "canonical"
    backend, dlib = pick_backend("mediapipe"), pick_backend("dlib")
    picture = astronaut()
    (box,) = backend.detect(picture)
    points, other = backend.landmarks(picture, box), dlib.landmarks(picture, dlib.detect(picture)[0])
    width = np.linalg.norm(other[16] - other[0])
    off = np.linalg.norm(points - other, axis=1) / width
    assert off[17:].mean() < 0.03 and off[:17].mean() < 0.1  # the two draw the jaw line differently
    assert np.isnan(backend.landmarks(np.zeros((200, 200, 3), np.uint8), BOX)).all()
