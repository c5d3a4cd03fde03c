import shutil

import pytest

from syndicate.digest.compile import compile_edition
from syndicate.digest.render import render_subject
from syndicate.digest.selfcheck import read_parts
from syndicate.errors import OperationError, TemplateError
from tests.digest_builders import TEMPLATES, make_article, make_edition, make_message, make_newsletter


@pytest.fixture
def own_folder(tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(TEMPLATES / "email", folder / "email")
    return folder


def change(folder, old, new, name="digest.html"):
    path = folder / "email" / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def compile_with(folder):
    return compile_edition(make_edition(template_folders=(folder, TEMPLATES)))


def test_an_operators_template_goes_before_the_shipped_one(own_folder):
    change(own_folder, "Read on the web", "Im Netz lesen")
    compiled = compile_with(own_folder)
    assert "Im Netz lesen" in read_parts(make_message(compiled, [1]))["html"]


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        ("{{ section.label }}", "{{ section.nonsense }}", "nonsense"),
        ("{{ section.label }}", "{{ 1 // 0 }}", "zero"),
        ("{{ section.label }}", "{{ section.label | nonsense }}", "nonsense"),
        ("{{ section.label }}", "{{ section.label ", "unexpected"),
        ('only_when("more")', 'only_when("less")', "less"),
    ],
)
def test_a_mistake_in_a_template_names_its_file_and_line(own_folder, old, new, detail):
    path = own_folder / "email" / "digest.html"
    change(own_folder, old, new)
    line = next(i for i, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if new in text)
    with pytest.raises(TemplateError, match=detail) as caught:
        compile_with(own_folder)
    assert (caught.value.template, caught.value.line) == ("email/digest.html", line)


def test_a_mistake_in_an_included_file_names_that_file(own_folder):
    change(own_folder, "{{ side }}", "{{ sight }}", name="inlined.css")
    with pytest.raises(TemplateError) as caught:
        compile_with(own_folder)
    assert caught.value.template == "email/inlined.css"
    assert caught.value.line


def test_a_template_that_is_nowhere_is_named(tmp_path):
    with pytest.raises(TemplateError, match=r"email/digest\.html"):
        compile_edition(make_edition(template_folders=(tmp_path,)))


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        ('<td class="ending"', '<td onclick="{{ reader.name }}" class="ending"', "attribute onclick"),
        ('<td class="ending"', '<td style="color:{{ reader.name }}" class="ending"', "attribute style"),
        ("❦", "<!-- {{ reader.name }} -->", "comment"),
        ("❦", '<a href="https://{{ reader.name }}/x">x</a>', "host"),
        ("❦", '<a href="{{ reader.name }}">x</a>', "no URL"),
        ("❦", "<style data-premailer=ignore>{{ reader.name }}</style>", "<style>"),
        ("❦", "<b {{ reader.name }}>x</b>", "lost or moved"),
        ("❦", "{% call only_when('many') %}{% call only_when('one') %}x{% endcall %}{% endcall %}", "within"),
        ("❦", "{% call only_when('one') %}</td>{% endcall %}", "outside"),
        ("❦", "{% call only_when('one') %}<td>{% endcall %}", "outside"),
        ("❦", '<link rel="stylesheet" href="https://x.example/">', "<link>"),
        ("❦", "<style>@import 'x';</style>", "@import"),
    ],
)
def test_a_value_or_block_where_it_is_not_safe_is_refused(own_folder, old, new, detail):
    change(own_folder, old, new)
    with pytest.raises(TemplateError, match=detail):
        compile_with(own_folder)


def test_a_value_outside_of_the_document_is_refused(own_folder):
    change(own_folder, "</html>", "</html>\n<!-- {{ reader.name }} -->", name="base.html")
    with pytest.raises(TemplateError, match="outside of <html>"):
        compile_with(own_folder)


def test_a_value_is_encoded_for_the_place_where_it_stands(own_folder):
    change(
        own_folder,
        "❦",
        '<a href="https://x.example/?q={{ reader.name }}" title="{{ reader.name }}">{{ reader.name }}</a>',
    )
    message = make_message(compile_with(own_folder), [1], name='<a&"b">')
    expected = '<a href="https://x.example/?q=%3Ca%26%22b%22%3E" title="&lt;a&amp;&quot;b&quot;&gt;"'
    assert expected in read_parts(message)["html"]
    assert '&lt;a&amp;"b"&gt;</a>' in read_parts(message)["html"]


def test_a_template_without_unsubscribe_link_fails_the_self_check(own_folder):
    change(own_folder, "Unsubscribe: {{ reader.unsubscribe_url }}", "", name="digest.txt")
    with pytest.raises(OperationError, match="no unsubscribe link"):
        compile_with(own_folder)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ 'a' * 10**9 }}",
        "{{ lipsum() }}",
        "{{ 'x' | center(9999999) }}",
        "{{ nope }}",
        "{{ title",
        "{% for i in range(9) %}x{% endfor %}",
        "{{ '%0999999d' % 1 }}",
        "{{ cycler }}",
    ],
)
def test_a_subject_cannot_escape_and_its_mistakes_are_reported(template):
    with pytest.raises(TemplateError, match="subject of"):
        render_subject(template, {"title": "T", "count": 1, "lead": "L", "date": "D"}, place="subject of 'T'")


def test_a_subject_that_comes_out_empty_is_the_title():
    compiled = compile_edition(make_edition(newsletter=make_newsletter(subject_template=" {# #} ")))
    assert b"\r\nSubject: Tide & Timber\r\n" in make_message(compiled, [1])


def test_hostile_content_is_text_in_the_finished_mail():
    article = make_article(title="<script>x</script>{{ 7*7 }}", summary='</td><img src=x onerror="x">')
    message = make_message(compile_edition(make_edition([article])), [1], name="<b>{{ 7*7 }}")
    html = read_parts(message)["html"]
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;x&lt;/script&gt;{{ 7*7 }}" in html
