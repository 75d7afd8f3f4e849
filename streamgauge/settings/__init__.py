"""Configuration: one frozen model a component, from the environment and an optional TOML file.

A setting is ``STREAMGAUGE_<SECTION>_<NAME>``, e.g. ``STREAMGAUGE_NATS_URL``.

Order, last wins: the defaults here, the file named by ``STREAMGAUGE_CONFIG``, the environment. A secret may also come
from a file: ``STREAMGAUGE_S3_SECRET_KEY_FILE=/run/secrets/s3``. All faults are reported at once, and a name that no
component knows is a fault, so that a typing error is never silently ignored.
"""

from streamgauge.settings.backup import BackupSettings
from streamgauge.settings.base import HttpSettings, Section
from streamgauge.settings.collector import CollectorSettings
from streamgauge.settings.connections import LogSettings, NatsSettings, S3Settings
from streamgauge.settings.doctor import DoctorSettings
from streamgauge.settings.exporter import ExporterSettings
from streamgauge.settings.loading import CONFIG_FILE, PREFIX, PROGRAMS, SECTIONS, Settings, environment_name, load
from streamgauge.settings.privacy import PrivacySettings
from streamgauge.settings.shared_work import SharedWorkSettings

__all__ = [
    "CONFIG_FILE",
    "PREFIX",
    "PROGRAMS",
    "SECTIONS",
    "BackupSettings",
    "CollectorSettings",
    "DoctorSettings",
    "ExporterSettings",
    "HttpSettings",
    "LogSettings",
    "NatsSettings",
    "PrivacySettings",
    "S3Settings",
    "Section",
    "Settings",
    "SharedWorkSettings",
    "environment_name",
    "load",
]
