"""The bill: its arithmetic with its units, and a page whose tables and statements are what was measured."""

import http.server
import threading
from dataclasses import replace

import pytest

from benchmarks.bill import arithmetic
from benchmarks.bill.__main__ import VARIANTS
from benchmarks.bill.arithmetic import MEMORY, NETWORK, PROCESSORS, STORE, Assumptions
from benchmarks.bill.measured import FILE, Asked, Bulk, beside, read, save
from benchmarks.bill.page import COUNTS, PAGE, RATES, number, rendered
from benchmarks.bill.relay import carried

ASSUMED = Assumptions()
ASKED = Asked(requests=100, failed=0, throughput=50.0, cpu_ms=20.0, bytes_in=40_000, bytes_out=500)
FLOATS = replace(ASKED, bytes_in=2_800_000)
BULK = Bulk(images=100, throughput=50.0, cpu_ms=36.0, rss_mb=400.0)


def test_a_thousand_requests_of_twenty_milliseconds_keep_twenty_cores_busy():
    need = arithmetic.requests(1000, ASKED, rss_mb=500.0, server_cores=2, assumed=ASSUMED)
    assert need.cores == pytest.approx(20)
    assert need.servers == 17  # 20 / (2 x 0.6), rounded up
    assert need.memory_gb == pytest.approx(17 * 0.5)
    assert need.in_mb_s == pytest.approx(40)
    assert need.out_mb_s == pytest.approx(0.5)


def test_there_are_two_servers_even_where_less_than_one_would_do():
    assert arithmetic.requests(1, ASKED, 500.0, 2, ASSUMED).servers == 2


def test_a_machines_processors_network_and_memory_each_set_a_limit_and_the_smallest_comes_first():
    files = arithmetic.request_limits(ASKED, 500.0, 2, ASSUMED)
    assert files.by == {
        PROCESSORS: pytest.approx(32 * 0.6 / 0.020),
        NETWORK: pytest.approx(1.25e9 / 40_000),
        MEMORY: pytest.approx(128_000 / 500 * 2 * 0.6 / 0.020),
    }
    assert (files.first, files.second) == (PROCESSORS, MEMORY)
    assert files.factor == pytest.approx(16)
    floats = arithmetic.request_limits(FLOATS, 500.0, 2, ASSUMED)
    assert floats.first == NETWORK
    assert floats.by[NETWORK] == pytest.approx(446.4, abs=0.1)


def test_a_promotion_moves_the_whole_version_to_each_server():
    cost = arithmetic.fleet(1000, 400_000_000, ASSUMED)
    assert cost.moved_gb == pytest.approx(400)
    assert cost.fetch_s == pytest.approx(320)  # 400 GB at 1.25 GB/s
    assert cost.polls_s == pytest.approx(100)


def test_a_billion_images_of_36_milliseconds_are_ten_thousand_core_hours():
    cost = arithmetic.images(1e9, BULK, 30_000, ASSUMED)
    assert cost.core_h == pytest.approx(10_000)
    assert cost.machine_h == pytest.approx(10_000 / 28.8)
    assert cost.read_gb == pytest.approx(30_000)
    assert cost.written_gb == pytest.approx(100)
    assert cost.gets_h == pytest.approx(50.5, abs=0.01)


def test_single_files_of_one_prefix_are_the_limit_only_where_the_processors_are_fast():
    slow = arithmetic.bulk_limits(BULK, 30_000, 2, ASSUMED)
    assert slow.first == PROCESSORS
    assert slow.factor == pytest.approx(5500 / 800)
    assert arithmetic.bulk_limits(replace(BULK, cpu_ms=3.6), 30_000, 2, ASSUMED).first == STORE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (0.01234, "0.0123"), (0.5, "0.5"), (4.5678, "4.57"), (45.678, "45.7"), (456.78, "457")),
        *((4567.8, "4,570"), (1234567, "1,230,000"), (9.999, "10.0"), (999.9, "1,000")),
    ],
)
def test_a_number_has_three_significant_digits(value, text):
    assert number(value) == text


def test_what_is_saved_is_read_again(tmp_path):
    save(read(), tmp_path / "bill.json")
    assert read(tmp_path / "bill.json") == read()
    assert (tmp_path / "bill.json").read_text() == FILE.read_text()


def test_the_pages_tables_are_what_the_measurements_give():
    text = PAGE.read_text(encoding="utf-8")
    assert rendered(text, read(), ASSUMED) == text, "run python -m benchmarks.bill --tables"
    for table in [
        "machine",
        "assumed",
        "requests_measured",
        "servers_measured",
        "images",
        *map("requests_{}".format, RATES),
    ]:
        assert f"<!-- bill: {table} -->" in text
    assert RATES == (10, 1_000, 100_000)
    assert COUNTS == (1_000_000, 1_000_000_000)


def test_a_variant_was_measured_with_every_kind_of_request_and_none_failed():
    measured = read()
    assert {"openvino-int8"} <= set(measured.variants) <= set(VARIANTS)
    for served in measured.variants.values():
        assert set(served.asked) == {"JPEG bytes", "JSON floats", "gRPC tensor"}
        assert all(asked.requests and not asked.failed and asked.cpu_ms > 0 for asked in served.asked.values())
        assert served.bulk.images
        assert 0 < served.bytes < measured.version_bytes


def test_what_the_pages_text_says_of_the_first_bottleneck_holds():
    measured = read()
    for name, served in measured.variants.items():
        limits = {
            kind: arithmetic.request_limits(asked, served.rss_mb, measured.cores, ASSUMED)
            for kind, asked in served.asked.items()
        }
        assert limits["JPEG bytes"].first == limits["gRPC tensor"].first == PROCESSORS
        assert MEMORY not in {each.first for each in limits.values()}
        floats = limits["JSON floats"].by
        if name == "openvino-int8":
            assert 0.5 < floats[NETWORK] / floats[PROCESSORS] < 2
        elif name.endswith("fp32"):
            assert floats[NETWORK] > floats[PROCESSORS]
        assert arithmetic.bulk_limits(served.bulk, measured.jpeg_bytes, measured.cores, ASSUMED).first == PROCESSORS
        for asked in served.asked.values():
            assert arithmetic.requests(10, asked, served.rss_mb, measured.cores, ASSUMED).servers == 2


def test_a_variant_that_is_measured_anew_takes_the_place_of_its_older_figures_alone(tmp_path):
    measured = read()
    name = "openvino-int8"
    save(measured, tmp_path / "bill.json")
    newer = replace(measured, variants={name: replace(measured.variants[name], rss_mb=1.0)}, date="2030-01-01")
    both = beside(newer, tmp_path / "bill.json")
    assert both.variants[name].rss_mb == 1.0
    assert {key: both.variants[key] for key in both.variants if key != name} == {
        key: measured.variants[key] for key in measured.variants if key != name
    }
    assert both.date == "2030-01-01"
    assert beside(replace(newer, machine="another"), tmp_path / "bill.json").variants == newer.variants


def test_the_relay_counts_heads_and_bodies_each_way():
    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        small, _ = carried(url, "text/plain", [b"x" * 100])
        large, out = carried(url, "text/plain", [b"x" * 900] * 3)
    finally:
        server.shutdown()
        server.server_close()
    assert large - small == 800
    assert 0 < small - 100 < 200
    assert out == len(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
