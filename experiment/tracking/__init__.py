"""Where curves are followed beside a cell's own files: Weights & Biases, TensorBoard, MLflow, CSV files."""
