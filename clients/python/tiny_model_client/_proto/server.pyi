from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EmptyArgs(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StringArg(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: str
    def __init__(self, data: _Optional[str] = ...) -> None: ...

class TextArgs(_message.Message):
    __slots__ = ("text", "model", "args")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    text: str
    model: str
    args: str
    def __init__(self, text: _Optional[str] = ..., model: _Optional[str] = ..., args: _Optional[str] = ...) -> None: ...

class ImageArgs(_message.Message):
    __slots__ = ("image", "model", "args")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    image: NumpyImage
    model: str
    args: str
    def __init__(self, image: _Optional[_Union[NumpyImage, _Mapping]] = ..., model: _Optional[str] = ..., args: _Optional[str] = ...) -> None: ...

class BatchTextArgs(_message.Message):
    __slots__ = ("texts", "model", "args")
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    model: str
    args: str
    def __init__(self, texts: _Optional[_Iterable[str]] = ..., model: _Optional[str] = ..., args: _Optional[str] = ...) -> None: ...

class BatchImageArgs(_message.Message):
    __slots__ = ("images", "model", "args")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[NumpyImage]
    model: str
    args: str
    def __init__(self, images: _Optional[_Iterable[_Union[NumpyImage, _Mapping]]] = ..., model: _Optional[str] = ..., args: _Optional[str] = ...) -> None: ...

class NumpyImage(_message.Message):
    __slots__ = ("height", "width", "channels", "data", "dtype")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    channels: int
    data: bytes
    dtype: str
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., channels: _Optional[int] = ..., data: _Optional[bytes] = ..., dtype: _Optional[str] = ...) -> None: ...

class Response(_message.Message):
    __slots__ = ("data", "image", "tensors", "batch")
    DATA_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    data: str
    image: NumpyImage
    tensors: _containers.RepeatedCompositeFieldContainer[NamedTensor]
    batch: _containers.RepeatedCompositeFieldContainer[Parts]
    def __init__(self, data: _Optional[str] = ..., image: _Optional[_Union[NumpyImage, _Mapping]] = ..., tensors: _Optional[_Iterable[_Union[NamedTensor, _Mapping]]] = ..., batch: _Optional[_Iterable[_Union[Parts, _Mapping]]] = ...) -> None: ...

class ImageResponse(_message.Message):
    __slots__ = ("data", "image")
    DATA_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    data: str
    image: NumpyImage
    def __init__(self, data: _Optional[str] = ..., image: _Optional[_Union[NumpyImage, _Mapping]] = ...) -> None: ...

class NamedTensor(_message.Message):
    __slots__ = ("name", "datatype", "shape", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Parts(_message.Message):
    __slots__ = ("image", "tensors")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    image: NumpyImage
    tensors: _containers.RepeatedCompositeFieldContainer[NamedTensor]
    def __init__(self, image: _Optional[_Union[NumpyImage, _Mapping]] = ..., tensors: _Optional[_Iterable[_Union[NamedTensor, _Mapping]]] = ...) -> None: ...
