"""The blocking client."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable, Mapping
from types import TracebackType
from typing import Any

import grpc
import numpy.typing as npt

from . import request, result
from ._base import (
    EXTRA_CHANNELS_TIMEOUT,
    FIRST_PAUSE,
    HEALTH_SERVICE,
    HEALTH_TIMEOUT,
    LONGEST_PAUSE,
    MAX_CHANNELS,
    BaseClient,
    Worker,
    attempts,
    make_calls,
    number,
    seconds_left,
)
from ._proto import health as health_pb
from ._proto import server as pb
from .encoded import Encoded
from .errors import ModelClientError, from_rpc
from .request import Sequence
from .result import batch, parse, single
from .session import Session
from .tls import TLS


class ModelClient(BaseClient[grpc.Channel]):
    """Calls one model of a Tiny Model Server; safe to use from several threads.

    >>> with ModelClient("efficientnet_lite0") as model:
    ...     model.run_image(pixels)

    The constructor connects: it waits up to `timeout` seconds for a server that is still starting,
    then opens a channel to each of the server's workers. Calls take the channels in turn.

    A call waits for its answer at most `call_timeout` seconds, or the `timeout` that the call
    names; None leaves it to the server's own limit. Every failure is a `ModelClientError`.

    `sequence` is a call's place in a sequence, for models that keep state; see `Sequence`. `tls` is
    True, or whom to trust and what to show; see `TLS`.
    """

    def __init__(
        self,
        model: str,
        ip: str = "localhost",
        port: int | str = 50000,
        timeout: float = 300,
        *,
        call_timeout: float | None = None,
        tls: TLS | bool = False,
    ) -> None:
        super().__init__(model, ip, port, timeout, call_timeout, tls)
        self._size: list[int] | None = None
        self._size_known = False
        self._connect()

    def run_image(
        self,
        image: Any,
        args: Mapping[str, Any] | None = None,
        *,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Runs the model on an image and returns its JSON value.

        `image` is a numpy array of uint8, float32 or float64 and of shape [height, width] or
        [height, width, channels], in any memory order, or one of Pillow's images. `args` are the
        model's own. A model that gives more than JSON (an image, tensors, a file) yields a
        `Result`.
        """
        message = request.image(self.model, image, args, sequence)
        return single(self._call("RunImage", message, timeout, sequence))

    def run_image_batch(
        self,
        images: Iterable[Any],
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> list[Any]:
        """Runs the model on several images in one call; one result an image, in their order.

        The images may differ in size and type. No images give no results, without a call.
        """
        message = request.image_batch(self.model, images, args)
        if not message.images:
            return []
        return batch(self._call("RunBatchImage", message, timeout))

    def run_text(
        self,
        text: str,
        args: Mapping[str, Any] | None = None,
        *,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Runs the model on a text and returns its JSON value, or a `Result`."""
        message = request.text(self.model, text, args, sequence)
        return single(self._call("RunText", message, timeout, sequence))

    def run_text_batch(
        self,
        texts: Iterable[str],
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> list[Any]:
        """Runs the model on several texts in one call; one result a text, in their order.

        No texts give no results, without a call.
        """
        message = request.text_batch(self.model, texts, args)
        if not message.texts:
            return []
        return batch(self._call("RunBatchText", message, timeout))

    def run_image_to_image(
        self,
        image: Any,
        args: Mapping[str, Any] | None = None,
        *,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> npt.NDArray[Any]:
        """Runs the model on an image and returns the image in its result.

        That is an array of uint8, float32 or float64 and of shape [height, width] or [height,
        width, channels]. `run_image` gives the JSON beside it, too. A model whose result has no
        image raises InvalidInput.
        """
        message = request.image(self.model, image, args, sequence)
        return result.image(self._call("RunImageToImage", message, timeout, sequence))

    def run_image_to_image_batch(
        self,
        images: Iterable[Any],
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> list[npt.NDArray[Any]]:
        """Runs the model on several images in one call; one image each, in their order.

        No images give none, without a call. `run_image_batch` gives the JSON beside them, too.
        """
        message = request.image_batch(self.model, images, args)
        if not message.images:
            return []
        reply = self._call("RunBatchImageToImage", message, timeout)
        return result.images(reply, len(message.images))

    def run_encoded(
        self,
        data: bytes | str | os.PathLike[str] | Encoded,
        media_type: str | None = None,
        args: Mapping[str, Any] | None = None,
        *,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Runs the model on a file, such as a JPEG or a WAV, and returns its JSON value.

        `data` is the file's content or its path; a path's suffix tells the `media_type` where none
        is given. The model decodes the file. A model that gives more than JSON yields a `Result`.
        """
        message = request.encoded(self.model, data, media_type, args, sequence)
        return single(self._call("RunEncoded", message, timeout, sequence))

    def run_stream(
        self,
        input: Any,
        args: Mapping[str, Any] | None = None,
        *,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> Generator[Any, None, None]:
        """Runs the model and gives the parts of its result as they come.

        `input` is a text, an image as in `run_image`, an `Encoded` file, or a dict of named numpy
        arrays. A part is a JSON value or a `Result`. `timeout` is for all parts together. Leaving
        the loop, or `close()` of what is returned, ends the call.
        """
        message = request.run(self.model, input, args, sequence)
        return _parts(self._call("RunStream", message, timeout, sequence))

    def session(self, *, timeout: float | None = None) -> Session:
        """Opens a session: all its requests meet one instance of the model, and no others do.

        >>> with model.session() as session:
        ...     for part in session.run("a"):
        ...         print(part)
        ...     session.answer("b")

        `timeout` is for the whole session.
        """
        return Session(self.model, lambda messages: self._call("RunSession", messages, timeout))

    def get_input_shape(self, *, timeout: float | None = None) -> list[int] | None:
        """The image size that suits the model best: [height, width, channels], or [height, width].

        None where any size does, and for models that take no image.
        """
        shape: list[int] | None = parse(
            self._call("GetInputShape", pb.StringArg(data=self.model), timeout).data
        )
        return shape

    @property
    def size(self) -> list[int] | None:
        """`get_input_shape()`, asked once."""
        if not self._size_known:
            self._size = self.get_input_shape()
            self._size_known = True
        return self._size

    def list_models(self, *, timeout: float | None = None) -> list[str]:
        """The names of all models of the server."""
        names: list[str] = parse(self._call("ListModels", pb.EmptyArgs(), timeout).data)
        return names

    def health_check(self) -> dict[str, list[int]]:
        """Asks every worker: {"serving": [pid, ...], "stopped_serving": [pid, ...]}.

        A worker that cannot be reached counts as stopped.
        """
        self._next_worker()  # Fails where the client is closed.
        health: dict[str, list[int]] = {"serving": [], "stopped_serving": []}
        for worker in self._workers:
            health["serving" if _serves(worker) else "stopped_serving"].append(worker.pid)
        return health

    def stop_server(self, *, timeout: float | None = None) -> dict[str, bool]:
        """Asks the server to end after the calls in flight; returns {"stopping": True}."""
        answer: dict[str, bool] = parse(self._call("StopServer", pb.EmptyArgs(), timeout).data)
        return answer

    def close(self) -> None:
        """Closes all channels; calls in flight fail."""
        for worker in self._take_workers():
            worker.channel.close()

    def __enter__(self) -> ModelClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(
        self, method: str, message: Any, timeout: float | None, sequence: Sequence | None = None
    ) -> Any:
        """The reply, or an iterator of them."""
        call = self._next_worker(sequence).calls[method]
        try:
            return call(message, timeout=self.call_timeout if timeout is None else timeout)
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        except ValueError as error:
            # What gRPC raises for a channel that another thread has just closed.
            raise ModelClientError(str(error)) from error

    def _connect(self) -> None:
        workers: dict[int, Worker[grpc.Channel]] = {}
        try:
            deadline = time.monotonic() + self.timeout
            first = self._open(deadline)
            workers[first.pid] = first
            wanted = min(self._count_workers(first, deadline), MAX_CHANNELS)
            deadline = min(deadline, time.monotonic() + EXTRA_CHANNELS_TIMEOUT)
            for _ in range(attempts(wanted)):
                if len(workers) >= wanted:
                    break
                try:
                    worker = self._open(deadline)
                except ModelClientError:
                    break  # The channels that stand will do.
                if workers.setdefault(worker.pid, worker) is not worker:
                    worker.channel.close()
        except BaseException:
            for worker in workers.values():
                worker.channel.close()
            raise
        self._use(list(workers.values()))

    def _open(self, deadline: float) -> Worker[grpc.Channel]:
        """A new channel, and the worker that it leads to."""
        channel = (
            grpc.insecure_channel(self.address, options=self._options)
            if self._credentials is None
            else grpc.secure_channel(self.address, self._credentials, options=self._options)
        )
        try:
            calls = make_calls(channel)
            pause = FIRST_PAUSE
            while True:
                try:
                    reply = calls["GetPID"](pb.EmptyArgs(), timeout=seconds_left(deadline))
                    return Worker(number(reply, "pid"), channel, calls)
                except grpc.RpcError as error:
                    self._raise_unless_worth_retrying(error, deadline, pause)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        except BaseException:
            channel.close()
            raise

    def _count_workers(self, worker: Worker[grpc.Channel], deadline: float) -> int:
        try:
            call = worker.calls["GetNumParallelWorkers"]
            reply = call(pb.EmptyArgs(), timeout=seconds_left(deadline))
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        return number(reply, "num_workers")


def _parts(call: Any) -> Generator[Any, None, None]:
    try:
        for reply in call:
            if result.is_part(reply):
                yield single(reply)
    except grpc.RpcError as error:
        raise from_rpc(error) from error
    finally:
        call.cancel()  # Where the caller has left.


def _serves(worker: Worker[grpc.Channel]) -> bool:
    message = health_pb.HealthCheckRequest(service=HEALTH_SERVICE)
    try:
        reply = worker.calls["Check"](message, timeout=HEALTH_TIMEOUT)
    except (grpc.RpcError, ValueError):  # ValueError: another thread has closed the client.
        return False
    return bool(reply.status == health_pb.HealthCheckResponse.SERVING)
