"""A network that gives a soft foreground mask for one image, trained on the masks of a video teacher."""

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from tasks.artifacts import Dataset, Model, PseudoLabels, network_of
from tasks.nn.training import Optimizer
from tasks.segmentation.panoptic_inference import predicted_rows
from tasks.video.student import Activation, Crop, Side, mask_network, student_masks, train_student

Count = Annotated[int, Field(ge=1)]
_OPTIMIZER = Optimizer(name="adam", lr=1e-2, schedule="one_cycle", warmup=0.3)


def mask_student(
    dataset: Dataset,
    pseudo_labels: PseudoLabels,
    *,
    arch: Literal["basic_unet", "lowres_net", "dense_unet", "dilate_unet"] = "basic_unet",
    channels: Annotated[list[Count], Field(min_length=2)] = [16, 32, 64],  # noqa: B006  (never changed)
    stem_stride: Annotated[int, Field(ge=1, le=4)] = 1,
    dilations: Annotated[list[Count], Field(min_length=1)] = [1, 2, 4],  # noqa: B006
    growth: Annotated[list[Count], Field(min_length=2)] = [4, 8, 16],  # noqa: B006
    width: Annotated[int, Field(ge=4)] = 8,
    output: Side = 32,
    weight_std: Annotated[float, Field(gt=0)] | None = None,
    output_activation: Activation = "linear",
    input: Side | None = None,
    crop: Crop | None = None,
    flip: bool = True,
    steps: Count = 250,
    batch_size: Count = 16,
    optimizer: Optimizer = _OPTIMIZER,
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int,
) -> Model:
    """A student of VideoPCA (Croitoru, Bogolin & Leordeanu, ICCV 2017, arXiv 1703.10901): soft masks from single images.

    Mean squared error to the teacher's masks of the selected training frames. Masks are in 0..1; the published code
    regresses 0..255, a loss 65025 times as large with the same minimum. Its weight decay never enters the loss, so
    there is none here. Clips of the test split are never trained on.

    Parameters
    ----------
    arch: "lowres_net" (the paper's), "basic_unet", "dilate_unet", "dense_unet" (of the journal version, IJCV 2019).
    channels: U-Nets: widths of the levels, the last that of the centre. stem_stride: stride of the first convolution.
    dilations: of the centre of "dilate_unet". growth: channels per convolution of "dense_unet", one number per level.
    width, output, weight_std: "lowres_net": channels of its convolutions, side of its mask, deviation of its first weights
        (null: He's rule).
    output_activation: "relu" is the code's; its outputs may all die at 0, so "linear" is the default.
    input: side to which images are brought; null: `crop.size` if there are crops, else as they are ("lowres_net":
        the images' height).
    crop: {resize, size}: random crops for training; null: whole frames. flip: mirror half of the images.
    steps, batch_size, optimizer: of the training. device: where to train.

    Returns `rows` int64 [T], the samples of split `test` (of `train`, if there is none), `masks` float16 [T, H, W] in
    0..1, stretched to that range, networks["student"], curve `loss` (x: step).

    Raises ValueError if nothing is selected, a crop is larger than what it is cut from, or the outputs die.
    """
    if "masks" not in pseudo_labels.arrays or "selected" not in pseudo_labels.arrays:
        raise ValueError("pseudo_labels: arrays 'masks' and 'selected' are needed; use step 'confident_frames'")
    if crop is not None and crop.size > crop.resize:
        raise ValueError(f"crop: a crop of {crop.size} does not fit into {crop.resize}; lower size or raise resize")
    chosen = np.flatnonzero(pseudo_labels.arrays["selected"])
    if len(chosen) == 0:
        raise ValueError("pseudo_labels: no frame is selected; raise 'keep'")
    images = dataset.arrays["images"]
    if input is None and crop is not None:
        input = crop.size
    if arch == "lowres_net":
        input = input if input is not None else int(images.shape[1])
        config = {"arch": arch, "width": width, "input": input, "output": output, "weight_std": weight_std}
    else:
        config = {
            "arch": arch, "channels": channels, "stem_stride": stem_stride, "dilations": dilations, "growth": growth,
        }  # fmt: skip
    init, batches = np.random.SeedSequence(seed).spawn(2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(init.generate_state(1)[0]))
        network = mask_network(config).to(device)
    curves = train_student(
        network,
        np.asarray(images[chosen]),
        np.asarray(pseudo_labels.arrays["masks"][chosen]),
        activation=output_activation,
        crop=crop,
        size=input,
        flip=flip,
        steps=steps,
        batch_size=batch_size,
        optimizer=optimizer,
        rng=np.random.default_rng(batches),
        device=device,
    )
    rows = predicted_rows(dataset)
    masks = student_masks(network, images[rows], input, output_activation, device)
    meta = {"output_activation": output_activation, "input": input}
    return Model(
        {"curves": curves},
        {"rows": rows, "masks": masks.astype(np.float16)},
        {"student": network_of(network, network.config())},
        meta=meta,
    )
