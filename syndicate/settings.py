"""One frozen Settings object: defaults, then ``syndicate.toml``, then the environment.

The environment names a setting as ``SYNDICATE_<SECTION>__<KEY>``, for example ``SYNDICATE_SMTP__PASSWORD``.
A secret may be in a file of its own: ``password_file`` instead of ``password``. The only module that reads
the environment. Opens no connection.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin
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
    "DkimSettings",
    "DomainSettings",
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
#: The relay of [smtp], among those of [relays.NAME].
_FIRST_RELAY: Final = "smtp"
#: What an environment variable can say too, and two underscores apart from what follows.
_RELAY_NAME: Final = re.compile(r"(?=.{1,32}\Z)[a-z0-9]+([_-][a-z0-9]+)*")
_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")


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


def _relay_name(name: str) -> str:
    if name == _FIRST_RELAY:
        raise ValueError("the relay of this name is described in [smtp]")
    if not _RELAY_NAME.fullmatch(name):
        raise ValueError(f"'{name}' cannot name a relay; use small letters, digits and single hyphens")
    return name


def _domain_name(name: str) -> str:
    if not _DOMAIN.fullmatch(name):
        raise ValueError(
            f"'{name}' is not a domain in its ASCII form; use small letters, and xn-- names for other scripts"
        )
    return name


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
    """[smtp]: the relay that mail is handed to; further ones are [relays.NAME], with the same keys."""

    transport: Literal["smtp", "maildir", "sendmail"] = Field(
        default="smtp",
        description="A server, a folder on this machine (`path`), or a program on it that takes mail.",
    )
    host: str = Field(default="localhost", description="Name of the relay; its certificate must match it.")
    port: int = Field(
        default=587, ge=1, le=65535, description="587 for starttls, 465 for implicit, as a rule."
    )
    username: str = Field(default="", description="For AUTH; empty for a relay that asks for none.")
    password: SecretStr | None = Field(default=None, description="For AUTH.")
    password_file: Path | None = Field(
        default=None, description="File that holds the password; read anew for each connection."
    )
    auth: Literal["password", "xoauth2"] = Field(
        default="password", description="`xoauth2` if the password is an access token."
    )
    tls: Literal["starttls", "implicit", "none"] = Field(
        default="starttls", description="`none` only to this machine, or with `insecure = true`."
    )
    insecure: bool = Field(
        default=False, description='Allows `tls = "none"` to another machine: mail in clear text.'
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of an own certificate authority to trust as well."
    )
    path: Path | None = Field(
        default=None,
        description="The folder of `maildir`, or the program of `sendmail` (default: /usr/sbin/sendmail).",
    )
    connections: int = Field(
        default=0, ge=0, le=200, description="Connections to it; 0: as many as [delivery] says."
    )
    rate_s: float = Field(default=0.0, ge=0, description="Messages a second to it; 0: as [delivery] says.")
    per_day: int = Field(default=0, ge=0, description="Messages a day to it at most; 0 for no limit.")
    weight: int = Field(
        default=1, ge=1, le=1000, description="Its share of the mail beside those of the other relays."
    )
    messages_per_connection: int = Field(
        default=0, ge=0, description="A new connection after so many messages; 0 for no limit."
    )
    warm_up_from: date | None = Field(
        default=None,
        description="First day of a new sender's warm-up, which limits each day; before it nothing is sent.",
    )
    warm_up_start: int = Field(default=0, ge=0, description="Messages on the first day of the warm-up.")
    warm_up_growth: float = Field(
        default=1.5, gt=1, le=10, description="How many times more than the day before, until `per_day`."
    )

    # Checks of one field against another stand on the later field: a validator of the whole section would
    # be silent as long as anything else in it is wrong.
    @field_validator("insecure")
    @classmethod
    def _is_safe(cls, insecure: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's signature
        if info.data.get("transport") != "smtp" or info.data.get("tls") != "none":
            return insecure
        host = info.data.get("host")
        if host not in {None, *_LOOPBACK} and not insecure:
            raise ValueError(f'tls = "none" would send mail to {host} in clear text; set true if you mean it')
        return insecure

    @field_validator("password_file")
    @classmethod
    def _is_complete(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("username") and info.data.get("password") is None and path is None:
            raise ValueError("username is set and password is not; set password or password_file")
        return path

    @field_validator("auth")
    @classmethod
    def _has_user(cls, auth: str, info: ValidationInfo) -> str:
        if auth == "xoauth2" and info.data.get("username") == "":
            raise ValueError('"xoauth2" needs username: the account that the token is for')
        return auth

    @field_validator("path")
    @classmethod
    def _has_place(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        match info.data.get("transport"):
            case "smtp" if path is not None:
                raise ValueError('is of transport = "maildir" or "sendmail" only')
            case "maildir" if path is None:
                raise ValueError('missing; transport = "maildir" puts mail into this folder')
            case "sendmail" if path is None:
                return Path("/usr/sbin/sendmail")
        return path

    @field_validator("warm_up_start")
    @classmethod
    def _is_whole(cls, start: int, info: ValidationInfo) -> int:
        if info.data.get("warm_up_from") is not None and not start:
            raise ValueError("missing; set it to the first day's number of messages")
        if start and info.data.get("warm_up_from", ...) is None:
            raise ValueError("is set and warm_up_from is not; set warm_up_from to the first day")
        return start


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
    connections: int = Field(default=50, ge=1, le=200, description="Sources fetched at once.")
    host_connections: int = Field(
        default=1, ge=1, le=50, description="Sources fetched at once from one host."
    )
    host_gap_s: float = Field(
        default=1.0, ge=0, le=60, description="Seconds between two requests to one host; 0 for none."
    )
    parsers: int = Field(
        default=0, ge=0, le=64, description="Processes that parse what was fetched; 0: one for each core."
    )
    flood: int = Field(
        default=10,
        ge=1,
        description="A source that suddenly brings more new articles than this, and than five times its usual"
        " number, has them held for the operator.",
    )
    contact: str = Field(
        default="",
        description="Whom servers that are read may turn to: a URL or an address; default: the site's URL.",
    )
    websub: bool = Field(
        default=True,
        description="Lets hubs push what sources publish (WebSub), where the site's URL is a public one.",
    )


class DeliverySettings(_Section):
    """[delivery]: handing mail to the relay."""

    connections: int = Field(default=8, ge=1, le=200, description="Connections to each relay.")
    window: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Readers marked at once; a crash leaves at most these uncertain. "
        "Default: the connections of all relays.",
    )
    rate_s: float = Field(
        default=0.0, ge=0, description="Messages a second to each relay at most; 0 for no limit."
    )
    domain_connections: int = Field(
        default=0, ge=0, description="Messages under way to one recipient domain at most; 0 for no limit."
    )
    domain_rate_s: float = Field(
        default=0.0, ge=0, description="Messages a second to one recipient domain at most; 0 for no limit."
    )
    lease_s: float = Field(
        default=15.0, ge=1, description="Seconds after which a silent sender counts as gone."
    )
    lifetime_h: float = Field(
        default=48.0, gt=0, description="Hours for which a deferred message is tried again."
    )
    late_after_h: float = Field(
        default=6.0, gt=0, description="A slot missed by more hours than this opens held, for you to decide."
    )
    stop_s: float = Field(
        default=30.0, ge=0, description="Seconds for which a stop waits for the answers to what is under way."
    )


class DomainSettings(_Section):
    """[domains."gmail.com"]: limits for one recipient domain, over all relays."""

    connections: int = Field(default=0, ge=0, description="Messages under way to it at most; 0 for no limit.")
    rate_s: float = Field(default=0.0, ge=0, description="Messages a second to it; 0 for no limit.")


class DkimSettings(_Section):
    """[dkim]: signing mail ourselves; without a key the relay signs, or nobody."""

    domain: str = Field(default="", description="Domain that signs: what stands after the @ of From.")
    selector: str = Field(default="", description="Name of the key in the DNS of that domain.")
    key_file: Path | None = Field(default=None, description="PEM file of the RSA key.")
    ed25519_selector: str = Field(default="", description="Name of a second key, of the newer kind.")
    ed25519_key_file: Path | None = Field(default=None, description="PEM file of the Ed25519 key.")
    canonicalization: Literal["relaxed/simple", "relaxed/relaxed"] = Field(
        default="relaxed/simple", description="`relaxed/relaxed` if a relay changes blanks in mails."
    )

    @field_validator("key_file", "ed25519_key_file")
    @classmethod
    def _has_selector(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        name = str(info.field_name).replace("key_file", "selector")
        selector = info.data.get(name)
        if path is None and selector:
            raise ValueError(f"{name} is set and this is not; the two belong together")
        if path is not None and selector == "":
            raise ValueError(f"is set and {name} is not; the two belong together")
        return path


class Settings(BaseSettings):
    """All settings, frozen; relative paths have been resolved against the configuration file's folder."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    site: SiteSettings = SiteSettings()
    database: DatabaseSettings = DatabaseSettings()
    smtp: SmtpSettings = SmtpSettings()
    relays: dict[Annotated[str, AfterValidator(_relay_name)], SmtpSettings] = {}
    fetch: FetchSettings = FetchSettings()
    delivery: DeliverySettings = DeliverySettings()
    domains: dict[Annotated[str, AfterValidator(_domain_name)], DomainSettings] = {}
    dkim: DkimSettings = DkimSettings()
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

    @property
    def all_relays(self) -> Mapping[str, SmtpSettings]:
        """Each relay in use by its name, in the file's order, with what [delivery] says for all of them.

        That of [smtp] is the first, named "smtp"; it is left out where only [relays.NAME] are set.
        """
        return {name: self._completed(relay) for name, relay in self._relays_in_use().items()}

    @property
    def window_size(self) -> int:
        """The window in force: how many readers one sender marks at once."""
        if self.delivery.window:
            return self.delivery.window
        relays = self._relays_in_use().values()
        return sum(relay.connections or self.delivery.connections for relay in relays)

    def relay_password(self, name: str) -> str:
        """The password of a relay, or empty; one in a file is read anew each time.

        Raises ConfigurationError if the file cannot be read.
        """
        place = _title(_FIRST_RELAY if name == _FIRST_RELAY else "relays", name)
        relay = self._relays_in_use()[name]
        return self._secret_of(relay.password, relay.password_file, f"{place} password_file")

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

    def _relays_in_use(self) -> Mapping[str, SmtpSettings]:
        is_first_used = not self.relays or _FIRST_RELAY in self.model_fields_set
        return ({_FIRST_RELAY: self.smtp} if is_first_used else {}) | self.relays

    def _completed(self, relay: SmtpSettings) -> SmtpSettings:
        return relay.model_copy(
            update={
                "connections": relay.connections or self.delivery.connections,
                "rate_s": relay.rate_s or self.delivery.rate_s,
            }
        )

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
    model = get_args(field.annotation)[-1] if field and _is_named(section) else field and field.annotation
    return model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}


def _is_named(section: str) -> bool:
    """Whether the section is written [section.NAME], once for each thing of its kind."""
    field = Settings.model_fields.get(section)
    return field is not None and get_origin(field.annotation) is dict


def _title(section: str, name: str = "") -> str:
    """A section as it is written in the file."""
    if not name or name == section:
        return f"[{section}]"
    return f"[{section}.{name}]" if re.fullmatch(r"[\w-]+", name, re.ASCII) else f'[{section}."{name}"]'


def _brief(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or "unreadable") if isinstance(error, OSError) else "not UTF-8"


def _problem(file: Path, detail: Mapping[str, Any]) -> str:
    location = [str(part) for part in detail["loc"] if part != "[key]"]
    section, rest = location[0], location[1:]
    depth = 2 if _is_named(section) else 1
    name, key = "".join(rest[: depth - 1]), "".join(rest[depth - 1 : depth])
    variable = _PREFIX + "__".join(part for part in (section, name, key) if part).upper()
    place = f"{file}: {_title(section, name)} {key}".rstrip()
    if variable in os.environ:  # noqa: TID251 - this is the module that the rule points to
        place = variable
    return f"{place}: {_explained(section, detail)}"


def _explained(section: str, detail: Mapping[str, Any]) -> str:
    match detail["type"]:
        case "extra_forbidden":
            known = list(_keys(section))
            hint = '; a domain is written in quotes: [domains."gmail.com"]' if section == "domains" else ""
            return f"unknown setting{_one_of(known) if known else ''}{hint}"
        case "model_type" | "dict_type":
            title = _title(section, "NAME" if _is_named(section) else "")
            return f"not a section; write {title} in a line of its own, its settings below"
        case _:
            return str(detail["msg"]).removeprefix("Value error, ")
