"""What botocore raises becomes the ObjectError that says which variable to look at."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import aiohttp
import botocore.exceptions as boto
import botocore.parsers

from lakeray.errors import (
    AccessDenied,
    ObjectChanged,
    ObjectError,
    ObjectNotFound,
    StoreUnavailable,
)
from lakeray.objects.contact import BucketNotFound, OutOfRange, Verdict, unreachable
from lakeray.objects.s3_settings import S3Settings
from lakeray.objects.uris import bucket_and_key

_THROTTLED: Final = {
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "RequestThrottled",
    "429",
}
_BUSY: Final = {
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "ConditionalRequestConflict",
    "OperationAborted",
    "BadDigest",
    "IncompleteBody",
}
_REGION: Final = {
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "TemporaryRedirect",
    "301",
    "InvalidRegion",
}
_CREDENTIALS: Final = {
    "InvalidAccessKeyId": "AWS_ACCESS_KEY_ID is not known there",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID",
    "ExpiredToken": "the credentials have expired: renew them, AWS_SESSION_TOKEN with them",
    "InvalidToken": "AWS_SESSION_TOKEN is wrong: renew it, or unset it for long-lived keys",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "AuthFailure": "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
_MISSING: Final = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


def judge(settings: S3Settings, uri: str, error: BaseException) -> Verdict:
    """The verdict on what a call about ``uri`` raised."""
    cause = error
    while not isinstance(cause, (boto.ClientError, boto.BotoCoreError)) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, boto.ClientError):
        return _answer(settings, uri, cause)
    if isinstance(cause, ObjectError):
        return Verdict(error=cause)
    return _silence(settings, uri, cause)


def _endpoint(settings: S3Settings) -> str:
    return settings.endpoint or f"Amazon S3 ({settings.region})"


def _answer(settings: S3Settings, uri: str, error: boto.ClientError) -> Verdict:
    """The endpoint spoke."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    where = _endpoint(settings)
    if code in _THROTTLED or status == HTTPStatus.TOO_MANY_REQUESTS:
        slow = StoreUnavailable(f"{where} keeps asking to slow down, {uri}", hint="lower the parallelism", uri=uri)
        return Verdict(error=slow, retry=True, throttled=True)
    if code in _CREDENTIALS:
        return Verdict(
            error=AccessDenied(f"{where} refused the credentials for {uri}", hint=_CREDENTIALS[code], uri=uri)
        )
    if code in _REGION or status == HTTPStatus.MOVED_PERMANENTLY:
        hint = f"set AWS_REGION to the bucket's own region (it is {settings.region} now)"
        return Verdict(error=StoreUnavailable(f"{uri} is in another region", hint=hint, uri=uri))
    if code in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        broken = StoreUnavailable(
            f"{where} answers {status or code} for {uri}",
            hint="is AWS_ENDPOINT_URL right, and the server well?",
            uri=uri,
        )
        return Verdict(error=broken, answered=False, retry=True)
    return Verdict(error=_final(settings, uri, code, status))


def _final(settings: S3Settings, uri: str, code: str, status: int) -> ObjectError:  # noqa: PLR0911 - a table
    bucket, _ = bucket_and_key(uri)
    where = _endpoint(settings)
    if code == "NoSuchBucket":
        hint = "create it, or check its name, AWS_ENDPOINT_URL and AWS_REGION"
        return BucketNotFound(f"{uri}: there is no bucket {bucket} at {where}", hint=hint, uri=uri)
    if code == "InvalidRange" or status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return OutOfRange(f"{uri} ends before that offset", hint="ask for bytes that it has", uri=uri)
    if code in ("PreconditionFailed", "412") or status == HTTPStatus.PRECONDITION_FAILED:
        return ObjectChanged(
            f"{uri} is no longer the version that was listed", hint="the next discovery finds it anew", uri=uri
        )
    if code in ("NoSuchKey", "NoSuchVersion", "NoSuchUpload", "NotFound", "404") or status == HTTPStatus.NOT_FOUND:
        return ObjectNotFound(
            f"{uri} does not exist at {where}",
            hint="check bucket and key (both are case-sensitive), and AWS_ENDPOINT_URL",
            uri=uri,
        )
    if code in ("AccessDenied", "AllAccessDisabled", "AccountProblem", "403") or status in (
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
    ):
        who = settings.key or settings.profile or "these credentials"
        hint = (
            f"check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the policy of {who} must allow s3:ListBucket, "
            f"s3:GetObject and s3:PutObject on {bucket}"
        )
        return AccessDenied(f"{where} does not allow this on {uri}", hint=hint, uri=uri)
    if code in (
        "InvalidBucketName",
        "InvalidArgument",
        "KeyTooLongError",
        "InvalidURI",
        "InvalidObjectName",
        "EntityTooLarge",
    ):
        return ObjectError(f"{where} refuses {uri}: {code}", hint="use a name and a size that S3 allows", uri=uri)
    return ObjectError(
        f"{where} answers {code or status} for {uri}", hint="is AWS_ENDPOINT_URL the address of an S3 service?", uri=uri
    )


def _silence(settings: S3Settings, uri: str, error: BaseException) -> Verdict:
    """No answer that S3 would give."""
    where = _endpoint(settings)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return Verdict(
            error=AccessDenied(f"there are no credentials for {uri}", hint=_MISSING, uri=uri), answered=False
        )
    if isinstance(
        error, (boto.ProfileNotFound, boto.CredentialRetrievalError, boto.TokenRetrievalError, boto.SSOError)
    ):
        hint = f"check AWS_PROFILE ({settings.profile or 'not set'}), or {_MISSING}"
        return Verdict(
            error=AccessDenied(f"the credentials for {uri} could not be loaded", hint=hint, uri=uri), answered=False
        )
    if isinstance(error, botocore.parsers.ResponseParserError):
        strange = StoreUnavailable(
            f"{where} does not answer as S3 does, {uri}",
            hint="check AWS_ENDPOINT_URL: it must be the S3 port of the server",
            uri=uri,
        )
        return Verdict(error=strange, answered=False, retry=True)
    if isinstance(error, (boto.ParamValidationError, boto.InvalidEndpointDiscoveryConfigurationError)) or (
        isinstance(error, ValueError) and "endpoint" in str(error).lower()
    ):
        hint = (
            "a bucket has 3 to 63 letters, digits, dots and hyphens; AWS_ENDPOINT_URL begins with http:// or https://"
        )
        return Verdict(
            error=ObjectError(f"{uri} or the endpoint {where} is misspelt", hint=hint, uri=uri), answered=False
        )
    if isinstance(error, (boto.BotoCoreError, aiohttp.ClientError, OSError, TimeoutError)):
        reason = unreachable(error)
        hint = "check AWS_ENDPOINT_URL, AWS_REGION and the network (proxy, firewall, DNS)"
        gone = StoreUnavailable(f"{where} cannot be reached for {uri}: {reason}", hint=hint, uri=uri)
        return Verdict(error=gone, answered=False, retry=True)
    raise error  # a defect of ours or of a library: not to be dressed up
