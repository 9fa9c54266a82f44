"""`klab why` and `klab check`: what is wrong with a connection, or with a lab, and what to do about it.

Facts are gathered first and judged afterwards. `collect` asks the API from outside and starts `inside` in the lab;
`plan` decides what to look at and which probes to send; `gather` looks and sends; the rest is PURE: `walk` follows one
connection from the name to the process, `check` compares the whole lab with what it should be, both by way of `network`
(addresses, routes, neighbours, forwarding entries), `rules` (the proxy's rules), `filters` (rules of others that drop),
`pods` (readiness, listening) and `objects` (Services and their endpoints); `order` puts causes before what follows from
them. Nothing here changes a lab.
"""
