"""Settings: the environment first, then the home's own file, then defaults; what cannot be used is said in a line."""

from pathlib import Path

import pytest

from features.errors import SettingsError
from features.settings import Settings, without_password
from features.vocabulary import CORE_TASKS, Task


def test_one_file_moves_a_home_to_other_engines_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(
        'event_log = "postgresql://omni:secret@db/omni"\nonline_store = "redis"\nredis = "cache:6379"\n'
        'offline_store = "spark"\nspark_master = "spark://head:7077"\n'
    )
    found = Settings.from_env({"OMNI_HOME": str(tmp_path), "OMNI_REDIS": "other:6379"})
    assert (found.event_log_place, found.online_store, found.redis_url) == (
        "postgresql://db/omni",
        "redis",
        "other:6379",
    )
    assert (found.offline_store, found.spark_master) == ("spark", "spark://head:7077")
    assert found.mlflow_tracking_uri == f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"


def test_a_password_of_any_characters_is_left_out() -> None:
    for password in ("secret", "se/cret", "se?cret", "se@cret", "se:cret"):
        assert (
            without_password(f"postgresql://ana:{password}@db:5432/omni?sslmode=require") == "postgresql://db:5432/omni"
        )
    assert without_password("postgresql://db/omni?password=secret") == "postgresql://db/omni"


def test_a_shop_may_have_only_some_of_the_models(tmp_path: Path) -> None:
    home = {"OMNI_HOME": str(tmp_path)}
    assert Settings.from_env(home).tasks == CORE_TASKS
    assert Settings.from_env({**home, "OMNI_TASKS": "win-back,churn"}).tasks == (Task.CHURN, Task.WIN_BACK)
    assert Settings.from_env({**home, "OMNI_TASKS": "churn, next-product"}).tasks == (Task.NEXT_PRODUCT, Task.CHURN)
    with pytest.raises(SettingsError, match=r"names 'churns'.*next-product, churn, best-channel, win-back"):
        Settings.from_env({**home, "OMNI_TASKS": "churn,churns"})


def test_what_decisions_survive(tmp_path: Path) -> None:
    home = {"OMNI_HOME": str(tmp_path)}
    assert Settings.from_env(home).decision_durability == "disk"
    assert Settings.from_env({**home, "OMNI_DECISION_DURABILITY": "process"}).decision_durability == "process"
    with pytest.raises(SettingsError, match="OMNI_DECISION_DURABILITY is 'memory'"):
        Settings.from_env({**home, "OMNI_DECISION_DURABILITY": "memory"})


def test_how_long_servers_are_waited_for(tmp_path: Path) -> None:
    home = {"OMNI_HOME": str(tmp_path)}
    assert Settings.from_env(home).timeout_ms == 200
    assert Settings.from_env({**home, "OMNI_TIMEOUT_MS": "1"}).timeout_ms == 1
    (tmp_path / "settings.toml").write_text('timeout_ms = "25000"')
    assert Settings.from_env(home).timeout_ms == 25_000
    for text in ("0", "25001", "-5", "1.5", "2e3", "fast", "٣٠", "999999"):
        with pytest.raises(SettingsError, match=r"OMNI_TIMEOUT_MS is .* whole milliseconds from 1 to 25000"):
            Settings.from_env({**home, "OMNI_TIMEOUT_MS": text})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "onlin_store = 'redis'",
            r"settings.toml: there is no key onlin_store. Did you mean online_store\? Known keys: ev",
        ),
        ("redis = 6379", r'settings.toml: redis: Input should be a text. Write it like redis = "…"\.'),
        ("tasks = ['churn']", r'settings.toml: tasks: Input should be a text. Write it like tasks = "…"\.'),
        ("redis =", "settings.toml is not TOML: Invalid value"),
        ("redis = '\udcff'", "settings.toml is not TOML: .*can't decode byte 0xff"),
        ("online_store = 'memcached'", "OMNI_ONLINE_STORE is 'memcached'"),
    ],
)
def test_a_file_that_cannot_be_used_says_so(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "settings.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=message):
        Settings.from_env({"OMNI_HOME": str(tmp_path)})


def test_a_running_service_keeps_to_the_files_it_was_started_with(tmp_path):
    copies = tmp_path / "run" / "3000" / "started-with"
    copies.mkdir(parents=True)
    (copies / "settings.toml").write_text('currency = "EUR"')
    (tmp_path / "settings.toml").write_text("broken")
    env = {"OMNI_HOME": str(tmp_path), "OMNI_STARTED_WITH": str(copies)}
    assert (Settings.from_env(env).currency, Settings.from_env(env).files_home) == ("EUR", copies)
    (tmp_path / "settings.toml").write_text('currency = "USD"')
    gone = Settings.from_env({**env, "OMNI_STARTED_WITH": str(tmp_path / "gone")})
    assert (gone.currency, gone.files_home) == ("USD", tmp_path)
