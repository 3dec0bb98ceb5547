"""Content that is the same for everybody until the next release: an ETag, and 304 for whoever has it."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from flask import Request, Response

#: Ask each time; the answer is 304 as long as nothing has changed.
REVALIDATE = "no-cache"
#: A year, which is as good as for ever: for addresses that change with their content.
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Content:
    """Bytes with their type and digest.

    Attributes:
        body: the bytes.
        content_type: what they are.
        digest: first 16 hex digits of their sha256.
    """

    body: bytes
    content_type: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.body).hexdigest()[:16])

    @cached_property
    def compressed(self) -> bytes:
        """The bytes in gzip, the same each time; made when they are asked for first."""
        return gzip.compress(self.body, mtime=0)

    def response(self, request: Request, cache_control: str = REVALIDATE) -> Response:
        """The content, in gzip for whoever takes that, or 304 if ``request`` comes from somebody who has it."""
        response = Response(content_type=self.content_type)
        if request.accept_encodings.quality("gzip"):
            response.data = self.compressed
            response.headers["Content-Encoding"] = "gzip"
            # Other bytes, so another tag.
            response.set_etag(f"{self.digest}-gzip")
        else:
            response.data = self.body
            response.set_etag(self.digest)
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["Cache-Control"] = cache_control
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.make_conditional(request)
        return response
