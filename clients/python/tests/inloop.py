"""An AsyncModelClient that is called like a ModelClient, for tests of what the two share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar

from tiny_model_client import AsyncModelClient, ServerInfo

T = TypeVar("T")


class InLoop:
    """The client, and a thread with the event loop that it belongs to."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

        async def connect() -> AsyncModelClient:
            client = AsyncModelClient(*arguments, **options)
            await client.connect()
            return client

        try:
            self.client = self._wait(connect())
        except BaseException:
            self._end()
            raise

    def run_text(self, *arguments: Any, **options: Any) -> Any:
        return self._wait(self.client.run_text(*arguments, **options))

    def infer(self, *arguments: Any, **options: Any) -> Any:
        return self._wait(self.client.infer(*arguments, **options))

    def metadata(self) -> Any:
        return self._wait(self.client.metadata())

    def run_stream(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        return self._parts(self.client.run_stream, arguments, options)

    def infer_stream(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        return self._parts(self.client.infer_stream, arguments, options)

    def _parts(self, call: Any, arguments: Any, options: Any) -> Iterator[Any]:
        async def start() -> Any:
            return call(*arguments, **options)

        async def one(parts: Any) -> list[Any]:
            async for part in parts:
                return [part]
            return []

        parts = self._wait(start())
        try:
            while part := self._wait(one(parts)):
                yield part[0]
        finally:
            self._wait(parts.aclose())

    def session_answer(self, input: Any) -> Any:
        async def ask() -> Any:
            async with self.client.session() as session:
                return await session.answer(input)

        return self._wait(ask())

    def health_check(self) -> Any:
        return self._wait(self.client.health_check())

    def stop_server(self) -> Any:
        return self._wait(self.client.stop_server())

    @property
    def servers(self) -> tuple[ServerInfo, ...]:
        return self.client.servers

    def __repr__(self) -> str:
        return repr(self.client)

    def close(self) -> None:
        if self._thread.is_alive():
            self._wait(self.client.close())
            self._end()

    def _wait(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(120)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
