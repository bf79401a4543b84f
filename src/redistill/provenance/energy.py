"""Energy that the machine used while a job ran, where it counts that: processors (RAPL) and devices (NVIDIA's).

The counters are the machine's, not the job's: what ran beside it is in them. Where there is no counter, or none that
this user may read, nothing is said.
"""

import sys
import threading
from pathlib import Path
from typing import Any

from redistill.provenance import nvidia

POWERCAP = Path("/sys/class/powercap")
EVERY = 30.0  # seconds: a counter of 65 kJ, the smallest there is, then wraps at most once below 2 kW


class Meter:
    """Reads the counters when it is made, now and then since they wrap around, and when it is asked."""

    def __init__(self, device: str = "cpu"):
        self._zones = [zone for zone in sorted(POWERCAP.glob("intel-rapl:*")) if _is_package(zone)]
        self._last = {zone: _read(zone) for zone in self._zones}
        self._used = 0  # microjoules
        self._lock, self._over = threading.Lock(), threading.Event()
        self._devices = nvidia.millijoules() if device == "cuda" else {}
        if self._counts():
            threading.Thread(target=self._watch, daemon=True).start()

    def joules(self) -> dict[str, float] | None:
        """What was used up to now, by `processors` and `devices`, whichever are counted; the last question."""
        self._over.set()
        self._look()
        found = {"processors": round(self._used / 1e6, 3)} if self._counts() else {}
        now = nvidia.millijoules() if self._devices else {}
        seen = [uuid for uuid in _visible() if uuid in self._devices and uuid in now]
        if seen:
            found["devices"] = round(sum(now[uuid] - self._devices[uuid] for uuid in seen) / 1e3, 3)
        return found or None

    def _counts(self) -> bool:
        return bool(self._last) and all(value is not None for value in self._last.values())

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            self._look()

    def _look(self) -> None:
        with self._lock:
            for zone, before in self._last.items():
                now = _read(zone)
                if before is not None and now is not None and now < before:
                    wrapped = _number(zone / "max_energy_range_uj")
                    before = before - wrapped if wrapped is not None else None
                self._last[zone] = now if before is not None else None  # what was missed once is missed for good
                self._used += now - before if now is not None and before is not None else 0


def _is_package(zone: Path) -> bool:
    """A processor as a whole: its parts are in it, and `psys` has more than the processors."""
    try:
        return zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package")
    except OSError:
        return False


def _read(zone: Path) -> int | None:
    return _number(zone / "energy_uj")


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # on most machines root alone may read it
        return None


def _visible() -> list[str]:
    """The UUIDs of the devices that torch has used here."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
