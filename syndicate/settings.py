"""One frozen Settings object: defaults, then ``syndicate.toml``, then the environment.

The environment names a setting as ``SYNDICATE_<SECTION>__<KEY>``, for example ``SYNDICATE_SMTP__PASSWORD``.
A secret may be in a file of its own: ``password_file`` instead of ``password``. The only module that reads
the environment. Opens no connection.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_origin
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from syndicate.errors import ConfigurationError

__all__ = [
    "CONFIG_NAME",
    "DatabaseSettings",
    "DeliverySettings",
    "FetchSettings",
    "Settings",
    "SiteSettings",
    "SmtpSettings",
    "load_settings",
    "template_folders",
]

CONFIG_NAME: Final = "syndicate.toml"
_PREFIX: Final = "SYNDICATE_"
#: 128 bits as hexadecimal digits; our choice.
_SECRET_LENGTH: Final = 32
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # "Europe" is a folder, which may not be opened
        raise ValueError(f"unknown time zone '{name}'; use an IANA name such as Europe/Berlin") from None
    return name


def _public_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"'{url}' is not a site's address; write it as https://news.example.org")
    if ":" in parts.hostname:
        raise ValueError(f"'{url}': ids of articles are made from the host, so use a name")
    return url.rstrip("/")


def _network(value: Any) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value)
    except ValueError:
        raise ValueError(f"'{value}' is not a network; write it as 10.1.0.0/16, not as a name") from None


TimeZoneName = Annotated[str, AfterValidator(_known_zone)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class SiteSettings(_Section):
    """[site]: how the public sees this installation."""

    title: str = Field(default="Syndicate", description="Name of the site, shown on every page.")
    url: Annotated[str, AfterValidator(_public_url)] = Field(
        default="http://127.0.0.1:8000",
        description="Public address, without a slash at the end; links in mails use it.",
    )
    time_zone: TimeZoneName = Field(
        default="UTC", description="IANA name; for dates that come without a zone."
    )
    templates: Path | None = Field(
        default=None,
        description="Folder whose templates (email/, web/) go before the ones that come with the program.",
    )
    secret: SecretStr | None = Field(
        default=None, description="Signs links and Message-IDs; at least 32 characters."
    )
    secret_file: Path | None = Field(
        default=None, description="File that holds the secret; `init` makes one."
    )

    @field_validator("secret")
    @classmethod
    def _is_strong(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < _SECRET_LENGTH:
            raise ValueError(f"too short; use at least {_SECRET_LENGTH} characters")
        return secret


class DatabaseSettings(_Section):
    """[database]: where everything is kept."""

    url: str = Field(
        default="sqlite:///syndicate.db",
        repr=False,  # it may hold a password
        description="`sqlite:///FILE` (relative to the configuration file) or `postgresql://USER@HOST/NAME`.",
    )


class SmtpSettings(_Section):
    """[smtp]: the relay that mail is handed to."""

    host: str = Field(default="localhost", description="Name of the relay; its certificate must match it.")
    port: int = Field(
        default=587, ge=1, le=65535, description="587 for starttls, 465 for implicit, as a rule."
    )
    username: str = Field(default="", description="For AUTH; empty for a relay that asks for none.")
    password: SecretStr | None = Field(default=None, description="For AUTH.")
    password_file: Path | None = Field(default=None, description="File that holds the password.")
    tls: Literal["starttls", "implicit", "none"] = Field(
        default="starttls", description="`none` only to this machine, or with `insecure = true`."
    )
    insecure: bool = Field(
        default=False, description='Allows `tls = "none"` to another machine: mail in clear text.'
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of an own certificate authority to trust as well."
    )

    # Checks of one field against another stand on the later field: a validator of the whole section would
    # be silent as long as anything else in it is wrong.
    @field_validator("insecure")
    @classmethod
    def _is_safe(cls, insecure: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's signature
        host = info.data.get("host")
        if info.data.get("tls") == "none" and host not in {None, *_LOOPBACK} and not insecure:
            raise ValueError(f'tls = "none" would send mail to {host} in clear text; set true if you mean it')
        return insecure

    @field_validator("password_file")
    @classmethod
    def _is_complete(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("username") and info.data.get("password") is None and path is None:
            raise ValueError("username is set and password is not; set password or password_file")
        return path


class FetchSettings(_Section):
    """[fetch]: reading sources over the network."""

    allow_private: tuple[Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)], ...] = Field(
        default=(),
        description="Private networks that sources may be in, such as `10.1.0.0/16`; names are not taken.",
    )
    deadline_s: float = Field(default=20.0, gt=0, description="Seconds for one fetch with all its redirects.")
    max_bytes: int = Field(
        default=10 * 2**20, ge=1024, le=64 * 2**20, description="Largest document, after decompression."
    )
    connections: int = Field(default=20, ge=1, le=200, description="Sources fetched at once.")


class DeliverySettings(_Section):
    """[delivery]: handing mail to the relay."""

    connections: int = Field(default=8, ge=1, le=200, description="Connections to the relay.")
    window: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Readers marked at once; a crash leaves at most these uncertain. Default: `connections`.",
    )
    rate_s: float = Field(default=0.0, ge=0, description="Messages a second at most; 0 for no limit.")
    lease_s: float = Field(
        default=15.0, ge=1, description="Seconds after which a silent sender counts as gone."
    )
    lifetime_h: float = Field(
        default=48.0, gt=0, description="Hours for which a deferred message is tried again."
    )
    late_after_h: float = Field(
        default=6.0, gt=0, description="A slot missed by more hours than this opens held, for you to decide."
    )

    @property
    def window_size(self) -> int:
        """The window in force."""
        return self.window or self.connections


class Settings(BaseSettings):
    """All settings, frozen; relative paths have been resolved against the configuration file's folder."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    site: SiteSettings = SiteSettings()
    database: DatabaseSettings = DatabaseSettings()
    smtp: SmtpSettings = SmtpSettings()
    fetch: FetchSettings = FetchSettings()
    delivery: DeliverySettings = DeliverySettings()
    folder: Path = Field(default=Path(), description="The configuration file's folder.", exclude=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before the file, whose content arrives as arguments."""
        return env_settings, init_settings

    @cached_property
    def secret(self) -> bytes:
        """The key that signs links. Raises ConfigurationError if there is none."""
        value = self._secret_of(self.site.secret, self.site.secret_file, "[site] secret_file")
        if not value:
            raise ConfigurationError(
                ["[site] secret: missing; 'syndicate init' makes one, or set secret_file"]
            )
        if len(value) < _SECRET_LENGTH:
            raise ConfigurationError(
                [f"[site] secret_file: too short; use at least {_SECRET_LENGTH} characters"]
            )
        return value.encode()

    @cached_property
    def smtp_password(self) -> str:
        """The relay's password, or empty."""
        return self._secret_of(self.smtp.password, self.smtp.password_file, "[smtp] password_file")

    @property
    def time_zone(self) -> ZoneInfo:
        """The site's own zone."""
        return ZoneInfo(self.site.time_zone)

    @property
    def database_url(self) -> str:
        """The database's URL, with a relative SQLite file in the configuration's folder."""
        head, name = self.database.url[:10], self.database.url[10:]
        if head == "sqlite:///" and name and not name.startswith(("/", ":")):
            return f"{head}{self.folder / name}"
        return self.database.url

    def _secret_of(self, value: SecretStr | None, path: Path | None, place: str) -> str:
        if value is not None:
            return value.get_secret_value()
        if path is None:
            return ""
        try:
            return (self.folder / path).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                [f"{place}: {self.folder / path} cannot be read ({_brief(error)})"]
            ) from None


def load_settings(path: Path | None = None) -> Settings:
    """The settings of a configuration file, ``./syndicate.toml`` by default.

    Raises ConfigurationError with every mistake at once, each with its place.
    """
    file = path or Path(CONFIG_NAME)
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        hint = "run 'syndicate init' to make one" if path is None else "check --config"
        raise ConfigurationError([f"{file}: there is no such file; {hint}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{file}: cannot be read ({_brief(error)})"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{file}: not valid TOML: {error}"]) from None
    unknown = [key for key in content if key not in Settings.model_fields or key == "folder"]
    problems = [f"{file}: unknown section [{key}]{_one_of(_sections())}" for key in unknown]
    problems += _unknown_variables()
    try:
        settings = Settings(**{k: v for k, v in content.items() if k not in unknown})
    except SettingsError as error:
        raise ConfigurationError(problems + (_malformed_variables() or [str(error)])) from None
    except ValidationError as error:
        problems += [_problem(file, detail) for detail in error.errors()]
        raise ConfigurationError(problems) from None
    if problems:
        raise ConfigurationError(problems)
    # Set afterwards, since the environment goes before what a setting is made with.
    return settings.model_copy(update={"folder": file.parent.resolve()})


def template_folders(settings: Settings | None = None) -> tuple[Path, ...]:
    """The folders of templates, the operator's own first; each holds ``email/`` and ``web/``."""
    here = Path(__file__).parent
    shipped = here / "_templates"
    ours = shipped if shipped.is_dir() else here.parent / "templates"
    if settings is None or settings.site.templates is None:
        return (ours,)
    return (settings.folder / settings.site.templates, ours)


def _sections() -> list[str]:
    return [name for name in Settings.model_fields if name != "folder"]


def _one_of(names: list[str]) -> str:
    return f"; one of {', '.join(names)}"


def _unknown_variables() -> list[str]:
    # The library passes over what it does not know, so a slip of the pen would go unnoticed.
    problems = []
    for name in sorted(os.environ):  # noqa: TID251 - this is the module that the rule points to
        if not name.upper().startswith(_PREFIX):
            continue
        section, divided, _ = name[len(_PREFIX) :].lower().partition("__")
        if section not in _sections():
            hint = "" if divided else ", and two underscores after it"
            problems.append(f"{name}: unknown section [{section}]{_one_of(_sections())}{hint}")
    return problems


def _malformed_variables() -> list[str]:
    # The library stops at the first variable that is not the JSON it should be, and does not name it.
    takes_json = {f"{_PREFIX}{section}".upper() for section in _sections()}
    takes_json |= {
        f"{_PREFIX}{section}__{key}".upper()
        for section in _sections()
        for key, field in _keys(section).items()
        if get_origin(field.annotation) is tuple
    }
    return [
        f'{name}: not valid JSON; a list is written as ["one", "two"]'
        for name, value in sorted(os.environ.items())  # noqa: TID251 - this is the module that the rule points to
        if name.upper() in takes_json and not _is_json(value)
    ]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _keys(section: str) -> dict[str, FieldInfo]:
    field = Settings.model_fields.get(section)
    model = field.annotation if field else None
    return model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}


def _brief(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or "unreadable") if isinstance(error, OSError) else "not UTF-8"


def _problem(file: Path, detail: Mapping[str, Any]) -> str:
    location = [str(part) for part in detail["loc"]]
    section, key = location[0], location[1] if len(location) > 1 else ""
    variable = f"{_PREFIX}{section}__{key}".upper() if key else f"{_PREFIX}{section}".upper()
    place = f"{file}: [{section}] {key}".rstrip()
    if variable in os.environ:  # noqa: TID251 - this is the module that the rule points to
        place = variable
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = list(_keys(section))
        message = f"unknown setting{_one_of(known)}" if known else "unknown setting"
    return f"{place}: {message}"
