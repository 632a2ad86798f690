"""The gateway: what Jina's published clients ask their cloud over HTTP, answered from a registry on this machine.

It has no rules of its own: every call becomes a verb of `Registry`, for the namespace that the caller's token names. It
listens on the loopback only. What a call and an answer are is in `calls` and `answers`; what is done is in `users`,
`executors` and `artifacts`; `desk` looks who asks, `app` speaks HTTP, `command` is `lhub run`.
"""
