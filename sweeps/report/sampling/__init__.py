"""How sure figures are: by the test images they are measured on, and by few yes and no."""
