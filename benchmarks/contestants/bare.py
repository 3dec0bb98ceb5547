"""The least that Flask can do: a view that returns a constant. What a request costs before any model."""

from __future__ import annotations

from flask import Flask, Response

ANSWER = b'{"predictions":[181234.56789012345],"errors":null,"version":"1.0.0"}'

app = Flask("bare")


@app.post("/v1/predict/<name>")
def predict(name: str) -> Response:  # noqa: ARG001
    """The constant."""
    return Response(ANSWER, content_type="application/json")


@app.get("/health")
def health() -> Response:
    """Alive."""
    return Response(b'{"status":"ok"}', content_type="application/json")
