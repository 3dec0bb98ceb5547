"""The OpenAPI document: :mod:`document` assembles it from the paths, components and examples of the other modules.

It depends on no model package: every description of a field comes from the :class:`~model_kit.spec.InputSpec`.
"""
