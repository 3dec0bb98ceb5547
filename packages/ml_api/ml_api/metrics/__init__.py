"""Metrics for Prometheus, right over several workers; imported only if ``METRICS`` or ``METRICS_PORT`` is set.

Each worker counts in the files of its slot, which the worker that replaces it continues: see :mod:`recorder`.
"""
