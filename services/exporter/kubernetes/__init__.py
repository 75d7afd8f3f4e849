"""Reads the Kubernetes API: lists pods, services and nodes, then watches them, and keeps who has which address.

The protocol is spoken here (aiohttp, JSON lines) instead of through kubernetes-asyncio: docs/decisions/0009.
"""
