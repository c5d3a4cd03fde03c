"""CSS into style attributes, once for an edition. The only importer of premailer; reads no template.

premailer 3.10.0 sees two style blocks: a plain one, whose rules for elements and classes it writes into
the elements, and one marked ``data-premailer="ignore"``, which passes unchanged and holds everything
that cannot be inlined (@media, dark mode, :hover, :root, [data-ogsc]). Its traps, each avoided by an
option below or forbidden to templates:

- it would fetch stylesheets: no network, and ``<link>`` and ``@import`` are refused first;
- ``strip_important`` would delete what makes mobile and dark rules win;
- ``align_floating_images`` parses the style of every image again, most of the time it takes;
- width and height from CSS become junk attributes; templates write these attributes themselves;
- of two values of one property only the last survives; shorthand and longhand of one family in several
  rules come out in the wrong order; rules by position hold for the whole edition and not for a
  reader's choice of articles.
"""

from __future__ import annotations

import logging
import re

from premailer import Premailer

from syndicate.errors import TemplateError

__all__ = ["inline_css"]


def inline_css(html: str, *, template: str) -> str:
    """The document with the rules of its plain style block written into its elements.

    Raises TemplateError for a ``<link>`` or an ``@import``; ``template`` is only named in it.
    """
    if re.search(r"<link\b", html, re.IGNORECASE):
        raise TemplateError(template, None, "has a <link>; mail cannot load stylesheets, use a <style> block")
    for style in re.findall(r"<style\b[^>]*>(.*?)</style", html, re.IGNORECASE | re.DOTALL):
        if "@import" in style.lower():
            raise TemplateError(template, None, "has an @import; mail cannot load stylesheets")
    premailer = Premailer(
        html,
        strip_important=False,
        disable_validation=True,
        allow_network=False,
        align_floating_images=False,
        disable_basic_attributes=["width", "height"],
        cssutils_logging_level=logging.CRITICAL,
        cache_css_parsing=True,
    )
    return str(premailer.transform(pretty_print=False))
