"""Read the sections from the environment and an optional TOML file; report all faults at once."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from pydantic import SecretStr, ValidationError

from streamgauge.errors import ConfigurationError
from streamgauge.settings.backup import BackupSettings
from streamgauge.settings.base import Section
from streamgauge.settings.collector import CollectorSettings
from streamgauge.settings.connections import LogSettings, NatsSettings, S3Settings
from streamgauge.settings.doctor import DoctorSettings
from streamgauge.settings.exporter import ExporterSettings
from streamgauge.settings.privacy import PrivacySettings

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "STREAMGAUGE_"
#: User and password in front of a host.
_LOGIN: Final = re.compile(r"[^/=,\s]*@")
CONFIG_FILE: Final = f"{PREFIX}CONFIG"

SECTIONS: Final[dict[str, type[Section]]] = {
    "log": LogSettings,
    "nats": NatsSettings,
    "s3": S3Settings,
    "collector": CollectorSettings,
    "privacy": PrivacySettings,
    "backup": BackupSettings,
    "exporter": ExporterSettings,
    "doctor": DoctorSettings,
}

#: Which sections each program reads.
PROGRAMS: Final[dict[str, tuple[str, ...]]] = {
    "collector": ("log", "nats", "collector", "privacy"),
    "backup": ("log", "nats", "s3", "backup"),
    "exporter": ("log", "nats", "exporter"),
    "doctor": ("nats", "s3", "doctor"),
}

S = TypeVar("S", bound=Section)


class Settings:
    """The effective configuration: asked for by section, ``settings.section(NatsSettings)``."""

    def __init__(self, sections: dict[str, Section]) -> None:
        self._sections = sections

    def section(self, model: type[S]) -> S:
        """Return one section.

        Raises:
            KeyError: the section was not loaded.

        """
        for section in self._sections.values():
            if type(section) is model:
                return section
        raise KeyError(model.__name__)

    def dump(self) -> dict[str, str]:
        """Return every setting by its environment name, secrets masked."""
        return {
            f"{PREFIX}{section.upper()}_{name.upper()}": "********" if isinstance(value, SecretStr) else str(value)
            for section, model in self._sections.items()
            for name, value in model
            if value is not None
        }


def load(sections: tuple[str, ...], environment: Mapping[str, str] | None = None) -> Settings:
    """Read the named sections.

    Raises:
        ConfigurationError: one line for each fault found, in the file and in the environment.

    """
    environment = os.environ if environment is None else environment
    faults: list[str] = []
    values = _from_file(environment.get(CONFIG_FILE), faults)
    for name, text in sorted(environment.items()):
        if name.startswith(PREFIX) and name != CONFIG_FILE:
            _take(name, text, values, faults)
    loaded: dict[str, Section] = {}
    for section in sections:
        try:
            loaded[section] = SECTIONS[section].model_validate(values.get(section, {}))
        except ValidationError as error:
            faults.extend(_sentence(section, fault) for fault in error.errors())
    if faults:
        raise ConfigurationError("\n".join(faults))
    return Settings(loaded)


def environment_name(section: str, field: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{section.upper()}_{field.upper()}"


def _sentence(section: str, fault: Any) -> str:
    name = environment_name(section, str(fault["loc"][0]) if fault["loc"] else "")
    if fault["type"] == "missing":
        return f"{name} is not set"
    field = SECTIONS[section].model_fields.get(str(fault["loc"][0])) if fault["loc"] else None
    # A key that is wrong by one digit is still a key: a fault goes to the log, so it says no secret.
    shown = not isinstance(fault["input"], (dict, type(None))) and (field is None or not _is_secret(field.annotation))
    given = _LOGIN.sub("…@", f"={fault['input']}") if shown else ""
    return f"{name}{given}: {fault['msg'].removeprefix('Value error, ')}"


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or SecretStr in get_args(annotation)


def _take(name: str, text: str, values: dict[str, dict[str, Any]], faults: list[str]) -> None:
    section, _, field = name.removeprefix(PREFIX).lower().partition("_")
    model = SECTIONS.get(section)
    if model is not None and field in model.model_fields:
        values.setdefault(section, {})[field] = text
        return
    field = field.removesuffix("_file")
    if model is not None and name.endswith("_FILE") and field in model.model_fields:
        try:
            values.setdefault(section, {})[field] = Path(text).read_text(encoding="utf-8").strip()
        except OSError as error:
            faults.append(f"{name}={text}: cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            faults.append(f"{name}={text}: cannot be read: it is no text (UTF-8)")
        return
    faults.append(f"{name} is no setting; `streamgauge config --list` shows all{_nearest(name)}")


def _nearest(name: str) -> str:
    from streamgauge.spelling import closest

    known = [environment_name(section, field) for section, model in SECTIONS.items() for field in model.model_fields]
    close = closest(name, known, prefix=PREFIX)
    return f" (did you mean {close}?)" if close else ""


def _from_file(path: str | None, faults: list[str]) -> dict[str, dict[str, Any]]:
    if not path:
        return {}
    try:
        with Path(path).open("rb") as handle:
            table = tomllib.load(handle)
    except OSError as error:
        faults.append(f"{CONFIG_FILE}={path}: cannot be read: {error.strerror}")
        return {}
    except tomllib.TOMLDecodeError as error:
        faults.append(f"{CONFIG_FILE}={path}: is not TOML: {error}")
        return {}
    values: dict[str, dict[str, Any]] = {}
    for section, content in table.items():
        model = SECTIONS.get(section)
        if model is None or not isinstance(content, dict):
            faults.append(f"{path}: [{section}] is no section; sections: {', '.join(SECTIONS)}")
            continue
        for field, value in content.items():
            if field in model.model_fields:
                values.setdefault(section, {})[field] = value
            else:
                faults.append(f"{path}: [{section}] {field} is no setting")
    return values
