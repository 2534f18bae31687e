"""The messages of open_inference.proto; `open_inference.pyi` describes them to type checkers."""

from . import messages

globals().update(messages("open_inference.proto"))
