"""What an S3 server and its client say, in our words: translated once, at the door."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import botocore.exceptions
import urllib3.exceptions

from slipway.credentials import without_credentials
from slipway.errors import InputError, IntegrityError, NotFoundError, SlipwayError, UnavailableError

ENDPOINT = "AWS_ENDPOINT_URL_S3"
MISSING = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
_REFUSED = {"401", "403", "AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"}
_REFUSED |= {"UserSuspended"}  # Ceph's
_DENIED = {"403", "AccessDenied"}
_OF_THE_OBJECT = {"InvalidObjectState", "InvalidRequest", "InvalidURI", "KeyTooLongError", "MethodNotAllowed"}
_OF_ITS_KEY = "KMS."  # with which it is encrypted
_NO_FILE = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EILSEQ}


class NoSuchObjectError(NotFoundError):
    """There is no such object, or no such unfinished upload."""


class DeniedError(InputError):
    """These credentials are good, and may not do this: perhaps with this one object alone."""


class ObjectError(UnavailableError):
    """The server answers, and does not give this object: it is archived, or its key is disabled, or no name for one."""


def code_of(error: botocore.exceptions.ClientError) -> str:
    """The code of a server's refusal, such as `NoSuchKey`; the status where it says no more."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def s3_errors(bucket: str, place: str) -> Iterator[None]:
    """Translate what is raised about `place`, an object or the beginning of keys in `bucket`."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise _refusal(bucket, place, error) from error
    except (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError) as error:
        raise InputError(
            f"{place}: {_said(error)}; expected credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE."
        ) from error
    except botocore.exceptions.ProfileNotFound as error:
        raise InputError(f"{place}: {_said(error)}; expected one of ~/.aws. Correct AWS_PROFILE.") from error
    except (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError) as error:
        # urllib3's own where the body of a refusal is cut short: botocore reads that outside of its translation.
        raise unanswered(place, error) from error


def unanswered(place: str, error: Exception) -> UnavailableError:
    """The server did not answer, or not to the end."""
    return UnavailableError(
        f"{place}: {_said(error)}; expected an S3 server's answer. Look whether it runs where {ENDPOINT} says, then "
        "run the same command again: what has arrived is not sent again."
    )


@contextmanager
def writing_errors(place: str, file: Path) -> Iterator[None]:
    """Translate what the operating system says when the object `place` is to become `file`."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_FILE:
            raise IntegrityError(
                f"{place}: cannot be a file here ({error.strerror}); expected keys that can be files beside each "
                "other. Somebody put other things there: remove them."
            ) from error
        raise UnavailableError(
            f"{file}: {error.strerror or error}; expected to write {place} there. Make room, or mend its permissions, "
            "then run the same command again."
        ) from error


def _refusal(bucket: str, place: str, error: botocore.exceptions.ClientError) -> SlipwayError:
    code = code_of(error)
    said = without_credentials(error.response.get("Error", {}).get("Message") or code)
    if code == "NoSuchBucket":
        return NotFoundError(f"{place}: bucket {bucket!r} does not exist; expected it there. Create it first.")
    if code in MISSING:
        return NoSuchObjectError(f"{place}: is not there ({code}); expected it. Publish the version again.")
    if code == "InvalidRange":
        return NotFoundError(f"{place}: has fewer bytes than it had; expected it as it was listed. Put it there again.")
    if code == "RequestTimeTooSkewed":
        return UnavailableError(
            f"{place}: this machine's clock differs too much from the server's; expected at most 15 minutes. Set "
            "the clock, then run the same command again."
        )
    if code in _REFUSED:
        return (DeniedError if code in _DENIED else InputError)(
            f"{place}: refused ({code}: {said}); expected credentials that may read and write there. Correct "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the bucket's policy."
        )
    of_the_object = code in _OF_THE_OBJECT or code.startswith(_OF_ITS_KEY)
    return (ObjectError if of_the_object else UnavailableError)(
        f"{place}: the S3 server says {code}: {said}; expected it to do as asked. Look at its log, then run the "
        "same command again: what has arrived is not sent again."
    )


def _said(error: Exception) -> str:
    return without_credentials(str(error)).rstrip(".")
