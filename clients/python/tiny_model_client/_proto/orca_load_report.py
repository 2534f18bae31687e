"""The messages of orca_load_report.proto; the `.pyi` beside it describes them to type checkers."""

from . import messages

globals().update(messages("orca_load_report.proto"))
