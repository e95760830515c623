"""What requests and images cost: `python -m benchmarks.bill` measures, then writes bill.json and the page's tables.

On an otherwise idle machine, about three minutes once the network is built. `--variants` measures some anew and keeps
what bill.json has of the others; `--tables` only writes the tables anew.
"""

import argparse
import signal
import sys
from pathlib import Path

from benchmarks.bill import measured, page

VARIANTS = ("tensorflow-fp32", "onnx-fp32", "openvino-fp32", "openvino-bf16", "openvino-int8")


def main() -> None:
    """Measure, then write docs/benchmarks/bill.json and docs/the-bill.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path.home() / ".cache" / "slipway-benchmarks")
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS, help="(default: all)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each kind of request (default: 4)")
    parser.add_argument("--tables", action="store_true", help="measure nothing: the tables, from bill.json")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended too
    if not arguments.tables:
        from benchmarks.bill.measuring import measure

        for variant in arguments.variants:
            one = measure(arguments.workdir.resolve(), [variant], arguments.seconds)
            measured.save(measured.beside(one))
    page.write(measured.read())
    print(page.PAGE)


if __name__ == "__main__":
    main()
