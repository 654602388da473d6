"""A product that takes messages as docs/integrations.md asks: verified, and once for each `webhook-id`."""

import json

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.providers.wire import Provider, Request, Says

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Product(Provider):
    """`shown` are the messages its users see, by `webhook-id`."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, dict[str, object]] = {}

    def take(self, request: Request) -> Says:
        try:
            Webhook(SECRET).verify(request.body, dict(request.headers))
        except WebhookVerificationError:
            return Says(401, b"bad signature")
        self.shown.setdefault(request.headers["webhook-id"], json.loads(request.body))
        return Says(204)
