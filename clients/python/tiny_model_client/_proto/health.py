"""The messages of health.proto; `health.pyi` describes them to type checkers."""

from . import messages

globals().update(messages("health.proto"))
