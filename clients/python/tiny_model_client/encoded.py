"""Files as they are, in requests and in results."""

from __future__ import annotations

import mimetypes
import os
from dataclasses import dataclass, field

from .errors import InvalidInput

# Names that systems have for the same types, and the ones that models use.
_USUAL_NAMES = {
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-wav": "audio/wav",
    "image/x-ms-bmp": "image/bmp",
}


@dataclass(frozen=True)
class Encoded:
    """A file as it is, such as a JPEG or a WAV; the model decodes it."""

    data: bytes = field(repr=False)
    """The file's content."""
    media_type: str
    """What it is, such as image/jpeg or audio/wav."""

    @classmethod
    def read(cls, path: str | os.PathLike[str], media_type: str | None = None) -> Encoded:
        """Reads a file; where no `media_type` is given, the suffix of its name tells it."""
        media_type = media_type or _guess(os.fspath(path))
        with open(path, "rb") as file:
            return cls(file.read(), media_type)


def _guess(path: str) -> str:
    media_type, compression = mimetypes.guess_type(path, strict=False)
    if media_type is None or compression is not None:
        raise InvalidInput(f"the name {path!r} does not tell what the file is: give a media_type")
    return _USUAL_NAMES.get(media_type, media_type)
