"""Mask2Former as a panoptic network on pseudo-labels: things and stuff are queries of one set.

Shape legend: B images, Q queries, N masks of one image, H, W pixels, h, w mask-logit pixels, L labels (K_T + K_S).
"""

from typing import Annotated, Any, Literal

import numpy as np
import torch
import transformers
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig, SwinConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from tasks.segmentation.copy_paste import Batch
from tasks.segmentation.panoptic_inference import Prediction
from tasks.segmentation.regions import box_iou, boxes_of

Size = Annotated[int, Field(ge=1)]
IGNORED = 255
_DROPPED_IOU = 0.01


class QueryNetworkSettings(BaseModel):
    """Architecture of Mask2Former (Cheng et al., CVPR 2022, arXiv 2112.01527), randomly initialised.

    `backbone` with `depths` and `widths` per stage; `hidden`: width of decoder and masks, a multiple of 32; `queries`: most segments
    per image; `layers`: of pixel decoder and mask decoder; `heads` of attention; `points`: pixels sampled for the
    mask losses; `lambda_semantic`: weight of the per-pixel cross-entropy beside Mask2Former's own losses.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    backbone: Literal["resnet", "swin"] = "resnet"
    depths: Annotated[list[Size], Field(min_length=4, max_length=4)] = [3, 4, 6, 3]
    widths: Annotated[list[Size], Field(min_length=4, max_length=4)] = [256, 512, 1024, 2048]
    hidden: Annotated[int, Field(ge=32, multiple_of=32)] = 256
    queries: Size = 100
    layers: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)] = [6, 9]
    heads: Size = 8
    points: Size = 12544
    lambda_semantic: Annotated[float, Field(ge=0)] = 0.5


class QueryNetwork(nn.Module):
    """`transformers.Mask2FormerForUniversalSegmentation` with the interface of `CentreNetwork`.

    Labels 0..K_T-1 are thing clusters, K_T.. stuff clusters. `semantic=False` leaves the stuff out.
    """

    def __init__(self, things: int, stuff: int, settings: QueryNetworkSettings, drop_loss: bool, seed: int):
        super().__init__()
        self.things, self.stuff, self.settings, self.drop_loss = things, stuff, settings, drop_loss
        self.network = Mask2FormerForUniversalSegmentation(query_network_config(things + stuff, settings))
        if drop_loss:
            self.network.criterion = DropLoss(self.network.config, self.network.weight_dict, things)
        self._seeds = np.random.default_rng(np.random.SeedSequence(seed))

    def config(self) -> dict:
        """The configuration of the transformers network, and how its labels are to be read."""
        return {**self.network.config.to_dict(), "thing_clusters": self.things, "stuff_clusters": self.stuff}

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Weighted class, mask and dice losses (all decoder layers), and `lambda_semantic` times the cross-entropy of the
        per-pixel label distribution over labelled pixels.

        Void pixels belong to no mask; Mask2Former has no ignored pixels in its mask losses.
        """
        device = self.network.class_predictor.weight.device
        images_BCHW = torch.from_numpy(batch.images_BHWC).permute(0, 3, 1, 2).contiguous().to(device)
        masks, labels = zip(*(self._targets(batch, image, device) for image in range(len(images_BCHW))), strict=True)
        # The mask losses sample points from torch's global state.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(self._seeds.integers(2**31)))
            output = self.network(images_BCHW - 0.5, output_auxiliary_logits=True)
            # Its annotations say tensor where it takes lists.
            loss_of: Any = self.network.get_loss_dict
            logits = output.masks_queries_logits, output.class_queries_logits
            terms = loss_of(*logits, list(masks), list(labels), output.auxiliary_logits)
        losses = {}
        for name, title in (("loss_cross_entropy", "class"), ("loss_mask", "mask"), ("loss_dice", "dice")):
            losses[title] = torch.stack([v for k, v in terms.items() if k.startswith(name)]).sum()
        if self.settings.lambda_semantic and self.stuff:
            losses["semantic"] = self.settings.lambda_semantic * self._semantic_loss(output, batch, device)
        return losses

    @torch.no_grad()
    def predict(self, images_BHWC: np.ndarray) -> list[Prediction]:
        """Instances and stuff of images float32 0..1 [B, H, W, C], in evaluation mode."""
        was_training = self.training
        self.eval()
        device = self.network.class_predictor.weight.device
        images_BCHW = torch.from_numpy(images_BHWC).permute(0, 3, 1, 2).contiguous().to(device)
        output = self.network(images_BCHW - 0.5)
        self.train(was_training)
        probability_BQL = torch.softmax(output.class_queries_logits, dim=2).cpu()
        masks_BQHW = F.interpolate(
            output.masks_queries_logits, images_BCHW.shape[2:], mode="bilinear", align_corners=False
        )
        pairs = zip(probability_BQL, torch.sigmoid(masks_BQHW).cpu(), strict=True)
        return [decode_queries(p_QL, mask_QHW, self.things, self.stuff) for p_QL, mask_QHW in pairs]

    def _targets(self, batch: Batch, image: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        instance_HW, semantic_HW = batch.instance_BHW[image], batch.semantic_BHW[image]
        masks, labels = [], []
        for number in np.unique(instance_HW[instance_HW > 0]):
            mask_HW = instance_HW == number
            masks.append(mask_HW)
            labels.append(0 if self.things == 1 else int(batch.category_BHW[image][mask_HW][0]))
        for target in np.unique(semantic_HW[(semantic_HW > 0) & (semantic_HW != IGNORED)]) if self.stuff else []:
            masks.append(semantic_HW == target)
            labels.append(self.things + int(target) - 1)
        empty = np.zeros((0, *instance_HW.shape), dtype=np.float32)
        stacked = np.stack(masks).astype(np.float32) if masks else empty
        return torch.from_numpy(stacked).to(device), torch.tensor(labels, dtype=torch.int64, device=device)

    def _semantic_loss(self, output, batch: Batch, device: torch.device) -> torch.Tensor:
        probability_BQL = torch.softmax(output.class_queries_logits, dim=2)[..., :-1]
        evidence_BLhw = torch.einsum("bql,bqhw->blhw", probability_BQL, torch.sigmoid(output.masks_queries_logits))
        evidence_BLHW = F.interpolate(evidence_BLhw, batch.semantic_BHW.shape[1:], mode="bilinear", align_corners=False)
        # All thing clusters are one class of the semantic target.
        merged_BSHW = torch.cat(
            [evidence_BLHW[:, : self.things].sum(dim=1, keepdim=True), evidence_BLHW[:, self.things :]], 1
        )
        log_BSHW = torch.log(merged_BSHW + 1e-6) - torch.log(merged_BSHW.sum(dim=1, keepdim=True) + 1e-6)
        target_BHW = torch.from_numpy(batch.semantic_BHW.astype(np.int64)).to(device)
        labelled = (target_BHW != IGNORED).sum().clamp(min=1)
        return F.nll_loss(log_BSHW, target_BHW, ignore_index=IGNORED, reduction="sum") / labelled


class DropLoss(Mask2FormerLoss):
    """Mask2Former's loss without the penalty on queries that found something the pseudo-masks miss.

    CutLER (arXiv 2301.11320, section 3.3) gives weight 0 to proposals whose box overlaps every pseudo-mask by IoU <= 0.01.
    Here these are the unmatched queries: their "no object" term is dropped. Only thing masks count.
    """

    def __init__(self, config: Mask2FormerConfig, weight_dict: dict[str, float], things: int):
        super().__init__(config, weight_dict)
        self.things = things
        self._masks: tuple[torch.Tensor, list[torch.Tensor]] | None = None

    def forward(
        self, masks_queries_logits, class_queries_logits, mask_labels, class_labels, auxiliary_predictions=None
    ):
        self._masks = (masks_queries_logits.detach(), mask_labels)
        return super().forward(
            masks_queries_logits, class_queries_logits, mask_labels, class_labels, auxiliary_predictions
        )

    def loss_labels(self, class_queries_logits, class_labels, indices):
        """Cross-entropy over queries, a dropped query with weight 0."""
        assert self._masks is not None
        images, queries, labels = class_queries_logits.shape
        target_BQ = torch.full((images, queries), labels - 1, device=class_queries_logits.device)
        weight_BQ = torch.ones(images, queries, device=class_queries_logits.device)
        for image, (query, truth) in enumerate(indices):
            things_N = class_labels[image] < self.things
            overlap_Q = overlap_with_masks(self._masks[0][image], self._masks[1][image][things_N])
            weight_BQ[image] = (overlap_Q > _DROPPED_IOU).to(weight_BQ)
            weight_BQ[image, query] = 1.0
            target_BQ[image, query] = class_labels[image][truth]
        weight_BQ = weight_BQ * self.empty_weight[target_BQ]
        terms_BQ = F.cross_entropy(class_queries_logits.transpose(1, 2), target_BQ, reduction="none")
        return {"loss_cross_entropy": (weight_BQ * terms_BQ).sum() / weight_BQ.sum().clamp(min=1e-6)}


def overlap_with_masks(logits_Qhw: torch.Tensor, masks_NHW: torch.Tensor) -> torch.Tensor:
    """Highest box IoU float64 [Q] of every query's mask (logit > 0) with any mask; boxes in shares of the image."""
    if len(masks_NHW) == 0:
        return torch.zeros(len(logits_Qhw), dtype=torch.float64)
    boxes = []
    for masks in (logits_Qhw > 0, masks_NHW > 0.5):
        height, width = masks.shape[1:]
        boxes.append(boxes_of(masks.cpu().numpy()) / np.array([height, width, height, width]))
    return torch.from_numpy(box_iou(boxes[0], boxes[1]).max(axis=1))


def decode_queries(probability_QL: torch.Tensor, masks_QHW: torch.Tensor, things: int, stuff: int) -> Prediction:
    """Thing queries as detections (score = label probability x mean mask probability), stuff by arg-max of the evidence."""
    best_Q = probability_QL.argmax(dim=1)
    height, width = masks_QHW.shape[1:]
    binary_QHW = masks_QHW > 0.5
    kept = [q for q in range(len(best_Q)) if best_Q[q] < things and binary_QHW[q].any()]
    scores = [float(probability_QL[q, best_Q[q]] * masks_QHW[q][binary_QHW[q]].mean()) for q in kept]
    evidence_LHW = torch.einsum("ql,qhw->lhw", probability_QL[:, :-1], masks_QHW)
    thing_HW = evidence_LHW[:things].argmax(dim=0).numpy().astype(np.int16)
    stuff_HW = np.full((height, width), -1, dtype=np.int16)
    if stuff:
        above_HW = (evidence_LHW[things:].max(dim=0).values > evidence_LHW[:things].sum(dim=0)).numpy()
        stuff_HW = np.where(above_HW, evidence_LHW[things:].argmax(dim=0).numpy(), -1).astype(np.int16)
    return Prediction(
        binary_QHW[kept].numpy() if kept else np.zeros((0, height, width), dtype=bool),
        best_Q[kept].numpy().astype(np.int64) if kept else np.zeros(0, dtype=np.int64),
        np.clip(np.array(scores, dtype=np.float64), 0, 1),
        stuff_HW,
        np.where(stuff_HW >= 0, -1, thing_HW).astype(np.int16),
    )


def query_network_config(labels: int, settings: QueryNetworkSettings) -> Mask2FormerConfig:
    """The `transformers` configuration that `settings` describes."""
    stages = ["stage1", "stage2", "stage3", "stage4"]
    # Their constructors take keywords of the base classes, which type checkers do not see.
    resnet: Any = ResNetConfig
    swin: Any = SwinConfig
    mask2former: Any = Mask2FormerConfig
    if settings.backbone == "resnet":
        backbone = resnet(
            embedding_size=max(settings.widths[0] // 4, 1),
            hidden_sizes=list(settings.widths),
            depths=list(settings.depths),
            out_features=stages,
        )
    else:
        if any(width != settings.widths[0] * 2**stage for stage, width in enumerate(settings.widths)):
            raise ValueError(f"query_network.widths: {settings.widths}, but swin doubles its width at every stage")
        heads = [max(1, width // 32) for width in settings.widths]
        backbone = swin(
            embed_dim=settings.widths[0], depths=list(settings.depths), num_heads=heads, out_features=stages
        )
    # transformers warns that only swin was used by the authors; the paper itself also reports ResNet-50.
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        return mask2former(
            backbone_config=backbone,
            feature_size=settings.hidden,
            mask_feature_size=settings.hidden,
            hidden_dim=settings.hidden,
            encoder_feedforward_dim=4 * settings.hidden,
            dim_feedforward=8 * settings.hidden,
            encoder_layers=settings.layers[0],
            decoder_layers=settings.layers[1] + 1,
            num_attention_heads=settings.heads,
            num_queries=settings.queries,
            train_num_points=settings.points,
            num_labels=labels,
        )
    finally:
        transformers.logging.set_verbosity(verbosity)
