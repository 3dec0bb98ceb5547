"""The prediction log: what was asked and answered, by which model, and what came true. Needs ``ml-api[log]``.

Nothing imports this package unless ``PREDICTION_LOG`` is set, or a command of ``ml-api`` is about the log.
"""
