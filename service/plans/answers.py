"""How the API's page tells of the second answer of a route that accepts: 200, for a client id that is known already."""

from typing import Any, Final

from fastapi import status

MADE_BEFORE: Final = (
    "Nothing new was accepted: this client id made it before, and here it is as it stands now. Of a replacement also"
    " where the new order was refused, with its `place_error`."
)


def made_before(model: type) -> dict[int | str, dict[str, Any]]:
    """The `responses` of such a route, whose answers are that document either way."""
    return {status.HTTP_200_OK: {"model": model, "description": MADE_BEFORE}}
