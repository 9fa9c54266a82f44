"""Kinds that users define (CustomResourceDefinition): what is served for them, and what their schema asks of an object.

Everything but `controller` is PURE: definitions and objects go in, resources, objects and findings come out. It follows
upstream's apiextensions-apiserver. What it does not do: conversion by webhook (only `None`), and CEL rules other than
`self == oldSelf` (said in a warning when such a definition is written).
"""
