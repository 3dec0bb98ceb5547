"""New model packages: inferred from a table of data, or made of an estimator in a notebook."""
