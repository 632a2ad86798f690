"""The portal: a registry in a browser, for the one person who started it.

It has no rules of its own: a page is what verbs of `Registry` answer, a button is one more verb. `command` is
`lhub portal`, `entrance` lets the person in, `app` speaks HTTP, `desk` knows which page stands where, `visit` is what
one is asked with and answers; `tabs`, `resources`, `files` and `arrays` are the pages, `cards` and `uses` what is on
those of a resource, `actions` what their buttons do.
`drawing` makes HTML of it by `templates`; `readme`, `texts` and `pictures` make what was pushed fit to be seen.
"""
