"""Training: data sets, evaluation, fitting, export and the bundle."""
