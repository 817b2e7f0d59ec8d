"""A message as a mail, by SMTP (RFC 5321), with STARTTLS or TLS from the start, both verified."""

from __future__ import annotations

import email.utils
import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP

from cdcd.config import parse_duration
from cdcd.notices.channels import Email
from cdcd.notices.failures import NotTold, Unfit, verified_by
from cdcd.notices.messages import Letter


def send(options: Email, letter: Letter) -> None:
    """Send it to all recipients; returning means that the server has it. Raises NotTold, ConfigError."""
    password = options.password.reveal() if options.password is not None else None
    try:
        with _connected(options) as server:
            if options.user is not None and password is not None:
                server.login(options.user, password)
            server.send_message(composed(options, letter), options.sender, options.to)
    except smtplib.SMTPAuthenticationError as error:
        raise NotTold(f"the server does not take user and password ({error.smtp_code})") from None
    except smtplib.SMTPDataError as error:
        kind = Unfit if error.smtp_code >= 500 else NotTold
        raise kind(f"the server does not take the mail ({error.smtp_code})") from None
    except smtplib.SMTPRecipientsRefused:
        raise NotTold("the server takes none of the recipients") from None
    except smtplib.SMTPServerDisconnected:
        raise NotTold(f"the server hung up, or did not answer within {options.timeout}") from None
    except smtplib.SMTPNotSupportedError as error:
        raise NotTold(f"the server cannot do what tls and user ask for: {error}") from None
    except smtplib.SMTPResponseException as error:
        raise NotTold(f"the server answered with {error.smtp_code}") from None
    except ssl.SSLError as error:
        said = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason
        raise NotTold(f"TLS: {said or 'failed'}") from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise NotTold(f"no answer within {options.timeout}" if isinstance(error, TimeoutError) else what) from None


def _connected(options: Email) -> smtplib.SMTP:
    host, _, port = options.server.rpartition(":")
    host, seconds = host.strip("[]"), parse_duration(options.timeout)
    name = "localhost"  # said in EHLO; to look up our own may wait for a DNS server
    if options.tls == "tls":
        context = verified_by(options.ca)
        return smtplib.SMTP_SSL(host, int(port), local_hostname=name, timeout=seconds, context=context)
    server = smtplib.SMTP(host, int(port), local_hostname=name, timeout=seconds)
    if options.tls == "starttls":
        try:
            server.starttls(context=verified_by(options.ca))
        except (smtplib.SMTPException, OSError, NotTold):
            server.close()
            raise
    return server


def composed(options: Email, letter: Letter) -> EmailMessage:
    """The mail. What follows a first message refers to it, so that mail programs show them together."""
    found = EmailMessage(policy=SMTP)
    found["Subject"] = " ".join(letter.subject.split())
    found["From"] = options.sender
    found["To"] = ", ".join(options.to)
    found["Date"] = email.utils.format_datetime(datetime.now(UTC))
    found["Message-ID"] = _message_id(letter.id)
    if letter.thread not in ("", letter.id):
        found["In-Reply-To"] = found["References"] = _message_id(letter.thread)
    found["Auto-Submitted"] = "auto-generated"
    found["X-Cdcd-Id"] = letter.id
    found.set_content(f"{letter.text}\n\nWhat lasts: cdcd status. What happened: cdcd events.\n")
    return found


def _message_id(number: str) -> str:
    return f"<{number}@cdcd.invalid>"
