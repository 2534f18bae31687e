"""The asyncio client: the blocking one, with `await`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Callable, TypeVar

import grpc
import grpc.aio
import numpy.typing as npt

from . import inference, load, request, result, tensors
from ._base import (
    ATTEMPT_TIMEOUT,
    EXTRA_CHANNELS_TIMEOUT,
    FIRST_PAUSE,
    HEALTH_SERVICE,
    HEALTH_TIMEOUT,
    LONGEST_PAUSE,
    LONGEST_REJOIN_PAUSE,
    MAX_CHANNELS,
    RESOLVE_PAUSE,
    BaseClient,
    attempts,
    make_calls,
    number,
    seconds_left,
)
from ._proto import health as health_pb
from ._proto import server as pb
from .addresses import Target, addresses
from .balance import Balance
from .encoded import Encoded
from .errors import ModelClientError, from_rpc
from .inference import Metadata
from .request import Sequence
from .result import batch, parse, single
from .route import Route
from .servers import Server, Worker
from .session import AsyncSession
from .tls import TLS

T = TypeVar("T")

_closing: set[asyncio.Task[None]] = set()
"""The loop itself holds tasks weakly."""


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
        ip: str | Iterable[str] = "localhost",
        port: int | str = 50000,
        timeout: float = 300,
        *,
        call_timeout: float | None = None,
        tls: TLS | bool = False,
        balance: Balance = "round_robin",
    ) -> None:
        super().__init__(model, ip, port, timeout, call_timeout, tls, balance)
        self._size: list[int] | None = None
        self._size_known = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Waits for a server, up to `timeout` seconds, and opens a channel to each worker."""
        deadline = time.monotonic() + self.timeout
        if not self._pool.several:
            server = self._pool.servers[0]
            workers = await self._find_workers(server, deadline, patient=True)
            if not self._pool.joined(server, workers):
                await _close(workers)
            return
        # Made here: on Python 3.9 they belong to the loop that is there when they are made.
        self._news = asyncio.Event()
        self._resolve_now = asyncio.Event()
        try:
            for server in self._pool.servers:
                self._ask(server)
            if self._pool.unresolved:
                self._in_background(self._keep_resolving())
            while (pause := self._wait_for_servers(deadline)) > 0:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._news.wait(), pause)
                self._news.clear()
        except BaseException:
            await self.close()
            raise

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
        route = self._route("RunStream", timeout, sequence)
        return _parts(route, message, route.start(message), single)

    async def infer(
        self,
        inputs: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        *,
        outputs: Iterable[str] | None = None,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Runs the model on named numpy arrays; see ModelClient.infer."""
        message = inference.request(self.model, inputs, args, outputs, sequence)
        return inference.named(await self._call("ModelInfer", message, timeout, sequence))

    def infer_stream(
        self,
        inputs: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        *,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[dict[str, npt.NDArray[Any]], None]:
        """Runs the model on named arrays and gives those of each part, for `async for`.

        See ModelClient.infer_stream; what ends the call here is `aclose()`.
        """
        message = request.run(self.model, tensors.arrays(inputs), args, sequence)
        route = self._route("RunStream", timeout, sequence)
        return _parts(route, message, route.start(message), result.tensors)

    def session(self, *, timeout: float | None = None) -> AsyncSession:
        """Opens a session, for `async with`; see ModelClient.session."""
        return AsyncSession(self.model, self._route("RunSession", timeout))

    async def get_input_shape(self, *, timeout: float | None = None) -> list[int] | None:
        """The image size that suits the model best; see ModelClient.get_input_shape."""
        reply = await self._call("GetInputShape", pb.StringArg(data=self.model), timeout)
        shape: list[int] | None = parse(reply.data)
        return shape

    async def metadata(self, *, timeout: float | None = None) -> Metadata:
        """What the model says of its tensors; see ModelClient.metadata."""
        message = inference.question(self.model)
        return inference.metadata(await self._call("ModelMetadata", message, timeout))

    @property
    def size(self) -> Awaitable[list[int] | None]:
        """`get_input_shape()`, asked once: `await client.size`."""
        return self._ask_size()

    async def list_models(self, *, timeout: float | None = None) -> list[str]:
        """The names of all models of the server."""
        names: list[str] = parse((await self._call("ListModels", pb.EmptyArgs(), timeout)).data)
        return names

    async def health_check(self) -> dict[str, Any]:
        """Asks every worker at once; see ModelClient.health_check."""
        self._pool.check_open()
        asked = [
            (address, worker) for address, workers in self._pool.workers() for worker in workers
        ]
        answers = await asyncio.gather(*(_serves(worker) for _, worker in asked))
        return self._health(
            (address, worker.pid, serves) for (address, worker), serves in zip(asked, answers)
        )

    async def stop_server(self, *, timeout: float | None = None) -> dict[str, bool]:
        """Asks the server to end after the calls in flight; see ModelClient.stop_server."""
        self._check_one()
        reply = await self._call("StopServer", pb.EmptyArgs(), timeout)
        answer: dict[str, bool] = parse(reply.data)
        return answer

    async def close(self) -> None:
        """Closes all channels; calls in flight fail."""
        channels = self._pool.shut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in channels:
            await channel.close()

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
        route = self._route(method, timeout, sequence)
        while True:
            make, timeout = route.next()
            try:
                reply = await make(message, timeout=timeout)
            except grpc.RpcError as error:
                if not route.failed(error):
                    raise from_rpc(error) from error
            else:
                route.ended()
                return reply
            finally:
                route.release()

    async def _find_workers(
        self, server: Server[grpc.aio.Channel], deadline: float, patient: bool
    ) -> list[Worker[grpc.aio.Channel]]:
        """A channel to each worker; those that are there and still lead where they did stay."""
        old = [worker for worker in server.workers if await self._leads_there(worker, deadline)]
        workers = {worker.pid: worker for worker in old}
        opened: list[Worker[grpc.aio.Channel]] = []
        try:
            first = await self._open(server, deadline, patient)
            opened.append(first)
            wanted = min(await self._count_workers(first, deadline), MAX_CHANNELS)
            deadline = min(deadline, time.monotonic() + EXTRA_CHANNELS_TIMEOUT)
            if workers.setdefault(first.pid, first) is not first:
                await first.channel.close()
            for _ in range(attempts(wanted)):
                if len(workers) >= wanted:
                    break
                try:
                    worker = await self._open(server, deadline, patient)
                except ModelClientError:
                    break  # The channels that stand will do.
                opened.append(worker)
                if workers.setdefault(worker.pid, worker) is not worker:
                    await worker.channel.close()
        except BaseException:
            await _close(opened)
            raise
        return list(workers.values())

    async def _leads_there(self, worker: Worker[grpc.aio.Channel], deadline: float) -> bool:
        """Whether a channel has never lost its worker."""
        if worker.lost or not self._is_connected(worker.channel):
            return False
        try:
            reply = await worker.calls["GetPID"](pb.EmptyArgs(), timeout=seconds_left(deadline))
        except grpc.RpcError:
            return False
        return number(reply, "pid") == worker.pid

    async def _open(
        self, server: Server[grpc.aio.Channel], deadline: float, patient: bool
    ) -> Worker[grpc.aio.Channel]:
        """A new channel, and the worker that it leads to."""
        options = self._options(server)
        channel = (
            grpc.aio.insecure_channel(server.address, options=options)
            if self._credentials is None
            else grpc.aio.secure_channel(server.address, self._credentials, options=options)
        )
        try:
            calls = make_calls(channel)
            pause = FIRST_PAUSE if patient else math.inf
            while True:
                try:
                    reply = await calls["GetPID"](pb.EmptyArgs(), timeout=seconds_left(deadline))
                    return Worker(number(reply, "pid"), channel, calls)
                except grpc.RpcError as error:
                    self._raise_unless_worth_retrying(server, error, deadline, pause)
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

    def _lost(self, server: Server[grpc.aio.Channel]) -> None:
        self._ask(server)
        if server.target.resolves:
            self._resolve_now.set()

    def _ask(self, server: Server[grpc.aio.Channel]) -> None:
        self._in_background(self._keep_asking(server))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_asking(self, server: Server[grpc.aio.Channel]) -> None:
        """Tries to connect until a server answers."""
        pause = FIRST_PAUSE
        while not await self._attempt(server):
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_REJOIN_PAUSE)

    async def _attempt(self, server: Server[grpc.aio.Channel]) -> bool:
        """Tries to connect; whether there is nothing left to try."""
        if server.gone:
            return True
        try:
            deadline = time.monotonic() + ATTEMPT_TIMEOUT
            workers = await self._find_workers(server, deadline, patient=False)
        except Exception as error:
            self._pool.missed(server, error)
            joined = False
        else:
            joined = self._pool.joined(server, workers)
            if not joined:
                await _close(workers)
        self._news.set()
        if joined and self._pool.begin_listening(server):
            self._in_background(self._keep_listening(server))
        return joined or server.gone

    async def _keep_listening(self, server: Server[grpc.aio.Channel]) -> None:
        """Takes a server's load reports."""
        while await self._listen(server):
            await asyncio.sleep(load.LISTEN_PAUSE)

    async def _listen(self, server: Server[grpc.aio.Channel]) -> bool:
        """Takes a server's load reports while they come; whether to ask for them again."""
        worker = self._pool.listens_to(server)
        if worker is None:
            return not server.gone
        try:
            call = worker.calls["StreamCoreMetrics"](load.REQUEST, timeout=load.LISTEN)
            async for report in call:
                self._pool.reported(server, report)
        except asyncio.CancelledError:
            if not worker.retired:
                raise  # It is this task that has been cancelled, not the channel closed.
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                server.listened_to = False  # Until it joins again.
                return False
        return not server.gone

    async def _keep_resolving(self) -> None:
        """Looks at the DNS now and then."""
        while True:
            for target in self._targets:
                if target.resolves:
                    await self._resolve(target)
            self._news.set()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._resolve_now.wait(), self._resolve_pause())
            await asyncio.sleep(RESOLVE_PAUSE)
            self._resolve_now.clear()

    async def _resolve(self, target: Target) -> None:
        loop = asyncio.get_running_loop()
        try:
            infos = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            self._pool.unresolvable(target, error)
            return
        for server in self._pool.resolved(target, addresses(target, infos)):
            self._ask(server)

    @staticmethod
    def _is_connected(channel: grpc.aio.Channel) -> bool:
        return channel.get_state() is grpc.ChannelConnectivity.READY

    @staticmethod
    def _watch(call: Any, release: Callable[[], None]) -> Callable[[], object]:
        # add_done_callback would keep the call when the last reference to it has gone.
        loop = asyncio.get_running_loop()
        over = weakref.finalize(call, _soon, loop, release)
        over.atexit = False
        return over

    @staticmethod
    def _close_channel(channel: grpc.aio.Channel) -> None:
        task = asyncio.get_running_loop().create_task(channel.close())
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    async def _ask_size(self) -> list[int] | None:
        if not self._size_known:
            self._size = await self.get_input_shape()
            self._size_known = True
        return self._size


def _soon(loop: asyncio.AbstractEventLoop, release: Callable[[], None]) -> None:
    """Later, as memory may be collected where the pool's lock is held."""
    with contextlib.suppress(RuntimeError):  # The loop has been closed.
        loop.call_soon_threadsafe(release)


async def _parts(
    route: Route[grpc.aio.Channel], message: Any, call: Any, read: Callable[[pb.Response], T]
) -> AsyncGenerator[T, None]:
    try:
        while True:
            try:
                async for reply in call:
                    if result.is_part(reply):
                        yield read(reply)
                break
            except grpc.RpcError as error:
                if not route.failed(error):
                    raise from_rpc(error) from error
                call = route.start(message)
        route.ended()
    finally:
        call.cancel()  # Where the caller has left.
        route.over()


async def _close(workers: Iterable[Worker[grpc.aio.Channel]]) -> None:
    for worker in workers:
        await worker.channel.close()


async def _serves(worker: Worker[grpc.aio.Channel]) -> bool:
    message = health_pb.HealthCheckRequest(service=HEALTH_SERVICE)
    try:
        reply = await worker.calls["Check"](message, timeout=HEALTH_TIMEOUT)
    except grpc.RpcError:
        return False
    return bool(reply.status == health_pb.HealthCheckResponse.SERVING)
