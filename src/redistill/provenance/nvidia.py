"""What NVIDIA's management library says: the driver, and the energy that each device has used. None where it is not."""

import ctypes
from functools import cache
from typing import Any

_LENGTH = 96  # of names


def driver() -> str | None:
    """The driver's version."""
    library, name = _library(), ctypes.create_string_buffer(_LENGTH)
    if library is None or library.nvmlSystemGetDriverVersion(name, _LENGTH):
        return None
    return name.value.decode()


def millijoules() -> dict[str, int]:
    """What each device has used since the driver was loaded, by the device's UUID; only those that count it."""
    library, count = _library(), ctypes.c_uint()
    if library is None or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return {}
    found = {}
    for place in range(count.value):
        device, used, uuid = ctypes.c_void_p(), ctypes.c_ulonglong(), ctypes.create_string_buffer(_LENGTH)
        if (
            library.nvmlDeviceGetHandleByIndex_v2(place, ctypes.byref(device)) == 0
            and library.nvmlDeviceGetUUID(device, uuid, _LENGTH) == 0
            and library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(used)) == 0
        ):
            found[uuid.value.decode().removeprefix("GPU-")] = used.value
    return found


@cache
def _library() -> Any:
    """The library, ready; None where there is none."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        return library if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None
