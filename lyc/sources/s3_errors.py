"""What goes wrong with S3, in lyc's words: by type and code, never by text."""

from __future__ import annotations

from collections.abc import Sequence

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ResponseStreamingError,
    SSLError,
)

from lyc.errors import Failed, LycError, NotAuthorised, SpecError, Unreachable, UsageError
from lyc.records.model import ModelRef, SourceFile

_DENIED = {
    "AccessDenied", "AllAccessDisabled", "AccountProblem", "InvalidAccessKeyId", "SignatureDoesNotMatch",
    "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidSecurity", "RequestTimeTooSkewed", "401", "403",
}  # fmt: skip
_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307"}
_GONE = {"NoSuchKey", "NoSuchVersion", "PreconditionFailed", "InvalidRange", "404", "412", "416"}
_KEYS = "export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…"


class speaking:
    """Within it every error of botocore becomes one of lyc's; endpoint: as given, for the text."""

    def __init__(self, ref: ModelRef, file: SourceFile | None, endpoint: str | None) -> None:
        self._ref = ref
        self._file = file
        self._endpoint = endpoint

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ClientError):
            raise self._answered(error) from error
        if isinstance(error, BotoCoreError):
            raise self._unanswered(error) from error
        if isinstance(error, ValueError) and self._endpoint:  # how botocore refuses an endpoint that is no URL
            raise UsageError(
                "invalid-endpoint",
                f"{self._endpoint!r} is not the URL of an S3 server",
                where="--s3-endpoint",
                hint="write it like https://s3.example.eu or http://127.0.0.1:9000",
            ) from error

    @property
    def _server(self) -> str:
        return self._endpoint or "AWS"

    def _answered(self, error: ClientError) -> LycError:
        """The server said no."""
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        bucket = self._ref.location.partition("/")[0]
        if code == "NoSuchBucket":
            return SpecError(
                "no-such-bucket",
                f"there is no bucket {bucket} at {self._server}",
                where=str(self._ref),
                hint="look for a typing error, or name the server with --s3-endpoint URL",
            )
        if code in _DENIED or status in (401, 403):
            return NotAuthorised(
                "s3-denied",
                f"{self._server} denies access to {self._ref}",
                why=f"it answered {code or status}",
                where=str(self._ref),
                hint=f"{_KEYS} of a user that may list the bucket and read its objects",
            )
        if code in _REGION:
            return SpecError(
                "s3-region",
                f"the bucket {bucket} is in another region",
                why=f"it answered {code}",
                where=str(self._ref),
                hint="export AWS_REGION=the region of the bucket",
            )
        if self._file is not None and (code in _GONE or status in (404, 412, 416)):
            return changed(self._ref, self._file)
        if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
            return self._no_answer(f"it answered {code or status}")
        return self._failed(f"{self._server} answered {code or status}")

    def _unanswered(self, error: BotoCoreError) -> LycError:
        """No answer came, or nothing could be asked."""
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return NotAuthorised(
                "no-s3-credentials",
                f"there are no credentials for {self._ref}",
                why="no key is set, and this machine has no profile or role"
                if isinstance(error, NoCredentialsError)
                else "only a part of them is set",
                where=str(self._ref),
                hint=_KEYS,
            )
        if isinstance(error, ProfileNotFound):
            return NotAuthorised(
                "no-s3-profile", "AWS_PROFILE names no profile", why=str(error), hint="aws configure list-profiles"
            )
        if isinstance(error, ParamValidationError):
            return SpecError(
                "invalid-model",
                f"{self._ref} is not a valid place in S3",
                where=str(self._ref),
                hint="write s3://bucket/prefix",
            )
        if isinstance(error, SSLError):
            return self._no_answer("its certificate is not trusted; AWS_CA_BUNDLE can name the authority's")
        if isinstance(error, ConnectionError | HTTPClientError | ResponseStreamingError | IncompleteReadError):
            return self._no_answer("the connection failed or broke")
        return self._failed(type(error).__name__)

    def _failed(self, why: str) -> Failed:
        return Failed(
            "s3-failed",
            f"{self._ref} could not be read",
            why=why,
            where=str(self._ref),
            hint="check the bucket with another S3 client, and --s3-endpoint",
        )

    def _no_answer(self, why: str) -> Unreachable:
        return Unreachable(
            "s3-unreachable",
            f"{self._server} does not answer",
            why=why,
            where=str(self._ref),
            hint="check the network and --s3-endpoint, then deploy again: what was fetched is kept",
        )


def changed(ref: ModelRef, file: SourceFile) -> Failed:
    """The object is not the one that was listed."""
    return Failed(
        "source-changed",
        f"{file.path} changed while it was read",
        why="the object was written anew or removed after it was listed",
        where=f"{ref}/{file.path}",
        hint="deploy again once the upload is complete",
    )


def nothing_there(ref: ModelRef, folders: Sequence[str]) -> SpecError:
    """No object below the prefix; the folders there, if any, are named."""
    return SpecError(
        "no-such-model",
        f"there is nothing at {ref}",
        why="no object lies right below this prefix",
        where=str(ref),
        hint=f"lyc deploy {ref}/{folders[0]}" if folders else "look for a typing error in the prefix",
        detail=tuple(f"{ref}/{folder}/" for folder in folders[:20]),
    )
