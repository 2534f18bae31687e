from . import orca_load_report as _orca_load_report_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OrcaLoadReportRequest(_message.Message):
    __slots__ = ("report_interval",)
    class Interval(_message.Message):
        __slots__ = ("seconds",)
        SECONDS_FIELD_NUMBER: _ClassVar[int]
        seconds: int
        def __init__(self, seconds: _Optional[int] = ...) -> None: ...
    REPORT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    report_interval: OrcaLoadReportRequest.Interval
    def __init__(self, report_interval: _Optional[_Union[OrcaLoadReportRequest.Interval, _Mapping]] = ...) -> None: ...
