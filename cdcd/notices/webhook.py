"""A message as an HTTP POST: verified TLS, no redirects, a signature that the receiver can check."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
import time
import urllib.error
import urllib.request
from typing import Any, Final

from cdcd.config import Secret, parse_duration
from cdcd.notices.channels import Webhook
from cdcd.notices.failures import NotTold, Unfit, verified_by
from cdcd.notices.messages import Letter

ANSWER_BYTES: Final = 4096
_REFUSED_FOR_GOOD: Final = frozenset([400, 406, 413, 415, 422])
"""Answers that say that this message will never be taken; others may pass, or are about the whole channel."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:
        """A signed message with secret headers goes where the configuration says, and nowhere else."""


def post(options: Webhook, letter: Letter, version: str) -> None:
    """Send it; returning means that the receiver has it. Raises NotTold, ConfigError where a secret is not there."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"cdcd/{version}",
        "Idempotency-Key": letter.id,
        **{name: _revealed(value) for name, value in options.headers.items()},
    }
    if options.sign is not None:
        headers["X-Cdcd-Signature"] = signature(options.sign.reveal(), int(time.time()), letter.body)
    url = _revealed(options.url)
    if not url.startswith(("http://", "https://")):
        raise NotTold("the secret does not hold a URL that begins with https://")
    request = urllib.request.Request(url, letter.body, headers, method="POST")  # noqa: S310 - looked at above
    _sent(request, options)


def signature(key: str, at: int, body: bytes) -> str:
    """`t=…,v1=…`: the moment in seconds since the epoch, and the HMAC-SHA256 of "<t>.<body>" in hexadecimal digits."""
    digest = hmac.new(key.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _revealed(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _sent(request: urllib.request.Request, options: Webhook) -> None:
    handlers = [urllib.request.HTTPSHandler(context=verified_by(options.ca)), _NoRedirect()]
    try:
        opener = urllib.request.build_opener(*handlers)
        with opener.open(request, timeout=parse_duration(options.timeout)) as answer:
            answer.read(ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        kind = Unfit if error.code in _REFUSED_FOR_GOOD else NotTold
        raise kind(f"the receiver answered with {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise NotTold(_reason(error.reason)) from None
    except TimeoutError:
        raise NotTold(f"no answer within {options.timeout}") from None
    except (
        OSError,
        http.client.HTTPException,
        ValueError,
    ) as error:  # ValueError: a URL or header that HTTP does not know
        raise NotTold(_reason(error)) from None


def _reason(error: object) -> str:
    """Without the URL, which may be a secret."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'failed'}" + (
            f" ({error.verify_message})" if isinstance(error, ssl.SSLCertVerificationError) else ""
        )
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
