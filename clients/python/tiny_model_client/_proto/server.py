"""The messages of server.proto; `server.pyi` describes them to type checkers."""

from . import messages

globals().update(messages("server.proto"))
