"""The network is the one that was specified: its equations, written a second time, give the same numbers."""

import pytest
import torch
from torch.nn import functional as f

from roadseg.model.resunet import ResUNet, normalize, parameter_count


def norm(w, name, x):
    return f.batch_norm(
        x, w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-5
    )


def conv(w, name, x, *, stride=1, padding=1):
    return f.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=stride, padding=padding)


def residual(w, name, x, stride=1):
    y = conv(w, f"{name}.conv1", f.relu(norm(w, f"{name}.norm1", x)), stride=stride)
    y = conv(w, f"{name}.conv2", f.relu(norm(w, f"{name}.norm2", y)))
    return y + conv(w, f"{name}.shortcut", x, stride=stride, padding=0)


def written_out(w, image, upsample):
    """Compute the seven blocks of Zhang, Liu and Wang (2018) and the 1×1 convolution, from weights by name."""
    y = conv(w, "encoder1.conv2", f.relu(norm(w, "encoder1.norm", conv(w, "encoder1.conv1", image))))
    level1 = y + conv(w, "encoder1.shortcut", image, padding=0)
    level2 = residual(w, "encoder2", level1, stride=2)
    level3 = residual(w, "encoder3", level2, stride=2)
    y = residual(w, "bridge", level3, stride=2)
    for name, skip in (("decoder3", level3), ("decoder2", level2), ("decoder1", level1)):
        size = [2 * n for n in y.shape[2:]]
        corners = {"align_corners": True} if upsample == "bilinear" else {}
        y = residual(w, f"{name}.residual", torch.cat([f.interpolate(y, size, mode=upsample, **corners), skip], 1))
    return conv(w, "head", y, padding=0)


def lively(**options):
    """Return a network whose every weight and statistic matters."""
    torch.manual_seed(1)
    network = ResUNet(**options)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if "running_var" in name:
                value.uniform_(0.5, 2)
            elif value.is_floating_point() and value.ndim == 1:
                value.normal_(0.3, 0.5)
    return network.eval()


@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
@pytest.mark.parametrize(("bands", "width"), [(3, 4), (1, 3), (5, 2)])
def test_the_equations_written_out_give_the_same_logits(bands, width, upsample):
    network = lively(bands=bands, width=width, upsample=upsample)
    image = torch.randn(2, bands, 48, 72)
    with torch.no_grad():
        logits = network(image)
    assert logits.shape == (2, 1, 48, 72)
    torch.testing.assert_close(logits, written_out(network.state_dict(), image, upsample), rtol=1e-4, atol=1e-4)
    assert logits.std() > 0.01


def test_upsampling_changes_the_answer():
    one, other = (lively(width=2, upsample=mode) for mode in ("bilinear", "nearest"))
    image = torch.randn(1, 3, 32, 40)
    with torch.no_grad():
        assert not torch.allclose(one(image), other(image), atol=1e-3)


def test_width_64_has_the_parameters_of_the_specification():
    network = ResUNet()
    assert parameter_count(network) == 8_220_993
    names = {name.rsplit(".", 1)[1] for name, _ in network.named_parameters()}
    assert names == {"weight", "bias"}


@pytest.mark.parametrize("options", [{"width": 0}, {"bands": 0}, {"upsample": "bicubic"}])
def test_other_forms_are_refused(options):
    with pytest.raises(ValueError, match=r"at least 1|one of"):
        ResUNet(**options)


def test_normalize_treats_bytes_and_unit_floats_alike():
    pixels = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    mean, std = (0.2, 0.4, 0.6), (0.1, 0.2, 0.3)
    expected = torch.stack([(pixels[:, band] / 255 - mean[band]) / std[band] for band in range(3)], 1)
    torch.testing.assert_close(normalize(pixels, mean, std), expected)
    torch.testing.assert_close(normalize(pixels.float() / 255, mean, std), expected)
