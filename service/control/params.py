"""What the parameters of all acts have in common."""

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """Strict, closed, and without its input in errors: a parameter may be a secret."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class NoParams(Params):
    """An act that takes nothing."""
