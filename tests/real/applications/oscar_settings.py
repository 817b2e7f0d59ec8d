"""Settings of a plain django-oscar shop: no fork, no changed model. SHOP_PORT and SHOP_DATABASE say where its tables are."""

import os

import pymysql
from oscar.defaults import *  # noqa: F403

pymysql.version_info = (2, 2, 8, "final", 0)  # Django asks mysqlclient's version, whose place PyMySQL takes
pymysql.install_as_MySQLdb()

SECRET_KEY = "a private shop that lives for minutes"
DEBUG = False
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
SITE_ID = 1
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.mysql",
        "NAME": os.environ["SHOP_DATABASE"],
        "HOST": "127.0.0.1",
        "PORT": os.environ["SHOP_PORT"],
        "USER": "shop",
        "PASSWORD": "shop",
        "ATOMIC_REQUESTS": True,
        "CONN_MAX_AGE": None,
        "OPTIONS": {"charset": "utf8mb4", "init_command": "set sql_mode='STRICT_TRANS_TABLES'"},
    }
}
_DASHBOARD = "oscar.apps.dashboard."
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.sites",
    "django.contrib.flatpages",
    "oscar.config.Shop",
    "oscar.apps.analytics.apps.AnalyticsConfig",
    "oscar.apps.checkout.apps.CheckoutConfig",
    "oscar.apps.address.apps.AddressConfig",
    "oscar.apps.shipping.apps.ShippingConfig",
    "oscar.apps.catalogue.apps.CatalogueConfig",
    "oscar.apps.catalogue.reviews.apps.CatalogueReviewsConfig",
    "oscar.apps.communication.apps.CommunicationConfig",
    "oscar.apps.partner.apps.PartnerConfig",
    "oscar.apps.basket.apps.BasketConfig",
    "oscar.apps.payment.apps.PaymentConfig",
    "oscar.apps.offer.apps.OfferConfig",
    "oscar.apps.order.apps.OrderConfig",
    "oscar.apps.customer.apps.CustomerConfig",
    "oscar.apps.search.apps.SearchConfig",
    "oscar.apps.voucher.apps.VoucherConfig",
    "oscar.apps.wishlists.apps.WishlistsConfig",
    f"{_DASHBOARD}apps.DashboardConfig",
    f"{_DASHBOARD}reports.apps.ReportsDashboardConfig",
    f"{_DASHBOARD}users.apps.UsersDashboardConfig",
    f"{_DASHBOARD}orders.apps.OrdersDashboardConfig",
    f"{_DASHBOARD}catalogue.apps.CatalogueDashboardConfig",
    f"{_DASHBOARD}offers.apps.OffersDashboardConfig",
    f"{_DASHBOARD}partners.apps.PartnersDashboardConfig",
    f"{_DASHBOARD}pages.apps.PagesDashboardConfig",
    f"{_DASHBOARD}ranges.apps.RangesDashboardConfig",
    f"{_DASHBOARD}reviews.apps.ReviewsDashboardConfig",
    f"{_DASHBOARD}vouchers.apps.VouchersDashboardConfig",
    f"{_DASHBOARD}communications.apps.CommunicationsDashboardConfig",
    f"{_DASHBOARD}shipping.apps.ShippingDashboardConfig",
    "widget_tweaks",
    "haystack",
    "treebeard",
    "sorl.thumbnail",
    "django_tables2",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "oscar.apps.basket.middleware.BasketMiddleware",
]
AUTHENTICATION_BACKENDS = (
    "oscar.apps.customer.auth_backends.EmailBackend",
    "django.contrib.auth.backends.ModelBackend",
)
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the usual one is slow on purpose
ROOT_URLCONF = "oscar_urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.template.context_processors.i18n",
                "django.contrib.messages.context_processors.messages",
                "oscar.apps.search.context_processors.search_form",
                "oscar.apps.checkout.context_processors.checkout",
                "oscar.apps.communication.notifications.context_processors.notifications",
                "oscar.core.context_processors.metadata",
            ]
        },
    }
]
HAYSTACK_CONNECTIONS = {"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}}
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
STATIC_URL = "/static/"
OSCAR_DEFAULT_CURRENCY = "EUR"
# The statuses of Oscar's own sandbox shop.
OSCAR_INITIAL_ORDER_STATUS = "Pending"
OSCAR_INITIAL_LINE_STATUS = "Pending"
OSCAR_ORDER_STATUS_PIPELINE = {
    "Pending": ("Being processed", "Cancelled"),
    "Being processed": ("Complete", "Cancelled"),
    "Complete": (),
    "Cancelled": (),
}
OSCAR_LINE_STATUS_PIPELINE = {
    "Pending": ("Being processed", "Cancelled"),
    "Being processed": ("Shipped", "Cancelled"),
    "Shipped": ("Returned",),
    "Returned": (),
    "Cancelled": (),
}
OSCAR_ORDER_STATUS_CASCADE = {"Being processed": "Being processed", "Complete": "Shipped", "Cancelled": "Cancelled"}
OSCAR_ALLOW_ANON_CHECKOUT = True
