"""Ctrl-C while a command reads MLflow's database: one line, and no library's traceback."""

import sys

import pytest

_INTERRUPTED_IN_A_QUERY = """
import os, signal
from sqlalchemy import event
from sqlalchemy.engine import Engine
from pipeline.cli import main

@event.listens_for(Engine, "connect")
def interrupt_as_the_name_is_read(connection, record):
    def text(raw):
        if raw == b"digits":
            os.kill(os.getpid(), signal.{name})
        return raw.decode()

    connection.text_factory = text

main(["status", "digits", "--servers", "none"])
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_in_a_query_ends_with_one_line(registered, name):
    registered.made_live(registered.version())
    process = registered.popen([sys.executable, "-c", _INTERRUPTED_IN_A_QUERY.format(name=name)])
    done = registered.finish(process)
    assert done.err == "Error: stopped. Start it again: finished steps are kept.\n"
    assert done.code == 130
