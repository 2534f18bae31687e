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
    __slots__ = ("text", "model", "args", "sequence")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    text: str
    model: str
    args: str
    sequence: Sequence
    def __init__(self, text: _Optional[str] = ..., model: _Optional[str] = ..., args: _Optional[str] = ..., sequence: _Optional[_Union[Sequence, _Mapping]] = ...) -> None: ...

class ImageArgs(_message.Message):
    __slots__ = ("image", "model", "args", "sequence")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    image: NumpyImage
    model: str
    args: str
    sequence: Sequence
    def __init__(self, image: _Optional[_Union[NumpyImage, _Mapping]] = ..., model: _Optional[str] = ..., args: _Optional[str] = ..., sequence: _Optional[_Union[Sequence, _Mapping]] = ...) -> None: ...

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

class EncodedArgs(_message.Message):
    __slots__ = ("encoded", "model", "args", "sequence")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    encoded: Encoded
    model: str
    args: str
    sequence: Sequence
    def __init__(self, encoded: _Optional[_Union[Encoded, _Mapping]] = ..., model: _Optional[str] = ..., args: _Optional[str] = ..., sequence: _Optional[_Union[Sequence, _Mapping]] = ...) -> None: ...

class RunArgs(_message.Message):
    __slots__ = ("text", "image", "encoded", "tensors", "model", "args", "sequence")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    text: str
    image: NumpyImage
    encoded: Encoded
    tensors: Tensors
    model: str
    args: str
    sequence: Sequence
    def __init__(self, text: _Optional[str] = ..., image: _Optional[_Union[NumpyImage, _Mapping]] = ..., encoded: _Optional[_Union[Encoded, _Mapping]] = ..., tensors: _Optional[_Union[Tensors, _Mapping]] = ..., model: _Optional[str] = ..., args: _Optional[str] = ..., sequence: _Optional[_Union[Sequence, _Mapping]] = ...) -> None: ...

class Sequence(_message.Message):
    __slots__ = ("id", "start", "end")
    ID_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    id: str
    start: bool
    end: bool
    def __init__(self, id: _Optional[str] = ..., start: bool = ..., end: bool = ...) -> None: ...

class Encoded(_message.Message):
    __slots__ = ("data", "media_type")
    DATA_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    media_type: str
    def __init__(self, data: _Optional[bytes] = ..., media_type: _Optional[str] = ...) -> None: ...

class Tensors(_message.Message):
    __slots__ = ("tensors",)
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    tensors: _containers.RepeatedCompositeFieldContainer[NamedTensor]
    def __init__(self, tensors: _Optional[_Iterable[_Union[NamedTensor, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("data", "image", "tensors", "batch", "encoded", "more")
    DATA_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    data: str
    image: NumpyImage
    tensors: _containers.RepeatedCompositeFieldContainer[NamedTensor]
    batch: _containers.RepeatedCompositeFieldContainer[Parts]
    encoded: Encoded
    more: bool
    def __init__(self, data: _Optional[str] = ..., image: _Optional[_Union[NumpyImage, _Mapping]] = ..., tensors: _Optional[_Iterable[_Union[NamedTensor, _Mapping]]] = ..., batch: _Optional[_Iterable[_Union[Parts, _Mapping]]] = ..., encoded: _Optional[_Union[Encoded, _Mapping]] = ..., more: bool = ...) -> None: ...

class ImageResponse(_message.Message):
    __slots__ = ("data", "image")
    DATA_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    data: str
    image: NumpyImage
    def __init__(self, data: _Optional[str] = ..., image: _Optional[_Union[NumpyImage, _Mapping]] = ...) -> None: ...

class BatchImageResponse(_message.Message):
    __slots__ = ("data", "images")
    DATA_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    data: str
    images: _containers.RepeatedCompositeFieldContainer[NumpyImage]
    def __init__(self, data: _Optional[str] = ..., images: _Optional[_Iterable[_Union[NumpyImage, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("image", "tensors", "encoded")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    image: NumpyImage
    tensors: _containers.RepeatedCompositeFieldContainer[NamedTensor]
    encoded: Encoded
    def __init__(self, image: _Optional[_Union[NumpyImage, _Mapping]] = ..., tensors: _Optional[_Iterable[_Union[NamedTensor, _Mapping]]] = ..., encoded: _Optional[_Union[Encoded, _Mapping]] = ...) -> None: ...
