"""Model files: weights in safetensors, with the model card as metadata. Loading one runs no code.

Convolution weights are stored as float16 by default (about 1e-3 relative rounding, far below what
changes a grey level), batch-norm parameters as float32. The card's hash covers names, shapes and values.
"""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from roadseg.model.card import METADATA_KEY, ModelCard
from roadseg.model.resunet import ResUNet
from roadseg.model.stored_weights import read_weights, weights_hash
from roadseg.settings import Upsampling, WeightType


def model_file(model: ResUNet, card: ModelCard, *, dtype: WeightType = "float16") -> tuple[bytes, ModelCard]:
    """Return the content of a model file.

    Parameters
    ----------
    model, card
        The model and its card.
    dtype
        Number format of the convolution weights.

    Returns
    -------
    The file, and the card in it, with architecture fields and hash filled in.
    """
    tensors = _stored(model, dtype)
    card = replace(
        card,
        bands=model.bands,
        width=model.width,
        upsample=model.upsample,
        hash=weights_hash({name: tensor.numpy() for name, tensor in tensors.items()}),
    )
    return save(tensors, {METADATA_KEY: card.to_json()}), card


def load_model(path: Path) -> tuple[ResUNet, ModelCard]:
    """Read a model file.

    Returns
    -------
    The model in evaluation mode (float32, on the CPU) and its card.

    Raises
    ------
    ModelError
        If the file is damaged or its weights do not fit its card.
    """
    weights, card = read_weights(path)
    upsample: Upsampling = "nearest" if card.upsample == "nearest" else "bilinear"
    model = ResUNet(bands=card.bands, width=card.width, upsample=upsample)
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    model.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    return model.eval(), card


def as_stored(model: ResUNet, dtype: WeightType) -> ResUNet:
    """Return a copy with the weights rounded as ``model_file`` stores them, in evaluation mode, on the same device."""
    device = next(model.parameters()).device
    copy = ResUNet(bands=model.bands, width=model.width, upsample=model.upsample)
    copy.load_state_dict({k: v.float() for k, v in _stored(model, dtype).items()}, strict=False)
    return copy.to(device).eval()


def _stored(model: ResUNet, dtype: WeightType) -> dict[str, Tensor]:
    kind = torch.float16 if dtype == "float16" else torch.float32
    return {
        name: value.detach().to(kind if value.ndim == 4 else torch.float32).contiguous().cpu()
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
