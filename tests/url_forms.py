"""Ways to write an address within, of loopback (port ``{p}``), of other inner networks, or of none at all."""

from __future__ import annotations

__all__ = ["FORMS"]

FORMS = """
http://127.0.0.1:{p}/ http://127.1:{p}/ http://2130706433:{p}/ http://0177.0.0.1:{p}/ http://0x7f.1:{p}/
http://0x7f000001:{p}/ http://0:{p}/ http://0.0.0.0:{p}/ http://127.0.0.1.:{p}/ http://127.8.9.1:{p}/
http://localhost:{p}/ http://LOCALHOST:{p}/ http://localhost.:{p}/ http://good@127.0.0.1:{p}/
http://good.example@127.0.0.1:{p}/ http://a:b@127.0.0.1:{p}/ http://１２７.0.0.1:{p}/ http://①②⑦.0.0.1:{p}/
http://127。0。0。1:{p}/ http://[::1]:{p}/ http://[::]:{p}/ http://[::ffff:127.0.0.1]:{p}/
http://[::ffff:7f00:1]:{p}/ http://[0:0:0:0:0:ffff:7f00:1]:{p}/ http://[64:ff9b::7f00:1]:{p}/
http://[64:ff9b:1::7f00:1]:{p}/ http://[::127.0.0.1]:{p}/ http://[2002:7f00:1::]:{p}/
http://[fe80::1%25lo]:{p}/ http://[fe80::1%lo]:{p}/ http://[fec0::1]:{p}/ http://[fd00::1]:{p}/
http://[ff02::1]:{p}/ http://10.0.0.1:{p}/ http://169.254.169.254:{p}/ http://[::ffff:a9fe:a9fe]:{p}/
http://100.64.0.1:{p}/ http://192.88.99.1:{p}/ http://224.0.0.1:{p}/ http://127.0.0.1:{p}\\@good.example/
http://127.0.0.1:{p}#@good.example/ http://127.0.0.1:{p}?@good.example/ http:127.0.0.1:{p}/
http:///127.0.0.1:{p}/ //127.0.0.1:{p}/ 127.0.0.1:{p}/ file://127.0.0.1/etc/passwd file:///etc/passwd
ftp://127.0.0.1:{p}/ gopher://127.0.0.1:{p}/ dict://127.0.0.1:{p}/ data:text/xml,<rss/> unix:///run/x.sock
javascript:1 http:// https:// http://: http://[ http://127.0.0.1:999999/ http://127.0.0.1:x/
http://%31%32%37.0.0.1:{p}/ http://127.0.0.1%00.example:{p}/ http://%00/ http://xn--:{p}/ http://.:{p}/
https://127.0.0.1:{p}/ HTTP://127.0.0.1:{p}/ http://ⓛocalhost:{p}/ http://127.0.0.1:{p}/../../
http://172.16.0.1:{p}/ http://192.168.0.1:{p}/ http://[::ffff:0:127.0.0.1]:{p}/ http://[3fff::1]:{p}/
http://[5f00::1]:{p}/ http://255.255.255.255:{p}/
"""
