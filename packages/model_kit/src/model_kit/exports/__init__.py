"""A trained model in the formats of others: ONNX with its preprocessing, MLflow, Azure Machine Learning."""
