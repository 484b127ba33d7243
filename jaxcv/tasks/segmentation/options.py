"""The options of `jaxcv predict` for a run that segments."""

from __future__ import annotations

from dataclasses import dataclass

from jaxcv.tasks.segmentation.inference import Inference


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """How the model is applied to an image.

    Attributes:
        window: Cover the image by windows of HEIGHT WIDTH, at the scale of training.
        overlap: Smallest fraction of a window that its neighbour covers too.
        scales: Average over these scales of the image.
        flip: Average over the image and its mirror image.
    """

    window: tuple[int, int] | None = None
    overlap: float = 0.5
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def inference(self) -> Inference:
        """The same for `segment_files`."""
        return Inference(
            window=self.window, overlap=self.overlap, scales=self.scales, flip=self.flip
        )
