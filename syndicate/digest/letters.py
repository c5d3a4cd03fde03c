"""Letters: single messages about a subscription, such as the question to confirm it. Belong to no list."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from syndicate.digest.headers import date_header, fixed, from_header, text_header, to_header
from syndicate.digest.inline import inline_css
from syndicate.digest.mime import alternative_type, closing, part_head, qp_piece
from syndicate.digest.plain import clean_line
from syndicate.digest.render import render_template
from syndicate.digest.selfcheck import require_sound
from syndicate.digest.view import newsletter_values
from syndicate.model import Newsletter

__all__ = ["build_letter"]


def build_letter(
    *,
    template: str,
    newsletter: Newsletter,
    to: str,
    subject: str,
    values: Mapping[str, str],
    date: datetime,
    message_id: str,
    template_folders: Sequence[Path],
) -> bytes:
    """The letter made of ``email/<template>.html`` and ``.txt``, checked: CRLF lines, ready to be sent.

    Both templates see ``values`` (each put on one line), ``subject``, ``address`` (of the reader) and what
    ``newsletter_values`` gives. ``message_id`` has its angle brackets. Equal input gives equal bytes. Raises
    TemplateError, AddressError, or OperationError for a letter that fails the self-check.
    """
    seen: dict[str, str] = newsletter_values(newsletter) | {
        name: clean_line(value) for name, value in {**values, "subject": subject, "address": to}.items()
    }
    text = render_template(template_folders, f"email/{template}.txt", seen)
    html = render_template(template_folders, f"email/{template}.html", seen)
    html = inline_css(html, template=f"email/{template}.html")
    boundary = "=_" + hashlib.sha256(message_id.encode()).hexdigest()[:24]
    head = [
        from_header("From", newsletter.from_name or newsletter.title, newsletter.from_email),
        to_header(to),
        text_header("Subject", subject),
        date_header(date),
        fixed("Message-ID", message_id),
        from_header("Reply-To", "", newsletter.reply_to) if newsletter.reply_to else "",
        fixed("Auto-Submitted", "auto-generated"),  # RFC 3834 section 5
        fixed("MIME-Version", "1.0"),
        fixed("Content-Type", alternative_type(boundary)),
        "\r\n",
    ]
    letter = b"".join(
        (
            "".join(head).encode(),
            part_head(boundary, "plain"),
            qp_piece(text.rstrip() + "\n"),
            part_head(boundary, "html"),
            qp_piece(html.rstrip() + "\n"),
            closing(boundary),
        )
    )
    require_sound(letter, unsubscribe_url=None)
    return letter
