"""Supervised training on tensors that live on one device; shared by victims, teachers and substitutes."""
