import dataclasses
import threading

import pytest
from sqlalchemy import create_engine, delete, update

from pipeline.intact import check_ledger
from registry.database import LEDGER, default_database_url, open_database
from registry.history import history
from registry.ledger import Ledger, NewEntry
from slipway.errors import InputError, IntegrityError, UnavailableError
from tests.registry.tampering import tamper


@pytest.fixture
def ledger(database):
    times = iter(range(1_800_000_000, 1_900_000_000))
    return Ledger(database, clock=lambda: float(next(times)))


def move(ledger, action, version, before, **changes):
    entry = NewEntry("digits", action, "champion", before, version, "ada", "command", "because")
    return ledger.append(dataclasses.replace(entry, **changes))


def test_entries_are_read_back_as_they_were_appended(ledger):
    first = move(ledger, "promote", 1, None, gate_report={"passed": True, "rules": [{"measured": 0.1}]})
    second = move(ledger, "promote", 2, 1, forced=True, reason="Grüße, \"quoted\" and 'so'")
    assert ledger.entries("digits") == (first, second)
    assert (first.id, second.id) == (1, 2)
    assert first.time_s == 1_800_000_000
    assert second.previous_digest == first.digest


def test_models_share_a_chain_and_are_read_apart(ledger):
    move(ledger, "promote", 1, None)
    other = move(ledger, "promote", 7, None, model="letters")
    assert ledger.entries("letters") == (other,)
    assert len(ledger.entries()) == 2
    assert ledger.verify_chain() == 2
    assert ledger.last_ids() == {"digits": 1, "letters": 2}


@pytest.mark.parametrize(
    "values",
    [{"to_version": 9}, {"reason": "other"}, {"forced": True}, {"time_s": 0.0}, {"gate_report": '{"passed":true}'}],
)
def test_a_changed_entry_breaks_the_chain_and_is_named(ledger, values):
    for version in (1, 2, 3):
        move(ledger, "promote", version, version - 1 or None)
    assert ledger.verify_chain() == 3
    tamper(ledger.engine, update(LEDGER).where(LEDGER.c.id == 2).values(values))
    with pytest.raises(IntegrityError, match="entry 2"):
        ledger.verify_chain()


@pytest.mark.parametrize("report", ["{broken", '{"a":NaN}', '{"a":1e999}', "5", "[" * 100_000])
def test_a_gate_report_that_is_none_any_more_is_an_edit_of_the_entry_wherever_it_is_read(ledger, report):
    for version in (1, 2, 3):
        move(ledger, "promote", version, version - 1 or None, gate_report={"passed": True})
    tamper(ledger.engine, update(LEDGER).where(LEDGER.c.id == 2).values(gate_report=report))
    expected = r"entry 2 \(promote digits to version 2\) is not the one that was appended\. Restore"
    for read in (ledger.verify_chain, ledger.entries, lambda: history(ledger, "digits")):
        with pytest.raises(IntegrityError, match=expected):
            read()
    assert not check_ledger(ledger).whole


def test_a_time_that_no_digest_can_be_made_of_is_an_edit_of_the_entry(ledger):
    move(ledger, "promote", 1, None)
    tamper(ledger.engine, update(LEDGER).values(time_s=float("inf")))
    with pytest.raises(IntegrityError, match="entry 1"):
        ledger.verify_chain()


def test_a_password_anywhere_in_the_address_is_not_printed():
    class Empty(Ledger):
        def __init__(self, url):
            self.engine = create_engine(url, connect_args={"connect_timeout": 1})

        def entries(self, model=None):
            return super().entries(model) if model else ()

    for url in ("127.0.0.1:1/db?user=u&password=s3cret&sslpassword=s3cret", "u:s3cret@127.0.0.1:1/db"):
        ledger = Empty(f"postgresql+psycopg://{url}")
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1/db") as failure:
            ledger.entries("digits")
        for text in (repr(ledger), str(failure.value), check_ledger(ledger).text):
            assert "127.0.0.1:1/db" in text
            assert "s3cret" not in text


def test_a_removed_entry_breaks_the_chain_and_is_named(ledger):
    for version in (1, 2, 3):
        move(ledger, "promote", version, version - 1 or None)
    tamper(ledger.engine, delete(LEDGER).where(LEDGER.c.id == 2))
    with pytest.raises(IntegrityError, match="entry 2 is missing"):
        ledger.verify_chain()


def test_writers_at_once_all_get_a_place_in_one_chain(database):
    start = threading.Barrier(8)

    def write(version):
        ledger = Ledger(database)
        start.wait()
        for _ in range(5):
            move(ledger, "promote", version, None)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger = Ledger(database)
    assert ledger.verify_chain() == 40
    assert sorted(entry.to_version for entry in ledger.entries("digits")) == sorted(list(range(1, 9)) * 5)


def test_rolling_back_twice_from_one_two_three_gives_two_then_one(ledger):
    for version in (1, 2, 3):
        move(ledger, "promote", version, version - 1 or None)
    assert ledger.previous_champion("digits") == 2
    move(ledger, "rollback", 2, 3)
    assert ledger.previous_champion("digits") == 1
    move(ledger, "rollback", 1, 2)
    assert ledger.previous_champion("digits") is None


def test_a_promotion_after_a_rollback_has_the_one_rolled_back_to_behind_it(ledger):
    for version in (1, 2, 3):
        move(ledger, "promote", version, version - 1 or None)
    move(ledger, "rollback", 2, 3)
    move(ledger, "promote", 4, 2)
    assert ledger.champions("digits") == (1, 2, 4)


def test_a_rollback_may_go_back_several_champions_at_once(ledger):
    for version in (1, 2, 3):
        move(ledger, "promote", version, version - 1 or None)
    move(ledger, "rollback", 1, 3)
    assert ledger.champions("digits") == (1,)


def test_a_version_that_was_refused_is_not_gone_back_to(ledger):
    move(ledger, "promote", 1, None)
    move(ledger, "promote", 2, 1)
    move(ledger, "refuse", 1, 2)
    assert ledger.champions("digits") == (1,)
    move(ledger, "refuse", 1, 3)  # by the UI: no promotion before it
    assert ledger.champions("digits") == (1,)
    move(ledger, "promote", 4, 1)
    assert ledger.champions("digits") == (1, 4)


def test_a_first_champion_that_was_refused_leaves_none(ledger):
    move(ledger, "promote", 1, None)
    move(ledger, "refuse", None, 1)
    assert ledger.champions("digits") == ()
    assert ledger.last("digits", "champion").to_version is None


def test_a_former_champion_that_is_refused_stays_one_to_go_back_to(ledger):
    for version, before in ((1, None), (2, 1), (3, 2)):
        move(ledger, "promote", version, before)
    move(ledger, "refuse", 3, 2)
    assert ledger.champions("digits") == (1, 2, 3)


def test_a_retired_champion_is_the_one_before_the_next(ledger):
    move(ledger, "promote", 1, None)
    move(ledger, "retire", None, 1)
    assert ledger.last("digits", "champion").to_version is None
    move(ledger, "promote", 2, None)
    assert ledger.champions("digits") == (1, 2)
    assert ledger.verify_chain() == 3


def test_what_a_rollout_decided_moves_nothing(ledger):
    move(ledger, "promote", 1, None)
    move(ledger, "rollout", 2, None, gate_report={"share": 5})
    assert ledger.last("digits", "champion").to_version == 1
    assert ledger.champions("digits") == (1,)


def test_a_champion_that_the_ledger_did_not_see_promoted_counts_as_the_one_before(ledger):
    move(ledger, "promote", 1, None)
    assert ledger.previous_champion("digits", current=5) == 1
    move(ledger, "promote", 6, 5)
    assert ledger.previous_champion("digits") == 5


def test_the_challengers_moves_do_not_count_as_champions(ledger):
    move(ledger, "promote", 1, None)
    move(ledger, "promote", 2, None, alias="challenger")
    assert ledger.champions("digits") == (1,)
    assert ledger.last("digits", "challenger").to_version == 2


def test_a_model_without_entries_has_no_history(ledger):
    assert ledger.entries("nope") == ()
    assert ledger.previous_champion("nope") is None
    assert ledger.last("nope", "champion") is None
    assert ledger.verify_chain() == 0


@pytest.mark.parametrize(
    ("tracking_uri", "expected"),
    [
        ("sqlite:////data/mlflow.db", "sqlite:////data/slipway.db"),
        ("sqlite:///mlflow.db", "sqlite:///slipway.db"),
        ("sqlite:///var/mlflow.db", "sqlite:///var/slipway.db"),
    ],
)
def test_the_database_is_beside_mlflows_unless_it_is_named(monkeypatch, tracking_uri, expected):
    monkeypatch.delenv("SLIPWAY_DATABASE_URL", raising=False)
    assert default_database_url(tracking_uri) == expected
    monkeypatch.setenv("SLIPWAY_DATABASE_URL", "postgresql://host/slipway")
    assert default_database_url(tracking_uri) == "postgresql://host/slipway"


def test_beside_a_tracking_server_the_database_is_one_whatever_folder_the_command_runs_in(monkeypatch, tmp_path):
    monkeypatch.delenv("SLIPWAY_DATABASE_URL", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    found = {}
    for address in ("http://127.0.0.1:5000", "http://127.0.0.1:5001"):
        for folder in ("one", "other"):
            (tmp_path / folder).mkdir(exist_ok=True)
            monkeypatch.chdir(tmp_path / folder)
            found.setdefault(address, set()).add(default_database_url(address))
    assert [len(urls) for urls in found.values()] == [1, 1]
    assert len(set.union(*found.values())) == 2
    Ledger(next(iter(found["http://127.0.0.1:5000"])))
    assert len(list((tmp_path / "data" / "slipway").iterdir())) == 1


def test_a_database_in_a_missing_folder_is_unavailable_and_named(tmp_path):
    with pytest.raises(UnavailableError, match=r"missing/slipway\.db.*SLIPWAY_DATABASE_URL"):
        open_database(f"sqlite:///{tmp_path}/missing/slipway.db")


@pytest.mark.parametrize("url", ["slipway.db", "mysql8://user:secret@host/x", "sqlite+nodriver://"])
def test_an_address_that_is_no_databases_is_refused_without_its_password(url):
    with pytest.raises(InputError, match="SLIPWAY_DATABASE_URL") as failure:
        open_database(url)
    assert "secret" not in str(failure.value)
