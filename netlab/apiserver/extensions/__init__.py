"""Kinds that users define (CustomResourceDefinition): what is served for them, and what their schema asks of an object.

Everything but `controller` is PURE: definitions and objects go in, resources, objects and findings come out. It follows
upstream's apiextensions-apiserver. CEL rules are `rules` (the language itself: `netlab.api.cel`), conversion by webhook
is `webhook_conversion`.
"""
