"""The asyncio client: the blocking one, with `await`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
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
from .session import AsyncSession
from .tls import TLS


class AsyncModelClient(BaseClient[grpc.aio.Channel]):
    """Calls one model of a Tiny Model Server; belongs to the event loop that connects it.

    >>> async with AsyncModelClient("efficientnet_lite0") as model:
    ...     await model.run_image(pixels)

    The methods, arguments and errors are ModelClient's. The constructor does no input and output:
    `async with` connects, or `await client.connect()`.
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

    async def connect(self) -> None:
        """Waits for the server, up to `timeout` seconds, and opens a channel to each worker."""
        workers: dict[int, Worker[grpc.aio.Channel]] = {}
        try:
            deadline = time.monotonic() + self.timeout
            first = await self._open(deadline)
            workers[first.pid] = first
            wanted = min(await self._count_workers(first, deadline), MAX_CHANNELS)
            deadline = min(deadline, time.monotonic() + EXTRA_CHANNELS_TIMEOUT)
            for _ in range(attempts(wanted)):
                if len(workers) >= wanted:
                    break
                try:
                    worker = await self._open(deadline)
                except ModelClientError:
                    break  # The channels that stand will do.
                if workers.setdefault(worker.pid, worker) is not worker:
                    await worker.channel.close()
        except BaseException:
            for worker in workers.values():
                await worker.channel.close()
            raise
        self._use(list(workers.values()))

    async def run_image(
        self,
        image: Any,
        args: Mapping[str, Any] | None = None,
        *,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Runs the model on an image; see ModelClient.run_image."""
        message = request.image(self.model, image, args, sequence)
        return single(await self._call("RunImage", message, timeout, sequence))

    async def run_image_batch(
        self,
        images: Iterable[Any],
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> list[Any]:
        """Runs the model on several images in one call; see ModelClient.run_image_batch."""
        message = request.image_batch(self.model, images, args)
        if not message.images:
            return []
        return batch(await self._call("RunBatchImage", message, timeout))

    async def run_text(
        self,
        text: str,
        args: Mapping[str, Any] | None = None,
        *,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Runs the model on a text; see ModelClient.run_text."""
        message = request.text(self.model, text, args, sequence)
        return single(await self._call("RunText", message, timeout, sequence))

    async def run_text_batch(
        self,
        texts: Iterable[str],
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> list[Any]:
        """Runs the model on several texts in one call; see ModelClient.run_text_batch."""
        message = request.text_batch(self.model, texts, args)
        if not message.texts:
            return []
        return batch(await self._call("RunBatchText", message, timeout))

    async def run_image_to_image(
        self,
        image: Any,
        args: Mapping[str, Any] | None = None,
        *,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> npt.NDArray[Any]:
        """Runs the model on an image for the image in its result.

        See ModelClient.run_image_to_image.
        """
        message = request.image(self.model, image, args, sequence)
        return result.image(await self._call("RunImageToImage", message, timeout, sequence))

    async def run_image_to_image_batch(
        self,
        images: Iterable[Any],
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> list[npt.NDArray[Any]]:
        """Runs the model on several images in one call, for one image each.

        See ModelClient.run_image_to_image_batch.
        """
        message = request.image_batch(self.model, images, args)
        if not message.images:
            return []
        reply = await self._call("RunBatchImageToImage", message, timeout)
        return result.images(reply, len(message.images))

    async def run_encoded(
        self,
        data: bytes | str | os.PathLike[str] | Encoded,
        media_type: str | None = None,
        args: Mapping[str, Any] | None = None,
        *,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Runs the model on a file; see ModelClient.run_encoded."""
        if isinstance(data, (str, os.PathLike)):
            data = await asyncio.to_thread(Encoded.read, data, media_type)
        message = request.encoded(self.model, data, media_type, args, sequence)
        return single(await self._call("RunEncoded", message, timeout, sequence))

    def run_stream(
        self,
        input: Any,
        args: Mapping[str, Any] | None = None,
        *,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Runs the model and gives the parts of its result, for `async for`.

        See ModelClient.run_stream; what ends the call here is `aclose()`.
        """
        message = request.run(self.model, input, args, sequence)
        return _parts(self._start("RunStream", message, timeout, sequence))

    def session(self, *, timeout: float | None = None) -> AsyncSession:
        """Opens a session, for `async with`; see ModelClient.session."""
        return AsyncSession(
            self.model, lambda messages: self._start("RunSession", messages, timeout)
        )

    async def get_input_shape(self, *, timeout: float | None = None) -> list[int] | None:
        """The image size that suits the model best; see ModelClient.get_input_shape."""
        reply = await self._call("GetInputShape", pb.StringArg(data=self.model), timeout)
        shape: list[int] | None = parse(reply.data)
        return shape

    @property
    def size(self) -> Awaitable[list[int] | None]:
        """`get_input_shape()`, asked once: `await client.size`."""
        return self._ask_size()

    async def list_models(self, *, timeout: float | None = None) -> list[str]:
        """The names of all models of the server."""
        names: list[str] = parse((await self._call("ListModels", pb.EmptyArgs(), timeout)).data)
        return names

    async def health_check(self) -> dict[str, list[int]]:
        """Asks every worker at once; see ModelClient.health_check."""
        self._next_worker()  # Fails where the client is closed.
        workers = self._workers
        answers = await asyncio.gather(*(_serves(worker) for worker in workers))
        health: dict[str, list[int]] = {"serving": [], "stopped_serving": []}
        for worker, serves in zip(workers, answers):
            health["serving" if serves else "stopped_serving"].append(worker.pid)
        return health

    async def stop_server(self, *, timeout: float | None = None) -> dict[str, bool]:
        """Asks the server to end after the calls in flight; returns {"stopping": True}."""
        reply = await self._call("StopServer", pb.EmptyArgs(), timeout)
        answer: dict[str, bool] = parse(reply.data)
        return answer

    async def close(self) -> None:
        """Closes all channels; calls in flight fail."""
        for worker in self._take_workers():
            await worker.channel.close()

    async def __aenter__(self) -> AsyncModelClient:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _call(
        self, method: str, message: Any, timeout: float | None, sequence: Sequence | None = None
    ) -> Any:
        try:
            return await self._start(method, message, timeout, sequence)
        except grpc.RpcError as error:
            raise from_rpc(error) from error

    def _start(
        self, method: str, message: Any, timeout: float | None, sequence: Sequence | None = None
    ) -> Any:
        """A call of gRPC's, under way."""
        call = self._next_worker(sequence).calls[method]
        return call(message, timeout=self.call_timeout if timeout is None else timeout)

    async def _open(self, deadline: float) -> Worker[grpc.aio.Channel]:
        """A new channel, and the worker that it leads to."""
        channel = (
            grpc.aio.insecure_channel(self.address, options=self._options)
            if self._credentials is None
            else grpc.aio.secure_channel(self.address, self._credentials, options=self._options)
        )
        try:
            calls = make_calls(channel)
            pause = FIRST_PAUSE
            while True:
                try:
                    reply = await calls["GetPID"](pb.EmptyArgs(), timeout=seconds_left(deadline))
                    return Worker(number(reply, "pid"), channel, calls)
                except grpc.RpcError as error:
                    self._raise_unless_worth_retrying(error, deadline, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        except BaseException:
            await channel.close()
            raise

    async def _count_workers(self, worker: Worker[grpc.aio.Channel], deadline: float) -> int:
        call = worker.calls["GetNumParallelWorkers"]
        try:
            reply = await call(pb.EmptyArgs(), timeout=seconds_left(deadline))
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        return number(reply, "num_workers")

    async def _ask_size(self) -> list[int] | None:
        if not self._size_known:
            self._size = await self.get_input_shape()
            self._size_known = True
        return self._size


async def _parts(call: Any) -> AsyncGenerator[Any, None]:
    try:
        async for reply in call:
            if result.is_part(reply):
                yield single(reply)
    except grpc.RpcError as error:
        raise from_rpc(error) from error
    finally:
        call.cancel()  # Where the caller has left.


async def _serves(worker: Worker[grpc.aio.Channel]) -> bool:
    message = health_pb.HealthCheckRequest(service=HEALTH_SERVICE)
    try:
        reply = await worker.calls["Check"](message, timeout=HEALTH_TIMEOUT)
    except grpc.RpcError:
        return False
    return bool(reply.status == health_pb.HealthCheckResponse.SERVING)
