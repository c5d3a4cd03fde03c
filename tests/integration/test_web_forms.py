"""Forms over HTTP: subscribe, confirm, preferences, unsubscribe, and whatever else somebody may post."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from lxml import html
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from subscribers.model import ConsentMethod, SubscriptionStatus
from subscribers.tokens import CONFIRM_LIFETIME
from syndicate.model import ANY_CADENCE
from syndicate.service.editions import plan_edition
from syndicate.service.installation import Installation
from syndicate.service.newsletters import NewsletterChanges, add_newsletter
from syndicate.service.people import show_subscriber
from syndicate.settings import Settings, SiteSettings
from syndicate.storage.engine import reading
from syndicate.storage.tables import letter
from syndicate.web.app import create_app
from tests.web_site import SLUG, Clock, Website

SUBSCRIBE = f"/{SLUG}/subscribe"
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def letters_to(inst: Installation, address: str) -> int:
    with reading(inst.engine) as conn:
        return conn.execute(select(func.count()).where(letter.c.recipient == address)).scalar_one()


def status_of(website: Website, email: str) -> SubscriptionStatus:
    return website.subscription(email).status


# Subscribe


@pytest.mark.parametrize("name", ["new", "ada", "pia", "leo", "sue"])
def test_every_address_gets_the_same_answer(website: Website, name: str) -> None:
    web = website.client()
    unknown = web.post(SUBSCRIBE, data={"email": "nobody@example.com", "topics": "woods"})
    answer = web.post(SUBSCRIBE, data={"email": f"{name}@example.com", "topics": "woods"})
    assert answer.status_code == 200
    assert answer.content == unknown.content
    assert {k: v for k, v in answer.headers.items() if k != "date"} == dict(unknown.headers)


@pytest.mark.parametrize(
    ("name", "letters"),
    [("new", 1), ("pia", 2), ("leo", 1), ("ada", 0), ("bob", 0), ("sue", 0)],
)
def test_a_confirmation_is_queued_where_one_is_due_and_once_a_day(
    website: Website, name: str, letters: int
) -> None:
    web, address = website.client(), f"{name}@example.com"
    for _ in range(3):
        web.post(SUBSCRIBE, data={"email": address})
    assert letters_to(website.inst, address) == letters
    website.clock.at += timedelta(days=1, seconds=1)
    web.post(SUBSCRIBE, data={"email": address})
    assert letters_to(website.inst, address) == (letters + 1 if letters else 0)


def test_a_stranger_changes_nothing_of_an_active_reader(website: Website) -> None:
    before = show_subscriber(website.inst, "bob@example.com")
    website.client().post(
        SUBSCRIBE, data={"email": "BOB@example.com", "name": "Mallory", "cadence": "daily", "topics": "craft"}
    )
    assert show_subscriber(website.inst, "bob@example.com") == before


def test_choices_are_kept_until_the_confirmation(website: Website) -> None:
    web = website.client()
    data = {"email": "new@example.com", "name": " Neo ", "cadence": "daily", "topics": ["craft", "Night sky"]}
    assert web.post(SUBSCRIBE, data=data).status_code == 200
    person = show_subscriber(website.inst, "new@example.com")
    assert person.subscriber.name == "Neo"
    subscription = website.subscription("new@example.com")
    assert subscription.status is SubscriptionStatus.PENDING
    assert (subscription.cadence, subscription.topics) == ("daily", ("craft", "night-sky"))


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({}, "email"),
        ({"email": ""}, "email"),
        ({"email": "ada"}, "email"),
        ({"email": "a@b@example.com"}, "email"),
        ({"email": "ada@example.com\r\nBcc: all@example.com"}, "email"),
        ({"email": "ada@example.com, bob@example.com"}, "email"),
        ({"email": "<ada@example.com>"}, "email"),
        ({"email": "ada@[127.0.0.1]"}, "email"),
        ({"email": "a" * 5000 + "@example.com"}, "email"),
        ({"email": "\x00@example.com"}, "email"),
        ({"email": "new@example.com", "cadence": "hourly"}, "cadence"),
        ({"email": "new@example.com", "cadence": ["daily", "weekly"]}, "cadence"),
        ({"email": "new@example.com", "topics": "dragons"}, "cadence"),
        ({"email": "new@example.com", "topics": "'; DROP TABLE subscriber; --"}, "cadence"),
    ],
)
def test_a_mistake_brings_the_form_back_with_a_sentence_and_changes_nothing(
    website: Website, sent: dict[str, Any], field: str
) -> None:
    before = website.dump()
    answer = website.client().post(SUBSCRIBE, data=sent)
    assert answer.status_code == 422
    tree = html.document_fromstring(answer.text)
    assert tree.xpath(f"//*[@id='problem-{field}']")
    if "\x00" not in (given := sent.get("email", "")):
        assert tree.xpath("string(//input[@name='email']/@value)").startswith(given[:15])
    assert website.dump() == before


def test_what_was_sent_comes_back_as_text(website: Website) -> None:
    hostile = '"><script>alert(1)</script>'
    answer = website.client().post(
        SUBSCRIBE, data={"email": hostile, "name": hostile, "cadence": hostile, "topics": hostile}
    )
    tree = html.document_fromstring(answer.text)
    assert answer.status_code == 422
    assert not tree.xpath("//script")
    assert tree.xpath("//input[@name='name']/@value") == [hostile]


def test_a_name_full_of_tricks_is_kept_as_one_plain_line(website: Website) -> None:
    name = "Eve\r\nBcc: x@example.com\x00 =?utf-8?q?x?= " + "y" * 500
    assert (
        website.client().post(SUBSCRIBE, data={"email": "new@example.com", "name": name}).status_code == 200
    )
    kept = show_subscriber(website.inst, "new@example.com").subscriber.name
    assert kept.startswith("Eve Bcc: x@example.com")
    assert kept.isprintable()
    assert len(kept) <= 200


# What somebody may post besides


def multipart(*fields: tuple[str, bytes]) -> dict[str, Any]:
    parts = [
        b'--sea\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in fields
    ]
    return {
        "content": b"".join(parts) + b"--sea--\r\n",
        "headers": {"Content-Type": "multipart/form-data; boundary=sea"},
    }


POSTED: dict[str, Callable[[], dict[str, Any]]] = {
    "nothing": dict,
    "json": lambda: {"json": {"email": "new@example.com"}},
    "bytes": lambda: {"content": bytes(range(256)), "headers": URLENCODED},
    "a broken percent": lambda: {"content": b"email=%&%zz=%ff%fe&&=&;", "headers": URLENCODED},
    "many fields": lambda: {"content": b"&".join(b"a%d=1" % n for n in range(5000)), "headers": URLENCODED},
    "many parts": lambda: multipart(*((f"a{n}", b"1") for n in range(150))),
    "a file": lambda: {"files": {"email": ("new@example.com", b"x")}},
    "no boundary": lambda: {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
    "a wrong boundary": lambda: {
        "content": b"x" * 100,
        "headers": {"Content-Type": "multipart/form-data; boundary=sea"},
    },
    "a strange charset": lambda: {
        **multipart(("email", b"\xff\xfe")),
        "headers": {"Content-Type": "multipart/form-data; boundary=sea; charset=klingon"},
    },
    "a part without a name": lambda: {
        "content": b"--sea\r\nContent-Disposition: form-data\r\n\r\nx\r\n--sea--\r\n",
        "headers": {"Content-Type": "multipart/form-data; boundary=sea"},
    },
    "a part that does not end": lambda: {
        "content": b'--sea\r\nContent-Disposition: form-data; name="email"\r\n\r\nnew@exam',
        "headers": {"Content-Type": "multipart/form-data; boundary=sea"},
    },
}


@pytest.mark.parametrize("what", POSTED)
def test_a_body_that_is_no_form_is_refused_politely(website: Website, what: str) -> None:
    before = website.dump()
    answer = website.client().post(SUBSCRIBE, **POSTED[what]())
    assert answer.status_code in {400, 422}
    assert html.document_fromstring(answer.text).xpath("//main//h1")
    assert website.dump() == before


@pytest.mark.parametrize("path", ["subscribe", "preferences", "unsubscribe"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_more_than_64_kilobytes_is_too_much(website: Website, path: str, chunked: bool) -> None:  # noqa: FBT001 - a parameter
    paths = {
        "subscribe": SUBSCRIBE,
        "preferences": website.preferences_path("ada@example.com"),
        "unsubscribe": website.unsubscribe_path("ada@example.com"),
    }
    body = b"email=new@example.com&name=" + b"x" * 65536
    before = website.dump()
    content = iter([body[n : n + 5000] for n in range(0, len(body), 5000)]) if chunked else body
    answer = website.client().post(paths[path], content=content, headers=URLENCODED)
    assert answer.status_code == 413
    assert "content-security-policy" in answer.headers
    assert website.dump() == before


def test_many_at_once_get_their_answers_and_one_letter_each(
    engine: Engine, tmp_path: Any, request: pytest.FixtureRequest
) -> None:
    settings = Settings(site=SiteSettings(url="https://news.example.org", secret="x" * 40), folder=tmp_path)
    inst = Installation(settings=settings, engine=engine, clock=Clock(request.getfixturevalue("now")))
    add_newsletter(inst, "tide", NewsletterChanges(from_email="tide@example.org"))
    app, answers = create_app(inst), list[int]()

    def ask(number: int) -> None:
        web = TestClient(app, base_url="https://news.example.org", raise_server_exceptions=False)
        answers.append(web.post("/tide/subscribe", data={"email": f"r{number % 4}@example.com"}).status_code)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 16
    assert [letters_to(inst, f"r{number}@example.com") for number in range(4)] == [1, 1, 1, 1]


# Confirm


def test_opening_the_link_asks_and_the_button_confirms_once(website: Website) -> None:
    web, path = website.client(), website.confirm_path("pia@example.com")
    asked = web.get(path)
    [form] = html.document_fromstring(asked.text).xpath("//main//form")
    assert (form.get("method"), form.get("action")) == ("post", path)
    assert status_of(website, "pia@example.com") is SubscriptionStatus.PENDING
    first = web.post(path)
    assert first.status_code == 200
    assert "You are subscribed" in first.text
    assert status_of(website, "pia@example.com") is SubscriptionStatus.ACTIVE
    before = website.dump()
    assert web.post(path).content == first.content
    assert website.dump() == before
    granted = [c for c in show_subscriber(website.inst, "pia@example.com").consents if c.action == "granted"]
    assert [(c.method, c.proof) for c in granted] == [(ConsentMethod.CONFIRMED, "testclient")]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_link_to_confirm_expires(website: Website, method: str) -> None:
    path = website.confirm_path("pia@example.com")
    website.clock.at += CONFIRM_LIFETIME + timedelta(seconds=1)
    answer = website.client().request(method, path)
    assert answer.status_code == 410
    assert "This link has expired" in answer.text
    assert status_of(website, "pia@example.com") is SubscriptionStatus.PENDING


def test_a_link_to_confirm_from_before_the_reader_left_is_void(website: Website) -> None:
    web, path = website.client(), website.confirm_path("pia@example.com")
    web.post(path)
    website.clock.at += timedelta(minutes=1)
    web.post(website.unsubscribe_path("pia@example.com"), data=ONE_CLICK)
    answer = web.post(path)
    assert answer.status_code == 410
    assert status_of(website, "pia@example.com") is SubscriptionStatus.UNSUBSCRIBED


def test_a_suppressed_address_cannot_be_confirmed(website: Website) -> None:
    before = website.dump()
    assert website.client().post(website.confirm_path("sue@example.com")).status_code == 410
    assert website.dump() == before


# Preferences


def test_the_preferences_show_what_is_chosen_and_keep_what_is_changed(website: Website) -> None:
    web, path = website.client(), website.preferences_path("bob@example.com")
    tree = html.document_fromstring(web.get(path).text)
    assert tree.xpath("//input[@name='topics'][@checked]/@value") == ["woods"]
    assert tree.xpath("//input[@name='cadence'][@checked]/@value") == ["weekly"]
    assert tree.xpath("//input[@name='name']/@value") == ["Bob"]
    saved = web.post(path, data={"name": "Robert", "cadence": "monthly", "topics": ["craft", "coast"]})
    assert saved.status_code == 200
    tree = html.document_fromstring(web.get(path).text)
    assert tree.xpath("//input[@name='topics'][@checked]/@value") == ["coast", "craft"]
    assert tree.xpath("//input[@name='cadence'][@checked]/@value") == ["monthly"]
    assert tree.xpath("//input[@name='name']/@value") == ["Robert"]
    before = website.dump()
    web.post(path, data={"name": "Robert", "cadence": "monthly", "topics": ["craft", "coast"]})
    assert website.dump() == before


@pytest.mark.parametrize(("name", "is_active"), [("ada", True), ("pia", False), ("leo", False)])
def test_the_preferences_tell_who_gets_no_mail(website: Website, name: str, is_active: bool) -> None:  # noqa: FBT001 - a parameter
    text = website.client().get(website.preferences_path(f"{name}@example.com")).text
    assert ("You get no mail from us at present" in text) is not is_active
    assert ("/unsubscribe/" in text) is is_active


def test_no_topic_chosen_means_every_topic(website: Website) -> None:
    web, path = website.client(), website.preferences_path("bob@example.com")
    web.post(path, data={"name": "Bob", "cadence": "weekly"})
    assert website.subscription("bob@example.com").topics == ()


def test_a_choice_that_is_not_on_offer_changes_nothing(website: Website) -> None:
    web, path, before = website.client(), website.preferences_path("bob@example.com"), website.dump()
    for sent in ({"cadence": "hourly"}, {"topics": "dragons"}, {"cadence": ["daily", "weekly"]}):
        answer = web.post(path, data=sent)
        assert answer.status_code == 422
        assert html.document_fromstring(answer.text).xpath("//*[@id='problem-cadence']")
    assert website.dump() == before


# Unsubscribe


UNSUBSCRIBE: dict[str, dict[str, Any]] = {
    "urlencoded": {"data": ONE_CLICK},
    "multipart": multipart(("List-Unsubscribe", b"One-Click")),
    "empty": {},
    "nonsense": {"content": b"\x00\xff", "headers": {"Content-Type": "text/plain"}},
    "the button": {"data": {"x": "y"}},
}


@pytest.mark.parametrize("how", UNSUBSCRIBE)
def test_a_post_unsubscribes_without_cookie_or_redirect_and_again_the_same(
    website: Website, how: str
) -> None:
    web, path = website.client(), website.unsubscribe_path("ada@example.com")
    first = web.post(path, **UNSUBSCRIBE[how])
    assert first.status_code == 200
    assert not {"set-cookie", "location"} & set(first.headers)
    assert status_of(website, "ada@example.com") is SubscriptionStatus.UNSUBSCRIBED
    before = website.dump()
    second = web.post(path, **UNSUBSCRIBE[how])
    assert (second.status_code, second.content) == (200, first.content)
    assert website.dump() == before
    [withdrawn] = [
        c for c in show_subscriber(website.inst, "ada@example.com").consents if c.action == "withdrawn"
    ]
    is_one_click = how in {"urlencoded", "multipart"}
    assert withdrawn.method == (ConsentMethod.ONE_CLICK if is_one_click else ConsentMethod.UNSUBSCRIBE_PAGE)


def test_a_body_with_too_many_fields_does_not_unsubscribe(website: Website) -> None:
    path, before = website.unsubscribe_path("ada@example.com"), website.dump()
    assert website.client().post(path, **POSTED["many fields"]()).status_code == 400
    assert website.dump() == before


def test_the_page_to_unsubscribe_asks_with_a_button(website: Website) -> None:
    web, path = website.client(), website.unsubscribe_path("ada@example.com")
    [form] = html.document_fromstring(web.get(path).text).xpath("//main//form")
    assert (form.get("method"), form.get("action")) == ("post", path)
    assert status_of(website, "ada@example.com") is SubscriptionStatus.ACTIVE


def test_who_has_left_is_in_no_further_audience(website: Website) -> None:
    web = website.client()
    with website.inst.engine.begin() as conn:  # so that everybody has something new
        conn.exec_driver_sql("UPDATE subscription SET watermark = 0")
    planned = plan_edition(website.inst, website.newsletter, cadence=ANY_CADENCE)
    assert planned is not None
    web.post(website.unsubscribe_path("ada@example.com"), data=ONE_CLICK)
    after = plan_edition(website.inst, website.newsletter, cadence=ANY_CADENCE)
    assert after is not None
    assert after.readers == planned.readers - 1


def test_who_has_left_comes_back_by_the_form_and_a_new_confirmation_only(website: Website) -> None:
    web = website.client()
    web.post(website.unsubscribe_path("ada@example.com"), data=ONE_CLICK)
    web.post(website.preferences_path("ada@example.com"), data={"cadence": "daily"})
    assert status_of(website, "ada@example.com") is SubscriptionStatus.UNSUBSCRIBED
    website.clock.at += timedelta(minutes=1)
    web.post(SUBSCRIBE, data={"email": "ada@example.com"})
    assert status_of(website, "ada@example.com") is SubscriptionStatus.PENDING
    assert letters_to(website.inst, "ada@example.com") == 1
    web.post(website.confirm_path("ada@example.com"))
    assert status_of(website, "ada@example.com") is SubscriptionStatus.ACTIVE
