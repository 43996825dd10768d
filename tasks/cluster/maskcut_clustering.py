"""Object masks and dense clusters of U2Seg.

Shape legend: n images, M masks, H, W pixels, h, w patch grid, D features.
"""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from threadpoolctl import threadpool_limits

from tasks import progress
from tasks.artifacts import Checkpoint, Clusters, Dataset, Representation, network_of
from tasks.clustering.kmeans import assign, fit_kmeans
from tasks.curves import curve_table
from tasks.segmentation.dense_crf import DenseCRF
from tasks.segmentation.maskcut import maskcut as cut_image
from tasks.segmentation.region_features import crop_cls, masked_means, upsample
from tasks.segmentation.stego import Stego, fit_stego, stego_clusters

ClusterCount = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
_REPORT_EVERY = 20


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MaskCut(_Group):
    """Cuts per image and what counts as an object.

    `n_masks`: cuts, so at most that many masks. `tau`: cosine above which patches are alike; calibrate it for each
    kind of feature. `max_corners`, `max_area`: a mask with more corners of the image, or more of its area, is
    background. `min_area`: smaller masks are dropped, from the second cut on. `crf`: refine masks with a dense CRF.
    """

    n_masks: Annotated[int, Field(ge=1)] = 3
    tau: Annotated[float, Field(gt=-1, lt=1)] = 0.15
    max_corners: Annotated[int, Field(ge=0, le=4)] = 4
    max_area: Share = 1.0
    min_area: Share = 0.01
    crf: bool = False


class Regions(_Group):
    """Clustering of the masks: k-means on the mean of the features under a mask, or on the CLS token of its crop."""

    step: Literal["kmeans"] = "kmeans"
    n_clusters: ClusterCount = 800
    embed: Literal["masked_mean", "cls"] = "cls"
    n_init: Annotated[int, Field(ge=1)] = 1
    n_iter: Annotated[int, Field(ge=1)] = 100


class Dense(_Group):
    """Clustering of all patches: k-means on their features, or STEGO (settings in `stego`)."""

    step: Literal["kmeans", "stego"] = "stego"
    n_clusters: ClusterCount = 27
    n_init: Annotated[int, Field(ge=1)] = 1
    n_iter: Annotated[int, Field(ge=1)] = 25
    stego: Stego = Stego()


def maskcut_clustering(
    dataset: Dataset,
    checkpoint: Checkpoint,
    representation: Representation,
    *,
    maskcut: MaskCut,
    regions: Regions,
    dense: Dense,
    seed: int,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Clusters:
    """Things and stuff without labels (U2Seg: Niu et al., CVPR 2024, arXiv 2312.17243, section 3.1-3.2).

    Things: MaskCut (arXiv 2301.11320) finds masks image by image; k-means over the masks of the data set gives each
    a category. Stuff: every pixel gets one of the dense clusters. Masks and dense clusters are made for all images;
    what is fitted, k-means and STEGO, is fitted on split `train` and applied to the others. Masks do not depend on
    the seed.

    Parameters
    ----------
    maskcut: {n_masks, tau, max_corners, max_area, min_area, crf}.
    regions: {step: kmeans, n_clusters, embed: masked_mean or cls, n_init, n_iter}; K_T = n_clusters.
    dense: {step: kmeans or stego, n_clusters, n_init, n_iter, stego: {...}}; K_S = n_clusters.
    seed: of k-means and STEGO. device: of STEGO and of the CLS embedding.

    Returns table `units`, one row per mask (`unit`, `cluster` 0..K_T-1, `sample`, `area` in pixels); arrays `masks`
    bool [M, H, W] at the size of the images, `dense` int16 [n, H, W] in 0..K_S-1, `region_embedding` float32 [M, D],
    `region_centroids` float32 [K_T, D], `dense_centroids` float32 [K_S, D] (STEGO: of its code), `eigenvectors`
    float32 [n, h, w] of each image's first cut; meta `thing_clusters` K_T, `stuff_clusters` K_S, `embed` (of the
    regions). STEGO adds its head as networks["stego"] and the curve `stego_loss`.

    Raises ValueError: representation without grid or of other images, no mask in split train, more clusters than masks
    or patches, tau outside (-1, 1), CRF on images that are not uint8.
    """
    rows = dataset.rows("train")
    features_nhwD, grid = _feature_maps(dataset, representation)
    images = dataset.arrays["images"]
    height, width = images.shape[1:3]
    # Threads slow eigenproblems of this size down many times, and need not give the same bits.
    with threadpool_limits(1, user_api="blas"):
        masks_MHW, owner_M, eigenvectors = _all_masks(images, features_nhwD, maskcut)
    fitted_M = np.isin(owner_M, rows)
    if not fitted_M.any():
        raise ValueError(f"maskcut: no mask in all {len(rows)} images of split train; calibrate tau ({maskcut.tau})")
    if regions.n_clusters > fitted_M.sum():
        raise ValueError(
            f"regions.n_clusters: {regions.n_clusters} is more than the {fitted_M.sum()} masks of split train; lower it"
        )
    if regions.embed == "cls":
        size = (grid[0] * int(representation.meta["patch"]), grid[1] * int(representation.meta["patch"]))
        embedding_MD = crop_cls(masks_MHW, owner_M, images, checkpoint, size, device)
    else:
        embedding_MD = masked_means(masks_MHW, owner_M, features_nhwD)
    region_seed, dense_seed = (int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(2))
    fit = fit_kmeans(
        embedding_MD[fitted_M], regions.n_clusters, n_iter=regions.n_iter, n_init=regions.n_init, seed=region_seed
    )
    clusters = Clusters(
        {
            "units": pd.DataFrame(
                {
                    "unit": np.arange(len(owner_M)),
                    "cluster": assign(embedding_MD, fit.centroids),
                    "sample": owner_M,
                    "area": masks_MHW.sum(axis=(1, 2)),
                }
            )
        },
        {
            "masks": masks_MHW,
            "region_embedding": embedding_MD,
            "region_centroids": fit.centroids,
            "eigenvectors": eigenvectors,
        },
        meta={"thing_clusters": regions.n_clusters, "stuff_clusters": dense.n_clusters, "embed": regions.embed},
    )
    if dense.step == "kmeans":
        dense_nHW, centroids = _dense_kmeans(features_nhwD, rows, dense, dense_seed, height, width)
    else:
        head, probe, losses = fit_stego(features_nhwD, rows, dense.n_clusters, dense.stego, dense_seed, device)
        dense_nHW, centroids = stego_clusters(head, probe, features_nhwD, height, width), probe.cpu().numpy()
        config = {"dim": features_nhwD.shape[-1], "code": dense.stego.code, "dropout": dense.stego.dropout}
        clusters.networks["stego"] = network_of(head, config)
        clusters.tables["curves"] = curve_table("stego_loss", range(1, len(losses) + 1), losses)
    clusters.arrays |= {"dense": dense_nHW, "dense_centroids": centroids}
    return clusters


def _feature_maps(dataset: Dataset, representation: Representation) -> tuple[np.ndarray, tuple[int, int]]:
    """Patch features as [n, h, w, D], with the grid."""
    if "grid" not in representation.meta:
        raise ValueError("representation: needs meta 'grid', one unit per patch; use step dino_features")
    height, width = representation.meta["grid"]
    n = len(dataset.samples)
    embedding = representation.arrays["embedding"]
    if len(embedding) != n * height * width:
        raise ValueError(f"representation: {len(embedding)} units are not {n} images of {height}x{width} patches")
    return embedding.reshape(n, height, width, -1), (height, width)


def _all_masks(
    images: np.ndarray, features_nhwD: np.ndarray, settings: MaskCut
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks bool [M, H, W], their images int64 [M], eigenvectors float32 [n, h, w]."""
    n, height, width = images.shape[:3]
    cuts_settings = settings.model_dump(exclude={"crf"})
    masks, owner = [], []
    eigenvectors = np.zeros(features_nhwD.shape[:3], dtype=np.float32)
    for image in range(n):
        cuts = cut_image(features_nhwD[image], **cuts_settings)
        eigenvectors[image] = cuts.eigenvector
        found = [upsample(mask_hw, height, width) for mask_hw in cuts.masks]
        if settings.crf and found:
            crf = DenseCRF(np.asarray(images[image]))
            found = [refined for mask_HW in found if (refined := crf.refine(mask_HW)) is not None]
        masks += found
        owner += [image] * len(found)
        if (image + 1) % _REPORT_EVERY == 0 or image + 1 == n:
            progress.report(image + 1, n, masks=len(masks))
    stack = np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool)
    return stack, np.array(owner, dtype=np.int64), eigenvectors


def _dense_kmeans(
    features_nhwD: np.ndarray, rows: np.ndarray, settings: Dense, seed: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster of each pixel int16 [n, H, W], that of its patch, and the centroids [K_S, D]."""
    n, h, w, dim = features_nhwD.shape
    fit = fit_kmeans(
        features_nhwD[rows].reshape(-1, dim),
        settings.n_clusters,
        n_iter=settings.n_iter,
        n_init=settings.n_init,
        seed=seed,
    )
    labels_nhw = assign(features_nhwD.reshape(-1, dim), fit.centroids).reshape(n, h, w)
    return upsample(labels_nhw, height, width).astype(np.int16), fit.centroids
