"""Users of Tiny Model Server for Locust, over its Python client.

Which ones call is said by SCENARIO: text, image, mixed (both, texts three times as often) or spike
(mixed, whose users become ten times as many for a while). `benches/load_test.py` starts a server
and this; against a server of your own:

    SCENARIO=mixed locust -f benches/locustfile.py --host localhost:50000

Derive from ModelUser for models of your own.
"""

import os
import time
from collections.abc import Callable

import grpc.experimental.gevent

# Before any channel: grpc's own threads would keep Locust's users from running.
grpc.experimental.gevent.init_gevent()

import numpy  # noqa: E402
from locust import LoadTestShape, User, constant, task  # noqa: E402
from tiny_model_client import ModelClient  # noqa: E402

SCENARIO = os.environ.get("SCENARIO", "mixed")
# Users of a spike at first, and how many times as many they become.
USERS, TIMES = int(os.environ.get("USERS", "10")), 10
# Seconds of each part of a spike: before, in it, after it.
PART = int(os.environ.get("SECONDS_OF_A_PART", "10"))


class ModelUser(User):
    """A user with a client for each model that it calls. Failed calls are counted as such."""

    abstract = True
    wait_time = constant(0)

    def on_start(self) -> None:
        """Connects with the first call."""
        self.clients: dict[str, ModelClient] = {}

    def on_stop(self) -> None:
        """Leaves."""
        for client in self.clients.values():
            client.close()

    def model(self, name: str) -> ModelClient:
        """The client of a model."""
        if name not in self.clients:
            host, _, port = (self.host or "localhost:50000").rpartition(":")
            self.clients[name] = ModelClient(name, host, port, timeout=30)
        return self.clients[name]

    def call(self, name: str, work: Callable[[ModelClient], object]) -> None:
        """One call of a model, reported under its name."""
        client, failure = self.model(name), None
        began = time.perf_counter()
        try:
            work(client)
        except Exception as error:
            failure = error
        self.environment.events.request.fire(
            request_type="grpc",
            name=name,
            response_time=(time.perf_counter() - began) * 1000,
            response_length=0,
            exception=failure,
        )


class TextUser(ModelUser):
    """Sends texts."""

    abstract = SCENARIO not in ("text", "mixed", "spike")
    weight = 3

    @task
    def text(self) -> None:
        """A short one."""
        self.call("example_text", lambda model: model.run_text("hello"))


class ImageUser(ModelUser):
    """Sends images."""

    abstract = SCENARIO not in ("image", "mixed", "spike")
    weight = 1
    pixels = numpy.zeros((150, 200, 3), numpy.uint8)

    @task
    def image(self) -> None:
        """A small one."""
        self.call("example_image", lambda model: model.run_image(self.pixels))


if SCENARIO == "spike":

    class Spike(LoadTestShape):
        """Few users, ten times as many, few again."""

        def tick(self) -> tuple[int, float] | None:
            """How many users there are to be now, and how many a second begin."""
            part = int(self.get_run_time() // PART)
            if part >= 3:
                return None
            users = USERS * TIMES if part == 1 else USERS
            return users, users
