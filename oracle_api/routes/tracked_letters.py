"""The links and the picture of tracked letters. Public: the signed token is its own key, and shows nobody's data.

Once the key is known a reader gets to the page whatever the database does. HEAD counts nothing. Test:
`tests/api/test_tracked_letters_api.py`.
"""

import base64

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from oracle_api.deps import Now, edge
from oracle_lib.errors import NotFound
from oracle_lib.execute import tracked_letters
from oracle_lib.learn.webhooks.sightings import Sighting

router = APIRouter(prefix=tracked_letters.PATH.rstrip("/"), include_in_schema=False)
_PICTURE = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


@router.api_route("/{token}", methods=["GET", "HEAD"])
async def follow(token: str, request: Request, now: Now) -> Response:
    """Count, and lead to the link's target or show one transparent point. Raises `NotFound` for any other token."""
    letters = edge(request).letters
    named = await letters.named(token)
    if named is None:
        raise NotFound("This link is not valid. Open the link in the e-mail again, or copy all of it.")
    if request.method == "GET":
        kind = "opened" if named.target is None else "clicked"
        await letters.count(Sighting(named.action_id, kind, request.headers.get("user-agent", ""), now))
    if named.target is None:
        return Response(_PICTURE, media_type="image/gif")
    return RedirectResponse(named.target, status_code=302)
