"""From a trained model to predictions for image files."""

from jaxcv.predict.images import ImagePrediction, find_images, predict_images

__all__ = ["ImagePrediction", "find_images", "predict_images"]
