"""ketchup: staged distillation of text-generation models."""

__version__ = "0.1.0"
