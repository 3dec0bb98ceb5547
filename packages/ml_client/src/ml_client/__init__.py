"""Client of ml_api: DataFrames, records and iterators in, predictions aligned with them out."""

from ml_client.async_client import AsyncClient
from ml_client.client import Client
from ml_client.errors import (
    AuthenticationError,
    BadRequestError,
    DataError,
    InvalidResponseError,
    MLClientError,
    NoResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ResponseError,
    ServerError,
    TooLargeError,
    UnavailableError,
    UnsupportedMediaTypeError,
)
from ml_client.outcomes import OutcomeResult, Outcomes
from ml_client.predictions import Predictions, Row

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "DataError",
    "InvalidResponseError",
    "MLClientError",
    "NoResponseError",
    "NotFoundError",
    "OutcomeResult",
    "Outcomes",
    "PermissionDeniedError",
    "Predictions",
    "RateLimitError",
    "ResponseError",
    "Row",
    "ServerError",
    "TooLargeError",
    "UnavailableError",
    "UnsupportedMediaTypeError",
]
