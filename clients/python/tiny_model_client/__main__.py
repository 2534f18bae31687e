"""One call from the shell: `python -m tiny_model_client MODEL --text …` or `--image FILE`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from .client import ModelClient
from .errors import ModelClientError
from .result import Result


def main() -> int:
    """Makes the call, prints the result as JSON and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tiny_model_client",
        description="Calls a model of a Tiny Model Server and prints its result as JSON.",
    )
    parser.add_argument("model", help="the model's name")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--text", help="the text to send")
    what.add_argument("--image", metavar="FILE", help="the picture to send; needs Pillow")
    parser.add_argument("--args", type=json.loads, metavar="JSON", help="the model's arguments")
    parser.add_argument("--ip", default="localhost", help="the server's address or name")
    parser.add_argument("--port", type=int, default=50000)
    parser.add_argument("--timeout", type=float, default=10, help="seconds to wait for the server")
    options = parser.parse_args()

    try:
        pixels = None if options.image is None else _read_image(options.image)
        with ModelClient(options.model, options.ip, options.port, options.timeout) as model:
            if pixels is None:
                result = model.run_text(options.text, options.args)
            else:
                result = model.run_image(pixels, options.args)
    except (ModelClientError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(_printable(result), ensure_ascii=False))
    return 0


def _read_image(path: str) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ModelClientError(
            "reading a picture needs Pillow: pip install 'tiny-model-client[image]'"
        ) from None
    with Image.open(path) as picture:
        picture.load()
        return picture


def _printable(result: Any) -> Any:
    """Images, tensors and files in a few words: their content would flood a terminal."""
    if not isinstance(result, Result):
        return result
    arrays = {**result.tensors, **({} if result.image is None else {"image": result.image})}
    described = {name: f"{array.dtype} {list(array.shape)}" for name, array in arrays.items()}
    printable = {"json": result.json, "tensors": described}
    if result.encoded is not None:
        printable["encoded"] = f"{result.encoded.media_type}, {len(result.encoded.data)} bytes"
    return printable


if __name__ == "__main__":
    sys.exit(main())
