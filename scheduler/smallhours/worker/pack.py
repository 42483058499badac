"""State as plain data and back: what a checkpoint may hold, without pickle's dangers."""

from __future__ import annotations

import base64
from collections import Counter, OrderedDict
from typing import Any

from smallhours.worker.limits import loaded

#: Key of a dict that stands for something plain data has no form for.
_MARK = "__smallhours__"
#: Types of keys that a stored dict keeps.
_JSON_KEYS = frozenset({str})
_TORCH_KEYS = frozenset({str, int, float, bool})


class CannotSaveError(TypeError):
    """The state holds something that a checkpoint can't."""


def pack(value: Any, where: str, *, tensors: bool) -> Any:
    """Return a value in a form that can be stored and read back safely.

    Args:
        value: Numbers, text, None, lists, tuples, dicts, sets, numpy arrays, tensors.
        where: What to call it in an error: ``state['model']``.
        tensors: Whether torch does the storing: tensors, and dicts with any keys, stay as they
            are. Else the form is JSON.

    Raises:
        CannotSaveError: it holds something else.
    """
    if value is None or type(value) in {bool, int, float, str}:
        return value
    if tensors and _is_torch(value):
        return value
    array = _packed_array(value, where)
    if array is not None:
        return array
    if isinstance(value, dict):
        return _packed_dict(value, where, tensors=tensors)
    if type(value) in {list, tuple}:
        items = [pack(item, f"{where}[{i}]", tensors=tensors) for i, item in enumerate(value)]
        if type(value) is list:
            return items
        return tuple(items) if tensors else {_MARK: "tuple", "items": items}
    if type(value) in {set, frozenset, bytes}:
        return _packed_special(value, where, tensors=tensors)
    raise CannotSaveError(
        f"{where}: a checkpoint can't hold {type(value).__module__}.{type(value).__qualname__};"
        " give plain data, or something with state_dict() and load_state_dict()"
    )


def unpack(value: Any) -> Any:
    """Return what `pack` was given."""
    if isinstance(value, dict):
        mark = value.get(_MARK)
        if mark is not None:
            return _unpacked(str(mark), value)
        changed = {key: unpack(item) for key, item in value.items()}
        if all(changed[key] is value[key] for key in value):
            return value  # the very object: torch hangs attributes on its ordered dicts
        return OrderedDict(changed) if isinstance(value, OrderedDict) else changed
    if type(value) is list:
        return [unpack(item) for item in value]
    if type(value) is tuple:
        changed_items = tuple(unpack(item) for item in value)
        same = all(a is b for a, b in zip(changed_items, value, strict=True))
        return value if same else changed_items
    return value


def _packed_dict(value: dict[Any, Any], where: str, *, tensors: bool) -> Any:
    changed = {key: pack(item, f"{where}[{key!r}]", tensors=tensors) for key, item in value.items()}
    plain = _TORCH_KEYS if tensors else _JSON_KEYS
    if type(value) is Counter:
        return {_MARK: "counter", "items": [[key, count] for key, count in changed.items()]}
    if all(type(key) in plain for key in changed) and _MARK not in changed:
        if tensors and isinstance(value, OrderedDict):
            same = all(changed[key] is value[key] for key in value)
            return value if same else OrderedDict(changed)
        return changed
    pairs = [[pack(key, where, tensors=tensors), item] for key, item in changed.items()]
    return {_MARK: "dict", "items": pairs}


def _packed_special(value: Any, where: str, *, tensors: bool) -> dict[str, Any]:
    if type(value) is bytes:
        return {_MARK: "bytes", "data": base64.b64encode(value).decode()}
    items = [pack(item, where, tensors=tensors) for item in sorted(value, key=repr)]
    return {_MARK: type(value).__name__, "items": items}


def _packed_array(value: Any, where: str) -> Any:
    """Return the form of a numpy array or scalar; None: it is neither."""
    numpy = loaded("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray | numpy.generic):
        return None
    if value.dtype.hasobject:
        raise CannotSaveError(f"{where}: a checkpoint can't hold an array of Python objects")
    return {
        _MARK: "array" if isinstance(value, numpy.ndarray) else "scalar",
        "dtype": value.dtype.str,
        "shape": list(value.shape),
        "data": base64.b64encode(value.tobytes()).decode(),
    }


def _is_torch(value: Any) -> bool:
    torch = loaded("torch")
    return torch is not None and isinstance(
        value, torch.Tensor | torch.Size | torch.dtype | torch.device
    )


def _unpacked(mark: str, value: dict[str, Any]) -> Any:
    if mark in {"array", "scalar"}:
        import numpy as np

        data = np.frombuffer(base64.b64decode(value["data"]), dtype=np.dtype(value["dtype"]))
        array = data.reshape(value["shape"]).copy()
        return array if mark == "array" else array[()]
    if mark == "bytes":
        return base64.b64decode(value["data"])
    items = [unpack(item) for item in value["items"]]
    if mark in {"dict", "counter"}:
        return dict(items) if mark == "dict" else Counter(dict(items))
    return {"tuple": tuple, "set": set, "frozenset": frozenset}[mark](items)
