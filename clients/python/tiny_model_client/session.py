"""Sessions: any number of requests in one call, which meet one instance of the model."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from . import request
from ._proto import server as pb
from .errors import ModelClientError, from_rpc
from .result import is_part, single
from .route import Route


class BaseSession:
    """Which answer is being read: they come in the order of the requests."""

    def __init__(self, model: str, route: Route[Any]) -> None:
        self._model = model
        self._route = route
        self._asked = 0
        self._answered = 0
        self._closed = False
        # What to send again where the call has reached no server; None once one has answered.
        self._unheard: list[pb.RunArgs] | None = [] if route.moves else None

    def _message(self, input: Any, args: Mapping[str, Any] | None) -> pb.RunArgs:
        if self._closed:
            raise ModelClientError("the session is closed")
        message = request.run(self._model, input, args)
        if self._unheard is not None:
            self._unheard.append(message)
        return message

    def _repeats(self, error: grpc.RpcError) -> list[pb.RunArgs]:
        """What to send to another server after a failure; raises it where that cannot be."""
        messages = self._unheard
        if not self._route.failed(error) or messages is None:
            self._route.over()
            raise from_rpc(error) from error
        return messages

    def _takes(self, reply: pb.Response, answer: int) -> bool:
        """Whether a reply is a part of this answer, or else of one that nobody has read."""
        current = self._answered + 1
        if not reply.more:
            self._answered = current
        return current == answer and is_part(reply)


class Session(BaseSession):
    """What `ModelClient.session` gives; belongs to one thread."""

    def __init__(self, model: str, route: Route[grpc.Channel]) -> None:
        super().__init__(model, route)
        self._start(())

    def run(self, input: Any, args: Mapping[str, Any] | None = None) -> Generator[Any, None, None]:
        """Sends a request, and gives the parts of its answer as they come.

        `input` and the parts are those of `ModelClient.run_stream`. Parts that are not taken are
        thrown away once a later answer is read. A run that fails ends the session.
        """
        self._requests.put(self._message(input, args))
        self._asked += 1
        return self._parts(self._asked)

    def answer(self, input: Any, args: Mapping[str, Any] | None = None) -> Any:
        """Sends a request, and returns the last part of its answer; None where it has none."""
        last = None
        for part in self.run(input, args):
            last = part
        return last

    def close(self) -> None:
        """Ends the session; what is still running is given up."""
        if self._closed:
            return
        self._closed = True
        self._requests.put(None)
        if self._answered < self._asked:
            self._call.cancel()
        # All answers are there: how the call ends changes nothing.
        with contextlib.suppress(grpc.RpcError):
            for _ in self._call:
                pass
            self._route.ended()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._call.cancel()
        self.close()

    def _parts(self, answer: int) -> Generator[Any, None, None]:
        while self._answered < answer:
            reply = self._read()
            if self._takes(reply, answer):
                yield single(reply)

    def _read(self) -> pb.Response:
        while True:
            try:
                reply: pb.Response = next(self._call)
                self._unheard = None
                return reply
            except StopIteration:
                raise ModelClientError("the server has ended the session") from None
            except grpc.RpcError as error:
                messages = self._repeats(error)
            self._requests.put(None)  # Ends the thread of gRPC's that waits for more.
            self._start(messages)

    def _start(self, messages: Iterable[pb.RunArgs]) -> None:
        self._requests: queue.SimpleQueue[pb.RunArgs | None] = queue.SimpleQueue()
        for message in messages:
            self._requests.put(message)
        self._call = self._route.start(iter(self._requests.get, None))


class AsyncSession(BaseSession):
    """What `AsyncModelClient.session` gives; belongs to one task."""

    def __init__(self, model: str, route: Route[grpc.aio.Channel]) -> None:
        super().__init__(model, route)
        self._start(())

    def run(self, input: Any, args: Mapping[str, Any] | None = None) -> AsyncGenerator[Any, None]:
        """Sends a request, and gives the parts of its answer; see Session.run."""
        self._requests.put_nowait(self._message(input, args))
        self._asked += 1
        return self._parts(self._asked)

    async def answer(self, input: Any, args: Mapping[str, Any] | None = None) -> Any:
        """Sends a request, and returns the last part of its answer; None where it has none."""
        last = None
        async for part in self.run(input, args):
            last = part
        return last

    async def close(self) -> None:
        """Ends the session; what is still running is given up."""
        if self._closed:
            return
        self._closed = True
        self._requests.put_nowait(None)
        if self._answered < self._asked:
            self._call.cancel()
        elif not self._call.cancelled():
            # All answers are there: how the call ends changes nothing.
            with contextlib.suppress(grpc.RpcError):
                while await self._call.read() is not grpc.aio.EOF:
                    pass
                self._route.ended()
        self._route.over()

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._call.cancel()
        await self.close()

    def _start(self, messages: Iterable[pb.RunArgs]) -> None:
        self._requests: asyncio.Queue[pb.RunArgs | None] = asyncio.Queue()
        for message in messages:
            self._requests.put_nowait(message)
        self._call = self._route.start(_messages(self._requests))

    async def _parts(self, answer: int) -> AsyncGenerator[Any, None]:
        while self._answered < answer:
            reply = await self._read()
            if self._takes(reply, answer):
                yield single(reply)

    async def _read(self) -> pb.Response:
        while True:
            try:
                reply = await self._call.read()
            except grpc.RpcError as error:
                messages = self._repeats(error)
            else:
                if reply is grpc.aio.EOF:
                    raise ModelClientError("the server has ended the session")
                self._unheard = None
                message: pb.Response = reply
                return message
            self._requests.put_nowait(None)
            self._start(messages)


async def _messages(requests: asyncio.Queue[pb.RunArgs | None]) -> AsyncIterator[pb.RunArgs]:
    while (message := await requests.get()) is not None:
        yield message
