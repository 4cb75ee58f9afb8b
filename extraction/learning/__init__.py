"""Kinds of training that only attacks use: without labels for most images, or without images."""
