"""What the disk takes for one sync, beside which latencies are read."""

from bench import latency


def test_the_disk_alone_is_measured_and_half_of_its_syncs_take_no_longer_than_the_median(tmp_path):
    found = latency.of_syncs(tmp_path)
    assert 0 < found.p50_ms <= found.p99_ms
    assert found.measured == 300
