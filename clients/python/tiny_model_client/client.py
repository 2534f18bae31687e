"""The blocking client."""

from __future__ import annotations

import math
import os
import queue
import threading
import time
import weakref
from collections.abc import Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Callable, TypeVar

import grpc
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
from .addresses import ask
from .balance import Balance
from .encoded import Encoded
from .errors import ModelClientError, from_rpc
from .inference import Metadata
from .request import Sequence
from .result import batch, parse, single
from .route import Route
from .servers import Server, Worker
from .session import Session
from .tls import TLS

T = TypeVar("T")


class ModelClient(BaseClient[grpc.Channel]):
    """Calls one model of a Tiny Model Server; safe to use from several threads.

    >>> with ModelClient("efficientnet_lite0") as model:
    ...     model.run_image(pixels)

    The constructor connects: it waits up to `timeout` seconds for a server that is still starting,
    then opens a channel to each of the server's workers. Calls take the channels in turn.

    `ip` may also be a list of servers, or "dns:NAME" for all addresses of a name. Then the
    constructor waits for one of them; `balance` says which one a call goes to: "round_robin",
    "weighted" by the load that the servers report, or "two_choices", the less busy of two.

    A call waits for its answer at most `call_timeout` seconds, or the `timeout` that the call
    names; None leaves it to the server's own limit. Every failure is a `ModelClientError`.

    `sequence` is a call's place in a sequence, for models that keep state; see `Sequence`. `tls` is
    True, or whom to trust and what to show; see `TLS`.
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
        self._news = threading.Event()
        self._closing = threading.Event()
        self._resolve_now = threading.Event()
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
        route = self._route("RunStream", timeout, sequence)
        return _parts(route, message, route.start(message), single)

    def infer(
        self,
        inputs: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        *,
        outputs: Iterable[str] | None = None,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Runs the model on named numpy arrays and returns the named arrays of its result.

        >>> model.infer({"input": pixels})["label"]

        Numbers of every type that numpy and the Open Inference Protocol share, in any memory order
        and of any shape; for bytes, arrays of bytes or of str, which come back as object arrays of
        bytes. Lists and Python's numbers are refused: their type would be a guess.

        `args` are a component's own: bool, int, float and str by name. `outputs` are the names of
        those wanted, None for all. JSON that a model gives beside its tensors is left out:
        `run_stream` gives both.
        """
        message = inference.request(self.model, inputs, args, outputs, sequence)
        return inference.named(self._call("ModelInfer", message, timeout, sequence))

    def infer_stream(
        self,
        inputs: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        *,
        sequence: Sequence | None = None,
        timeout: float | None = None,
    ) -> Generator[dict[str, npt.NDArray[Any]], None, None]:
        """Runs the model on named arrays and gives those of each part of its result as it comes.

        `inputs` and the arrays are those of `infer`; `args` may be all that JSON has. The rest is
        as in `run_stream`, which also gives the parts' JSON. A tensor named `image` that is one
        comes as in a `Result`: a channel dimension of 1 is left out.
        """
        # Not ModelStreamInfer, where a failure has no gRPC status: it could be anybody's fault.
        message = request.run(self.model, tensors.arrays(inputs), args, sequence)
        route = self._route("RunStream", timeout, sequence)
        return _parts(route, message, route.start(message), result.tensors)

    def session(self, *, timeout: float | None = None) -> Session:
        """Opens a session: all its requests meet one instance of the model, and no others do.

        >>> with model.session() as session:
        ...     for part in session.run("a"):
        ...         print(part)
        ...     session.answer("b")

        `timeout` is for the whole session.
        """
        return Session(self.model, self._route("RunSession", timeout))

    def get_input_shape(self, *, timeout: float | None = None) -> list[int] | None:
        """The image size that suits the model best: [height, width, channels], or [height, width].

        None where any size does, and for models that take no image.
        """
        shape: list[int] | None = parse(
            self._call("GetInputShape", pb.StringArg(data=self.model), timeout).data
        )
        return shape

    def metadata(self, *, timeout: float | None = None) -> Metadata:
        """What the model says of its tensors: their names, types and shapes.

        None in a shape is for a dimension of any size. Models that take no tensors, or any, name
        none.
        """
        return inference.metadata(
            self._call("ModelMetadata", inference.question(self.model), timeout)
        )

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

    def health_check(self) -> dict[str, Any]:
        """Asks every worker: {"serving": [pid, ...], "stopped_serving": [pid, ...]}.

        A worker that cannot be reached counts as stopped. With several servers the result has
        such a dict for each server, by its address; both lists are empty for a server that has
        never been reached.
        """
        self._pool.check_open()
        asked = [
            (address, worker.pid, _ask_health(worker))
            for address, workers in self._pool.workers()
            for worker in workers
        ]
        return self._health((address, pid, _serves(call)) for address, pid, call in asked)

    def stop_server(self, *, timeout: float | None = None) -> dict[str, bool]:
        """Asks the server to end after the calls in flight; returns {"stopping": True}.

        A client with several servers refuses.
        """
        self._check_one()
        answer: dict[str, bool] = parse(self._call("StopServer", pb.EmptyArgs(), timeout).data)
        return answer

    def close(self) -> None:
        """Closes all channels; calls in flight fail."""
        self._closing.set()
        self._resolve_now.set()
        for channel in self._pool.shut():
            channel.close()

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
        route = self._route(method, timeout, sequence)
        while True:
            make, timeout = route.next()
            try:
                reply = make(message, timeout=timeout)
            except grpc.RpcError as error:
                if not route.failed(error):
                    raise from_rpc(error) from error
            except ValueError as error:
                # What gRPC raises for a channel that another thread has just closed.
                raise ModelClientError(str(error)) from error
            else:
                route.ended()
                return reply
            finally:
                route.release()

    def _connect(self) -> None:
        deadline = time.monotonic() + self.timeout
        if not self._pool.several:
            server = self._pool.servers[0]
            self._pool.joined(server, self._find_workers(server, deadline, patient=True))
            return
        try:
            for server in self._pool.servers:
                self._ask(server)
            if self._pool.unresolved:
                events = self._closing, self._resolve_now
                _in_background(_keep_resolving, weakref.ref(self), *events)
            while (pause := self._wait_for_servers(deadline)) > 0:
                self._news.wait(pause)
                self._news.clear()
        except BaseException:
            self.close()
            raise

    def _find_workers(
        self, server: Server[grpc.Channel], deadline: float, patient: bool
    ) -> list[Worker[grpc.Channel]]:
        """A channel to each worker; those that are there and still lead where they did stay."""
        old = [worker for worker in server.workers if self._leads_there(worker, deadline)]
        workers = {worker.pid: worker for worker in old}
        opened: list[Worker[grpc.Channel]] = []
        try:
            first = self._open(server, deadline, patient)
            opened.append(first)
            wanted = min(self._count_workers(first, deadline), MAX_CHANNELS)
            deadline = min(deadline, time.monotonic() + EXTRA_CHANNELS_TIMEOUT)
            if workers.setdefault(first.pid, first) is not first:
                first.channel.close()
            for _ in range(attempts(wanted)):
                if len(workers) >= wanted:
                    break
                try:
                    worker = self._open(server, deadline, patient)
                except ModelClientError:
                    break  # The channels that stand will do.
                opened.append(worker)
                if workers.setdefault(worker.pid, worker) is not worker:
                    worker.channel.close()
        except BaseException:
            for worker in opened:
                worker.channel.close()
            raise
        return list(workers.values())

    def _leads_there(self, worker: Worker[grpc.Channel], deadline: float) -> bool:
        """Whether a channel has never lost its worker."""
        if worker.lost or not self._is_connected(worker.channel):
            return False
        try:
            reply = worker.calls["GetPID"](pb.EmptyArgs(), timeout=seconds_left(deadline))
        except grpc.RpcError:
            return False
        return number(reply, "pid") == worker.pid

    def _open(
        self, server: Server[grpc.Channel], deadline: float, patient: bool
    ) -> Worker[grpc.Channel]:
        """A new channel, and the worker that it leads to."""
        options = self._options(server)
        channel = (
            grpc.insecure_channel(server.address, options=options)
            if self._credentials is None
            else grpc.secure_channel(server.address, self._credentials, options=options)
        )
        try:
            calls = make_calls(channel)
            pause = FIRST_PAUSE if patient else math.inf
            while True:
                try:
                    reply = calls["GetPID"](pb.EmptyArgs(), timeout=seconds_left(deadline))
                    return Worker(number(reply, "pid"), channel, calls)
                except grpc.RpcError as error:
                    self._raise_unless_worth_retrying(server, error, deadline, pause)
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

    def _lost(self, server: Server[grpc.Channel]) -> None:
        self._ask(server)
        if server.target.resolves:
            self._resolve_now.set()

    def _ask(self, server: Server[grpc.Channel]) -> None:
        _in_background(_keep_asking, weakref.ref(self), server, self._closing)

    def _attempt(self, server: Server[grpc.Channel]) -> bool:
        """Tries to connect; whether there is nothing left to try."""
        if server.gone:
            return True
        try:
            deadline = time.monotonic() + ATTEMPT_TIMEOUT
            workers = self._find_workers(server, deadline, patient=False)
        except Exception as error:
            self._pool.missed(server, error)
            joined = False
        else:
            joined = self._pool.joined(server, workers)
            if not joined:
                for worker in workers:
                    worker.channel.close()
        self._news.set()
        if joined and self._pool.begin_listening(server):
            _in_background(_keep_listening, weakref.ref(self), server, self._closing)
        return joined or server.gone

    def _listen(self, server: Server[grpc.Channel]) -> bool:
        """Takes a server's load reports while they come; whether to ask for them again."""
        worker = self._pool.listens_to(server)
        if worker is None:
            return not server.gone
        try:
            call = worker.calls["StreamCoreMetrics"](load.REQUEST, timeout=load.LISTEN)
            for report in call:
                self._pool.reported(server, report)
        except ValueError:
            pass  # The channel has just been closed.
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                server.listened_to = False  # Until it joins again.
                return False
        return not server.gone

    def _resolve(self) -> float:
        """Looks at the DNS; gives the seconds to the next time."""
        for target in self._targets:
            if target.resolves:
                try:
                    found = ask(target)
                except (OSError, UnicodeError) as error:
                    self._pool.unresolvable(target, error)
                else:
                    for server in self._pool.resolved(target, found):
                        self._ask(server)
        self._news.set()
        return self._resolve_pause()

    @staticmethod
    def _is_connected(channel: grpc.Channel) -> bool:
        states: queue.SimpleQueue[grpc.ChannelConnectivity] = queue.SimpleQueue()
        take = states.put
        channel.subscribe(take)
        try:
            return states.get(timeout=1) is grpc.ChannelConnectivity.READY
        except queue.Empty:
            return True  # Who does not know repeats no call.
        finally:
            channel.unsubscribe(take)

    @staticmethod
    def _watch(call: Any, release: Callable[[], None]) -> Callable[[], object]:
        # Unlike add_done_callback this leaves the call to end with the last reference to it.
        if not call.add_callback(release):
            release()
        return _nothing

    @staticmethod
    def _close_channel(channel: grpc.Channel) -> None:
        # Not in the channel's own thread, which may be the one that says that a call has ended.
        _in_background(channel.close)


def _nothing() -> None:
    pass


def _in_background(work: Callable[..., object], *arguments: object) -> None:
    """A thread that keeps no process alive."""
    threading.Thread(target=work, args=arguments, name="tiny_model_client", daemon=True).start()


def _keep_asking(
    reference: weakref.ref[ModelClient], server: Server[grpc.Channel], closing: threading.Event
) -> None:
    """Tries to connect until a server answers; holds the client only meanwhile."""
    pause = FIRST_PAUSE
    while (client := reference()) is not None and not client._attempt(server):
        del client
        if closing.wait(pause):
            break
        pause = min(2 * pause, LONGEST_REJOIN_PAUSE)


def _keep_listening(
    reference: weakref.ref[ModelClient], server: Server[grpc.Channel], closing: threading.Event
) -> None:
    """Takes a server's load reports; holds the client no longer than load.LISTEN."""
    while (client := reference()) is not None and client._listen(server):
        del client
        if closing.wait(load.LISTEN_PAUSE):
            break


def _keep_resolving(
    reference: weakref.ref[ModelClient], closing: threading.Event, now: threading.Event
) -> None:
    """Looks at the DNS now and then; holds the client only meanwhile."""
    while (client := reference()) is not None:
        pause = client._resolve()
        del client
        now.wait(pause)
        if closing.wait(RESOLVE_PAUSE):
            break
        now.clear()


def _parts(
    route: Route[grpc.Channel], message: Any, call: Any, read: Callable[[pb.Response], T]
) -> Generator[T, None, None]:
    try:
        while True:
            try:
                for reply in call:
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


def _ask_health(worker: Worker[grpc.Channel]) -> Any:
    message = health_pb.HealthCheckRequest(service=HEALTH_SERVICE)
    try:
        return worker.calls["Check"].future(message, timeout=HEALTH_TIMEOUT)  # type: ignore[attr-defined]
    except ValueError:  # Another thread has closed the client.
        return None


def _serves(call: Any) -> bool:
    try:
        return call is not None and call.result().status == health_pb.HealthCheckResponse.SERVING
    except (grpc.RpcError, grpc.FutureCancelledError):
        return False
