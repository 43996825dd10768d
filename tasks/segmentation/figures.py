"""Pictures of panoptic segmentation: scenes, votes of clusters for classes, masks near their centroids.

Shape legend: H, W pixels, M masks, K clusters, C classes.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Rectangle

from tasks.figures import COLOURS, png, subplots

_VOID = (0.93, 0.93, 0.93)
_LINE = (1.0, 1.0, 1.0)


def class_colours(classes: int) -> np.ndarray:
    """One RGB colour per class, float64 [C + 1, 3]; the last one is void (index -1)."""
    if classes <= len(COLOURS):
        colours = [to_rgb(colour) for colour in COLOURS[:classes]]
    else:
        colours = [matplotlib.colormaps["turbo"]((c + 0.5) / classes)[:3] for c in range(classes)]
    return np.array([*colours, _VOID])


def painted(class_HW: np.ndarray, segment_HW: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Classes in their colours, RGB float64 [H, W, 3], with a line on the inner border of segments `segment_HW` > 0."""
    picture = colours[np.where((class_HW < 0) | (class_HW >= len(colours) - 1), -1, class_HW)]
    return outlined(picture, segment_HW, _LINE)


def outlined(picture_HW3: np.ndarray, segment_HW: np.ndarray, colour: Sequence[float]) -> np.ndarray:
    """The picture with lines on the inner borders of segments, whatever their numbers are."""
    edge_HW = np.zeros_like(segment_HW, dtype=bool)
    height, width = segment_HW.shape
    padded = np.pad(segment_HW, 1, constant_values=-1)
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        edge_HW |= padded[dy : dy + height, dx : dx + width] != segment_HW
    result = np.array(picture_HW3, dtype=np.float64)
    result[edge_HW & (segment_HW > 0)] = colour
    return result


def over_image(image_HW3: np.ndarray, masks_MHW: np.ndarray, colours_M3: np.ndarray) -> np.ndarray:
    """Masks in their colours on a dimmed grey image, RGB float64 [H, W, 3]."""
    grey_HW1 = image_HW3.mean(axis=2, keepdims=True) * 0.5 + 0.35
    result = np.repeat(grey_HW1, 3, axis=2)
    for mask_HW, colour in zip(masks_MHW, colours_M3, strict=True):
        result[mask_HW] = 0.25 * image_HW3[mask_HW] + 0.75 * np.asarray(colour)
        result = outlined(result, mask_HW.astype(np.int64), _LINE)
    return result


def scene_figure(
    columns: dict[str, list[np.ndarray]], class_names: Sequence[str], colours: np.ndarray, things: Sequence[int]
) -> bytes:
    """A grid of pictures, one column per title, with the colours of the classes below."""
    grid = [list(row) for row in zip(*columns.values(), strict=True)]
    height, width = grid[0][0].shape[:2]
    sheet, centres_x, _ = mosaic(grid, height, width)
    wide = 1.55 * len(columns)
    figure, axis = subplots(figsize=(wide, wide * sheet.shape[0] / sheet.shape[1] + 0.9))
    _show(axis, sheet)
    axis.set_xticks(centres_x, list(columns))
    axis.tick_params(axis="x", length=0, labeltop=True, labelbottom=False)
    names = [name + (" (thing)" if index in things else "") for index, name in enumerate(class_names)]
    patches = [Patch(color=colours[i], label=name) for i, name in enumerate(names)]
    patches.append(Patch(facecolor=colours[-1], edgecolor="0.6", label="void or unmapped"))
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 6), fontsize=8)
    return png(figure)


def mosaic(grid: list[list[np.ndarray]], height: int, width: int) -> tuple[np.ndarray, list[float], list[float]]:
    """Pictures [h, w, 3] of any size as one white sheet, each shown at height x width (nearest neighbour) with a gap.

    Returns the sheet and the middles of the columns (x) and rows (y). One image is drawn many times faster than one
    set of axes per picture.
    """
    enlarge = max(1, 160 // max(height, width))
    height, width, gap = height * enlarge, width * enlarge, 8
    rows, columns = len(grid), max(len(row) for row in grid)
    sheet = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for i, row in enumerate(grid):
        for j, picture in enumerate(row):
            ys = np.arange(height) * picture.shape[0] // height
            xs = np.arange(width) * picture.shape[1] // width
            top, left = i * (height + gap), j * (width + gap)
            sheet[top : top + height, left : left + width] = np.clip(picture[ys[:, None], xs], 0, 1)
    middles_x = [j * (width + gap) + width / 2 for j in range(columns)]
    return sheet, middles_x, [i * (height + gap) + height / 2 for i in range(rows)]


def _show(axis, sheet: np.ndarray) -> None:
    axis.imshow(sheet, interpolation="antialiased")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def vote_figure(panels: dict[str, tuple[np.ndarray, np.ndarray]], class_names: Sequence[str]) -> bytes:
    """Votes of clusters [K, C] as shares of their rows, clusters sorted by their class; the mapped class is framed."""
    most = max(len(votes_KC) for votes_KC, _ in panels.values())
    size = (1.6 + (0.55 * len(class_names) + 0.8) * len(panels), 1.6 + 0.28 * min(most, 60))
    figure, axes = subplots(1, len(panels), figsize=size, squeeze=False)
    for axis, (title, (votes_KC, classes_K)) in zip(axes[0], panels.items(), strict=True):  # type: ignore[index]
        order = np.lexsort((-votes_KC.sum(axis=1), np.where(classes_K < 0, votes_KC.shape[1], classes_K)))
        shares_KC = votes_KC / np.maximum(votes_KC.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares_KC[order], cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axis.set_xticks(range(len(class_names)), class_names, rotation=60, ha="right")
        if most <= 30:
            axis.set_yticks(range(len(order)), [str(k) for k in order])
            for y, cluster in enumerate(order):
                for c, share in enumerate(shares_KC[cluster]):
                    if votes_KC[cluster, c]:
                        ink = "white" if share > 0.5 else "black"
                        label = f"{100 * share:.0f} %" if votes_KC.max() > 999 else str(votes_KC[cluster, c])
                        axis.text(c, y, label, ha="center", va="center", fontsize=6, color=ink)
                if classes_K[cluster] >= 0:
                    frame = Rectangle(
                        (float(classes_K[cluster]) - 0.5, y - 0.5),
                        1,
                        1,
                        fill=False,
                        edgecolor=COLOURS[1],
                        linewidth=1.6,
                    )
                    axis.add_patch(frame)
        axis.set_ylabel("cluster")
        axis.set_title(title)
    return png(figure)


def centroid_figure(crops: list[list[np.ndarray]], titles: Sequence[str], colours: Sequence[Sequence[float]]) -> bytes:
    """One row per cluster: the masks nearest to its centroid, cut out, nearest first; the title is its class."""
    sheet, _, centres_y = mosaic(crops, 32, 32)
    wide = 0.55 * max(len(row) for row in crops)
    figure, axis = subplots(figsize=(wide + 1.2, wide * sheet.shape[0] / sheet.shape[1] + 0.4))
    _show(axis, sheet)
    axis.set_yticks(centres_y, list(titles))
    axis.tick_params(axis="y", length=0)
    for label, colour in zip(axis.get_yticklabels(), colours, strict=True):
        label.set_color(colour)
    axis.set_title("masks nearest to each region centroid", loc="left")
    return png(figure)


def cut_out(image_HW3: np.ndarray, mask_HW: np.ndarray, margin: int = 2) -> np.ndarray:
    """The square around a mask, pixels outside the mask faded, RGB float64."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 + 2 * margin
    top, left = (rows[0] + rows[-1] + 1 - side) // 2, (columns[0] + columns[-1] + 1 - side) // 2
    faded = np.where(mask_HW[..., None], image_HW3, 0.75 + 0.25 * image_HW3)
    picture = np.ones((side, side, 3))
    height, width = mask_HW.shape
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + side, height), min(left + side, width)
    picture[y0 - top : y1 - top, x0 - left : x1 - left] = faded[y0:y1, x0:x1]
    return picture
