"""Settings come from the environment, or nonsense in it is refused with the variable's name."""

from __future__ import annotations

import pickle

import pytest

from lakeray.config import Settings, unknown_variables
from lakeray.errors import ConfigError


@pytest.fixture(autouse=True)
def own_state():
    """The defaults are what they are for users."""


def test_an_empty_environment_gives_the_defaults():
    settings = Settings.from_env({})
    assert settings == Settings()
    assert settings == Settings.from_env({"LAKERAY_STATE": "", "LAKERAY_CPUS": " ", "PATH": "/bin"})
    assert (settings.state, settings.catalog) == ("sqlite:///.lakeray/state.db", ".lakeray/catalog")
    assert (settings.task_memory_bytes, settings.poll_interval_s) == (512 * 2**20, 1.0)
    assert (settings.cpus, settings.ray_address, settings.executor, settings.log_format) == (None, None, "auto", "text")


def test_every_variable_is_read():
    settings = Settings.from_env(
        {
            "LAKERAY_STATE": "rediss://:hunter2@store:6379/1",
            "LAKERAY_CATALOG": "s3://lake/_catalog",
            "LAKERAY_TASK_MEMORY": "2GiB",
            "LAKERAY_CPUS": "3",
            "LAKERAY_RAY_ADDRESS": "ray://head:10001",
            "LAKERAY_EXECUTOR": "inline",
            "LAKERAY_POLL_INTERVAL": "250ms",
            "LAKERAY_LOG_FORMAT": "json",
        }
    )
    assert settings == Settings(
        state="rediss://:hunter2@store:6379/1",
        catalog="s3://lake/_catalog",
        task_memory_bytes=2 * 2**30,
        cpus=3,
        ray_address="ray://head:10001",
        executor="inline",
        poll_interval_s=0.25,
        log_format="json",
    )
    assert "hunter2" not in repr(settings)
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert Settings.from_env({"LAKERAY_RAY_ADDRESS": "local"}).ray_address is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LAKERAY_STATE", "postgres://u:hunter2@host"),
        ("LAKERAY_STATE", "sqlite:/x"),
        ("LAKERAY_STATE", "/var/state.db"),
        ("LAKERAY_STATE", "redis://"),
        ("LAKERAY_CATALOG", "gs://lake/catalog"),
        ("LAKERAY_CATALOG", "s3://"),
        ("LAKERAY_TASK_MEMORY", "lots"),
        ("LAKERAY_TASK_MEMORY", "1MiB"),
        ("LAKERAY_CPUS", "0"),
        ("LAKERAY_CPUS", "1.5"),
        ("LAKERAY_CPUS", "-1"),
        ("LAKERAY_RAY_ADDRESS", "http://head:8265"),
        ("LAKERAY_RAY_ADDRESS", "head"),
        ("LAKERAY_EXECUTOR", "inlin"),
        ("LAKERAY_POLL_INTERVAL", "0"),
        ("LAKERAY_POLL_INTERVAL", "soon"),
        ("LAKERAY_LOG_FORMAT", "xml"),
    ],
)
def test_nonsense_is_refused_by_the_variables_name(variable, value):
    with pytest.raises(ConfigError) as caught:
        Settings.from_env({variable: value})
    assert caught.value.message.startswith(f"{variable} is ")
    assert caught.value.hint.startswith("set it to ")
    assert caught.value.exit_code == 2
    assert "hunter2" not in str(caught.value)


def test_a_misspelt_variable_is_found():
    assert unknown_variables(
        {"LAKERAY_TASKMEMORY": "1GiB", "LAKERAY_CPUS": "1", "LAKERAY_FAILPOINTS": "", "HOME": "/"}
    ) == {"LAKERAY_TASKMEMORY": "LAKERAY_TASK_MEMORY"}
