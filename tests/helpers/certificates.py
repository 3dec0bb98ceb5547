"""Certificates that sign themselves, made with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_certificate(certificate: Path, key: Path, name: str) -> None:
    """Write a certificate for two days, and its key, as PEM.

    Args:
        name: whom it is for, as X.509 has it: ``DNS:api.example.com``, ``IP:127.0.0.1``.
    """
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name.partition(':')[2]}", "-addext", f"subjectAltName={name}"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
