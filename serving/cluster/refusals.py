"""What an API server answers instead of doing as asked, in our words. See Kubernetes' own Status object."""

import re
from collections.abc import Mapping
from typing import Any

from serving.client.http import Response
from serving.cluster.calls import Call
from slipway.errors import ConflictError, InputError, NotFoundError, SlipwayError, UnavailableError

_FORBIDDEN = re.compile(r'cannot (\w+) resource "([^"]+)"')
_OWNER = re.compile(r'conflict with "([^"]+)"')
_NAMESPACES = "namespaces"


class ApiRefusalError(InputError):
    """The API server will not do it for whoever asks, or not as it is asked. It says nothing of any version."""


class FieldConflictError(ConflictError):
    """Another field manager has set fields that we would set."""


def is_status(response: Response) -> bool:
    """Whether it is the API server itself that answers so, and no server behind its proxy."""
    document = response.document
    return isinstance(document, dict) and document.get("kind") == "Status"


def refusal(address: str, call: Call, response: Response) -> SlipwayError:
    """The error for an answer with a status of 400 or more."""
    where, said = f"the API server {address}", response.message
    match response.status:
        case 401:
            return ApiRefusalError(
                f"{where} does not know who asks ({said}); expected credentials that it accepts. Correct the "
                "kubeconfig's user, or log in again."
            )
        case 403:
            return _forbidden(where, call, said)
        case 404:
            return _missing(where, call, response)
        case 409:
            return _conflict(where, call, response)
        case 400 | 422:
            return ApiRefusalError(
                f"{where} takes {call.words} for invalid: {_causes(response) or said}; expected an object that "
                "Kubernetes accepts. Correct the configuration's section kubernetes."
            )
    return UnavailableError(
        f"{where} answered HTTP {response.status} to {call.words}: {said}; expected it to do as asked. "
        "Run the same command again: what is applied is not applied twice."
    )


def _forbidden(where: str, call: Call, said: str) -> ApiRefusalError:
    found = _FORBIDDEN.search(said)
    verb, resource = (found[1], found[2]) if found else (call.verb, call.resource)
    return ApiRefusalError(
        f"{where} forbids {verb} of {resource} in namespace {call.namespace!r} ({said}); expected a Role that allows "
        f'it. Add a rule: apiGroups: ["{call.kind.group}"], resources: ["{resource}"], verbs: ["{verb}"].'
    )


def _missing(where: str, call: Call, response: Response) -> SlipwayError:
    details = _status(response).get("details")
    if isinstance(details, Mapping) and details.get("kind") == _NAMESPACES:
        return ApiRefusalError(
            f"{where} has no namespace {call.namespace!r}; expected it. Run `kubectl create namespace "
            f"{call.namespace}`, or pass --namespace."
        )
    return NotFoundError(f"{where}: {call.words} found nothing ({response.message}); expected it. Apply it first.")


def _conflict(where: str, call: Call, response: Response) -> ConflictError:
    causes = [each for each in _raw_causes(response) if each.get("reason") == "FieldManagerConflict"]
    if not causes:
        return ConflictError(
            f"{where} met a conflict in {call.words}: {response.message}; expected nobody else to change it. "
            "Run the same command again."
        )
    owners = sorted({found[1] for each in causes if (found := _OWNER.search(str(each.get("message", ""))))})
    fields = sorted({str(each.get("field")) for each in causes})
    return FieldConflictError(
        f"{where}: {call.words} would set {', '.join(fields)}, which {' and '.join(owners) or 'another'} has set; "
        "expected nobody else to. Nothing is forced here: undo that change, then have all give their fields up by "
        f"`kubectl patch {call.kind.resource} {call.name} -n {call.namespace} --type=merge "
        """-p '{"metadata":{"managedFields":[{}]}}'`."""
    )


def _causes(response: Response) -> str:
    return "; ".join(f"{each.get('field')}: {each.get('message')}" for each in _raw_causes(response))


def _raw_causes(response: Response) -> list[Mapping[str, Any]]:
    details = _status(response).get("details")
    causes = details.get("causes") if isinstance(details, Mapping) else None
    return [each for each in causes or [] if isinstance(each, Mapping)]


def _status(response: Response) -> Mapping[str, Any]:
    document = response.document
    return document if isinstance(document, dict) else {}
