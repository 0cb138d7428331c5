"""What comes with an answer, beside the answer: which call it was, what it cost, how much is left of the limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal


class AnswerMetadata(Mapping[str, str]):
    """The metadata of the answer of the call that it is given to; empty until that has ended well.

        told = AnswerMetadata()
        answer = client.chat.create(model="demo", messages=messages, on_metadata=told)
        told.call_id, told.cost_usd, told["x-ratelimit-remaining-requests"]

    An answer is a message of the protocol, on which nothing else has room.
    """

    def __init__(self) -> None:
        self._told: Mapping[str, str] = {}

    def __call__(self, told: Mapping[str, str]) -> None:
        self._told = told

    def __getitem__(self, name: str) -> str:
        return self._told[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._told)

    def __len__(self) -> int:
        return len(self._told)

    def __repr__(self) -> str:
        return f"AnswerMetadata({dict(self._told)!r})"

    @property
    def call_id(self) -> str | None:
        """The id by which the gateway's records and logs know the call."""
        return self.get("x-penstock-call-id")

    @property
    def cost_usd(self) -> Decimal | None:
        """What the call cost, in US dollars to the nano-dollar; None when the gateway does not say."""
        told = self.get("x-penstock-cost-usd")
        return None if told is None else Decimal(told)
