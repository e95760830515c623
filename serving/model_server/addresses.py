"""Addresses: as text, and the socket that REST listens on."""

import ipaddress
import os
import socket

from serving.model_server.flags import Flags
from slipway.errors import UnavailableError

_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on; UnavailableError if the port is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno or 0)
        raise UnavailableError(
            f"--rest_api_port={port}: cannot listen on {host}:{port} ({reason}). Stop what uses it, or give another."
        ) from error
    return listener


def addresses(flags: Flags) -> str:
    """What the flags have the server listen on."""
    secure = "s" if flags.ssl_config_file else ""
    found = [f"http{secure}://{bracketed(flags.host)}:{flags.rest_api_port}"] if flags.rest_api_port else []
    found += [f"grpc{secure}://{bracketed(flags.host)}:{flags.port}"] if flags.port else []
    found += [f"grpc+unix:{flags.grpc_socket_path}"] if flags.grpc_socket_path else []
    return " and ".join(found)


def bracketed(host: str) -> str:
    """A host as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there; of a name other than `localhost` that is not known."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
