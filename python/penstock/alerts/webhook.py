"""One POST to a webhook, with a deadline and no redirects. Blocks: it is run on a thread.

Apart from the service because it is the only outgoing HTTP of the control plane, and small enough for the standard library.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

_LONGEST_ANSWER = 65_536


class Undelivered(Exception):
    """The webhook did not answer with success."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """A POST that is sent elsewhere as a GET would look delivered."""


# Without the proxies that the environment may name: what is read from there is read by the configuration alone.
_opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


def post(url: str, body: bytes, timeout_s: float) -> None:
    """Send the JSON body.

    Raises:
        Undelivered: no answer in time, or one that is not a 2xx.
    """
    headers = {"content-type": "application/json", "user-agent": "penstock"}
    try:
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - checked to be http(s)
        with _opener.open(request, timeout=timeout_s) as answer:
            answer.read(_LONGEST_ANSWER)
    except urllib.error.HTTPError as error:
        error.close()
        raise Undelivered(f"status {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        # Of an address that is none, or not of ASCII: ValueError, which UnicodeEncodeError is too.
        raise Undelivered(type(error).__name__) from error
