"""SendGrid as far as its clients see it: it knows no keys, and takes the same letter as often as it is handed it."""

import json

from tests.providers.wire import Provider, Request, Says

KEY = "SG.test_key"


class SendGridProvider(Provider):
    """`sent` are the letters that left."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[dict[str, object]] = []

    def take(self, request: Request) -> Says:
        if request.path != "/v3/mail/send":
            return Says(404, b'{"errors":[{"message":"not found"}]}')
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return Says(401, b'{"errors":[{"message":"The provided authorization grant is invalid"}]}')
        letter = json.loads(request.body)
        if not letter.get("personalizations"):
            return Says(400, b'{"errors":[{"message":"personalizations is required"}]}')
        self.sent.append(letter)
        return Says(202, headers={"X-Message-Id": f"sg-{len(self.sent)}"})
