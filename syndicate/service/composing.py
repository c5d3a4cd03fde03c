"""Composes and signs the messages of one edition. Decides nobody's turn, and sends nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from syndicate.deliver.dkim import DkimSigner, PreparedSignature
from syndicate.deliver.outcome import Envelope
from syndicate.digest.compiled import CompiledEdition
from syndicate.digest.compose import ComposedMessage, ReaderValues, Variant, compose_chosen
from syndicate.digest.headers import address_domain, encode_address
from syndicate.digest.select import Selector
from syndicate.errors import AddressError
from syndicate.model import DeliveryState, Edition, Newsletter
from syndicate.service.installation import Installation
from syndicate.storage.deliveries import DeliveryOutcome, ReadyDelivery

__all__ = ["Composer"]

#: Messages that one thread signs at a time; our choice. Fewer would cost more in handing them out.
_FEW: Final = 4

#: Variants ready to be signed that are kept; our choice.
_MOST_VARIANTS: Final = 512


@dataclass(slots=True, kw_only=True)
class Composer:
    """Makes the message of each reader out of the compiled edition alone: each attempt has the same bytes.

    With a signer, as many threads as there are cores sign at once: signing is most of the work, and lets
    other threads run. For one caller at a time.
    """

    inst: Installation
    edition: Edition
    newsletter: Newsletter
    compiled: CompiledEdition
    signer: DkimSigner | None
    _prepared: dict[object, PreparedSignature] = field(default_factory=dict)
    _selector: Selector = field(init=False)
    _threads: ThreadPoolExecutor | None = None
    _unsubscribe_base: str = ""
    _preferences_base: str = ""

    def __post_init__(self) -> None:
        """Raises OperationError, before anybody is marked, if the key does not stand for the sender."""
        self._selector = Selector(self.compiled.articles, cutoff=self.edition.cutoff)
        # Tokens need no encoding in a URL, so what stands before them is made once.
        urls = self.inst.urls
        self._unsubscribe_base = urls.absolute(urls.unsubscribe("token")).removesuffix("token")
        self._preferences_base = urls.absolute(urls.preferences("token")).removesuffix("token")
        if self.signer is not None:
            self.signer.prepare(
                b"From: " + encode_address(self.newsletter.from_email).encode("ascii") + b"\r\n",
                b"",
                domain=address_domain(self.newsletter.from_email),
                signed_at=self.edition.opened_at,
            )
            self._threads = ThreadPoolExecutor(os.cpu_count() or 1, "dkim")

    def close(self) -> None:
        """Ends its threads."""
        if self._threads is not None:
            self._threads.shutdown()

    def compose(
        self, rows: Sequence[ReadyDelivery], begin_before_s: float
    ) -> tuple[list[Envelope], list[DeliveryOutcome]]:
        """The messages of these readers, and the outcomes of those to whom none can be addressed."""
        failed: list[DeliveryOutcome] = []
        made: list[tuple[ReadyDelivery, ComposedMessage]] = []
        select = self._selector.select
        for row in rows:
            try:
                # What is chosen comes out of the edition as it was frozen, and not of today's rows.
                chosen = select(row.watermark, row.topics.split(",") if row.topics else ())
                made.append((row, compose_chosen(self.compiled, chosen, self._reader(row))))
            except AddressError as error:
                failed.append(
                    DeliveryOutcome(
                        subscriber_id=row.subscriber_id, state=DeliveryState.FAILED, reply=str(error)
                    )
                )
        signatures = self._sign([message for _, message in made])
        envelopes = [
            Envelope(
                key=row.subscriber_id,
                sender=self.newsletter.from_email,
                recipient=row.address,
                pieces=message.pieces(signature),
                is_canonical=True,
                begin_before_s=begin_before_s,
            )
            for (row, message), signature in zip(made, signatures, strict=True)
        ]
        return envelopes, failed

    def _sign(self, messages: Sequence[ComposedMessage]) -> list[bytes]:
        if self.signer is None or self._threads is None:
            return [b""] * len(messages)
        prepared = [self._prepare(self.signer, message.variant) for message in messages]
        parts = range(0, len(messages), _FEW)
        signed = self._threads.map(
            lambda i: [
                each.sign(message.own_head, message.body[1:])
                for each, message in zip(prepared[i : i + _FEW], messages[i : i + _FEW], strict=True)
            ],
            parts,
        )
        return [signature for part in signed for signature in part]

    def _prepare(self, signer: DkimSigner, variant: Variant) -> PreparedSignature:
        if variant not in self._prepared:
            if len(self._prepared) >= _MOST_VARIANTS:
                self._prepared.clear()
            self._prepared[variant] = signer.prepare(
                variant.head,
                variant.prefix,
                domain=address_domain(self.newsletter.from_email),
                signed_at=self.edition.opened_at,
            )
        return self._prepared[variant]

    def _reader(self, row: ReadyDelivery) -> ReaderValues:
        links = self.inst.links
        return ReaderValues(
            row.subscriber_id,
            row.address,
            row.name,
            self._unsubscribe_base + links.unsubscribe(row.subscription_id),
            self._preferences_base + links.preferences(row.subscription_id),
        )
