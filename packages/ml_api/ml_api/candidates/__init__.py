"""Other versions of the models that are served: a shadow scores the same rows, a canary serves a share of the callers.

Each candidate is computed by a process of its own (:mod:`scorer`), which another one (:mod:`runner`) starts, watches
and feeds; gunicorn's master starts the runners (:mod:`launcher`). Workers talk to them by Unix sockets
(:mod:`shadow`, :mod:`canary`). Imported only if ``SHADOW_MODELS`` or ``CANARY_MODELS`` is set.
"""
