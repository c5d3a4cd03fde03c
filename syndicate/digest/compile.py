"""Articles -> a compiled edition: rendered, inlined, cut and encoded once. Chooses nothing for a reader."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

from syndicate.digest.compiled import CompiledArticle, CompiledEdition, Fragment
from syndicate.digest.compose import ReaderValues, compose_message
from syndicate.digest.headers import (
    address_domain,
    date_header,
    feedback_id,
    fixed,
    from_header,
    list_id,
    uri_header,
)
from syndicate.digest.inline import inline_css
from syndicate.digest.message_ids import message_key
from syndicate.digest.mime import alternative_type, qp_piece
from syndicate.digest.plain import clean_line
from syndicate.digest.render import render_template
from syndicate.digest.select import group_sections
from syndicate.digest.selfcheck import require_sound
from syndicate.digest.tokens import Context, Part, Placeholders, choose_nonce, cut, html_contexts
from syndicate.digest.view import SectionView, newsletter_values, view_sections
from syndicate.model import ANY_CADENCE, Article, Newsletter
from syndicate.typography import long_date

__all__ = ["EditionInput", "compile_edition"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditionInput:
    """What an edition is made of."""

    edition_id: int
    newsletter: Newsletter
    articles: Sequence[Article]  #: every article that any reader may get, in any order
    article_urls: Mapping[int, str]  #: where reading goes on, by article id; one for each
    opened_at: datetime  #: the Date of every message
    home_url: str  #: the newsletter's page
    archive_url: str  #: the edition's page
    template_folders: Sequence[Path]  #: each holds ``email/``; the first that has a template wins
    secret: bytes
    cadence: str = ANY_CADENCE  #: of its readers


def compile_edition(edition: EditionInput) -> CompiledEdition:
    """The edition with everything done that does not depend on a reader; equal input, equal bytes.

    A sample message of it has passed the self-check. Raises TemplateError for a mistake in a template,
    AddressError for a sender that cannot send, OperationError for a message that fails the check, and
    ValueError without articles.
    """
    newsletter = edition.newsletter
    by_id = {a.id: a for a in edition.articles}
    sections = view_sections(
        group_sections(edition.articles, newsletter.topics), newsletter, edition.article_urls
    )
    values = _template_values(edition, sections)
    nonce = choose_nonce(edition.secret, f"edition {edition.edition_id}", repr(values))
    boundary = _boundary(edition)
    compiled = CompiledEdition(
        edition_id=edition.edition_id,
        articles=tuple(
            CompiledArticle(
                id=a.id,
                title=a.title,
                summary=a.summary,
                sequence=by_id[a.id].sequence,
                topic_slugs=by_id[a.id].topic_slugs,
            )
            for a in chain.from_iterable(s.articles for s in sections)
        ),
        html=_compile_html(edition, values, Placeholders("email/digest.html", nonce)),
        text=_compile_text(edition, values, Placeholders("email/digest.txt", nonce)),
        head=_shared_head(edition, boundary),
        boundary=boundary,
        domain=address_domain(newsletter.from_email),
        message_key=message_key(edition.edition_id, edition.secret),
        subject_template=newsletter.subject_template,
        title=clean_line(newsletter.title),
        description=clean_line(newsletter.description),
        date=long_date(edition.opened_at, newsletter.time_zone),
    )
    _check(compiled)
    return compiled


def _template_values(edition: EditionInput, sections: Sequence[SectionView]) -> dict[str, object]:
    return {
        **newsletter_values(edition.newsletter),
        "opened_at": edition.opened_at,
        "sections": sections,
        "home_url": edition.home_url,
        "home_host": urlsplit(edition.home_url).hostname or edition.home_url,
        "archive_url": edition.archive_url,
    }


def _compile_html(
    edition: EditionInput, values: Mapping[str, object], placeholders: Placeholders
) -> tuple[Fragment, ...]:
    rendered = render_template(
        edition.template_folders, placeholders.template, {**values, **placeholders.values}
    )
    inlined = inline_css(rendered, template=placeholders.template)
    if placeholders.tokens_in(inlined) != placeholders.tokens_in(rendered):
        raise placeholders.error(
            "values were lost or moved when its CSS was inlined; is its HTML well-formed?"
        )
    contexts = html_contexts(inlined, placeholders)
    return tuple(map(_encode, cut(inlined.rstrip() + "\n", placeholders, contexts)))


def _compile_text(
    edition: EditionInput, values: Mapping[str, object], placeholders: Placeholders
) -> tuple[Fragment, ...]:
    rendered = render_template(
        edition.template_folders, placeholders.template, {**values, **placeholders.values}
    )
    contexts = [Context.PLAIN] * len(placeholders.tokens_in(rendered))
    return tuple(map(_encode, cut(rendered.rstrip() + "\n", placeholders, contexts)))


def _encode(part: Part) -> Fragment:
    texts = [p for p in part.pieces if isinstance(p, str)]
    return Fragment(
        when=part.when,
        article_ids=part.article_ids,
        pieces=tuple(qp_piece(p) if isinstance(p, str) else p for p in part.pieces),
        size_bytes=sum(len(t.encode()) + t.count("\n") for t in texts),  # a line end is two bytes
    )


def _shared_head(edition: EditionInput, boundary: str) -> str:
    newsletter = edition.newsletter
    domain = address_domain(newsletter.from_email)
    lines = [from_header("From", newsletter.from_name or newsletter.title, newsletter.from_email)]
    if newsletter.reply_to:
        lines.append(from_header("Reply-To", "", newsletter.reply_to))
    lines += [
        date_header(edition.opened_at),
        list_id(newsletter.title, newsletter.slug, domain),
        fixed("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),  # RFC 8058 section 3.1
        fixed("List-Post", "NO"),  # RFC 2369 section 3.4
        uri_header("List-Archive", edition.home_url),
        feedback_id(edition.edition_id, newsletter.slug, edition.cadence, domain),
        fixed("Precedence", "bulk"),
        fixed("Auto-Submitted", "auto-generated"),  # RFC 3834 section 5
        fixed("MIME-Version", "1.0"),
        fixed("Content-Type", alternative_type(boundary)),
    ]
    return "".join(lines)


def _boundary(edition: EditionInput) -> str:
    text = f"boundary\0{edition.edition_id}".encode()
    return "=_" + hmac.new(edition.secret, text, hashlib.sha256).hexdigest()[:24]


def _check(compiled: CompiledEdition) -> None:
    """Composes the message of a made-up reader, who gets everything, and checks it."""
    reader = ReaderValues(
        subscriber_id=0,
        address="reader@example.com",
        name="Reader",
        unsubscribe_url="https://example.com/unsubscribe/0123456789abcdef",
        preferences_url="https://example.com/preferences/0123456789abcdef",
    )
    message = compose_message(compiled, [a.id for a in compiled.articles], reader).to_bytes()
    require_sound(message, unsubscribe_url=reader.unsubscribe_url)
