"""Start OpenVINO without what it tells its maker.

By itself, its import writes an identity into the home directory, forks the process, and sends an event to a service
that counts users. The converter, which is imported for that, takes half of the import's time.
"""

import sys
import threading
from types import ModuleType
from typing import Any

_TELEMETRY, _CONVERTER = "openvino_telemetry", "openvino.tools.ovc"
_STARTING = threading.Lock()


def start_openvino() -> Any:
    """Import OpenVINO and return the module, without `convert_model`: `openvino.tools.ovc` has that.

    ImportError if it is not installed. May be called from any thread.
    """
    refused: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    with _STARTING:
        refused.setdefault(_TELEMETRY, None)  # an ImportError to whoever asks for it; all do without, then
        converter = refused.get(_CONVERTER)
        refused[_CONVERTER] = None
        try:
            import openvino
        finally:
            del refused[_CONVERTER]
            if converter is not None:
                refused[_CONVERTER] = converter
    return openvino
