"""What `ip` may be, and what it must not."""

from __future__ import annotations

from typing import Any

import pytest

from tiny_model_client import AsyncModelClient, InvalidInput, InvalidType, ModelClient


@pytest.mark.parametrize(
    ("ip", "address"),
    [
        ("localhost", "localhost:50000"),
        ("10.0.0.7:51000", "10.0.0.7:51000"),
        ("::1", "[::1]:50000"),
        ("[::1]", "[::1]:50000"),
        ("[::1]:51000", "[::1]:51000"),
        ("fe80::1%lo", "[fe80::1%lo]:50000"),
        ("unix:/run/tms.sock", "unix:/run/tms.sock"),
        ("dns:tms.test", "dns:tms.test:50000"),
        ("dns:tms.test:51000", "dns:tms.test:51000"),
        (["a"], "a:50000"),
        (("a", "b:1", "unix:c", "dns:d"), "a:50000, b:1, unix:c, dns:d:50000"),
    ],
)
def test_addresses(ip: Any, address: str) -> None:
    assert AsyncModelClient("any", ip).address == address
    assert AsyncModelClient("any", ip, "50000").address == address


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ip": []}, "empty"),
        ({"ip": ["a", "a:50000"]}, "a:50000 is in the list of servers twice"),
        ({"ip": ["dns:a", "dns:a"]}, "twice"),
        ({"ip": ""}, "no server's address"),
        ({"ip": ["a", ""]}, "no server's address"),
        ({"ip": "a b"}, "no server's address"),
        ({"ip": "a,b"}, "no server's address"),
        ({"ip": "http://a"}, "no port"),
        ({"ip": "[::1"}, "no server's address"),
        ({"ip": "[::1]50000"}, "no server's address"),
        ({"ip": "a:b:c"}, "no server's address"),
        ({"ip": "unix:"}, "no server's address"),
        ({"ip": "dns:"}, "no server's address"),
        ({"ip": "a:"}, "no port"),
        ({"ip": "a:http"}, "no port"),
        ({"ip": "a:65536"}, "no port"),
        ({"port": 0}, "no port"),
        ({"port": -1}, "no port"),
        ({"balance": "fastest"}, "round_robin, weighted, two_choices, not 'fastest'"),
        ({"balance": None}, "balance"),
        ({"balance": []}, "balance"),
    ],
)
def test_what_is_no_address(options: dict[str, Any], says: str) -> None:
    for kind in (ModelClient, AsyncModelClient):
        with pytest.raises(InvalidInput, match=says):
            kind("any", **options)


@pytest.mark.parametrize("ip", [7, None, [b"a"], ["a", None]])
def test_other_types(ip: Any) -> None:
    for kind in (ModelClient, AsyncModelClient):
        with pytest.raises(InvalidType, match="str or a list"):
            kind("any", ip)
