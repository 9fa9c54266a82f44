"""One file per operation of the API; each a function of the shared `Api`, the request and its resource.

They raise StatusError and return an answer; they know no HTTP beyond the values of `netlab.apiserver.wire`.
"""
