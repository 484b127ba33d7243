"""Computer vision research in JAX: pure functions for models, losses, gradients and training steps."""

__version__ = "0.1.0"
