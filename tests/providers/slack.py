"""An incoming webhook as Slack's: it takes JSON with a text and answers `ok`."""

import json

from tests.providers.wire import Provider, Request, Says

PATH = "/services/T000/B000/secret"


class SlackProvider(Provider):
    """`posted` are the texts that appeared."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[str] = []

    def take(self, request: Request) -> Says:
        if request.path != PATH:
            return Says(404, b"no_service")
        try:
            text = json.loads(request.body)["text"]
        except (ValueError, KeyError):
            return Says(400, b"invalid_payload")
        self.posted.append(text)
        return Says(200, b"ok")
