"""Supervised training on tensors that lie on one device; victims, teachers and substitutes share it."""
