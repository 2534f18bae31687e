"""The nine calls, and the models behind them."""

import importlib
import json
import os
import pkgutil
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import server_pb2
import server_pb2_grpc

import models
from models import ModelInterface

MAX_MESSAGE = 64 << 20
DTYPES = {"uint8": np.uint8, "float32": np.float32, "float64": np.float64}

Models = dict[str, ModelInterface]


def load(weights: Path, threads: int) -> Models:
    """Every module in models/, with the folder of its weights; those without them are left out."""
    loaded: Models = {}
    for module in pkgutil.iter_modules(models.__path__):
        folder = weights / module.name
        if folder.is_dir():
            code = importlib.import_module(f"models.{module.name}")
            loaded[module.name] = code.Model(folder, threads)
    return loaded


def start(address: str, loaded: Models, processes: int, threads: int, stop: Event) -> grpc.Server:
    """A server that shares its port with those of the other processes."""
    options = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", MAX_MESSAGE),
        ("grpc.max_send_message_length", MAX_MESSAGE),
    ]
    server = grpc.server(ThreadPoolExecutor(threads), options=options)
    service = Service(loaded, processes, stop)
    server_pb2_grpc.add_ServerServicer_to_server(service, server)
    server.add_insecure_port(address)
    server.start()
    return server


def array(image: Any) -> np.ndarray:
    """An image's pixels where they lie in the message: no copy is made."""
    pixels = np.frombuffer(image.data, DTYPES[image.dtype])
    if image.channels == 1:
        return pixels.reshape(image.height, image.width)
    return pixels.reshape(image.height, image.width, image.channels)


class Service(server_pb2_grpc.ServerServicer):
    """Answers calls with what the models say, as JSON."""

    def __init__(self, loaded: Models, processes: int, stop: Event) -> None:
        self.models = loaded
        self.processes = processes
        self.stop = stop

    def RunText(self, request, context):
        """Runs a model on a text."""
        model = self.model(request.model, context)
        return reply(lambda: model.run(request.text, arguments(request)), context)

    def RunBatchText(self, request, context):
        """Runs a model on several texts."""
        model = self.model(request.model, context)
        return reply(lambda: model.run_batch(list(request.texts), arguments(request)), context)

    def RunImage(self, request, context):
        """Runs a model on an image."""
        model = self.model(request.model, context)
        return reply(lambda: model.run(array(request.image), arguments(request)), context)

    def RunBatchImage(self, request, context):
        """Runs a model on several images."""
        model = self.model(request.model, context)
        images = map(array, request.images)
        return reply(lambda: model.run_batch(list(images), arguments(request)), context)

    def ListModels(self, request, context):
        """The models' names."""
        return reply(lambda: sorted(self.models), context)

    def GetInputShape(self, request, context):
        """The shape that a model wants, or null."""
        return reply(self.model(request.data, context).get_input_shape, context)

    def GetPID(self, request, context):
        """Which process serves this connection."""
        return reply(lambda: {"pid": os.getpid()}, context)

    def GetNumParallelWorkers(self, request, context):
        """How many processes there are."""
        return reply(lambda: {"num_workers": self.processes}, context)

    def StopServer(self, request, context):
        """Ends all processes."""
        self.stop.set()
        return reply(lambda: {"stopping": True}, context)

    def model(self, name: str, context: grpc.ServicerContext) -> ModelInterface:
        """The model of that name."""
        model = self.models.get(name)
        if model is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model `{name}`")
        return model


def arguments(request: Any) -> dict:
    """A call's arguments: none, `""`, `null` and `{}` mean the same."""
    return (json.loads(request.args) if request.args else None) or {}


def reply(answer: Any, context: grpc.ServicerContext) -> Any:
    """What a model says, as the protocol has it."""
    try:
        return server_pb2.Response(data=json.dumps(answer()))
    except (ValueError, KeyError, TypeError) as error:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
