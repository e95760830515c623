"""Kubernetes' Status objects, in the words and with the codes that its API server has for them."""


def status(code, reason, message, **details):
    """A Status of kind Failure, as `metav1.Status` documents it."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        **({"details": details} if details else {}),
        "code": code,
    }


def _of(resource, group):
    return f"{resource}.{group}" if group else resource


def unauthorized():
    return status(401, "Unauthorized", "Unauthorized")


def forbidden(verb, resource, group, namespace, name):
    user = "system:serviceaccount:slipway:slipway-reconcile"
    quoted = f' "{name}"' if name else ""
    message = (
        f'{_of(resource, group)}{quoted} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group '
        f'"{group}" in the namespace "{namespace}"'
    )
    return status(403, "Forbidden", message, name=name, group=group, kind=resource)


def not_found(resource, group, name):
    return status(404, "NotFound", f'{_of(resource, group)} "{name}" not found', name=name, group=group, kind=resource)


def modified(resource, group, name):
    message = (
        f'Operation cannot be fulfilled on {_of(resource, group)} "{name}": the object has been modified; please apply '
        "your changes to the latest version and try again"
    )
    return status(409, "Conflict", message, name=name, group=group, kind=resource)


def wrong_uid(resource, group, name, wanted, there):
    message = (
        f'Operation cannot be fulfilled on {_of(resource, group)} "{name}": Precondition failed: UID in precondition: '
        f"{wanted}, UID in object meta: {there}"
    )
    return status(409, "Conflict", message, name=name, group=group, kind=resource)


def field_conflict(fields):
    """fields: path -> the manager that has it."""
    managers = sorted(set(fields.values()))
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}" using v1', "field": field}
        for field, manager in sorted(fields.items())
    ]
    plural = "conflicts" if len(fields) > 1 else "conflict"
    by = " and ".join(f'"{manager}"' for manager in managers)
    message = f"Apply failed with {len(fields)} {plural}: {plural} with {by} using v1: {', '.join(sorted(fields))}"
    return status(409, "Conflict", message, causes=causes)


def invalid(kind, group, name, field, why):
    message = f'{kind}{f".{group}" if group else ""} "{name}" is invalid: {field}: Invalid value: {why}'
    cause = {"reason": "FieldValueInvalid", "message": f"Invalid value: {why}", "field": field}
    return status(422, "Invalid", message, name=name, group=group, kind=kind, causes=[cause])


def too_many_requests(retry_after_s):
    message = "the server has received too many requests and has asked us to try again later"
    return status(429, "TooManyRequests", message, retryAfterSeconds=retry_after_s)


def unavailable(message="the server is currently unable to handle the request"):
    return status(503, "ServiceUnavailable", message)
