"""The OpenAPI document: :mod:`document` says what every route takes and answers, by what the other modules tell it.

No file here knows a model package: all that is said of a field comes from the :class:`~model_kit.spec.InputSpec`.
"""
