"""Pictures of foreground masks from video: a clip's way from frame to student, and what the selection picks.

Shape legend: H, W pixels, F frames.
"""

from __future__ import annotations

import matplotlib
import numpy as np

from tasks.figures import COLOURS, png, subplots
from tasks.segmentation.figures import mosaic


def heat(map_HW: np.ndarray) -> np.ndarray:
    """A map in 0..1 as RGB float64 [H, W, 3]."""
    return matplotlib.colormaps["magma"](np.clip(map_HW, 0, 1))[..., :3]


def black_and_white(mask_HW: np.ndarray) -> np.ndarray:
    return np.repeat(mask_HW.astype(np.float64)[..., None], 3, axis=2)


def masks_figure(rows: dict[str, list[np.ndarray]], titles: list[str]) -> bytes:
    """One row of pictures [H, W, 3] per name, a title above each column."""
    grid = list(rows.values())
    height, width = grid[0][0].shape[:2]
    sheet, middles_x, middles_y = mosaic(grid, height, width)
    wide = 1.35 * len(titles)
    figure, axis = subplots(figsize=(wide + 0.9, wide * sheet.shape[0] / sheet.shape[1] + 0.5))
    axis.imshow(sheet, interpolation="antialiased")
    axis.set_xticks(middles_x, titles)
    axis.set_yticks(middles_y, list(rows))
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    return png(figure)


def selection_figure(score_F: np.ndarray, iou_F: np.ndarray, selected_F: np.ndarray) -> bytes:
    """The selection score of the training frames against the true IoU of their teacher masks."""
    figure, axis = subplots(figsize=(5.2, 3.4))
    for chosen, colour, name in ((False, "#9aa0a6", "left out"), (True, COLOURS[1], "selected")):
        shown = selected_F == chosen
        mean = f", mean IoU {iou_F[shown].mean():.2f}" if shown.any() else ""
        axis.plot(score_F[shown], iou_F[shown], ".", color=colour, markersize=3, alpha=0.6, label=f"{name}{mean}")
    if selected_F.any():
        axis.axvspan(float(score_F[selected_F].min()), float(score_F.max()), color=COLOURS[1], alpha=0.08, linewidth=0)
    axis.set(xlabel="score: mean of the mask's non-zero pixels", ylabel="IoU of the teacher mask")
    axis.set_title("training frames: the score needs no label")
    axis.legend(markerscale=3)
    return png(figure)


def split_figure(groups: dict[str, dict[str, np.ndarray]]) -> bytes:
    """IoU by group of test frames, teacher beside the arm's masks: means, and the spread over frames as quartiles."""
    figure, axis = subplots(figsize=(1.6 + 1.4 * len(groups), 3.2))
    names = list(next(iter(groups.values())))
    for index, name in enumerate(names):
        values = [group[name] for group in groups.values()]
        places = np.arange(len(groups)) + (index - (len(names) - 1) / 2) * 0.36
        colour = COLOURS[0] if index == len(names) - 1 else "#c8ccd0"
        axis.bar(places, [v.mean() for v in values], 0.34, color=colour, label=name)
        for place, v in zip(places, values, strict=True):
            low, high = np.quantile(v, (0.25, 0.75))
            axis.plot([place, place], [low, high], color="black", linewidth=1, alpha=0.6)
    axis.set_xticks(range(len(groups)), [f"{group}\n({len(v[names[0]])} frames)" for group, v in groups.items()])
    axis.set(ylabel="IoU", ylim=(0, 1))
    axis.set_title("mean over test frames; lines: quartiles")
    axis.legend()
    return png(figure)
