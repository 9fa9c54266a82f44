"""HorizontalPodAutoscalers: metrics are read first, then all is decided purely, then written.

May not: measure anything; metrics come from the metrics APIs, whoever serves them.
"""
