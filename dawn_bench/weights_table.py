"""The published weight files, as data. Facts only: name, file, origin, sha256 where published, licence, bytes, use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Weight:
    """One published file. `url` is None where it cannot be fetched.

    `sha256` is what its publisher states: all 64 digits, or the first 8 where the file's name carries them (torchvision
    does that), or None. `git_blob` is the git hash of a file that is published in a repository. `member` is the file's
    name inside a zip at `url`, whose own hash is `archive_sha256`. `package` is an installed distribution's folder that
    brings the file along.
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
    package: str | None = None


#: Both region files are 0-based vertex numbers of BIWI's 23,370 vertices.
_CODETALKER = "https://github.com/Doubiiu/CodeTalker/raw/e687bbe64bb3553d5653041a9d80a62eae593ebf/BIWI/regions/"

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
        origin="StyleGAN-V (universome/stylegan-v); also ByteDance/LatentSync auxiliary/",
        url="https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
        git_blob="93daef59c7ae0e9e8f76225521407e60cbafa6aa",
        licence="no licence file; from TF-Hub i3d-kinetics-400 (Apache-2.0)",
    ),
    Weight(
        name="syncnet",
        file="syncnet_v2.model",
        purpose="the SyncNet of LSE-C and LSE-D",
        origin="robots.ox.ac.uk/~vgg/software/lipsync",
        url="http://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
        sha256="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
        licence="none stated by VGG (code MIT)",
    ),
    Weight(
        name="s3fd",
        file="sfd_face.pth",
        purpose="the S3FD face detector of the tracked LSE crop",
        origin="robots.ox.ac.uk/~vgg/software/lipsync",
        url="https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/sfd_face.pth",
        sha256="d54a87c2b7543b64729c9a25eafd188da15fd3f6e02f0ecec76ae1b30d86c491",
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
        licence="CC0-1.0",
    ),
    Weight(
        name="lpips-alex",
        file="alexnet-owt-7be5be79.pth",
        purpose="the AlexNet backbone of LPIPS",
        origin="torchvision (download.pytorch.org/models)",
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        sha256="7be5be79",
        licence="BSD-3-Clause (torchvision)",
    ),
    Weight(
        name="lpips-vgg",
        file="vgg16-397923af.pth",
        purpose="the VGG-16 backbone of LPIPS",
        origin="torchvision (download.pytorch.org/models)",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        sha256="397923af",
        licence="BSD-3-Clause (torchvision)",
    ),
    Weight(
        name="lpips-squeeze",
        file="squeezenet1_1-b8a52dc0.pth",
        purpose="the SqueezeNet 1.1 backbone of LPIPS",
        origin="torchvision (download.pytorch.org/models)",
        url="https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        sha256="b8a52dc0",
        licence="BSD-3-Clause (torchvision)",
    ),
    Weight(
        name="vgg19",
        file="vgg19-dcbb9e9d.pth",
        purpose="the VGG-19 of LFG's perceptual loss",
        origin="torchvision (download.pytorch.org/models)",
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        sha256="dcbb9e9d",
        licence="BSD-3-Clause (torchvision)",
    ),
    Weight(
        name="fan-2d",
        file="checkpoints/2DFAN4-11f355bf06.pth.tar",
        purpose="the 2D-FAN face points of the back end face-alignment",
        origin="adrianbulat.com/downloads/python-fan",
        url="https://www.adrianbulat.com/downloads/python-fan/2DFAN4-11f355bf06.pth.tar",
        sha256="11f355bf",
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
        origin="huggingface.co/facebook/hubert-large-ls960-ft",
        licence="Apache-2.0",
    ),
    Weight(
        name="hubert-large-bin",
        file="hubert-large-ls960-ft/pytorch_model.bin",
        purpose="the HuBERT-large speech encoder, in torch's own format (used where the safetensors file is absent)",
        origin="huggingface.co/facebook/hubert-large-ls960-ft",
        url="https://huggingface.co/facebook/hubert-large-ls960-ft/resolve/main/pytorch_model.bin",
        licence="Apache-2.0",
    ),
    Weight(
        name="hubert-large-config",
        file="hubert-large-ls960-ft/config.json",
        purpose="the HuBERT-large speech encoder's configuration",
        origin="huggingface.co/facebook/hubert-large-ls960-ft",
        url="https://huggingface.co/facebook/hubert-large-ls960-ft/resolve/main/config.json",
        licence="Apache-2.0",
    ),
    Weight(
        name="hubert-base",
        file="hubert-base-ls960/pytorch_model.bin",
        purpose="the HuBERT-base speech encoder that DiffSpeaker's training starts from",
        origin="huggingface.co/facebook/hubert-base-ls960",
        url="https://huggingface.co/facebook/hubert-base-ls960/resolve/main/pytorch_model.bin",
        licence="Apache-2.0",
    ),
    Weight(
        name="wav2vec2-base",
        file="wav2vec2-base-960h/model.safetensors",
        purpose="the Wav2Vec2 speech encoder of DiT-Head",
        origin="huggingface.co/facebook/wav2vec2-base-960h",
        licence="Apache-2.0",
    ),
    Weight(
        name="wav2vec2-base-bin",
        file="wav2vec2-base-960h/pytorch_model.bin",
        purpose="the Wav2Vec2 speech encoder, in torch's own format (used where the safetensors file is absent)",
        origin="huggingface.co/facebook/wav2vec2-base-960h",
        url="https://huggingface.co/facebook/wav2vec2-base-960h/resolve/main/pytorch_model.bin",
        licence="Apache-2.0",
    ),
    Weight(
        name="wav2vec2-base-config",
        file="wav2vec2-base-960h/config.json",
        purpose="the Wav2Vec2 speech encoder's configuration",
        origin="huggingface.co/facebook/wav2vec2-base-960h",
        url="https://huggingface.co/facebook/wav2vec2-base-960h/resolve/main/config.json",
        licence="Apache-2.0",
    ),
    Weight(
        name="tddfa-v2",
        file="mb1_120x120.pth",
        purpose="the 3DDFA_V2 pose network",
        origin="github.com/cleardusk/3DDFA_V2, weights/",
        url="https://github.com/cleardusk/3DDFA_V2/raw/master/weights/mb1_120x120.pth",
        git_blob="bb78e0cd616fa578febb725b4be3a3ddd546f6b4",
        licence="MIT",
    ),
    Weight(
        name="tddfa-v2-small",
        file="mb05_120x120.pth",
        purpose="the small 3DDFA_V2 pose network (used where the large one is absent)",
        origin="github.com/cleardusk/3DDFA_V2, weights/",
        url="https://github.com/cleardusk/3DDFA_V2/raw/master/weights/mb05_120x120.pth",
        sha256="f93ed7f1c4c0382b16d7c18480a5f67473c1917a47475a9823924f38aeb27280",
        bytes=3_752_462,
        licence="MIT",
    ),
    Weight(
        name="tddfa-v2-params",
        file="param_mean_std_62d_120x120.pkl",
        purpose="the 3DDFA_V2 pose network's parameter means and spreads",
        origin="github.com/cleardusk/3DDFA_V2, configs/",
        url="https://github.com/cleardusk/3DDFA_V2/raw/master/configs/param_mean_std_62d_120x120.pkl",
        sha256="090d7150f77cb66c29ddae21e4508fbde59123dcd1dea7facc24a7ed06d1c795",
        bytes=713,
        licence="MIT",
    ),
    Weight(
        name="yunet",
        file="yunet_n_dynamic.onnx",
        purpose="the YuNet face detector",
        origin="github.com/ShiqiYu/libfacedetection.train, onnx/",
        url="https://github.com/ShiqiYu/libfacedetection.train/raw/master/onnx/yunet_n_dynamic.onnx",
        sha256="104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
        bytes=322_906,
        licence="Apache-2.0",
    ),
    Weight(
        name="mobilefacenet",
        file="mobilefacenet_foamliu.onnx",
        purpose="a small ArcFace-trained identity network (an alternative to the canonical one, never ranked with it)",
        origin="github.com/foamliu/MobileFaceNet, weights/",
        url="https://github.com/foamliu/MobileFaceNet/raw/master/weights/MobileFaceNet.onnx",
        sha256="b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507",
        bytes=3_998_070,
        licence="Apache-2.0 (trained on refined MS-Celeb-1M)",
    ),
    Weight(
        name="dawn-lfg-128",
        file="LFG_128_1000ep.pth",
        purpose="DAWN's LFG at 128 px",
        origin="huggingface.co/Hanbo-Cheng/DAWN",
        licence="none stated by the authors",
    ),
    Weight(
        name="dawn-lfg-256",
        file="LFG_256_400ep.pth",
        purpose="DAWN's LFG at 256 px",
        origin="huggingface.co/Hanbo-Cheng/DAWN",
        licence="none stated by the authors",
    ),
    Weight(
        name="dawn-a2v-128",
        file="DAWN_128.pth",
        purpose="DAWN's A2V-FDM at 128 px",
        origin="huggingface.co/Hanbo-Cheng/DAWN",
        licence="none stated by the authors",
    ),
    Weight(
        name="dawn-a2v-256",
        file="DAWN_256.pth",
        purpose="DAWN's A2V-FDM at 256 px",
        origin="huggingface.co/Hanbo-Cheng/DAWN",
        licence="none stated by the authors",
    ),
    Weight(
        name="pbnet-pose",
        file="pbnet_seperate/pose/checkpoint_40000.pth.tar",
        purpose="DAWN's PBNet for head pose",
        origin="huggingface.co/Hanbo-Cheng/DAWN",
        licence="none stated by the authors",
    ),
    Weight(
        name="pbnet-blink",
        file="pbnet_seperate/blink/checkpoint_95000.pth.tar",
        purpose="DAWN's PBNet for blinks",
        origin="huggingface.co/Hanbo-Cheng/DAWN",
        licence="none stated by the authors",
    ),
    Weight(
        name="biwi-lips",
        file="regions/biwi_lve.txt",
        purpose="the lip vertices of BIWI's mesh, for LVE",
        origin="CodeTalker (Doubiiu/CodeTalker, BIWI/regions/lve.txt)",
        url=_CODETALKER + "lve.txt",
        sha256="bf9c9202a73154cab9b7635d42c05effc30078b2b9aa3c7dc49367cff80cc767",
        licence="MIT",
    ),
    Weight(
        name="biwi-upper",
        file="regions/biwi_fdd.txt",
        purpose="the upper-face vertices of BIWI's mesh, for FDD",
        origin="CodeTalker (Doubiiu/CodeTalker, BIWI/regions/fdd.txt)",
        url=_CODETALKER + "fdd.txt",
        sha256="5a0b657fcbc1f5cbdf4dddfc9a0a883e4644408006fec699e27ade2634124198",
        licence="MIT",
    ),
    Weight(
        name="flame-masks",
        file="regions/FLAME_masks.pkl",
        purpose="the vertex groups of FLAME's mesh (VOCASET), for LVE and FDD",
        origin="flame.is.tue.mpg.de, FLAME Vertex Masks (an account is needed)",
        licence="FLAME licence: non-commercial",
    ),
)
