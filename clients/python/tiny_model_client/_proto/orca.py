"""The messages of orca.proto; `orca.pyi` describes them to type checkers."""

from . import messages

globals().update(messages("orca.proto"))
