"""From a trained model to predictions for image files."""

from jaxcv.predict.images import find_images, predict_files

__all__ = ["find_images", "predict_files"]
