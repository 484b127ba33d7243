"""From a trained model to results on images of any size."""
