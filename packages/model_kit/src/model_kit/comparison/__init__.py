"""Compares two versions of a model and judges the differences by thresholds.

``sources`` finds the models, ``scorer`` runs each with its own code in its own process (``worker``), ``measure`` and
``compatibility`` compare predictions and specs, ``gate`` judges, ``run`` combines them; ``text`` and ``html`` report.
"""
