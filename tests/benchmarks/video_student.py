"""Seconds per frame of the video teacher and of its single-image students: `python tests/benchmarks/video_student.py`.

One clip of eight frames at the given sizes, one thread, best of several runs. The teacher needs the whole clip (principal
components, colour model, masks), a student one frame. Networks have random weights, which cost as much as trained ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from tasks.cluster.color_foreground_model import color_foreground_model
from tasks.nn.lowres_net import LowResNet
from tasks.nn.mask_unets import MaskUnet
from tasks.prepare.moving_objects import moving_objects
from tasks.pretrain.video_pca import video_pca
from tasks.pseudo_label.confident_frames import confident_frames
from tasks.video.student import student_masks

FRAMES = 8


def best_seconds(work: Callable[[], object], repeats: int) -> float:
    """The shortest of several runs."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def measure(size: int, repeats: int) -> dict[str, float]:
    """Milliseconds per frame of the teacher and of three students."""
    clip = moving_objects(n_clips_train=1, n_clips_test=0, frames=FRAMES, image_size=size, still_train=0)
    blur = 5 * size / 300

    def teacher() -> None:
        clusters = color_foreground_model(clip, video_pca(clip), bins=[100, 25, 10], seed_blur=blur)
        confident_frames(clip, clusters, seed=0)

    side = size // 16 * 16
    frames = np.asarray(clip.arrays["images"])[:, :side, :side]
    students = {
        "small U-Net": (MaskUnet("basic_unet", [16, 32, 64], stem_stride=2), None),
        "LowRes-Net, width 8": (LowResNet(8, 64, 32), 64),
        "LowRes-Net, width 256 (paper)": (LowResNet(256, 128, 32), 128),
    }
    found = {"teacher": best_seconds(teacher, repeats)}
    for name, (network, input_size) in students.items():
        found[name] = best_seconds(lambda n=network, s=input_size: student_masks(n, frames, s, "linear"), repeats)
    return {name: 1000 * seconds / FRAMES for name, seconds in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 300])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    columns = [measure(size, arguments.repeats) for size in arguments.sizes]
    print("| ms per frame | " + " | ".join(f"{size} x {size}" for size in arguments.sizes) + " |")
    print("|---|" + "---|" * len(columns))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:.1f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
