"""GGUF, version 3: just what the shipped model needs of it. Metadata, tensors as F32 or Q8_0, written and read back."""

import os
import struct

import numpy as np

ALIGNMENT = 32
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
SCALARS = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}
TENSOR_F32, TENSOR_Q8_0 = 0, 8
BLOCK = 32
Q8_0 = np.dtype([("scale", "<f2"), ("values", "i1", BLOCK)])


def quantize(matrix):
    """ggml's Q8_0: each 32 numbers of a row as signed bytes times one half-precision scale."""
    blocks = np.asarray(matrix, np.float32).reshape(-1, BLOCK)
    scale = np.abs(blocks).max(axis=1) / np.float32(127)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
    product = blocks * inverse[:, None]
    out = np.empty(len(blocks), Q8_0)
    out["scale"] = scale
    out["values"] = np.trunc(product + np.copysign(np.float32(0.5), product))
    return out.tobytes()


def dequantize(data, shape):
    """The numbers that Q8_0 bytes stand for."""
    blocks = np.frombuffer(data, Q8_0)
    return (blocks["scale"].astype(np.float32)[:, None] * blocks["values"]).reshape(shape)


def pack_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def pack_value(kind, value):
    """One metadata value's bytes; an array's kind is the pair (ARRAY, kind of its elements)."""
    if isinstance(kind, tuple):
        return struct.pack("<IQ", kind[1], len(value)) + b"".join(pack_value(kind[1], item) for item in value)
    return pack_string(value) if kind == STRING else struct.pack(SCALARS[kind], value)


def write(path, metadata, tensors):
    """Writes a file of metadata [(key, kind, value)] and tensors [(name, array)]: matrices as Q8_0, vectors as F32."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    for key, kind, value in metadata:
        head += pack_string(key) + struct.pack("<I", kind[0] if isinstance(kind, tuple) else kind)
        head += pack_value(kind, value)
    body = b""
    for name, array in tensors:
        matrix = array.ndim == 2
        head += pack_string(name) + struct.pack("<I", array.ndim)
        head += struct.pack("<%dQ" % array.ndim, *reversed(array.shape))
        head += struct.pack("<IQ", TENSOR_Q8_0 if matrix else TENSOR_F32, len(body))
        body += quantize(array) if matrix else array.astype("<f4").tobytes()
        body += bytes(-len(body) % ALIGNMENT)
    with open(path + ".part", "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT) + body)
    os.replace(path + ".part", path)
    return len(head) + -len(head) % ALIGNMENT + len(body)


class Reader:
    """Reads such a file back: metadata as a dictionary, tensors as a dictionary of float32 arrays."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.place = 0
        magic, version, n_tensors, n_metadata = self.take("<4sIQQ")
        if magic != b"GGUF" or version != 3:
            raise ValueError("not a GGUF file of version 3")
        self.metadata = {self.string(): self.value(*self.take("<I")) for _ in range(n_metadata)}
        infos = [self.info() for _ in range(n_tensors)]
        start = self.place + -self.place % ALIGNMENT
        self.tensors = {name: self.tensor(start + offset, kind, shape) for name, kind, shape, offset in infos}

    def take(self, layout):
        fields = struct.unpack_from(layout, self.data, self.place)
        self.place += struct.calcsize(layout)
        return fields

    def string(self):
        size, = self.take("<Q")
        self.place += size
        return self.data[self.place - size:self.place].decode()

    def value(self, kind):
        if kind == ARRAY:
            item, count = self.take("<IQ")
            return [self.value(item) for _ in range(count)]
        return self.string() if kind == STRING else self.take(SCALARS[kind])[0]

    def info(self):
        name = self.string()
        n_dims, = self.take("<I")
        shape = tuple(reversed(self.take("<%dQ" % n_dims)))
        kind, offset = self.take("<IQ")
        return name, kind, shape, offset

    def tensor(self, place, kind, shape):
        count = int(np.prod(shape))
        if kind == TENSOR_F32:
            return np.frombuffer(self.data, "<f4", count, place).reshape(shape).copy()
        return dequantize(self.data[place:place + count // BLOCK * Q8_0.itemsize], shape)
