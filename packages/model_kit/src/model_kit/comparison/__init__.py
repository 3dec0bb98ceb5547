"""The gate between versions: what a new model changes, whether it may, and what would break a client.

``sources`` finds the two models, ``scorer`` runs each with its own code in a process of its own (``worker``),
``measure`` and ``contract`` say what differs, ``gate`` judges, ``run`` does it all; ``text`` and ``html`` show it.
"""
