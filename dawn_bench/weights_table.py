"""The published weight files, as data. Facts only: name, file, origin, sha256 where published, licence, bytes, use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Weight:
    """One published file. `sha256` is None where nobody published one; `url` is None where it cannot be fetched."""

    name: str
    file: str
    purpose: str
    origin: str
    licence: str
    sha256: str | None = None
    bytes: int | None = None
    url: str | None = None


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
        name="arcface-r50",
        file="w600k_r50.onnx",
        purpose="the ArcFace IResNet50 of CSIM",
        origin="insightface pack buffalo_l (deepinsight/insightface release v0.7, buffalo_l.zip)",
        sha256="4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        licence="non-commercial research only",
    ),
    Weight(
        name="lpips-alex",
        file="alexnet-owt-7be5be79.pth",
        purpose="the AlexNet backbone of LPIPS",
        origin="torchvision (download.pytorch.org/models)",
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        licence="BSD-3-Clause (torchvision)",
    ),
    Weight(
        name="lpips-vgg",
        file="vgg16-397923af.pth",
        purpose="the VGG-16 backbone of LPIPS",
        origin="torchvision (download.pytorch.org/models)",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        licence="BSD-3-Clause (torchvision)",
    ),
    Weight(
        name="vgg19",
        file="vgg19-dcbb9e9d.pth",
        purpose="the VGG-19 of LFG's perceptual loss",
        origin="torchvision (download.pytorch.org/models)",
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        licence="BSD-3-Clause (torchvision)",
    ),
    Weight(
        name="hubert-large",
        file="hubert-large-ls960-ft/model.safetensors",
        purpose="the HuBERT-large speech encoder",
        origin="huggingface.co/facebook/hubert-large-ls960-ft",
        licence="Apache-2.0",
    ),
    Weight(
        name="tddfa-v2",
        file="mb1_120x120.pth",
        purpose="the 3DDFA_V2 pose network",
        origin="github.com/cleardusk/3DDFA_V2, weights/",
        url="https://github.com/cleardusk/3DDFA_V2/raw/master/weights/mb1_120x120.pth",
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
)
