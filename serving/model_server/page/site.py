"""The page's own files: written by hand, the same for every server, and so open to everybody; they hold no secret."""

import re
from functools import partial
from importlib.resources import files
from pathlib import Path

from serving.model_server.addresses import is_loopback
from serving.model_server.flags import Flags
from serving.model_server.models import Models
from serving.model_server.page.document import PageFile, page_document
from serving.model_server.rest_access import header
from serving.model_server.rest_doors import App, Message, Receive, Send, with_page

DOCUMENT = "/v1/page"
_FILES = {
    "/": ("index.html", b"text/html; charset=utf-8"),
    "/page.css": ("page.css", b"text/css; charset=utf-8"),
    "/page.js": ("page.js", b"text/javascript; charset=utf-8"),
    "/live.js": ("live.js", b"text/javascript; charset=utf-8"),
    "/trial.js": ("trial.js", b"text/javascript; charset=utf-8"),
    "/markdown.js": ("markdown.js", b"text/javascript; charset=utf-8"),
    "/elements.js": ("elements.js", b"text/javascript; charset=utf-8"),
    "/page.svg": ("page.svg", b"image/svg+xml"),
}
PATHS = frozenset(_FILES)  # what a browser may fetch without a token

# Nothing from elsewhere, no script or style inside the document, and no frame around it. blob: is the image to try.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_WITHHELD = (
    "Other machines reach this server, and it asks for no token: who made what live is not shown. Start it with "
    "--access_tokens_file."
)
_OTHER_NAME = (
    "This server asks for no token, and was asked by another name than that of its own machine, as a web site can have "
    "a browser do: who made what live is not shown. Open it by 127.0.0.1 or localhost, or start it with "
    "--access_tokens_file."
)
_HEADERS = [
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]


def facts_of(flags: Flags) -> PageFile:
    """What the page says of people and decisions: nothing where other machines are asked for no token."""
    if not flags.page_file:
        return PageFile(None)
    if flags.access_tokens_file or is_loopback(flags.host):
        return PageFile(Path(flags.page_file))
    return PageFile(None, _WITHHELD)


def with_site(flags: Flags, models: Models, app: App) -> App:
    """An application with the page, and with the document that it shows at DOCUMENT."""

    def documented(file: PageFile) -> App:
        return with_page(app, DOCUMENT, b"application/json", partial(page_document, models, file))

    full, withheld = documented(facts_of(flags)), documented(PageFile(None, _OTHER_NAME))
    bodies = {path: (files(__package__).joinpath(name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"} or scope["path"] not in PATHS:
            rebound = scope["type"] == "http" and not _is_of_its_name(flags, header(scope["headers"], b"host"))
            await (withheld if rebound else full)(scope, receive, send)
            return
        body, kind = bodies[scope["path"]]
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *_HEADERS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return answer


def _is_of_its_name(flags: Flags, host: bytes) -> bool:
    """Whether a request that shows facts without a token asks by a name that no web site can have lent the machine."""
    if flags.access_tokens_file or not flags.page_file or not is_loopback(flags.host):
        return True
    name = re.sub(r":\d*$", "", host.decode("latin-1").lower()).removeprefix("[").removesuffix("]")
    return name == flags.host.lower() or is_loopback(name)
