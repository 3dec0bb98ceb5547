"""Content that is the same for all clients until the next release, with an ETag and conditional responses."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from flask import Request, Response

#: Revalidate each time; the response is 304 until the content changes.
REVALIDATE = "no-cache"
#: Cache for a year: for URLs that change with their content.
IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Content:
    """Bytes with their content type and digest.

    Attributes:
        body: the bytes.
        content_type: their media type.
        digest: first 16 hex digits of their sha256.
    """

    body: bytes
    content_type: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.body).hexdigest()[:16])

    @cached_property
    def compressed(self) -> bytes:
        """The bytes compressed with gzip, deterministically; computed on first use."""
        return gzip.compress(self.body, mtime=0)

    def response(self, request: Request, cache_control: str = REVALIDATE) -> Response:
        """Return the content, compressed if the client accepts gzip, or 304 if the client's copy is current."""
        response = Response(content_type=self.content_type)
        if request.accept_encodings.quality("gzip"):
            response.data = self.compressed
            response.headers["Content-Encoding"] = "gzip"
            # Other bytes need another ETag.
            response.set_etag(f"{self.digest}-gzip")
        else:
            response.data = self.body
            response.set_etag(self.digest)
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["Cache-Control"] = cache_control
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.make_conditional(request)
        return response
