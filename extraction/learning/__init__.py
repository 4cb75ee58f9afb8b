"""Training that only attacks use: semi-supervised (MixMatch), and without data (DFME, MAZE)."""
