"""A stand-in for a model provider: speaks what the SDKs speak, checks the shapes that it gets, and says what it is.

It answers with a nonce of its own per request and with the canary of the account whose credential it was shown, so
that an answer tells where it came from; and it keeps every request, so that a test can see what reached it. What an
account keeps (responses, conversations, files, batches) is the account's: two tenants behind one credential would find
each other's, as they would at a real provider, and an answer quotes the turns it goes on from.

A request of a wrong shape is a 400 that names what was wrong, and stays in `StandIn.wrong`.

A prompt may direct it: `standin:hold` streams until the reader goes away, `standin:cut` ends a stream without its
end mark, `standin:error=429` answers with that status and repeats the credential, `standin:busy=2 wait=1` answers 429
twice with that `Retry-After` and then well, `standin:redirect` points elsewhere.
"""

from .server import BANNER, Account, Seen, StandIn

__all__ = ["BANNER", "Account", "Seen", "StandIn"]
