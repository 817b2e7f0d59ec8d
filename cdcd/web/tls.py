"""The TLS of the secured page: a certificate and a key, as the configuration names them."""

from __future__ import annotations

import os
import ssl

from cdcd.config import SecuredPage
from cdcd.errors import ConfigError


def context(secured: SecuredPage) -> ssl.SSLContext:
    """What to serve with. Raises ConfigError: the certificate or the key is missing, open to others, or does not fit."""
    key = secured.key.reveal()
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    descriptor = os.memfd_create("cdcd-page-key", os.MFD_CLOEXEC)  # OpenSSL wants a file, and a credential may be none
    try:
        os.write(descriptor, key.encode() + b"\n")
        made.load_cert_chain(secured.certificate, f"/proc/self/fd/{descriptor}", password=_no_password)
    except ssl.SSLError as error:
        raise ConfigError(
            "web.secured: certificate and key cannot be used",
            code="page-tls",
            cause=(error.reason or str(error)).lower().replace("_", " "),
            remedy="both are PEM files, the key without a passphrase, and belong together: openssl x509 -in … -text",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"web.secured: {secured.certificate} cannot be read",
            code="page-tls",
            cause=str(error.strerror),
            remedy="the daemon's account must be able to read it",
        ) from error
    finally:
        os.close(descriptor)
    return made


def _no_password() -> str:
    """An encrypted key is refused; OpenSSL would ask at the terminal."""
    return ""
